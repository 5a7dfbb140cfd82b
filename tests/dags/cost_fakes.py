"""Clients of the cost DAGs, faked: patched into the tasks by name, since a task takes them from connections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.unit.cost.validation_world import FakePrometheus


class Fakes:
    """What the tasks find in place of Prometheus and the clusters."""

    def __init__(self, prometheus: FakePrometheus, cluster: Any = None) -> None:
        self.prometheus = prometheus
        self.cluster = cluster

    def prometheus_clients(self, regions: Iterable[str], estate: Any) -> dict[str, Any]:
        return dict.fromkeys(regions, self.prometheus)

    def cluster_of(self, region: str, estate: Any) -> Any:
        return self.cluster
