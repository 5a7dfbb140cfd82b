"""What a run of ``nonprod_hours`` is triggered with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from include.forms import Moment, Recurring, Regions


class HoursSettings(Recurring):
    """Where it looks, at which moment, and whom it wakes now."""

    wake: Annotated[tuple[str, ...], Field(description="Namespaces to wake now and to keep awake for keep_hours")] = ()
    keep_hours: Annotated[
        int, Field(ge=1, le=72, description="How long a namespace that is woken now stays awake, in hours")
    ] = 2
    at: Annotated[Moment | None, Field(description="The moment that is looked at; empty: now")] = None
    regions: Annotated[Regions, Field(description="Regions to look at")]
    converge_timeout_seconds: Annotated[
        int, Field(gt=0, le=3600, description="Longest wait for pods to go, or to be ready again, in seconds")
    ]
    nodes_wait_seconds: Annotated[
        int, Field(ge=0, le=1800, description="Longest wait for emptied nodes to go, in seconds; they may stay")
    ] = 300
