"""The rollout engine end to end: a toy lever, real DAGs, dag.test(), approvals answered by a thread."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.estate import load_estate
from include.rollout.ledger import Chain, Ledger
from tests.dags.toy import World, WorldLeases
from tests.dags.toy_dags import (
    AP,
    EU,
    QUICK,
    START,
    US,
    Runner,
    estate_of,
    holders,
    records,
    rollback_dag,
    rollout_dag,
    set_fault,
    steps,
    when_task_begins,
)


def test_every_region_is_promoted_after_the_canary(world: World, ledger: Ledger, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world), QUICK | {"reason": "cheaper"})
    assert (run.state, run.verdict["verdict"]) == ("success", "promoted")
    assert run.verdict["message"] == f"promoted in {AP}, {US}, {EU}: every gate of every stage passed."
    assert world.sizes() == {US: 2, EU: 2, AP: 2}
    assert world.events[0] == f"apply {AP} step_1"
    assert sorted(world.events[1:]) == [f"apply {EU} step_1", f"apply {US} step_1"]
    assert holders(world) == {AP: None, EU: None, US: None}
    assert steps(ledger, run, AP) == ["plan", "snapshot", "touch", "applied", "gate", "promoted"]
    assert steps(ledger, run, "estate") == ["preflight", "plan", "answer", "approval", "decision", "verdict"]
    plan, answer, approval = records(ledger, run, "estate")[1:4]
    assert answer.figures == {
        "approved": True, "user": "platform-lead", "user_id": "platform-lead", "hash": plan.figures["hash"],
    }  # fmt: skip
    assert approval.figures == {
        "approved_by": "platform-lead", "locked": [AP, EU, US], "taken_over_from": {}, "hash": plan.figures["hash"],
    }  # fmt: skip
    verdict = records(ledger, run, "estate")[-1]
    heads = {f"head toy {region}": ledger.head(Chain("toy", region, "toy_rollout", run.run_id)) for region in START}
    assert {name: link for name, link in verdict.links.items() if name != "log"} == heads
    snapshot = ledger.snapshot(Chain("toy", US, "toy_rollout", run.run_id))
    assert snapshot is not None
    assert snapshot.figures == {
        "before": {"size": 1},
        "estate": load_estate().slice(US).model_dump(mode="json"),
        "order": 1,
        "settings": {"size": 2, "converge_timeout_seconds": 1800},
        "snapshot": {"size": 1},
    }


def test_a_dry_run_plans_and_writes_nothing(world: World, ledger: Ledger, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world, estate_of(AP)), {"size": 2, "regions": [AP]})
    assert (run.state, run.verdict["verdict"]) == ("success", "dry run")
    assert world.sizes() == START
    assert world.events == []
    assert world.read()["leases"] == {}
    assert run.tasks["await_approval"] == "skipped"
    assert steps(ledger, run, "estate") == ["preflight", "plan", "verdict"]


def test_a_rejected_plan_fails_the_run_and_writes_nothing(world: World, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK, answer="Reject")
    assert (run.state, run.verdict["verdict"]) == ("failed", "rejected")
    assert run.verdict["message"] == (
        "rejected by platform-lead. Nothing was changed. Next: trigger a new run and have its plan approved."
    )
    assert world.events == []
    assert world.read()["leases"] == {}


def test_an_approval_that_nobody_answers_is_a_rejection(world: World, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world, estate_of(AP, approval_timeout_seconds=1)), QUICK, answer=None)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rejected")
    assert run.verdict["message"].startswith("rejected: nobody answered in time. Nothing was changed.")
    assert world.events == []


def test_only_an_approver_may_answer(world: World, run_dag: Runner) -> None:
    from tests.dags import conftest

    refused = []

    def try_as_somebody() -> None:
        for run_id, task_id in conftest.waiting("toy_rollout"):
            with pytest.raises(Exception, match="not a respondent") as caught:
                conftest.respond("toy_rollout", run_id, task_id, "Approve", "somebody")
            refused.append(caught.value.status_code)

    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK, answer="Reject", before_answer=try_as_somebody)
    assert set(refused) == {403}
    assert run.verdict["verdict"] == "rejected"


def test_an_approval_that_was_marked_by_hand_lets_nothing_be_written(world: World, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK, marked="await_approval")
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert run.verdict["message"] == (
        "refused: take_locks: no approver's answer is on record: a task that was marked by hand approves nothing; "
        "clear await_approval and have the plan approved. Nothing is written without an approval of the plan\n"
        "Nothing was changed. Next: remove the reason and trigger a new run."
    )
    assert (world.events, world.read()["leases"]) == ([], {})


def test_a_parameter_named_emergency_approves_nothing(world: World, run_dag: Runner) -> None:
    conf = QUICK | {"emergency": True, "reason": "errors"}
    run = run_dag(rollout_dag(world, estate_of(AP)), conf, marked="await_approval")
    # The form has no such name: the first task refuses it, and the last one fails with the same words.
    assert (run.state, run.tasks["check_preflight"], run.tasks["verdict"]) == ("failed", "failed", "failed")
    assert (world.events, world.read()["leases"]) == ([], {})


def test_an_approval_is_bound_to_the_plan_that_was_shown(world: World, ledger: Ledger, run_dag: Runner) -> None:
    """make_plan was cleared alone while somebody read its plan: the answer is for the plan that was shown."""
    from tests.dags import conftest

    def plan_again() -> None:
        for run_id, _ in conftest.waiting("toy_rollout"):
            ledger.append(Chain("toy", "estate", "toy_rollout", run_id), "plan", {"hash": "another plan", "plans": {}})

    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK, before_answer=plan_again)
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    shown = records(ledger, run, "estate")[1].figures["hash"]
    assert f"platform-lead approved plan {shown}, but the plan on record is another plan" in run.verdict["message"]
    assert (world.events, world.read()["leases"]) == ([], {})


def test_all_failed_checks_are_shown_at_once(world: World, run_dag: Runner) -> None:
    set_fault(world, "preflight", [AP, US])
    run = run_dag(rollout_dag(world, estate_of(AP, US)), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert run.verdict["message"] == (
        "refused: check_preflight: preflight refused, 2 check(s) failed and nothing was changed:\n"
        f"{AP}: toy: the region is broken -> mend the region\n"
        f"{US}: toy: the region is broken -> mend the region\n"
        "Nothing was changed. Next: remove the reason and trigger a new run."
    )


def test_a_region_takes_a_stage_once_the_canary_has_passed_it(world: World, run_dag: Runner) -> None:
    set_fault(world, "unhealthy", [f"{AP} step_2"])
    run = run_dag(rollout_dag(world, estate_of(AP, US, lead="stage")), QUICK | {"size": 3, "regions": [AP, US]})
    assert run.state == "failed"
    applied = [event for event in world.events if event.startswith("apply")]
    assert applied[0] == f"apply {AP} step_1"
    assert f"apply {US} step_1" in applied
    assert f"apply {US} step_2" not in applied
    assert world.sizes() == {US: 1, EU: 1, AP: 1}


def test_several_regions_need_the_canary(world: World, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world), QUICK | {"regions": [US, EU]})
    assert run.state == "failed"
    assert run.tasks["make_plan"] == "upstream_failed"
    assert world.events == []


def test_a_region_that_changed_while_the_canary_soaked_is_not_written_to(world: World, run_dag: Runner) -> None:
    def grow() -> None:
        world.change(lambda w: w["regions"][US].update(size=7))

    clients = when_task_begins(world, "us_east_1.take_snapshot", grow)
    run = run_dag(rollout_dag(world, estate_of(AP, US), clients), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert f"nothing was changed in {US}; trigger a new run" in run.verdict["message"]
    assert f"{US} live.size: 1 -> 7" in run.verdict["message"]
    assert world.events == [f"apply {AP} step_1", f"rollback {AP}"]
    assert world.sizes() == {US: 7, EU: 1, AP: 1}


def test_a_plan_that_is_not_fulfilled_is_not_promoted(world: World, run_dag: Runner) -> None:
    """Every gate passed, but somebody has set the change back in the meantime."""

    def shrink() -> None:
        world.change(lambda w: w["regions"][AP].update(size=1))

    clients = when_task_begins(world, "choose_ending", shrink)
    run = run_dag(rollout_dag(world, estate_of(AP), clients), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    reason = f"rolled back: {AP}: every gate passed, but the plan is not fulfilled: toy size: 1 -> 2"
    assert run.verdict["message"].splitlines()[0] == reason
    assert world.events == [f"apply {AP} step_1", f"rollback {AP}"]


def test_a_step_that_runs_into_its_tasks_limit_leaves_its_reason(
    world: World, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datetime as dt

    from airflow.sdk.exceptions import AirflowTaskTimeout

    from tests.dags.toy import Toy

    def hang(*_: Any) -> None:
        raise AirflowTaskTimeout("Timeout")

    monkeypatch.setattr(Toy, "apply", hang)
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK | {"converge_timeout_seconds": 900})
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    limit = dt.timedelta(seconds=4 * 900 + 600)  # as the run's own setting says
    reason = f"rolled back: {AP}: ap_northeast_1.step_1.apply_stage: not done within {limit}, the limit of its task"
    assert run.verdict["message"].startswith(reason)


def test_a_gate_waits_for_data_that_is_away_for_a_moment(world: World, run_dag: Runner) -> None:
    set_fault(world, f"away once {AP} step_1")
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK | {"gate_wait_seconds": 60})
    assert run.verdict["verdict"] == "promoted"


def test_a_second_stage_follows_the_first_ones_gate(world: World, run_dag: Runner) -> None:
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK | {"size": 3})
    assert run.verdict["verdict"] == "promoted"
    assert world.events == [f"apply {AP} step_1", f"apply {AP} step_2"]
    assert world.sizes()[AP] == 3


def test_a_plan_that_changed_after_the_approval_is_refused(world: World, run_dag: Runner) -> None:
    def interfere() -> None:
        world.change(lambda w: w["regions"][AP].update(size=7))

    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK, before_answer=interfere)
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert f"{AP} live.size: 1 -> 7" in run.verdict["message"]
    assert world.events == []
    assert holders(world) == {AP: None}


def test_a_lock_that_another_run_holds_is_refused_with_its_name(world: World, run_dag: Runner) -> None:
    held = {"metadata": {"name": "akidb-rollout"}, "spec": {"holderIdentity": "day3_edge/manual__1"}}
    WorldLeases(world, US).create(held)
    run = run_dag(rollout_dag(world, estate_of(AP, US)), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert f"{US}: day3_edge/manual__1 holds the lock" in run.verdict["message"]
    assert holders(world) == {AP: None, US: "day3_edge/manual__1"}
    assert world.events == []


def test_an_apply_that_crashes_is_tried_again(world: World, run_dag: Runner) -> None:
    set_fault(world, f"crash {AP} step_1")
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK)
    assert run.verdict["verdict"] == "promoted"
    assert world.events == [f"apply {AP} step_1", f"apply {AP} step_1"]


def test_an_apply_that_does_not_converge_is_rolled_back_at_once(world: World, run_dag: Runner) -> None:
    set_fault(world, f"stuck {AP} step_1")
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert "size 2 of 3 after 30 s" in run.verdict["message"]
    assert world.events == [f"apply {AP} step_1", f"rollback {AP}"]


def test_a_rollback_that_fails_in_one_region_does_not_keep_the_others(world: World, run_dag: Runner) -> None:
    set_fault(world, "unhealthy", [f"{US} step_1"])
    set_fault(world, "rollback refused", [US])
    estate = estate_of(AP, US)
    run = run_dag(rollout_dag(world, estate), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "unfinished")
    assert world.sizes() == {US: 2, EU: 1, AP: 1}
    assert run.verdict["left_behind"] == [f"{US}: not back yet: toy size: 2 -> 1"]
    command = "airflow dags trigger rollback --conf '" + json.dumps({"lever": "toy", "regions": [US], "dry_run": False})
    assert command in run.verdict["message"]
    assert holders(world) == {AP: None, US: None}

    # The command of the verdict finishes it, and the next rollout starts from a clean slate.
    world.change(lambda w: w["faults"].clear())
    undone = run_dag(rollback_dag(world, estate), {"lever": "toy", "regions": [US], "dry_run": False})
    assert (undone.state, undone.verdict["verdict"]) == ("success", "rolled back")
    assert world.sizes() == START


def test_a_new_run_resumes_an_unfinished_one_from_its_snapshot(world: World, ledger: Ledger, run_dag: Runner) -> None:
    estate = estate_of(AP)
    set_fault(world, "unhealthy", [f"{AP} step_1"])
    set_fault(world, "rollback refused", [AP])
    first = run_dag(rollout_dag(world, estate), QUICK)
    assert (first.verdict["verdict"], world.sizes()[AP]) == ("unfinished", 2)

    # The second run starts at size 2, fails as well, and goes back to the origin.
    world.change(lambda w: w["faults"].clear())
    set_fault(world, "unhealthy", [f"{AP} step_1"])
    second = run_dag(rollout_dag(world, estate), QUICK | {"size": 3})
    assert second.verdict["verdict"] == "rolled back"
    assert world.sizes()[AP] == 1
    snapshot = ledger.snapshot(Chain("toy", AP, "toy_rollout", second.run_id))
    assert snapshot is not None
    assert snapshot.links["origin"] == Chain("toy", AP, "toy_rollout", first.run_id).path
    assert ledger.standing("toy", AP) == []


def test_a_reason_left_empty_in_the_form_is_no_reason(world: World, run_dag: Runner) -> None:
    dag = rollout_dag(world)
    assert dag.params.get_param("reason").schema["type"] == ["string", "null"]
    run = run_dag(dag, {"regions": [AP], "reason": None})
    assert run.state == "success"
    assert run.verdict["verdict"] == "dry run"
