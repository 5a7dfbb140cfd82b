"""Clients from Airflow connections and variables, for tasks. Airflow is imported in the functions only."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from include.estate import Estate

if TYPE_CHECKING:
    from include.clients.access import Access
    from include.clients.aws import Aws
    from include.clients.devices import Devices
    from include.clients.outages import OutageHook
    from include.clients.probes import Probes
    from include.clients.prometheus import Prometheus
    from include.clients.storage import Storage


GLOBAL_REGION = "us-east-1"  # where AWS serves its global services
SSH_SECONDS = 10  # to connect to a device
log = logging.getLogger(__name__)


class SettingMissingError(RuntimeError):
    """A connection or variable that a task needs does not exist; the message says how to create it."""


def connection(conn_id: str, field: str) -> Any:
    """The Airflow connection. Raises SettingMissingError naming the id, the setting that names it and the remedy."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return Connection.get(conn_id)
    except AirflowNotFoundException:
        raise SettingMissingError(
            f"Airflow connection {conn_id!r} ({field}) does not exist: "
            f"create it with `airflow connections add {conn_id}`, or correct its id in the estate's file"
        ) from None


def base_url(conn: Any) -> str:
    """The address of an http connection, such as ``https://prometheus.example:9090/path``."""
    from include.clients.access import AccessError, url_of

    try:
        return url_of(conn)
    except AccessError as error:
        raise SettingMissingError(f"Airflow connection {conn.conn_id!r} {error}") from error


def http_access(conn: Any) -> Access:
    """How the server of an http connection is reached, as Airflow's HttpHook reads it.

    Raises SettingMissingError naming the connection, its field and the remedy.
    """
    from include.clients.access import AccessError, access_of

    try:
        return access_of(conn)
    except AccessError as error:
        raise SettingMissingError(f"Airflow connection {conn.conn_id!r} {error}") from error


def prometheus_of(region: str, estate: Estate) -> Prometheus:
    """The Prometheus of a region."""
    from include.clients.prometheus import Prometheus

    conn_id = estate.region(region).connections.prometheus
    conn = connection(conn_id, f"regions.{region}.connections.prometheus")
    access = http_access(conn)
    return Prometheus(access.url, access=access)


def probes_of(estate: Estate) -> Probes:
    """The results of the latency probes of the whole world."""
    from include.clients.probes import Probes

    access = http_access(connection(estate.edge.latency.connection, "edge.latency.connection"))
    return Probes(access.url, access=access)


def outages_of(estate: Estate) -> OutageHook:
    """The hook of the estate's drills."""
    from include.clients.outages import OutageHook

    return OutageHook(http_access(connection(estate.governance.game_day_hook, "governance.game_day_hook")))


def aws_of(region: str, estate: Estate) -> Aws:
    """The AWS clients of a region."""
    return _aws(estate.region(region).connections.aws, f"regions.{region}.connections.aws", region)


def global_aws_of(estate: Estate) -> Aws:
    """The AWS clients of global services, such as Route 53 and CloudFront, which are reached in one region."""
    conn_id = estate.global_aws()
    named = "connections.aws" if estate.connections.aws else f"regions.{estate.canary_region}.connections.aws"
    return _aws(conn_id, named, GLOBAL_REGION)


def _aws(conn_id: str, field: str, region: str) -> Aws:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    from include.clients.aws import Aws

    connection(conn_id, field)

    def make(service: str, config: Any) -> Any:
        return AwsBaseHook(conn_id, region_name=region, client_type=service, config=config).get_conn()

    return Aws(make)


def devices_of(estate: Estate) -> Devices:
    """The devices of the estate over SSH, each by its own connection, which has to hold the device's host key."""
    from include.clients.devices import Devices

    power = estate.edge.power
    return Devices({name: _ssh(power.connection(name)) for name in power.devices})


def _ssh(conn_id: str) -> Callable[[], Any]:
    """What connects, once a device is asked something. Raises SettingMissingError where no host key is checked."""
    extra = connection(conn_id, "a device of edge.power.devices").extra_dejson
    for option in ("no_host_key_check", "allow_host_key_change"):
        if str(extra.get(option, "false")).lower() == "true":
            raise SettingMissingError(
                f"Airflow connection {conn_id!r} has {option}: take it out of its extra, and set host_key to the "
                "device's key"
            )

    def connect() -> Any:
        from airflow.providers.ssh.hooks.ssh import SSHHook
        from airflow.sdk.exceptions import AirflowException

        from include.clients.devices import DeviceError

        try:
            hook = SSHHook(ssh_conn_id=conn_id, conn_timeout=SSH_SECONDS, cmd_timeout=None, conn_retry_attempts=2)
        except (ValueError, AirflowException) as error:  # such as a host key that can't be read
            raise DeviceError(f"Airflow connection {conn_id!r}: {error}") from error
        return hook.get_conn()

    return connect


def s3_client(conn_id: str | None) -> Any:
    """A boto3 client of S3 for an AWS connection; None is Airflow's default one.

    Raises SettingMissingError for a name without a connection: the hook would go on with this machine's own rights.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    if conn_id:
        connection(conn_id, "of a place in S3")
    return S3Hook(conn_id or S3Hook.default_conn_name).get_conn()


def location_of(variable: str) -> str:
    """The place that an Airflow Variable names. Raises SettingMissingError when it is not set."""
    from airflow.sdk import Variable

    location = Variable.get(variable, default=None)
    if not location:
        raise SettingMissingError(
            f"Airflow Variable {variable!r} is not set: set it to an absolute path or s3://connection@bucket/prefix"
        )
    return str(location)


def storage_at(variable: str, *, dry_run: bool = False) -> Storage:
    """The storage at the place that an Airflow Variable names; a dry run's keeps what is written to itself.

    Raises SettingMissingError when the variable is not set.
    """
    from include.clients.overlay import Overlay
    from include.clients.storage import StorageError, open_storage

    location = location_of(variable)
    try:
        storage = open_storage(location, s3_client)
    except StorageError as error:
        raise SettingMissingError(f"Airflow Variable {variable!r}: {error}") from error
    return Overlay(storage) if dry_run else storage


def show_dry_run(storage: Storage) -> str:
    """Log what a dry run kept to itself, and return it; empty for a storage that was written to."""
    from include.clients.overlay import Overlay

    text = storage.summary() if isinstance(storage, Overlay) else ""
    if text:
        log.info(text)
    return text
