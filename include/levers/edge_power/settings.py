"""What a rollout of the power modes asks for."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from include.forms import Form, Moment, Recurring
from include.rollout.settings import LONGEST_CONVERGENCE


class PowerSettings(BaseModel):
    """What a person may choose for one run."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    power_mode: str = Field(
        "",
        max_length=64,
        description="One mode by nvpmodel's name for all devices, rebooted into where it needs that; empty: by load",
    )
    converge_timeout_seconds: int = Field(
        600, gt=0, le=LONGEST_CONVERGENCE, description="Longest wait for what a step wrote to take effect, in seconds"
    )


class ScheduleSettings(Recurring):
    """What the daily planning asks for."""

    at: Moment | None = Field(None, description="A moment of the day (UTC) to plan; empty: now")


class MeasureSettings(Form):
    """What a measurement asks for."""

    dry_run: bool = Field(True, description="Only show what would be run; no mode is touched")
    device: str = Field("", max_length=64, description="Which device to measure; empty: the canary")
    seconds: int = Field(60, ge=1, le=900, description="Length of each figure")
    settle_seconds: int = Field(20, ge=0, le=300, description="Wait after each switch")
    bench: str = Field(
        "akidb-bench",
        min_length=1,
        max_length=200,
        description="Program on the device that takes it out of service, idles or saturates it, and says its QPS",
    )
    modes: tuple[str, ...] = Field((), description="nvpmodel's names; empty: every mode without a reboot")
    converge_timeout_seconds: int = Field(
        600, gt=0, le=LONGEST_CONVERGENCE, description="Longest wait for what a step wrote to take effect, in seconds"
    )
