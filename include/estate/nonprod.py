"""Non-production namespaces and the hours in which nobody needs them."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from include.estate.fields import Part

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY, _TIME = f"({'|'.join(DAYS)})", r"([01]\d|2[0-3]):([0-5]\d)"
_INTERVAL = re.compile(rf"{_DAY}(?:-{_DAY})? {_TIME} to (?:{_DAY} )?{_TIME}", re.ASCII)
_INTERVAL_REMEDY = 'write "Fri 20:00 to Mon 08:00", or "Mon-Thu 20:00 to 08:00" for each night of several days'
MINUTES_OF_A_WEEK = 7 * 24 * 60


def weekly(text: str) -> list[tuple[int, int]]:
    """The intervals of a text in minutes since Monday 00:00, local: (start, length). Raises ValueError with a remedy.

    Without an end day an interval ends when the clock next shows its end.
    """
    found = _INTERVAL.fullmatch(text)
    if found is None:
        raise ValueError(_INTERVAL_REMEDY)
    first, last, hour, minute, end_day, end_hour, end_minute = found.groups()
    if last and end_day:
        raise ValueError(f"names several first days and a last one: {_INTERVAL_REMEDY}")
    at, until = _minutes(hour, minute), _minutes(end_hour, end_minute)
    begin, end = DAYS.index(first), DAYS.index(last or first)
    days = [(begin + step) % 7 for step in range((end - begin) % 7 + 1)]
    if end_day:
        start = begin * 1440 + at
        return [(start, (DAYS.index(end_day) * 1440 + until - start) % MINUTES_OF_A_WEEK or MINUTES_OF_A_WEEK)]
    return [(day * 1440 + at, (until - at) % 1440 or 1440) for day in days]


def _minutes(hour: str, minute: str) -> int:
    return int(hour) * 60 + int(minute)


def _interval(text: str) -> str:
    weekly(text)
    return text


def _zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone: use a name such as Asia/Tokyo or Europe/Berlin") from None
    return name


class Calendar(Part):
    """When a team's namespaces are asleep: weekly intervals in local time, and whole days off."""

    timezone: Annotated[str, AfterValidator(_zone)]
    asleep: tuple[Annotated[str, AfterValidator(_interval)], ...]
    holidays: Annotated[
        str | None, Field(pattern="^[A-Z]{2}$", description="country whose public holidays are slept through")
    ] = None
    days_off: tuple[dt.date, ...] = ()

    @model_validator(mode="after")
    def _is_awake_at_times(self) -> Calendar:
        asleep = {
            minute % MINUTES_OF_A_WEEK
            for text in self.asleep
            for start, length in weekly(text)
            for minute in range(start, start + length)
        }
        if not asleep:
            raise ValueError(f"asleep is empty: {_INTERVAL_REMEDY}")
        if len(asleep) == MINUTES_OF_A_WEEK:
            raise ValueError("asleep leaves no minute of the week awake: shorten an interval, or delete the namespace")
        return self


class Nonprod(Part):
    """Which namespaces sleep by which calendar; in every region where they exist."""

    calendars: dict[str, Calendar] = Field(default_factory=dict)
    namespaces: dict[str, str] = Field(default_factory=dict)  # namespace -> name of its calendar
    default_lead_minutes: Annotated[
        int, Field(ge=0, le=240, description="how long waking takes, while none was measured")
    ] = 10

    @model_validator(mode="after")
    def _calendars_exist(self) -> Nonprod:
        for space, name in self.namespaces.items():
            if name not in self.calendars:
                known = ", ".join(self.calendars) or "none"
                raise ValueError(f"namespaces.{space}: calendar {name!r} does not exist; nonprod.calendars has {known}")
            if space.startswith("kube-"):
                raise ValueError(f"namespaces.{space} is the cluster's own and never sleeps: take it out")
        return self
