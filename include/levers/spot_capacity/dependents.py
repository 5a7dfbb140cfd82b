"""Who depends on nodes that are about to go: on the pools before a rollback, on the old nodes before a drain. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.levers.common import NODE_GROUP_LABEL, SPREAD, Object, name_of
from include.levers.nodes import (
    HOST,
    NAME_FIELD,
    ZONE,
    Room,
    affinity_terms,
    by_node,
    exclusive_keys,
    hard_skews,
    holds,
    pod_requests,
    room_of,
    takes_pods,
    tolerates,
    wants,
)
from include.levers.spot_capacity.plan import POOL_LABEL, POOLS, TAINT, TAINTS
from include.levers.workloads import DO_NOT_DISRUPT, DO_NOT_EVICT, asks_to_be_left, controller_of, is_finished

EBS_ZONE = "topology.ebs.csi.aws.com/zone"
# What a node of any pool carries, whatever its pool says of it.
WELL_KNOWN = ("kubernetes.io/", "node.kubernetes.io/", "topology.kubernetes.io/", "karpenter.sh/", "karpenter.k8s.aws/")
Mark = tuple[str, str, str]  # whose, topology key, its value
# What makes pods, and who makes it in turn: only the topmost is somebody's to change.
TEMPLATES = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob")
MADE_FROM = {"ReplicaSet": ("Deployment",), "Job": ("CronJob",), "Pod": (*TEMPLATES, "Node")}


# The pools -------------------------------------------------------------------------------------------------------


def pod_specs(things: Iterable[Object]) -> list[tuple[str, Object]]:
    """``("Deployment akidb/akidb-rest", pod spec)`` of everything that makes pods, and of pods that nothing known made.

    What has finished needs no node any more and is left out.
    """
    found = []
    for thing in things:
        kind, metadata, spec = thing["kind"], thing["metadata"], thing["spec"]
        maker = controller_of(thing)
        if maker is not None and maker["kind"] in MADE_FROM.get(kind, ()):
            continue
        if _has_finished(thing):
            continue
        if kind == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        found.append(
            (
                f"{kind} {metadata.get('namespace', '')}/{metadata['name']}",
                spec if kind == "Pod" else spec["template"]["spec"],
            )
        )
    return found


def _has_finished(thing: Object) -> bool:
    status = thing.get("status") or {}
    if thing["kind"] == "Pod":
        return is_finished(thing)
    done = [c for c in status.get("conditions") or [] if c["type"] in ("Complete", "Failed") and c["status"] == "True"]
    return thing["kind"] == "Job" and bool(done)


def needs_pools(kind: str, spec: Mapping[str, Any]) -> str:
    """Why pods of this spec could run on the pools' nodes only; empty when they could run elsewhere.

    A DaemonSet that tolerates the taint follows the nodes that there are; anything else that names the taint was put
    on these nodes on purpose.
    """
    for constraint in spec.get("topologySpreadConstraints") or []:
        if constraint["topologyKey"] == SPREAD and constraint["whenUnsatisfiable"] == "DoNotSchedule":
            return f"spreads over {SPREAD}"
    for key, value in (spec.get("nodeSelector") or {}).items():
        if key == SPREAD or (key == POOL_LABEL and value in POOLS):
            return f"nodeSelector {key}"
    terms = affinity_terms(spec)
    if terms and all(any(map(_asks_for_pools, term)) for term in terms):
        return "node affinity to the pools"
    near = ((spec.get("affinity") or {}).get("podAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or []
    if any(term["topologyKey"] == SPREAD for term in near):
        return f"pod affinity over {SPREAD}"
    named = any(toleration.get("key") == TAINT for toleration in spec.get("tolerations") or [])
    return f"tolerates {TAINT}" if named and kind != "DaemonSet" else ""


def _asks_for_pools(expression: Mapping[str, Any]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
    if key == SPREAD:
        return operator not in ("NotIn", "DoesNotExist")
    return key == POOL_LABEL and operator == "In" and set(values) <= set(POOLS)


def shut_out(daemon_sets: Iterable[Object]) -> list[str]:
    """``namespace/name`` of the DaemonSets that will not run on the pools' nodes, for they don't tolerate the taint."""
    found = []
    for thing in daemon_sets:
        spec = thing["spec"]["template"]["spec"]
        if not tolerates(spec, TAINTS) and not _tied(spec):
            found.append(f"{thing['metadata']['namespace']}/{name_of(thing)}")
    return sorted(found)


def guests(pods: Iterable[Object]) -> list[str]:
    """Whose pods (see origin_of) may run on the pools' nodes though they aren't AkiDB's: they tolerate the taint.

    ``pods`` are those of others; a DaemonSet's are not meant.
    """
    tolerant = (p for p in pods if evictable(p) and tolerates(p["spec"], TAINTS) and not _tied(p["spec"]))
    return sorted({origin_of(pod) for pod in tolerant})


# The old nodes ---------------------------------------------------------------------------------------------------


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


def evictable(pod: Object) -> bool:
    """Whether a drain has to move the pod: not a DaemonSet's, not the kubelet's own, not finished."""
    metadata = pod["metadata"]
    daemon = any(owner["kind"] == "DaemonSet" for owner in metadata.get("ownerReferences") or [])
    mirror = "kubernetes.io/config.mirror" in (metadata.get("annotations") or {})
    return not (daemon or mirror or is_finished(pod))


def _is_ending(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def asks_to_stay(pod: Object) -> str:
    """Why a pod must not be evicted wherever it could go: nothing recreates it, or it says so itself."""
    if _is_ending(pod):
        return ""  # it goes by itself
    if controller_of(pod) is None:
        return "nothing recreates it"
    annotations = pod["metadata"].get("annotations") or {}
    if annotations.get(DO_NOT_EVICT) == "false":
        return f"{DO_NOT_EVICT} is false"
    return f"{DO_NOT_DISRUPT} is {annotations[DO_NOT_DISRUPT]}" if asks_to_be_left(pod) else ""


def evicted_by_drain(
    pods: Sequence[Object],
    nodes: Sequence[Object],
    going: frozenset[str],
    volumes: Mapping[tuple[str, str], Sequence[Any]],
    pools: Sequence[Object],
) -> list[Evicted]:
    """The pods that a drain of the nodes ``going`` evicts, by name, each with what stands against it.

    ``pods`` are all of the cluster but AkiDB's own, ``nodes`` all nodes. ``volumes`` has the node selector terms of
    each claim's volume by namespace and claim: one that is not known is taken to be in the zone that its pod is in.
    ``pools`` are the NodePools of others, which make room for what they may take.
    """
    there = by_node(pod for pod in pods if not is_finished(pod))
    labels = {name_of(node): node["metadata"].get("labels") or {} for node in nodes}
    staying = [
        room_of(n, there.get(name_of(n), []))
        for n in nodes
        # The pools are tainted: nobody else's pods go there.
        if name_of(n) not in going and labels[name_of(n)].get(POOL_LABEL) not in POOLS and takes_pods(n)
    ]
    zones = {name: found.get(ZONE, "") for name, found in labels.items()}
    places = _Places(staying, [_mark(pod, room) for room in staying for pod in there.get(room.name, [])], pools)
    moved = [pod for pod in pods if pod["spec"].get("nodeName") in going and evictable(pod) and not _is_ending(pod)]
    found = []
    for pod in sorted(moved, key=lambda pod: pod_requests(pod["spec"]).get("memory", 0), reverse=True):
        zone = zones[pod["spec"]["nodeName"]]
        here = [[{"key": ZONE, "operator": "In", "values": [zone]}]]
        terms = [terms for key in _claims(pod) if (terms := volumes.get(key, here))]
        problem = asks_to_stay(pod) or places.take(pod, terms, zone)
        found.append(Evicted(pod["metadata"]["namespace"], name_of(pod), _controller(pod), problem, origin_of(pod)))
    return sorted(found, key=lambda evicted: (evicted.namespace, evicted.name))


class _Places:
    """The room on the nodes that stay, and who has taken some of it."""

    def __init__(self, rooms: Sequence[Room], marks: Iterable[set[Mark]], pools: Sequence[Object]) -> None:
        self._rooms, self._pools = rooms, pools
        self._marks = {mark for found in marks for mark in found}
        self._first: dict[tuple[str, ...], int] = {}  # where to look for the equals of a pod

    def take(self, pod: Object, volumes: Sequence[Any], zone: str) -> str:
        """Take room for the pod on a node that stays; why that is not possible, if so. ``zone`` is where it is now."""
        spec, need = pod["spec"], pod_requests(pod["spec"])
        elsewhere = any(_could_make(pool, spec, volumes) for pool in self._pools)
        if ZONE in hard_skews(spec) and not elsewhere and not self._reach(spec, volumes, zone):
            return f"it spreads hard over zones, and no node that stays is in {zone}"
        # Rooms only get fuller: those that refused a pod refuse its equals too.
        equals = (origin_of(pod), name_of(pod) if volumes else "")
        for index in range(self._first.get(equals, 0), len(self._rooms)):
            room = self._rooms[index]
            if room.fits(need) and _admits(room, spec, volumes) and not self._marks & _mark(pod, room):
                room.take(need)
                self._marks |= _mark(pod, room)
                self._first[equals] = index
                return ""
        self._first[equals] = len(self._rooms)
        if elsewhere:
            return ""
        if volumes or _tied(spec):
            admitted = any(_admits(room, spec, volumes) for room in self._rooms)
            tie = "its volume" if volumes else "the node group"
            return f"it is tied to {tie}, and no node that stays {'has room' if admitted else 'is one of those'}"
        return "no node that stays has room for it, and no other NodePool launches one"

    def _reach(self, spec: Mapping[str, Any], volumes: Sequence[Any], zone: str) -> bool:
        return any(room.labels.get(ZONE) == zone and _admits(room, spec, volumes) for room in self._rooms)


def _mark(pod: Object, room: Room) -> set[Mark]:
    """The places of which a pod and its equals may have one each, by its required anti-affinity."""
    keys = exclusive_keys(pod["spec"], pod["metadata"].get("labels") or {})
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


def _controller(pod: Object) -> str:
    maker = controller_of(pod)
    return "" if maker is None else f"{maker['kind']} {maker['name']}"


def _claims(pod: Object) -> list[tuple[str, str]]:
    claims = [v["persistentVolumeClaim"] for v in pod["spec"].get("volumes") or [] if "persistentVolumeClaim" in v]
    return [(pod["metadata"]["namespace"], claim["claimName"]) for claim in claims]


def _tied(spec: Mapping[str, Any]) -> bool:
    """Whether the spec names a node group that its pods must run on."""
    terms = affinity_terms(spec)
    by_affinity = bool(terms) and all(any(e["key"] == NODE_GROUP_LABEL for e in term) for term in terms or [])
    return NODE_GROUP_LABEL in (spec.get("nodeSelector") or {}) or by_affinity


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


def origin_of(pod: Object) -> str:
    """What an evicted pod and the one that follows it have in common: their maker, or the pod itself without one."""
    return f"{pod['metadata']['namespace']}/{_controller(pod) or f'Pod {name_of(pod)}'}"


def waits(pod: Object) -> bool:
    """Whether a pod has no node yet."""
    return not (pod["spec"].get("nodeName") or _is_ending(pod) or is_finished(pod))


def stranded(pods: Iterable[Object], evicted_from: Iterable[str], waited: Mapping[str, int]) -> list[Object]:
    """The pods without a node that follow evicted ones, by ``origin_of``; as many as have ``waited`` before are not."""
    left, of = dict(waited), set(evicted_from)
    found = []
    for pod in sorted(filter(waits, pods), key=lambda pod: str(pod["metadata"].get("creationTimestamp", ""))):
        origin = origin_of(pod)
        if left.get(origin, 0):
            left[origin] -= 1
        elif origin in of:
            found.append(pod)
    return found
