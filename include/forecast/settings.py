"""What the forecast's scheduled DAGs are triggered with."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field

from include.forms import Recurring, Regions


class ExportSettings(Recurring):
    """Settings of traffic_export."""

    regions: Annotated[Regions, Field(description="Only these regions")]
    day: Annotated[dt.date | None, Field(description="The last day (UTC); empty: the run's.")] = None
    days: Annotated[int, Field(ge=1, le=60, description="How many days, up to and with the last one.")] = 7
    force: Annotated[bool, Field(description="Read days again that are stored whole.")] = False


class RetrainSettings(Recurring):
    """Settings of forecast_retrain."""

    regions: Annotated[Regions, Field(description="Only these regions")]
    last: Annotated[dt.date | None, Field(description="The last day to train on; empty: the newest.")] = None
    days: Annotated[int, Field(ge=5, le=60, description="How many days to train on.")] = 30
    profile: Annotated[
        Literal["fast", "quick", "seed", "none"], Field(description="The network's profile; none: no network.")
    ] = "fast"
    force: Annotated[bool, Field(description="Train although this data was judged already.")] = False


class WatchSettings(Recurring):
    """Settings of forecast_watch."""
