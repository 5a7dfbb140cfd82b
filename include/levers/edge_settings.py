"""What every lever of the edge asks for: one form shows it once for all of them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from include.rollout.settings import LONGEST_CONVERGENCE


class EdgeSettings(BaseModel):
    """The settings that a rollout of several levers of the edge has in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    converge_timeout_seconds: int = Field(
        600, gt=0, le=LONGEST_CONVERGENCE, description="Longest wait for what a step wrote to take effect, in seconds"
    )
