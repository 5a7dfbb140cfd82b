"""Who depends on nodes that are about to go: on the pools before a rollback, on the old nodes before a drain. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.levers.common import NODE_GROUP_LABEL, SPREAD, Object, name_of
from include.levers.spot_capacity.placement import controller_of
from include.levers.spot_capacity.plan import POOL_LABEL, POOLS, TAINT, ZONE, tolerates
from include.levers.spot_capacity.room import OVER, Room, free_room, requested

KEEPS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
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
        return status.get("phase") in OVER
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
    affinity = spec.get("affinity") or {}
    terms = _required_terms(affinity.get("nodeAffinity"))
    if terms and all(any(map(_asks_for_pools, term.get("matchExpressions") or [])) for term in terms):
        return "node affinity to the pools"
    near = (affinity.get("podAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or []
    if any(term["topologyKey"] == SPREAD for term in near):
        return f"pod affinity over {SPREAD}"
    named = any(toleration.get("key") == TAINT for toleration in spec.get("tolerations") or [])
    return f"tolerates {TAINT}" if named and kind != "DaemonSet" else ""


def _asks_for_pools(expression: Mapping[str, Any]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
    if key == SPREAD:
        return operator not in ("NotIn", "DoesNotExist")
    return key == POOL_LABEL and operator == "In" and set(values) <= set(POOLS)


def _required_terms(node_affinity: Mapping[str, Any] | None) -> list[Any]:
    required = (node_affinity or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    return list(required.get("nodeSelectorTerms") or [])


def shut_out(daemon_sets: Iterable[Object]) -> list[str]:
    """``namespace/name`` of the DaemonSets that will not run on the pools' nodes, for they don't tolerate the taint."""
    found = []
    for thing in daemon_sets:
        spec = thing["spec"]["template"]["spec"]
        if not tolerates(spec.get("tolerations") or []) and not _tied(spec):
            found.append(f"{thing['metadata']['namespace']}/{name_of(thing)}")
    return sorted(found)


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
    return not (daemon or mirror or pod.get("status", {}).get("phase") in OVER)


def asks_to_stay(pod: Object) -> str:
    """Why a pod must not be evicted wherever it could go: nothing recreates it, or it says so itself."""
    if controller_of(pod) is None:
        return "nothing recreates it"
    annotations = pod["metadata"].get("annotations") or {}
    return next((f"{key} is {value}" for key, value in KEEPS.items() if annotations.get(key) == value), "")


def evicted_by_drain(
    pods: Sequence[Object],
    nodes: Sequence[Object],
    going: frozenset[str],
    volumes: Mapping[tuple[str, str], Sequence[Any]],
    launches: bool,
) -> list[Evicted]:
    """The pods that a drain of the nodes ``going`` evicts, by name, each with what stands against it.

    ``pods`` are all of the cluster but AkiDB's own, ``nodes`` all nodes. ``volumes`` has the node selector terms of
    each claim's volume by namespace and claim. ``launches``: Karpenter has pools of others, which make room.
    """
    staying = [n for n in nodes if name_of(n) not in going and not n["spec"].get("unschedulable")]
    rooms = {name_of(node): free_room(node, pods) for node in staying}
    zones = {name_of(node): _zone(node) for node in nodes}
    moved = [pod for pod in pods if pod["spec"].get("nodeName") in going and evictable(pod)]
    found = []
    for pod in sorted(moved, key=lambda pod: requested(pod["spec"]).memory, reverse=True):
        terms = [volumes[key] for key in _claims(pod) if volumes.get(key)]
        admitting = [n for n in staying if admits(pod["spec"], n) and all(matches(t, n) for t in terms)]
        problem = asks_to_stay(pod) or _homeless(pod, admitting, rooms, bool(terms), launches)
        if not problem and _spreads_hard(pod["spec"]) and (_tied(pod["spec"]) or terms or not launches):
            zone = zones.get(pod["spec"]["nodeName"], "")
            if zone not in {_zone(node) for node in admitting}:
                problem = f"it spreads hard over zones, and no node that stays is in {zone}"
        found.append(Evicted(pod["metadata"]["namespace"], name_of(pod), _controller(pod), problem, origin_of(pod)))
    return sorted(found, key=lambda evicted: (evicted.namespace, evicted.name))


def _homeless(pod: Object, admitting: Sequence[Object], rooms: dict[str, Room], bound: bool, launches: bool) -> str:
    """Take room for the pod on a node that admits it; why that is not possible, if so."""
    need = requested(pod["spec"])
    place = next((name_of(node) for node in admitting if rooms[name_of(node)].holds(need)), None)
    if place is not None:
        rooms[place] = rooms[place].without(need)
        return ""
    if bound or _tied(pod["spec"]):
        tie = "its volume" if bound else "the node group"
        return f"it is tied to {tie}, and no node that stays {'has room' if admitting else 'is one of those'}"
    return "" if launches else "no node that stays has room for it, and no other NodePool launches one"


def _controller(pod: Object) -> str:
    maker = controller_of(pod)
    return "" if maker is None else f"{maker['kind']} {maker['name']}"


def _zone(node: Object) -> str:
    return str((node["metadata"].get("labels") or {}).get(ZONE, ""))


def _claims(pod: Object) -> list[tuple[str, str]]:
    claims = [v["persistentVolumeClaim"] for v in pod["spec"].get("volumes") or [] if "persistentVolumeClaim" in v]
    return [(pod["metadata"]["namespace"], claim["claimName"]) for claim in claims]


def _spreads_hard(spec: Mapping[str, Any]) -> bool:
    constraints = spec.get("topologySpreadConstraints") or []
    return any(c["topologyKey"] == ZONE and c["whenUnsatisfiable"] == "DoNotSchedule" for c in constraints)


def _tied(spec: Mapping[str, Any]) -> bool:
    """Whether the spec names a node group that its pods must run on."""
    terms = _required_terms((spec.get("affinity") or {}).get("nodeAffinity"))
    keys = [{e["key"] for e in term.get("matchExpressions") or []} for term in terms]
    return NODE_GROUP_LABEL in (spec.get("nodeSelector") or {}) or bool(keys and all(NODE_GROUP_LABEL in k for k in keys))


def volume_terms(claims: Iterable[Object], volumes: Iterable[Object]) -> dict[tuple[str, str], list[Any]]:
    """The node selector terms of the volume behind each claim, by namespace and claim; without terms any node does."""
    terms = {
        name_of(volume): ((volume["spec"].get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms")
        for volume in volumes
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
    ending, over = pod["metadata"].get("deletionTimestamp"), pod.get("status", {}).get("phase") in OVER
    return not (pod["spec"].get("nodeName") or ending or over)


# Where a pod may run ---------------------------------------------------------------------------------------------


def admits(spec: Mapping[str, Any], node: Object) -> bool:
    """Whether a node's labels and taints let a pod of this spec be scheduled there, as far as the spec decides it."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    terms = _required_terms((spec.get("affinity") or {}).get("nodeAffinity"))
    if terms and not matches(terms, node):
        return False
    taints = [t for t in node["spec"].get("taints") or [] if t["effect"] in ("NoSchedule", "NoExecute")]
    return all(tolerates(spec.get("tolerations") or [], taint) for taint in taints)


def matches(terms: Sequence[Any], node: Object) -> bool:
    """Whether a node fulfils one of the node selector terms."""
    return any(all(_holds(e, node) for e in term.get("matchExpressions") or []) for term in terms)


def _holds(expression: Mapping[str, Any], node: Object) -> bool:
    labels = node["metadata"].get("labels") or {}
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
    # Volumes name the zone by the label of their driver, which is on a node only where the driver runs.
    value = labels.get(key, labels.get(ZONE) if key.endswith("/zone") else None)
    if operator in ("Gt", "Lt"):
        if value is None or not value.isdigit():
            return False
        return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
    holds: bool = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[operator]
    return holds
