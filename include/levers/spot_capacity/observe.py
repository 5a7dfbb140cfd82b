"""Evidence: the figures that the gates judge and that the report shows. No data is None, never zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from include.clients.kubernetes import POD
from include.clients.prometheus import counter_increase
from include.levers.common import NodeFact, name_of, node_facts, usd_hour
from include.levers.service import (
    availability,
    covered,
    error_ratio,
    judged_latency,
    latency,
    request_coverage,
    share_covered,
    spans,
)
from include.levers.spot_capacity.apply import drills
from include.levers.spot_capacity.dependents import stranded
from include.levers.spot_capacity.interruptions import interruption_rate, unplanned_notices
from include.levers.spot_capacity.live import World, pods_of
from include.levers.spot_capacity.placement import pending_seconds, pods_by_zone, shares
from include.levers.spot_capacity.plan import SPOT_POOL, STRANDED, ZONES
from include.prices import load_aws_book
from include.rollout.gates import Figure
from include.rollout.lever import Stage

DAY = 86_400
EVIDENCE_SECONDS = 300  # the report's latency and error ratio cover the last five minutes


def observe_stage(world: World, judged: Stage, window: float, applied: Mapping[str, Any]) -> dict[str, Figure | None]:
    """Every figure that the stage's gates name.

    Latency and notices cover at most the last ``window`` seconds; errors, availability and waiting pods the whole
    stage, so that what went wrong while it was applied counts too.
    """
    recent, seconds = spans(world, window, applied)
    metrics, counted = world.estate.metrics, request_coverage(world, seconds)
    return {
        "unplanned_notices": _notices_in(world, recent),
        "interruption_rate_24h": _interruption_rate(world, recent),
        "p95_ms": judged_latency(world, metrics.http_duration, recent),
        "p95_ms_grpc": judged_latency(world, metrics.grpc_duration, recent),
        "error_ratio": covered(error_ratio(world, seconds), counted),
        "availability": covered(availability(world, seconds), counted),
        "pods_pending_too_long": _pending(world, world.now() - seconds),
        "cordon_seconds": _cordon(applied),
        ZONES: _lost_zones(world, judged),
        STRANDED: _stranded(world, applied),
    }


def _cordon(applied: Mapping[str, Any]) -> Figure | None:
    seconds = applied.get("cordon_s")
    if seconds is None:
        return None
    return Figure(float(seconds), "s", 1, f"watch of node {applied['node']}", f"drill {applied['drill_id']}")


def _pending(world: World, since: float) -> Figure:
    limit = world.estate.targets.pending_seconds
    pods = pods_of(world)
    waits = pending_seconds(pods, world.now(), since)
    longest = max(waits, default=0.0)
    late = sum(wait > limit for wait in waits)
    return Figure(late, "pods", len(pods), "conditions of the pods", f"longest wait for a node {longest:.0f} s")


def _lost_zones(world: World, stage: Stage) -> Figure | None:
    before, zones = stage.settings.get(ZONES), pods_by_zone(pods_of(world), node_facts(world))
    if before is None or not zones:
        return None
    shown = ", ".join(f"{zone} {pods}" for zone, pods in zones.items())
    lost, note = max(0, before - len(zones)), f"pods in {len(zones)} of {before} zones: {shown}"
    return Figure(lost, "zones", sum(zones.values()), "nodes of the pods", note)


def _stranded(world: World, applied: Mapping[str, Any]) -> Figure | None:
    evicted = applied.get("evicted_from")
    if evicted is None:
        return None
    left = stranded(world.cluster.list(POD), evicted, applied.get("waited_before") or {})
    names = ", ".join(f"{pod['metadata']['namespace']}/{name_of(pod)}" for pod in left)
    note = f"without a node: {names}" if left else ""
    return Figure(len(left), "pods", len(evicted), "pods of others that the drain evicted", note)


# Interruptions ---------------------------------------------------------------------------------------------------


def notices(world: World, seconds: float) -> tuple[int, list[float]] | None:
    """Interruption notices that Karpenter received in the last ``seconds``, drills included, and its scrapes' times.

    The counter appears with the first notice, so its absence means none only while Karpenter was scraped; None when
    it was not.
    """
    region = world.target.region
    up = world.prometheus.raw(f'up{{job="karpenter",region="{region}"}}', seconds)
    scraped = [at for series in up for at, value in series.points if value == 1]
    if not scraped:
        return None
    selector = f'{world.estate.metrics.interruptions}{{region="{region}",message_type="spot_interrupted"}}'
    count = sum(
        counter_increase(series.points, born=bool(series.points) and min(scraped) < series.points[0][0])
        for series in world.prometheus.raw(selector, seconds)
    )
    return round(count), scraped


def _drills_in(world: World, seconds: float, received: int) -> int:
    """Drills of the last ``seconds``; never more than were received, for the last may not have been scraped yet."""
    recent = sum(at >= world.now() - seconds for at in drills(world).values())
    return min(recent, received)


def _notices_in(world: World, window: float) -> Figure | None:
    found = notices(world, window)
    if found is None:
        return None
    received, scraped = found
    drilled, source = _drills_in(world, window, received), world.estate.metrics.interruptions
    figure = unplanned_notices(received, drilled, len(scraped), source)
    return covered(figure, share_covered(scraped, world.now(), window))


def _interruption_rate(world: World, recent: float) -> Figure | None:
    """The rate of the day; its coverage is that of the last ``recent`` seconds: Karpenter may be younger than a day."""
    found = notices(world, DAY)
    if found is None:
        return None
    received, scraped = found
    ran = _spot_nodes_of_the_day(world) | {n.name for n in node_facts(world) if n.capacity == "spot"}
    source = f"{world.estate.metrics.interruptions} / distinct spot nodes"
    figure = interruption_rate(received, _drills_in(world, DAY, received), len(ran), source)
    return covered(figure, share_covered(scraped, world.now(), recent))


def _spot_nodes_of_the_day(world: World) -> set[str]:
    matchers = f'region="{world.target.region}",capacity_type="spot",resource_type="cpu"'
    series = f"karpenter_nodes_allocatable{{{matchers}}}[{DAY}s]"
    samples = world.prometheus.query(f"count by (node_name) (last_over_time({series}))")
    return {sample.labels["node_name"] for sample in samples}


# The report ------------------------------------------------------------------------------------------------------


def evidence(world: World) -> dict[str, Any]:
    """Nodes, shares, cost, latency and errors of the live world."""
    nodes, pods, group = node_facts(world), pods_of(world), world.region.node_group
    by_pods, by_vcpu = shares(nodes, pods, group.name, group.floor)
    cost, unknown = usd_hour(world, nodes)
    http = latency(world, world.estate.metrics.http_duration, EVIDENCE_SECONDS)
    errors = error_ratio(world, EVIDENCE_SECONDS)
    return {
        "nodes": len(nodes),
        "nodes_by_kind": _by_kind(nodes),
        "fallback_nodes": sum(n.node_pool == SPOT_POOL and n.capacity != "spot" for n in nodes),
        "pods": len(pods),
        "pods_by_zone": pods_by_zone(pods, nodes),
        "spot_share_pods": by_pods,
        "spot_share_vcpu": by_vcpu,
        "usd_hour": None if cost is None else float(cost),
        "usd_hour_unknown": unknown,
        "price_book": f"aws ({load_aws_book(world.estate).date}); spot as EC2 quotes it",
        "p95_ms": None if http is None else http.value,
        "error_ratio": None if errors is None else errors.value,
    }


def _by_kind(nodes: list[NodeFact]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in nodes:
        # A pool and a node group may have the same name.
        where = f"pool {node.node_pool}" if node.node_pool else f"group {node.node_group}"
        key = f"{where}: {node.instance_type} {node.capacity}"
        counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))
