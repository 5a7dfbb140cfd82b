"""What CloudWatch measures of the estate's edge: a small model, computed when somebody asks.

CloudFront's totals are the plan's, evenly over the month. The function at the edge runs where the cache misses: the
version that a distribution runs at that time, and, a week long, the trial of another size. A region's function runs
behind its alias. Durations fall with memory: at 512 MB a mean of 30 ms and a P95 of 44, at 384 MB 34 and 48.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from lab.cloud import edge_functions, moto_provisioned
from lab.cloud.cdn import MEAN_BYTES
from lab.cloud.functions import EDGE_REGION, TRIAL
from lab.cloud.notices import ACCOUNT
from lab.cloud.pace import CLOCK

MONTH = 30 * 86_400  # seconds
REQUESTS = 670e6 / MONTH  # a second, of viewers; the plan's hourly table sums to 670 M a month
REGIONAL_REQUESTS = 3.0  # a second, of a region's function
WEEK = 7 * 86_400
TRIAL_REQUESTS = 25_000 / WEEK  # a second, from a fortnight to a week before the figures are asked for
ALWAYS = (-math.inf, math.inf)
# Milliseconds from the mean of durations, by percentile.
SPREAD = ((0.0, -9.0), (50.0, -1.5), (90.0, 9.0), (95.0, 14.0), (99.0, 25.0), (100.0, 60.0))
NAMESPACES = ("AWS/CloudFront", "AWS/Lambda")


@dataclass
class Levels:
    """What a fault or a test may choose; shares are of invocations."""

    hit_percent: float = 97.0
    error_share: float = 0.0
    throttle_share: float = 0.0
    spillover_share: float = 0.0
    slower_ms: float = 0.0  # added to every duration

    def reset(self, **given: float) -> None:
        """The healthy levels, but for those given."""
        for each in fields(self):
            setattr(self, each.name, given.get(each.name, each.default))


LEVELS = Levels()


@dataclass(frozen=True)
class Sample:
    """What was measured in a span: how often, the mean, and percentiles' distances from it."""

    count: int
    mean: float
    spread: tuple[tuple[float, float], ...] = ((0.0, 0.0), (100.0, 0.0))

    def statistic(self, name: str) -> float:
        """``Sum``, ``Average``, ``SampleCount``, ``Minimum``, ``Maximum`` or a percentile such as ``p95``."""
        known = {"Sum": self.count * self.mean, "Average": self.mean, "SampleCount": self.count}
        if name in known:
            return known[name]
        percent = {"Minimum": 0.0, "Maximum": 100.0}.get(name)
        return self.mean + _at(float(name[1:]) if percent is None else percent, self.spread)


def _at(percent: float, points: tuple[tuple[float, float], ...]) -> float:
    for (low, least), (high, most) in itertools.pairwise(points):
        if percent <= high:
            return least + (most - least) * (percent - low) / (high - low)
    return points[-1][1]


def sample(region: str, namespace: str, metric: str, of: Mapping[str, str], begin: float, end: float) -> Sample | None:
    """One metric with the dimensions ``of`` in a span of Unix seconds; None where AWS has no data point."""
    end = min(end, CLOCK.now())
    if end <= begin:
        return None
    if namespace == "AWS/CloudFront":
        return _of_distribution(metric, of, end - begin) if region == EDGE_REGION else None
    return _of_function(region, metric, of, begin, end)


def _of_distribution(metric: str, of: Mapping[str, str], seconds: float) -> Sample | None:
    from moto.cloudfront.models import cloudfront_backends

    known = cloudfront_backends[ACCOUNT]["aws"].distributions
    if of.get("DistributionId") not in known or of.get("Region") != "Global" or len(of) != 2:
        return None
    means = {"Requests": 1.0, "BytesDownloaded": float(MEAN_BYTES), "CacheHitRate": LEVELS.hit_percent}
    rates = {"4xxErrorRate": 0.1, "5xxErrorRate": LEVELS.error_share * 100}
    means |= rates | {"TotalErrorRate": sum(rates.values())}
    return Sample(round(REQUESTS * seconds), means[metric]) if metric in means else None


# Functions -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Use:
    """How a function is used: requests a second in spans of Unix seconds, and its memory."""

    rate: float
    spans: tuple[tuple[float, float], ...]
    memory_mb: int

    def count(self, begin: float, end: float) -> int:
        """Invocations in a span."""
        return round(self.rate * sum(max(0.0, min(end, last) - max(begin, first)) for first, last in self.spans))


def _of_function(region: str, metric: str, of: Mapping[str, str], begin: float, end: float) -> Sample | None:
    name, resource = of.get("FunctionName", ""), of.get("Resource", "")
    uses = list(_uses(region, name, resource)) if set(of) <= {"FunctionName", "Resource"} else []
    count = sum(use.count(begin, end) for use in uses)
    if not count:
        return None
    if metric.startswith("ProvisionedConcurrency"):
        return _of_provisioned(region, metric, resource, count)
    mean = sum(duration_ms(use.memory_mb) * use.count(begin, end) for use in uses) / count
    means = {"Invocations": 1.0, "Errors": LEVELS.error_share, "Throttles": LEVELS.throttle_share}
    means["ConcurrentExecutions"] = max(1.0, count / (end - begin) * mean / 1000)
    if metric == "Duration":
        return Sample(count, mean, SPREAD)
    return Sample(count, means[metric]) if metric in means else None


def duration_ms(memory_mb: int) -> float:
    """The mean duration of the inference at a memory size."""
    return 18 + 6144 / memory_mb + LEVELS.slower_ms


def _uses(region: str, name: str, resource: str) -> Iterator[Use]:
    """Who ran as ``name`` (Lambda@Edge names replicas us-east-1.<name>); ``resource`` is name:qualifier, or empty."""
    from moto.awslambda.models import lambda_backends

    own, qualifier = name.removeprefix(f"{EDGE_REGION}."), resource.partition(":")[2]
    if resource and resource.partition(":")[0] != name:
        return
    if own != name:
        for version in edge_functions.backend().list_versions_by_function(own):
            if str(version.version) != "$LATEST" and qualifier in ("", str(version.version)):
                yield from _replicas(version)
        return
    backend = lambda_backends[ACCOUNT][region]
    for alias in backend.list_aliases(name) if any(f.function_name == name for f in backend.list_functions()) else ():
        if qualifier in ("", alias.name):
            memory = backend.get_function(name, alias.function_version).memory_size
            yield Use(REGIONAL_REQUESTS, (ALWAYS,), memory)


def _replicas(version: Any) -> Iterator[Use]:
    """A version at the edge, where the cache misses; each of the estate's regions has the same share of three."""
    missed = REQUESTS * (1 - LEVELS.hit_percent / 100)
    yield Use(missed / 3, tuple(edge_functions.ran(version.function_arn)), version.memory_size)
    if version.description == TRIAL:
        now = CLOCK.now()
        yield Use(TRIAL_REQUESTS, ((now - 2 * WEEK, now - WEEK),), version.memory_size)


def _of_provisioned(region: str, metric: str, resource: str, count: int) -> Sample | None:
    """AWS has these only while provisioned concurrency stands."""
    from moto.awslambda.models import lambda_backends

    every = moto_provisioned.of(lambda_backends[ACCOUNT][region]).values()
    had = next((one for one in every if one.arn.endswith(f":function:{resource}")), None)
    if had is None or had.allocating.running:
        return None
    spilled = LEVELS.spillover_share
    used = min(1.0, REGIONAL_REQUESTS * duration_ms(512) / 1000 / had.requested)
    means = {
        "ProvisionedConcurrencyInvocations": 1 - spilled,
        "ProvisionedConcurrencySpilloverInvocations": spilled,
        "ProvisionedConcurrencyUtilization": used,
        "ProvisionedConcurrentExecutions": float(had.requested) * used,
    }
    return Sample(count, means[metric]) if metric in means else None
