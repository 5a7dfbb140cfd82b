"""The champion of a surge, made as every night makes one: from what Prometheus has, through the same gates."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass

from include.clients.prometheus import Prometheus
from include.clients.storage import Folder
from include.estate import Estate
from include.forecast import retrain
from include.forecast.registry import Action, Registry
from include.forecast.traffic import export
from include.forecast.traffic.table import TrafficTable, day_start, days_between
from include.forecast.trainer import CandidateTrainer, RetrainError, Trainer
from lab.surge.scenario import DAY, NIGHTS, Surge, SurgeError


@dataclass(frozen=True)
class Night:
    """One night's training: the last day that it knew, what it made, and what became of that."""

    last_day: str
    model: str
    action: str
    reason: str


@dataclass(frozen=True)
class SurgeChampion:
    """Who leads after the last night; ``version`` is empty when no night promoted anything.

    ``reason`` is that of its promotion, or of the last refusal. ``wape15`` is what the last night found on its newest
    days, of its own candidate, the naives and the champion before it.
    """

    model: str
    version: str
    reason: str
    nights: tuple[Night, ...]
    seconds: float
    wape15: dict[str, float]


def history_span(surge: Surge) -> tuple[dt.date, int]:
    """The first of the whole days (UTC) before the one of the surge, and how many there are."""
    last = dt.datetime.fromtimestamp(surge.begins, dt.UTC).date() - dt.timedelta(days=1)
    return last - dt.timedelta(days=surge.history_days - 1), surge.history_days


def read_traffic(
    prometheus: Prometheus, estate: Estate, region: str, surge: Surge, shift: int, table: TrafficTable
) -> None:
    """Export the days before the surge into ``table`` under their plant dates; the clock is ``shift`` s ahead of them.

    Raises SurgeError when Prometheus lacks more than the odd minute of them.
    """
    first, count = history_span(surge)
    start = day_start(first)
    end = start + count * DAY
    seen = export.observed(prometheus, estate, region, start + shift, end + shift, time.time())
    values = {second - shift: value for second, value in seen.items()}
    if len(values) < 0.99 * count * DAY / 60:
        problem = f"Prometheus has {len(values)} minutes of the {count} days before the surge"
        raise SurgeError(f"{problem}: the history was not written whole; see the lab's logs")
    expression = export.expression_hash(estate, region)
    for day in days_between(values, region, first, count, end):
        table.put(day, expression)


def train(table: TrafficTable, storage: Folder, region: str, surge: Surge, profile: str) -> SurgeChampion:
    """Train on each of the last nights before the surge, oldest first, as forecast_retrain would have.

    A night that promotes nothing leaves the champion of the night before; a refusal is a result, not an error.
    """
    begun = time.monotonic()
    registry, trainer = Registry(storage, region), CandidateTrainer(profile)
    first, count = history_span(surge)
    nights: list[Night] = []
    wape15: dict[str, float] = {}
    for before in reversed(range(NIGHTS)):
        last = first + dt.timedelta(days=count - 1 - before)
        night, found = train_night(table, registry, trainer, last)
        nights.append(night)
        wape15 = found or wape15
    pointer = registry.pointer()
    model = registry.manifest(pointer.version).model if pointer.version else ""
    reason = pointer.decision.reason if pointer.decision else nights[-1].reason
    return SurgeChampion(model, pointer.version, reason, tuple(nights), round(time.monotonic() - begun, 1), wape15)


def train_night(
    table: TrafficTable, registry: Registry, trainer: Trainer, last: dt.date
) -> tuple[Night, dict[str, float]]:
    """Judge the data up to ``last``, train, evaluate and promote; what became of it, and every WAPE at 15 minutes."""
    window = retrain.load_window(table, registry.region, last)
    try:
        retrain.judge_data(table, registry, window, last + dt.timedelta(days=1))
        trained = retrain.train(table, registry, window, trainer)
    except RetrainError as error:
        return Night(str(last), "", str(Action.REFUSED), str(error)), {}
    evaluated = retrain.evaluate(table, registry, trained, trainer)
    decision = retrain.promote(registry, evaluated)
    wapes = {str(name): float(value) for name, value in evaluated["figures"]["wape15"].items()}
    return Night(str(last), str(trained["model"]), str(decision.action), decision.reason), wapes
