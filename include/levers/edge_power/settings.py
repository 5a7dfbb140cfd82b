"""What a rollout of the power modes asks for."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from include.rollout.settings import LONGEST_CONVERGENCE


class PowerSettings(BaseModel):
    """What a person may choose for one run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    power_mode: str = Field(
        "",
        max_length=64,
        description="One mode by nvpmodel's name for all devices, rebooted into where it needs that; empty: by load",
    )
    converge_timeout_seconds: int = Field(
        600, gt=0, le=LONGEST_CONVERGENCE, description="Longest wait for what a step wrote to take effect, in seconds"
    )
