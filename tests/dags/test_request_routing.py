"""The rollout of the routing lever: its wiring. A whole run and its undo on fakes are in test_levers_on_fakes.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.levers.request_routing.settings import SLOTS

FILE = Path(__file__).parents[2] / "dags" / "rollout" / "request_routing.py"


@pytest.fixture(scope="module")
def dag() -> Any:
    return DagBag(dag_folder=str(FILE)).dags["request_routing"]


def test_each_region_has_a_group_for_each_slot_the_canary_first(dag: Any) -> None:
    slots = [task.split(".")[1] for task in dag.task_ids if task.endswith("apply_stage")]
    assert list(dict.fromkeys(slots)) == list(SLOTS)
    assert len(slots) == 3 * len(SLOTS)
    assert (dag.params["dry_run"], dag.params["latency_budget_ms"], dag.params["routing_prices"]) == (True, 25.0, "aws")
    assert {"regions", "share_within_budget", "routed_qps", "least_routing_gain", "weigh_region"} <= set(dag.params)


def test_all_of_the_weights_come_only_after_the_gates_of_a_tenth(dag: Any) -> None:
    last = next(task for task in dag.task_ids if task.endswith(".weights.apply_stage"))
    group, upstream = last.split(".")[0], dag.get_task(last).get_flat_relative_ids(upstream=True)
    assert {"await_approval", "take_locks", f"{group}.take_snapshot", f"{group}.canary_weights.judge_gates"} <= upstream
