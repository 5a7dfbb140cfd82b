"""The validation of a window: every component against its own target, and a total only when all of them are known.

Decisions only: readings in, verdicts out. A component without data is unknown, never zero and never a pass; so half a
bill can't pass for all of it. Verdicts are pass, fail and unknown; a record is provisional, settled or final.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from include.cost.table.columns import CostError
from include.cost.table.components import UNALLOCATED
from include.cost.table.store import Facts
from include.cost.validation.crosscheck import Gap
from include.estate import Component, Estate
from include.prices import DAYS_PER_MONTH, HOURS_PER_MONTH, AwsBook, PlanBook

PASS, FAIL, UNKNOWN = "pass", "fail", "unknown"
PROVISIONAL, SETTLED, FINAL = "provisional", "settled", "final"
_WEAKEST_FIRST = (PROVISIONAL, SETTLED, FINAL)
CENTRAL_DC, JETSON = "central_dc", "jetson"
MIN_COVERAGE = Decimal("0.95")  # share of the window with data, below which a figure is unknown
MIN_WEEKDAYS, MIN_WEEKEND_DAYS = 4, 2  # of history, for a projection that knows weekends
DAY_SECONDS = 86_400
_TICK = dt.timedelta(microseconds=1)
HISTORY_DAYS = 28
CENT = Decimal("0.01")
NANO = Decimal("1e-9")


@dataclass(frozen=True)
class Window:
    """[start, end), both aware."""

    start: dt.datetime
    end: dt.datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None or self.end <= self.start:
            raise CostError(f"window {self.start} to {self.end}: give two aware times, the end after the start")

    @property
    def seconds(self) -> int:
        """Its length."""
        return int((self.end - self.start).total_seconds())

    @property
    def days(self) -> list[dt.date]:
        """The days (UTC) that it touches."""
        first = self.start.astimezone(dt.UTC).date()
        last = (self.end.astimezone(dt.UTC) - dt.timedelta(microseconds=1)).date()
        return [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]

    def part(self, amount: Decimal, start: dt.datetime, end: dt.datetime) -> Decimal:
        """The part of ``amount`` that the period [start, end) has in the window, by time.

        A period without a length is its whole day (UTC): a purchase belongs to a day, not to a moment.
        """
        if end <= start:
            start = start.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            end = start + dt.timedelta(days=1)
        inside = (min(end, self.end) - max(start, self.start)) // _TICK
        # The product first: a share of a third is inexact, three hours' dollars a third of an hour are not.
        return amount * max(0, inside) / ((end - start) // _TICK)

    @property
    def name(self) -> str:
        """Such as ``20261123T000000Z-86400s``."""
        return f"{self.start.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}-{self.seconds}s"

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M:%S} to {self.end:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True)
class Reading:
    """What one source says of one component in ``window``; ``usd`` None is unknown, with its ``reason``.

    ``beside_usd`` are dollars of the component that its baseline doesn't hold, in ``beside_window``: None is unknown.
    ``settling`` is "" for a source that nobody revises (a contract, a meter).
    """

    component: str
    source: str
    window: Window
    usd: Decimal | None
    coverage: Decimal = Decimal(1)
    settling: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()
    beside_usd: Decimal | None = Decimal(0)
    beside_window: Window | None = None
    fixed: bool = False  # a price by the month: every day costs the same

    @property
    def known(self) -> bool:
        """Whether it has a figure, over enough of its window."""
        return self.usd is not None and self.coverage >= MIN_COVERAGE


@dataclass(frozen=True)
class Goal:
    """What a component is measured against, USD a month; None where it can't be told."""

    book: str
    baseline: Decimal | None
    target: Decimal | None
    derived: str


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
        plain: dict[str, Any] = json.loads(json.dumps(raw, default=_plain))
        return plain


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


# --- Targets ----------------------------------------------------------------------------------------------------------


def goal_of(name: str, estate: Estate, book: AwsBook, regions: Sequence[str]) -> Goal:
    """Target and baseline of a component. In the list book central_dc's are those of the selected ``regions``."""
    component = _component(name, estate)
    plan = PlanBook().component(name)
    if component.book == "plan":
        return Goal("plan", plan.week_13, plan.week_14, "the plan's week 13 and 14")
    baseline, text = _list_baseline(name, component, estate, book, regions)
    if baseline is None or not plan.week_13:
        return Goal("list", baseline, None, text)
    share = plan.week_14 / plan.week_13
    return Goal("list", baseline, baseline * share, f"{text}; target {share * 100:.2f} % of it, as in the plan")


def _component(name: str, estate: Estate) -> Component:
    try:
        return estate.cost.components[name]
    except KeyError:
        known = ", ".join(estate.cost.components)
        raise CostError(f"component {name!r} is not in cost.components: use one of {known}") from None


def _list_baseline(
    name: str, component: Component, estate: Estate, book: AwsBook, regions: Sequence[str]
) -> tuple[Decimal | None, str]:
    if component.baseline_usd_month is not None:
        return component.baseline_usd_month, "cost.components.baseline_usd_month"
    if name == CENTRAL_DC:
        hourly = Decimal(0)
        for region in regions:
            group = estate.region(region).node_group
            price = book.on_demand(region, group.instance_type)
            if price is None:
                return None, f"{group.instance_type} has no list price in {region}"
            hourly += price * group.size
        return hourly * HOURS_PER_MONTH, f"week 13's node groups at list price of {book.date}, {HOURS_PER_MONTH} h"
    if name == JETSON:
        devices = estate.cost.devices
        mode, watts = next(iter(devices.watts.items()))
        month = devices.count * watts / 1000 * devices.usd_kwh * HOURS_PER_MONTH
        return month, f"{devices.count} devices in mode {mode} ({watts} W) at {devices.usd_kwh} USD/kWh"
    return None, f"cost.components.{name} is in the list book and has no baseline_usd_month: add it"


# --- From a window to a month -----------------------------------------------------------------------------------------


def month_factor(window: Window, history: Mapping[dt.date, Decimal]) -> tuple[Decimal, str]:
    """What a 24-hour figure of ``window`` is multiplied by for a month of 30.4 days, and how that was derived.

    ``history``: dollars by day of the same component, the last 28 days. Weekdays and weekends count with their own
    means; with too few of either the projection is flat, and says so.
    """
    weekdays = [usd for day, usd in history.items() if day.weekday() < 5]
    weekends = [usd for day, usd in history.items() if day.weekday() >= 5]
    flat = f"x {DAYS_PER_MONTH} days, flat"
    if len(weekdays) < MIN_WEEKDAYS or len(weekends) < MIN_WEEKEND_DAYS:
        return DAYS_PER_MONTH, f"{flat}: {len(weekdays)} weekdays and {len(weekends)} weekend days of history"
    week, end = _mean(weekdays), _mean(weekends)
    share = weekday_share(window)
    here = share * week + (1 - share) * end
    if here <= 0:
        return DAYS_PER_MONTH, f"{flat}: the history of such days is zero"
    ratio = (5 * week + 2 * end) / 7 / here
    text = f"x {DAYS_PER_MONTH} days x {ratio:.4f} (weekend {end / week:.2f} of a weekday, {len(history)} days)"
    return DAYS_PER_MONTH * ratio, text if week > 0 else f"x {DAYS_PER_MONTH} days x {ratio:.4f}"


def weekday_share(window: Window) -> Decimal:
    """Share of the window's seconds that lie on Monday to Friday (UTC)."""
    inside = Decimal(0)
    for day in window.days:
        begin = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
        overlap = min(window.end, begin + dt.timedelta(days=1)) - max(window.start, begin)
        if day.weekday() < 5:
            inside += Decimal(str(overlap.total_seconds()))
    return inside / window.seconds


def scaled(usd: Decimal, window: Window) -> tuple[Decimal, str]:
    """The figure of a window as one of 24 hours; plain arithmetic, so the text says when the window is shorter."""
    if window.seconds == DAY_SECONDS:
        return usd, ""
    factor = Decimal(DAY_SECONDS) / window.seconds
    return usd * factor, f"{window.seconds} s window x {factor.normalize():f}"


def _mean(values: Sequence[Decimal]) -> Decimal:
    return sum(values, Decimal(0)) / len(values)


# --- Verdicts ---------------------------------------------------------------------------------------------------------


def choose(readings: Sequence[Reading]) -> Reading:
    """The first reading that is known, in the order of preference; else the first one with all the reasons."""
    for reading in readings:
        if reading.known:
            return reading
    reasons = "; ".join(f"{r.source}: {r.reason or _too_thin(r)}" for r in readings)
    first = readings[0]
    return Reading(
        first.component, first.source, first.window, None, max(r.coverage for r in readings), PROVISIONAL, reasons
    )


def _too_thin(reading: Reading) -> str:
    return f"{reading.coverage * 100:.1f} % of its window has data, {MIN_COVERAGE * 100:.0f} % are needed"


def judge(usd: Decimal | None, coverage: Decimal, target: Decimal | None) -> str:
    """Whether a month's dollars are within the target. Missing data may not turn a fail into a pass: then unknown."""
    if usd is None or target is None or coverage < MIN_COVERAGE:
        return UNKNOWN
    if usd > target:
        return FAIL
    return PASS if usd / coverage <= target else UNKNOWN


def line_of(reading: Reading, goal: Goal, history: Mapping[dt.date, Decimal]) -> Line:
    """The result of one component."""
    usd = reading.usd if reading.known else None
    day = month = None
    factor, projection = month_factor(reading.window, history)
    if reading.fixed:
        factor, projection = DAYS_PER_MONTH, f"x {DAYS_PER_MONTH} days, a fixed price"
    beside = None
    if usd is not None:
        day, scale = scaled(usd, reading.window)
        # Rounded far below a cent: the last digit of a division must not decide a verdict.
        month, day = (day * factor).quantize(NANO), day.quantize(NANO)
        projection = f"{scale}, {projection}".removeprefix(", ")
        beside = _beside(reading)
    verdict = judge(month, reading.coverage, goal.target)
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
        projection=projection if usd is not None else "",
        book=goal.book,
        baseline_usd_month=goal.baseline,
        target_usd_month=goal.target,
        verdict=verdict,
        settling=reading.settling,
        reason=reason,
        notes=(*reading.notes, goal.derived),
    )


def _beside(reading: Reading) -> Decimal | None:
    if reading.beside_usd is None:
        return None
    return scaled(reading.beside_usd, reading.beside_window or reading.window)[0] * DAYS_PER_MONTH


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
        verdict = FAIL if judge(known, Decimal(1), target) == FAIL else judge(most, Decimal(1), target)
        verdict = UNKNOWN if verdict == FAIL and target is not None and known <= target else verdict
    words = [line.settling for line in every if line.settling]
    return Total(
        usd_24h=day,
        usd_month=None if unknown else known,
        known_usd_month=known,
        target_usd_month=target,
        plan_usd_month=PlanBook().total(14),
        verdict=verdict,
        settling=min(words, key=_WEAKEST_FIRST.index, default=FINAL),
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


def settling_of(facts: Facts, history: Sequence[Facts], settle_hours: int) -> str:
    """provisional, settled or final for one day of a source.

    Settled: the newest export was received ``settle_hours`` after the day's end and says the same as the one before.
    ``history`` is by time of receipt (CostTable.history).
    """
    if facts.invoiced:
        return FINAL
    by_time = {record.received: record for record in (*history, facts)}
    newest = [by_time[at] for at in sorted(by_time)[-2:]]
    day_end = dt.datetime(facts.day.year, facts.day.month, facts.day.day, tzinfo=dt.UTC) + dt.timedelta(days=1)
    old_enough = newest[-1].received - day_end >= dt.timedelta(hours=settle_hours)
    agree = len(newest) == 2 and newest[0].content == newest[1].content != ""
    return SETTLED if old_enough and agree else PROVISIONAL


def weakest(words: Sequence[str]) -> str:
    """The least certain of some settling words; "" when there is none."""
    return min((word for word in words if word), key=_WEAKEST_FIRST.index, default="")


# --- What is kept and shown -------------------------------------------------------------------------------------------


def encode(record: Mapping[str, Any]) -> bytes:
    """The record's bytes: equal records have equal bytes."""
    return (json.dumps(record, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def revision_name(place: int, data: bytes) -> str:
    """Such as ``002-1f3a9c0b7e55``: the place in the chain of a window's records, and the record's hash."""
    return f"{place:03d}-{hashlib.sha256(data).hexdigest()[:12]}"


def supersedes(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a later record of the same window says more: it differs, and knows at least every component of the old.

    A source may be gone by then (Prometheus keeps its samples for some days only); what was known stays known.
    """
    return new != old and _known_in(old) <= _known_in(new)


def _known_in(record: Mapping[str, Any]) -> set[str]:
    known = {line["component"] for line in record["lines"] if line["usd_month"] is not None}
    # Older records don't have it.
    return known | ({UNALLOCATED} if record["total"].get("unallocated_usd_month") is not None else set())


def open_windows(records: Mapping[str, Mapping[str, Any]], end: dt.datetime, days: int) -> list[str]:
    """Names of the windows to validate again: not final yet, and ended up to ``days`` before ``end``.

    ``records``: the newest record by the name of its folder.
    """
    found = []
    for name, record in records.items():
        ended = dt.datetime.fromisoformat(record["window"]["end"])
        if record["total"]["settling"] != FINAL and end - dt.timedelta(days=days) <= ended < end:
            found.append(name)
    return sorted(found)


def what_is_missing(record: Mapping[str, Any]) -> str:
    """Why the total is unknown, component by component; "" when it is known or honestly failed."""
    if record["total"]["verdict"] != UNKNOWN:
        return ""
    lines = {line["component"]: line for line in record["lines"]}
    unknown = [name for name in record["total"]["unknown"] if name != UNALLOCATED]
    reasons = [f"{name}: {lines[name]['reason'] or 'its rest is unknown'}" for name in unknown]
    if len(unknown) < len(record["total"]["unknown"]):
        reasons += [f"{UNALLOCATED}: {text}" for text in record["unallocated"].values()]
    reasons += [
        f"{name}: {line['reason']}"
        for name, line in lines.items()
        if line["verdict"] == UNKNOWN and name not in record["total"]["unknown"]
    ]
    return "\n".join(reasons) or "what is missing within the coverage could lift the total above its target"


def usd(value: Decimal | str | None) -> str:
    """Dollars for people; None reads unknown."""
    return "unknown" if value is None else f"{Decimal(value).quantize(CENT, ROUND_HALF_EVEN):,}"


def to_markdown(record: Mapping[str, Any]) -> str:
    """The record as a page."""
    window, total = record["window"], record["total"]
    regions, count = record["regions"], record["of_regions"]
    scope = f"all {count} regions" if len(regions) == count else f"only {', '.join(regions)} of {count} regions"
    parts = [
        f"# Validation {window['start']} to {window['end']}\n",
        f"Window: {window['seconds']} s; {scope}. State: **{total['settling']}**. USD.\n",
        _total_text(total),
        "| component | verdict | 24 h | month | baseline | target | book | coverage | source |",
        "|---|---|---:|---:|---:|---:|---|---:|---|",
        *(_row(line) for line in record["lines"]),
        *_rest_row(total),
        f"| total | {total['verdict']} | {usd(total['usd_24h'])} | {usd(total['usd_month'])} | | "
        f"{usd(total['target_usd_month'])} | | | |\n",
        "## How each figure was made\n",
        *(_explained(line) for line in record["lines"]),
        "\n## Cross-check\n",
        *([f"- {gap['text']}" for gap in record["cross_checks"]] or ["Nothing to compare: one source only."]),
        "\n## Not allocated to a component\n",
        "Part of the total, against no target of its own.\n",
        *([f"- {what}: {text}" for what, text in record["unallocated"].items()] or ["Nothing is known of such rows."]),
    ]
    return "\n".join(parts) + "\n"


def _total_text(total: Mapping[str, Any]) -> str:
    if total["unknown"]:
        return (
            f"**Total unknown**: {', '.join(total['unknown'])} without data. What is known sums to "
            f"{usd(total['known_usd_month'])} a month; that is no total and is not judged.\n"
        )
    return (
        f"**Total {total['verdict']}**: {usd(total['usd_month'])} a month against {usd(total['target_usd_month'])} "
        f"(the plan's own figure: {usd(total['plan_usd_month'])}).\n"
    )


def _rest_row(total: Mapping[str, Any]) -> list[str]:
    # Older records don't have it in their total.
    if total.get("unallocated_usd_month") is None:
        return []
    day, month = usd(total["unallocated_usd_24h"]), usd(total["unallocated_usd_month"])
    return [f"| {UNALLOCATED} | | {day} | {month} | | | | | |"]


def _row(line: Mapping[str, Any]) -> str:
    cells = [
        line["component"],
        line["verdict"],
        usd(line["usd_24h"]),
        usd(line["usd_month"]),
        usd(line["baseline_usd_month"]),
        usd(line["target_usd_month"]),
        line["book"],
        f"{Decimal(line['coverage']) * 100:.1f} %",
        line["source"],
    ]
    return f"| {' | '.join(cells)} |"


def _explained(line: Mapping[str, Any]) -> str:
    said = [line["projection"], line["reason"], *line["notes"]]
    if line["settling"]:
        said.insert(0, line["settling"])
    beside = line["beside_usd_month"]
    if beside is not None and Decimal(beside):
        said.append(f"beside it {usd(beside)} a month that the baseline doesn't hold: in the total, not in the verdict")
    where = f"{line['window_start']} to {line['window_end']}"
    return f"- **{line['component']}** ({where}): {'; '.join(part for part in said if part)}"
