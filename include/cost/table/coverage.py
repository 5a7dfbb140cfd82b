"""How much of a window has data, source by source: the hours that rows cover, and what a settled bill can't gain."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

from include.cost.table.bill import AWS, CONTRACTS, seconds_covered
from include.cost.table.days import HOUR, Window, day_window
from include.cost.table.reading import CostInputs
from include.cost.table.settling import PROVISIONAL, settling_of
from include.cost.table.store import Facts


def coverage(sources: Sequence[str], inputs: CostInputs, window: Window) -> Decimal:
    """Share of the window (0..1) that has data in the worst of the sources; a contract has a price at any time.

    An hour counts as covered when a row says so; in a bill that has settled also without one: nothing was used in it.
    """
    shares = [
        Decimal(sum(_seconds_of(source, inputs, window, day) for day in window.days)) / window.seconds
        for source in sources
        if source != CONTRACTS
    ]
    return min(shares, default=Decimal(1))


def _seconds_of(source: str, inputs: CostInputs, window: Window, day: dt.date) -> int:
    part = window.within(day)
    if part is None:
        return 0
    if (source, part) not in inputs.covered:
        inputs.covered[source, part] = _seconds(source, inputs, part, day)
    return inputs.covered[source, part]


def _seconds(source: str, inputs: CostInputs, part: Window, day: dt.date) -> int:
    facts = inputs.bill.facts.get((source, day))
    if facts is None or not facts.rows:
        return 0
    by_hour = inputs.bill.is_hourly(source, day)
    covered = seconds_covered(inputs.bill.near(source, part), part, by_hour)
    covered = min(covered, part.seconds - _seconds_missing(facts, part))
    # A bill that has settled won't gain the hour any more; a measurement with a gap stays one.
    settles = source == AWS and covered < part.seconds
    return part.seconds if settles and settling_of_day(source, day, inputs) != PROVISIONAL else covered


def _seconds_missing(facts: Facts, part: Window) -> int:
    start = day_window(facts.day).start
    hours = [(start + hour * HOUR, start + (hour + 1) * HOUR) for hour in facts.missing_hours]
    return sum(max(0, int((min(b, part.end) - max(a, part.start)).total_seconds())) for a, b in hours)


def missing_hours(source: str, inputs: CostInputs, window: Window) -> list[dt.datetime]:
    """The beginnings of the window's clock hours that a source has no data for."""
    begins = [day_window(day).start + hour * HOUR for day in window.days for hour in range(24)]
    hours = [Window(begin, begin + HOUR) for begin in begins if window.start <= begin < window.end]
    return [hour.start for hour in hours if _seconds_of(source, inputs, hour, hour.start.date()) < 3600]


def newest_day(sources: Sequence[str], inputs: CostInputs) -> Window | None:
    """The newest day of the bill, up to the window's end, that has all its hours in each source; None without one."""
    of_first = (day for source, day in inputs.bill.facts if source == sources[0])
    for day in sorted(of_first, reverse=True):
        window = day_window(day)
        there = window.end <= inputs.window.end and all(inputs.bill.has(one, [day]) for one in sources)
        if there and coverage(sources, inputs, window) == 1:
            return window
    return None


def settling_of_day(source: str, day: dt.date, inputs: CostInputs) -> str:
    """provisional, settled or final: the day of a source that has a partition of it."""
    return settling_of(inputs.bill.facts[source, day], inputs.history(source, day), inputs.estate.cost.settle_hours)
