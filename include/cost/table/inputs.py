"""Everything that costs are made of, read from the cost table and from Prometheus."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from include.cost.table.bill import read_allocations, read_bill
from include.cost.table.days import Window, days_before
from include.cost.table.live import read_live
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
