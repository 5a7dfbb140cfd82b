"""When a rollout may start, how long it waits, who may approve it, and whose objects it may change."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from include.estate.fields import Hour, Part, Seconds


class Windows(Part):
    """Production lengths of every wait, in seconds."""

    soak_seconds: Seconds
    gate_window_seconds: Seconds
    converge_timeout_seconds: Seconds
    approval_timeout_seconds: Seconds
    validation_window_seconds: Seconds
    # From the moment that a rollout's run is queued; the approval's time-out is part of it.
    rollout_deadline_seconds: Seconds = 2 * 24 * 3600


class ChangeWindow(Part):
    """When a rollout may start, in UTC."""

    weekdays: Annotated[tuple[Annotated[int, Field(ge=0, le=6)], ...], Field(min_length=1)]
    from_hour: Hour
    to_hour: Hour

    @model_validator(mode="after")
    def _ordered(self) -> ChangeWindow:
        if self.from_hour >= self.to_hour:
            raise ValueError(f"from_hour must be before to_hour, not {self.from_hour} and {self.to_hour}")
        return self


class Lead(enum.StrEnum):
    """How far the canary goes ahead of the other places."""

    ROLLOUT = "rollout"  # the others begin once the canary has passed the gates of every stage
    STAGE = "stage"  # the others begin a stage once the canary has passed its gates


class Governance(Part):
    """Who may approve, when a change may start, whose objects may be changed, and how far the canary goes ahead.

    ``permanent`` are the hashes of exports that their owners' repositories hold.
    """

    approvers: tuple[str, ...]
    change_window: ChangeWindow
    freeze_days: tuple[dt.date, ...]
    may_change_objects_of: tuple[str, ...]
    permanent: tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...] = ()
    canary_lead: Lead = Lead.ROLLOUT
    # Drills take things away on purpose: only the file of an estate that is not production may allow them.
    game_days: Literal["refused", "allowed"] = "refused"
    # Airflow connection of a hook that takes Prometheus away where it is no Deployment; empty where it is one.
    game_day_hook: str = ""

    def refusal(self, at: dt.datetime) -> str | None:
        """Why a rollout may not start at ``at`` (aware datetime), or None when it may."""
        at = at.astimezone(dt.UTC)
        if at.date() in self.freeze_days:
            return f"{at.date()} is a freeze day (governance.freeze_days)"
        window = self.change_window
        if at.weekday() not in window.weekdays:
            return f"{at:%A} is outside the change window (governance.change_window.weekdays)"
        if not window.from_hour <= at.hour < window.to_hour:
            return f"{at:%H:%M} UTC is outside the change window {window.from_hour}-{window.to_hour} h"
        return None
