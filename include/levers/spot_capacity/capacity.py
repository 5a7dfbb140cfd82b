"""How large the old node group has to be so that everything that comes back to it finds room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from include.clients.kubernetes import NODE, POD
from include.levers.common import Object, name_of, node_fact
from include.levers.spot_capacity.dependents import evictable
from include.levers.spot_capacity.live import World, group_nodes, in_use
from include.levers.spot_capacity.placement import own_pods
from include.levers.spot_capacity.room import Room, allocatable, free_room, fresh_needed, requested
from include.prices import PriceBookError, load_aws_book
from include.rollout.lever import NotConverged

NOTHING = Room(Decimal(0), Decimal(0), 0)


@dataclass(frozen=True)
class Need:
    """Nodes of the group: ``ready`` ones take pods, ``idle`` ones don't and will not; ``more`` must come."""

    ready: int
    idle: int
    more: int

    @property
    def size(self) -> int:
        """Nodes that the group must have."""
        return self.ready + self.idle + self.more


def group_need(
    group: Sequence[Object],
    pods: Sequence[Object],
    coming: Sequence[Room],
    idle: frozenset[str],
    typical: Room,
) -> Need | None:
    """How many nodes ``group`` needs for the pods that stand on it and those ``coming``; None when one fits no node.

    ``idle`` names the nodes that were out of use before the rollout; nodes that others have cordoned are idle too. A
    node that is not Ready and isn't idle is on its way. ``typical``: a new node when the group has none to go by.
    """
    out = [n for n in group if n["spec"].get("unschedulable") or (name_of(n) in idle and not in_use(n))]
    ready = [n for n in group if in_use(n) and n not in out]
    fresh = min((_fresh(node, pods) for node in group), key=lambda room: (room.memory, room.cpu), default=typical)
    more = fresh_needed(coming, [free_room(node, pods) for node in ready], fresh)
    return None if more is None else Need(len(ready), len(out), more)


def _fresh(node: Object, pods: Sequence[Object]) -> Room:
    """What a new node like this one offers besides the pods that every node gets."""
    room = allocatable(node)
    for pod in pods:
        if pod["spec"].get("nodeName") == name_of(node) and not evictable(pod):
            room = room.without(requested(pod["spec"]))
    return room


def pods_to_come(
    deployments: Mapping[str, Object], ours: Sequence[Object], others: Sequence[Object], group: Sequence[Object]
) -> list[Room]:
    """What comes back to the group: each Deployment's replicas that aren't there yet, and ``others``' pods."""
    there = {name_of(node) for node in group if in_use(node)}
    coming = [requested(pod["spec"]) for pod in others]
    for name, deployment in deployments.items():
        placed = sum(pod["spec"].get("nodeName") in there for pod in own_pods(ours, [name]))
        each = requested(deployment["spec"]["template"]["spec"])
        coming += [each] * max(0, deployment["spec"].get("replicas", 1) - placed)
    return coming


def need_now(world: World, deployments: Mapping[str, Object], idle: frozenset[str], leaving: Sequence[str]) -> Need:
    """The need of this moment: replicas and requests as they are, and pods of others on the pools ``leaving``.

    Raises NotConverged when a pod fits no node of the group.
    """
    group, pods = group_nodes(world), world.cluster.list(POD)
    space = world.estate.namespace
    ours = own_pods((pod for pod in pods if pod["metadata"].get("namespace") == space), deployments)
    names = {name_of(pod) for pod in ours}
    nodes = {fact.name for fact in map(node_fact, world.cluster.list(NODE)) if fact.node_pool in leaving}
    others = [
        pod
        for pod in pods
        if pod["spec"].get("nodeName") in nodes and evictable(pod)
        if not (pod["metadata"].get("namespace") == space and name_of(pod) in names)
    ]
    need = group_need(group, pods, pods_to_come(deployments, ours, others, group), idle, _typical(world))
    if need is None:
        raise NotConverged(
            f"{world.target.region}: a pod requests more than a node of {world.region.node_group.name} has: lower its "
            "requests, or let it run on a node group of its own; nothing was moved"
        )
    return need


def _typical(world: World) -> Room:
    try:
        details = load_aws_book(world.estate).details(world.region.node_group.instance_type)
    except PriceBookError:
        return NOTHING
    return Room(Decimal(str(details.allocatable_cpu)), Decimal(details.allocatable_memory_mib), pods=110)
