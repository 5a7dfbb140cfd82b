"""The rollout of the lifecycle rules: its wiring, and a whole run and its undo by the engine on S3 in memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.levers.storage_tiering.lever import SLOTS
from include.wiring.clients import clients_for
from tests.dags.test_dns_health_checks import QUICK
from tests.dags.test_rollout_engine import rollback_dag
from tests.unit.levers.storage_world import US, World

FILE = Path(__file__).parents[2] / "dags" / "rollout" / "storage_tiering.py"
Runner = Callable[..., Any]


@pytest.fixture(scope="module")
def dag() -> Any:
    return DagBag(dag_folder=str(FILE)).dags["storage_tiering"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """S3 in memory, reached by the connection that the estate names for AWS's global services."""
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("AIRFLOW_CONN_AWS_AP_NORTHEAST_1", '{"conn_type": "aws", "login": "x", "password": "x"}')
    made = World(US, dt.datetime.now(dt.UTC))
    yield made
    made.close()


def test_its_form_asks_for_no_region_and_a_dry_run_is_the_default(dag: Any) -> None:
    assert [task.split(".")[1] for task in dag.task_ids if task.endswith("apply_stage")] == list(SLOTS)
    assert "regions" not in dag.params
    params = dag.params
    assert (params["dry_run"], params["models_older_than_days"], params["models_keep_versions"]) == (True, 30, 3)
    upstream = dag.get_task("estate_wide.rules.apply_stage").get_flat_relative_ids(upstream=True)
    assert {"await_approval", "take_locks", "estate_wide.take_snapshot"} <= upstream


def test_it_is_promoted_without_any_cluster_and_undone_from_the_ledger(dag: Any, world: World, run_dag: Runner) -> None:
    before = world.state()
    run = run_dag(dag, QUICK)
    assert (run.state, run.verdict["message"]) == (
        "success", "promoted in estate-wide: every gate of every stage passed.",
    )  # fmt: skip
    assert len(world.ours()) == 20
    undone = run_dag(rollback_dag(None, clients=clients_for), {"dry_run": False, "regions": ["estate-wide"]})
    assert undone.verdict["message"] == "rolled back and verified: estate-wide storage_tiering."
    assert world.state() == before


def test_a_run_in_which_nothing_pays_changes_nothing_and_is_green(dag: Any, world: World, run_dag: Runner) -> None:
    before = world.state()
    run = run_dag(dag, QUICK | {"models_retrieved_share_month": 900})
    assert (run.state, world.state()) == ("success", before)
