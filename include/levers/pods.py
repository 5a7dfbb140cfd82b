"""Whose a pod is, and how it does: pure functions over objects as the API server gives them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from typing import Any

from include.clients.kubernetes import POD
from include.levers.world import Object, World, name_of

DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
DO_NOT_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
FINISHED = ("Succeeded", "Failed")
_DURATION = re.compile(r"(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")  # as Go writes it: 1h30m


# Whose they are --------------------------------------------------------------------------------------------------


def controller_of(thing: Mapping[str, Any]) -> Object | None:
    """The owner that replaces the object when it is gone, None without one."""
    owners = thing["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def controlled_by(thing: Mapping[str, Any], kind: str, owner: Mapping[str, Any]) -> bool:
    """Whether ``owner``, an object of ``kind``, is the controller of ``thing``."""
    found, metadata = controller_of(thing), owner["metadata"]
    if found is None or found.get("kind") != kind or namespace_of(thing) != namespace_of(owner):
        return False
    if found.get("uid") and metadata.get("uid"):
        return bool(found["uid"] == metadata["uid"])
    return bool(found.get("name") == metadata["name"])


def own_pods(deployment: Object, replica_sets: Iterable[Object], pods: Iterable[Object]) -> list[Object]:
    """The Deployment's own pods, by their owners and not by their labels; finished ones don't count."""
    mine = [item for item in replica_sets if controlled_by(item, "Deployment", deployment)]
    by_uid = {item["metadata"]["uid"] for item in mine if item["metadata"].get("uid")}
    by_name = {item["metadata"]["name"] for item in mine}
    space = namespace_of(deployment)
    # Most pods of a big cluster are of other namespaces: the cheapest question first.
    near = (pod for pod in pods if namespace_of(pod) == space and not is_finished(pod))
    return [pod for pod in near if _owned(pod, by_uid, by_name)]


def _owned(pod: Object, by_uid: set[str], by_name: set[str]) -> bool:
    owner = controller_of(pod)
    if owner is None or owner.get("kind") != "ReplicaSet":
        return False
    return owner["uid"] in by_uid if by_uid and owner.get("uid") else owner.get("name") in by_name


def is_finished(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has ended for good: it runs nothing, and what replaces it is another pod."""
    return pod.get("status", {}).get("phase") in FINISHED


def namespace_of(thing: Mapping[str, Any]) -> str:
    """The namespace in an object's metadata, empty without one."""
    return str(thing["metadata"].get("namespace", ""))


def replicas_of(deployment: Mapping[str, Any]) -> int:
    """Wanted replicas; Kubernetes' default is 1."""
    found = deployment["spec"].get("replicas")
    return 1 if found is None else int(found)


def title_of(deployment: Object) -> str:
    """``Deployment akidb-rest``: what messages call it."""
    return f"Deployment {name_of(deployment)}"


def is_of(pod: Mapping[str, Any], deployment: str) -> bool:
    """Whether a pod is a Deployment's own, whatever its labels say: one of its ReplicaSets made it."""
    maker = controller_of(pod)
    return maker is not None and maker["kind"] == "ReplicaSet" and str(maker["name"]).rpartition("-")[0] == deployment


def pods_of_deployments(pods: Iterable[Object], deployments: Iterable[str]) -> list[Object]:
    """The Deployments' own pods that run, wait or end; what is left of evicted or finished ones doesn't count."""
    names = list(deployments)
    return [pod for pod in pods if not is_finished(pod) and any(is_of(pod, name) for name in names)]


# How they do -----------------------------------------------------------------------------------------------------


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is Ready and not ending."""
    ready = _condition(pod, "Ready")
    return ready is not None and ready["status"] == "True" and not is_ending(pod)


def is_ending(thing: Mapping[str, Any]) -> bool:
    """Whether an object is being deleted."""
    return bool(thing["metadata"].get("deletionTimestamp"))


def has_no_node(pod: Object) -> bool:
    """Whether a pod waits for a node."""
    return not (pod["spec"].get("nodeName") or is_ending(pod) or is_finished(pod))


def _condition(pod: Mapping[str, Any], kind: str) -> Object | None:
    return next((c for c in pod.get("status", {}).get("conditions") or [] if c["type"] == kind), None)


def incomplete(deployments: Mapping[str, Object]) -> list[str]:
    """Deployments whose pods aren't all of the newest revision and ready; one line each."""
    missing = []
    for name, deployment in deployments.items():
        status, wanted = deployment.get("status", {}), replicas_of(deployment)
        seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        done = min(status.get("updatedReplicas", 0), status.get("readyReplicas", 0), status.get("availableReplicas", 0))
        if not seen or done < wanted or status.get("replicas", 0) > wanted:
            missing.append(f"Deployment {name}: {done if seen else 0} of {wanted} pods updated and ready")
    return missing


def unreplaced(deployments: Mapping[str, Object], pods: Iterable[Object], node: str) -> list[str]:
    """What is missing until all that ran on a node runs elsewhere, one line each; ``pods`` are the Deployments' own."""
    found = list(pods)
    left = sum(pod["spec"].get("nodeName") == node for pod in found)
    ready = {name: sum(is_ready(pod) for pod in found if is_of(pod, name)) for name in deployments}
    wanted = {name: replicas_of(deployment) for name, deployment in deployments.items()}
    short = [
        f"{name}: {ready[name]} of {wanted[name]} pods ready" for name in deployments if ready[name] < wanted[name]
    ]
    return ([f"{left} pods are on {node}"] if left else []) + short


def waiting(pods: Iterable[Object]) -> list[str]:
    """What the scheduler says of pods that it has no node for, one line for each thing that it says."""
    said: dict[str, list[str]] = {}
    for pod in pods:
        refused = _condition(pod, "PodScheduled") or {"status": "Unknown"}
        if refused["status"] == "False" and refused.get("message") and not is_ending(pod):
            said.setdefault(refused["message"], []).append(name_of(pod))
    return [
        f"{len(names)} pods wait for a node ({names[0]}{' ...' if len(names) > 1 else ''}): {message}"
        for message, names in said.items()
    ]


def pending_seconds(pods: Iterable[Object], now: float, since: float) -> list[float]:
    """How long each pod that waited for a node after ``since`` has waited, in seconds; times are Unix seconds."""
    waits = []
    for pod in pods:
        scheduled = _condition(pod, "PodScheduled") or {"status": "Unknown"}
        placed = scheduled["status"] == "True"
        if not placed and pod["spec"].get("nodeName"):
            continue  # bound by hand: it never waited for the scheduler
        end = unix(scheduled["lastTransitionTime"]) if placed else now
        if end >= since:
            waits.append(max(0.0, end - unix(pod["metadata"]["creationTimestamp"])))
    return waits


def unix(timestamp: str) -> float:
    """Unix seconds of a Kubernetes timestamp."""
    return dt.datetime.fromisoformat(timestamp).timestamp()


# Whether they may be moved ---------------------------------------------------------------------------------------


def asks_to_be_left(thing: Mapping[str, Any]) -> bool:
    """Whether a pod, its template or a node asks Karpenter not to disrupt it, for ever or for a time (``30m``)."""
    annotations = (thing.get("metadata") or {}).get("annotations") or {}
    value = str(annotations.get(DO_NOT_DISRUPT, "")).lower()
    return value == "true" or bool(_DURATION.fullmatch(value) and value.strip("0.hmsnuµ"))


def evictable(pod: Object) -> bool:
    """Whether a drain has to move the pod: not a DaemonSet's, not the kubelet's own, not finished."""
    metadata = pod["metadata"]
    daemon = any(owner["kind"] == "DaemonSet" for owner in metadata.get("ownerReferences") or [])
    mirror = "kubernetes.io/config.mirror" in (metadata.get("annotations") or {})
    return not (daemon or mirror or is_finished(pod))


def asks_to_stay(pod: Object) -> str:
    """Why a pod must not be evicted wherever it could go: nothing recreates it, or it says so itself."""
    if is_ending(pod):
        return ""  # it goes by itself
    if controller_of(pod) is None:
        return "nothing recreates it"
    annotations = pod["metadata"].get("annotations") or {}
    if annotations.get(DO_NOT_EVICT) == "false":
        return f"{DO_NOT_EVICT} is false"
    return f"{DO_NOT_DISRUPT} is {annotations[DO_NOT_DISRUPT]}" if asks_to_be_left(pod) else ""


def maker_of(pod: Object) -> str:
    """The pod's controller, such as ``StatefulSet zookeeper``; empty without one."""
    maker = controller_of(pod)
    return "" if maker is None else f"{maker['kind']} {maker['name']}"


def origin_of(pod: Object) -> str:
    """What an evicted pod and the one that follows it have in common: their maker, or the pod itself without one."""
    return f"{pod['metadata']['namespace']}/{maker_of(pod) or f'Pod {name_of(pod)}'}"


def stranded(pods: Iterable[Object], evicted_from: Iterable[str], waited: Mapping[str, int]) -> list[Object]:
    """The pods without a node that follow evicted ones, by ``origin_of``; as many as have ``waited`` before are not."""
    left, of = dict(waited), set(evicted_from)
    found = []
    for pod in sorted(filter(has_no_node, pods), key=lambda pod: str(pod["metadata"].get("creationTimestamp", ""))):
        origin = origin_of(pod)
        if left.get(origin, 0):
            left[origin] -= 1
        elif origin in of:
            found.append(pod)
    return found


# Read from the world ---------------------------------------------------------------------------------------------


def workload_pods(world: World) -> list[Object]:
    """The pods that the workloads' Deployments have made, those that are ending included."""
    names = ",".join(world.estate.workloads)
    found = world.cluster.list(POD, world.estate.namespace, labels=f"app in ({names})")
    return pods_of_deployments(found, world.estate.workloads)


def pods_of_others(world: World) -> list[Object]:
    """The pods of all namespaces but those that the workloads' Deployments have made."""
    pods, space = world.cluster.list(POD), world.estate.namespace
    near = (pod for pod in pods if namespace_of(pod) == space)
    ours = {name_of(pod) for pod in pods_of_deployments(near, world.estate.workloads)}
    return [pod for pod in pods if not (namespace_of(pod) == space and name_of(pod) in ours)]


def unready(world: World, deployments: Mapping[str, Object]) -> list[str]:
    """What is missing until all pods of these Deployments are ready, a line each, with what the scheduler says."""
    pods = pods_of_deployments(world.cluster.list(POD, world.estate.namespace), deployments)
    return [*incomplete(deployments), *waiting(pods)]
