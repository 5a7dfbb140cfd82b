"""The bill over some days: its charges by component, which of its hours have rows, and the facts of its partitions.

The amount of a component in a window is told here and nowhere else. A charge belongs to the day on which it begins; one
that lasts longer than a day is a slice of each of its days. In a window that cuts days, a charge counts by its time.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

from include.cost.table import machine_hours
from include.cost.table.columns import AMOUNT, LONGEST_DAY_HOURS, MOST_HOURS, SOURCES, Role
from include.cost.table.components import component_sql
from include.cost.table.days import DAY, HOUR, LOOK_BACK_DAYS, Window, day_window
from include.cost.table.spread import IS_LONG, spread_daily
from include.cost.table.store import CostTable, Facts
from include.estate import Estate

AWS, JETSON_SOURCE, CONTRACTS = "aws", "jetson", "contracts"
BILLS = tuple(source for source, role in SOURCES.items() if role is Role.BILL)  # they add up to the total
ALLOCATIONS = tuple(source for source, role in SOURCES.items() if role is Role.ALLOCATION)
NO_TIME, LONGEST_DAY = dt.timedelta(0), dt.timedelta(hours=LONGEST_DAY_HOURS)


@dataclass(frozen=True)
class Charge:
    """The bill's rows of one component, charge period and source: ``machine`` says that they are machine hours.

    ``is_slice``: a day's part of rows that last longer than a day; they say nothing about the day's coverage.
    """

    component: str
    source: str
    start: dt.datetime
    end: dt.datetime
    region: str
    machine: tuple[str, str] | None  # instance type, capacity type
    hours: Decimal
    usd: Decimal
    rows: int
    is_slice: bool = False


@dataclass(frozen=True)
class Bill:
    """The charges of the bill over some days, and the facts of the partitions that they came from."""

    charges: tuple[Charge, ...]
    facts: Mapping[tuple[str, dt.date], Facts]

    def has(self, source: str, days: Iterable[dt.date]) -> bool:
        """Whether each of the days has a partition of the source."""
        return all((source, day) in self.facts for day in days)

    def near(self, source: str, window: Window) -> list[Charge]:
        """The charges of a source that begin on a day of the window or on the day before it."""
        days = [window.days[0] - DAY, *window.days]
        return [charge for day in days for charge in self._by_source.get((source, day), ())]

    def of(self, component: str, window: Window, sources: Iterable[str] = BILLS) -> list[Charge]:
        """The charges of a component that have a part in the window."""
        days, wanted = [window.days[0] - DAY, *window.days], set(sources)
        found = (charge for day in days for charge in self._by_component.get((component, day), ()))
        return [charge for charge in found if charge.source in wanted and share_in(charge, window)]

    def is_hourly(self, source: str, last: dt.date) -> bool:
        """Whether the source tells hours apart, by its four weeks up to ``last``."""
        days = [last - n * DAY for n in range(LOOK_BACK_DAYS + 1)]
        counts = [self._hours[source, day] for day in days if (source, day) in self._hours]
        return _tells_hours(counts)

    @cached_property
    def _by_source(self) -> dict[tuple[str, dt.date], list[Charge]]:
        found: dict[tuple[str, dt.date], list[Charge]] = defaultdict(list)
        for charge in self.charges:
            found[charge.source, charge.start.date()].append(charge)
        return found

    @cached_property
    def _by_component(self) -> dict[tuple[str, dt.date], list[Charge]]:
        found: dict[tuple[str, dt.date], list[Charge]] = defaultdict(list)
        for charge in self.charges:
            found[charge.component, charge.start.date()].append(charge)
        return found

    @cached_property
    def _hours(self) -> dict[tuple[str, dt.date], tuple[int, int, int]]:
        return {key: _count_hours(charges) for key, charges in self._by_source.items()}


# --- Arithmetic on charges --------------------------------------------------------------------------------------------


def overlap(charge: Charge, window: Window, amount: Decimal = Decimal(1)) -> Decimal:
    """The part of ``amount`` (default: the share, 0..1) that the charge's period has in the window, by time."""
    return window.part(amount, charge.start, charge.end)


def share_in(charge: Charge, window: Window, amount: Decimal = Decimal(1)) -> Decimal:
    """The part of ``amount`` (default: the share, 0..1) that counts in the window.

    A charge of up to a day belongs whole to the day on which it begins: a day in local time reaches over midnight. A
    window that cuts days takes its share by time.
    """
    if window.is_whole_days and charge.end - charge.start <= LONGEST_DAY:
        return amount if window.start <= charge.start < window.end else Decimal(0)
    return overlap(charge, window, amount)


def sum_in(charges: Iterable[Charge], window: Window) -> Decimal:
    """Dollars of the charges that count in the window."""
    return sum((share_in(charge, window, charge.usd) for charge in charges), Decimal(0))


def coverage_of(charges: Sequence[Charge], window: Window, by_hour: bool | None = None) -> Decimal:
    """Share of the window that the rows of a source cover: see :func:`seconds_covered`."""
    return Decimal(seconds_covered(charges, window, by_hour)) / window.seconds


def seconds_covered(charges: Sequence[Charge], window: Window, by_hour: bool | None = None) -> int:
    """Seconds of the window that the rows of a source cover.

    A bill by the hour (``by_hour``; default: what ``charges`` are) is judged by its hourly rows: a row for a whole day
    would hide a missing hour. Charges for more than a day, or for a moment, say nothing about it.
    """
    longest = HOUR if (is_hourly(charges) if by_hour is None else by_hour) else LONGEST_DAY
    periods = [(one.start, one.end) for one in charges if NO_TIME < one.end - one.start <= longest and not one.is_slice]
    covered, until = NO_TIME, window.start
    for start, end in sorted(periods):
        begin, stop = max(start, until), min(end, window.end)
        if stop > begin:
            covered += stop - begin
            until = stop
    return int(covered.total_seconds())


def is_hourly(charges: Iterable[Charge]) -> bool:
    """Whether a bill tells hours apart: on some day most hours have an hourly row, or most rows are hourly.

    One hourly row, such as a late correction, doesn't make an hourly bill of a daily one.
    """
    by_day: dict[dt.date, list[Charge]] = defaultdict(list)
    for charge in charges:
        by_day[charge.start.date()].append(charge)
    return _tells_hours([_count_hours(of_day) for of_day in by_day.values()])


def _count_hours(charges: Iterable[Charge]) -> tuple[int, int, int]:
    """Rows by the hour, rows by the day, and hours that have an hourly row."""
    hours: set[int] = set()
    of_hours = of_days = 0
    for charge in charges:
        length = charge.end - charge.start
        if NO_TIME < length <= HOUR:
            hours.add(charge.start.hour)
            of_hours += charge.rows
        elif HOUR < length <= LONGEST_DAY and not charge.is_slice:
            of_days += charge.rows
    return of_hours, of_days, len(hours)


def _tells_hours(counts: Sequence[tuple[int, int, int]]) -> bool:
    of_hours, of_days = (sum(count[n] for count in counts) for n in (0, 1))
    return of_hours > of_days or any(count[2] >= MOST_HOURS for count in counts)


# --- From the table ---------------------------------------------------------------------------------------------------

_KEYS = """
SELECT {component} AS component, source, ChargePeriodStart, ChargePeriodEnd, coalesce(RegionId, '') AS region,
    CASE WHEN x_CapacityType IS NULL THEN NULL ELSE coalesce(x_InstanceType, '') END AS type, x_CapacityType,"""
_CHARGES_SQL = f"""
{_KEYS} sum(machine_hours), sum(coalesce(EffectiveCost, BilledCost)), count(*), FALSE
FROM ({{rows}}) WHERE NOT coalesce({IS_LONG}, FALSE) GROUP BY ALL
UNION ALL
{_KEYS} sum(machine_hours), sum(coalesce(EffectiveCost, BilledCost)), count(*), TRUE
FROM ({{slices}}) GROUP BY ALL
ORDER BY ALL
"""


def read_bill(table: CostTable, estate: Estate, days: Sequence[dt.date]) -> Bill:
    """The bill's charges of ``days`` by component. EffectiveCost counts; where it is null, BilledCost.

    Of earlier days those that last into ``days`` are there too, such as a year's subscription.
    """
    facts: dict[tuple[str, dt.date], Facts] = {}
    charges: list[Charge] = []
    with machine_hours.connect() as connection:
        for source in BILLS:
            read = table.with_lasting(source, days)
            facts |= {(source, day): found for day in read if (found := table.facts(source, day)) is not None}
            with table.files(read, [source]) as files:
                if files:
                    charges += charges_of(connection, view_of(connection, files, source), component_sql(estate), days)
    begin = day_window(min(days)).start
    return Bill(tuple(one for one in charges if one.start >= begin or one.end > begin), facts)


def read_allocations(table: CostTable, days: Sequence[dt.date]) -> list[Charge]:
    """The allocations' charges of ``days``; their dollars are those of the bill once more and never added to it."""
    charges = []
    with machine_hours.connect() as connection:
        for source in ALLOCATIONS:
            with table.files(days, [source]) as files:
                if files:
                    view = view_of(connection, files, source)
                    charges += charges_of(connection, view, "CAST(NULL AS VARCHAR)", days)
    return charges


def charges_of(
    connection: Any, relation: str, component: str, days: Sequence[dt.date], with_hours: bool = True
) -> list[Charge]:
    """The rows of ``relation`` (COLUMNS and ``source``) by component and period, slices of long ones within ``days``.

    ``component`` is an SQL expression. Without ``with_hours`` the charges' ``hours`` are 0.
    """
    no_hours = f"SELECT *, CAST(NULL AS {AMOUNT}) AS machine_hours FROM {relation}"
    rows = machine_hours.with_machine_hours(relation) if with_hours else no_hours
    slices = spread_daily(f"(SELECT * FROM ({rows}) WHERE {IS_LONG})", min(days), max(days), with_hours=True)
    found = connection.execute(_CHARGES_SQL.format(component=component, rows=rows, slices=slices)).fetchall()
    return [
        Charge(
            component=name,
            source=source,
            start=start,
            end=end,
            region=region,
            machine=None if how is None else (kind, how),
            hours=hours or Decimal(0),
            usd=usd or Decimal(0),
            rows=rows,
            is_slice=is_slice,
        )
        for name, source, start, end, region, kind, how, hours, usd, rows, is_slice in found
    ]


def view_of(connection: Any, files: Sequence[Path], source: str) -> str:
    """A view over the partitions ``files`` with their ``source`` beside COLUMNS; returns its name."""
    paths = "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in files) + "]"
    columns = f"*, CAST('{source}' AS VARCHAR) AS source"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW rows AS SELECT {columns} FROM read_parquet({paths})")
    return "rows"
