"""Approval and locks of a rollback: whose it takes over, and what it writes without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from include.rollout import rollback, steps
from include.rollout.ledger import Step
from include.rollout.lever import Refused
from include.rollout.lock import LockHeld, holder_of
from include.rollout.steps import Run
from tests.dags.toy import World
from tests.unit.rollout.rollback_world import ANSWER, standing
from tests.unit.rollout.toy_runs import (
    AP,
    EU,
    US,
    Clock,
    First,
    promoted,
    roll_back,
    roll_out,
    start,
    undoing,
)

pytestmark = pytest.mark.usefixtures("toy_levers")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "no approver's answer is on record: a task that was marked by hand approves nothing"),
        ({"approved": False, "user": "platform-lead", "hash": "plan"}, "the plan was rejected by platform-lead"),
        (
            {"approved": True, "user": "platform-lead", "hash": "0123456789ab"},
            "approved plan 0123456789ab, but the",
        ),
        ({"approved": True, "user": "somebody", "hash": "plan"}, "somebody may not approve: governance.approvers"),
    ],
)
def test_without_an_approval_of_this_plan_no_lock_is_taken(
    run: Run, world: World, answer: dict[str, Any] | None, message: str
) -> None:
    promoted(run, "manual__1", 2)
    leases = world.read()["leases"]
    undo = undoing(run)
    plan = rollback.find_changes(undo)
    if answer and answer.get("hash") == "plan":
        answer["hash"] = plan["hash"]
    with pytest.raises(Refused, match=message):
        rollback.take_locks(undo, answer)
    assert world.read()["leases"] == leases


def test_nothing_is_undone_where_the_locks_task_was_marked_by_hand(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2)
    undo = undoing(run)
    for approve in (False, True):
        plan = rollback.find_changes(undo)
        if approve:
            rollback.take_locks(undo, ANSWER | {"hash": plan["hash"]})
            promoted(run, "manual__2", 3, regions=[EU])
            rollback.find_changes(undo)  # another plan, which nobody approved
        with pytest.raises(Refused, match="a task that was marked by hand approves nothing; clear take_locks_over"):
            rollback.undo_changes(undo, AP)
    assert world.sizes()[AP] == 2


def test_other_changes_than_were_approved_are_refused_and_the_locks_given_back(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2)
    undo = undoing(run)
    plan = rollback.find_changes(undo)
    promoted(run, "manual__2", 3)
    with pytest.raises(Refused, match="other changes stand now than when the plan was approved; nothing was changed"):
        rollback.take_locks(undo, ANSWER | {"hash": plan["hash"]})
    assert {region: holder_of(lease) for region, lease in world.read()["leases"].items()} == {AP: "", US: ""}


def test_an_emergency_undoes_also_what_a_rollout_wrote_since(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2)
    undo = undoing(run, emergency=True, reason="errors")
    rollback.find_changes(undo)
    promoted(run, "manual__2", 3)
    rollback.take_locks(undo, None)
    for region in rollback.list_places(undo):
        rollback.undo_changes(undo, region)
        rollback.verify_restored(undo, region)
    rollback.release_locks(undo)
    assert rollback.conclude(undo, None, []).green
    assert world.sizes() == {US: 1, EU: 1, AP: 1}


def test_a_rollback_leaves_the_locks_of_regions_alone_where_it_has_nothing_to_do(run: Run) -> None:
    promoted(run, "manual__1", 2, regions=[AP])
    undo = undoing(run)
    assert roll_back(undo).green
    approval = [record for record in undo.records("estate") if record.step == Step.APPROVAL][-1]
    assert approval.figures["locked"] == [AP]


@pytest.mark.parametrize("regions", [[], [AP, US]])
def test_every_selected_region_is_locked_so_that_a_running_rollout_stops(
    run: Run, world: World, clock: Clock, regions: list[str]
) -> None:
    start(run)
    steps.take_snapshot(run, AP)
    steps.take_snapshot(run, US)
    roll_out(run, AP, clock, "step_1")
    undo = undoing(run, emergency=True, reason="errors", regions=regions)
    assert roll_back(undo).green
    approval = [record for record in undo.records("estate") if record.step == Step.APPROVAL][-1]
    assert approval.figures["locked"] == sorted(regions or [AP, US, EU, "estate-wide", "devices"])
    assert approval.figures["taken_over_from"] == {AP: "toy_rollout/manual__1", US: "toy_rollout/manual__1"}
    with pytest.raises(LockHeld, match="the lock was released"):
        steps.apply_stage(run, US, "step_1")
    assert world.sizes() == {US: 1, EU: 1, AP: 1}


def test_an_emergency_needs_a_reason(run: Run) -> None:
    with pytest.raises(Refused, match="reason: an emergency rollback skips the approval and needs one"):
        rollback.find_changes(undoing(run, emergency=True, reason=" "))


def test_a_rollout_whose_lock_was_taken_for_another_lever_undoes_itself(run: Run, world: World, clock: Clock) -> None:
    promoted(replace(run, lever=First()), "manual__1", 2, regions=[AP])
    running = replace(run, run_id="manual__2", params={**run.params, "regions": [AP], "size": 4})
    start(running)
    steps.take_snapshot(running, AP)
    roll_out(running, AP, clock, "step_1")
    assert world.sizes()[AP] == 3
    verdict = roll_back(undoing(run, lever="first", emergency=True, reason="errors"))
    assert verdict.green
    with pytest.raises(LockHeld):
        steps.apply_stage(running, AP, "step_2")
    snapshot = steps.own_snapshot(running, AP)
    steps.undo_changes(running, AP, snapshot)
    steps.verify_restored(running, AP, snapshot)
    assert standing(run) == []
    steps.unlock_places(running, [AP])
    assert holder_of(world.read()["leases"][AP]) == ""
