"""What CloudWatch knows of the functions: durations by size, and the figures of the gates.

Lambda@Edge reports in the region where a replica ran, as ``us-east-1.<function>``; the regions of the estate and
us-east-1 are asked. A percentile of several regions can't be told from theirs: the worst one counts.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from include.clients.aws import Aws
from include.levers.fields import Object
from include.levers.lambda_edge.choose import Measured, merged
from include.levers.lambda_edge.functions import EDGE_REGION, alike, aws_in
from include.levers.lambda_edge.settings import World
from include.levers.probes import GateWindow
from include.rollout.gates import Figure

NAMESPACE = "AWS/Lambda"
MINUTE, DAY = 60, 86_400  # seconds; Lambda reports once a minute
LATE = 2  # minutes until a minute's report is there
AT_ONCE = 50  # resources in one request, which may have 500 queries
STEPS = ("Invocations", "Sum")  # what tells that there was a report
STATISTICS = {
    "samples": ("Duration", "SampleCount"),
    "mean": ("Duration", "Average"),
    "p95": ("Duration", "p95"),
    "invocations": ("Invocations", "Sum"),
    "errors": ("Errors", "Sum"),
    "throttles": ("Throttles", "Sum"),
    "provisioned": ("ProvisionedConcurrencyInvocations", "Sum"),
    "spillover": ("ProvisionedConcurrencySpilloverInvocations", "Sum"),
}


@dataclass(frozen=True)
class Resource:
    """A version or alias of a function as CloudWatch names it."""

    function: str
    qualifier: str

    @classmethod
    def at_edge(cls, function: str, version: str) -> Resource:
        """A version that CloudFront runs."""
        return cls(f"{EDGE_REGION}.{function}", version)

    def dimensions(self) -> list[Object]:
        """Both are needed: with the name alone all versions are one."""
        named = {"FunctionName": self.function, "Resource": f"{self.function}:{self.qualifier}"}
        return [{"Name": name, "Value": value} for name, value in named.items()]

    def __str__(self) -> str:
        return f"{self.function}:{self.qualifier}"


@dataclass(frozen=True)
class Seen:
    """Figures of one resource in one region over a time span; what was not reported is missing.

    ``coverage`` is the share of its minutes with an invocation, but for the newest, whose report is still to come.
    """

    region: str
    values: Mapping[str, float]
    coverage: float

    def count(self, name: str) -> float:
        """A sum; Lambda reports no zeros."""
        return self.values.get(name, 0.0)


def look(aws: Aws, region: str, resources: Sequence[Resource], end: float, seconds: float) -> list[Seen]:
    """The figures of each resource in the last ``seconds`` before ``end`` (Unix seconds)."""
    found: list[Seen] = []
    for first in range(0, len(resources), AT_ONCE):
        found += _look(aws, region, resources[first : first + AT_ONCE], end, seconds)
    return found


def _look(aws: Aws, region: str, resources: Sequence[Resource], end: float, seconds: float) -> list[Seen]:
    """One request to CloudWatch."""
    whole, step = max(1, math.ceil(seconds / MINUTE)) * MINUTE, MINUTE if seconds < DAY else DAY
    steps = max(1, math.ceil(seconds / step) - (LATE if step == MINUTE else 0))
    queries = []
    for number, resource in enumerate(resources):
        asked = {**{name: (*statistic, whole) for name, statistic in STATISTICS.items()}, "steps": (*STEPS, step)}
        queries += [_query(f"{name}_{number}", resource, *statistic) for name, statistic in asked.items()]
    until = dt.datetime.fromtimestamp(end, dt.UTC)
    span = {"StartTime": until - dt.timedelta(seconds=seconds), "EndTime": until}
    found: dict[str, dict[str, list[float]]] = {}
    for result in aws.pages("cloudwatch", "get_metric_data", "MetricDataResults", MetricDataQueries=queries, **span):
        name, _, number = result["Id"].rpartition("_")
        values = found.setdefault(number, {}).setdefault(name, [])
        values += [value for value in result["Values"] if value is not None]
    every = [found.get(str(number), {}) for number in range(len(resources))]
    return [Seen(region, combined(one), min(1.0, len(one.get("steps", [])) / steps)) for one in every]


def combined(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """One figure a name: CloudWatch may cut the span in two where its periods begin. Sums add up, the worst P95 counts.

    What was reported for none of them is missing.
    """
    values = {name: math.fsum(found[name]) for name in STATISTICS if found.get(name)}
    if "p95" in values:
        values["p95"] = max(found["p95"])
    if "mean" in values:
        weights = found.get("samples", [])
        weighted = math.fsum(mean * weight for mean, weight in zip(found["mean"], weights, strict=False))
        values["mean"] = weighted / math.fsum(weights) if math.fsum(weights) else values["mean"] / len(found["mean"])
    return values


def _query(name: str, resource: Resource, metric: str, stat: str, period: int) -> Object:
    named = {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": resource.dimensions()}
    return {"Id": name, "MetricStat": {"Metric": named, "Period": period, "Stat": stat}}


def regions_of_replicas(world: World) -> list[str]:
    """Where replicas of the function at the edge are looked for."""
    return list(dict.fromkeys([EDGE_REGION, *world.estate.regions]))


def everywhere(world: World, resource: Resource, regions: Iterable[str], seconds: float) -> list[Seen]:
    """What each region reports of a resource, those without an invocation left out."""
    found = [look(aws_in(world, region), region, [resource], world.now(), seconds)[0] for region in regions]
    return [seen for seen in found if _is_used(seen)]


def _is_used(seen: Seen) -> bool:
    return bool(seen.count("invocations") or seen.count("samples"))


# Durations by size ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class History:
    """What production tells: an entry a size, and requests a month; None where nothing was reported."""

    sizes: tuple[Measured, ...]
    requests_month: Decimal | None


def history(world: World, every: Sequence[Object], current: Object, days_per_month: Decimal) -> History:
    """Durations of each size of the code that runs; what was entered counts where production's are too few."""
    days, function = world.settings.duration_history_days, world.settings.edge_function
    similar = alike(every, current)
    resources = [Resource.at_edge(function, version["Version"]) for version in similar]
    found: list[Measured] = []
    requests = 0.0
    for region in regions_of_replicas(world):
        reported = look(aws_in(world, region), region, resources, world.now(), days * DAY)
        for version, seen in zip(similar, reported, strict=True):
            found += _durations(version["MemorySize"], seen, f"version {version['Version']}")
            requests += seen.count("invocations")
    enough = [size for size in merged(found) if size.samples >= world.settings.duration_min_samples]
    sizes = {size.memory_mb: size for size in [*merged(found), *world.settings.measured(), *enough]}
    month = Decimal(str(requests)) * days_per_month / days if requests else None
    return History(tuple(sizes[size] for size in sorted(sizes)), month)


def _durations(memory_mb: int, seen: Seen, source: str) -> list[Measured]:
    if not {"samples", "mean", "p95"} <= set(seen.values):
        return []
    mean, p95 = (Decimal(str(seen.values[name])) for name in ("mean", "p95"))
    return [Measured(memory_mb, int(seen.values["samples"]), mean, p95, source)]


# Figures of the gates ------------------------------------------------------------------------------------------------


def p95(seen: Sequence[Seen], source: str) -> Figure | None:
    """The P95 of the slowest region, in ms."""
    known = [one for one in seen if "p95" in one.values]
    if not known or len(known) < len(seen):
        return None
    slowest = max(known, key=lambda one: one.values["p95"])
    samples = int(sum(one.count("samples") for one in known))
    return Figure(slowest.values["p95"], "ms", samples, source, f"slowest: {slowest.region}", coverage=_covered(seen))


def ratio(seen: Sequence[Seen], part: str, of: Sequence[str], source: str) -> Figure | None:
    """A share of requests, 0 to 1; None without any."""
    total = sum(one.count(name) for one in seen for name in of)
    if not total:
        return None
    return Figure(sum(one.count(part) for one in seen) / total, "", int(total), source, coverage=_covered(seen))


def number(seen: Sequence[Seen], name: str, source: str) -> Figure | None:
    """How many requests were throttled; None without any request."""
    total = int(sum(one.count("invocations") for one in seen))
    if not total:
        return None
    return Figure(sum(one.count(name) for one in seen), "requests", total, source, coverage=_covered(seen))


def _covered(seen: Sequence[Seen]) -> float:
    """A minute is covered when any region has it: CloudFront may run replicas in one region only."""
    return max((one.coverage for one in seen), default=0.0)


def seen_at_edge(world: World, version: str, window: GateWindow) -> list[Seen]:
    """The figures of a version at the edge over the gate's window."""
    resource = Resource.at_edge(world.settings.edge_function, version)
    return everywhere(world, resource, regions_of_replicas(world), window.recent)


def seen_in_regions(world: World, window: GateWindow) -> list[Seen]:
    """The figures of the alias in every region of the estate; none at all while one region reports nothing."""
    chosen, regions = world.settings, list(world.estate.regions)
    found = everywhere(world, Resource(chosen.regional_function, chosen.regional_alias), regions, window.recent)
    return found if len(found) == len(regions) else []
