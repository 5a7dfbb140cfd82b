"""How large the old node group has to be so that everything that comes back to it finds room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from include.clients.kubernetes import NODE, POD
from include.levers.common import SPREAD, Object, name_of, node_fact
from include.levers.nodes import (
    HOST,
    ZONE,
    Crowd,
    Room,
    by_node,
    crowd_of,
    place,
    pod_requests,
    room_of,
    takes_pods,
    tolerates,
    wants,
)
from include.levers.spot_capacity.dependents import evictable
from include.levers.spot_capacity.live import World, group_nodes
from include.levers.spot_capacity.placement import own_pods
from include.levers.workloads import is_finished
from include.prices import PriceBookError, load_aws_book
from include.rollout.lever import NotConverged

MOST = 1000  # nodes of one group: more are never asked for


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
    group: Sequence[Object], pods: Iterable[Object], coming: Sequence[Crowd], idle: frozenset[str], typical: Room
) -> Need | None:
    """How many nodes ``group`` needs for the pods that stand on it and those ``coming``; None when no number would do.

    ``idle`` names the nodes that were out of use before the rollout; nodes that others have cordoned are idle too. A
    node that is not Ready and isn't idle is on its way. ``typical``: a new node when the group has none to go by.
    """
    there = by_node(pod for pod in pods if not is_finished(pod))
    out = [n for n in group if n["spec"].get("unschedulable") or (name_of(n) in idle and not takes_pods(n))]
    ready = [n for n in group if takes_pods(n)]
    rooms = [room_of(node, there.get(name_of(node), [])) for node in ready]
    most = min(MOST, sum(crowd.count for crowd in coming))
    new = _new(group, there, typical, most)
    # What may not run on the group at all has run elsewhere before, and does again.
    here = [c for c in coming if any(wants(c.spec, room.labels) and tolerates(c.spec, room.taints) for room in new)]

    def enough(more: int) -> bool:
        placed = place(here, [*rooms, *new[:more]])
        return all(placed[crowd.name] == crowd.count for crowd in here)

    if not enough(most):
        return None
    least = 0
    while least < most:  # more nodes never hold fewer pods
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle + 1, most)
    return Need(len(ready), len(out), least)


def _new(group: Sequence[Object], there: Mapping[str, Sequence[Object]], typical: Room, count: int) -> list[Room]:
    """New nodes of the group in the order in which they come: the zone with fewest nodes is filled up first."""
    by_zone: dict[str, list[Room]] = {}
    for node in group:
        everywhere = [pod for pod in there.get(name_of(node), []) if not evictable(pod)]  # what every node gets
        room = room_of(node, everywhere)
        by_zone.setdefault(room.labels.get(ZONE, ""), []).append(room)
    by_zone = by_zone or {"": [typical]}
    sizes = {zone: len(rooms) for zone, rooms in by_zone.items()}
    made = []
    for number in range(count):
        zone = min(sizes, key=lambda zone: (sizes[zone], zone))
        sizes[zone] += 1
        like = min(by_zone[zone], key=lambda room: (room.free.get("memory", 0), room.free.get("cpu", 0)))
        name = f"new-{number}"
        made.append(Room(name, {**like.labels, HOST: name}, like.taints, dict(like.free)))
    return made


def crowds_to_come(
    deployments: Mapping[str, Object], ours: Sequence[Object], others: Iterable[Object], group: Iterable[Object]
) -> list[Crowd]:
    """What comes back to the group: each Deployment's replicas that aren't there yet, and ``others``' pods."""
    there = {name_of(node) for node in group if takes_pods(node)}
    coming = []
    for name, deployment in deployments.items():
        placed = sum(pod["spec"].get("nodeName") in there for pod in own_pods(ours, [name]))
        template, wanted = deployment["spec"]["template"], deployment["spec"].get("replicas", 1)
        requests = pod_requests(template["spec"])
        coming.append(crowd_of(f"Deployment {name}", max(0, wanted - placed), requests, template, SPREAD))
    for pod in others:
        spec = {key: value for key, value in pod["spec"].items() if key != "topologySpreadConstraints"}
        name = f"{pod['metadata'].get('namespace', '')}/{name_of(pod)}"
        coming.append(Crowd(name, 1, pod_requests(spec), spec, {}))
    return coming


def need_now(world: World, deployments: Mapping[str, Object], idle: frozenset[str], leaving: Sequence[str]) -> Need:
    """The need of this moment: replicas and requests as they are, and pods of others on the pools ``leaving``.

    Raises NotConverged when no number of nodes would do.
    """
    group, pods = group_nodes(world), world.cluster.list(POD)
    ours = own_pods((p for p in pods if p["metadata"].get("namespace") == world.estate.namespace), deployments)
    known = {(pod["metadata"].get("namespace"), name_of(pod)) for pod in ours}
    nodes = {fact.name for fact in map(node_fact, world.cluster.list(NODE)) if fact.node_pool in leaving}
    others = [
        pod
        for pod in pods
        if pod["spec"].get("nodeName") in nodes and evictable(pod)
        if (pod["metadata"].get("namespace"), name_of(pod)) not in known
    ]
    need = group_need(group, pods, crowds_to_come(deployments, ours, others, group), idle, _typical(world))
    if need is None:
        raise NotConverged(
            f"{world.target.region}: no number of nodes of {world.region.node_group.name} would take every pod back: "
            "a pod requests more than such a node has, or its spreading can't be fulfilled; nothing was moved"
        )
    return need


def _typical(world: World) -> Room:
    """A new node of the group by the price book; one without limits where the book has no such type."""
    group = world.region.node_group
    labels = {"eks.amazonaws.com/nodegroup": group.name}
    try:
        details = load_aws_book(world.estate).details(group.instance_type)
    except PriceBookError:
        return Room("new", labels, (), dict.fromkeys(("cpu", "memory"), Decimal("Infinity")))
    memory = Decimal(details.allocatable_memory_mib) * 2**20
    return Room("new", labels, (), {"cpu": Decimal(str(details.allocatable_cpu)), "memory": memory})
