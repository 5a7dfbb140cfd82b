"""The steps before the first write: checks, plan, approval, locks and the snapshot."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from include.rollout import decisions, steps
from include.rollout.gates import Comparison
from include.rollout.lever import Refused, Target
from include.rollout.lock import Lock, LockHeld
from include.rollout.place import Place
from include.rollout.steps import NotWanted, Run
from tests.dags.toy import Toy, World
from tests.unit.rollout.toy_runs import AP, APPROVED, EU, US, Clock, OnCluster, Without, recorded, start


def test_the_plan_that_an_approver_reads(run: Run) -> None:
    plan = steps.make_plan(replace(run, params={**run.params, "regions": [AP], "reason": "cheaper"}))
    assert plan["text"] == (
        f"**Plan {plan['hash']}:** toy in ap-northeast-1; 1 difference.\n\n**Reason:** cheaper\n\n"
        "| lever | saving a month by this plan | saving a month by the simulation of 30 days | undo, and as rehearsed "
        "|\n|---|---|---|---|\n"
        "| toy | -$2.00 (price book plan) | not known: nothing that simulates toy is connected | instant: not "
        "rehearsed |\n\n"
        "| lever and code | proved for this code and plan | proved for another | not rehearsed |\n|---|---|---|---|\n"
        "| toy `no version` | nothing | nothing | undo, gate, kill, api-server, karpenter, prometheus, spot-storm, "
        "etag, oom, ice, forecast-down, zone-loss, cost-spike |\n\n"
        "### ap-northeast-1: toy\n\n- `toy size: 1 -> 3`\n\n"
        "1. size 2 (gates: health >= 0.99 ratio)\n2. size 3 (gates: health >= 0.99 ratio)\n\n"
        "- Extra cost: $2.00 a month (20%), from $10.00 to $12.00 (price book plan).\n- Undo: instant.\n\n"
        "Gates are judged 60 s after each step, over at most 1800 s of which 90% must have samples; "
        "without data they wait 30 s."
    )
    assert len(plan["hash"]) == 12


def test_preflight_outside_the_change_window(run: Run, clock: Clock) -> None:
    clock.now = dt.datetime(2026, 12, 24, 10, tzinfo=dt.UTC)
    with pytest.raises(Refused, match=r"change window: 2026-12-24 is a freeze day \(governance.freeze_days\)"):
        steps.check_preflight(run)
    steps.check_preflight(replace(run, params={**run.params, "dry_run": True}))


def test_an_approval_that_comes_in_a_freeze_is_refused(run: Run, clock: Clock) -> None:
    steps.make_plan(run)
    clock.now = dt.datetime(2026, 12, 24, 10, tzinfo=dt.UTC)
    with pytest.raises(Refused, match="freeze day"):
        steps.confirm_unchanged(run)


def test_preflight_names_a_missing_connection_and_still_checks_the_other_region(run: Run, world: World) -> None:
    world.change(lambda w: w["faults"].update(preflight=[US]))

    def clients(place: Place) -> Any:
        if place.name == AP:
            return Without("kubernetes", "Airflow connection 'kubernetes_ap_northeast_1' does not exist: create it")
        return run.clients(place)

    with pytest.raises(Refused) as caught:
        steps.check_preflight(replace(run, lever=OnCluster(), clients=clients))
    assert str(caught.value).splitlines() == [
        "preflight refused, 2 check(s) failed and nothing was changed:",
        f"{AP}: kubernetes connection: Airflow connection 'kubernetes_ap_northeast_1' does not exist: create it",
        f"{US}: toy: the region is broken -> mend the region",
    ]


def test_preflight_shows_a_lever_that_raises_as_a_failed_check(run: Run) -> None:
    class Raising(Toy):
        def preflight(self, target: Target) -> list[Any]:
            raise ConnectionError("no route to host")

    with pytest.raises(Refused, match=f"{US}: preflight: ConnectionError: no route to host -> see that"):
        steps.check_preflight(replace(run, lever=Raising()))


def test_locks_are_taken_for_all_regions_or_none(run: Run) -> None:
    steps.make_plan(run)
    Lock(run.clients(Place.named(US)).leases, US, "other/run").take_over()
    with pytest.raises(LockHeld, match="other/run holds the lock"):
        steps.lock_places(run, run.places, APPROVED, take_over=False)
    with pytest.raises(LockHeld, match="released"):
        run.lock(AP).assert_held()


def test_unlocking_goes_on_after_a_region_that_fails(run: Run) -> None:
    start(run)

    def clients(place: Place) -> Any:
        if place.name == AP:
            raise ConnectionError("gone")
        return run.clients(place)

    with pytest.raises(RuntimeError, match=f"locks not released .*{AP}: gone"):
        steps.unlock_places(replace(run, clients=clients), run.places)
    with pytest.raises(LockHeld, match="released"):
        run.lock(US).assert_held()
    run.lock(AP).assert_held()


def test_a_changed_plan_is_refused_with_every_difference(run: Run, world: World) -> None:
    steps.make_plan(run)
    world.change(lambda w: w["regions"][US].update(size=2))
    with pytest.raises(Refused) as caught:
        steps.confirm_unchanged(run)
    lines = str(caught.value).splitlines()
    assert lines[1:3] == [f"{US} live.size: 1 -> 2", f"{US} differences.0.before: 1 -> 2"]
    assert recorded(run, US) == []


def test_a_snapshot_is_taken_once_and_never_again(run: Run, world: World) -> None:
    start(run)
    steps.take_snapshot(run, AP)
    world.change(lambda w: w["regions"][AP].update(size=9))
    steps.take_snapshot(run, AP)
    snapshot = run.ledger.snapshot(run.chain(AP))
    assert snapshot is not None
    assert snapshot.figures["snapshot"] == {"size": 1}
    assert recorded(run, AP) == ["plan", "snapshot"]


def test_nothing_is_written_without_a_snapshot(run: Run, world: World) -> None:
    start(run)
    with pytest.raises(Refused, match="no snapshot there"):
        steps.apply_stage(run, AP, "step_1")
    assert world.events == []


def test_a_region_that_is_not_selected_and_a_slot_that_is_not_planned_are_not_wanted(run: Run) -> None:
    start(run)
    with pytest.raises(NotWanted, match="eu-central-1 is not selected"):
        steps.take_snapshot(run, EU)
    steps.take_snapshot(run, AP)
    with pytest.raises(NotWanted, match="step_9 is not in the plan"):
        steps.apply_stage(run, AP, "step_9")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (None, "no approver's answer is on record: a task that was marked by hand approves nothing"),
        ({"approved": False, "user": "platform-lead"}, "the plan was rejected by platform-lead"),
        ({"approved": False, "user": None}, "the plan was rejected: nobody answered in time"),
        ({"approved": True, "user": "somebody"}, "somebody may not approve: governance.approvers in the estate are"),
        ({"approved": True, "user": "platform-lead", "user_id": "7"}, "platform-lead may not approve"),
        ({"approved": True, "user": None}, "None may not approve"),
        (APPROVED | {"hash": "0123456789ab"}, "platform-lead approved plan 0123456789ab, but the plan on record is"),
    ],
)
def test_what_is_no_approval_of_the_plan_lets_nothing_be_written(
    run: Run, world: World, answer: dict[str, Any] | None, problem: str
) -> None:
    steps.make_plan(run)
    with pytest.raises(Refused, match=problem):
        steps.lock_places(run, run.places, answer, take_over=False)
    assert world.read()["leases"] == {}
    with pytest.raises(Refused, match="but no plan was approved"):
        steps.confirm_unchanged(run)


def test_an_approval_of_the_plan_before_is_refused(run: Run, world: World) -> None:
    """make_plan was cleared alone: the plan on record is not the one that somebody read."""
    shown = steps.make_plan(run)["hash"]
    steps.lock_places(run, run.places, APPROVED | {"hash": shown}, take_over=False)
    world.change(lambda w: w["regions"][AP].update(size=2))
    now = steps.make_plan(run)["hash"]
    for answer in (APPROVED, APPROVED | {"hash": shown}):
        with pytest.raises(Refused, match=f"but the plan on record is {now}; clear await_approval"):
            steps.lock_places(run, run.places, answer, take_over=False)
    with pytest.raises(Refused, match=f"plan {now} is on record, but {shown} was approved; trigger a new run"):
        steps.confirm_unchanged(run)


def test_only_the_rollback_knows_emergencies(run: Run) -> None:
    steps.make_plan(run)
    run = replace(run, params={**run.params, "emergency": True})
    with pytest.raises(Refused, match="no approver's answer"):
        steps.lock_places(run, run.places, None, take_over=False)
    steps.lock_places(run, run.places, None, take_over=True)


def test_gates_and_how_they_are_judged_are_part_of_what_is_approved(run: Run) -> None:
    plan = run.lever.plan(run.target(AP))
    stage = plan.stages[0]
    for change in ({"threshold": 0.5}, {"comparison": Comparison.ABOVE}, {"safety": True}, {"min_samples": 1}):
        gates = tuple(replace(gate, **change) for gate in stage.gates)
        assert replace(plan, stages=(replace(stage, gates=gates), *plan.stages[1:])).hash() != plan.hash(), change
    assert replace(plan, stages=(replace(stage, gates=()), *plan.stages[1:])).hash() != plan.hash()
    judging = run.settings.judging()
    for name in ("soak_seconds", "gate_window_seconds", "gate_wait_seconds", "minimum_coverage"):
        assert decisions.plans_hash([plan], judging | {name: 0}) != decisions.plans_hash([plan], judging), name
