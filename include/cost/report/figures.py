"""Sums of the cost table that a report is made of, by DuckDB; every figure is a Decimal in US dollars.

A row counts with its EffectiveCost, which spreads commitments over their use; where a source has none, with its
BilledCost. BilledCost itself is summed beside it and equals the source's total.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from include.cost.table.bill import ALLOCATIONS, BILLS, Bill, charges_of
from include.cost.table.columns import COLUMNS, MONEY, CostError
from include.cost.table.components import check_components, component_sql
from include.cost.table.machine_hours import with_machine_hours
from include.cost.table.spread import IS_LONG, spread_daily
from include.cost.table.store import CostTable, Facts, facts_of
from include.estate import Estate

NOWHERE = "no region"
_KEYS = """
SELECT CAST(ChargePeriodStart AT TIME ZONE 'UTC' AS DATE) AS day, source, {component} AS component,
    coalesce(ServiceName, '') AS service, coalesce(RegionId, '') AS region, coalesce(SkuMeter, '') AS sku,
    coalesce(ResourceId, '') AS resource, coalesce(x_CapacityType, '') AS capacity,"""
_USD = "coalesce(EffectiveCost, BilledCost, 0)"
# A month's fee is billed on one day, and costs on each of its days.
_LINES = f"""
CREATE TABLE lines AS
{_KEYS}
    CAST(sum(BilledCost) AS {MONEY}) AS billed,
    CAST(sum(CASE WHEN {IS_LONG} THEN 0 ELSE {_USD} END) AS {MONEY}) AS usd, count(*) AS rows,
    count(*) - count(EffectiveCost) AS rows_by_billed, sum(machine_hours) AS node_hours
FROM ({with_machine_hours("focus")}) GROUP BY ALL
"""
_SPREAD = f"""
INSERT INTO lines
{_KEYS} 0, CAST(sum({_USD}) AS {MONEY}), 0, 0, NULL
FROM ({{spread}}) GROUP BY ALL
"""
_DRIVERS = f"""
WITH parts AS (
    SELECT {{keys}}, day, sum(usd) AS usd FROM lines
    WHERE list_contains($sources, source) AND list_contains($days, day) AND {{where}} GROUP BY ALL
), moved AS (
    SELECT {{keys}}, coalesce(sum(usd) FILTER (day = $day), 0) AS usd,
        -- A day without a row for this part cost nothing for it; the (lower) median over all the days.
        coalesce(list_sort(list_concat(
            list(usd) FILTER (day <> $day),
            list_resize(CAST([] AS {MONEY}[]), $count - count(*) FILTER (day <> $day), 0)
        ))[($count + 1) // 2], 0) AS usual
    FROM parts GROUP BY ALL
)
SELECT {{keys}}, CAST(usd AS {MONEY}), CAST(usual AS {MONEY}) FROM moved WHERE usd <> usual
ORDER BY abs(usd - usual) DESC, {{keys}} LIMIT $limit
"""


@dataclass(frozen=True)
class Sum:
    """What some rows add up to. ``rows_by_billed`` of them have no EffectiveCost and count with BilledCost."""

    billed: Decimal
    usd: Decimal
    rows: int
    rows_by_billed: int = 0
    node_hours: Decimal | None = None


@dataclass(frozen=True)
class BillDriver:
    """A part of the bill that moved: its cost on the day and what it usually is, in US dollars."""

    service: str
    region: str
    sku: str
    resource: str
    usd: Decimal
    usual: Decimal

    @property
    def change(self) -> Decimal:
        """How much more than usual."""
        return self.usd - self.usual


class Figures:
    """The rows of some days, summed once by everything that is asked for. Made by :func:`opened`.

    ``bill`` holds the same days' charges by component; ``allocated`` the facts of the day's allocations, by source.
    """

    def __init__(self, connection: Any, bill: Bill, allocated: Mapping[str, Facts]) -> None:
        self._connection = connection
        self.bill, self.allocated = bill, dict(allocated)

    def partition_sums(self) -> list[tuple[Any, ...]]:
        """(source, day, billed, rows) of every partition that has rows."""
        return self._ask(
            f"SELECT source, day, CAST(coalesce(sum(billed), 0) AS {MONEY}), CAST(sum(rows) AS BIGINT) "
            "FROM lines GROUP BY ALL HAVING sum(rows) > 0 ORDER BY ALL"
        )

    def by_component(self) -> dict[dt.date, dict[str, Sum]]:
        """Day -> component (or unallocated) -> sum, of the bill."""
        found: dict[dt.date, dict[str, Sum]] = defaultdict(dict)
        for day, name, *numbers in self._sums("day, component", "TRUE"):
            found[day][name] = Sum(*numbers)
        return dict(found)

    def of_day(self, day: dt.date, column: str, component: str = "") -> dict[str, Sum]:
        """The day's bill by ``column`` (region, capacity, service); of one component when it is named."""
        where = "day = $day" + (" AND component = $component" if component else "")
        names = {"day": day} | ({"component": component} if component else {})
        return {name: Sum(*numbers) for name, *numbers in self._sums(column, where, **names)}

    def workloads(self, day: dt.date, source: str) -> dict[str, Decimal]:
        """What an allocator says that each workload cost on the day, by its resource id."""
        rows = self._ask(
            f"SELECT resource, CAST(sum(usd) AS {MONEY}) FROM lines WHERE day = $day AND source = $source "
            "GROUP BY ALL ORDER BY ALL",
            day=day,
            source=source,
        )
        return dict(rows)

    def begun_before(self, day: dt.date) -> dict[str, list[dt.date]]:
        """Source of the bill -> the earlier days whose partitions hold a charge that costs on ``day`` too."""
        rows = self._ask(
            "SELECT source, CAST(ChargePeriodStart AS DATE) AS begun FROM long WHERE list_contains($sources, source) "
            "AND begun < $day AND CAST(ChargePeriodEnd - INTERVAL 1 MICROSECOND AS DATE) >= $day "
            "GROUP BY ALL ORDER BY ALL",
            day=day,
            sources=list(BILLS),
        )
        found: dict[str, list[dt.date]] = defaultdict(list)
        for source, begun in rows:
            found[source].append(begun)
        return dict(found)

    def drivers(self, day: dt.date, before: Sequence[dt.date], component: str = "", limit: int = 5) -> list[BillDriver]:
        """The parts of the bill (of one component when it is named) that moved most against their median ``before``.

        Parts are service, region and SKU; each names the resource in it that moved most in the same direction.
        """
        given = {"day": day, "days": [day, *before], "count": len(before)}
        where = "component = $component" if component else "TRUE"
        given |= {"component": component} if component else {}
        parts = self._moved("service, region, sku", where, limit, **given)
        found = []
        for service, region, sku, usd, usual in parts:
            inside = f"{where} AND service = $service AND region = $region AND sku = $sku"
            moved = self._moved(
                "resource", inside, 20, **given, service=service, region=region, sku=sku
            )  # fmt: skip
            same = [name for name, now, then in moved if (now > then) == (usd > usual)]
            found.append(BillDriver(service, region, sku, same[0] if same else "", usd, usual))
        return found

    def _moved(self, keys: str, where: str, limit: int, **given: Any) -> list[tuple[Any, ...]]:
        return self._ask(_DRIVERS.format(keys=keys, where=where), **given, sources=list(BILLS), limit=limit)

    def _sums(self, keys: str, where: str, **given: Any) -> list[tuple[Any, ...]]:
        return self._ask(
            f"SELECT {keys}, CAST(sum(billed) AS {MONEY}), CAST(sum(usd) AS {MONEY}), CAST(sum(rows) AS BIGINT), "
            "CAST(sum(rows_by_billed) AS BIGINT), sum(node_hours) "
            f"FROM lines WHERE list_contains($sources, source) AND {where} GROUP BY ALL ORDER BY ALL",
            **given,
            sources=list(BILLS),
        )

    def _ask(self, query: str, **given: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection.execute(query, given).fetchall()
        return found


@contextmanager
def opened(table: CostTable, days: Sequence[dt.date], day: dt.date, estate: Estate) -> Iterator[Figures]:
    """The figures of ``days``, allocations only of ``day``; what began earlier and lasts into ``days`` counts in them.

    Raises CostError when rows and facts disagree.
    """
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET threads = 2")
        figures = _load(connection, table, days, day, estate)
        _check_sums(figures)
        yield figures


def _load(connection: Any, table: CostTable, days: Sequence[dt.date], day: dt.date, estate: Estate) -> Figures:
    facts: dict[tuple[str, dt.date], Facts] = {}
    wanted = {source: table.with_lasting(source, days) for source in BILLS}
    wanted |= {source: [day] for source in ALLOCATIONS}
    parts = []
    with ExitStack() as stack:
        for source, of_source in wanted.items():
            files = stack.enter_context(table.files(of_source, [source]))
            facts |= {(one.source, one.day): one for one in map(facts_of, files)}
            if files:
                parts.append(f"SELECT *, '{source}' AS source FROM read_parquet({_listed(files)})")
        connection.execute(f"CREATE VIEW focus AS {' UNION ALL '.join(parts) or _nothing()}")
        component = component_sql(estate)
        check_components(connection, "focus", estate)
        connection.execute(f"CREATE VIEW long AS SELECT * FROM focus WHERE {IS_LONG}")
        connection.execute(_LINES.format(component=component))
        spread = spread_daily("long", min(days), max(days))
        connection.execute(_SPREAD.format(component=component, spread=spread))
        charges = charges_of(connection, f"(SELECT * FROM focus WHERE source IN {BILLS})", component, days, False)
    allocated = {source: one for (source, _), one in facts.items() if source in ALLOCATIONS}
    return Figures(
        connection, Bill(tuple(charges), {key: one for key, one in facts.items() if key[0] in BILLS}), allocated
    )


def _listed(files: Sequence[Path]) -> str:
    return "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in files) + "]"


def _nothing() -> str:
    columns = ", ".join(f'CAST(NULL AS {kind}) AS "{name}"' for name, kind in COLUMNS.items())
    return f"SELECT {columns}, CAST(NULL AS VARCHAR) AS source WHERE FALSE"


def _check_sums(figures: Figures) -> None:
    """Every dollar of the partitions is in the sums, to the last place."""
    sums = {(source, day): (billed, rows) for source, day, billed, rows in figures.partition_sums()}
    every = (*figures.bill.facts.values(), *figures.allocated.values())
    facts = {(one.source, one.day): (one.billed_usd, one.rows) for one in every}
    for source, day in sorted(sums.keys() | facts.keys()):
        billed, rows = sums.get((source, day), (Decimal(0), 0))
        billed_in_facts, rows_in_facts = facts.get((source, day), (Decimal(0), 0))
        if (billed, rows) != (billed_in_facts, rows_in_facts):
            raise CostError(
                f"{source} {day}: the partition has {rows} rows with {billed} USD, its facts say {rows_in_facts} rows "
                f"with {billed_in_facts} USD: ingest the day again"
            )
