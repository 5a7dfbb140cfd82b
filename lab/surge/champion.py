"""The champion of a surge, made as every night makes one: from what Prometheus has, through the same gates."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import Any

from include.clients.prometheus import Prometheus
from include.clients.storage import Folder
from include.estate import Estate
from include.forecast import export, retrain
from include.forecast.contract import RetrainError
from include.forecast.registry import Action, Registry
from include.forecast.traffic_table import TrafficTable, day_start, days_between
from lab.surge.scenario import DAY, Surge, SurgeError


@dataclass(frozen=True)
class Champion:
    """What became of the training: ``version`` is empty when nothing was promoted, ``reason`` says why (not)."""

    model: str
    version: str
    reason: str
    days: int
    seconds: float
    wape15: dict[str, float]


def training_days(surge: Surge) -> tuple[dt.date, int]:
    """The first of the whole days (UTC) before the one of the surge, and how many there are."""
    last = dt.datetime.fromtimestamp(surge.begins, dt.UTC).date() - dt.timedelta(days=1)
    return last - dt.timedelta(days=surge.history_days - 1), surge.history_days


def read_traffic(
    prometheus: Prometheus, estate: Estate, region: str, surge: Surge, shift: int, table: TrafficTable
) -> None:
    """Export the days before the surge into ``table`` under their plant dates; the clock is ``shift`` s ahead of them.

    Raises SurgeError when Prometheus lacks more than the odd minute of them.
    """
    first, count = training_days(surge)
    start = day_start(first)
    end = start + count * DAY
    seen = export.observed(prometheus, estate.metrics, region, start + shift, end + shift, time.time())
    values = {second - shift: value for second, value in seen.items()}
    if len(values) < 0.99 * count * DAY / 60:
        problem = f"Prometheus has {len(values)} minutes of the {count} days before the surge"
        raise SurgeError(f"{problem}: the history was not written whole; see the lab's logs")
    expression = export.expression_hash(estate.metrics, region)
    for day in days_between(values, region, first, count, end):
        table.put(day, expression)


def train(table: TrafficTable, storage: Folder, region: str, surge: Surge, profile: str) -> Champion:
    """Judge the data, train, evaluate and promote; a refusal is a result, not an error."""
    begun = time.monotonic()
    registry, workshop = Registry(storage, region), retrain.default_workshop(profile)
    first, count = training_days(surge)
    last = first + dt.timedelta(days=count - 1)
    window = retrain.load_window(table, region, last, count)
    try:
        retrain.judge_data(table, registry, window, last + dt.timedelta(days=1))
        trained = retrain.train(table, registry, window, workshop)
    except RetrainError as error:
        return Champion("", "", str(error), count, round(time.monotonic() - begun, 1), {})
    evaluated = retrain.evaluate(table, registry, trained, workshop)
    decision = retrain.promote(registry, evaluated)
    promoted = decision.action is Action.PROMOTED
    wapes: dict[str, Any] = evaluated["figures"]["wape15"]
    return Champion(
        model=str(trained["model"]),
        version=decision.version if promoted else "",
        reason=decision.reason,
        days=count,
        seconds=round(time.monotonic() - begun, 1),
        wape15={name: float(value) for name, value in wapes.items()},
    )
