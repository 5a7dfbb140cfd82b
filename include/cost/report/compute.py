"""The cost report of a day: figures with their unit, their status and the partitions that they come from.

A pure function of the cost table, the estate, the measured requests and ``as_of``: no clock, no Airflow. A component
without data makes the total unknown; what is known of it stands beside it under a name that says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cached_property

from include.cost.report.anomalies import HISTORY_DAYS, Anomaly, Finding, judge, same_class, weekend
from include.cost.report.figures import ALLOCATIONS, BILLS, NOWHERE, Driver, Figures, opened
from include.cost.sources.allocation import reconcile
from include.cost.sources.requests import Requests
from include.cost.table.columns import CostError
from include.cost.table.components import UNALLOCATED
from include.cost.table.store import CostTable, Facts
from include.cost.validation.verdicts import CENTRAL_DC, FAIL, PASS, PROVISIONAL, UNKNOWN, Goal, goal_of, settling_of
from include.estate import Component, Estate
from include.prices import DAYS_PER_MONTH, PlanBook, PriceBookError, load_aws_book

EXPORTED = "aws"  # the source that a provider writes again until it settles; the others are measured or fixed
GIVEN = "given"  # the status of a figure that somebody set, such as a target
PLACES = Decimal(1).scaleb(-12)
TOP_SERVICES, TOP_DRIVERS = 10, 5
MILLION = 1_000_000
TOTAL = "total"


@dataclass(frozen=True)
class Row:
    """One figure. ``value`` None is unknown. ``status``: provisional, settled, final, given, unknown, or a verdict.

    ``sources`` are the partitions it was made of: ``source/day#content``.
    """

    section: str
    key: str
    metric: str
    value: Decimal | None
    unit: str
    status: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """A day's report. ``unknown`` is component -> why; ``history`` component -> day -> cost, for the pictures."""

    day: dt.date
    as_of: dt.datetime | None
    status: str
    since: dt.datetime | None  # when the provider first sent what the figures are made of
    rows: tuple[Row, ...]
    unknown: Mapping[str, str]
    inputs: tuple[Facts, ...]
    requests: Requests | None
    goals: Mapping[str, Goal]
    history: Mapping[str, Mapping[dt.date, Decimal | None]] = field(default_factory=dict)

    @cached_property
    def _index(self) -> dict[tuple[str, str, str], Row]:
        return {(row.section, row.key, row.metric): row for row in self.rows}

    def row(self, section: str, key: str, metric: str) -> Row | None:
        """The row of this name, or None when the report has none."""
        return self._index.get((section, key, metric))

    def value(self, section: str, key: str, metric: str) -> Decimal | None:
        """The figure of this name; None when it is unknown or there is none."""
        row = self.row(section, key, metric)
        return row.value if row else None

    def section(self, name: str) -> list[Row]:
        """The rows of a section, in order."""
        return [row for row in self.rows if row.section == name]


def compute_report(
    table: CostTable, day: dt.date, estate: Estate, requests: Requests | None, as_of: dt.datetime | None = None
) -> Report:
    """The report of ``day`` from what the table holds. ``as_of`` (aware) defaults to the newest ``received``.

    Raises CostError for a table whose rows and facts disagree, or when ``as_of`` is before what the table holds.
    """
    with opened(table, reads(day), day, estate) as figures:
        return _Day(table, day, estate, requests, as_of, figures).report()


def window(day: dt.date) -> list[dt.date]:
    """The days that the report of ``day`` looks at: its history and its month."""
    first = min(day - dt.timedelta(days=HISTORY_DAYS), day.replace(day=1))
    return [first + dt.timedelta(days=n) for n in range((day - first).days + 1)]


def reads(day: dt.date) -> list[dt.date]:
    """The days whose partitions the report of ``day`` is made of: its window, from the first day of a month on.

    A fee for a month is a row of the day that it begins on, and a part of the cost of every day of the month. Longer
    charges lie in earlier partitions: see ``CostTable.with_lasting``.
    """
    first = window(day)[0].replace(day=1)
    return [first + dt.timedelta(days=n) for n in range((day - first).days + 1)]


def sources_of(component: Component) -> set[str]:
    """The bill sources that a component's rows may come from."""
    return {source for rule in component.rules for source in (rule.sources or (EXPORTED,))} & set(BILLS)


class _Day:
    """What the sections of one report share."""

    def __init__(
        self,
        table: CostTable,
        day: dt.date,
        estate: Estate,
        requests: Requests | None,
        as_of: dt.datetime | None,
        figures: Figures,
    ) -> None:
        self.table, self.day, self.estate, self.requests, self.figures = table, day, estate, requests, figures
        self.facts = {source: facts for (source, at), facts in figures.facts.items() if at == day}
        self.as_of = _as_of(self.facts.values(), as_of, day)
        history = table.history(EXPORTED, day) if EXPORTED in self.facts else []
        self.history = [one for one in history if self.as_of is None or one.received <= self.as_of]
        self.status = PROVISIONAL
        if EXPORTED in self.facts:
            self.status = settling_of(self.facts[EXPORTED], self.history, estate.cost.settle_hours)
        self.sums = figures.by_component()
        self.begun_before = figures.begun_before(day)
        self.goals = {name: _goal(name, estate) for name in estate.cost.components}
        self.names = [*estate.cost.components, UNALLOCATED]
        reasons = {name: self.problem(name, day) for name in self.names}
        self.unknown = {name: reason for name, reason in reasons.items() if reason}
        self.costs = {name: {at: self.cost(name, at) for at in window(day)} for name in self.names}
        self.totals = {at: _sum_all(self.costs[name][at] for name in self.names) for at in window(day)}

    # --- What is known ---

    def problem(self, name: str, day: dt.date) -> str:
        """Why the component's cost of ``day`` is not known; empty when it is."""
        needed = {EXPORTED} if name == UNALLOCATED else sources_of(self.estate.cost.components[name])
        for source in sorted(needed):
            facts = self.figures.facts.get((source, day))
            if facts is None or not facts.rows:
                return f"source {source} has no data for {day}"
            aside = [str(one) for one in facts.aside if one.component == name]
            if aside:
                return f"rows of source {source} can't count for it on {day}: {'; '.join(aside)}"
            if facts.missing_hours and not self._settled(facts, day):
                hours = ", ".join(map(str, facts.missing_hours))
                return f"source {source} misses hour(s) {hours} of {day} (UTC)"
        if name != UNALLOCATED and name not in self.sums.get(day, {}):
            return f"source {' and '.join(sorted(needed))} has no row for it on {day}"
        return ""

    def _settled(self, facts: Facts, day: dt.date) -> bool:
        # A bill that has settled won't gain the hour any more: nothing was used in it. A measurement stays incomplete.
        if facts.source != EXPORTED:
            return False
        if day == self.day:
            return self.status != PROVISIONAL
        history = self.table.history(EXPORTED, day)
        return settling_of(facts, history, self.estate.cost.settle_hours) != PROVISIONAL

    def cost(self, name: str, day: dt.date) -> Decimal | None:
        """The component's cost of ``day``, None when it isn't known."""
        return None if self.problem(name, day) else self.part(name, day)

    def part(self, name: str, day: dt.date) -> Decimal:
        """What the table has of the component on ``day``, be it all or not."""
        found = self.sums.get(day, {}).get(name)
        return found.usd if found else Decimal(0)

    # --- Rows ---

    def report(self) -> Report:
        """All sections."""
        sections = (
            self._total(),
            *(self._component(name) for name in self.names),
            self._by("region"),
            self._by("capacity"),
            self._requests(),
            self._unallocated(),
            *(self._allocation(source) for source in ALLOCATIONS if source in self.facts),
            self._anomalies(),
        )
        return Report(
            day=self.day,
            as_of=self.as_of,
            status=self.status,
            since=self._since(),
            rows=tuple(row for section in sections for row in section),
            unknown=self.unknown,
            inputs=tuple(self.facts[source] for source in sorted(self.facts)),
            requests=self.requests,
            goals=self.goals,
            history=self.costs | {TOTAL: self.totals},
        )

    def _since(self) -> dt.datetime | None:
        """When the newest figures first stood as they are: a later export with equal rows adds nothing."""
        found = []
        for source, facts in self.facts.items():
            received = facts.received
            for one in reversed(self.history if source == EXPORTED else []):
                if one.content != facts.content:
                    break
                received = min(received, one.received)
            found.append(received)
        return max(found, default=None)

    def _row(
        self,
        section: str,
        key: str,
        metric: str,
        value: Decimal | int | None,
        unit: str = "USD",
        status: str = "",
        sources: Iterable[str] | None = None,
    ) -> Row:
        used = [name for source in sorted(self.facts if sources is None else sources) for name in self._used(source)]
        number = None if value is None else Decimal(value).quantize(PLACES, ROUND_HALF_EVEN)
        return Row(
            section,
            key,
            metric,
            number,
            unit,
            status or (UNKNOWN if number is None else self.status),
            tuple(used),
        )

    def _used(self, source: str) -> Iterator[str]:
        """The source's partitions behind a figure: those whose charges last into the day, and the day's own."""
        for at in (*self.begun_before.get(source, ()), self.day):
            facts = self.figures.facts.get((source, at))
            if facts:
                yield f"{source}/{facts.day}#{facts.content[:12]}"

    def _total(self) -> Iterator[Row]:
        bills = [source for source in BILLS if source in self.facts]
        billed = sum((self.facts[source].billed_usd for source in bills), Decimal(0))
        known = _sum_known(self.costs[name][self.day] for name in self.names)
        usd = self.totals[self.day]
        by_billed = sum(one.rows_by_billed for one in self.sums.get(self.day, {}).values())
        plan = PlanBook()
        yield self._row(TOTAL, "", "usd", usd, sources=bills)
        yield self._row(TOTAL, "", "known_usd", known, sources=bills)
        yield self._row(TOTAL, "", "billed_usd", None if self.unknown else billed, sources=bills)
        yield self._row(TOTAL, "", "known_billed_usd", billed if bills else None, sources=bills)
        yield self._row(TOTAL, "", "unknown_components", len(self.unknown), "components", sources=bills)
        yield self._row(TOTAL, "", "rows_without_effective_cost", by_billed, "rows", sources=bills)
        yield from self._against(TOTAL, "", usd, _total_goal(self.goals.values()))
        week_8 = plan.week_8_total / DAYS_PER_MONTH
        yield self._row(TOTAL, "", "week_8_usd", week_8, status=GIVEN, sources=())
        yield self._row(TOTAL, "", "below_week_8_usd", None if usd is None else week_8 - usd, sources=bills)
        for week in (13, 14):
            yield self._row(
                TOTAL, "", f"plan_week_{week}_usd", plan.total(week) / DAYS_PER_MONTH, status=GIVEN, sources=()
            )
        yield from self._month(TOTAL, "", self.totals, bills)

    def _component(self, name: str) -> Iterator[Row]:
        sums = self.sums.get(self.day, {}).get(name)
        usd, sources = self.costs[name][self.day], self._sources(name)
        yield self._row("component", name, "usd", usd, sources=sources)
        yield self._row("component", name, "known_usd", sums.usd if sums else usd, sources=sources)
        yield self._row("component", name, "known_billed_usd", sums.billed if sums else usd, sources=sources)
        yield self._row("component", name, "rows", sums.rows if sums else 0, "rows", sources=sources)
        if name != UNALLOCATED:
            judged = None if usd is None else self._judged(name, usd)
            yield self._row("component", name, "judged_usd", judged, sources=sources)
            yield from self._against("component", name, judged, self.goals[name])
        yield from self._month("component", name, self.costs[name], sources)

    def _judged(self, name: str, usd: Decimal) -> Decimal:
        """The part of the cost that the target is about: a baseline of machines is compared with machines only."""
        if (
            name != CENTRAL_DC
            or self.goals[name].book == "plan"
            or self.estate.cost.components[name].baseline_usd_month
        ):
            return usd
        machines = self.figures.of_day(self.day, "capacity", name).items()
        return sum((sums.usd for capacity, sums in machines if capacity), Decimal(0))

    def _sources(self, name: str) -> set[str]:
        return {EXPORTED} if name == UNALLOCATED else sources_of(self.estate.cost.components[name])

    def _against(self, section: str, key: str, usd: Decimal | None, goal: Goal) -> Iterator[Row]:
        sources = self._sources(key) if key else [source for source in BILLS if source in self.facts]
        target, baseline = _a_day(goal.target), _a_day(goal.baseline)
        over = None if usd is None or target is None else usd - target
        verdict = UNKNOWN if over is None else PASS if over <= 0 else FAIL
        yield self._row(section, key, "target_usd", target, status="" if target is None else GIVEN, sources=())
        yield self._row(section, key, "over_target_usd", over, status=verdict, sources=sources)
        yield self._row(section, key, "week_13_usd", baseline, status="" if baseline is None else GIVEN, sources=())
        below = None if usd is None or baseline is None else baseline - usd
        yield self._row(section, key, "below_week_13_usd", below, sources=sources)

    def _month(
        self, section: str, key: str, costs: Mapping[dt.date, Decimal | None], sources: Iterable[str]
    ) -> Iterator[Row]:
        usd = costs[self.day]
        month = [costs[at] for at in window(self.day) if at >= self.day.replace(day=1)]
        sources = list(sources)
        rate = None if usd is None else usd * DAYS_PER_MONTH
        parts = self.costs.values() if section == TOTAL else [costs]
        found = [part[at] for part in parts for at in window(self.day) if at >= self.day.replace(day=1)]
        known = _sum_known(found) if any(one is not None for one in found) else None
        yield self._row(section, key, "at_this_rate_usd_month", rate, "USD/month", sources=sources)
        yield self._row(section, key, "month_to_date_usd", _sum_all(month), sources=sources)
        yield self._row(section, key, "month_to_date_known_usd", known, sources=sources)
        days = sum(one is not None for one in month)
        yield self._row(section, key, "month_to_date_known_days", days, "days", sources=sources)
        yield self._row(section, key, "projection_usd_month", projection(self.day, costs), "USD/month", sources=sources)

    def _by(self, column: str) -> Iterator[Row]:
        for name, sums in self.figures.of_day(self.day, column).items():
            if column == "capacity" and not name:
                continue  # what isn't bought by the hour
            yield self._row(column, name or NOWHERE, "usd", sums.usd, sources=BILLS)
            yield self._row(column, name or NOWHERE, "billed_usd", sums.billed, sources=BILLS)
            if column == "capacity":
                yield self._row(column, name, "node_hours", sums.node_hours, "hours", sources=[EXPORTED])

    def _requests(self) -> Iterator[Row]:
        regions = self.requests.regions if self.requests else {}
        usd = self.figures.of_day(self.day, "region")
        bill_known = EXPORTED in self.facts and not self.figures.facts[EXPORTED, self.day].missing_hours
        for name in self.estate.regions:
            one = regions.get(name)
            number = one.requests if one else None
            yield self._row("requests", name, "requests", number, "requests", status=_measured(number), sources=())
            coverage = one.coverage if one else None
            yield self._row("requests", name, "coverage", coverage, "share", status=_measured(coverage), sources=())
            cost = usd[name].usd if bill_known and name in usd else None
            yield self._row("requests", name, "usd_per_million", _per_million(cost, number), sources=[EXPORTED])
        total = self.requests.total if self.requests and set(regions) >= set(self.estate.regions) else None
        yield self._row("requests", TOTAL, "requests", total, "requests", status=_measured(total), sources=())
        yield self._row("requests", TOTAL, "usd_per_million", _per_million(self.totals[self.day], total), sources=BILLS)

    def _unallocated(self) -> Iterator[Row]:
        services = self.figures.of_day(self.day, "service", UNALLOCATED)
        by_size = sorted(services.items(), key=lambda item: (-abs(item[1].usd), item[0]))
        for name, sums in by_size[:TOP_SERVICES]:
            yield self._row("unallocated", name or "no service", "usd", sums.usd, sources=[EXPORTED])
        left = by_size[TOP_SERVICES:]
        if left:
            rest = sum((sums.usd for _, sums in left), Decimal(0))
            yield self._row("unallocated", f"{len(left)} other services", "usd", rest, sources=[EXPORTED])

    def _allocation(self, source: str) -> Iterator[Row]:
        """The clusters' part of the bill, split: workloads + idle + unallocated are exactly it."""
        bill, used = self.costs.get(CENTRAL_DC, {}).get(self.day), (source, *self._allocated_from())
        workloads = self.figures.workloads(self.day, source)
        own = sum(workloads.values(), Decimal(0))
        yield self._row("allocation", source, "allocator_total_usd", own, sources=[source])
        yield self._row("allocation", source, "bill_usd", bill, sources=used)
        if bill is None:
            yield self._row("allocation", source, "gap_usd", None, sources=used)
            return
        split = reconcile(bill, workloads)
        for name, usd in split.by_name.items():
            yield self._row("allocation", f"{source} {name}", "usd", usd, sources=used)
        yield self._row("allocation", source, "idle_usd", split.idle, sources=used)
        yield self._row("allocation", source, "unallocated_usd", split.unallocated, sources=used)
        yield self._row("allocation", source, "gap_usd", split.gap, sources=used)
        share = split.gap_share
        agree = share is not None and abs(share) <= Decimal(str(self.estate.cost.agree_within))
        verdict = UNKNOWN if share is None else PASS if agree else FAIL
        yield self._row("allocation", source, "gap_share", share, "share", status=verdict, sources=used)

    def _allocated_from(self) -> set[str]:
        return self._sources(CENTRAL_DC) if CENTRAL_DC in self.estate.cost.components else set()

    def _anomalies(self) -> Iterator[Row]:
        for name in (TOTAL, *self.names):
            costs = self.totals if name == TOTAL else self.costs[name]
            found = judge(self.day, costs)
            yield from self._anomaly(name, found)
            if found.finding in {Finding.HIGH, Finding.LOW} or (name == TOTAL and found.finding is Finding.NORMAL):
                before = [at for at in same_class(self.day, costs) if costs[at] is not None]
                moved = self.figures.drivers(self.day, before, "" if name == TOTAL else name, TOP_DRIVERS)
                yield from self._drivers(name, moved)

    def _anomaly(self, name: str, found: Anomaly) -> Iterator[Row]:
        status = str(found.finding)
        sources = BILLS if name == TOTAL else self._sources(name)
        yield self._row("anomaly", name, "usd", found.usd, status=status, sources=sources)
        yield self._row("anomaly", name, "usual_usd", found.usual, status=status, sources=sources)
        yield self._row("anomaly", name, "score", found.score, "spreads", status=status, sources=sources)
        yield self._row("anomaly", name, "days", found.days, "days", status=status, sources=sources)

    def _drivers(self, name: str, moved: Sequence[Driver]) -> Iterator[Row]:
        for one in moved:
            parts = (name, one.service, one.region or NOWHERE, one.sku, one.resource)
            key = " | ".join(part or "-" for part in parts)
            yield self._row("driver", key, "change_usd", one.change, sources=BILLS)
            yield self._row("driver", key, "usd", one.usd, sources=BILLS)
            yield self._row("driver", key, "usual_usd", one.usual, sources=BILLS)


def projection(day: dt.date, costs: Mapping[dt.date, Decimal | None]) -> Decimal | None:
    """A month of 30.4 days at the means of the known weekdays and weekend days of the last four weeks.

    None unless both kinds of day are known: a weekend is not made up from weekdays.
    """
    first = day - dt.timedelta(days=HISTORY_DAYS - 1)
    known = {at: cost for at, cost in costs.items() if cost is not None and first <= at <= day}
    weekdays = [cost for at, cost in known.items() if not weekend(at)]
    ends = [cost for at, cost in known.items() if weekend(at)]
    if not weekdays or not ends:
        return None
    week = 5 * sum(weekdays, Decimal(0)) / len(weekdays) + 2 * sum(ends, Decimal(0)) / len(ends)
    return week / 7 * DAYS_PER_MONTH


def _as_of(facts: Iterable[Facts], as_of: dt.datetime | None, day: dt.date) -> dt.datetime | None:
    newest = max((one.received for one in facts), default=None)
    if as_of is None or newest is None:
        return as_of or newest
    if as_of < newest:
        raise CostError(
            f"as_of {as_of.isoformat()} is before what the table holds of {day} (received {newest.isoformat()}), and "
            "older rows are not kept: leave as_of out, or read the older revision of the report"
        )
    return as_of


def _goal(name: str, estate: Estate) -> Goal:
    try:
        return goal_of(name, estate, load_aws_book(estate), list(estate.regions))
    except PriceBookError as error:
        raise CostError(f"cost.components.{name}: {error}") from error


def _total_goal(goals: Iterable[Goal]) -> Goal:
    every = list(goals)
    return Goal(
        "sum",
        _sum_all(goal.baseline for goal in every),
        _sum_all(goal.target for goal in every),
        "the sum of the components, each in its own book",
    )


def _a_day(month: Decimal | None) -> Decimal | None:
    # Rounded as the table's money is: a contract's day must not differ from its own target by rounding.
    return None if month is None else (month / DAYS_PER_MONTH).quantize(PLACES, ROUND_HALF_EVEN)


def _sum_all(values: Iterable[Decimal | None]) -> Decimal | None:
    """The sum; None when one of them is unknown."""
    found = list(values)
    return None if None in found else _sum_known(found)


def _sum_known(values: Iterable[Decimal | None]) -> Decimal:
    return sum((value for value in values if value is not None), Decimal(0))


def _per_million(usd: Decimal | None, requests: Decimal | None) -> Decimal | None:
    return None if usd is None or not requests else usd / requests * MILLION


def _measured(value: Decimal | None) -> str:
    return UNKNOWN if value is None else "measured"
