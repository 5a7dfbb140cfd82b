"""The rollout of CloudFront's price class: its wiring. A whole run is in test_levers_on_fakes.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.levers.cdn_price_class import SLOT

FILE = Path(__file__).parents[2] / "dags" / "rollout" / "cdn_price_class.py"


@pytest.fixture(scope="module")
def dag() -> Any:
    return DagBag(dag_folder=str(FILE)).dags["cdn_price_class"]


def test_it_has_one_place_one_slot_and_asks_for_no_region(dag: Any) -> None:
    slots = [task.split(".")[1] for task in dag.task_ids if task.endswith("apply_stage")]
    assert slots == [SLOT]
    assert [task for task in dag.task_ids if task.endswith("take_snapshot")] == ["estate_wide.take_snapshot"]
    assert "regions" not in dag.params
    assert (dag.params["dry_run"], dag.params["cdn_price_class"], dag.params["cdn_log_days"]) == (True, "best", 7)


def test_the_class_is_written_only_after_approval_lock_and_snapshot(dag: Any) -> None:
    upstream = dag.get_task("estate_wide.price_class.apply_stage").get_flat_relative_ids(upstream=True)
    assert {"await_approval", "take_locks", "estate_wide.take_snapshot"} <= upstream
