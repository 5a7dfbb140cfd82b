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


def returned(run: Any, dag_id: str, task_id: str) -> Any:
    """What a task of a finished run returned."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        query = XComModel.get_many(run_id=run.run_id, dag_ids=dag_id, task_ids=task_id, key="return_value")
        found = session.execute(query).scalars().first()
        return XComModel.deserialize_value(found) if found else None
