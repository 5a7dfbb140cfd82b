"""What the plant needs to know of pods, read from the API server's objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from include.quantities import quantity

Object = Mapping[str, Any]
# The label that names a pod's workload: AkiDB's own, the one of EKS's add-ons, the one of Helm charts.
WORKLOAD_LABELS = ("app", "k8s-app", "app.kubernetes.io/name")
# Label of pods whose use somebody else says, in a ClusterResourceUsage of its own: the plant leaves them alone.
OWN_USE = {"lab.akidb.io/use": "own"}


@dataclass(frozen=True)
class Container:
    """One container: what it was given, in cores and bytes (None: no limit), how often it was restarted, since when
    it runs.
    """

    name: str
    memory_request: int = 0
    memory_limit: int | None = None
    cpu_limit: float | None = None
    restarts: int = 0
    started: str = ""


@dataclass(frozen=True)
class Pod:
    """One pod. ``app`` is its label, ``workload`` what it belongs to; ``running``: its containers have started.

    A pod of ``OWN_USE`` never counts as running.
    """

    app: str
    node: str
    ready: bool
    terminating: bool
    ended: bool
    name: str = ""
    namespace: str = ""
    uid: str = ""
    workload: str = ""
    running: bool = False
    containers: tuple[Container, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def listed(self) -> bool:
        """Whether a Service would send requests to the pod."""
        return self.ready and not self.terminating and not self.ended

    @property
    def memory_request(self) -> int:
        """Bytes that all containers request."""
        return sum(container.memory_request for container in self.containers)


def pod_of(item: Object) -> Pod:
    """The pod in an API object."""
    metadata, status = item["metadata"], item.get("status", {})
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    labels = metadata.get("labels") or {}
    return Pod(
        app=labels.get("app", ""),
        node=item["spec"].get("nodeName", ""),
        ready=conditions.get("Ready") == "True",
        terminating="deletionTimestamp" in metadata,
        ended=status.get("phase") in ("Failed", "Succeeded"),
        name=metadata.get("name", ""),
        namespace=metadata.get("namespace", ""),
        uid=metadata["uid"],
        workload=next((labels[key] for key in WORKLOAD_LABELS if key in labels), ""),
        running=status.get("phase") == "Running" and not OWN_USE.items() <= labels.items(),
        containers=_containers(item),
        labels=tuple(sorted(labels.items())),
    )


def _containers(item: Object) -> tuple[Container, ...]:
    """The containers with what they were last given: a resize that waits for room limits nothing yet."""
    shown = {s["name"]: s for s in item.get("status", {}).get("containerStatuses") or ()}
    return tuple(_container(c, shown.get(c["name"], {})) for c in item["spec"].get("containers") or ())


def _container(spec: Object, status: Object) -> Container:
    given = status.get("resources") or spec.get("resources") or {}
    requests, limits = given.get("requests") or {}, given.get("limits") or {}
    return Container(
        name=spec["name"],
        memory_request=int(quantity(requests.get("memory", 0))),
        memory_limit=int(quantity(limits["memory"])) if "memory" in limits else None,
        cpu_limit=float(quantity(limits["cpu"])) if "cpu" in limits else None,
        restarts=int(status.get("restartCount", 0)),
        started=(status.get("state", {}).get("running") or {}).get("startedAt", ""),
    )
