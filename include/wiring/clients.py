"""The clients of a region from Airflow connections, the ledger, and whether a run has ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from include.estate import Estate
from include.rollout.ledger import Ledger, open_store
from include.rollout.lever import Refused
from include.rollout.lock import Leases
from include.wiring.connections import (
    SettingMissingError,
    aws_of,
    base_url,
    connection,
    location_of,
    prometheus_of,
    s3_client,
    storage_at,
)

if TYPE_CHECKING:
    from include.clients.aws import Aws
    from include.clients.kubernetes import Cluster
    from include.clients.prometheus import Prometheus
    from include.clients.storage import Storage


log = logging.getLogger(__name__)


LEDGER_VARIABLE = "akidb_ledger"


API_CONNECTION = "airflow_api"


API_TIMEOUT = 10.0  # seconds


ClientsFactory = Callable[[str, Estate], Any]


@dataclass(frozen=True)
class Clients:
    """The clients of one region."""

    kubernetes: Cluster
    prometheus: Prometheus
    aws: Aws
    leases: Leases

    def storage(self, variable: str) -> Storage:
        """The storage that an Airflow Variable names. Raises Refused when the variable is not set."""
        try:
            return storage_at(variable)
        except SettingMissingError as error:
            raise Refused(str(error)) from error

    def location(self, variable: str) -> str:
        """The place that an Airflow Variable names, as a pod may use it. Raises Refused when it is not set."""
        try:
            return location_of(variable)
        except SettingMissingError as error:
            raise Refused(str(error)) from error


class ClusterLeases:
    """The leases of the estate's namespace in a cluster."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    def get(self, name: str) -> Mapping[str, Any] | None:
        """The lease, or None."""
        from include.clients.kubernetes import LEASE

        return self._cluster.get(LEASE, name, self._namespace)

    def create(self, body: Mapping[str, Any]) -> None:
        """Create the lease."""
        self._write(self._cluster.create, body)

    def replace(self, body: Mapping[str, Any]) -> None:
        """Replace the lease."""
        self._write(self._cluster.replace, body)

    def _write(self, write: Callable[[dict[str, Any]], Any], body: Mapping[str, Any]) -> None:
        from include.clients.kubernetes import ConflictError
        from include.rollout.lock import LeaseConflictError

        try:
            write({**body, "metadata": {**body["metadata"], "namespace": self._namespace}})
        except ConflictError as error:
            raise LeaseConflictError(str(error)) from error


def clients_for(region: str, estate: Estate) -> Clients:
    """The clients of a region from its Airflow connections. Raises Refused naming a connection that is missing."""
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

    from include.clients.kubernetes import Cluster

    conn_id = estate.region(region).connections.kubernetes
    try:
        connection(conn_id, f"regions.{region}.connections.kubernetes")
        aws, prometheus = aws_of(region, estate), prometheus_of(region, estate)
    except SettingMissingError as error:
        raise Refused(str(error)) from error
    cluster = Cluster(KubernetesHook(conn_id=conn_id).get_conn(), name=estate.region(region).cluster)
    return Clients(cluster, prometheus, aws, ClusterLeases(cluster, estate.namespace))


def open_ledger() -> Ledger:
    """The ledger at the place that the Airflow Variable ``akidb_ledger`` names."""
    from airflow.sdk import Variable

    location = Variable.get(LEDGER_VARIABLE, default=None)
    if not location:
        raise Refused(
            f"Airflow Variable {LEDGER_VARIABLE!r} is not set: set it to an absolute path or s3://connection@bucket/prefix"
        )
    return Ledger(open_store(location, s3_client))


def run_ended(holder: str) -> bool | None:
    """Whether the run ``dag_id/run_id`` has ended, from Airflow's REST API; None when it can't tell."""
    import requests

    dag_id, _, run_id = holder.partition("/")
    try:
        conn = connection(API_CONNECTION, "asked whether a lock's holder has ended")
        url = base_url(conn)
        login = {"username": conn.login, "password": conn.password}
        answer = requests.post(f"{url}/auth/token", json=login, timeout=API_TIMEOUT)
        answer.raise_for_status()
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        place = f"{url}/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
        answer = requests.get(place, headers=headers, timeout=API_TIMEOUT)
        answer.raise_for_status()
    except (requests.RequestException, SettingMissingError) as error:
        log.warning("can't tell whether %s has ended: %s", holder, error)
        return None
    return answer.json()["state"] in {"success", "failed"}
