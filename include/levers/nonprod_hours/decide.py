"""What is to be done with a namespace at a moment. Pure."""

from __future__ import annotations

import datetime as dt
import enum
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.estate import Calendar
from include.levers.nonprod_hours.calendars import ON, OPT_OUT, keep_until, sleeps_through

TICK = dt.timedelta(minutes=15)  # between two looks: what is needed before the next one is woken now
NEWEST_WAKES = 20


class Action(enum.StrEnum):
    """What a look decides."""

    SLEEP = "sleep"
    WAKE = "wake"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Seen:
    """A namespace as a look finds it. ``namespace`` is the live object, ``asleep`` whether a sleep stands complete,
    ``begun`` whether one was begun, ``woken`` whether the run was asked to wake it.
    """

    namespace: Mapping[str, Any]
    asleep: bool = False
    begun: bool = False
    woken: bool = False


@dataclass(frozen=True)
class Decision:
    """What is done with a namespace, and why."""

    action: Action
    reason: str


def decide(seen: Seen, calendar: Calendar, now: dt.datetime, lead: dt.timedelta) -> Decision:
    """What to do now. ``lead`` is how long waking takes. Raises Refused for a country or a wish that can't be read; a
    wish keeps nobody asleep who is needed by the calendar.
    """
    reason, stands = kept_awake(seen), seen.asleep or seen.begun
    if not reason:
        span = sleeps_through(calendar, now, lead + TICK)
        reason = "" if span is None and stands else _wish(seen, now)
        if span is not None and not reason:
            return _sleep(seen, f"asleep until {span.end:%a %Y-%m-%d %H:%M} UTC by its calendar")
        reason = reason or f"needed now or within {_minutes(lead + TICK)} min by its calendar"
    return Decision(Action.WAKE if stands else Action.NOTHING, reason)


def _sleep(seen: Seen, reason: str) -> Decision:
    return Decision(Action.NOTHING if seen.asleep else Action.SLEEP, reason)


def kept_awake(seen: Seen) -> str:
    """Why it is awake whatever its calendar and its wishes say; empty when nothing speaks for it."""
    return "this run was asked to wake it" if seen.woken else opted_out(seen.namespace)


def _wish(seen: Seen, now: dt.datetime) -> str:
    metadata = seen.namespace["metadata"]
    end = keep_until(metadata.get("annotations") or {}, metadata["name"], now)
    return f"kept awake until {end.astimezone(dt.UTC):%a %Y-%m-%d %H:%M} UTC" if end else ""


def opted_out(thing: Mapping[str, Any]) -> str:
    """Why the label of a namespace or workload leaves it as it is; empty when it doesn't."""
    said = (thing["metadata"].get("labels") or {}).get(OPT_OUT, ON)
    return "" if said == ON else f"its label {OPT_OUT} is {said or 'empty'}"


def lead_of(measured: Sequence[float], default_minutes: int) -> tuple[dt.timedelta, str]:
    """How long waking takes, and where that figure comes from; ``measured`` in seconds, the newest last."""
    if not measured:
        return dt.timedelta(minutes=default_minutes), f"{default_minutes} min, none measured yet"
    newest = list(measured)[-NEWEST_WAKES:]
    seconds = statistics.median(newest)
    return dt.timedelta(seconds=seconds), f"{seconds:.0f} s, the median of {len(newest)} measured"


def _minutes(length: dt.timedelta) -> int:
    return round(length.total_seconds() / 60)
