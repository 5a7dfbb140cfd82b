"""What a look of the cost guard is triggered with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from include.forms import Moment, Recurring, Regions


class GuardSettings(Recurring):
    """Where and how far back the guard looks, and whether it may ask for a cap."""

    allow_remedy: Annotated[
        bool, Field(description="On a spike ask for an approval to cap the NodePool that drives it")
    ] = False
    window_seconds: Annotated[
        int, Field(ge=5, le=86_400, description="How far back the spend rate looks, in seconds")
    ] = 900
    end: Annotated[
        Moment | None, Field(description="When the look is taken; empty: the end of the schedule's hour, or now")
    ] = None
    regions: Annotated[Regions, Field(description="Regions to watch")]
