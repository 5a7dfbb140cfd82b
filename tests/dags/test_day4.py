"""Day 4: the wiring and the form of right-sizing."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.estate import load_estate
from include.levers.right_sizing.wanted import SLOTS
from include.wiring.conventions import Tag

FILE = Path(__file__).parents[2] / "dags" / "rollout" / "day4_right_sizing.py"


@pytest.fixture(scope="module")
def dag() -> Any:
    return DagBag(dag_folder=str(FILE)).dags["day4_right_sizing"]


@pytest.mark.parametrize("region", [*load_estate().regions])
def test_recommendations_come_before_new_pods_and_these_before_running_ones(dag: Any, region: str) -> None:
    group = region.replace("-", "_")
    steps = {name.split(".")[-2]: name for name in dag.task_ids if group in name and name.endswith(".apply_stage")}
    assert sorted(steps, key=SLOTS.index) == [*SLOTS]
    for before, after in itertools.pairwise(SLOTS):
        assert steps[before].replace("apply_stage", "judge_gates") in dag.get_task(steps[after]).upstream_task_ids


def test_each_write_has_checks_approval_lock_and_snapshot_before_it(dag: Any) -> None:
    writes = [dag.get_task(name) for name in dag.task_ids if name.endswith(".apply_stage")]
    assert len(writes) == len(SLOTS) * len(load_estate().regions)
    for task in writes:
        before = task.get_flat_relative_ids(upstream=True)
        snapshot = f"{task.task_id.partition('.')[0]}.take_snapshot"
        assert {"check_preflight", "await_approval", "take_locks", snapshot} <= before


def test_the_form_shows_the_estates_figures_and_starts_dry(dag: Any) -> None:
    assert dag.tags == {Tag.ROLLOUT.value}
    shown = {name: dag.params[name] for name in ("dry_run", "canary", "history_days", "memory_margin", "agree_within")}
    assert shown == {
        "dry_run": True,
        "canary": "akidb-grpc",
        "history_days": 7,
        "memory_margin": 1.15,
        "agree_within": 0.05,
    }
