"""The validation of a window: every component against its own target, and a total only when all of them are known.

Decisions only: readings in, verdicts out. A component without data is unknown, never zero and never a pass; so half a
bill can't pass for all of it. Verdicts are pass, fail and unknown; a record is provisional, settled or final.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from include.cost.table.days import Window, scaled, week_of
from include.cost.table.reading import MIN_COVERAGE, NANO, Reading
from include.cost.table.record import plain
from include.cost.table.settling import FINAL, WEAKEST_FIRST
from include.cost.targets import FAIL, PASS, UNKNOWN, Goal
from include.cost.validation.crosscheck import Gap
from include.prices import DAYS_PER_MONTH, PlanBook

MIN_WEEKDAYS, MIN_WEEKEND_DAYS = 4, 2  # of history, for a projection that knows weekends


@dataclass(frozen=True)
class Line:
    """One component's result. Dollars are Decimal; ``projection`` says how the month was made of the window."""

    component: str
    source: str
    window_start: dt.datetime
    window_end: dt.datetime
    coverage: Decimal
    usd_window: Decimal | None
    usd_24h: Decimal | None
    usd_month: Decimal | None
    beside_usd_month: Decimal | None
    projection: str
    book: str
    baseline_usd_month: Decimal | None
    target_usd_month: Decimal | None
    verdict: str
    settling: str
    reason: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Total:
    """All components together, and what none of them takes. ``usd_month`` is None unless all of it is known."""

    usd_24h: Decimal | None
    usd_month: Decimal | None
    known_usd_month: Decimal
    target_usd_month: Decimal | None
    plan_usd_month: Decimal
    verdict: str
    settling: str
    unknown: tuple[str, ...]
    unallocated_usd_24h: Decimal | None = None
    unallocated_usd_month: Decimal | None = None


@dataclass(frozen=True)
class Validation:
    """The result for one window and set of regions."""

    window: Window
    regions: tuple[str, ...]
    of_regions: int
    lines: tuple[Line, ...]
    total: Total
    gaps: tuple[Gap, ...] = ()
    unallocated: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder of its records: window and regions."""
        regions = "all" if len(self.regions) == self.of_regions else "+".join(self.regions)
        return f"validations/{self.window.name}/{regions}"

    @property
    def findings(self) -> tuple[str, ...]:
        """Gaps between two sources that are larger than the estate allows."""
        return tuple(gap.text for gap in self.gaps if gap.finding)

    def rows(self) -> list[dict[str, Any]]:
        """The lines as rows of a table, for its quality suite."""
        return [asdict(line) | {"notes": "; ".join(line.notes)} for line in self.lines]

    def to_json(self) -> dict[str, Any]:
        """The record, dollars as text: depends on nothing but the inputs."""
        raw = {
            "window": {"start": self.window.start, "end": self.window.end, "seconds": self.window.seconds},
            "regions": self.regions,
            "of_regions": self.of_regions,
            "lines": [asdict(line) for line in self.lines],
            "total": asdict(self.total),
            "cross_checks": [gap.to_json() for gap in self.gaps],
            "findings": self.findings,
            "unallocated": dict(self.unallocated),
            "inputs": self.inputs,
        }
        rendered: dict[str, Any] = json.loads(json.dumps(raw, default=plain))
        return rendered


# --- From a window to a month -----------------------------------------------------------------------------------------


def month_factor(window: Window, history: Mapping[dt.date, Decimal]) -> tuple[Decimal, str]:
    """What a 24-hour figure of ``window`` is multiplied by for a month of 30.4 days, and how that was derived.

    ``history``: dollars by day of the same component, the last 28 days. Weekdays and weekends count with their own
    means; with too few of either the projection is flat, and says so.
    """
    week, flat = week_of(history), f"x {DAYS_PER_MONTH} days, flat"
    too_few = week.weekdays < MIN_WEEKDAYS or week.weekend_days < MIN_WEEKEND_DAYS
    if too_few or week.weekday is None or week.weekend is None or week.mean is None:
        return DAYS_PER_MONTH, f"{flat}: {week.weekdays} weekdays and {week.weekend_days} weekend days of history"
    share = weekday_share(window)
    here = share * week.weekday + (1 - share) * week.weekend
    if here <= 0:
        return DAYS_PER_MONTH, f"{flat}: the history of such days is zero"
    ratio = week.mean / here
    text = f"x {DAYS_PER_MONTH} days x {ratio:.4f}"
    if week.weekday > 0:
        text += f" (weekend {week.weekend / week.weekday:.2f} of a weekday, {len(history)} days)"
    return DAYS_PER_MONTH * ratio, text


def weekday_share(window: Window) -> Decimal:
    """Share of the window's seconds that lie on Monday to Friday (UTC)."""
    inside = Decimal(0)
    for day in window.days:
        begin = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
        overlap = min(window.end, begin + dt.timedelta(days=1)) - max(window.start, begin)
        if day.weekday() < 5:
            inside += Decimal(str(overlap.total_seconds()))
    return inside / window.seconds


# --- Verdicts ---------------------------------------------------------------------------------------------------------


def verdict_of(usd: Decimal | None, coverage: Decimal, target: Decimal | None) -> str:
    """Whether a month's dollars are within the target. Missing data may not turn a fail into a pass: then unknown."""
    if usd is None or target is None or coverage < MIN_COVERAGE:
        return UNKNOWN
    if usd > target:
        return FAIL
    return PASS if usd / coverage <= target else UNKNOWN


def line_of(reading: Reading, goal: Goal, history: Mapping[dt.date, Decimal]) -> Line:
    """The result of one component."""
    daily = reading.per_day
    usd, projection = (reading.usd if daily else None), ""
    day = month = beside = None
    if daily is not None:
        day, rest = daily
        factor, projection = _factor(reading, history)
        # From the exact figure: the day's rounding must not be multiplied.
        month = (scaled(reading.usd or Decimal(0), reading.window)[0] * factor).quantize(NANO)
        beside = None if rest is None else rest * DAYS_PER_MONTH
    verdict = verdict_of(month, reading.coverage, goal.target)
    reason = reading.reason
    if verdict == UNKNOWN and not reason:
        reason = goal.derived if goal.target is None else "within the target only if what is missing cost nothing"
    return Line(
        component=reading.component,
        source=reading.source,
        window_start=reading.window.start,
        window_end=reading.window.end,
        coverage=reading.coverage,
        usd_window=usd,
        usd_24h=day,
        usd_month=month,
        beside_usd_month=beside,
        projection=projection,
        book=goal.book,
        baseline_usd_month=goal.baseline,
        target_usd_month=goal.target,
        verdict=verdict,
        settling=reading.settling,
        reason=reason,
        notes=(*reading.notes, goal.derived),
    )


def _factor(reading: Reading, history: Mapping[dt.date, Decimal]) -> tuple[Decimal, str]:
    """What 24 hours are multiplied by, and how the month was made of the window."""
    factor, projection = month_factor(reading.window, history)
    if reading.fixed:
        factor, projection = DAYS_PER_MONTH, f"x {DAYS_PER_MONTH} days, a fixed price"
    scale = scaled(Decimal(0), reading.window)[1]
    return factor, f"{scale}, {projection}".removeprefix(", ")


def total_of(lines: Sequence[Line], rest: Line | None = None) -> Total:
    """The sum over all components and ``rest``, what none of them takes and no target is for.

    One unknown figure makes the total unknown, never smaller.
    """
    every = [*lines, rest] if rest else list(lines)
    unknown = tuple(line.component for line in every if line.usd_month is None or line.beside_usd_month is None)
    known = sum((_month(line) for line in every if line.usd_month is not None), Decimal(0))
    targets = [line.target_usd_month for line in lines]
    target = None if None in targets else sum((t for t in targets if t is not None), Decimal(0))
    verdict, day = UNKNOWN, None
    if not unknown:
        most = sum((_at_most(line) for line in every), Decimal(0))
        day = sum((_day(line) for line in every), Decimal(0))
        # What is missing could lift a total above the target that is within it now: then nobody knows.
        verdict = FAIL if verdict_of(known, Decimal(1), target) == FAIL else verdict_of(most, Decimal(1), target)
        verdict = UNKNOWN if verdict == FAIL and target is not None and known <= target else verdict
    words = [line.settling for line in every if line.settling]
    return Total(
        usd_24h=day,
        usd_month=None if unknown else known,
        known_usd_month=known,
        target_usd_month=target,
        plan_usd_month=PlanBook().total(14),
        verdict=verdict,
        settling=min(words, key=WEAKEST_FIRST.index, default=FINAL),
        unknown=unknown,
        unallocated_usd_24h=rest.usd_24h if rest else None,
        unallocated_usd_month=rest.usd_month if rest else None,
    )


def _month(line: Line) -> Decimal:
    assert line.usd_month is not None
    return line.usd_month + (line.beside_usd_month or 0)


def _at_most(line: Line) -> Decimal:
    assert line.usd_month is not None
    return line.usd_month / line.coverage + (line.beside_usd_month or 0)


def _day(line: Line) -> Decimal:
    assert line.usd_24h is not None
    return line.usd_24h + (line.beside_usd_month or 0) / DAYS_PER_MONTH
