"""What the analysis of commitments is triggered with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from include.forms import Moment, Recurring


class CommitmentsSettings(Recurring):
    """Which 30 days."""

    end: Annotated[
        Moment | None,
        Field(description="End of the 30 days; empty: the end of the schedule's week, or the last midnight (UTC)"),
    ] = None
