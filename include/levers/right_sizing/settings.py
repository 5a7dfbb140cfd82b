"""What the weekly proposal of new bounds is triggered with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from include.forms import Moment, Recurring, Regions


class TuneSettings(Recurring):
    """Which days of use, and of which regions."""

    days: Annotated[
        int, Field(ge=1, le=8, description="Days of use without a gap that a proposal needs; the newest 8 are read")
    ] = 7
    end: Annotated[
        Moment | None, Field(description="End of these days; empty: the end of the schedule's week, or now")
    ] = None
    regions: Annotated[Regions, Field(description="Regions whose use counts; bounds hold in all of them")]
