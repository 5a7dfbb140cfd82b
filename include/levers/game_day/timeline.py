"""What a drill sees: nodes and pods at each look, the least that was ready, and when all was well again. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

MOST_SAMPLES = 240  # a timeline on record has no more


@dataclass(frozen=True)
class Sample:
    """One look, ``at`` seconds after the drill began. ``missing`` says what is not yet as it was, a line each."""

    at: float
    nodes: int = 0
    spot_nodes: int = 0
    ready: int = 0
    wanted: int = 0
    waiting: int = 0
    missing: tuple[str, ...] = ()

    @property
    def ready_share(self) -> float:
        """Ready pods by wanted ones; none wanted is all."""
        return min(1.0, self.ready / self.wanted) if self.wanted else 1.0

    @property
    def well(self) -> bool:
        """Whether every pod is ready, none waits, and nothing else is missing."""
        return self.ready >= self.wanted and not self.waiting and not self.missing

    def to_json(self) -> dict[str, Any]:
        """For the ledger."""
        return asdict(self) | {"missing": list(self.missing[:3])}


def recovered_after(samples: Sequence[Sample], since: float) -> float | None:
    """Seconds from ``since`` (the last strike) to the first look from which on all was well; None when it is not yet.

    0 when nothing was ever missed.
    """
    ill = [index for index, sample in enumerate(samples) if not sample.well]
    if not ill:
        return 0.0
    if ill[-1] + 1 >= len(samples):
        return None
    return round(max(0.0, samples[ill[-1] + 1].at - since), 1)


def least_ready(samples: Sequence[Sample]) -> float:
    """The smallest share of ready pods of any look."""
    return min((sample.ready_share for sample in samples), default=1.0)


def stop_reason(sample: Sample, stop_share: float) -> str | None:
    """Why a drill is stopped at once, or None."""
    if sample.ready_share >= stop_share:
        return None
    return (
        f"stop condition met {sample.at:.0f} s after the drill began: {sample.ready} of {sample.wanted} pods are "
        f"ready, less than {stop_share:.0%}"
    )


def on_record(samples: Sequence[Sample]) -> list[Mapping[str, Any]]:
    """The timeline for the ledger: at most 240 looks, the first and the last among them."""
    if len(samples) <= MOST_SAMPLES:
        return [sample.to_json() for sample in samples]
    step = (len(samples) - 1) / (MOST_SAMPLES - 1)
    return [samples[round(index * step)].to_json() for index in range(MOST_SAMPLES)]
