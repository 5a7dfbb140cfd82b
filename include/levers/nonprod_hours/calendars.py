"""Calendars as moments: when a namespace sleeps and when it is needed. Pure, but for the holidays of a country."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from include.estate import Calendar
from include.estate.nonprod import weekly
from include.rollout.lever import Refused

REACH = dt.timedelta(days=22)  # how far around a moment intervals are laid out: holidays may join several
KEEP_UNTIL = "akidb.io/keep-until"  # annotation on a namespace: awake until this moment
# Label on a namespace or workload: ``off`` leaves it as it is, and so does whatever else is not ``on``: Helm makes
# "false" of an off without quotes, and who writes Off means it.
OPT_OUT, ON = "akidb.io/nonprod-hours", "on"
LONGEST_KEEP = dt.timedelta(days=31)


@dataclass(frozen=True)
class Span:
    """From ``start`` until before ``end``, aware, in UTC."""

    start: dt.datetime
    end: dt.datetime

    def covers(self, start: dt.datetime, end: dt.datetime) -> bool:
        """Whether all of ``start`` to ``end`` lies in it."""
        return self.start <= start < self.end and end <= self.end


def utc(local: dt.datetime, zone: ZoneInfo, *, late: bool) -> dt.datetime:
    """The moment of a wall-clock time. A time that comes twice, or never, when the clock changes has two: the later
    or the earlier is taken.
    """
    both = [local.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC) for fold in (0, 1)]
    return max(both) if late else min(both)


def asleep_spans(calendar: Calendar, around: dt.datetime) -> list[Span]:
    """When it sleeps, for three weeks around a moment; what touches is joined.

    Where the clock changes sleep begins late and ends early: a namespace is rather awake for nothing than missing.
    """
    zone = ZoneInfo(calendar.timezone)
    first, last = (around - REACH).astimezone(zone).date(), (around + REACH).astimezone(zone).date()
    days = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    local = [*_weekly(calendar, days), *_days_off(calendar, days)]
    return joined(Span(utc(start, zone, late=True), utc(end, zone, late=False)) for start, end in local)


def _weekly(calendar: Calendar, days: list[dt.date]) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    intervals = [interval for text in calendar.asleep for interval in weekly(text)]
    for day in days:
        if day.weekday() == 0:
            monday = dt.datetime.combine(day, dt.time())
            for start, length in intervals:
                begin = monday + dt.timedelta(minutes=start)
                yield begin, begin + dt.timedelta(minutes=length)


def _days_off(calendar: Calendar, days: list[dt.date]) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    off = {*calendar.days_off, *public_holidays(calendar.holidays, {day.year for day in days})}
    for day in days:
        if day in off:
            midnight = dt.datetime.combine(day, dt.time())
            yield midnight, midnight + dt.timedelta(days=1)


def public_holidays(country: str | None, years: Iterable[int]) -> frozenset[dt.date]:
    """A country's public holidays. Raises Refused where the country has no calendar."""
    if country is None:
        return frozenset()
    import holidays

    if country not in holidays.list_supported_countries():
        raise Refused(
            f"estate.yaml: nonprod.calendars: holidays {country} has no calendar: use a code such as JP, or list "
            "the days under days_off"
        )
    return frozenset(holidays.country_holidays(country, years=sorted(years)))


def joined(spans: Iterable[Span]) -> list[Span]:
    """The spans in order, those that touch as one."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda one: one.start):
        if span.end <= span.start:
            continue  # all of it fell into the hour that a change of the clock takes away
        if found and span.start <= found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def sleeps_through(calendar: Calendar, start: dt.datetime, lead: dt.timedelta) -> Span | None:
    """The span of sleep that holds ``start`` and the ``lead`` after it, None when it is needed before."""
    spans = asleep_spans(calendar, start)
    return next((span for span in spans if span.covers(start, start + lead)), None)


def keep_until(annotations: Mapping[str, str], space: str, now: dt.datetime) -> dt.datetime | None:
    """Until when somebody keeps a namespace awake; None without such a wish, or once it has passed.

    Raises Refused for a wish without an end: it would never be taken back.
    """
    text = annotations.get(KEEP_UNTIL)
    if text is None:
        return None
    remedy = f"annotate it with an end within {LONGEST_KEEP.days} days, such as {now.date()}T22:00:00+00:00"
    try:
        end = dt.datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"Namespace {space} {KEEP_UNTIL} is {text!r}, no moment with an end: {remedy}") from None
    if end.tzinfo is None:
        raise Refused(f"Namespace {space} {KEEP_UNTIL} is {text!r}, without an offset from UTC: {remedy}")
    if end > now + LONGEST_KEEP:
        raise Refused(f"Namespace {space} {KEEP_UNTIL} is {text!r}, too far away to be an end: {remedy}")
    return end if end > now else None
