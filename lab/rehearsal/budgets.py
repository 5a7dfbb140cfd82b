"""Whether a PodDisruptionBudget was ever violated: watched while a day runs, and not only looked at in the end."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes import client

from lab.cluster.workloads import api_client
from lab.service.endpoints import follow


class BudgetWatch:
    """The budgets of a region as events tell of them; methods may be called from several threads.

    A violation is the moment in which a budget that was kept has fewer healthy pods than it demands, and fewer than it
    demanded while it was kept: an autoscaler that asks for more replicas raises the demand, and takes no pod away.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._demanded: dict[str, int] = {}  # by budget, while it was last kept
        self._violated: set[str] = set()  # those that are not kept now
        self.violations: list[str] = []
        self.seen = False

    def replace(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Take over a complete list."""
        for item in items:
            self.event("MODIFIED", item)
        self.seen = True

    def event(self, kind: str, item: Mapping[str, Any]) -> None:
        """Take over an ADDED, MODIFIED or DELETED event of a budget."""
        name, status = str(item["metadata"]["name"]), item.get("status") or {}
        with self._lock:
            if kind == "DELETED":
                self._demanded.pop(name, None)
                self._violated.discard(name)
            elif "currentHealthy" in status and "desiredHealthy" in status:
                self._look(name, int(status["currentHealthy"]), int(status["desiredHealthy"]))

    def _look(self, name: str, healthy: int, demanded: int) -> None:
        if healthy >= demanded:
            self._demanded[name] = demanded
            self._violated.discard(name)
        elif name in self._demanded and name not in self._violated and healthy < min(demanded, self._demanded[name]):
            self._violated.add(name)
            self.violations.append(f"{name}: {healthy} healthy of {demanded} demanded")

    def count(self) -> int | None:
        """How often a budget was violated; None when nothing was ever read."""
        return len(self.violations) if self.seen else None


@contextmanager
def watched(kubeconfigs: Mapping[str, Path], namespace: str) -> Iterator[dict[str, BudgetWatch]]:
    """Watch the budgets of ``namespace`` in each region until the block ends."""
    stop = threading.Event()
    found = {region: BudgetWatch() for region in kubeconfigs}
    for region, kubeconfig in kubeconfigs.items():
        _follow(client.PolicyV1Api(api_client(kubeconfig)), namespace, found[region], region, stop)
    try:
        yield found
    finally:
        stop.set()


def _follow(api: Any, namespace: str, watch: BudgetWatch, region: str, stop: threading.Event) -> None:
    def budgets(**options: Any) -> Any:
        return api.list_namespaced_pod_disruption_budget(namespace, **options)

    follow(budgets, watch.replace, watch.event, f"{region} budgets", stop)
