"""Clients from Airflow connections and variables: what is missing is named, with the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from include.estate import load_estate
from include.wiring.connections import SettingMissingError, base_url, connection, prometheus_of, storage_at


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
