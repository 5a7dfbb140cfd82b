"""What the report of a day is triggered with."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import Field

from include.forms import Moment, Recurring


class ReportSettings(Recurring):
    """Which day, and as of when."""

    day: Annotated[
        dt.date | None,
        Field(description="Report this day (YYYY-MM-DD, UTC); empty: the day of the run's data interval"),
    ] = None
    as_of: Annotated[
        Moment | None,
        Field(
            description="Judge whether the bill has settled as of this time; empty: when its newest export was received"
        ),
    ] = None
