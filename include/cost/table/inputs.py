"""Everything that costs are made of, read from the cost table and from Prometheus."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

from include.cost.table import machine_hours
from include.cost.table.bill import read_allocations, read_bill
from include.cost.table.days import Window, days_before
from include.cost.table.live import LiveCosts, power_of
from include.cost.table.reading import CostInputs
from include.cost.table.store import CostTable, Facts
from include.estate import Estate
from include.prices import AwsBook

if TYPE_CHECKING:
    from include.clients.prometheus import Prometheus


def read_cost_inputs(
    table: CostTable,
    estate: Estate,
    book: AwsBook,
    window: Window,
    regions: Sequence[str],
    of_region: Mapping[str, Prometheus | Exception],
    problems: Mapping[str, str] | None = None,
) -> CostInputs:
    """Read everything that the costs of ``window`` need; ``problems`` say why a source is out of date."""

    @cache
    def history(source: str, day: dt.date) -> Sequence[Facts]:
        return table.history(source, day)

    return CostInputs(
        estate=estate,
        book=book,
        window=window,
        regions=tuple(regions),
        bill=read_bill(table, estate, days_before(window)),
        history=history,
        live=read_live(of_region, window, estate),
        problems=problems or {},
        allocations=tuple(read_allocations(table, window.days)),
    )


def read_live(of_region: Mapping[str, Prometheus | Exception], window: Window, estate: Estate) -> LiveCosts:
    """Nodes and power of the window from the Prometheus of each region; an Exception stands for one that is away."""
    from include.clients.prometheus import PrometheusError

    fleets, problems, power = [], {}, None
    for region, prometheus in of_region.items():
        if isinstance(prometheus, Exception):
            problems[region] = str(prometheus)
            continue
        try:
            fleets.append(machine_hours.read_fleet(prometheus, region, window.start, window.end))
            power = power or _read_power(prometheus, window, estate)
        except PrometheusError as error:
            problems[region] = str(error)
    return LiveCosts(tuple(fleets), power, problems)


def _read_power(prometheus: Prometheus, window: Window, estate: Estate) -> tuple[Decimal, Decimal] | None:
    step, steps = machine_hours.looks_of(window.seconds)
    first = window.start.timestamp()
    last = first + float((steps - Decimal("0.5")) * step)  # as in machine_hours.read_fleet
    series = prometheus.query_range(estate.cost.devices.power_metric, first, last, float(step))
    return power_of(series, steps, step, estate)
