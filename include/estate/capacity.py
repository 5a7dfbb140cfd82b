"""What the levers may build: spot nodes, and the scaling of the workloads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from include.estate.fields import Age, Cpu, Memory, Part, Seconds, Share
from include.estate.service import Resources
from include.quantities import quantity


class Spot(Part):
    """What the spot lever may build: pool, limits, share."""

    ami_family: str
    ami_alias: str
    architecture: str
    categories: tuple[str, ...]
    sizes: tuple[str, ...]
    min_instance_types: Annotated[int, Field(ge=1)]
    max_interruption_band: Annotated[int, Field(ge=0, le=4)]
    domains: Annotated[int, Field(ge=2, le=20)]
    steps_percent: Annotated[tuple[Annotated[int, Field(gt=0, lt=100)], ...], Field(min_length=1, max_length=3)]
    cpu_limit: Cpu
    memory_limit: Memory
    expire_after: Annotated[Age, Field(description="when nodes go, whatever the budgets say; Never: when they drift")]
    consolidate_after: str
    volume_gib: Annotated[int, Field(ge=20)]
    tags: dict[str, str]

    @model_validator(mode="after")
    def _rising(self) -> Spot:
        if list(self.steps_percent) != sorted(set(self.steps_percent)):
            raise ValueError(f"steps_percent must rise, not {list(self.steps_percent)}")
        return self


class Predictor(Part):
    """The Deployment that serves the forecast."""

    image: Annotated[str, Field(min_length=1)]
    replicas: Annotated[int, Field(ge=1)]
    port: Annotated[int, Field(gt=0, lt=65536)]
    requests: Resources
    limits: Resources


class PredictiveScalingOptions(Part):
    """How the workloads scale with requests, and what a forecast may add; replicas are those of one Deployment."""

    min_replicas: Annotated[int, Field(ge=1)]
    max_replicas: Annotated[int, Field(ge=1)]
    requests: Annotated[
        dict[str, Literal["http", "grpc"]], Field(min_length=1, description="the request counter of each workload")
    ]
    polling_seconds: Seconds
    rate_window_seconds: Seconds
    scale_down_seconds: Annotated[int, Field(ge=0, le=3600)]
    fallback_failures: Annotated[int, Field(ge=1)]
    lead_minutes: Annotated[int, Field(ge=1, le=15)]
    freshness_seconds: Seconds
    act_above: Annotated[float, Field(ge=1, description="a smaller rise is left to the reactive trigger")]
    cap: Annotated[float, Field(gt=1, le=2, description="against the capacity of the ready replicas")]
    predictor: Predictor
    min_accuracy: Share
    max_naive_ratio: Annotated[float, Field(ge=1)]
    max_false_share: Share

    @model_validator(mode="after")
    def _ordered(self) -> PredictiveScalingOptions:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"needs min_replicas <= max_replicas, not {self.min_replicas} and {self.max_replicas}")
        return self


class SizeBounds(Part):
    """The least and the most that one pod of a workload may request, whatever is recommended for it."""

    least: Resources = Resources(cpu="250m", memory="512Mi")
    most: Resources = Resources(cpu="2", memory="8Gi")

    @model_validator(mode="after")
    def _ordered(self) -> SizeBounds:
        for name in ("cpu", "memory"):
            low, high = getattr(self.least, name), getattr(self.most, name)
            if quantity(low) >= quantity(high):
                raise ValueError(f"needs least.{name} < most.{name}, not {low} and {high}")
        return self


class RightSizingOptions(Part):
    """How requests follow use: bounds of each workload, how much history it takes, and when it is stopped."""

    bounds: Annotated[dict[str, SizeBounds], Field(description="by Deployment; one that is left out has the default")]
    canary: Annotated[str, Field(description="the Deployment whose running pods are resized first")] = "akidb-grpc"
    history_days: Annotated[int, Field(ge=1, le=30, description="days of use that a recommendation rests on")] = 7
    memory_margin: Annotated[float, Field(ge=1, le=3, description="never less memory than the peak, so many times")] = (
        1.15
    )
    cpu_margin: Annotated[float, Field(ge=1, le=3, description="CPU of a pod at its autoscaler's target, as often")] = (
        1.15
    )
    agree_within: Annotated[float, Field(gt=0, lt=1, description="recommender against our own figure")] = 0.05
    max_throttled: Annotated[Share, Field(description="CPU periods in which a container was throttled")] = 0.05
    max_evictions_hour: Annotated[int, Field(ge=0, description="pods that VPA's updater evicts in an hour")] = 30
    min_utilisation: Annotated[Share, Field(description="of requests, the larger of CPU and memory")] = 0.5
    max_utilisation: Annotated[float, Field(gt=0, description="above it requests are too small")] = 1.1

    def bounds_of(self, workload: str) -> SizeBounds:
        """The bounds of a Deployment."""
        return self.bounds.get(workload) or SizeBounds()
