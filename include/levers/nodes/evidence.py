"""What nodes and the pods on them say for gates and reports: kinds, zones, shares, money, waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from include.estate import Estate
from include.levers.node_costs import NodeFact, node_facts, usd_hour
from include.levers.pods import (
    is_ending,
    is_ready,
    namespace_of,
    pending_seconds,
    pods_of_deployments,
    stranded,
    workload_pods,
)
from include.levers.probes import Probe, over_stage
from include.levers.world import Object, World, name_of
from include.prices import load_aws_book
from include.rollout.gates import Comparison, Figure, Gate


def pods_by_zone(pods: Iterable[Object], nodes: Iterable[NodeFact]) -> dict[str, int]:
    """How many of the pods that have a node, and aren't ending, stand in each zone; by the zone's name."""
    zones = {node.name: node.zone for node in nodes}
    placed = [zones.get(pod["spec"].get("nodeName", "")) for pod in pods if not is_ending(pod)]
    return dict(sorted(Counter(zone for zone in placed if zone).items()))


def misplaced(
    deployments: Iterable[str], pods: Sequence[Object], nodes: Iterable[NodeFact], pools: Mapping[str, str]
) -> list[str]:
    """Workloads that have pods outside of their ``pools``, which are by domain, or on that of another; one line each.

    How even they are spread is not asked: the constraint holds when a pod is placed, and nothing moves one when others
    are scaled away.
    """
    right = {node.name for node in nodes if node.domain and node.node_pool == pools.get(node.domain, "")}
    missing = []
    for name in deployments:
        mine = [pod for pod in pods_of_deployments(pods, [name]) if not is_ending(pod)]
        wrong = sum(pod["spec"].get("nodeName", "") not in right for pod in mine)
        if wrong:
            missing.append(f"{wrong} pods of {name} are not on the pool of their domain")
    return missing


def nodes_by_kind(nodes: Sequence[NodeFact]) -> dict[str, int]:
    """How many nodes of each pool or group, type and capacity there are."""
    # A pool and a node group may have the same name.
    owners = {n.name: f"pool {n.node_pool}" if n.node_pool else f"group {n.node_group}" for n in nodes}
    return dict(sorted(Counter(f"{owners[n.name]}: {n.instance_type} {n.capacity}" for n in nodes).items()))


def spot_shares(
    nodes: Sequence[NodeFact], pods: Sequence[Object], node_group: str, floor: int, system: str = ""
) -> tuple[float | None, float | None]:
    """Spot share by ready pods and by vCPU; None without pods or vCPUs.

    Neither the node group's floor counts nor ``system``, the small group that may stand in its place.
    """
    spot = {n.name for n in nodes if n.capacity == "spot"}
    placed = [pod["spec"].get("nodeName") for pod in pods if is_ready(pod)]
    by_pods = sum(name in spot for name in placed) / len(placed) if placed else None
    group = sorted(n.vcpu for n in nodes if n.node_group == node_group)
    beside = [n.vcpu for n in nodes if n.node_group is None or n.node_group not in (node_group, system)]
    counted = sum(beside) + sum(group[floor:])
    return by_pods, sum(n.vcpu for n in nodes if n.name in spot) / counted if counted else None


def share_figures(world: World, nodes: Sequence[NodeFact], pods: Sequence[Object]) -> dict[str, float | None]:
    """The spot shares beside the estate's node group, as reports name them."""
    group = world.region.node_group
    by_pods, by_vcpu = spot_shares(nodes, pods, group.name, group.floor, group.system.name)
    return {"spot_share_pods": by_pods, "spot_share_vcpu": by_vcpu}


def node_evidence(world: World) -> dict[str, Any]:
    """Nodes, pods, shares and cost of the live world, for a lever's before/after columns."""
    nodes, pods = node_facts(world), workload_pods(world)
    cost, unknown = usd_hour(world, nodes)
    return {
        "nodes": len(nodes),
        "nodes_by_kind": nodes_by_kind(nodes),
        "pods": len(pods),
        "pods_by_zone": pods_by_zone(pods, nodes),
        **share_figures(world, nodes, pods),
        "usd_hour": None if cost is None else float(cost),
        "usd_hour_unknown": unknown,
        "price_book": f"aws ({load_aws_book(world.estate).date}); spot as EC2 quotes it",
    }


# Figures of gates ------------------------------------------------------------------------------------------------


def pending_probe(estate: Estate) -> Probe:
    """No pod may wait for a node longer than the estate allows, in the whole stage."""
    source = f"estate targets.pending_seconds {estate.targets.pending_seconds}"
    gate = Gate("pods_pending_too_long", Comparison.AT_MOST, 0, "pods", 1, source, safety=True)
    return over_stage(gate, lambda world, seconds: pending_figure(world, world.now() - seconds))


def pending_figure(world: World, since: float) -> Figure:
    """Pods of the workloads that waited for a node after ``since`` (Unix seconds) for longer than the estate allows."""
    limit, pods = world.estate.targets.pending_seconds, workload_pods(world)
    waits = pending_seconds(pods, world.now(), since)
    late, longest = sum(wait > limit for wait in waits), max(waits, default=0.0)
    return Figure(late, "pods", len(pods), "conditions of the pods", f"longest wait for a node {longest:.0f} s")


def lost_zones_figure(world: World, before: int | None) -> Figure | None:
    """In how many zones fewer than ``before`` the pods of the workloads stand."""
    zones = pods_by_zone(workload_pods(world), node_facts(world))
    if before is None or not zones:
        return None
    listed = ", ".join(f"{zone} {pods}" for zone, pods in zones.items())
    lost, note = max(0, before - len(zones)), f"pods in {len(zones)} of {before} zones: {listed}"
    return Figure(lost, "zones", sum(zones.values()), "nodes of the pods", note)


def stranded_figure(pods: Iterable[Object], drained: Mapping[str, Any]) -> Figure | None:
    """Pods of others that a drain left without a node; ``drained`` are the figures of :func:`shrink.shrink`."""
    evicted = drained.get("evicted_from")
    if evicted is None:
        return None
    left = stranded(pods, evicted, drained.get("waited_before") or {})
    names = ", ".join(f"{namespace_of(pod)}/{name_of(pod)}" for pod in left)
    note = f"without a node: {names}" if left else ""
    return Figure(len(left), "pods", len(evicted), "pods of others that the drain evicted", note)
