"""What a drain of nodes evicts, and whether the nodes that stay take it: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.levers.nodes.pools import is_tied
from include.levers.nodes.requests import pod_requests
from include.levers.nodes.rooms import Room, by_node, room_of, takes_pods
from include.levers.nodes.scheduling import (
    HOST,
    NAME_FIELD,
    ZONE,
    affinity_terms,
    exclusive_keys,
    hard_skews,
    holds,
    labels_of,
    tolerates,
    wants,
)
from include.levers.pods import asks_to_stay, evictable, is_ending, is_finished, maker_of, origin_of
from include.levers.world import Object, name_of

EBS_ZONE = "topology.ebs.csi.aws.com/zone"
# What a node of any pool carries, whatever its pool says of it.
WELL_KNOWN = ("kubernetes.io/", "node.kubernetes.io/", "topology.kubernetes.io/", "karpenter.sh/", "karpenter.k8s.aws/")
Mark = tuple[str, str, str]  # whose, topology key, its value


@dataclass(frozen=True)
class Evicted:
    """A pod that a drain evicts. ``controller`` is such as ``StatefulSet zookeeper``, empty for a bare pod;
    ``problem`` says why it must not be, empty when another node takes it."""

    namespace: str
    name: str
    controller: str
    problem: str
    origin: str  # see origin_of

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name} ({self.controller or 'no controller'})"


def evicted_by_drain(
    pods: Sequence[Object],
    nodes: Sequence[Object],
    going: frozenset[str],
    volumes: Mapping[tuple[str, str], Sequence[Any]],
    pools: Sequence[Object],
) -> list[Evicted]:
    """The pods that a drain of the nodes ``going`` evicts, by name, each with what stands against it.

    ``pods`` are those of all but the workloads, ``nodes`` all that such pods may use. ``volumes`` has the node selector
    terms of each claim's volume by namespace and claim: one that is not known is taken to be in the zone that its pod
    is in. ``pools`` are the NodePools that make room for what they may take.
    """
    there = by_node(pod for pod in pods if not is_finished(pod))
    staying = [room_of(n, there.get(name_of(n), [])) for n in nodes if name_of(n) not in going and takes_pods(n)]
    zones = {name_of(node): labels_of(node).get(ZONE, "") for node in nodes}
    places = _Places(staying, [_mark(pod, room) for room in staying for pod in there.get(room.name, [])], pools)
    moved = [pod for pod in pods if pod["spec"].get("nodeName") in going and evictable(pod) and not is_ending(pod)]
    found = []
    for pod in sorted(moved, key=lambda pod: pod_requests(pod["spec"]).get("memory", 0), reverse=True):
        zone = zones[pod["spec"]["nodeName"]]
        here = [[{"key": ZONE, "operator": "In", "values": [zone]}]]
        terms = [terms for key in _claims(pod) if (terms := volumes.get(key, here))]
        problem = asks_to_stay(pod) or places.take(pod, terms, zone)
        found.append(Evicted(pod["metadata"]["namespace"], name_of(pod), maker_of(pod), problem, origin_of(pod)))
    return sorted(found, key=lambda evicted: (evicted.namespace, evicted.name))


class _Places:
    """The room on the nodes that stay, and who has taken some of it."""

    def __init__(self, rooms: Sequence[Room], marks: Iterable[set[Mark]], pools: Sequence[Object]) -> None:
        self._rooms, self._pools = rooms, pools
        self._marks = {mark for found in marks for mark in found}
        self._first: dict[tuple[str, ...], int] = {}  # where to look for the equals of a pod

    def take(self, pod: Object, volumes: Sequence[Any], zone: str) -> str:
        """Take room for the pod on a node that stays; why that is not possible, if so. ``zone`` is where it is now."""
        spec = pod["spec"]
        elsewhere = any(_could_make(pool, spec, volumes) for pool in self._pools)
        if ZONE in hard_skews(spec) and not elsewhere and not self._reach(spec, volumes, zone):
            return f"it spreads hard over zones, and no node that stays is in {zone}"
        if self._taken(pod, volumes) or elsewhere:
            return ""
        if volumes or is_tied(spec):
            admitted = any(_admits(room, spec, volumes) for room in self._rooms)
            tie = "its volume" if volumes else "the node group"
            return f"it is tied to {tie}, and no node that stays {'has room' if admitted else 'is one of those'}"
        return "no node that stays has room for it, and no other NodePool launches one"

    def _taken(self, pod: Object, volumes: Sequence[Any]) -> bool:
        spec, need = pod["spec"], pod_requests(pod["spec"])
        # Rooms only get fuller: those that refused a pod refuse its equals too.
        equals = (origin_of(pod), name_of(pod) if volumes else "")
        for index in range(self._first.get(equals, 0), len(self._rooms)):
            room = self._rooms[index]
            if room.fits(need) and _admits(room, spec, volumes) and not self._marks & _mark(pod, room):
                room.take(need)
                self._marks |= _mark(pod, room)
                self._first[equals] = index
                return True
        self._first[equals] = len(self._rooms)
        return False

    def _reach(self, spec: Mapping[str, Any], volumes: Sequence[Any], zone: str) -> bool:
        return any(room.labels.get(ZONE) == zone and _admits(room, spec, volumes) for room in self._rooms)


def _mark(pod: Object, room: Room) -> set[Mark]:
    """The places of which a pod and its equals may have one each, by its required anti-affinity."""
    keys = exclusive_keys(pod["spec"], labels_of(pod))
    return {(origin_of(pod), key, room.labels.get(key, "")) for key in keys}


def _admits(room: Room, spec: Mapping[str, Any], volumes: Sequence[Any]) -> bool:
    """Whether a pod may be scheduled on a node as far as labels, taints and its volumes decide it."""
    # Volumes name the zone by the label of their driver, which a node has only where the driver runs.
    labels = {EBS_ZONE: room.labels.get(ZONE, ""), **room.labels}
    reached = all(any(all(holds(e, labels) for e in term) for term in terms) for terms in volumes)
    return reached and wants(spec, room.labels) and tolerates(spec, room.taints)


def _could_make(pool: Object, spec: Mapping[str, Any], volumes: Sequence[Any]) -> bool:
    """Whether a NodePool may launch a node that takes such a pod, as far as what it says of its nodes."""
    template = pool["spec"]["template"]
    if not tolerates(spec, template["spec"].get("taints") or []):
        return False
    offered = {key: [value] for key, value in ((template.get("metadata") or {}).get("labels") or {}).items()}
    for requirement in template["spec"].get("requirements") or []:
        if requirement["operator"] == "In":
            offered[requirement["key"]] = list(requirement["values"])
    exact = [{"key": k, "operator": "In", "values": [v]} for k, v in (spec.get("nodeSelector") or {}).items()]
    choices = [[exact], *([affinity_terms(spec)] if affinity_terms(spec) else []), *volumes]
    return all(any(all(_possible(term, offered) for term in terms) for terms in group) for group in choices)


def _possible(term: Mapping[str, Any], offered: Mapping[str, Sequence[str]]) -> bool:
    key = ZONE if term["key"] == EBS_ZONE else str(term["key"])
    if key in offered:
        return any(holds({**term, "key": key}, {key: value}) for value in offered[key])
    if key in (HOST, NAME_FIELD):
        return bool(term["operator"] != "In")  # a new node has a new name
    return key.startswith(WELL_KNOWN) or holds(term, {})


def _claims(pod: Object) -> list[tuple[str, str]]:
    claims = [v["persistentVolumeClaim"] for v in pod["spec"].get("volumes") or [] if "persistentVolumeClaim" in v]
    return [(pod["metadata"]["namespace"], claim["claimName"]) for claim in claims]


def volume_terms(claims: Iterable[Object], volumes: Iterable[Object]) -> dict[tuple[str, str], list[Any]]:
    """The node selector terms of the volume behind each claim, by namespace and claim; without terms any node does."""
    required = {name_of(v): (v["spec"].get("nodeAffinity") or {}).get("required") or {} for v in volumes}
    terms = {
        name: [term.get("matchExpressions") or [] for term in found.get("nodeSelectorTerms") or []]
        for name, found in required.items()
    }
    return {
        (claim["metadata"]["namespace"], name_of(claim)): terms.get(claim["spec"].get("volumeName", "")) or []
        for claim in claims
    }
