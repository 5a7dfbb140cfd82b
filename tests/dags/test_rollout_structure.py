"""A rollout's graph and its form, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from include import levers
from tests.dags.toy import World
from tests.dags.toy_dags import AP, EU, US, Runner, estate_of, rollback_dag, rollout_dag


def test_an_invalid_estate_gives_a_dag_that_shows_what_is_wrong(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_dag: Runner
) -> None:
    broken = tmp_path / "estate.yaml"
    broken.write_text("name: akidb\nregoins: {}\n")
    monkeypatch.setenv("AKIDB_ESTATE", str(broken))
    dag = rollout_dag(world)
    assert dag.task_ids == ["read_estate"]
    assert run_dag(dag, {}).state == "failed"


@pytest.mark.parametrize("lead", ["rollout", "stage"])
def test_structure_is_exactly_this(world: World, lead: str) -> None:
    dag = rollout_dag(world, estate_of(AP, US, lead=lead))
    ap, us, back = "ap_northeast_1", "us_east_1", "rollback"
    inner = {
        f"{region}.{name}": {f"{region}.{after}" for after in followers}
        for region in (ap, us)
        for name, followers in {
            "take_snapshot": ["step_1.apply_stage", "step_2.apply_stage"],
            "step_1.apply_stage": ["step_1.await_soak"],
            "step_1.await_soak": ["step_1.judge_gates"],
            "step_1.judge_gates": ["step_2.apply_stage"],
            "step_2.apply_stage": ["step_2.await_soak"],
            "step_2.await_soak": ["step_2.judge_gates"],
        }.items()
    }
    behind = {
        f"{ap}.step_1.judge_gates": {f"{ap}.step_2.apply_stage", f"{us}.take_snapshot"},
        f"{ap}.step_2.judge_gates": {f"{us}.step_2.apply_stage", "choose_ending"},
    }
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == inner | {
        "check_preflight": {"make_plan"},
        "make_plan": {"is_real_run"},
        "is_real_run": {"await_approval", "write_export"},
        "write_export": {"verdict"},
        "await_approval": {"take_locks"},
        "take_locks": {"confirm_unchanged", "release_locks"},
        "confirm_unchanged": {f"{ap}.take_snapshot", f"{us}.take_snapshot"},
        f"{ap}.step_2.judge_gates": {f"{us}.take_snapshot", "choose_ending"},
        f"{us}.step_2.judge_gates": {"choose_ending"},
        "choose_ending": {"promote", f"{back}.{ap}.undo_changes", f"{back}.{us}.undo_changes"},
        "promote": {"release_locks"},
        f"{back}.{us}.undo_changes": {f"{back}.{us}.verify_restored"},
        f"{back}.{us}.verify_restored": {f"{back}.{ap}.undo_changes", "release_locks"},
        f"{back}.{ap}.undo_changes": {f"{back}.{ap}.verify_restored"},
        f"{back}.{ap}.verify_restored": {"release_locks"},
        "release_locks": {"verdict"},
        "verdict": set(),
    } | (behind if lead == "stage" else {})
    assert dag.get_task("verdict").trigger_rule == "all_done"
    assert dag.get_task("release_locks").is_teardown
    assert dag.max_active_runs == 1
    assert dag.schedule is None


def test_the_form_stands_once_in_the_dag_and_in_no_task(world: World) -> None:
    for dag in (rollout_dag(world), rollback_dag(world)):
        assert "dry_run" in dag.params
        assert [task.task_id for task in dag.tasks if not task.is_mapped and task.params] == []


@pytest.mark.parametrize("writer", ["apply_stage", "undo_changes"])
def test_no_write_without_approval_lock_and_snapshot(world: World, writer: str) -> None:
    dag = rollout_dag(world)
    writers = [task for task in dag.tasks if task.task_id.endswith(writer)]
    assert len(writers) == {"apply_stage": 6, "undo_changes": 3}[writer]
    for task in writers:
        region = task.task_id.removeprefix("rollback.").split(".")[0]
        upstream = task.get_flat_relative_ids(upstream=True)
        safety = {"check_preflight", "make_plan", "await_approval", "take_locks", "confirm_unchanged"}
        assert safety | {f"{region}.take_snapshot"} <= upstream, task.task_id


def test_steps_that_undo_are_retried_for_a_quarter_of_an_hour(world: World) -> None:
    # The rollback's two are mapped over its regions.
    for dag, count in ((rollout_dag(world), 6), (rollback_dag(world), 2)):
        undoing = [task for task in dag.tasks if task.task_id.endswith(("undo_changes", "verify_restored"))]
        assert len(undoing) == count
        for task in undoing:
            # Airflow waits at least this long before each retry, and up to twice as long.
            pauses = [task.retry_delay * task.retry_exponential_backoff**n for n in range(task.retries)]
            least = sum(min(pause, task.max_retry_delay).total_seconds() for pause in pauses)
            assert least >= 15 * 60, task.task_id


def test_params_have_bounds_descriptions_and_safe_defaults(world: World) -> None:
    params = rollout_dag(world).params
    assert {name: params[name] for name in params} == {
        "regions": [AP, US, EU],
        "dry_run": True,
        "deliver": "apply",
        "reason": "",
        "soak_seconds": 1800,
        "gate_window_seconds": 1800,
        "gate_wait_seconds": 300,
        "minimum_coverage": 0.9,
        "size": 3,
        "converge_timeout_seconds": 1800,
    }
    for name in params:
        param = params.get_param(name)
        assert param.description, name
        assert param.schema["type"], name
    assert params.get_param("size").schema["maximum"] == 9
    assert params.get_param("regions").schema["items"]["enum"] == [AP, US, EU]
    rollback = rollback_dag(world).params
    assert rollback["dry_run"] is True
    assert rollback.get_param("lever").schema["enum"] == ["everything", *levers.LEVERS]
