"""Which node takes which pod, as the scheduler sees it: pure functions over labels, taints and requests."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.quantities import quantity

Object = dict[str, Any]
Labels = Mapping[str, str]
Requests = Mapping[str, Decimal]
ARCHITECTURE = "kubernetes.io/arch"
HOST = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
NAME_FIELD = "metadata.name"  # the one field that a node affinity may name


# Selectors ---------------------------------------------------------------------------------------------------------


def holds(term: Mapping[str, Any], labels: Labels) -> bool:
    """Whether one expression of a label selector or a node affinity holds for these labels."""
    key, operator, values = term["key"], term["operator"], term.get("values") or []
    if operator in ("Gt", "Lt"):
        if not labels.get(key, "").isdigit():
            return False
        return int(labels[key]) > int(values[0]) if operator == "Gt" else int(labels[key]) < int(values[0])
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[operator]


def selects(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """Whether a label selector selects; an empty one selects everything, none selects nothing."""
    if selector is None:
        return False
    exact = (selector.get("matchLabels") or {}).items()
    return all(labels.get(k) == v for k, v in exact) and all(
        holds(term, labels) for term in selector.get("matchExpressions") or []
    )


def affinity_terms(spec: Mapping[str, Any]) -> list[list[Object]] | None:
    """The required node affinity of a pod: any of the lists has to hold, None where nothing is required."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return None
    terms = required.get("nodeSelectorTerms") or []
    return [[*(term.get("matchExpressions") or []), *(term.get("matchFields") or [])] for term in terms]


def wants(spec: Mapping[str, Any], labels: Labels) -> bool:
    """Whether a pod's nodeSelector and required node affinity fit a node with these labels."""
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    terms = affinity_terms(spec)
    # A term without any expression fits no node.
    return terms is None or any(term and all(holds(e, labels) for e in term) for term in terms)


def tolerates(spec: Mapping[str, Any], taints: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a pod may be put on a node with these taints."""
    hard = [taint for taint in taints if taint.get("effect") in ("NoSchedule", "NoExecute")]
    return all(any(_tolerated(t, taint) for t in spec.get("tolerations") or []) for taint in hard)


def _tolerated(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return (toleration.get("key"), toleration.get("value") or "") == (taint["key"], taint.get("value") or "")


def exclusive_keys(spec: Mapping[str, Any], labels: Labels) -> list[str]:
    """The topology keys of which each domain takes one such pod only, by its required anti-affinity to itself."""
    affinity = (spec.get("affinity") or {}).get("podAntiAffinity") or {}
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or []
    return [term["topologyKey"] for term in terms if selects(term.get("labelSelector"), labels)]


# Requests ----------------------------------------------------------------------------------------------------------


def pod_requests(spec: Mapping[str, Any], part: str = "requests") -> dict[str, Decimal]:
    """What the scheduler counts for a pod (``part`` limits: what it may use), in base units by resource.

    The larger of all that runs together and of each init container with the sidecars that run by then; sidecars are
    init containers that are restarted always.
    """
    running: dict[str, Decimal] = {}
    highest: dict[str, Decimal] = {}
    for container in spec.get("initContainers") or []:
        needs = _container(container, part)
        if container.get("restartPolicy") == "Always":
            running = _sum(running, needs)
            highest = _most(highest, running)
        else:
            highest = _most(highest, _sum(running, needs))
    for container in spec.get("containers") or []:
        running = _sum(running, _container(container, part))
    whole = {**_most(highest, running), **_container(spec, part)}  # what is said of the whole pod counts
    return _sum(whole, _read(spec.get("overhead")))


def _container(container: Mapping[str, Any], part: str) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    # A limit without a request is the request too.
    return {**_read(resources.get("limits")), **_read(resources.get(part))}


def _read(quantities: Mapping[str, Any] | None) -> dict[str, Decimal]:
    return {name: quantity(value) for name, value in (quantities or {}).items()}


def _sum(one: Requests, other: Requests) -> dict[str, Decimal]:
    return {name: one.get(name, Decimal(0)) + other.get(name, Decimal(0)) for name in {**one, **other}}


def _most(one: Requests, other: Requests) -> dict[str, Decimal]:
    return {name: max(one.get(name, Decimal(0)), other.get(name, Decimal(0))) for name in {**one, **other}}


def largest(several: Iterable[Requests]) -> dict[str, Decimal]:
    """The largest of each resource."""
    found: dict[str, Decimal] = {}
    for requests in several:
        found = _most(found, requests)
    return found


def shown(requests: Requests) -> str:
    """CPU and memory as a person writes them: ``cpu 500m, memory 2Gi``."""
    return f"cpu {show_cpu(requests.get('cpu'))}, memory {show_memory(requests.get('memory'))}"


def show_cpu(value: Decimal | None) -> str:
    """Cores as a quantity: ``500m``, ``2``."""
    if not value:
        return "none"
    return f"{value.normalize():f}" if value % 1 == 0 else f"{(value * 1000).normalize():f}m"


def show_memory(value: Decimal | None) -> str:
    """Bytes as the shortest quantity that says exactly that: ``2Gi``, ``512Mi``, ``2G``."""
    if not value:
        return "none"
    factors = {"Gi": 2**30, "Mi": 2**20, "Ki": 2**10, "G": 10**9, "M": 10**6, "k": 10**3}
    exact = [f"{int(value // factor)}{unit}" for unit, factor in factors.items() if value % factor == 0]
    return min(exact, key=len, default=f"{value.normalize():f}")


# Room --------------------------------------------------------------------------------------------------------------


@dataclass
class Room:
    """What a node has left for pods; ``free`` is in base units by resource."""

    name: str
    labels: Labels
    taints: Sequence[Mapping[str, Any]]
    free: dict[str, Decimal]

    def fits(self, requests: Requests) -> bool:
        """Whether one more pod with these requests fits."""
        return self.free.get("pods", Decimal(1)) >= 1 and all(
            self.free.get(name, Decimal(0)) >= value for name, value in requests.items() if value
        )

    def take(self, requests: Requests) -> None:
        """Count one more pod."""
        for name, value in {**requests, "pods": Decimal(1)}.items():
            if name in self.free:
                self.free[name] -= value


def room_of(node: Object, pods: Iterable[Object]) -> Room:
    """The room that a node has beside ``pods``."""
    metadata, spec = node["metadata"], node["spec"]
    name = str(metadata["name"])
    labels = {HOST: name, NAME_FIELD: name, **(metadata.get("labels") or {})}
    taints = [taint for taint in spec.get("taints") or [] if taint["key"] != "node.kubernetes.io/unschedulable"]
    room = Room(name, labels, taints, _read(node.get("status", {}).get("allocatable")))
    for pod in pods:
        room.take(pod_requests(pod["spec"]))
    return room


def takes_pods(node: Object) -> bool:
    """Whether a node is ready and not cordoned."""
    conditions = node.get("status", {}).get("conditions") or []
    ready = any((c["type"], c["status"]) == ("Ready", "True") for c in conditions)
    ending = bool(node["metadata"].get("deletionTimestamp"))
    return ready and not ending and not node["spec"].get("unschedulable")


@dataclass(frozen=True)
class Crowd:
    """Equal pods that need a place: ``skews`` are hard spread constraints (topology key: largest skew)."""

    name: str
    count: int
    requests: Requests
    spec: Mapping[str, Any]
    skews: Mapping[str, int]
    exclusive: Sequence[str] = ()


def crowd_of(name: str, count: int, requests: Requests, template: Mapping[str, Any], ignored: str = "") -> Crowd:
    """The crowd of ``count`` pods made from a pod template; the spread over the key ``ignored`` is left out."""
    spec, labels = template["spec"], template["metadata"].get("labels") or {}
    return Crowd(name, count, requests, spec, hard_skews(spec, ignored), exclusive_keys(spec, labels))


def hard_skews(spec: Mapping[str, Any], ignored: str = "") -> dict[str, int]:
    """The topology keys that a pod must be spread over, with the largest skew of each."""
    found: dict[str, int] = {}
    for constraint in spec.get("topologySpreadConstraints") or []:
        key, skew = constraint["topologyKey"], int(constraint.get("maxSkew", 1))
        if constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule" and key != ignored:
            found[key] = min(skew, found.get(key, skew))
    return found


def place(crowds: Iterable[Crowd], rooms: Iterable[Room]) -> dict[str, int]:
    """How many pods of each crowd find a place, those that are spread hard first; the rooms stay as they are."""
    left = copy.deepcopy(list(rooms))
    order = sorted(crowds, key=lambda crowd: not (crowd.skews or crowd.exclusive))
    return {crowd.name: _place(crowd, left) for crowd in order}


def _place(crowd: Crowd, rooms: list[Room]) -> int:
    keys = [*crowd.skews, *crowd.exclusive]
    # A node that lacks a topology key takes no pod that is spread over it.
    usable = [
        room
        for room in rooms
        if wants(crowd.spec, room.labels)
        and tolerates(crowd.spec, room.taints)
        and all(key in room.labels for key in keys)
    ]
    if not keys:
        return _fill(crowd, usable)
    counts = {key: dict.fromkeys((room.labels[key] for room in usable), 0) for key in keys}
    for placed in range(crowd.count):
        open_rooms = [room for room in usable if room.fits(crowd.requests) and _allowed(crowd, room, counts)]
        if not open_rooms:
            return placed
        chosen = min(open_rooms, key=lambda room: [counts[key][room.labels[key]] for key in keys])
        chosen.take(crowd.requests)
        for key in counts:
            counts[key][chosen.labels[key]] += 1
    return crowd.count


def _fill(crowd: Crowd, rooms: Sequence[Room]) -> int:
    placed = 0
    for room in rooms:
        while placed < crowd.count and room.fits(crowd.requests):
            room.take(crowd.requests)
            placed += 1
    return placed


def _allowed(crowd: Crowd, room: Room, counts: Mapping[str, Mapping[str, int]]) -> bool:
    for key, skew in crowd.skews.items():
        if counts[key][room.labels[key]] + 1 - min(counts[key].values()) > skew:
            return False
    return all(counts[key][room.labels[key]] == 0 for key in crowd.exclusive)


def by_node(pods: Iterable[Object]) -> dict[str, list[Object]]:
    """The pods that run on each node."""
    found: dict[str, list[Object]] = {}
    for pod in pods:
        if pod["spec"].get("nodeName"):
            found.setdefault(pod["spec"]["nodeName"], []).append(pod)
    return found
