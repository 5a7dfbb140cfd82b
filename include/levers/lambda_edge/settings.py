"""What a person may choose for a run of the lever ``lambda_edge``."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from include.estate import Estate
from include.levers import world as worlds
from include.levers.edge_settings import EdgeSettings
from include.levers.lambda_edge.choose import Measured

MEMORY, PROVISIONED = SLOTS = ("memory", "provisioned")


def _measured(line: str) -> Measured:
    """``384:20000:34.1:48.0``: MB, samples, mean and P95 in ms."""
    try:
        memory, samples, mean, p95 = line.split(":")
        found = Measured(int(memory), _ms(mean), _ms(p95), int(samples), "the setting function_durations")
    except (ValueError, InvalidOperation):
        raise ValueError(
            f"{line!r} can't be read: write MB:samples:mean:P95, such as 384:20000:34.1:48.0 (ms)"
        ) from None
    if min(found.memory_mb, found.samples) <= 0 or min(found.mean_ms, found.p95_ms) <= 0:
        raise ValueError(f"{line!r} has a value that is not above 0: measure it again")
    return found


def _ms(text: str) -> Decimal:
    found = Decimal(text)
    if not found.is_finite():
        raise ValueError(text)
    return found


def _readable(lines: tuple[str, ...]) -> tuple[str, ...]:
    sizes = [_measured(line).memory_mb for line in lines]
    twice = sorted({size for size in sizes if sizes.count(size) > 1})
    if twice:
        raise ValueError(f"{twice[0]} MB is given twice: leave one line a size")
    return lines


class LambdaSettings(EdgeSettings):
    """What a person may choose for one run."""

    change_edge_memory: bool = Field(True, description="Off: the size stays; only provisioned concurrency is changed")
    memory_aim: Literal["cheapest", "balanced", "fastest"] = Field(
        "cheapest", description="What the memory size is chosen for; of a tie the faster one is taken"
    )
    function_p95_limit_ms: float = Field(
        gt=0, description="P95 of the functions in ms: a size above it is refused, and a gate fails"
    )
    duration_min_samples: int = Field(1000, ge=20, description="Requests that a size must have been measured with")
    duration_history_days: int = Field(14, ge=1, le=15, description="Days of durations that CloudWatch is asked for")
    function_durations: Annotated[tuple[str, ...], AfterValidator(_readable)] = Field(
        description="Measured elsewhere, a line a size: MB:samples:mean ms:P95 ms; for sizes with too few of production"
    )
    provisioned_units: int = Field(
        ge=0, le=100, description="Provisioned concurrency of the regional alias in each region; 0 leaves it as it is"
    )
    max_spillover: float = Field(
        0.2, ge=0, le=1, description="Share of requests that may find no provisioned unit free, 0 to 1"
    )
    watch_global_latency: bool = Field(True, description="Off: the probes of the whole world are no gate of functions")
    edge_function: str = Field(min_length=1, description="Name of the function that CloudFront runs, in us-east-1")
    regional_function: str = Field(min_length=1, description="Name of the function of each region")
    regional_alias: str = Field(min_length=1, description="The alias of it that requests go to")

    @classmethod
    def estate_defaults(cls, estate: Estate) -> dict[str, Any]:
        """Defaults of the fields that the estate decides."""
        functions = estate.edge.functions
        return {
            "edge_function": functions.edge,
            "regional_function": functions.regional,
            "regional_alias": functions.regional_alias,
            "function_p95_limit_ms": functions.p95_limit_ms,
            "function_durations": functions.durations,
            "provisioned_units": functions.provisioned_units,
        }

    @model_validator(mode="after")
    def _units_are_not_for_the_edge(self) -> LambdaSettings:
        if self.regional_function == self.edge_function and self.provisioned_units:
            raise ValueError(
                f"regional_function {self.regional_function!r} is the function of Lambda@Edge, which has no "
                "provisioned concurrency: name the function of the regions, or set provisioned_units to 0"
            )
        return self

    def measured(self) -> list[Measured]:
        """The durations that were entered."""
        return [_measured(line) for line in self.function_durations]


World = worlds.World[LambdaSettings]
