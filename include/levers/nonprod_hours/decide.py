"""What is to be done with a namespace at a moment. Pure."""

from __future__ import annotations

import datetime as dt
import enum
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.estate import Calendar
from include.levers.nonprod_hours.calendars import OFF, OPT_OUT, keep_until, sleeps_through

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
    """What to do now. ``lead`` is how long waking takes. Raises Refused for a wish or a country that can't be read."""
    reason = _awake(seen, now)
    if not reason:
        span = sleeps_through(calendar, now, lead + TICK)
        if span is not None:
            return _sleep(seen, f"asleep until {span.end:%a %Y-%m-%d %H:%M} UTC by its calendar")
        reason = f"needed now or within {_minutes(lead + TICK)} min by its calendar"
    stands = seen.asleep or seen.begun
    return Decision(Action.WAKE if stands else Action.NOTHING, reason)


def _sleep(seen: Seen, reason: str) -> Decision:
    return Decision(Action.NOTHING if seen.asleep else Action.SLEEP, reason)


def _awake(seen: Seen, now: dt.datetime) -> str:
    """Why it is awake whatever its calendar says; empty when nothing speaks for it."""
    metadata = seen.namespace["metadata"]
    if seen.woken:
        return "this run was asked to wake it"
    if is_off(seen.namespace):
        return f"its label {OPT_OUT} is {OFF}"
    end = keep_until(metadata.get("annotations") or {}, metadata["name"], now)
    return f"kept awake until {end.astimezone(dt.UTC):%a %Y-%m-%d %H:%M} UTC" if end else ""


def is_off(thing: Mapping[str, Any]) -> bool:
    """Whether a namespace or workload has the label that leaves it as it is."""
    return bool((thing["metadata"].get("labels") or {}).get(OPT_OUT) == OFF)


def lead_of(measured: Sequence[float], default_minutes: int) -> tuple[dt.timedelta, str]:
    """How long waking takes, and where that figure comes from; ``measured`` in seconds, the newest last."""
    if not measured:
        return dt.timedelta(minutes=default_minutes), f"{default_minutes} min, none measured yet"
    newest = list(measured)[-NEWEST_WAKES:]
    seconds = statistics.median(newest)
    return dt.timedelta(seconds=seconds), f"{seconds:.0f} s, the median of {len(newest)} measured"


def _minutes(length: dt.timedelta) -> int:
    return round(length.total_seconds() / 60)
