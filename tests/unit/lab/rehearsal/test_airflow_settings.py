"""airflow_settings.yaml becomes connections, pools and variables; what has no value is refused by name."""

from __future__ import annotations

import configparser
import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.estate import load_estate
from lab.rehearsal import airflow as airflows
from lab.rehearsal.airflow import Airflow
from lab.rehearsal.airflow_api import AirflowError, ApiError, Client
from lab.rehearsal.airflow_config import configuration
from lab.rehearsal.airflow_settings import SETTINGS_FILE, connection_body, load_settings, settings_for, variables_of
from lab.service import devices

DEVICES = {f"ssh_{name}" for name in devices.names(load_estate())}
REGIONS = ("us-east-1", "eu-central-1", "ap-northeast-1")


def state(*regions: str) -> dict[str, Any]:
    return {
        "aws_endpoint": "http://127.0.0.1:5001",
        "models": "file:///lab/models",
        "prometheus": "http://127.0.0.1:5002",
        "devices": {
            f"jetson0{n}": {"port": 6000 + n, "key_file": "/lab/client", "host_key": f"ssh-ed25519 AAAA{n}"}
            for n in range(1, 6)
        },
        "plant": "http://127.0.0.1:5006",
        "regions": {
            name: {
                "rollout_kubeconfig": f"/lab/{name}/akidb-rollout.kubeconfig",
                "opencost": "http://127.0.0.1:5004",
                "kubecost": "http://127.0.0.1:5005",
            }
            for name in regions
        },
    }


@pytest.fixture
def airflow(tmp_path: Path) -> Airflow:
    made = Airflow(tmp_path, ("platform-lead",))
    made.url = "http://127.0.0.1:5003"
    return made


def filled(airflow: Airflow, *regions: str) -> dict[str, Any]:
    text = SETTINGS_FILE.read_text()
    absent = tuple(name for name in REGIONS if name not in regions)
    values = {**variables_of(state(*regions), airflow, Path("/lab")), "LEDGER_KEY": "a key in PEM"}
    return settings_for(text, values, absent, {"aws_us_east_1"})


def by_id(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["conn_id"]: entry for entry in settings["connections"]}


def test_every_connection_of_the_estate_is_there(airflow: Airflow) -> None:
    estate = load_estate()
    wanted = {"airflow_api", "ledger_signing_key", estate.edge.latency.connection}
    for name, region in estate.regions.items():
        wanted |= set(region.connections.model_dump().values())
        wanted |= {f"{allocator}_{name.replace('-', '_')}" for allocator in ("opencost", "kubecost")}
    wanted |= {export.connection for export in estate.cost.exports} | DEVICES
    assert set(by_id(filled(airflow, *REGIONS))) == wanted


def test_values_come_from_the_lab(airflow: Airflow) -> None:
    connections = by_id(filled(airflow, *REGIONS))
    assert connection_body(connections["kubernetes_us_east_1"]) == {
        "connection_id": "kubernetes_us_east_1",
        "conn_type": "kubernetes",
        "extra": '{"kube_config_path": "/lab/us-east-1/akidb-rollout.kubeconfig"}',
    }
    assert json.loads(connection_body(connections["aws_eu_central_1"])["extra"]) == {
        "region_name": "eu-central-1",
        "endpoint_url": "http://127.0.0.1:5001",
    }
    assert connection_body(connections["prometheus_ap_northeast_1"]) == {
        "connection_id": "prometheus_ap_northeast_1",
        "conn_type": "http",
        "schema": "http",
        "host": "127.0.0.1",
        "port": 5002,
    }
    assert connection_body(connections["ssh_jetson02"]) == {
        "connection_id": "ssh_jetson02",
        "conn_type": "ssh",
        "host": "127.0.0.1",
        "port": 6002,
        "login": "akidb",
        "extra": '{"key_file": "/lab/client", "host_key": "ssh-ed25519 AAAA2", "no_host_key_check": "false", '
        '"look_for_keys": "false"}',
    }
    assert connection_body(connections["airflow_api"])["login"] == "akidb-service"
    assert connection_body(connections["airflow_api"])["password"] == airflow.passwords["akidb-service"]


def test_places_are_addresses(airflow: Airflow) -> None:
    assert filled(airflow, *REGIONS)["variables"] == [
        {"variable_name": "akidb_ledger", "variable_value": "file:///lab/ledger"},
        {"variable_name": "akidb_costs", "variable_value": "file:///lab/costs"},
        {"variable_name": "akidb_traffic", "variable_value": "file:///lab/traffic"},
        {"variable_name": "akidb_models", "variable_value": "file:///lab/models"},
    ]


def test_regions_that_are_not_booted_are_left_out_but_for_the_bill(airflow: Airflow) -> None:
    assert set(by_id(filled(airflow, "eu-central-1"))) == DEVICES | {
        "airflow_api",
        "ledger_signing_key",
        "probes",
        "aws_us_east_1",
        *(f"{kind}_eu_central_1" for kind in ("aws", "kubernetes", "prometheus", "opencost", "kubecost")),
    }


def test_a_placeholder_without_a_value_is_refused_by_name_and_place() -> None:
    text = yaml.safe_dump(
        {
            "airflow": {
                "connections": [{"conn_id": "a", "conn_type": "http", "conn_host": "${HOTS}"}],
                "variables": [{"variable_name": "v", "variable_value": "${LEDGER}/${X}"}],
            }
        }
    )
    with pytest.raises(AirflowError) as refusal:
        settings_for(text, {"LEDGER": "file:///l"})
    assert str(refusal.value).splitlines()[1:3] == [
        "  ${HOTS} in airflow.connections[0].conn_host",
        "  ${X} in airflow.variables[0].variable_value",
    ]


def test_an_unknown_field_of_a_connection_is_refused_by_name() -> None:
    with pytest.raises(AirflowError, match="connection a has unknown fields conn_hots; known are conn_id, conn_type"):
        connection_body({"conn_id": "a", "conn_type": "http", "conn_hots": "x"})


class FakeClient(Client):
    """Records requests; paths in ``taken`` exist already."""

    def __init__(self, *taken: str) -> None:
        super().__init__("http://unused", "admin", "unused")
        self.taken = taken
        self.sent: list[tuple[str, str, dict[str, Any]]] = []

    def request(self, method: str, path: str, **arguments: Any) -> Any:
        self.sent.append((method, path, arguments["json"]))
        if method == "POST" and path in self.taken:
            raise ApiError(method, path, 409, "exists")
        return None


def test_what_exists_is_updated() -> None:
    client = FakeClient("/pools")
    load_settings(
        client,
        {
            "connections": [{"conn_id": "c", "conn_type": "http", "conn_port": "80"}],
            "pools": [{"pool_name": "p", "pool_slot": 6, "pool_description": "d"}],
            "variables": [{"variable_name": "v", "variable_value": "1"}],
        },
    )
    pool = {"name": "p", "slots": 6, "description": "d", "include_deferred": False}
    assert client.sent == [
        ("POST", "/connections", {"connection_id": "c", "conn_type": "http", "port": 80}),
        ("POST", "/pools", pool),
        ("PATCH", "/pools/p", pool),
        ("POST", "/variables", {"key": "v", "value": "1"}),
    ]


def test_configuration_is_private_complete_and_on_loopback(airflow: Airflow) -> None:
    airflow.home.mkdir(parents=True)
    airflow._write_files(5003, "")
    for name in ("airflow.cfg", "passwords.json"):
        assert stat.S_IMODE((airflow.home / name).stat().st_mode) == 0o600
    assert json.loads((airflow.home / "passwords.json").read_text()) == airflow.passwords
    written = configparser.ConfigParser()
    written.read(airflow.home / "airflow.cfg")
    assert written["core"]["simple_auth_manager_users"] == "admin:admin,platform-lead:user,akidb-service:viewer"
    assert written["core"]["execution_api_server_url"] == "http://127.0.0.1:5003/execution/"
    assert written["core"]["load_examples"] == "False"
    assert written["scheduler"]["task_instance_heartbeat_timeout"] == "30"


def test_on_postgresql_two_schedulers_share_the_six_places_of_tasks(tmp_path: Path) -> None:
    address = "postgresql+psycopg2://airflow:secret@127.0.0.1:5432/airflow"
    shared, alone = Airflow(tmp_path, database="postgresql"), Airflow(tmp_path)
    sections = shared.sections(5003, tmp_path / "passwords.json", address)
    assert (shared.schedulers, sections["core"]["parallelism"]) == (("scheduler", "scheduler-2"), "3")
    assert sections["database"] == {"sql_alchemy_conn": address}
    assert alone.sections(5003, tmp_path / "passwords.json", "")["core"]["parallelism"] == "6"


def test_the_logs_of_all_schedulers_are_read_together(tmp_path: Path) -> None:
    airflow = Airflow(tmp_path, database="postgresql")
    assert airflow.scheduler_log() == ""
    airflow.processes.logs.mkdir(parents=True)
    for name in airflow.schedulers:
        (airflow.processes.logs / f"{name}.log").write_text(f"of {name}")
    assert airflow.scheduler_log() == "of scheduler\nof scheduler-2"


def test_no_component_opens_a_port_beside_the_api_server() -> None:
    assert airflows.COMPONENTS["api-server"][:3] == ("api-server", "--host", "127.0.0.1")
    assert "--skip-serve-logs" in airflows.COMPONENTS["scheduler"]
    assert "--skip-serve-logs" in airflows.COMPONENTS["triggerer"]


def limits(stretch: float) -> dict[str, str]:
    written = configuration(Path("/lab"), 1, {}, Path("/p"), stretch)
    return {
        f"{section}.{key}": value
        for section, values in written.items()
        for key, value in values.items()
        if key.endswith(("timeout", "threshold", "jwt_expiration_time"))
    }


def test_every_limit_of_airflow_follows_the_speed_of_the_machine() -> None:
    assert limits(1.0) == {
        "core.dagbag_import_timeout": "30",
        "api.worker_timeout": "120",
        "execution_api.jwt_expiration_time": "600",
        "scheduler.task_instance_heartbeat_timeout": "30",
        "scheduler.task_queued_timeout": "600",
        "scheduler.scheduler_health_check_threshold": "30",
        "workers.execution_api_timeout": "10",
        "dag_processor.dag_file_processor_timeout": "50",
        "dag_processor.stale_dag_threshold": "50",
        "dag_processor.health_check_threshold": "30",
        "triggerer.triggerer_health_check_threshold": "30",
        "triggerer.runner_health_check_threshold": "30",
    }
    assert {name: float(value) for name, value in limits(2.4).items()} == {
        name: float(value) * 2.4 for name, value in limits(1.0).items()
    }
    database = configuration(Path("/lab"), 1, {}, Path("/p"), 2.4)["database"]["sql_alchemy_conn"]
    assert database == "sqlite:////lab/airflow.db?timeout=72"


def test_the_client_waits_as_long_as_the_machine_needs(tmp_path: Path) -> None:
    slow = Airflow(tmp_path, (), stretch=2.5).client()
    assert (slow.timeout, slow.patience) == (75.0, 450.0)


def test_the_log_of_a_try_is_where_airflow_writes_it(airflow: Airflow) -> None:
    folder = airflow.home / "task-logs" / "dag_id=rollback" / "run_id=r"
    assert airflow.task_log("rollback", "r", "us_east_1.undo_changes", -1, 2) == (
        folder / "task_id=us_east_1.undo_changes" / "attempt=2.log"
    )
    assert airflow.task_log("rollback", "r", "t", 3, 1) == folder / "task_id=t" / "map_index=3" / "attempt=1.log"
