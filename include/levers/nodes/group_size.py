"""How large a node group has to be so that everything that comes back to it finds room, and the sizes to set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.clients.kubernetes import NODE, POD
from include.levers.node_costs import node_fact, node_facts
from include.levers.nodes import group as node_group
from include.levers.nodes.requests import pod_requests
from include.levers.nodes.rooms import Crowd, Room, by_node, crowd_of, place, room_of, takes_pods
from include.levers.nodes.scheduling import ARCHITECTURE, HOST, NODE_GROUP, ZONE, labels_of, tolerates, wants
from include.levers.pods import evictable, is_finished, namespace_of, pods_of_deployments, replicas_of
from include.levers.world import Object, World, name_of
from include.prices import PriceBookError, load_aws_book
from include.rollout.lever import Difference, NotConverged

PASSING = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")  # taints that say a node's state
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
    sizes = Counter(labels_of(node).get(ZONE, "") for node in group) or Counter([""])
    like = min(
        _models(group, there), key=lambda room: [room.free.get(k, 0) for k in ("memory", "cpu")], default=typical
    )
    made = []
    for number in range(count):
        zone = min(sizes, key=lambda zone: (sizes[zone], zone))
        sizes[zone] += 1
        name = f"new-{number}"
        made.append(Room(name, {**like.labels, HOST: name, ZONE: zone}, like.taints, dict(like.free)))
    return made


def _models(group: Sequence[Object], there: Mapping[str, Sequence[Object]]) -> list[Room]:
    """The group's nodes as they were when new: with the pods that every node gets, without what their state says."""
    rooms = []
    for node in [n for n in group if takes_pods(n)] or group:
        room = room_of(node, [pod for pod in there.get(name_of(node), []) if not evictable(pod)])
        lasting = [taint for taint in room.taints if not taint["key"].startswith(PASSING)]
        rooms.append(Room(room.name, room.labels, lasting, room.free))
    return [room for room in rooms if room.free]


def crowds_to_come(
    deployments: Mapping[str, Object],
    ours: Sequence[Object],
    others: Iterable[Object],
    group: Iterable[Object],
    ignored: str = "",
) -> list[Crowd]:
    """What comes back to the group: each Deployment's replicas that aren't there yet, and ``others``' pods.

    The spread over the label ``ignored`` is left out: the group's nodes don't carry it.
    """
    there = {name_of(node) for node in group if takes_pods(node)}
    coming = []
    for name, deployment in deployments.items():
        placed = sum(pod["spec"].get("nodeName") in there for pod in pods_of_deployments(ours, [name]))
        template, wanted = deployment["spec"]["template"], replicas_of(deployment)
        requests = pod_requests(template["spec"])
        coming.append(crowd_of(f"Deployment {name}", max(0, wanted - placed), requests, template, ignored))
    for pod in others:
        spec = {key: value for key, value in pod["spec"].items() if key != "topologySpreadConstraints"}
        name = f"{namespace_of(pod)}/{name_of(pod)}"
        coming.append(Crowd(name, 1, pod_requests(spec), spec, {}))
    return coming


def need_now(
    world: World, deployments: Mapping[str, Object], idle: frozenset[str], leaving: Sequence[str], ignored: str = ""
) -> Need:
    """The need of this moment: replicas and requests as they are, and pods of others on the pools ``leaving``.

    Raises NotConverged when no number of nodes would do.
    """
    group, pods = node_group.nodes(world), world.cluster.list(POD)
    ours = pods_of_deployments((p for p in pods if namespace_of(p) == world.estate.namespace), deployments)
    known = {(namespace_of(pod), name_of(pod)) for pod in ours}
    nodes = {fact.name for fact in map(node_fact, world.cluster.list(NODE)) if fact.node_pool in leaving}
    others = [
        pod
        for pod in pods
        if pod["spec"].get("nodeName") in nodes and evictable(pod) and (namespace_of(pod), name_of(pod)) not in known
    ]
    coming = crowds_to_come(deployments, ours, others, group, ignored)
    need = group_need(group, pods, coming, idle, typical(world))
    if need is None:
        raise NotConverged(
            f"{world.place}: no number of nodes of {world.region.node_group.name} would take every pod back: "
            "a pod requests more than such a node has, or its spreading can't be fulfilled; nothing was moved"
        )
    return need


def typical(world: World) -> Room:
    """A new node of the group by the price book; one without limits where the book has no such type."""
    group = world.region.node_group
    labels = {NODE_GROUP: group.name, "kubernetes.io/os": "linux"}
    try:
        details = load_aws_book(world.estate).details(group.instance_type)
    except PriceBookError:
        return Room("new", labels, (), dict.fromkeys(("cpu", "memory"), Decimal("Infinity")))
    labels |= {ARCHITECTURE: details.arch, "node.kubernetes.io/instance-type": group.instance_type}
    memory = Decimal(details.allocatable_memory_mib) * 2**20
    return Room("new", labels, (), {"cpu": Decimal(str(details.allocatable_cpu)), "memory": memory})


# Back to what it was ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Before:
    """A node group as a snapshot has it.

    ``scaling`` are its sizes as EKS names them, ``nodes`` how many of each kind it had, ``floor`` the smallest minSize
    that a rollout sets, ``idle`` the nodes that were out of use; ``moved``: an autoscaler moves its size, which is not
    the snapshot's to set back then.
    """

    scaling: Mapping[str, int]
    nodes: Mapping[str, int]
    floor: int
    idle: frozenset[str]
    moved: bool

    def sizes(self, live: Mapping[str, int], need: Need) -> tuple[dict[str, int], list[Difference]]:
        """The sizes to set, and those that are left to others: capacity is the snapshot's or the need's, never less."""
        was, wanted, left = self.scaling, {}, []
        if live["minSize"] != was["minSize"]:
            if self.floor <= live["minSize"] < was["minSize"] <= live["maxSize"]:
                wanted["minSize"] = was["minSize"]
            else:
                left.append(Difference(node_group.path("minSize"), was["minSize"], live["minSize"]))
        if live["maxSize"] != was["maxSize"]:
            left.append(Difference(node_group.path("maxSize"), was["maxSize"], live["maxSize"]))
        # An autoscaler's night must not be set back at noon: it has moved the size since, and the need decides.
        before = wanted.get("minSize", 0) if self.moved else was["desiredSize"]
        size = max(live["desiredSize"], need.size, min(before, live["maxSize"]), wanted.get("minSize", 0))
        if size > live["desiredSize"]:
            wanted["desiredSize"] = size
        if size != was["desiredSize"] and not self.moved:
            left.append(Difference(node_group.SIZE, was["desiredSize"], size))
        return wanted, left

    def unrestored(self, world: World) -> list[Difference]:
        """The sizes, and the nodes of a group that has its size again, where they are not what they were."""
        live, nodes = node_group.describe(world)["scalingConfig"], node_group.count_nodes(world, node_facts(world))
        sizes = ("minSize", "maxSize") if self.moved else ("minSize", "maxSize", "desiredSize")
        left: dict[str, Any] = {size: live[size] for size in sizes if live[size] != self.scaling[size]}
        if not self.moved and "desiredSize" not in left and nodes != self.nodes:
            left["nodes"] = nodes
        was = {**self.scaling, "nodes": self.nodes}
        return [Difference(node_group.path(name), now, was[name]) for name, now in left.items()]

    def coming(self, world: World) -> list[str]:
        """The group's nodes still on their way; an autoscaler's come and go, and nodes out of use stay so."""
        if self.moved:
            return []
        desired, group = node_group.describe(world)["scalingConfig"]["desiredSize"], node_group.nodes(world)
        absent = [n for n in group if not takes_pods(n) and not n["spec"].get("unschedulable")]
        there = len(group) - sum(name_of(node) not in self.idle for node in absent)
        return [] if there >= desired else [f"{there} of {desired} nodes of the node group ready"]


def restore(world: World, before: Before, need: Callable[[], Need]) -> list[Difference]:
    """Give the group the size that the snapshot or the pods need and wait for its nodes; what is left to others.

    Raises NotConverged, with nothing moved, when the group may not become as large as the pods need.
    """
    live, needed = node_group.describe(world)["scalingConfig"], need()
    wanted, left = before.sizes(live, needed)
    if needed.more and needed.size > live["maxSize"]:
        raise NotConverged(
            f"{world.place}: the pods need {needed.size} nodes of {world.region.node_group.name}, its maxSize is "
            f"{live['maxSize']}: raise it or lower the replicas, then roll back again; nothing was moved"
        )
    if wanted:
        node_group.resize(world, **wanted)
    world.wait_for(lambda: _lacking(need()), "having room on the node group for every pod")
    return left


def _lacking(need: Need) -> list[str]:
    if not need.more:
        return []
    return [f"{need.more} more nodes of the node group must be ready: {need.ready} are, {need.idle} take no pods"]
