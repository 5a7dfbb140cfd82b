"""Day 3: the order of its levers, one approval before all of them, and one form for all."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include import levers
from include.estate import load_estate
from include.rollout.lever import acts_in
from include.rollout.place import PlaceKind, places_of

FILE = Path(__file__).parents[2] / "dags" / "rollout" / "day3_edge.py"
ORDER = (
    *("dns_health_checks", "storage_tiering", "lambda_edge"),
    *("cdn_price_class", "request_routing", "edge_monitoring"),
)
SAFETY = {"check_preflight", "make_plan", "is_real_run", "await_approval", "take_locks", "confirm_unchanged"}


@pytest.fixture(scope="module")
def dag() -> Any:
    return DagBag(dag_folder=str(FILE)).dags["day3_edge"]


@pytest.fixture(scope="module")
def names(dag: Any) -> list[str]:
    """The levers of the DAG in the order in which they begin."""
    begins = [task for task in dag.tasks if task.task_id.endswith(".begin")]
    begins.sort(key=lambda task: len(task.get_flat_relative_ids(upstream=True)))
    return [task.task_id.removesuffix(".begin") for task in begins]


def test_the_levers_follow_each_other_in_the_order_that_the_docstring_gives_reasons_for(
    dag: Any, names: list[str]
) -> None:
    assert [name for name in ORDER if name in names] == names
    numbered = [line.split("`")[1] for line in dag.doc_md.splitlines() if line[:2] in {f"{n}." for n in range(1, 10)}]
    assert numbered == list(ORDER)
    for before, after in itertools.pairwise(names):
        upstream = dag.get_task(f"{after}.begin").upstream_task_ids
        assert f"{before}.promote" in upstream
        assert {task for task in upstream if task.endswith("verify_restored")}
        assert dag.get_task(f"{after}.begin").trigger_rule == "all_done"


def test_each_lever_has_a_group_for_each_of_its_places_and_slots(dag: Any, names: list[str]) -> None:
    estate = load_estate()
    for name in names:
        lever = levers.lever(name)
        places = [place.replace("-", "_") for place in places_of(acts_in(lever), estate)]
        wanted = {f"{name}.{place}.{slot}.apply_stage" for place in places for slot in lever.slots}
        found = {task for task in dag.task_ids if task.startswith(f"{name}.") and task.endswith("apply_stage")}
        assert found == wanted


def test_no_lever_writes_without_checks_approval_locks_its_turn_and_its_snapshot(dag: Any) -> None:
    writers = [task for task in dag.tasks if task.task_id.endswith(("apply_stage", "undo_changes"))]
    for task in writers:
        lever, *rest = task.task_id.split(".")
        place = rest[1] if rest[0] == "rollback" else rest[0]
        upstream = task.get_flat_relative_ids(upstream=True)
        assert upstream >= SAFETY | {f"{lever}.begin", f"{lever}.{place}.take_snapshot"}, task.task_id


def test_locks_are_taken_and_given_up_once_and_the_verdict_is_the_only_leaf(dag: Any) -> None:
    assert [task.task_id for task in dag.tasks if task.is_setup] == ["take_locks"]
    assert [task.task_id for task in dag.tasks if task.is_teardown] == ["release_locks"]
    assert [task.task_id for task in dag.tasks if not task.downstream_task_ids] == ["verdict"]
    assert len([task for task in dag.task_ids if task.endswith("await_approval")]) == 1


def test_the_form_has_every_levers_settings_and_asks_for_regions_only_where_a_lever_acts_there(
    dag: Any, names: list[str]
) -> None:
    found = [levers.lever(name) for name in names]
    wanted = {field for lever in found for field in lever.settings_type.model_fields}
    assert wanted <= set(dag.params)
    assert dag.params["dry_run"] is True
    assert ("regions" in dag.params) == any(acts_in(lever) is PlaceKind.REGION for lever in found)
