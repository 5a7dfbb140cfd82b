"""Clients from Airflow connections and variables: what is missing is named, with the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from include.clients.devices import DeviceError, HostKeyError
from include.estate import Estate, load_estate
from include.wiring.connections import (
    SettingMissingError,
    base_url,
    connection,
    devices_of,
    prometheus_of,
    storage_at,
)
from lab.machine.processes import reserved_ports
from tests.unit.lab.devices.test_ssh import NAMES
from tests.unit.lab.devices.test_ssh import Devices as LabDevices


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("http://localhost:9090", "http://localhost:9090"),
        ("http://prometheus.example/https", "https://prometheus.example"),
        ("http://https%3A%2F%2Fprometheus.example%2Fpath%2F", "https://prometheus.example/path"),
    ],
)
def test_addresses_of_http_connections(monkeypatch: pytest.MonkeyPatch, uri: str, url: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_METRICS", uri)
    assert base_url(connection("metrics", "test")) == url


def test_a_missing_connection_is_named(airflow_database: None) -> None:
    with pytest.raises(SettingMissingError) as caught:
        prometheus_of("us-east-1", load_estate())
    assert str(caught.value) == (
        "Airflow connection 'prometheus_us_east_1' (regions.us-east-1.connections.prometheus) does not exist: "
        "create it with `airflow connections add prometheus_us_east_1`, or correct its id in the estate's file"
    )


def test_prometheus_of_a_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PROMETHEUS_US_EAST_1", "http://reader:pw@prometheus.example:9090/https")
    assert prometheus_of("us-east-1", load_estate()).url == "https://prometheus.example:9090"


def test_headers_of_the_extra_are_sent_and_a_kind_that_can_not_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    described = {"conn_type": "http", "host": "https://mimir.example/prometheus", "port": 443}
    monkeypatch.setenv(
        "AIRFLOW_CONN_PROMETHEUS_US_EAST_1", json.dumps(described | {"extra": {"X-Scope-OrgID": "prod"}})
    )
    prometheus = prometheus_of("us-east-1", load_estate())
    assert prometheus.url == "https://mimir.example:443/prometheus"
    assert prometheus.access.headers == {"X-Scope-OrgID": "prod"}
    monkeypatch.setenv("AIRFLOW_CONN_PROMETHEUS_US_EAST_1", json.dumps({"conn_type": "aws"}))
    with pytest.raises(SettingMissingError, match="Airflow connection 'prometheus_us_east_1' is of type aws, and"):
        prometheus_of("us-east-1", load_estate())


def test_a_storage_is_where_its_variable_says(
    airflow_database: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SettingMissingError, match="Airflow Variable 'akidb_costs' is not set: set it to an absolute"):
        storage_at("akidb_costs")
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_COSTS", "gs://bucket/costs")
    with pytest.raises(SettingMissingError, match="Airflow Variable 'akidb_costs': location 'gs://bucket/costs' can't"):
        storage_at("akidb_costs")
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_COSTS", str(tmp_path))
    storage_at("akidb_costs").put("a/b", b"c")
    assert (tmp_path / "a" / "b").read_bytes() == b"c"


def test_a_place_in_s3_needs_the_connection_that_it_names(
    airflow_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_COSTS", "s3://billing_reader@akidb-costs/ledger")
    with pytest.raises(SettingMissingError, match=r"connection 'billing_reader' \(of a place in S3\) does not exist"):
        storage_at("akidb_costs")


def with_two_devices() -> Estate:
    raw = load_estate().model_dump(mode="json")
    raw["edge"]["power"]["devices"] = list(NAMES)
    return Estate.model_validate(raw)


def set_ssh(monkeypatch: pytest.MonkeyPatch, lab: LabDevices, name: str, host_key: str, **more: str) -> None:
    extra = {"key_file": str(lab.folder / "run/devices/keys/client"), "host_key": host_key, **more}
    described = {"conn_type": "ssh", "host": "127.0.0.1", "port": lab.state[name]["port"], "login": "akidb"}
    monkeypatch.setenv(f"AIRFLOW_CONN_SSH_{name.upper()}", json.dumps(described | {"extra": extra}))


def test_devices_are_reached_by_airflows_hook_which_checks_their_host_keys(
    airflow_database: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with reserved_ports(2) as ports, LabDevices(tmp_path, ports) as lab:
        keys = {name: str(lab.state[name]["host_key"]) for name in NAMES}
        for name in NAMES:
            set_ssh(monkeypatch, lab, name, keys[name])
        devices = devices_of(with_two_devices())
        assert [devices[name].run("hostname").out for name in devices] == ["jetson01\n", "jetson02\n"]
        set_ssh(monkeypatch, lab, "jetson02", keys["jetson01"])
        with pytest.raises(HostKeyError, match="jetson02 shows another host key than its connection has"):
            devices_of(with_two_devices())["jetson02"].run("hostname")
        set_ssh(monkeypatch, lab, "jetson02", "ssh-dss AAAA")
        with pytest.raises(DeviceError, match="Airflow connection 'ssh_jetson02': DSA/DSS host keys are not supported"):
            devices_of(with_two_devices())["jetson02"].run("hostname")
        for option in ("no_host_key_check", "allow_host_key_change"):
            set_ssh(monkeypatch, lab, "jetson02", keys["jetson02"], **{option: "true"})
            with pytest.raises(
                SettingMissingError, match=f"connection 'ssh_jetson02' has {option}: take it out of its"
            ):
                devices_of(with_two_devices())
        monkeypatch.delenv("AIRFLOW_CONN_SSH_JETSON02")
        with pytest.raises(
            SettingMissingError, match=r"'ssh_jetson02' \(a device of edge.power.devices\) does not exist"
        ):
            devices_of(with_two_devices())
