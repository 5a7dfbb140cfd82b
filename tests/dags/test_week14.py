"""The week's DAG: the days in the order that its docstring gives reasons for, nothing before plan and approval."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.week.days import DAYS

FILE = Path(__file__).parents[2] / "dags" / "rollout" / "week14.py"
BEFORE = {"check_preflight", "make_plan", "is_real_week", "choose_approval", "await_approval", "confirm_approval"}


@pytest.fixture(scope="module")
def dag() -> Any:
    return DagBag(dag_folder=str(FILE)).dags["week14"]


def test_the_days_follow_each_other_in_the_order_of_the_docstring(dag: Any) -> None:
    named = re.findall(r"`(day\d_\w+)`", dag.doc_md.split("The order, and why:")[1].split("Right-sizing")[0])
    assert named == [day.dag for day in DAYS]
    for before, after in itertools.pairwise(DAYS):
        assert dag.get_task(f"{after.dag}.start").upstream_task_ids == {f"{before.dag}.await_end"}
        assert dag.get_task(f"{after.dag}.start").trigger_rule == "all_done"


@pytest.mark.parametrize("day", DAYS, ids=lambda day: day.dag)
def test_no_day_is_started_before_checks_plan_and_approval(dag: Any, day: Any) -> None:
    start = dag.get_task(f"{day.dag}.start")
    assert start.get_flat_relative_ids(upstream=True) >= BEFORE
    assert start.trigger_dag_id == day.dag


def test_the_verdict_is_the_only_leaf_and_the_gate_waits_in_the_triggerer(dag: Any) -> None:
    assert [task.task_id for task in dag.tasks if not task.downstream_task_ids] == ["verdict"]
    assert dag.get_task("verdict").upstream_task_ids == {"day5_cost_monitoring.await_end", "week15.judge_week15"}


def test_the_form_is_a_dry_run_of_all_days_in_which_each_day_asks(dag: Any) -> None:
    assert {name: dag.params[name] for name in dag.params if name != "regions"} == {
        "dry_run": True, "reason": "", "days": [1, 2, 3, 4, 5], "first_day": 1, "on_rollback": "stop",
        "approval": "each day", "settings": {}, "dollar_tolerance": 0.1, "week15_gate": False,
        "week15_window_seconds": 604800,
    }  # fmt: skip
