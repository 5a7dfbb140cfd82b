"""The kubelet's part in a resize in place: KWOK's Stages see one pod each, this sees what its node has left.

A pod whose spec asks for other resources than its status shows gets them when its node has room, counted as a kubelet
counts: the node's allocatable less what the other pods were last given. It is Deferred until then, and Infeasible
where the node could not hold it alone (which the API server of 1.36 refuses before it comes to that). Those who ask
for no more go first, then by priority, then who waits longest. Nothing is restarted and nothing takes time: what a
runtime does between the decision and the container's new limits is left out, and so is the condition that shows it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from include.quantities import quantity
from lab.cluster.polling import ask

Object = Mapping[str, Any]
Patch = list[dict[str, Any]]
PENDING = "PodResizePending"
RESOURCES = ("cpu", "memory")
ENDED = ("Failed", "Succeeded")
# A patch that no longer fits what has changed meanwhile: the next look decides again.
OVERTAKEN = (404, 409, 422)


class PodCluster(Protocol):
    """The Kubernetes calls that resizing makes. All raise UnavailableError."""

    def pods(self) -> list[Object]: ...
    def allocatable(self) -> dict[str, Object]: ...
    def patch_status(self, namespace: str, name: str, patch: Patch) -> None: ...


Room = dict[str, Decimal]  # cores and bytes


def _sum(each: Iterable[Object | None]) -> Room:
    found = list(each)
    return {name: sum((quantity((one or {}).get(name, 0)) for one in found), Decimal(0)) for name in RESOURCES}


def asked(pod: Object) -> Room:
    """What the pod's containers request now."""
    return _sum(c.get("resources", {}).get("requests") for c in pod["spec"]["containers"])


def given(pod: Object) -> Room:
    """What the pod was last given; of a pod that has no status yet, what it requests."""
    shown = [s["allocatedResources"] for s in _statuses(pod) if "allocatedResources" in s]
    return _sum(shown) if shown else asked(pod)


def _statuses(pod: Object) -> list[Object]:
    return list(pod.get("status", {}).get("containerStatuses") or ())


def _resources(pod: Object) -> dict[str, Object]:
    return {container["name"]: container.get("resources") or {} for container in pod["spec"]["containers"]}


def waits(pod: Object) -> bool:
    """Whether a running pod asks for other resources than it has."""
    if pod["status"].get("phase") != "Running" or pod["metadata"].get("deletionTimestamp"):
        return False
    wanted = _resources(pod)
    return any(_plain(status.get("resources")) != _plain(wanted.get(status["name"])) for status in _statuses(pod))


def _plain(resources: Object | None) -> dict[str, dict[str, Decimal]]:
    parts = {part: (resources or {}).get(part) or {} for part in ("requests", "limits")}
    return {part: {name: quantity(value) for name, value in values.items()} for part, values in parts.items()}


def _pending(pod: Object) -> Object:
    return next((c for c in pod["status"].get("conditions") or () if c["type"] == PENDING), {})


def _turn(pod: Object) -> tuple[bool, int, str]:
    wanted, had = asked(pod), given(pod)
    grows = any(wanted[name] > had[name] for name in RESOURCES)
    return grows, -int(pod["spec"].get("priority") or 0), str(_pending(pod).get("lastTransitionTime") or "9999")


def decide(pods: Iterable[Object], allocatable: Mapping[str, Object], now: str) -> list[tuple[Object, str, Patch]]:
    """What to write for each waiting pod: the pod, what happens in words, and the JSON patch of its status."""
    active = [pod for pod in pods if pod["spec"].get("nodeName") and pod["status"].get("phase") not in ENDED]
    taken = {
        node: _sum_of(given(pod) for pod in active if pod["spec"]["nodeName"] == node)
        for node in {pod["spec"]["nodeName"] for pod in active if waits(pod)}
    }
    written = []
    for pod in sorted(filter(waits, active), key=_turn):
        node = pod["spec"]["nodeName"]
        if node not in allocatable:
            continue
        wanted, own = asked(pod), given(pod)
        others = {name: taken[node][name] - own[name] for name in RESOURCES}
        lacking = _lacking(wanted, others, _sum([allocatable[node]]))
        if lacking is None:
            taken[node] = {name: others[name] + wanted[name] for name in RESOURCES}
            written.append((pod, "resized", accept(pod)))
        elif refusal := refuse(pod, *lacking, now):
            written.append((pod, f"{lacking[0]}: {lacking[1]}", refusal))
    return written


def _sum_of(rooms: Iterable[Room]) -> Room:
    found = list(rooms)
    return {name: sum((room[name] for room in found), Decimal(0)) for name in RESOURCES}


def _lacking(wanted: Room, others: Room, allocatable: Room) -> tuple[str, str] | None:
    """Reason and message, in the kubelet's words, of the first resource that lacks; None where all fits."""
    for name in RESOURCES:
        scale = 1000 if name == "cpu" else 1
        shown = {key: int(room[name] * scale) for key, room in (("w", wanted), ("u", others), ("c", allocatable))}
        if wanted[name] > allocatable[name]:
            text = f"Node didn't have enough capacity: {name}, requested: {shown['w']}, capacity: {shown['c']}"
            return "Infeasible", text
        if others[name] + wanted[name] > allocatable[name]:
            text = f"Node didn't have enough resource: {name}, requested: {shown['w']}, used: {shown['u']}"
            return "Deferred", f"{text}, capacity: {shown['c']}"
    return None


def accept(pod: Object) -> Patch:
    """The status of a pod that has what its spec asks for."""
    wanted, patch = _resources(pod), _without_pending(pod)
    for index, status in enumerate(_statuses(pod)):
        at = f"/status/containerStatuses/{index}"
        resources = wanted.get(status["name"], {})
        patch.append({"op": "test", "path": f"{at}/name", "value": status["name"]})
        patch.append({"op": "add", "path": f"{at}/allocatedResources", "value": resources.get("requests") or {}})
        patch.append({"op": "add", "path": f"{at}/resources", "value": resources})
    return patch


def refuse(pod: Object, reason: str, message: str, now: str) -> Patch:
    """The status of a pod whose resize has to wait; empty when it shows that already."""
    generation, shown = pod["metadata"].get("generation", 0), _pending(pod)
    if (shown.get("reason"), shown.get("observedGeneration")) == (reason, generation):
        return []
    condition = {"type": PENDING, "status": "True", "reason": reason, "message": message}
    condition |= {"observedGeneration": generation, "lastTransitionTime": now}
    return [*_without_pending(pod), {"op": "add", "path": "/status/conditions/-", "value": condition}]


def _without_pending(pod: Object) -> Patch:
    types = [condition["type"] for condition in pod["status"].get("conditions") or ()]
    if PENDING not in types:
        return []
    at = f"/status/conditions/{types.index(PENDING)}"
    return [{"op": "test", "path": f"{at}/type", "value": PENDING}, {"op": "remove", "path": at}]


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class RegionResizes:
    """Resizing in one region."""

    region: str
    cluster: PodCluster
    clock: Callable[[], str] = _now

    def step(self) -> list[str]:
        """Answer every pod that asks for other resources; returns what was done. Raises UnavailableError."""
        pods = self.cluster.pods()
        if not any(waits(pod) for pod in pods):
            return []
        decided = decide(pods, self.cluster.allocatable(), self.clock())
        for pod, _, patch in decided:
            self.cluster.patch_status(pod["metadata"]["namespace"], pod["metadata"]["name"], patch)
        return [f"{pod['metadata']['name']} {what}" for pod, what, _ in decided]


class BoundPods:
    """:class:`PodCluster` on a real API server."""

    def __init__(self, kubeconfig: str) -> None:
        from kubernetes import client, config

        settings = client.Configuration()
        config.load_kube_config(kubeconfig, client_configuration=settings)
        settings.retries = 0  # the next step is the retry
        self._core = client.CoreV1Api(client.ApiClient(settings))

    def pods(self) -> list[Object]:
        """All pods that are bound to a node, as the API server's cache has them."""
        bound = {"field_selector": "spec.nodeName!=", "resource_version": "0"}
        return list(ask(self._core.list_pod_for_all_namespaces, passing=(), **bound)["items"])

    def allocatable(self) -> dict[str, Object]:
        """What each node can give."""
        nodes = ask(self._core.list_node, passing=(), resource_version="0")["items"]
        return {node["metadata"]["name"]: node["status"].get("allocatable") or {} for node in nodes}

    def patch_status(self, namespace: str, name: str, patch: Patch) -> None:
        """Apply a JSON patch to the pod's status; one that doesn't fit any more changes nothing."""
        ask(self._core.patch_namespaced_pod_status, name, namespace, patch, passing=OVERTAKEN)
