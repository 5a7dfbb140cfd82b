"""Day 2: its wiring, its form, and that its lever reaches the registry through the clients of the engine."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.estate import load_estate
from include.levers.predictive_scaling.wanted import SLOTS
from include.rollout.lever import Refused
from include.rollout.place import Place
from include.wiring.clients import Clients
from include.wiring.conventions import Tag

FILE = Path(__file__).parents[2] / "dags" / "rollout" / "day2_predictive_scaling.py"


@pytest.fixture(scope="module")
def dag() -> Any:
    return DagBag(dag_folder=str(FILE)).dags["day2_predictive_scaling"]


def test_every_region_gets_predictor_then_requests_then_forecast(dag: Any) -> None:
    for region in load_estate().regions:
        group = region.replace("-", "_")
        ours = [task for task in dag.task_ids if group in task and task.endswith("apply_stage")]
        if not ours:
            pytest.fail(f"{region} has no stage; the tasks are {sorted(dag.task_ids)}")
        by_slot = {task.split(".")[-2]: task for task in ours}
        assert set(by_slot) == set(SLOTS)
        for before, after in itertools.pairwise(SLOTS):
            judged = by_slot[before].replace("apply_stage", "judge_gates")
            assert judged in dag.get_task(by_slot[after]).upstream_task_ids


def test_nothing_is_written_without_checks_approval_and_snapshot(dag: Any) -> None:
    for task in (task for task in dag.task_ids if task.endswith("apply_stage")):
        upstream = dag.get_task(task).get_flat_relative_ids(upstream=True)
        assert {"check_preflight", "await_approval", "take_locks"} <= upstream
        assert any(name.endswith("take_snapshot") for name in upstream)


def test_the_form_is_the_estates_and_starts_dry(dag: Any) -> None:
    assert dag.tags == {Tag.ROLLOUT.value, Tag.FORECAST.value}
    assert dag.params["dry_run"] is True
    shown = {name: dag.params[name] for name in ("use_forecast", "min_replicas", "max_replicas", "freshness_seconds")}
    assert shown == {"use_forecast": True, "min_replicas": 2, "max_replicas": 20, "freshness_seconds": 180}


def test_clients_open_the_models_where_the_variable_says(
    airflow_database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = Clients(Place.named("us-east-1"), load_estate())
    with pytest.raises(Refused, match="Airflow Variable 'akidb_models' is not set: set it to an absolute path"):
        clients.storage("akidb_models")
    with pytest.raises(Refused, match="Airflow Variable 'akidb_models' is not set"):
        clients.location("akidb_models")
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_MODELS", str(tmp_path))
    clients.storage("akidb_models").create("models/x", b"1")
    assert (tmp_path / "models" / "x").read_bytes() == b"1"
    assert clients.location("akidb_models") == str(tmp_path)
