"""The rollout of the health checks: its wiring, and a whole run and its undo by the engine on Route 53 in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.levers.dns_health_checks import SLOTS

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
