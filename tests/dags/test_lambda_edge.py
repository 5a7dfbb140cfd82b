"""The rollout of the functions: its wiring, and a whole run and its undo by the engine on AWS in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.levers.lambda_edge.settings import SLOTS
from include.wiring.clients import clients_for
from lab.cloud import figures
from tests.dags.test_dns_health_checks import QUICK
from tests.dags.toy_dags import rollback_dag
from tests.unit.levers import lambda_world
from tests.unit.levers.lambda_world import World

FILE = Path(__file__).parents[2] / "dags" / "rollout" / "lambda_edge.py"
Runner = Callable[..., Any]
# No server of probes runs here. Some seconds, so that the gates have their 20 requests.
WITHOUT_PROBES = QUICK | {"watch_global_latency": False, "soak_seconds": 4, "gate_window_seconds": 4}


@pytest.fixture(scope="module")
def dag() -> Any:
    return DagBag(dag_folder=str(FILE)).dags["lambda_edge"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """AWS in memory, reached by each region's connection; global services by that of the canary region."""
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    for region in lambda_world.REGIONS:
        name = f"AIRFLOW_CONN_AWS_{region.upper().replace('-', '_')}"
        monkeypatch.setenv(name, '{"conn_type": "aws", "login": "x", "password": "x"}')
    made = World(real_time=True)
    yield made
    made.close()


def test_its_form_asks_for_no_region_and_a_dry_run_is_the_default(dag: Any) -> None:
    slots = [task.split(".")[1] for task in dag.task_ids if task.endswith("apply_stage")]
    assert slots == list(SLOTS)
    assert "regions" not in dag.params
    assert (dag.params["dry_run"], dag.params["memory_aim"], dag.params["provisioned_units"]) == (True, "cheapest", 2)


def test_units_come_only_after_the_gates_of_the_memory_and_both_after_approval_and_snapshot(dag: Any) -> None:
    memory = dag.get_task("estate_wide.memory.apply_stage").get_flat_relative_ids(upstream=True)
    units = dag.get_task("estate_wide.provisioned.apply_stage").get_flat_relative_ids(upstream=True)
    assert {"await_approval", "take_locks", "estate_wide.take_snapshot"} <= memory
    assert {*memory, "estate_wide.memory.judge_gates"} <= units


def test_it_is_promoted_without_any_cluster_and_undone_from_the_ledger(dag: Any, world: World, run_dag: Runner) -> None:
    before = world.state()
    run = run_dag(dag, WITHOUT_PROBES)
    assert (run.state, run.verdict["message"]) == (
        "success", "promoted in estate-wide: every gate of every stage passed.",
    )  # fmt: skip
    assert (world.latest()["MemorySize"], sum(world.units().values())) == (384, 6)
    undone = run_dag(rollback_dag(None, clients=clients_for), {"dry_run": False, "regions": ["estate-wide"]})
    assert undone.verdict["message"] == "rolled back and verified: estate-wide lambda_edge."
    assert world.state() == before


def test_a_function_that_fails_in_the_soak_is_undone(dag: Any, world: World, run_dag: Runner) -> None:
    before = world.state()
    figures.LEVELS.error_share = 0.01
    run = run_dag(dag, WITHOUT_PROBES)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert world.state() == before
