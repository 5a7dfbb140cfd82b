"""The rows of a day's report, section by section."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

from include.cost.report.anomalies import Anomaly, DayLevel, compare_with_usual, same_class
from include.cost.report.day import PLACES, ReportDay, sum_all, sum_known
from include.cost.report.figures import NOWHERE, BillDriver
from include.cost.report.result import GIVEN, TOTAL, Row
from include.cost.sources.allocation import reconcile
from include.cost.table.bill import ALLOCATIONS, AWS, BILLS
from include.cost.table.components import CENTRAL_DC, UNALLOCATED
from include.cost.table.days import LOOK_BACK_DAYS, days_shown, week_of
from include.cost.targets import FAIL, PASS, UNKNOWN, Goal
from include.prices import DAYS_PER_MONTH, PlanBook

TOP_SERVICES, TOP_DRIVERS = 10, 5
MILLION = 1_000_000


def all_rows(of: ReportDay) -> Iterator[Row]:
    """All sections, in order."""
    yield from _total(of)
    for name in of.names:
        yield from _component(of, name)
    yield from _by(of, "region")
    yield from _by(of, "capacity")
    yield from _requests(of)
    yield from _unallocated(of)
    for source in ALLOCATIONS:
        if source in of.facts:
            yield from _allocation(of, source)
    yield from _anomalies(of)


def _total(of: ReportDay) -> Iterator[Row]:
    bills = [source for source in BILLS if source in of.facts]
    billed = sum((of.facts[source].billed_usd for source in bills), Decimal(0))
    known = sum_known(of.costs[name][of.day] for name in of.names)
    usd = of.totals[of.day]
    by_billed = sum(one.rows_by_billed for one in of.sums.get(of.day, {}).values())
    plan = PlanBook()
    yield of.row(TOTAL, "", "usd", usd, sources=bills)
    yield of.row(TOTAL, "", "known_usd", known, sources=bills)
    yield of.row(TOTAL, "", "billed_usd", None if of.unknown else billed, sources=bills)
    yield of.row(TOTAL, "", "known_billed_usd", billed if bills else None, sources=bills)
    yield of.row(TOTAL, "", "unknown_components", len(of.unknown), "components", sources=bills)
    yield of.row(TOTAL, "", "rows_without_effective_cost", by_billed, "rows", sources=bills)
    yield from _against(of, TOTAL, "", usd, _total_goal(of.goals.values()))
    week_8 = plan.week_8_total / DAYS_PER_MONTH
    yield of.row(TOTAL, "", "week_8_usd", week_8, status=GIVEN, sources=())
    yield of.row(TOTAL, "", "below_week_8_usd", None if usd is None else week_8 - usd, sources=bills)
    for week in (13, 14):
        yield of.row(TOTAL, "", f"plan_week_{week}_usd", plan.total(week) / DAYS_PER_MONTH, status=GIVEN, sources=())
    yield from _month(of, TOTAL, "", of.totals, bills)


def _component(of: ReportDay, name: str) -> Iterator[Row]:
    sums = of.sums.get(of.day, {}).get(name)
    usd, sources = of.costs[name][of.day], of.sources(name)
    yield of.row("component", name, "usd", usd, sources=sources)
    yield of.row("component", name, "known_usd", sums.usd if sums else usd, sources=sources)
    yield of.row("component", name, "known_billed_usd", sums.billed if sums else usd, sources=sources)
    yield of.row("component", name, "rows", sums.rows if sums else 0, "rows", sources=sources)
    if name != UNALLOCATED:
        judged = None if usd is None else of.readings[name].usd
        yield of.row("component", name, "judged_usd", judged, sources=sources)
        yield from _against(of, "component", name, judged, of.goals[name])
    yield from _month(of, "component", name, of.costs[name], sources)


def _against(of: ReportDay, section: str, key: str, usd: Decimal | None, goal: Goal) -> Iterator[Row]:
    sources = of.sources(key) if key else [source for source in BILLS if source in of.facts]
    target, baseline = _a_day(goal.target), _a_day(goal.baseline)
    over = None if usd is None or target is None else usd - target
    verdict = UNKNOWN if over is None else PASS if over <= 0 else FAIL
    yield of.row(section, key, "target_usd", target, status="" if target is None else GIVEN, sources=())
    yield of.row(section, key, "over_target_usd", over, status=verdict, sources=sources)
    yield of.row(section, key, "week_13_usd", baseline, status="" if baseline is None else GIVEN, sources=())
    below = None if usd is None or baseline is None else baseline - usd
    yield of.row(section, key, "below_week_13_usd", below, sources=sources)


def _month(
    of: ReportDay, section: str, key: str, costs: Mapping[dt.date, Decimal | None], sources: Iterable[str]
) -> Iterator[Row]:
    usd = costs[of.day]
    month = [costs[at] for at in days_shown(of.day) if at >= of.day.replace(day=1)]
    sources = list(sources)
    rate = None if usd is None else usd * DAYS_PER_MONTH
    parts = of.costs.values() if section == TOTAL else [costs]
    found = [part[at] for part in parts for at in days_shown(of.day) if at >= of.day.replace(day=1)]
    known = sum_known(found) if any(one is not None for one in found) else None
    yield of.row(section, key, "at_this_rate_usd_month", rate, "USD/month", sources=sources)
    yield of.row(section, key, "month_to_date_usd", sum_all(month), sources=sources)
    yield of.row(section, key, "month_to_date_known_usd", known, sources=sources)
    days = sum(one is not None for one in month)
    yield of.row(section, key, "month_to_date_known_days", days, "days", sources=sources)
    projected = _projected(of, of.names if section == TOTAL else [key], costs)
    yield of.row(section, key, "projection_usd_month", projected, "USD/month", sources=sources)


def _projected(of: ReportDay, names: Sequence[str], costs: Mapping[dt.date, Decimal | None]) -> Decimal | None:
    """The month of ``names`` together: contracts at their price, whatever they were before; the rest at its means."""
    fixed = [of.costs[name] for name in names if of.readings[name].fixed]
    price = sum_known(of_contract[of.day] for of_contract in fixed) * DAYS_PER_MONTH
    if len(fixed) == len(names):
        return price
    rest = {
        at: None if cost is None else cost - sum_known(of_contract[at] for of_contract in fixed)
        for at, cost in costs.items()
    }
    means = projection(of.day, rest)
    return None if means is None else means + price


def _by(of: ReportDay, column: str) -> Iterator[Row]:
    for name, sums in of.figures.of_day(of.day, column).items():
        if column == "capacity" and not name:
            continue  # what isn't bought by the hour
        yield of.row(column, name or NOWHERE, "usd", sums.usd, sources=BILLS)
        yield of.row(column, name or NOWHERE, "billed_usd", sums.billed, sources=BILLS)
        if column == "capacity":
            yield of.row(column, name, "node_hours", sums.node_hours, "hours", sources=[AWS])


def _requests(of: ReportDay) -> Iterator[Row]:
    regions = of.requests.regions if of.requests else {}
    usd = of.figures.of_day(of.day, "region")
    bill_known = of.readings[UNALLOCATED].coverage == 1
    for name in of.estate.regions:
        one = regions.get(name)
        number = one.requests if one else None
        yield of.row("requests", name, "requests", number, "requests", status=_measured(number), sources=())
        coverage = one.coverage if one else None
        yield of.row("requests", name, "coverage", coverage, "share", status=_measured(coverage), sources=())
        cost = usd[name].usd if bill_known and name in usd else None
        yield of.row("requests", name, "usd_per_million", _per_million(cost, number), sources=[AWS])
    total = of.requests.total if of.requests and set(regions) >= set(of.estate.regions) else None
    yield of.row("requests", TOTAL, "requests", total, "requests", status=_measured(total), sources=())
    yield of.row("requests", TOTAL, "usd_per_million", _per_million(of.totals[of.day], total), sources=BILLS)


def _unallocated(of: ReportDay) -> Iterator[Row]:
    services = of.figures.of_day(of.day, "service", UNALLOCATED)
    by_size = sorted(services.items(), key=lambda item: (-abs(item[1].usd), item[0]))
    for name, sums in by_size[:TOP_SERVICES]:
        yield of.row("unallocated", name or "no service", "usd", sums.usd, sources=[AWS])
    left = by_size[TOP_SERVICES:]
    if left:
        rest = sum((sums.usd for _, sums in left), Decimal(0))
        yield of.row("unallocated", f"{len(left)} other services", "usd", rest, sources=[AWS])


def _allocation(of: ReportDay, source: str) -> Iterator[Row]:
    """The clusters' part of the bill, split: workloads + idle + unallocated are exactly it."""
    bill, used = of.costs.get(CENTRAL_DC, {}).get(of.day), (source, *_allocated_from(of))
    workloads = of.figures.workloads(of.day, source)
    own = sum(workloads.values(), Decimal(0))
    yield of.row("allocation", source, "allocator_total_usd", own, sources=[source])
    yield of.row("allocation", source, "bill_usd", bill, sources=used)
    if bill is None:
        yield of.row("allocation", source, "gap_usd", None, sources=used)
        return
    split = reconcile(bill, workloads)
    for name, usd in split.by_name.items():
        yield of.row("allocation", f"{source} {name}", "usd", usd, sources=used)
    yield of.row("allocation", source, "idle_usd", split.idle, sources=used)
    yield of.row("allocation", source, "unallocated_usd", split.unallocated, sources=used)
    yield of.row("allocation", source, "gap_usd", split.gap, sources=used)
    share = split.gap_share
    agree = share is not None and abs(share) <= Decimal(str(of.estate.cost.agree_within))
    verdict = UNKNOWN if share is None else PASS if agree else FAIL
    yield of.row("allocation", source, "gap_share", share, "share", status=verdict, sources=used)


def _allocated_from(of: ReportDay) -> tuple[str, ...]:
    return of.sources(CENTRAL_DC) if CENTRAL_DC in of.estate.cost.components else ()


def _anomalies(of: ReportDay) -> Iterator[Row]:
    for name in (TOTAL, *of.names):
        costs = of.totals if name == TOTAL else of.costs[name]
        found = compare_with_usual(of.day, costs)
        yield from _anomaly(of, name, found)
        if found.finding in {DayLevel.HIGH, DayLevel.LOW} or (name == TOTAL and found.finding is DayLevel.NORMAL):
            before = [at for at in same_class(of.day, costs) if costs[at] is not None]
            moved = of.figures.drivers(of.day, before, "" if name == TOTAL else name, TOP_DRIVERS)
            yield from _drivers(of, name, moved)


def _anomaly(of: ReportDay, name: str, found: Anomaly) -> Iterator[Row]:
    status = str(found.finding)
    sources = BILLS if name == TOTAL else of.sources(name)
    yield of.row("anomaly", name, "usd", found.usd, status=status, sources=sources)
    yield of.row("anomaly", name, "usual_usd", found.usual, status=status, sources=sources)
    yield of.row("anomaly", name, "score", found.score, "spreads", status=status, sources=sources)
    yield of.row("anomaly", name, "days", found.days, "days", status=status, sources=sources)


def _drivers(of: ReportDay, name: str, moved: Sequence[BillDriver]) -> Iterator[Row]:
    for one in moved:
        parts = (name, one.service, one.region or NOWHERE, one.sku, one.resource)
        key = " | ".join(part or "-" for part in parts)
        yield of.row("driver", key, "change_usd", one.change, sources=BILLS)
        yield of.row("driver", key, "usd", one.usd, sources=BILLS)
        yield of.row("driver", key, "usual_usd", one.usual, sources=BILLS)


def projection(day: dt.date, costs: Mapping[dt.date, Decimal | None]) -> Decimal | None:
    """A month of 30.4 days at the means of the known weekdays and weekend days of the last four weeks.

    None unless both kinds of day are known: a weekend is not made up from weekdays.
    """
    first = day - dt.timedelta(days=LOOK_BACK_DAYS - 1)
    mean = week_of({at: cost for at, cost in costs.items() if cost is not None and first <= at <= day}).mean
    return None if mean is None else mean * DAYS_PER_MONTH


def _total_goal(goals: Iterable[Goal]) -> Goal:
    every = list(goals)
    return Goal(
        "sum",
        sum_all(goal.baseline for goal in every),
        sum_all(goal.target for goal in every),
        "the sum of the components, each in its own book",
    )


def _a_day(month: Decimal | None) -> Decimal | None:
    # Rounded as the table's money is: a contract's day must not differ from its own target by rounding.
    return None if month is None else (month / DAYS_PER_MONTH).quantize(PLACES, ROUND_HALF_EVEN)


def _per_million(usd: Decimal | None, requests: Decimal | None) -> Decimal | None:
    return None if usd is None or not requests else usd / requests * MILLION


def _measured(value: Decimal | None) -> str:
    return UNKNOWN if value is None else "measured"
