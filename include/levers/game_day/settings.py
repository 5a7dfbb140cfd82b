"""What a game day may be told."""

from __future__ import annotations

import enum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from include.levers.world import World as AnyWorld
from include.rollout.settings import LONGEST_CONVERGENCE

NAME = "game_day"
SLOT = "drill"
MANAGER = "akidb-game-day"
LONGEST_WATCH = 3600


Share = Annotated[float, Field(ge=0, le=1)]


class DrillName(enum.StrEnum):
    """The drills."""

    SPOT_STORM = "spot-storm"
    ZONE_LOSS = "zone-loss"
    FORECAST_OUTAGE = "forecast-outage"
    METRICS_OUTAGE = "metrics-outage"
    COST_SPIKE = "cost-spike"


class GameDaySettings(BaseModel):
    """What a person may choose for one drill."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    drill: Annotated[
        Literal["spot-storm", "zone-loss", "forecast-outage", "metrics-outage", "cost-spike"],
        Field(description="What goes wrong"),
    ] = "forecast-outage"
    fault_seconds: Annotated[
        int, Field(ge=1, le=LONGEST_WATCH, description="How long the fault stands, or the waves of a storm take")
    ] = 120
    recover_seconds: Annotated[
        int,
        Field(ge=1, le=LONGEST_WATCH, description="Hypothesis: so long after the last strike every pod is ready again"),
    ] = 600
    hold_ready_share: Share = Field(0.75, description="Hypothesis: at no moment a smaller share of the pods is ready")
    stop_ready_share: Share = Field(0.5, description="Stop condition: with a smaller share ready it ends at once")
    zone: Annotated[str, Field(description="zone-loss: which zone; empty is the one with most pods")] = ""
    storm_share: Annotated[
        float, Field(gt=0, le=1, description="spot-storm: at most this share of the spot nodes gets a notice")
    ] = 0.5
    price_history: Annotated[
        str,
        Field(description="spot-storm: CSV file of price changes that says when which node is hit; empty: made waves"),
    ] = ""
    metrics_deployment: Annotated[
        str,
        Field(pattern="^([a-z0-9.-]+/[a-z0-9.-]+)?$", description="metrics-outage: namespace/name of Prometheus"),
    ] = "monitoring/prometheus-server"
    spike_pool: Annotated[str, Field(min_length=1, description="cost-spike: NodePool that the load grows on")] = (
        "akidb-spot"
    )
    converge_timeout_seconds: Annotated[
        int, Field(gt=0, le=LONGEST_CONVERGENCE, description="Longest wait for pods or evictions, in seconds")
    ]


World = AnyWorld[GameDaySettings]
