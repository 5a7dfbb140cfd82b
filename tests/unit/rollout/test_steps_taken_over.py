"""A run whose lock or change somebody else has taken, and a try that was given up: it writes nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from include.estate import Estate
from include.rollout import steps
from include.rollout.lever import Plan, Refused, Restored, Stage, Target
from include.rollout.lock import Lock, LockHeld
from include.rollout.place import Place
from include.rollout.steps import Run
from tests.dags.toy import Toy, World
from tests.unit.rollout.toy_runs import AP, APPROVED, EU, US, Clock, recorded, roll_out, start


def test_a_run_whose_lock_was_taken_over_writes_nothing_more(run: Run, world: World, clock: Clock) -> None:
    start(run)
    steps.take_snapshot(run, AP)
    roll_out(run, AP, clock, "step_1")
    Lock(run.clients(Place.named(AP)).leases, AP, "rollback/manual__2").take_over()
    with pytest.raises(LockHeld, match="rollback/manual__2 has taken the lock over"):
        steps.apply_stage(run, AP, "step_2")
    snapshot = steps.own_snapshot(run, AP)
    with pytest.raises(LockHeld, match="rollback/manual__2 holds the lock"):
        steps.undo_changes(run, AP, snapshot)
    assert world.events == [f"apply {AP} step_1"]


def test_an_undo_takes_a_lock_back_that_a_rollback_of_another_lever_has_released(
    run: Run, world: World, clock: Clock
) -> None:
    start(run)
    steps.take_snapshot(run, AP)
    roll_out(run, AP, clock, "step_1")
    other = Lock(run.clients(Place.named(AP)).leases, AP, "rollback/manual__2")
    other.take_over()
    other.release()
    with pytest.raises(LockHeld, match="the lock was released"):
        steps.apply_stage(run, AP, "step_2")
    steps.undo_changes(run, AP, steps.own_snapshot(run, AP))
    assert world.sizes()[AP] == 1


def test_a_step_that_was_given_up_writes_nothing_after_the_undo_has_begun(run: Run, world: World) -> None:
    class Paused(Toy):
        def apply(self, target: Target, stage: Stage) -> dict[str, Any]:
            steps.undo_changes(run, AP, steps.own_snapshot(run, AP))
            return super().apply(target, stage)

    start(run)
    steps.take_snapshot(run, AP)
    with pytest.raises(LockHeld, match=r"a later step of this run has begun \(undo "):
        steps.apply_stage(replace(run, lever=Paused()), AP, "step_1")
    assert world.sizes()[AP] == 1


def test_a_try_that_was_given_up_writes_nothing_after_the_next_try(run: Run, world: World) -> None:
    class Twice(Toy):
        def apply(self, target: Target, stage: Stage) -> dict[str, Any]:
            steps.apply_stage(run, AP, "step_1")
            world.change(lambda w: w["regions"][AP].update(size=7))
            return super().apply(target, stage)

    start(run)
    steps.take_snapshot(run, AP)
    with pytest.raises(LockHeld, match=r"a later step of this run has begun \(step_1 "):
        steps.apply_stage(replace(run, lever=Twice()), AP, "step_1")
    assert world.sizes()[AP] == 7


def test_the_snapshot_holds_the_slice_of_the_estate_and_an_undo_uses_it(run: Run, world: World) -> None:
    seen: list[Estate] = []

    class Looks(Toy):
        def rollback(self, target: Target, snapshot: Mapping[str, Any]) -> Restored:
            seen.append(target.estate)
            return super().rollback(target, snapshot)

    start(run)
    steps.take_snapshot(run, AP)
    steps.apply_stage(run, AP, "step_1")
    snapshot = steps.own_snapshot(run, AP)
    assert snapshot.figures["estate"] == run.estate.slice(AP).model_dump(mode="json")
    raw = run.estate.model_dump(mode="json")
    raw["regions"][AP]["connections"]["kubernetes"] = "moved"
    raw["regions"][AP]["cluster"] = "renamed"
    steps.undo_changes(replace(run, lever=Looks(), estate=Estate.model_validate(raw)), AP, snapshot)
    region = seen[0].region(AP)
    assert list(seen[0].regions) == [AP]
    assert (region.cluster, region.connections.kubernetes) == ("akidb-ap-northeast-1", "moved")


def test_the_fence_stops_an_apply_that_is_under_way(run: Run, world: World) -> None:
    class TakenOver(Toy):
        def apply(self, target: Target, stage: Stage) -> dict[str, Any]:
            Lock(target.clients.leases, AP, "rollback/manual__2").take_over()
            return super().apply(target, stage)

    start(run)
    steps.take_snapshot(run, AP)
    with pytest.raises(LockHeld):
        steps.apply_stage(replace(run, lever=TakenOver()), AP, "step_1")
    assert world.sizes()[AP] == 1


def undo_by_another(run: Run, region: str) -> None:
    """What an emergency rollback of one region leaves: the change undone, the lock free again."""
    other = replace(run, dag_id="rollback", run_id="undo")
    snapshot = run.ledger.snapshot(run.chain(region))
    assert snapshot is not None
    other.lock(region).take_over()
    steps.undo_changes(other, region, snapshot)
    steps.verify_restored(other, region, snapshot)
    steps.unlock_places(other, [region])


def test_a_run_whose_change_was_undone_goes_no_further_anywhere(run: Run, world: World, clock: Clock) -> None:
    start(run)
    for region in (AP, US):
        steps.take_snapshot(run, region)
        roll_out(run, region, clock, "step_1")
    roll_out(run, AP, clock, "step_2")
    steps.apply_stage(run, US, "step_2")
    undo_by_another(run, AP)
    clock.move(61)
    undone = f"{AP}: rollback/undo has undone this run's change"
    with pytest.raises(LockHeld, match=r"the lock was released.*rollback/undo has undone its change"):
        steps.apply_stage(run, AP, "step_2")
    with pytest.raises(Refused, match=undone):
        steps.judge_gates(run, US, "step_2")  # the lock of US is still this run's
    with pytest.raises(LockHeld, match="rollback/undo has undone its change"):
        steps.promote(run)
    with pytest.raises(Refused, match=f"{undone}; trigger a new run"):
        steps.lock_places(run, run.places, APPROVED, take_over=False)
    decision = steps.decide(run)
    assert (decision["promote"], decision["touched"]) == (False, [US])
    steps.undo_changes(run, US, steps.own_snapshot(run, US))
    steps.verify_restored(run, US, steps.own_snapshot(run, US))
    verdict = steps.conclude(run, APPROVED, [])
    assert verdict.name == "rolled back"
    assert verdict.message.splitlines()[-2:] == [
        f"{AP}: undone by rollback/undo.", "Left behind: nothing. Next: remove the reason and trigger a new run.",
    ]  # fmt: skip
    assert world.sizes() == {US: 1, EU: 1, AP: 1}


def test_every_gate_passed_but_the_change_was_undone_before_the_promotion(run: Run, clock: Clock) -> None:
    run = replace(run, params={**run.params, "regions": [AP]})
    start(run)
    steps.take_snapshot(run, AP)
    roll_out(run, AP, clock, "step_1", "step_2")
    undo_by_another(run, AP)
    decision = steps.decide(run)
    assert (decision["promote"], decision["touched"]) == (False, [])
    assert "rollback/undo has undone its change" in decision["reasons"][0]
    verdict = steps.conclude(run, APPROVED, [])
    assert (verdict.name, verdict.green) == ("rolled back", False)
    assert f"{AP}: undone by rollback/undo." in verdict.message


def test_what_was_undone_while_it_was_promoted_is_not_called_promoted(run: Run, clock: Clock) -> None:
    run = replace(run, params={**run.params, "regions": [AP]})
    start(run)
    steps.take_snapshot(run, AP)
    roll_out(run, AP, clock, "step_1", "step_2")
    assert steps.decide(run)["promote"]
    steps.promote(run)
    undo_by_another(run, AP)
    verdict = steps.conclude(run, APPROVED, [])
    assert (verdict.name, verdict.green) == ("rolled back", False)
    assert verdict.message.splitlines()[:2] == [
        f"rolled back: {AP}: undone by another run", f"{AP}: undone by rollback/undo.",
    ]  # fmt: skip


def test_a_run_that_was_rolled_back_in_one_region_goes_on_in_none(run: Run, world: World, clock: Clock) -> None:
    """Somebody clears the tasks of the region that had stopped the run, after its rollback."""
    start(run)
    for region in (AP, US):
        steps.take_snapshot(run, region)
    roll_out(run, AP, clock, "step_1", "step_2")
    run.record(US, "stopped", {"where": "us_east_1.step_1.apply_stage", "reason": "size 1 of 2 after 30 s"})
    steps.decide(run)
    steps.undo_changes(run, AP, steps.own_snapshot(run, AP))
    steps.verify_restored(run, AP, steps.own_snapshot(run, AP))
    with pytest.raises(Refused, match=f"{AP}: this run was rolled back there; trigger a new run"):
        steps.apply_stage(run, US, "step_1")
    assert world.sizes() == {US: 1, EU: 1, AP: 1}


def test_nothing_to_do_and_a_lock_that_is_gone_is_said_in_the_verdict(run: Run) -> None:
    run = replace(run, params={**run.params, "size": 1})
    start(run)
    for region in run.places:
        steps.take_snapshot(run, region)
    Lock(run.clients(Place.named(US)).leases, US, "rollback/undo").take_over()
    assert steps.decide(run)["promote"] is False
    verdict = steps.conclude(run, APPROVED, [])
    assert verdict.name == "refused"
    assert "rollback/undo has taken the lock over" in verdict.message


def test_a_region_is_planned_again_right_before_its_snapshot(run: Run, world: World, clock: Clock) -> None:
    start(run)
    steps.take_snapshot(run, AP)
    roll_out(run, AP, clock, "step_1", "step_2")
    clock.move(3 * 3600)
    world.change(lambda w: w["regions"][US].update(size=9))
    with pytest.raises(Refused) as caught:
        steps.take_snapshot(run, US)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith(f"nothing was changed in {US}; trigger a new run and approve its plan:")
    assert lines[1] == f"{US} live.size: 1 -> 9"
    assert recorded(run, US) == ["plan"]


@pytest.mark.parametrize("error", [ConnectionError("no route to host"), Refused("the credentials have expired")])
def test_a_plan_that_can_not_be_made_again_is_neither_promoted_nor_undone(
    run: Run, clock: Clock, error: Exception
) -> None:
    class Unreadable(Toy):
        def plan(self, target: Target) -> Plan:
            raise error

    run = replace(run, params={**run.params, "regions": [AP]})
    start(run)
    steps.take_snapshot(run, AP)
    roll_out(run, AP, clock, "step_1", "step_2")
    decision = steps.decide(replace(run, lever=Unreadable()))
    assert (decision["promote"], decision["reasons"]) == (False, [])
    assert decision["unknown"] == [f"{AP}: the plan can't be made again ({type(error).__name__}: {error})"]
    verdict = steps.conclude(run, APPROVED, [])
    assert verdict.name == "unknown"
    assert "judge again. Clear choose_ending with everything downstream" in verdict.message
