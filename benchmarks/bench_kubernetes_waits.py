"""What one step of day 1 asks of a big cluster's API server while it waits: requests and bytes, counted.

2,000 nodes and 20,000 pods, 12,000 of them AkiDB's; 400 of these move to spot in 20 seconds. The wait looks at
AkiDB's pods and at every node, as ``spot_capacity`` does. It is measured twice on the same API server in memory: with
the client's views (read once, then kept current by watches), and by listing again after each change. Writes
benchmarks/results/kubernetes_waits.json: ``make bench``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from include.clients.kubernetes import NODE, POD
from tests.unit.levers.fake_cluster import FakeCluster, Writes

RESULTS = Path(__file__).parent / "results" / "kubernetes_waits.json"
NAMESPACE = "akidb"
OURS = "app in (akidb-rest,akidb-grpc)"
TIMEOUT = 600.0


class BigCluster(FakeCluster):
    """A cluster in which ``per_second`` of the moving pods become ready each second."""

    def __init__(self, nodes: int, pods: int, ours: int, moving: int, per_second: int) -> None:
        super().__init__(Writes())
        self._nodes, self._per_second, self._due = nodes, per_second, 0.0
        self.waiting = [self._pod(n, ready=False) for n in range(moving)]
        for number in range(moving, pods):
            self._pod(number, ready=True, space=NAMESPACE if number < ours else "others")
        for number in range(nodes):
            self.put(node(f"node-{number}"))
        self.api.notice()
        self.api.direct = False  # comparing 22,000 objects before each request would be all that is measured

    def _pod(self, number: int, ready: bool, space: str = NAMESPACE) -> dict[str, Any]:
        app = "akidb-rest" if number % 2 else "akidb-grpc"
        return self.put(pod(f"pod-{number}", space, app, f"node-{number % self._nodes}", ready))

    def pass_time(self, seconds: float) -> None:
        """Pods become ready while somebody waits."""
        self.seconds += seconds
        self._due += seconds * self._per_second
        while self.waiting and self._due >= 1:
            self._due -= 1
            ready = self.waiting.pop()
            ready["status"]["conditions"][0]["status"] = "True"
            self.api.changed(("Pod", ready["metadata"]["namespace"], ready["metadata"]["name"]))


def pod(name: str, space: str, app: str, on: str, ready: bool) -> dict[str, Any]:
    """A pod of the size that one usually has in an answer."""
    container = {"name": app, "image": "x" * 80, "env": [{"name": f"E{n}", "value": "v" * 20} for n in range(20)]}
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2027-01-15T07:59:50Z"}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "labels": {"app": app}},
        "spec": {"nodeName": on, "containers": [container]},
        "status": {"phase": "Running", "conditions": [condition]},
    }


def node(name: str) -> dict[str, Any]:
    """A node with the images that it has pulled, which are most of what is sent of it."""
    images = [{"names": ["x" * 100], "sizeBytes": 1} for _ in range(30)]
    return {"kind": "Node", "metadata": {"name": name, "labels": {}}, "status": {"images": images}}


def step(cluster: FakeCluster) -> Callable[[], list[str]]:
    """What a step waits for: every pod of AkiDB ready on a node that exists."""

    def missing() -> list[str]:
        nodes = {found["metadata"]["name"] for found in cluster.list(NODE)}
        return [
            found["metadata"]["name"]
            for found in cluster.list(POD, NAMESPACE, labels=OURS)
            if found["status"]["conditions"][0]["status"] != "True" or found["spec"]["nodeName"] not in nodes
        ]

    return missing


def by_views(cluster: FakeCluster) -> None:
    """The wait as it is."""
    cluster.wait_for(step(cluster), TIMEOUT, POD, NAMESPACE)


def by_lists(cluster: FakeCluster) -> None:
    """A wait that lists again after each change."""
    missing: Callable[[], Sequence[str]] = step(cluster)
    while True:
        version = str(cluster.api.version)
        if not missing():
            return
        cluster.pass_time(0.3)
        for _ in cluster.watch(POD, 3.0, NAMESPACE, version=version):
            break


def measure(nodes: int, pods: int, ours: int, moving: int, per_second: int) -> dict[str, Any]:
    """Requests, bytes and seconds of the cluster's clock, of both ways and as a ratio."""
    found: dict[str, Any] = {"nodes": nodes, "pods": pods, "pods_of_akidb": ours, "moving": moving}
    for name, wait in (("views", by_views), ("lists", by_lists)):
        cluster = BigCluster(nodes, pods, ours, moving, per_second)
        wait(cluster)
        lists = sum(verb == "GET" for verb, _ in cluster.api.requests)
        found[name] = {
            "requests": len(cluster.api.requests),
            "lists": lists,
            "megabytes": round(cluster.api.sent / 1e6, 1),
            "seconds": round(cluster.seconds, 1),
        }
    found["ratio"] = {
        unit: round(found["lists"][unit] / found["views"][unit], 1) for unit in ("requests", "lists", "megabytes")
    }
    return found


if __name__ == "__main__":
    result = measure(2000, 20_000, 12_000, 400, 20)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
