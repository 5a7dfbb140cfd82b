"""A lever of the whole estate end to end, with the engine's own clients and without a single connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include import levers
from include.clients.storage import Folder
from include.rollout.ledger import Ledger
from tests.dags.toy import WORLD_VARIABLE, World
from tests.dags.toy_dags import rollback_dag

Runner = Callable[..., Any]
QUICK = {"soak_seconds": 1, "gate_window_seconds": 1, "gate_wait_seconds": 0, "dry_run": False, "size": 2}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setitem(levers.LEVERS, "edge", "tests.dags.toy:Edge")
    path = tmp_path / "world.json"
    path.write_text(json.dumps({"regions": {"estate-wide": {"size": 1}}, "faults": {}, "leases": {}, "events": []}))
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv(f"AIRFLOW_VAR_{WORLD_VARIABLE.upper()}", str(path))
    return World(path)


def edge_dag() -> Any:
    from airflow.sdk import DAG

    from include.wiring.conventions import Tag
    from include.wiring.dag import rollout_arguments
    from include.wiring.rollout import rollout

    with DAG("edge_rollout", schedule=None, **rollout_arguments("edge", __doc__, [Tag.ROLLOUT])) as dag:
        rollout("edge")
    return dag


def test_the_form_asks_for_no_region_and_the_graph_has_one_place(world: World) -> None:
    dag = edge_dag()
    assert "regions" not in dag.params
    assert dag.params["dry_run"] is True
    assert [task for task in dag.task_ids if task.endswith("take_snapshot")] == ["estate_wide.take_snapshot"]
    assert [task for task in dag.task_ids if task.endswith("undo_changes")] == ["rollback.estate_wide.undo_changes"]


def test_it_is_promoted_and_undone(world: World, run_dag: Runner, tmp_path: Path) -> None:
    run = run_dag(edge_dag(), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("success", "promoted")
    assert run.verdict["message"] == "promoted in estate-wide: every gate of every stage passed."
    assert world.sizes() == {"estate-wide": 2}

    undone = run_dag(rollback_dag(world, clients=_own_clients), {"dry_run": False, "regions": ["estate-wide"]})
    assert (undone.state, undone.verdict["verdict"]) == ("success", "rolled back")
    assert undone.verdict["message"] == "rolled back and verified: estate-wide edge."
    assert world.sizes() == {"estate-wide": 1}
    assert Ledger(Folder(tmp_path / "ledger")).survey().standing == ()
    lease = json.loads((tmp_path / "ledger" / "locks" / "estate-wide" / "akidb-rollout.json").read_text())
    assert "holderIdentity" not in lease["spec"]


def _own_clients(place: Any, estate: Any) -> Any:
    from include.wiring.clients import clients_for

    return clients_for(place, estate)
