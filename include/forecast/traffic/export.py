"""From Prometheus to the traffic table: requests a second of a region, minute by minute.

A minute's value is what the request counters grew by between the last samples before its start and before its end,
summed over every instance, through 60 seconds. It is computed in Prometheus (a region can have hundreds of series):

- a counter that fell was reset: what it holds now counts as its growth;
- a series that begins counts from its second sample on: less than a minute of one new pod is missing;
- a minute is null when an end of it has no sample, when its neighbour after is null (an outage began inside it), or
  when more than ``LOST_SHARE`` of the targets could not be scraped in it or beside it: a sum over half of the pods is
  not half of the traffic.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.forecast.traffic.table import (
    STEP,
    Day,
    DayFacts,
    TrafficError,
    TrafficTable,
    day_start,
    days_between,
    key_of,
)

if TYPE_CHECKING:
    from include.clients.prometheus import Prometheus
    from include.estate import Estate

DAYS_PER_REQUEST = 6  # 8,641 points; the server refuses more than 11,000
LOST_SHARE = 0.1
SETTLE_SECONDS = 120  # a minute counts as observable this long after its end: scrapes come late
DAY = dt.timedelta(days=1)
Judge = Callable[[Sequence[Day]], Mapping[dt.date, Sequence[str]]]


def request_expression(estate: Estate, region: str) -> str:
    """PromQL: requests a second of the minute that ends at the evaluated time. No value: not observed."""
    parts = []
    for metric, _ in estate.metrics.requests():
        now = f"last_over_time({metric}{{{estate.matchers(region)}}}[{STEP}s])"
        before = f"last_over_time({metric}{{{estate.matchers(region)}}}[{STEP}s] offset {STEP}s)"
        parts.append(f"sum(({now} - {before} >= 0) or ({now} and {before}))")
    return f"({' + '.join(parts)}) / {STEP}"


def lost_expression(estate: Estate, region: str) -> str:
    """PromQL: the share of the targets that no scrape reached in the minute before; only where it is too much.

    A target counts for an hour after its last sample, while Prometheus still tries it (``up`` is 0).
    """
    every = " or ".join(
        f"count by (job, instance) (last_over_time({metric}{{{estate.matchers(region)}}}[1h]))"
        for metric, _ in estate.metrics.requests()
    )
    down = f"max_over_time(up[{STEP}s]) == 0"
    return f"count(({every}) and on (job, instance) ({down})) / count({every}) > {LOST_SHARE}"


def expression_hash(estate: Estate, region: str) -> str:
    """What a stored day was read with: under other queries it is read again."""
    text = "\n".join((request_expression(estate, region), lost_expression(estate, region)))
    return hashlib.sha256(text.encode()).hexdigest()


def observable_until(now: float) -> int:
    """The first minute (Unix seconds of its start) that can't be read yet at clock time ``now``."""
    return int((now - SETTLE_SECONDS) // STEP) * STEP


def observed(prometheus: Prometheus, estate: Estate, region: str, start: int, end: int, now: float) -> dict[int, float]:
    """QPS by start of minute for the observed minutes from ``start`` up to, not including, ``end`` (Unix seconds).

    Raises PrometheusError when the server can't be asked.
    """
    end = min(end, observable_until(now))
    if end <= start:
        return {}
    # One minute more, so that an outage that begins at the end is seen; never one that can't be there yet.
    last = min(end + STEP, observable_until(now))
    found = prometheus.query_range(request_expression(estate, region), start + STEP, last, STEP)
    values = {round(at) - STEP: value for series in found for at, value in series.points}
    lost = prometheus.query_range(lost_expression(estate, region), start + STEP, last, STEP)
    return trusted(values, (round(at) - STEP for series in lost for at, _ in series.points), start, end, last)


def trusted(values: Mapping[int, float], lost: Iterable[int], start: int, end: int, last: int) -> dict[int, float]:
    """The values that may be believed: finite, no minute beside a loss, none in which an outage began.

    ``last`` is where the minutes end that were asked for; ``end`` where the answer ends.
    """
    gone = {minute + beside for minute in lost for beside in (-STEP, 0, STEP)}
    good = {minute: v for minute, v in values.items() if minute not in gone and 0 <= v < float("inf")}
    return {
        minute: good[minute]
        for minute in range(start, end, STEP)
        if minute in good and (minute + STEP in good or minute + STEP >= last)
    }


class DayState(enum.StrEnum):
    """What became of a day."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"  # asked again, nothing new
    SKIPPED = "skipped"  # every minute is stored: not asked
    KEPT = "kept"  # Prometheus knows less today than what is stored
    REFUSED = "refused"  # failed the gate, set aside
    ABSENT = "absent"  # Prometheus has nothing
    BEGINS = "begins"  # the metrics begin within this day
    FUTURE = "future"


@dataclass(frozen=True)
class DayOutcome:
    """What became of one day; ``key`` is where it lies, ``reasons`` say why it was refused, kept or is absent."""

    region: str
    day: dt.date
    state: DayState
    key: str = ""
    reasons: tuple[str, ...] = ()
    fresh: bool = True  # False: the same batch was refused before

    def to_json(self) -> dict[str, object]:
        """For XCom."""
        return {"region": self.region, "day": str(self.day), "state": str(self.state), "key": self.key} | (
            {"reasons": list(self.reasons)} if self.reasons else {}
        )

    def __str__(self) -> str:
        why = f": {'; '.join(self.reasons)}" if self.reasons else ""
        return f"{self.region} {self.day} {self.state}{why}{f' ({self.key})' if self.key else ''}"


@dataclass(frozen=True)
class Exporter:
    """Exports the days of one region. ``judge`` gives the reasons against each day, ``now`` is the clock (Unix s)."""

    prometheus: Prometheus
    estate: Estate
    region: str
    table: TrafficTable
    judge: Judge
    now: float

    def export(self, days: Sequence[dt.date], force: bool = False) -> list[DayOutcome]:
        """Bring ``days`` into the table, oldest first. Killed half way, it goes on where it stopped.

        Raises PrometheusError when the server can't be asked, TrafficError when a metric has no series at all.
        """
        outcomes = {day: known for day in days if (known := None if force else self._known(day))}
        for batch in batches([day for day in sorted(set(days)) if day not in outcomes]):
            outcomes |= {outcome.day: outcome for outcome in self._export(batch, force)}
        result = [outcomes[day] for day in sorted(set(days))]
        if result and all(outcome.state == DayState.ABSENT for outcome in result):
            self._explain_absence(result[0].day, result[-1].day)
        return result

    def _known(self, day: dt.date) -> DayOutcome | None:
        if day_start(day) >= observable_until(self.now):
            return DayOutcome(self.region, day, DayState.FUTURE, reasons=("the day has not begun",))
        facts = self.table.facts(self.region, day)
        if facts and facts.whole and facts.expression == self._expression:
            return DayOutcome(self.region, day, DayState.SKIPPED, key_of(self.region, day))
        return None

    @property
    def _expression(self) -> str:
        return expression_hash(self.estate, self.region)

    def _export(self, batch: Sequence[dt.date], force: bool) -> Iterator[DayOutcome]:
        start, end = day_start(batch[0]), day_start(batch[-1] + DAY)
        values = observed(self.prometheus, self.estate, self.region, start, end, self.now)
        days = days_between(values, self.region, batch[0], len(batch), observable_until(self.now))
        refused = self.judge([day for day in days if day.observed])
        for day in days:
            yield self._place(day, tuple(refused.get(day.day, ())), force)

    def _place(self, day: Day, reasons: tuple[str, ...], force: bool) -> DayOutcome:
        stored = None if force else self.table.facts(self.region, day.day)
        key = key_of(self.region, day.day)
        if stored and stored.expression == self._expression:
            if stored.content == day.content:
                return DayOutcome(self.region, day.day, DayState.UNCHANGED, key)
            if stored.observed > day.observed:
                why = f"{stored.observed} minutes are stored, Prometheus has {day.observed} today"
                return DayOutcome(self.region, day.day, DayState.KEPT, key, (why,))
        if not day.observed:
            return DayOutcome(self.region, day.day, DayState.ABSENT, reasons=("no minute was observed",))
        if reasons and self._begins(day):
            why = f"the metrics begin within this day ({day.observed} minutes)"
            return DayOutcome(self.region, day.day, DayState.BEGINS, reasons=(why,))
        if reasons:
            key, fresh = self.table.set_aside(day, self._expression, reasons)
            return DayOutcome(self.region, day.day, DayState.REFUSED, key, reasons, fresh)
        self.table.put(day, self._expression)
        return DayOutcome(self.region, day.day, DayState.WRITTEN, key)

    def _begins(self, day: Day) -> bool:
        """Whether nothing was there the day before and nothing is missing since the first value."""
        first = next(minute for minute, value in enumerate(day.qps) if value is not None)
        gaps = day.until - first - day.observed
        if first == 0 or gaps > 0:
            return False
        selectors = (f"{metric}{{{self.estate.matchers(self.region)}}}" for metric, _ in self.estate.metrics.requests())
        earlier = " or ".join(f"last_over_time({selector}[1d])" for selector in selectors)
        return not self.prometheus.query(f"count({earlier})", day_start(day.day))

    def _explain_absence(self, first: dt.date, last: dt.date) -> None:
        days = (last - first).days + 1
        for metric, _ in self.estate.metrics.requests():
            selector = f"{metric}{{{self.estate.matchers(self.region)}}}"
            if not self.prometheus.query(
                f"count(last_over_time({selector}[{days}d]))", min(self.now, day_start(last + DAY))
            ):
                raise TrafficError(
                    f"{self.region}: Prometheus has no series {selector} between {first} and {last}: correct "
                    "metrics.http_requests and metrics.grpc_requests in the estate's file, or choose days that "
                    "Prometheus still keeps"
                )


def batches(days: Sequence[dt.date]) -> Iterator[list[dt.date]]:
    """Runs of days that follow each other, at most ``DAYS_PER_REQUEST`` long."""
    batch: list[dt.date] = []
    for day in days:
        if batch and (day - batch[-1] != DAY or len(batch) == DAYS_PER_REQUEST):
            yield batch
            batch = []
        batch.append(day)
    if batch:
        yield batch


def days_to_export(last: dt.date, count: int) -> list[dt.date]:
    """``count`` days that end with ``last``, oldest first."""
    return [last - dt.timedelta(days=number) for number in reversed(range(count))]


def failures(outcomes: Sequence[DayOutcome], own: dt.date) -> list[DayOutcome]:
    """The outcomes that make an export fail: its own day is not there, or a day was refused for the first time."""
    stored = {DayState.WRITTEN, DayState.UNCHANGED, DayState.SKIPPED, DayState.KEPT}
    return [
        outcome
        for outcome in outcomes
        if (outcome.day == own and outcome.state not in stored) or (outcome.state == DayState.REFUSED and outcome.fresh)
    ]


def whole_facts(table: TrafficTable, region: str, days: Sequence[dt.date]) -> list[DayFacts]:
    """The facts of those of ``days`` that are stored and over."""
    found = (table.facts(region, day) for day in days)
    return [facts for facts in found if facts and facts.complete]
