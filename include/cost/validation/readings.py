"""Where the validation's figures come from: the bill's partitions, live nodes, live power, contracts.

Order of preference for a component: the bill of the window itself; a live source of the same window; the newest
complete day of the bill, while it is no older than ``STALE_DAYS``. What nobody knows stays None, with the reason.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.cost.table import machine_hours
from include.cost.table.columns import LONGEST_DAY_HOURS, MOST_HOURS, SOURCES, Role
from include.cost.table.components import UNALLOCATED, component_sql
from include.cost.table.store import CostTable, Facts
from include.cost.validation.crosscheck import Gap, Measure, compare
from include.cost.validation.verdicts import (
    CENTRAL_DC,
    HISTORY_DAYS,
    JETSON,
    MIN_COVERAGE,
    PROVISIONAL,
    Goal,
    Reading,
    Validation,
    Window,
    choose,
    goal_of,
    line_of,
    settling_of,
    total_of,
    usd,
    weakest,
)
from include.estate import Component, Contract, Estate
from include.prices import DAYS_PER_MONTH, AwsBook

if TYPE_CHECKING:
    from include.clients.prometheus import Prometheus, Series

AWS = "aws"
CONTRACTS = "contracts"
STALE_DAYS = 3  # a bill's day that ended longer before the window's end says nothing about it
NO_GOAL = Goal("", None, None, "no component takes it: it has no target")
ALLOCATORS = tuple(source for source, role in SOURCES.items() if role == Role.ALLOCATION)
DAY, HOUR, NO_TIME = dt.timedelta(days=1), dt.timedelta(hours=1), dt.timedelta(0)
LONGEST_DAY = dt.timedelta(hours=LONGEST_DAY_HOURS)


@dataclass(frozen=True)
class Charge:
    """The bill's rows of one component, charge period and source: ``machine`` says that they are machine hours."""

    component: str
    source: str
    start: dt.datetime
    end: dt.datetime
    region: str
    machine: tuple[str, str] | None  # instance type, capacity type
    hours: Decimal
    usd: Decimal
    rows: int


@dataclass(frozen=True)
class Bill:
    """The charges of the bill over some days, and the facts of the partitions that they came from."""

    charges: tuple[Charge, ...]
    facts: Mapping[tuple[str, dt.date], Facts]

    def has(self, source: str, days: Iterable[dt.date]) -> bool:
        """Whether each of the days has a partition of the source."""
        return all((source, day) in self.facts for day in days)


@dataclass(frozen=True)
class Live:
    """What Prometheus says of a window. ``watts``: dollars of power and coverage, None where there is no series."""

    fleets: tuple[machine_hours.Fleet, ...] = ()
    power: tuple[Decimal, Decimal] | None = None
    problems: Mapping[str, str] = field(default_factory=dict)  # what could not be asked, by region


_CHARGES_SQL = """
SELECT {component} AS component, source, ChargePeriodStart, ChargePeriodEnd, coalesce(RegionId, '') AS region,
       CASE WHEN x_CapacityType IS NULL THEN NULL ELSE coalesce(x_InstanceType, '') END AS type, x_CapacityType,
       sum(machine_hours), sum(coalesce(EffectiveCost, BilledCost)), count(*)
FROM ({rows}) GROUP BY ALL ORDER BY ALL
"""


def read_bill(table: CostTable, estate: Estate, days: Sequence[dt.date]) -> Bill:
    """The bill's charges of ``days`` by component. EffectiveCost counts; where it is null, BilledCost.

    Of earlier days those that last into ``days`` are there too, such as a year's subscription.
    """
    facts: dict[tuple[str, dt.date], Facts] = {}
    charges: list[Charge] = []
    with machine_hours.connect() as connection:
        for source in bill_sources():
            read = table.with_lasting(source, days)
            facts |= {(source, day): found for day in read if (found := table.facts(source, day)) is not None}
            with table.files(read, [source]) as files:
                if files:
                    charges += _charges(connection, files, source, component_sql(estate))
    begin = day_window(min(days)).start
    return Bill(tuple(one for one in charges if one.start >= begin or one.end > begin), facts)


def bill_sources() -> tuple[str, ...]:
    """The sources that add up to the total."""
    return tuple(source for source, role in SOURCES.items() if role == Role.BILL)


def _charges(connection: Any, files: Sequence[Path], source: str, component: str) -> list[Charge]:
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW rows AS SELECT *, CAST($source AS VARCHAR) AS source "
        "FROM read_parquet($files)".replace("$source", f"'{source}'").replace("$files", _quoted(files))
    )
    query = _CHARGES_SQL.format(component=component, rows=machine_hours.with_machine_hours("rows"))
    found = connection.execute(query).fetchall()
    return [
        Charge(
            component=name,
            source=said,
            start=start,
            end=end,
            region=region,
            machine=None if how is None else (kind, how),
            hours=hours or Decimal(0),
            usd=usd or Decimal(0),
            rows=rows,
        )
        for name, said, start, end, region, kind, how, hours, usd, rows in found
    ]


def _quoted(files: Sequence[Path]) -> str:
    return "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in files) + "]"


# --- Arithmetic on charges --------------------------------------------------------------------------------------------


def overlap(charge: Charge, window: Window, amount: Decimal = Decimal(1)) -> Decimal:
    """The part of ``amount`` (default: the share, 0..1) that the charge's period has in the window."""
    return window.part(amount, charge.start, charge.end)


def sum_in(charges: Iterable[Charge], window: Window) -> Decimal:
    """Dollars of the charges within the window; a period that reaches over its edge counts by its share."""
    return sum((overlap(charge, window, charge.usd) for charge in charges), Decimal(0))


def coverage_of(charges: Sequence[Charge], window: Window, by_hour: bool | None = None) -> Decimal:
    """Share of the window that the rows of a source cover.

    A bill by the hour (``by_hour``; default: what ``charges`` are) is judged by its hourly rows: a row for a whole day
    would hide a missing hour. Charges for more than a day, or for a moment, say nothing about it.
    """
    longest = HOUR if (is_hourly(charges) if by_hour is None else by_hour) else LONGEST_DAY
    periods = [(charge.start, charge.end) for charge in charges if NO_TIME < charge.end - charge.start <= longest]
    covered, until = NO_TIME, window.start
    for start, end in sorted(periods):
        begin, stop = max(start, until), min(end, window.end)
        if stop > begin:
            covered += stop - begin
            until = stop
    return Decimal(int(covered.total_seconds())) / window.seconds


def is_hourly(charges: Iterable[Charge]) -> bool:
    """Whether a bill tells hours apart: on some day most hours have an hourly row, or most rows are hourly.

    One hourly row, such as a late correction, doesn't make an hourly bill of a daily one.
    """
    hours: dict[dt.date, set[int]] = defaultdict(set)
    of_hours = of_days = 0
    for charge in charges:
        length = charge.end - charge.start
        if NO_TIME < length <= HOUR:
            hours[charge.start.date()].add(charge.start.hour)
            of_hours += charge.rows
        elif HOUR < length <= LONGEST_DAY:
            of_days += charge.rows
    return of_hours > of_days or any(len(found) >= MOST_HOURS for found in hours.values())


# --- Readings of a component ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inputs:
    """Everything that a validation is made of."""

    estate: Estate
    book: AwsBook
    window: Window
    regions: tuple[str, ...]
    bill: Bill
    histories: Mapping[tuple[str, dt.date], Sequence[Facts]]  # every version of a day, by source and day
    live: Live
    problems: Mapping[str, str] = field(default_factory=dict)  # why a source could not be brought up to date


def source_of(component: Component) -> str:
    """The source that a component's rows come from: aws unless all its rules name another."""
    named = {name for rule in component.rules for name in rule.sources}
    return named.pop() if len(named) == 1 and all(rule.sources for rule in component.rules) else AWS


def readings_of(name: str, inputs: Inputs) -> list[Reading]:
    """The readings of a component, the preferred one first."""
    source = source_of(inputs.estate.cost.components[name])
    if source == CONTRACTS:
        return [contract_reading(name, inputs)]
    readings = [bill_reading(name, source, inputs, inputs.window)]
    if name == CENTRAL_DC:
        readings.append(nodes_reading(inputs))
    elif name == JETSON:
        readings.append(power_reading(inputs))
    else:
        day = newest_day(source, inputs)
        if day is not None and day != inputs.window:
            readings.append(bill_reading(name, source, inputs, day))
    return readings


def newest_day(source: str, inputs: Inputs) -> Window | None:
    """The newest day of the bill, up to the window's end, that has all its hours; None without one."""
    for day in sorted((d for s, d in inputs.bill.facts if s == source), reverse=True):
        window = day_window(day)
        charges = [c for c in inputs.bill.charges if c.source == source]
        if window.end <= inputs.window.end and coverage_of(charges, window) == 1:
            return window
    return None


def day_window(day: dt.date) -> Window:
    """A day, UTC."""
    start = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
    return Window(start, start + DAY)


def bill_reading(name: str, source: str, inputs: Inputs, window: Window) -> Reading:
    """What the bill says of a component in ``window``, which may be a day before the validated one."""
    label = f"bill ({source})" if window == inputs.window else f"bill ({source}) of {window.start.date()}"
    if not inputs.bill.has(source, window.days):
        missing = ", ".join(str(day) for day in window.days if (source, day) not in inputs.bill.facts)
        why = f" ({inputs.problems[source]})" if source in inputs.problems else ""
        reason = f"no partition of {source} for {missing}{why}"
        return Reading(name, label, window, None, Decimal(0), PROVISIONAL, reason)
    if stale := _stale(window, inputs):
        return Reading(name, label, window, None, Decimal(1), PROVISIONAL, stale)
    if aside := _set_aside(name, source, inputs, window):
        return Reading(name, label, window, None, Decimal(1), PROVISIONAL, aside)
    of_source = [c for c in inputs.bill.charges if c.source == source]
    # Of every source: rules may take rows of several. A contract among them is no row to wait for: see rest_reading.
    mine = [c for c in inputs.bill.charges if c.component == name and c.source != CONTRACTS]
    coverage = coverage_of(of_source, window)
    if not any(overlap(charge, window) for charge in mine):
        reason = f"the bill has no row of it: see cost.components.{name}.rules"
        return Reading(name, label, window, None, coverage, PROVISIONAL, reason)
    judged, beside = _split(name, mine, inputs, window)
    settle = weakest([_settling(source, day, inputs) for day in window.days]) if source == AWS else ""
    age = _age(window, inputs)
    notes = () if window == inputs.window else (f"the bill's day ended {age:.1f} days before the window's end",)
    return Reading(name, label, window, judged, coverage, settle, "", notes, beside, window)


def _age(window: Window, inputs: Inputs) -> float:
    return (inputs.window.end - window.end) / DAY


def _stale(window: Window, inputs: Inputs) -> str:
    """Why the bill of ``window`` says nothing about the validated one any more; empty when it does."""
    age = _age(window, inputs)
    if age <= STALE_DAYS:
        return ""
    return f"the newest complete day of the bill ended {age:.1f} days before the window: stale after {STALE_DAYS}"


def _set_aside(name: str, source: str, inputs: Inputs, window: Window) -> str:
    """Which dollars of a component in ``window`` nobody knows; empty when all of them count."""
    facts = [inputs.bill.facts[source, day] for day in window.days]
    found = [str(one) for of_day in facts for one in of_day.aside if one.component == name]
    return f"rows of {source} can't count for it: {'; '.join(found)}" if found else ""


def _split(name: str, charges: Sequence[Charge], inputs: Inputs, window: Window) -> tuple[Decimal, Decimal]:
    """Dollars that the component's baseline is about, and the rest of the component."""
    if name != CENTRAL_DC or inputs.estate.cost.components[name].baseline_usd_month is not None:
        return sum_in(charges, window), Decimal(0)
    here = [c for c in charges if not c.region or c.region in inputs.regions]
    # No selection of regions would ever take what runs outside of the estate, and it is billed all the same.
    outside = [c for c in charges if c.region and c.region not in inputs.estate.regions]
    machines = [c for c in here if c.machine]
    return sum_in(machines, window), sum_in((*outside, *(c for c in here if not c.machine)), window)


def _settling(source: str, day: dt.date, inputs: Inputs) -> str:
    history = inputs.histories.get((source, day), ())
    return settling_of(inputs.bill.facts[source, day], history, inputs.estate.cost.settle_hours)


def nodes_reading(inputs: Inputs) -> Reading:
    """central_dc from live node-hours at the book's prices; volumes, control plane and balancers from the bill."""
    label = f"node-hours x {inputs.book.name} book {inputs.book.date}"
    missing = [region for region in inputs.regions if region not in {fleet.region for fleet in inputs.live.fleets}]
    coverage = min((fleet.coverage for fleet in inputs.live.fleets), default=Decimal(0)) if not missing else Decimal(0)
    if missing or coverage < MIN_COVERAGE:
        thin = [f"{f.region} {f.coverage * 100:.1f} %" for f in inputs.live.fleets if f.coverage < MIN_COVERAGE]
        thin += [f"{region}: {inputs.live.problems.get(region, 'not asked')}" for region in missing]
        reason = (
            f"{machine_hours.PRICE_SERIES} covers too little of the window ({', '.join(thin)}): is OpenCost running?"
        )
        return Reading(CENTRAL_DC, label, inputs.window, None, coverage, PROVISIONAL, reason)
    priced = machine_hours.price_fleet(inputs.live.fleets, inputs.book)
    if priced.usd is None:
        return Reading(CENTRAL_DC, label, inputs.window, None, coverage, PROVISIONAL, "; ".join(priced.problems[:5]))
    hours = sum((fleet.hours for fleet in inputs.live.fleets), Decimal(0))
    notes = [f"{hours:.2f} node-hours", *inputs.book.assumptions]
    beside, window, said = _beside_live(inputs)
    return Reading(
        CENTRAL_DC, label, inputs.window, priced.usd, coverage, PROVISIONAL, "", (*notes, said), beside, window
    )


def _beside_live(inputs: Inputs) -> tuple[Decimal | None, Window | None, str]:
    if inputs.estate.cost.components[CENTRAL_DC].baseline_usd_month is not None:
        return Decimal(0), None, "compared with its own baseline_usd_month"
    day = newest_day(AWS, inputs)
    reading = bill_reading(CENTRAL_DC, AWS, inputs, day) if day else None
    if reading is None or not reading.known:
        reason = reading.reason if reading else "the bill has no complete day"
        return None, None, f"volumes, control plane and balancers are unknown: {reason}"
    return reading.beside_usd, day, f"volumes, control plane and balancers from the {reading.source}"


def power_reading(inputs: Inputs) -> Reading:
    """jetson from the devices' power series."""
    metric = inputs.estate.cost.devices.power_metric
    label = f"power ({metric})"
    if inputs.live.power is None:
        return Reading(JETSON, label, inputs.window, None, Decimal(0), "", f"no series {metric} in any region")
    dollars, coverage = inputs.live.power
    return Reading(JETSON, label, inputs.window, dollars, coverage)


def power_of(series: Iterable[Series], steps: int, step: Decimal, estate: Estate) -> tuple[Decimal, Decimal] | None:
    """Dollars and coverage (0..1) of the devices' power series (watts); None without any value."""
    devices = estate.cost.devices
    values = [value for one in series for _, value in one.points if math.isfinite(value) and value >= 0]
    if not values:
        return None
    kwh = sum((Decimal(repr(value)) for value in values), Decimal(0)) * step / 3_600_000
    return kwh * devices.usd_kwh, min(Decimal(1), Decimal(len(values)) / (steps * max(1, devices.count)))


def contract_reading(name: str, inputs: Inputs) -> Reading:
    """A component that is a fixed price: its contracts, for the days of the window that they run."""
    mine = _contracts_of(inputs.estate.cost.components[name], inputs.estate)
    if not mine:
        reason = f"no contract matches cost.components.{name}.rules: add it to cost.contracts"
        return Reading(name, CONTRACTS, inputs.window, None, Decimal(0), "", reason)
    total = sum((_contract_usd(contract, inputs.window) for contract in mine), Decimal(0))
    notes = tuple(f"{c.name}: {c.usd_month} a month, {c.source}" for c in mine)
    return Reading(name, CONTRACTS, inputs.window, total, notes=notes, fixed=True)


def _contracts_of(component: Component, estate: Estate) -> list[Contract]:
    patterns = [pattern for rule in component.rules for pattern in rule.resources]
    return [one for one in estate.cost.contracts if any(fnmatch.fnmatch(one.name, pattern) for pattern in patterns)]


def _contract_usd(contract: Contract, window: Window) -> Decimal:
    first = day_window(contract.begins).start
    last = day_window(contract.ends).end if contract.ends else window.end
    seconds = (min(window.end, last) - max(window.start, first)).total_seconds()
    return contract.usd_month * max(0, int(seconds)) / (DAYS_PER_MONTH * 86_400)


# --- The whole --------------------------------------------------------------------------------------------------------


def daily_history(name: str, source: str, inputs: Inputs) -> dict[dt.date, Decimal]:
    """Dollars by complete day of a component of ``source`` in the 28 days before the window."""
    of_source = [charge for charge in inputs.bill.charges if charge.source == source]
    by_hour = is_hourly(of_source)
    by_day: dict[dt.date, list[Charge]] = defaultdict(list)
    for charge in of_source:
        by_day[charge.start.date()].append(charge)
    long = [charge for charge in of_source if charge.end - charge.start > LONGEST_DAY and charge.component == name]
    first = inputs.window.start.date()
    found: dict[dt.date, Decimal] = {}
    for day in sorted(by_day):
        window = day_window(day)
        # A row of the day before may last until some hour of this one: days in local time do.
        near = [*by_day.get(day - DAY, ()), *by_day[day]]
        if not first - HISTORY_DAYS * DAY <= day < first or coverage_of(near, window, by_hour) < 1:
            continue
        short = (one for one in near if one.component == name and one.end - one.start <= LONGEST_DAY)
        mine = [charge for charge in (*short, *long) if overlap(charge, window)]
        if mine:
            found[day] = sum(_split(name, mine, inputs, window), Decimal(0))
    return found


def validate(inputs: Inputs) -> Validation:
    """The result for the window: a line a component, what no component took, the total and the cross-checks."""
    lines = []
    for name, component in inputs.estate.cost.components.items():
        goal = goal_of(name, inputs.estate, inputs.book, inputs.regions)
        history = daily_history(name, source_of(component), inputs)
        lines.append(line_of(choose(readings_of(name, inputs)), goal, history))
    rest, rows = rest_reading(inputs)
    rest_line = line_of(rest, NO_GOAL, daily_history(UNALLOCATED, AWS, inputs))
    said = f"unknown: {rest.reason}" if rest.usd is None else f"{usd(rest.usd)} USD in {rows} rows"
    return Validation(
        window=inputs.window,
        regions=inputs.regions,
        of_regions=len(inputs.estate.regions),
        lines=tuple(lines),
        total=total_of(lines, rest_line),
        gaps=tuple(cross_checks(inputs)),
        unallocated={f"{rest.window}": said},
        inputs=_used(inputs),
    )


def cross_checks(inputs: Inputs) -> list[Gap]:
    """Bill, allocation and node-hours x price of the same window, each pair that is known."""
    measures = [m for m in (_bill_measure(inputs), *_allocations(inputs), *_live_measures(inputs)) if m]
    within = Decimal(str(inputs.estate.cost.agree_within))
    return [compare(left, right, within) for place, left in enumerate(measures) for right in measures[place + 1 :]]


def _billed(inputs: Inputs) -> bool:
    """Whether the bill covers the window itself."""
    rows = [charge for charge in inputs.bill.charges if charge.source == AWS]
    return inputs.bill.has(AWS, inputs.window.days) and coverage_of(rows, inputs.window) >= MIN_COVERAGE


def _bill_measure(inputs: Inputs) -> Measure | None:
    charges = [c for c in inputs.bill.charges if c.source == AWS and c.component == CENTRAL_DC]
    charges = [c for c in charges if not c.region or c.region in inputs.regions]
    if not charges or not _billed(inputs):
        return None
    by_key: dict[tuple[str, str, str], tuple[Decimal, Decimal]] = {}
    for charge in charges:
        if charge.machine and overlap(charge, inputs.window):
            key = (charge.region, *charge.machine)
            hours, dollars = by_key.get(key, (Decimal(0), Decimal(0)))
            by_key[key] = (
                hours + overlap(charge, inputs.window, charge.hours),
                dollars + overlap(charge, inputs.window, charge.usd),
            )
    rest = sum_in((c for c in charges if not c.machine), inputs.window)
    return Measure("bill", sum_in(charges, inputs.window), by_key, {"volumes, control plane, balancers": rest})


def _allocations(inputs: Inputs) -> list[Measure]:
    # Read with the bill's charges: their component says nothing here, an allocation splits dollars of central_dc.
    found = []
    for source in ALLOCATORS:
        charges = [c for c in inputs.bill.charges if c.source == source and c.region in inputs.regions]
        if charges and coverage_of(charges, inputs.window) >= MIN_COVERAGE:
            found.append(Measure(f"{source} allocation with idle", sum_in(charges, inputs.window)))
    return found


def _live_measures(inputs: Inputs) -> list[Measure]:
    fleets = inputs.live.fleets
    covered = {fleet.region for fleet in fleets if fleet.coverage >= MIN_COVERAGE}
    if not set(inputs.regions) <= covered:
        return []
    allocator, priced = machine_hours.allocator_sum(fleets), machine_hours.price_fleet(fleets, inputs.book)
    found = [Measure("node-hours x OpenCost's prices", allocator.usd or Decimal(0), allocator.by_key)]
    if priced.usd is not None:
        found.append(Measure(f"node-hours x {inputs.book.name} book", priced.usd, priced.by_key))
    return found


def rest_reading(inputs: Inputs) -> tuple[Reading, int]:
    """What no component takes, of the window or else of the bill's newest complete day, and in how many rows.

    A bill without such rows leaves nothing over; without a bill nobody knows.
    """
    window = inputs.window if _billed(inputs) else newest_day(AWS, inputs)
    if window is None:
        return _no_rest(inputs, "the bill has no complete day"), 0
    if stale := _stale(window, inputs):
        return _no_rest(inputs, stale), 0
    if aside := _set_aside(UNALLOCATED, AWS, inputs, window):
        return _no_rest(inputs, aside), 0
    charges = [c for c in inputs.bill.charges if c.source in bill_sources() and c.component == UNALLOCATED]
    # A contract is known from the estate, whether or not the table has its day.
    mine = [charge for charge in charges if charge.source != CONTRACTS and overlap(charge, window)]
    contracts = [_contract_usd(c, window) for c in inputs.estate.cost.contracts if not _is_taken(c, inputs)]
    coverage = coverage_of([charge for charge in inputs.bill.charges if charge.source == AWS], window)
    settling = weakest([_settling(AWS, day, inputs) for day in window.days])
    dollars = sum_in(mine, window) + sum(contracts, Decimal(0))
    rows = sum(charge.rows for charge in mine) + sum(one > 0 for one in contracts)
    return Reading(UNALLOCATED, f"bill ({AWS})", window, dollars, coverage, settling), rows


def _no_rest(inputs: Inputs, reason: str) -> Reading:
    return Reading(UNALLOCATED, f"bill ({AWS})", inputs.window, None, Decimal(0), PROVISIONAL, reason)


def _is_taken(contract: Contract, inputs: Inputs) -> bool:
    components = inputs.estate.cost.components.values()
    return any(contract in _contracts_of(one, inputs.estate) for one in components if source_of(one) == CONTRACTS)


def _used(inputs: Inputs) -> tuple[str, ...]:
    facts = inputs.bill.facts
    return tuple(f"{source} {day} {facts[source, day].content[:12]}" for source, day in sorted(facts))


def read_live(of_region: Mapping[str, Prometheus | Exception], window: Window, estate: Estate) -> Live:
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
    return Live(tuple(fleets), power, problems)


def _read_power(prometheus: Prometheus, window: Window, estate: Estate) -> tuple[Decimal, Decimal] | None:
    step, steps = machine_hours.looks_of(window.seconds)
    first = window.start.timestamp()
    last = first + float((steps - Decimal("0.5")) * step)  # as in hourly.read_fleet
    series = prometheus.query_range(estate.cost.devices.power_metric, first, last, float(step))
    return power_of(series, steps, step, estate)


def days_to_read(window: Window) -> list[dt.date]:
    """The window's days, and those before it that a fallback or the projection needs."""
    first = window.days[0] - dt.timedelta(days=HISTORY_DAYS)
    return [first + dt.timedelta(days=n) for n in range((window.days[-1] - first).days + 1)]


def gather(
    table: CostTable,
    estate: Estate,
    book: AwsBook,
    window: Window,
    regions: Sequence[str],
    of_region: Mapping[str, Prometheus | Exception],
    problems: Mapping[str, str] | None = None,
) -> Inputs:
    """Read everything that the validation of ``window`` needs; ``problems`` say why a source is out of date."""
    bill = read_bill(table, estate, days_to_read(window))
    bill = Bill((*bill.charges, *read_allocations(table, window.days)), bill.facts)
    near = [day for day in bill.facts if day[1] >= window.days[0] - (STALE_DAYS + 1) * DAY]
    histories = {(source, day): table.history(source, day) for source, day in near}
    live = read_live(of_region, window, estate)
    return Inputs(estate, book, window, tuple(regions), bill, histories, live, problems or {})


def read_allocations(table: CostTable, days: Sequence[dt.date]) -> list[Charge]:
    """The allocations' charges of ``days``; their dollars are those of the bill once more and never added to it."""
    charges = []
    with machine_hours.connect() as connection:
        for source in ALLOCATORS:
            with table.files(days, [source]) as files:
                if files:
                    charges += _charges(connection, files, source, "CAST(NULL AS VARCHAR)")
    return charges
