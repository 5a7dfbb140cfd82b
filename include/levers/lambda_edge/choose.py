"""Which memory size a function gets, from the durations that production had at each: pure decisions.

More memory is more CPU: a smaller size costs less a second and may take more of them, so that neither its price nor its
speed follows from the size alone. A size with too few samples is refused as data, never guessed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

MB_PER_GB = 1024
VIEWER_MB, VIEWER_SECONDS = 128, 5  # CloudFront's limits of viewer events; origin events have Lambda's own
LEAST_MB, MOST_MB = 128, 10_240
# A request is billed in full milliseconds: rounding up adds half a millisecond on average.
ROUNDING_MS = Decimal("0.5")
# Costs that differ by less are a tie: durations vary by more from one day to the next.
TIE = Decimal("0.01")


@dataclass(frozen=True)
class Measured:
    """Durations of one memory size: mean and P95 in ms over ``samples`` requests; ``source`` says where."""

    memory_mb: int
    mean_ms: Decimal
    p95_ms: Decimal
    samples: int = 0
    source: str = ""


class Aim(enum.StrEnum):
    """What a size is chosen for."""

    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    BALANCED = "balanced"


class Rates(NamedTuple):
    """USD of a request and of a GB-second."""

    request: Decimal
    gb_second: Decimal


@dataclass(frozen=True)
class Limits:
    """What a size must keep: P95 in ms at most, requests measured at least, memory in MB at most."""

    p95_ms: Decimal
    min_samples: int = 1000
    memory_mb: int = MOST_MB


@dataclass(frozen=True)
class Candidate:
    """A size with its USD for a million requests (None without prices); ``refused`` is why it can't be chosen."""

    measured: Measured
    usd_million: Decimal | None
    refused: str = ""

    def __str__(self) -> str:
        m, usd = self.measured, "price unknown" if self.usd_million is None else f"{self.usd_million:.2f} USD a million"
        text = f"{m.memory_mb} MB: mean {m.mean_ms:.1f} ms, P95 {m.p95_ms:.1f} ms, {usd}, {m.samples} samples"
        return f"{text}; refused: {self.refused}" if self.refused else text


@dataclass(frozen=True)
class Choice:
    """The size in MB, None when no size can be chosen, with every candidate in the order of sizes and the reason."""

    memory_mb: int | None
    candidates: tuple[Candidate, ...]
    reason: str


def usd_of(measured: Measured, rates: Rates, requests: Decimal) -> Decimal:
    """USD of so many requests at a size, not rounded."""
    seconds = (measured.mean_ms + ROUNDING_MS) / 1000
    return requests * (rates.request + seconds * Decimal(measured.memory_mb) / MB_PER_GB * rates.gb_second)


def choose(sizes: Iterable[Measured], aim: Aim, limits: Limits, rates: Rates | None) -> Choice:
    """The size to take. Of sizes that cost the same within one per cent the faster one is taken.

    ``balanced`` is the least sum of cost and P95, each as a share of the dearest and of the slowest. Without ``rates``
    only the fastest can be told.
    """
    found = [_judged(size, limits, rates) for size in sorted(sizes, key=lambda size: size.memory_mb)]
    usable = [candidate for candidate in found if not candidate.refused]
    if not usable:
        said = "; ".join(f"{c.measured.memory_mb} MB: {c.refused}" for c in found) or "no size was measured"
        return Choice(None, tuple(found), f"no size can be chosen: {said}")
    if rates is None and aim is not Aim.FASTEST:
        return Choice(None, tuple(found), f"the {aim.value} size can't be told: the prices are not known")
    best = _BEST[aim](usable)
    return Choice(best.measured.memory_mb, tuple(found), f"{aim.value} of {len(usable)}: {best}")


def _judged(size: Measured, limits: Limits, rates: Rates | None) -> Candidate:
    usd = None if rates is None else usd_of(size, rates, Decimal(1_000_000))
    refused = ""
    if not LEAST_MB <= size.memory_mb <= limits.memory_mb:
        refused = f"not within {LEAST_MB} to {limits.memory_mb} MB"
    elif size.samples < limits.min_samples:
        refused = f"{size.samples} of the {limits.min_samples} samples that it needs"
    elif size.p95_ms > limits.p95_ms:
        refused = f"P95 {size.p95_ms:.1f} ms is above the limit of {limits.p95_ms:g} ms"
    return Candidate(size, usd, refused)


def _speed(candidate: Candidate) -> tuple[Decimal, Decimal, int]:
    measured = candidate.measured
    return measured.p95_ms, measured.mean_ms, measured.memory_mb


def _usd(candidate: Candidate) -> Decimal:
    return candidate.usd_million or Decimal(0)


def _cheapest(usable: Sequence[Candidate]) -> Candidate:
    least = min(map(_usd, usable))
    return min((c for c in usable if _usd(c) <= least * (1 + TIE)), key=_speed)


def _fastest(usable: Sequence[Candidate]) -> Candidate:
    return min(usable, key=lambda candidate: (candidate.measured.p95_ms, _usd(candidate), *_speed(candidate)))


def _balanced(usable: Sequence[Candidate]) -> Candidate:
    dearest, slowest = max(map(_usd, usable)), max(c.measured.p95_ms for c in usable)

    def score(candidate: Candidate) -> Decimal:
        return _usd(candidate) / dearest + candidate.measured.p95_ms / slowest

    least = min(map(score, usable))
    return min((c for c in usable if score(c) <= least * (1 + TIE)), key=_speed)


_BEST = {Aim.CHEAPEST: _cheapest, Aim.FASTEST: _fastest, Aim.BALANCED: _balanced}


def merged(found: Iterable[Measured]) -> list[Measured]:
    """One entry a size: samples added, the mean weighted with them, the worst P95, since percentiles don't add up."""
    sizes: dict[int, Measured] = {}
    for one in found:
        before = sizes.get(one.memory_mb)
        sizes[one.memory_mb] = one if before is None else _added(before, one)
    return [sizes[size] for size in sorted(sizes)]


def _added(one: Measured, other: Measured) -> Measured:
    samples = one.samples + other.samples
    mean = (one.mean_ms * one.samples + other.mean_ms * other.samples) / samples if samples else one.mean_ms
    sources = ", ".join(dict.fromkeys(filter(None, (one.source, other.source))))
    return replace(one, samples=samples, mean_ms=mean, p95_ms=max(one.p95_ms, other.p95_ms), source=sources)


# What is refused whatever was measured -------------------------------------------------------------------------------


def event_refusal(events: Iterable[str], memory_mb: int) -> str:
    """Why a function associated with these events can't have another memory size; empty when it can."""
    viewers = sorted({event for event in events if event.startswith("viewer-")})
    if not viewers:
        return ""
    return (
        f"it runs on {' and '.join(viewers)} with {memory_mb} MB, and CloudFront allows viewer events {VIEWER_MB} MB "
        f"and {VIEWER_SECONDS} s at most: 512 -> 384 MB is possible on origin events only"
    )


def version_refusal(arn: str, region: str) -> str:
    """Why an association's function can't be one of Lambda@Edge; empty when it is a numbered version in ``region``."""
    parts = arn.split(":")
    if len(parts) != 8 or not parts[7].isdigit():
        return f"{arn} is no numbered version: Lambda@Edge takes no alias and no $LATEST"
    return "" if parts[3] == region else f"{arn} is in {parts[3]}: functions of Lambda@Edge live in {region}"


def units_refusal(function: str, associated: Iterable[str]) -> str:
    """Why a function can't have provisioned concurrency: one that CloudFront runs has none; empty when it can."""
    runs = next((arn for arn in associated if arn.split(":")[6:7] == [function]), None)
    if runs is None:
        return ""
    return (
        f"CloudFront runs {runs}: Lambda@Edge has no provisioned concurrency; it belongs on the alias of a regional "
        "function"
    )
