"""The steps without Airflow: crashes, take-overs and refusals that a whole DAG run would only reach by chance."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from include.estate import Estate, load_estate
from include.rollout import decisions, steps
from include.rollout.gates import Comparison, Figure
from include.rollout.lever import Difference, Lever, Plan, Refused, Restored, Stage, Target
from include.rollout.lock import Lock, LockHeld
from include.rollout.place import Place
from include.rollout.steps import NotWanted, OnRecord, Run
from tests.dags.toy import Toy, World
from tests.unit.rollout.toy_runs import AP, APPROVED, EU, US, Clock, OnCluster, Without, roll_out, start


def recorded(run: Run, region: str) -> list[str]:
    return [record.step for record in run.records(region)]


def test_the_plan_that_an_approver_reads(run: Run) -> None:
    plan = steps.make_plan(replace(run, params={**run.params, "regions": [AP], "reason": "cheaper"}))
    assert plan["text"] == (
        "**Reason:** cheaper\n\n### ap-northeast-1: toy\n\n- `toy size: 1 -> 3`\n\n"
        "1. size 2 (gates: health >= 0.99 ratio)\n2. size 3 (gates: health >= 0.99 ratio)\n\n"
        "Extra cost: $2.00 a month (20%), from $10.00 to $12.00 (price book plan).\nUndo: instant.\n\n"
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


def test_a_gate_waits_for_the_soak_and_then_for_data(run: Run, world: World, clock: Clock) -> None:
    start(run)
    steps.take_snapshot(run, AP)
    steps.apply_stage(run, AP, "step_1")
    world.change(lambda w: w["faults"].update({"no data": [f"{AP} step_1"]}))
    clock.move(59)
    assert steps.judge_gates(run, AP, "step_1") is None
    clock.move(2)
    assert steps.judge_gates(run, AP, "step_1") is None
    clock.move(30)
    with pytest.raises(OnRecord, match="gate of size 2 is unknown: health: no data"):
        steps.judge_gates(run, AP, "step_1")
    assert recorded(run, AP)[-1] == "gate"


def test_a_gate_that_fails_does_not_wait(run: Run, world: World, clock: Clock) -> None:
    start(run)
    steps.take_snapshot(run, AP)
    steps.apply_stage(run, AP, "step_1")
    world.change(lambda w: w["faults"].update({"unhealthy": [f"{AP} step_1"]}))
    clock.move(61)
    with pytest.raises(OnRecord, match="is fail"):
        steps.judge_gates(run, AP, "step_1")


def test_an_unreachable_source_is_named_with_the_unknown_gate(run: Run, clock: Clock) -> None:
    class Away(Toy):
        def observe(
            self, target: Target, stage: Stage, window_seconds: int, applied: Mapping[str, Any]
        ) -> dict[str, Figure | None]:
            raise ConnectionError("Prometheus is away")

    run = replace(run, lever=Away())
    start(run)
    steps.take_snapshot(run, AP)
    steps.apply_stage(run, AP, "step_1")
    clock.move(200)
    with pytest.raises(OnRecord, match=r"unknown: health: no data \(ConnectionError: Prometheus is away\)"):
        steps.judge_gates(run, AP, "step_1")


class Sensed(Toy):
    """The toy with one gate that the service's safety hangs on."""

    def plan(self, target: Target) -> Plan:
        plan = super().plan(target)
        stages = (replace(s, gates=tuple(replace(g, safety=True) for g in s.gates)) for s in plan.stages)
        return replace(plan, stages=tuple(stages))


def without_data(world: World, *keys: str) -> None:
    world.change(lambda w: w["faults"].update({"no data": list(keys)}))


def judge_after_the_wait(run: Run, region: str, slot: str, clock: Clock) -> None:
    """Apply a stage and judge it once the wait for its data is over."""
    steps.apply_stage(run, region, slot)
    clock.move(91)
    steps.judge_gates(run, region, slot)


def test_an_unknown_gate_for_the_services_safety_is_undone(run: Run, world: World, clock: Clock) -> None:
    run = replace(run, lever=Sensed())
    start(run)
    steps.take_snapshot(run, AP)
    without_data(world, f"{AP} step_1")
    with pytest.raises(OnRecord, match="unknown: health: no data; what was touched is rolled back"):
        judge_after_the_wait(run, AP, "step_1", clock)
    without_data(world)
    with pytest.raises(OnRecord, match="unknown: health: no data; that is final for this run"):
        steps.judge_gates(run, AP, "step_1")
    decision = steps.decide(run)
    assert (decision["promote"], decision["touched"], "unknown" in decision) == (False, [AP], False)
    assert steps.own_snapshot(run, AP).figures["snapshot"] == {"size": 1}


def test_any_other_unknown_gate_is_left_to_people(run: Run, world: World, clock: Clock) -> None:
    start(run)
    steps.take_snapshot(run, AP)
    without_data(world, f"{AP} step_1")
    with pytest.raises(OnRecord, match="unknown: health: no data; nothing is promoted and nothing undone"):
        judge_after_the_wait(run, AP, "step_1", clock)
    decision = steps.decide(run)
    line = f"{AP}: gate of size 2 is unknown: health: no data"
    assert decision == {"promote": False, "reasons": [], "touched": [AP], "unknown": [line]}
    with pytest.raises(NotWanted, match="gate of size 2 is unknown"):
        steps.own_snapshot(run, AP)
    verdict = steps.conclude(run, APPROVED, ["ap_northeast_1.step_1.judge_gates"])
    assert (verdict.name, verdict.green) == ("unknown", False)
    assert verdict.left_behind == (f"{AP}: written to, neither promoted nor rolled back",)

    # The lock outlives the run: another rollout is refused although Airflow says that this one has ended.
    steps.release_locks(run)
    other = replace(run, run_id="manual__2", run_ended=lambda _: True)
    steps.make_plan(other)
    with pytest.raises(LockHeld, match="its gates are unknown: judge them again or undo it"):
        steps.lock_places(other, run.places, APPROVED, take_over=False)
    assert run.lock(US).acquire(run.run_ended) is None  # free: nothing was written there
    run.lock(US).release()

    # Judged again with data: everything goes on, and the locks go with the promotion.
    without_data(world)
    assert steps.judge_gates(run, AP, "step_1") == {
        "outcome": "pass", "reasons": ["health: 1 ratio is >= 0.99 ratio (toy; 100 samples)"],
    }  # fmt: skip
    roll_out(run, AP, clock, "step_2")
    steps.take_snapshot(run, US)
    roll_out(run, US, clock, "step_1", "step_2")
    assert steps.decide(run) == {"promote": True, "reasons": [], "touched": [AP, US]}
    steps.promote(run)
    assert steps.conclude(run, APPROVED, []).name == "promoted"
    steps.release_locks(run)
    with pytest.raises(LockHeld, match="released"):
        run.lock(AP).assert_held()


def test_a_gate_that_is_judged_again_and_fails_is_undone(run: Run, world: World, clock: Clock) -> None:
    start(run)
    steps.take_snapshot(run, AP)
    without_data(world, f"{AP} step_1")
    with pytest.raises(OnRecord):
        judge_after_the_wait(run, AP, "step_1", clock)
    steps.decide(run)
    without_data(world)
    world.change(lambda w: w["faults"].update({"unhealthy": [f"{AP} step_1"]}))
    with pytest.raises(OnRecord, match="is fail"):
        steps.judge_gates(run, AP, "step_1")
    # Even when choose_ending dies: what is on record of the decision before is not the last word.
    assert steps.own_snapshot(run, AP).figures["snapshot"] == {"size": 1}


def test_nothing_more_is_written_while_a_gate_is_unknown(run: Run, world: World, clock: Clock) -> None:
    start(run)
    for region in (AP, US):
        steps.take_snapshot(run, region)
    without_data(world, f"{AP} step_1")
    with pytest.raises(OnRecord):
        judge_after_the_wait(run, AP, "step_1", clock)
    for region, slot in ((AP, "step_2"), (US, "step_1")):
        with pytest.raises(OnRecord, match=f"{region}: nothing more is written while a gate is unknown: {AP}: gate"):
            steps.apply_stage(run, region, slot)
    assert world.events == [f"apply {AP} step_1"]
    assert steps.decide(run)["reasons"] == []  # a region that waits has not failed


@pytest.mark.parametrize("changed", [False, True])
def test_a_region_whose_lock_was_given_up_after_its_snapshot_goes_on_when_judged_again(
    run: Run, world: World, clock: Clock, changed: bool
) -> None:
    start(run)
    for region in (AP, US):
        steps.take_snapshot(run, region)
    without_data(world, f"{AP} step_1")
    with pytest.raises(OnRecord):
        judge_after_the_wait(run, AP, "step_1", clock)
    with pytest.raises(OnRecord, match="nothing more is written while a gate is unknown"):
        steps.apply_stage(run, US, "step_1")
    steps.decide(run)
    steps.release_locks(run)
    without_data(world)
    steps.judge_gates(run, AP, "step_1")
    roll_out(run, AP, clock, "step_2")
    if changed:  # by a run that had the free lock meanwhile: the snapshot is not what stands there any more
        world.change(lambda w: w["regions"][US].update(size=2))
        with pytest.raises(Refused, match="the plan changed between the approval and now, nothing was changed in"):
            steps.apply_stage(run, US, "step_1")
        return
    roll_out(run, US, clock, "step_1", "step_2")
    assert steps.decide(run)["promote"]


def test_what_failed_elsewhere_undoes_an_unknown_region_too(run: Run, world: World, clock: Clock) -> None:
    start(run)
    for region in (AP, US):
        steps.take_snapshot(run, region)
        steps.apply_stage(run, region, "step_1")
    world.change(lambda w: w["faults"].update({"no data": [f"{AP} step_1"], "unhealthy": [f"{US} step_1"]}))
    clock.move(91)
    for region in (AP, US):
        with pytest.raises(OnRecord):
            steps.judge_gates(run, region, "step_1")
    decision = steps.decide(run)
    assert (decision["promote"], decision["touched"], "unknown" in decision) == (False, [AP, US], False)


def test_a_failed_gate_is_final_whoever_marks_its_task(run: Run, world: World, clock: Clock) -> None:
    start(run)
    for region in (AP, US):
        steps.take_snapshot(run, region)
        roll_out(run, region, clock, "step_1")
    world.change(lambda w: w["faults"].update({"unhealthy": [f"{US} step_2"]}))
    with pytest.raises(OnRecord, match="is fail"):
        roll_out(run, US, clock, "step_2")
    world.change(lambda w: w["faults"].clear())
    with pytest.raises(OnRecord, match=r"is not >= 0.99 ratio .* that is final for this run"):
        steps.judge_gates(run, US, "step_2")
    with pytest.raises(Refused, match=f"{US}: nothing more is written there: {US}: gate of size 3 is fail"):
        steps.apply_stage(run, US, "step_2")
    decision = steps.decide(run)
    assert decision["promote"] is False
    assert decision["reasons"][0].startswith(f"{US}: gate of size 3 is fail: health: 0.5 ratio is not >= 0.99 ratio")


def test_a_stage_that_is_written_again_must_be_judged_again(run: Run, clock: Clock) -> None:
    run = replace(run, params={**run.params, "regions": [AP]})
    start(run)
    steps.take_snapshot(run, AP)
    roll_out(run, AP, clock, "step_1", "step_2")
    steps.apply_stage(run, AP, "step_2")
    assert steps.decide(run)["reasons"] == [f"{AP}: size 3 was not reached"]


def test_a_gate_looks_back_to_the_first_write_of_its_stage(run: Run, world: World, clock: Clock) -> None:
    seen: list[float] = []

    class Looking(Toy):
        def observe(
            self, target: Target, stage: Stage, window_seconds: int, applied: Mapping[str, Any]
        ) -> dict[str, Figure | None]:
            seen.append(applied["started_at"])
            return super().observe(target, stage, window_seconds, applied)

    run = replace(run, lever=Looking())
    start(run)
    steps.take_snapshot(run, AP)
    world.change(lambda w: w["faults"].update({f"crash {AP} step_1": True}))
    began = clock.now.timestamp()
    with pytest.raises(ConnectionError):
        steps.apply_stage(run, AP, "step_1")
    clock.move(600)
    roll_out(run, AP, clock, "step_1")
    assert seen == [pytest.approx(began, abs=1)]


def test_a_gate_without_samples_for_its_window_waits_and_is_unknown(run: Run, clock: Clock) -> None:
    class Sparse(Toy):
        def observe(
            self, target: Target, stage: Stage, window_seconds: int, applied: Mapping[str, Any]
        ) -> dict[str, Figure | None]:
            return {"health": Figure(1.0, "ratio", 100, "toy", coverage=0.5)}

    strict = replace(run, lever=Sparse())
    start(strict)
    steps.take_snapshot(strict, AP)
    steps.apply_stage(strict, AP, "step_1")
    clock.move(61)
    assert steps.judge_gates(strict, AP, "step_1") is None
    clock.move(30)
    with pytest.raises(OnRecord, match=r"health: samples for 50.0% of its window; it needs 90%"):
        steps.judge_gates(strict, AP, "step_1")
    assert strict.records(AP)[-1].figures["results"][0]["coverage"] == 0.5
    patient = replace(strict, params={**run.params, "minimum_coverage": 0.5})
    judged = steps.judge_gates(patient, AP, "step_1")
    assert judged is not None
    assert judged["outcome"] == "pass"


# Approvals -----------------------------------------------------------------------------------------------------------


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


# The change is not this run's any more -------------------------------------------------------------------------------


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


def test_the_other_regions_stop_when_one_has_failed(run: Run, world: World, clock: Clock) -> None:
    start(run)
    for region in (AP, US):
        steps.take_snapshot(run, region)
    roll_out(run, AP, clock, "step_1")
    world.change(lambda w: w["faults"].update({"unhealthy": [f"{AP} step_2"]}))
    with pytest.raises(OnRecord):
        roll_out(run, AP, clock, "step_2")
    with pytest.raises(Refused, match=f"{US}: stopped before its next step because of {AP}: gate of size 3 is fail"):
        steps.apply_stage(run, US, "step_1")
    decision = steps.decide(run)
    assert (decision["promote"], decision["touched"]) == (False, [AP])


def test_a_run_killed_in_the_middle_of_apply_is_rolled_back(run: Run, world: World) -> None:
    class Killed(Toy):
        def apply(self, target: Target, stage: Stage) -> dict[str, Any]:
            super().apply(target, stage)
            raise KeyboardInterrupt

    start(run)
    steps.take_snapshot(run, AP)
    with pytest.raises(KeyboardInterrupt):
        steps.apply_stage(replace(run, lever=Killed()), AP, "step_1")
    decision = steps.decide(run)
    assert decision["reasons"] == [f"{AP}: size 2 was not reached", f"{US}: size 2 was not reached"]
    assert decision["touched"] == [AP]
    steps.undo_changes(run, AP, steps.own_snapshot(run, AP))
    steps.verify_restored(run, AP, steps.own_snapshot(run, AP))
    assert world.sizes() == {US: 1, EU: 1, AP: 1}
    with pytest.raises(NotWanted, match="was not touched, or is restored"):
        steps.own_snapshot(run, AP)
    with pytest.raises(Refused, match="this run was rolled back there"):
        steps.apply_stage(run, AP, "step_1")
    verdict = steps.conclude(run, APPROVED, ["ap_northeast_1.step_1.apply_stage"])
    assert (verdict.name, verdict.green, verdict.left_behind) == ("rolled back", False, ())


def test_a_region_that_was_never_rolled_back_is_left_behind(run: Run) -> None:
    start(run)
    steps.take_snapshot(run, AP)
    steps.apply_stage(run, AP, "step_1")
    verdict = steps.conclude(run, APPROVED, ["choose_ending"])
    assert (verdict.name, verdict.left_behind) == ("unfinished", (f"{AP}: written to and not rolled back",))
    command = '{"lever": "toy", "regions": ["ap-northeast-1"], "dry_run": false}'
    assert verdict.message.endswith(f"Next: airflow dags trigger rollback --conf '{command}'")


def test_a_field_that_others_changed_is_reported_and_does_not_count_as_left(run: Run, clock: Clock) -> None:
    others = Difference("toy label", "theirs", "ours")

    class Shared(Toy):
        def rollback(self, target: Target, snapshot: Mapping[str, Any]) -> Restored:
            return replace(super().rollback(target, snapshot), changed_by_others=(others,))

        def verify_restored(self, target: Target, snapshot: Mapping[str, Any]) -> list[Difference]:
            return [*super().verify_restored(target, snapshot), others]

    run = replace(run, lever=Shared())
    start(run)
    steps.take_snapshot(run, AP)
    steps.apply_stage(run, AP, "step_1")
    snapshot = steps.own_snapshot(run, AP)
    steps.undo_changes(run, AP, snapshot)
    steps.verify_restored(run, AP, snapshot)
    verdict = steps.conclude(run, APPROVED, [])
    assert verdict.name == "rolled back"
    line = f"{AP}: changed by others since the snapshot and left alone: toy label: theirs -> ours"
    assert line in verdict.message.splitlines()


def test_a_report_that_fails_does_not_stop_a_promotion(run: Run, clock: Clock) -> None:
    start(run)
    for region in (AP, US):
        steps.take_snapshot(run, region)
        roll_out(run, region, clock, "step_1", "step_2")
    assert steps.decide(run)["promote"] is True
    with pytest.raises(NotWanted, match="every gate passed"):
        steps.own_snapshot(run, AP)

    class Blind(Toy):
        def evidence(self, target: Target) -> dict[str, Any]:
            raise ConnectionError("Prometheus is away")

    steps.promote(replace(run, lever=Blind()))
    assert run.records(AP)[-1].figures == {"after": {"problem": "ConnectionError: Prometheus is away"}}
    assert steps.conclude(run, APPROVED, []).name == "promoted"


def test_a_plan_of_an_unchanged_world_promotes_without_a_write(run: Run, world: World) -> None:
    run = replace(run, params={**run.params, "size": 1})
    start(run)
    for region in run.places:
        steps.take_snapshot(run, region)
        with pytest.raises(NotWanted):
            steps.apply_stage(run, region, "step_1")
    assert steps.decide(run) == {"promote": True, "reasons": [], "touched": []}
    assert world.events == []


def test_no_selected_region_is_no_promotion(run: Run) -> None:
    facts = decisions.Facts(run.chain(), dry_run=False, selected=[], touched=[], by_place={"estate": []})
    verdict = decisions.verdict(facts)
    assert (verdict.name, verdict.green) == ("refused", False)


def test_settings_of_an_older_snapshot_still_roll_back(run: Run, world: World) -> None:
    start(run)
    steps.take_snapshot(run, AP)
    steps.apply_stage(run, AP, "step_1")
    snapshot = steps.own_snapshot(run, AP)
    old = replace(snapshot, figures={**snapshot.figures, "settings": {"a setting that is gone": 1}})
    steps.undo_changes(run, AP, old)
    assert world.sizes()[AP] == 1


def test_the_toy_is_a_lever() -> None:
    lever: Lever = Toy()
    estate: Estate = load_estate()
    assert (lever.name, list(lever.slots), estate.canary_region) == ("toy", ["step_1", "step_2"], AP)


def test_a_region_that_begins_to_write_while_another_looks_what_stands_is_not_taken_for_undone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(run)
    for region in (AP, US):
        steps.take_snapshot(run, region)
    touched = run.ledger.touched

    def just_before_the_other(*given: Any) -> list[str]:
        stands = touched(*given)
        run.record(US, "touch", {"slot": "step_1", "title": "begins right after the listing"})
        return stands

    monkeypatch.setattr(run.ledger, "touched", just_before_the_other)
    steps.check_ours(run, AP)
    monkeypatch.undo()
    steps.check_ours(run, AP)
    assert touched(run.chain(), [AP, US]) == [US]
