"""The clients of a place from Airflow connections, the ledger, and whether a run has ended."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from include.estate import Estate
from include.rollout.leases import StoreLeases
from include.rollout.ledger import Ledger, LedgerError, Signer, SigningKeyError
from include.rollout.lever import Refused
from include.rollout.lock import Leases
from include.rollout.place import Place, PlaceKind
from include.wiring.connections import (
    SettingMissingError,
    aws_of,
    base_url,
    connection,
    devices_of,
    global_aws_of,
    location_of,
    outages_of,
    probes_of,
    prometheus_of,
    s3_client,
    storage_at,
)

if TYPE_CHECKING:
    from include.clients.aws import Aws
    from include.clients.devices import Devices
    from include.clients.kubernetes import Cluster
    from include.clients.outages import OutageHook
    from include.clients.probes import Probes
    from include.clients.prometheus import Prometheus
    from include.clients.storage import Storage


log = logging.getLogger(__name__)


LEDGER_VARIABLE = "akidb_ledger"


SIGNING_CONNECTION = "ledger_signing_key"  # its password: an Ed25519 private key in PEM


API_CONNECTION = "airflow_api"


API_TIMEOUT = 10.0  # seconds


ClientsFactory = Callable[[Place, Estate], Any]


class Clients:
    """The clients of one place, each made from its Airflow connection when a lever or a lock first asks for it.

    Each raises Refused naming a connection that is missing, and the remedy. An estate-wide place has the AWS clients of
    global services; what belongs to a region is reached there by ``of``.
    """

    def __init__(self, place: Place, estate: Estate) -> None:
        self._place = place
        self._estate = estate

    def of(self, region: str) -> Clients:
        """The clients of a region, for a lever that acts elsewhere and reads there."""
        return Clients(Place.named(region), self._estate)

    @functools.cached_property
    def kubernetes(self) -> Cluster:
        """The region's cluster."""
        from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

        from include.clients.kubernetes import Cluster

        region = self._region("kubernetes")
        conn_id = self._estate.region(region).connections.kubernetes
        with _refused():
            connection(conn_id, f"regions.{region}.connections.kubernetes")
        return Cluster(KubernetesHook(conn_id=conn_id).get_conn(), name=self._estate.region(region).cluster)

    @functools.cached_property
    def prometheus(self) -> Prometheus:
        """The region's Prometheus."""
        with _refused():
            return prometheus_of(self._region("prometheus"), self._estate)

    @functools.cached_property
    def aws(self) -> Aws:
        """The AWS clients of the region, or of AWS's global services."""
        with _refused():
            if self._place.kind is PlaceKind.REGION:
                return aws_of(self._place.name, self._estate)
            return global_aws_of(self._estate)

    @functools.cached_property
    def probes(self) -> Probes:
        """The results of the latency probes of the whole world, the same in every place."""
        with _refused():
            return probes_of(self._estate)

    @functools.cached_property
    def devices(self) -> Devices:
        """The devices over SSH."""
        with _refused():
            return devices_of(self._estate)

    @functools.cached_property
    def outages(self) -> OutageHook:
        """The hook that takes a program away which is no Deployment, for drills."""
        with _refused():
            return outages_of(self._estate)

    @functools.cached_property
    def leases(self) -> Leases:
        """Where the place's lock lies: in the region's cluster, else in the ledger's store."""
        if self._place.kind is PlaceKind.REGION:
            return ClusterLeases(self.kubernetes, self._estate.namespace)
        return StoreLeases(ledger_storage(), self._place.name)

    def _region(self, name: str) -> str:
        if self._place.kind is not PlaceKind.REGION:
            raise Refused(f"{self._place} has no {name} of its own: ask for a region's")
        return self._place.name

    def storage(self, variable: str) -> Storage:
        """The storage that an Airflow Variable names. Raises Refused when the variable is not set."""
        with _refused():
            return storage_at(variable)

    def location(self, variable: str) -> str:
        """The place that an Airflow Variable names, as a pod may use it. Raises Refused when it is not set."""
        with _refused():
            return location_of(variable)


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """What is not set up is a refusal of the step: retrying can't help."""
    try:
        yield
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


def clients_for(place: Place, estate: Estate) -> Clients:
    """The clients of a place from Airflow connections, none of them made yet."""
    return Clients(place, estate)


def ledger_storage() -> Storage:
    """The storage that the Airflow Variable ``akidb_ledger`` names. Raises Refused or LedgerError with the remedy."""
    from include.clients.storage import StorageError, open_storage

    with _refused():
        location = location_of(LEDGER_VARIABLE)
    try:
        return open_storage(location, s3_client)
    except StorageError as error:
        raise LedgerError(f"ledger {error}") from error


def open_ledger() -> Ledger:
    """The ledger at the place that the Airflow Variable ``akidb_ledger`` names; signed where there is a key for it.

    A key that can't be used is reported by preflight, and stops nothing here: an undo must work without it.
    """
    signer, problem = ledger_signer()
    if problem:
        log.warning("the ledger is not signed: %s", problem)
    return Ledger(ledger_storage(), signer=signer, problem=problem)


def ledger_signer() -> tuple[Signer | None, str]:
    """Who signs the ledger's records, and why nobody can; neither where no key is wanted."""
    try:
        key = connection(SIGNING_CONNECTION, "signs the ledger").password
    except SettingMissingError:
        return None, ""
    try:
        return Signer.from_text(key or ""), ""
    except SigningKeyError as error:
        return None, f"the password of the Airflow connection {SIGNING_CONNECTION!r} {error}"


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
