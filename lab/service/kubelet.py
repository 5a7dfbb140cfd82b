"""The plant's part as kubelet: what pods use, for KWOK to serve it as a kubelet does, and containers killed for memory.

Use goes into KWOK's ClusterResourceUsage objects: one for the pods of a workload that use the same, one of its own for
each pod that differs. They list pods by name and hold plain values: KWOK keeps every CEL expression that it has ever
compiled, so changing figures inside expressions would fill its memory. Of several objects that match a pod KWOK takes
any, so none may overlap. An object is written when its pods changed or a value by more than ``NOTICEABLE``, at most
every ``WRITE_SECONDS``.

A kill becomes the pod's status (from running to running with one restart more, as the VPA's recommender counts it) and
an Event; the container is ready again after ``RESTART_SECONDS``. While the API server is away kills wait in their
order, and of use only the last is written afterwards.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kubernetes import client, config

from lab.machine.again import PROBLEMS, UnavailableError
from lab.service.consumption import Consumption, Kill, PodUsage
from lab.service.usage import MIB

WRITE_SECONDS = 2.0
STEP_SECONDS = 0.5
RESTART_SECONDS = 1.0
NOTICEABLE = 0.01
MOST_WAITING_KILLS = 1000
FIELD_MANAGER = "akidb-plant"
USAGE_KIND = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "ClusterResourceUsage"}
USAGES = "/apis/kwok.x-k8s.io/v1alpha1/clusterresourceusages"
MANAGED = {"app.kubernetes.io/managed-by": FIELD_MANAGER}
GONE = (404, 409, 422)  # the pod has ended meanwhile

Values = tuple[tuple[str, int, int], ...]  # container, millicores, bytes


@dataclass(frozen=True)
class Group:
    """Pods of one namespace that use the same."""

    namespace: str
    pods: tuple[str, ...]
    values: Values


class UsageCluster(Protocol):
    """The Kubernetes calls that are made. All raise UnavailableError; what is gone is fine."""

    def usages(self) -> list[str]: ...
    def apply_usage(self, name: str, group: Group) -> None: ...
    def delete_usage(self, name: str) -> None: ...
    def report(self, kill: Kill, at: str) -> None: ...
    def report_ready(self, kill: Kill, at: str) -> None: ...


def groups(usages: Iterable[PodUsage]) -> dict[str, Group]:
    """Groups by the name of their object: those of a workload that use what most of its pods use, and each other."""
    by_workload: dict[tuple[str, str], list[tuple[str, Values]]] = {}
    for usage in usages:
        pod = usage.pod
        by_workload.setdefault((pod.namespace, pod.workload), []).append((pod.name, _values(usage)))
    found = {}
    for (namespace, workload), members in by_workload.items():
        common = Counter(values for _, values in members).most_common(1)[0][0]
        same = tuple(sorted(name for name, values in members if values == common))
        found[f"{namespace}.{workload}"] = Group(namespace, same, common)
        found |= {f"{namespace}.{name}.own": Group(namespace, (name,), v) for name, v in members if v != common}
    return found


def _values(usage: PodUsage) -> Values:
    """Whole millicores, at least 1, and whole MiB: metrics-server drops a container that uses nothing."""
    return tuple(
        (name, max(round(meter.cores * 1000), 1), max(round(meter.memory_bytes / MIB), 1) * MIB)
        for name, meter in usage.meters.items()
    )


def differs(written: Group | None, wanted: Group) -> bool:
    """Whether it is worth a write."""
    if written is None or written.pods != wanted.pods or len(written.values) != len(wanted.values):
        return True
    return any(map(_changed, written.values, wanted.values))


def _changed(was: tuple[str, int, int], now: tuple[str, int, int]) -> bool:
    (name, cores, memory), (new_name, new_cores, new_memory) = was, now
    moved = abs(new_cores - cores) > NOTICEABLE * cores or abs(new_memory - memory) > NOTICEABLE * memory
    return moved or name != new_name


@dataclass
class Kubelet:
    """One region's reports. ``show`` and ``killed`` only remember; ``step`` writes."""

    cluster: UsageCluster
    clock: Callable[[], float] = time.time
    calls: int = 0
    _wanted: dict[str, Group] = field(default_factory=dict)
    _kills: deque[tuple[Kill, str]] = field(default_factory=lambda: deque(maxlen=MOST_WAITING_KILLS))
    _restarting: deque[tuple[float, Kill]] = field(default_factory=deque)
    _written: dict[str, Group | None] | None = None
    _written_at: float = -WRITE_SECONDS

    def show(self, consumption: Consumption) -> None:
        """Remember what pods use."""
        self._wanted = groups(consumption.pods.values())

    def killed(self, kills: Iterable[Kill]) -> None:
        """Remember who was killed just now."""
        self._kills.extend((kill, self._now()) for kill in kills)

    def step(self) -> None:
        """Write what has changed. Raises UnavailableError; what was not written then is written by the next step."""
        while self._kills:
            self._call(self.cluster.report, *self._kills[0])
            kill, _ = self._kills.popleft()
            self._restarting.append((self.clock() + RESTART_SECONDS, kill))
        while self._restarting and self._restarting[0][0] <= self.clock():
            self._call(self.cluster.report_ready, self._restarting[0][1], self._now())
            self._restarting.popleft()
        if self.clock() - self._written_at >= WRITE_SECONDS:
            self._written_at = self.clock()
            self._write(self._wanted)

    def _now(self) -> str:
        return dt.datetime.fromtimestamp(self.clock(), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _write(self, wanted: Mapping[str, Group]) -> None:
        if self._written is None:  # what an earlier plant has left
            self.calls += 1
            self._written = dict.fromkeys(self.cluster.usages())
        written = self._written
        # A pod that moves from one object to another must not be in both: first it leaves the larger one.
        for name in sorted(written.keys() - wanted.keys()):
            self._call(self.cluster.delete_usage, name)
            del written[name]
        changed = [(name, group) for name, group in wanted.items() if differs(written.get(name), group)]
        for name, group in sorted(changed, key=lambda one: -len(one[1].pods)):
            self._call(self.cluster.apply_usage, name, group)
            written[name] = group

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        self.calls += 1
        function(*arguments)


def usage_body(name: str, group: Group) -> dict[str, Any]:
    """The ClusterResourceUsage of a group."""
    usages = [
        {"containers": [container], "usage": {"cpu": {"value": f"{cpu}m"}, "memory": {"value": str(memory)}}}
        for container, cpu, memory in group.values
    ]
    selector = {"matchNamespaces": [group.namespace], "matchNames": list(group.pods)}
    spec = {"selector": selector, "usages": usages}
    return {**USAGE_KIND, "metadata": {"name": name, "labels": MANAGED}, "spec": spec}


def killed_patch(kill: Kill, at: str) -> list[dict[str, Any]]:
    """The JSON patch of the status of a container that was killed and runs again.

    Not a merge: the API server takes a list of container statuses as a whole.
    """
    ended = {"reason": "OOMKilled", "exitCode": 137, "startedAt": kill.started or at, "finishedAt": at}
    return _container_patch(
        kill,
        ready=False,
        restartCount=kill.restarts,
        lastState={"terminated": ended},
        state={"running": {"startedAt": at}},
    )


def ready_patch(kill: Kill) -> list[dict[str, Any]]:
    """The JSON patch of the status of a killed container that is ready again."""
    return _container_patch(kill, ready=True)


def _container_patch(kill: Kill, **fields: Any) -> list[dict[str, Any]]:
    names = [container.name for container in kill.pod.containers]
    path = f"/status/containerStatuses/{names.index(kill.container)}"
    test = {"op": "test", "path": f"{path}/name", "value": kill.container}
    return [test, *({"op": "add", "path": f"{path}/{name}", "value": value} for name, value in fields.items())]


def conditions_body(kill: Kill, at: str, ready: bool) -> dict[str, Any]:
    """The strategic merge patch of what the pod says about being ready."""
    message = None if ready else f"containers with unready status: [{kill.container}]"
    condition = {"status": str(ready), "lastTransitionTime": at, "message": message}
    condition["reason"] = None if ready else "ContainersNotReady"
    return {"status": {"conditions": [{"type": name, **condition} for name in ("Ready", "ContainersReady")]}}


def event_body(kill: Kill, at: str) -> dict[str, Any]:
    """The Event about a kill."""
    pod = kill.pod
    held, whose = f"{kill.memory_bytes / MIB:.0f} MiB", "its node's memory was exhausted"
    if kill.limit is not None:
        whose = f"its limit is {kill.limit / MIB:.0f} MiB"
    return {
        "metadata": {"generateName": f"{pod.name}.", "namespace": pod.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
            "fieldPath": f"spec.containers{{{kill.container}}}",
        },
        "type": "Warning",
        "reason": "OOMKilling",
        "message": f"Memory cgroup out of memory: container {kill.container} held {held}, {whose}",
        "source": {"component": "kubelet", "host": pod.node},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        "reportingComponent": "kubelet",
        "reportingInstance": pod.node,
    }


class ClusterReports:
    """:class:`UsageCluster` on a real API server."""

    def __init__(self, kubeconfig: Path) -> None:
        settings = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=settings)
        settings.retries = 0  # the next step is the retry
        self._api = client.ApiClient(settings)

    def usages(self) -> list[str]:
        """The names of the objects that the plant has written."""
        where = f"{USAGES}?labelSelector=app.kubernetes.io%2Fmanaged-by%3D{FIELD_MANAGER}"
        found = json.loads(self._call("GET", where).data)
        return [item["metadata"]["name"] for item in found["items"]]

    def apply_usage(self, name: str, group: Group) -> None:
        """Create or change the object of a group."""
        path = f"{USAGES}/{name}?fieldManager={FIELD_MANAGER}&force=true"
        self._call("PATCH", path, usage_body(name, group), "application/apply-patch+yaml")

    def delete_usage(self, name: str) -> None:
        """Delete the object of a group that is no more."""
        self._call("DELETE", f"{USAGES}/{name}", passing=(404,))

    def report(self, kill: Kill, at: str) -> None:
        """Write a kill into the pod's status, and an Event."""
        self._patch_status(kill, killed_patch(kill, at), conditions_body(kill, at, ready=False))
        events = f"/api/v1/namespaces/{kill.pod.namespace}/events"
        self._call("POST", events, event_body(kill, at), passing=GONE)

    def report_ready(self, kill: Kill, at: str) -> None:
        """Write into the pod's status that its container is ready again."""
        self._patch_status(kill, ready_patch(kill), conditions_body(kill, at, ready=True))

    def _patch_status(self, kill: Kill, container: list[dict[str, Any]], conditions: Mapping[str, Any]) -> None:
        path = f"/api/v1/namespaces/{kill.pod.namespace}/pods/{kill.pod.name}/status"
        self._call("PATCH", path, container, "application/json-patch+json", passing=GONE)
        self._call("PATCH", path, conditions, "application/strategic-merge-patch+json", passing=GONE)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | list[dict[str, Any]] | None = None,
        kind: str = "application/json",
        passing: tuple[int, ...] = (),
    ) -> Any:
        try:
            return self._api.call_api(
                path,
                method,
                header_params={"Content-Type": kind, "Accept": "application/json"},
                body=body,
                _return_http_data_only=True,
                _preload_content=False,
                _request_timeout=(3, 10),
            )
        except client.ApiException as error:
            if error.status in passing:
                return None
            raise UnavailableError(f"the API server answered {error.status} {error.reason}") from error
        except (*PROBLEMS, ValueError) as error:
            raise UnavailableError(f"the API server can't be reached ({type(error).__name__})") from error


def keep_reporting(kubelet: Kubelet, name: str) -> threading.Thread:
    """Step for ever in a daemon thread; an outage is told when it begins and when it ends."""

    def run() -> None:
        away, pause = False, threading.Event()
        while not pause.wait(STEP_SECONDS):
            try:
                kubelet.step()
                if away:
                    print(f"{name}: pods' use is written again", flush=True)
                away = False
            except UnavailableError as error:
                if not away:
                    print(f"{name}: pods' use can't be written: {error}", flush=True)
                away = True

    thread = threading.Thread(target=run, name=f"{name} kubelet", daemon=True)
    thread.start()
    return thread
