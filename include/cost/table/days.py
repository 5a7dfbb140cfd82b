"""Days and windows of time, UTC: what a report looks at, what a validation is about, and a day's part of a window."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from include.cost.table.columns import CostError

DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)
DAY_SECONDS = 86_400
LOOK_BACK_DAYS = 28  # before a day: four weeks, so that weekdays and weekends are known
_TICK = dt.timedelta(microseconds=1)


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
        last = (self.end.astimezone(dt.UTC) - _TICK).date()
        return [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]

    @property
    def is_whole_days(self) -> bool:
        """Whether it begins and ends at midnight (UTC)."""
        edges = (self.start.astimezone(dt.UTC), self.end.astimezone(dt.UTC))
        return all(edge.time() == dt.time(0) for edge in edges)

    def part(self, amount: Decimal, start: dt.datetime, end: dt.datetime) -> Decimal:
        """The part of ``amount`` that the period [start, end) has in the window, by time.

        A period without a length is its whole day (UTC): a purchase belongs to a day, not to a moment.
        """
        if end <= start:
            start = start.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            end = start + DAY
        inside = (min(end, self.end) - max(start, self.start)) // _TICK
        # The product first: a share of a third is inexact, three hours' dollars a third of an hour are not.
        return amount * max(0, inside) / ((end - start) // _TICK)

    def within(self, day: dt.date) -> Window | None:
        """The part of the window that lies on ``day`` (UTC); None when none does."""
        whole = day_window(day)
        start, end = max(self.start, whole.start), min(self.end, whole.end)
        return Window(start, end) if start < end else None

    @property
    def name(self) -> str:
        """Such as ``20261123T000000Z-86400s``."""
        return f"{self.start.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}-{self.seconds}s"

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M:%S} to {self.end:%Y-%m-%d %H:%M:%S} UTC"


def day_window(day: dt.date) -> Window:
    """A day, UTC."""
    start = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
    return Window(start, start + DAY)


def days_before(window: Window) -> list[dt.date]:
    """The window's days, and those before it that a fallback or the projection needs."""
    first = window.days[0] - dt.timedelta(days=LOOK_BACK_DAYS)
    return [first + dt.timedelta(days=n) for n in range((window.days[-1] - first).days + 1)]


def days_shown(day: dt.date) -> list[dt.date]:
    """The days that the report of ``day`` looks at: its history and its month."""
    first = min(day - dt.timedelta(days=LOOK_BACK_DAYS), day.replace(day=1))
    return [first + dt.timedelta(days=n) for n in range((day - first).days + 1)]


def days_read(day: dt.date) -> list[dt.date]:
    """The days whose partitions the report of ``day`` is made of: what it shows, from the first day of a month on.

    A fee for a month is a row of the day that it begins on, and a part of the cost of every day of the month. Longer
    charges lie in earlier partitions: see ``CostTable.with_lasting``.
    """
    first = days_shown(day)[0].replace(day=1)
    return [first + dt.timedelta(days=n) for n in range((day - first).days + 1)]


def is_weekend(day: dt.date) -> bool:
    """Whether the day is a Saturday or Sunday."""
    return day.weekday() >= 5


def scaled(usd: Decimal, window: Window) -> tuple[Decimal, str]:
    """The figure of a window as one of 24 hours; plain arithmetic, so the text says when the window is shorter."""
    if window.seconds == DAY_SECONDS:
        return usd, ""
    factor = Decimal(DAY_SECONDS) / window.seconds
    return usd * factor, f"{window.seconds} s window x {factor.normalize():f}"


@dataclass(frozen=True)
class Week:
    """Mean cost of a weekday and of a weekend day; None where no such day is known. ``days`` of each are known."""

    weekday: Decimal | None
    weekend: Decimal | None
    weekdays: int
    weekend_days: int

    @property
    def mean(self) -> Decimal | None:
        """A mean day of the week; None unless both kinds are known: a weekend is not made up from weekdays."""
        if self.weekday is None or self.weekend is None:
            return None
        return (5 * self.weekday + 2 * self.weekend) / 7


def week_of(costs: Mapping[dt.date, Decimal]) -> Week:
    """The mean week of ``costs``, US dollars by day."""
    weekdays = [cost for at, cost in costs.items() if not is_weekend(at)]
    ends = [cost for at, cost in costs.items() if is_weekend(at)]
    return Week(_mean(weekdays), _mean(ends), len(weekdays), len(ends))


def _mean(values: list[Decimal]) -> Decimal | None:
    return sum(values, Decimal(0)) / len(values) if values else None
