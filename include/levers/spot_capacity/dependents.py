"""Who depends on nodes: which pod templates need the pools, and whom a drain has left without a node. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from include.levers.common import NODE_GROUP_LABEL, SPREAD, Object, name_of
from include.levers.nodes import affinity_terms, tolerates
from include.levers.spot_capacity.plan import POOL_LABEL, POOLS, TAINT, TAINTS
from include.levers.workloads import controller_of, is_finished

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


def _tied(spec: Mapping[str, Any]) -> bool:
    """Whether the spec names a node group that its pods must run on."""
    terms = affinity_terms(spec)
    by_affinity = bool(terms) and all(any(e["key"] == NODE_GROUP_LABEL for e in term) for term in terms or [])
    return NODE_GROUP_LABEL in (spec.get("nodeSelector") or {}) or by_affinity


# Pods that a drain moves -------------------------------------------------------------------------------------------


def origin_of(pod: Object) -> str:
    """What an evicted pod and the one that follows it have in common: their maker, or the pod itself without one."""
    return f"{pod['metadata']['namespace']}/{made_by(pod) or f'Pod {name_of(pod)}'}"


def made_by(pod: Object) -> str:
    """The controller of a pod, such as ``StatefulSet zookeeper``; empty without one."""
    maker = controller_of(pod)
    return "" if maker is None else f"{maker['kind']} {maker['name']}"


def waits(pod: Object) -> bool:
    """Whether a pod has no node yet."""
    return not (pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp") or is_finished(pod))
