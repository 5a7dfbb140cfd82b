"""The rollout of the health checks: its wiring, and a whole run and its undo by the engine on Route 53 in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.levers.dns_health_checks import SLOTS
from lab.cloud import moto_route53
from lab.cloud.dns import DEVICE_ADDRESS
from tests.dags.test_rollout_engine import rollback_dag
from tests.unit.levers.dns_world import World

FILE = Path(__file__).parents[2] / "dags" / "rollout" / "dns_health_checks.py"
Runner = Callable[..., Any]


@pytest.fixture(scope="module")
def dag() -> Any:
    return DagBag(dag_folder=str(FILE)).dags["dns_health_checks"]


def test_it_has_one_place_a_group_for_each_slot_and_asks_for_no_region(dag: Any) -> None:
    slots = [task.split(".")[1] for task in dag.task_ids if task.endswith("apply_stage")]
    assert slots == list(SLOTS)
    assert [task for task in dag.task_ids if task.endswith("take_snapshot")] == ["estate_wide.take_snapshot"]
    assert "regions" not in dag.params
    assert (dag.params["dry_run"], dag.params["request_interval"]) == (True, 30)
    assert {"hosted_zone", "measure_latency", "keep_https", "aws_endpoints"} <= set(dag.params)


def test_the_old_checks_are_deleted_only_after_the_gates_of_the_switch(dag: Any) -> None:
    upstream = dag.get_task("estate_wide.old_deleted.apply_stage").get_flat_relative_ids(upstream=True)
    assert {"await_approval", "take_locks", "estate_wide.take_snapshot", "estate_wide.switched.judge_gates"} <= upstream


QUICK = {"soak_seconds": 1, "gate_window_seconds": 1, "gate_wait_seconds": 0, "dry_run": False}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Route 53 in memory, reached by the connection that the estate names for AWS's global services."""
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("AIRFLOW_CONN_AWS_AP_NORTHEAST_1", '{"conn_type": "aws", "login": "x", "password": "x"}')
    made = World("us-east-1")
    yield made
    made.close()


def test_it_is_promoted_without_any_cluster_and_undone_from_the_ledger(dag: Any, world: World, run_dag: Runner) -> None:
    before = world.state()
    run = run_dag(dag, QUICK)
    assert (run.state, run.verdict["message"]) == (
        "success", "promoted in estate-wide: every gate of every stage passed.",
    )  # fmt: skip
    assert {check["RequestInterval"] for check in world.checks().values()} == {30}
    undone = run_dag(rollback_dag(None, clients=_clients), {"dry_run": False, "regions": ["estate-wide"]})
    assert undone.verdict["message"] == "rolled back and verified: estate-wide dns_health_checks."
    assert world.state() == before


def test_an_endpoint_that_falls_ill_in_the_soak_undoes_the_switch(dag: Any, world: World, run_dag: Runner) -> None:
    before, stop = world.state(), threading.Event()

    def fall_ill() -> None:
        """Once every record set uses a new check."""
        while not stop.wait(0.05):
            if all(check["RequestInterval"] == 30 for check in world.used().values()):
                moto_route53.UNHEALTHY.add(DEVICE_ADDRESS)
                return

    watcher = threading.Thread(target=fall_ill)
    watcher.start()
    try:
        run = run_dag(dag, QUICK | {"soak_seconds": 3})
    finally:
        stop.set()
        watcher.join()
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert world.state() == before


def _clients(place: Any, estate: Any) -> Any:
    from include.wiring.clients import clients_for

    return clients_for(place, estate)
