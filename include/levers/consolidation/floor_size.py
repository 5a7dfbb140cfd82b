"""The cheapest node group that holds the system pods even with one of its nodes lost: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from include.levers.nodes.requests import Requests
from include.levers.nodes.rooms import Crowd, Room, place
from include.levers.nodes.scheduling import ARCHITECTURE, HOST, ZONE, Labels
from include.prices import AwsBook, PriceBookError
from include.quantities import MIB

FEWEST, MOST = 2, 10  # nodes: one alone could not be lost, and for more than ten small types are the wrong ones
FAMILIES: Mapping[str, tuple[str, ...]] = {"arm64": ("t4g", "c7g", "m7g"), "amd64": ("t3", "c7i", "m7i")}
SIZES = ("medium", "large")
# Network interfaces and addresses of each, by AWS's table: what the VPC CNI has pods for without prefix delegation.
INTERFACES: Mapping[str, tuple[int, int]] = {
    "t4g.medium": (3, 6),
    "t4g.large": (3, 12),
    "c7g.medium": (2, 4),
    "c7g.large": (3, 10),
    "m7g.medium": (2, 4),
    "m7g.large": (3, 10),
    "t3.medium": (3, 6),
    "t3.large": (3, 12),
    "c7i.large": (3, 10),
    "m7i.large": (3, 10),
}


@dataclass(frozen=True, slots=True)
class NodeType:
    """An instance type: USD an hour on demand, and what one node leaves for pods (cores, bytes, pods)."""

    name: str
    arch: str
    usd_hour: Decimal
    cpu: Decimal
    memory: Decimal
    pods: int


@dataclass(frozen=True, slots=True)
class Size:
    """A choice: so many nodes of a type, and what they cost an hour."""

    instance_type: str
    count: int
    usd_hour: Decimal

    def __str__(self) -> str:
        return f"{self.count} x {self.instance_type}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the nodes have to hold.

    ``crowds`` are the pods; ``every_node`` what each DaemonSet's pod requests; ``labels`` what every node carries
    besides its type, name and zone; ``zones`` where nodes may be.
    """

    crowds: Sequence[Crowd]
    every_node: Sequence[Requests]
    labels: Labels
    zones: Sequence[str]


def max_pods(instance_type: str) -> int | None:
    """Pods that a node of the type has addresses for; None where that is not known."""
    if instance_type not in INTERFACES:
        return None
    interfaces, addresses = INTERFACES[instance_type]
    return interfaces * (addresses - 1) + 2


def node_types(book: AwsBook, region: str, arch: str, names: Sequence[str] = ()) -> list[NodeType]:
    """The types to choose from: ``names``, else the small ones of an architecture; one without a price is left out."""
    usual = [f"{family}.{size}" for family in FAMILIES.get(arch, ()) for size in SIZES]
    found = []
    for name in names or usual:
        price, pods = book.on_demand(region, name), max_pods(name)
        try:
            details = book.details(name)
        except PriceBookError:
            continue
        if price is not None and pods is not None and details.arch == arch:
            cpu, memory = Decimal(str(details.allocatable_cpu)), details.allocatable_memory_mib * MIB
            found.append(NodeType(name, arch, price, cpu, memory, pods))
    return found


def cheapest(wanted: Wanted, types: Iterable[NodeType]) -> Size | None:
    """The cheapest type and number that hold everything with one node lost; None when none does.

    Among equal prices fewer nodes are better, then the first by name.
    """
    sizes = [size for kind in types if (size := fewest(wanted, kind)) is not None]
    return min(sizes, key=lambda size: (size.usd_hour, size.count, size.instance_type), default=None)


def fewest(wanted: Wanted, kind: NodeType) -> Size | None:
    """The smallest number of nodes of one type that do."""
    counts = (count for count in range(FEWEST, MOST + 1) if survives(wanted.crowds, rooms(wanted, kind, count)))
    count = next(counts, None)
    return None if count is None else Size(kind.name, count, kind.usd_hour * count)


def rooms(wanted: Wanted, kind: NodeType, count: int) -> list[Room]:
    """What ``count`` new nodes leave beside the DaemonSets, spread over the zones as EKS spreads them."""
    free = {"cpu": kind.cpu, "memory": kind.memory, "pods": Decimal(kind.pods)}
    like = {**wanted.labels, ARCHITECTURE: kind.arch, "node.kubernetes.io/instance-type": kind.name}
    made = []
    for number in range(count):
        name, zone = f"new-{number}", wanted.zones[number % len(wanted.zones)]
        room = Room(name, {**like, HOST: name, ZONE: zone}, (), dict(free))
        for requests in wanted.every_node:
            room.take(requests)
        made.append(room)
    return made


def survives(crowds: Sequence[Crowd], nodes: Sequence[Room]) -> bool:
    """Whether the nodes hold every pod, and still do whichever one of them is lost."""
    if any(value < 0 for room in nodes for value in room.free.values()) or not _hold(crowds, nodes):
        return False
    return all(_hold(crowds, [node for node in nodes if node is not lost], lost=True) for lost in nodes)


def _hold(crowds: Sequence[Crowd], nodes: Sequence[Room], lost: bool = False) -> bool:
    placed = place(crowds, nodes)
    return all(placed[crowd.name] >= _least(crowd, nodes, lost) for crowd in crowds)


def _least(crowd: Crowd, nodes: Sequence[Room], lost: bool) -> int:
    """Pods of a crowd that must find a place: one a domain is all that it asks for itself while a node is lost."""
    if not (lost and crowd.exclusive):
        return crowd.count
    domains = min(len({room.labels.get(key) for room in nodes}) for key in crowd.exclusive)
    return min(crowd.count, domains)
