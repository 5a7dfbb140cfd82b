"""What a validation is triggered with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from include.forms import Moment, Recurring, Regions


class ValidationSettings(Recurring):
    """Which window of which regions; its length is the estate's unless the form says otherwise."""

    validation_window_seconds: Annotated[
        int, Field(ge=5, le=31 * 86_400, description="Length of the window in seconds")
    ]
    end: Annotated[
        Moment | None,
        Field(description="End of the window; empty: the end of the schedule's day, or now when triggered by hand"),
    ] = None
    regions: Annotated[
        Regions, Field(description="Regions whose nodes are counted and compared with their own baseline")
    ]
