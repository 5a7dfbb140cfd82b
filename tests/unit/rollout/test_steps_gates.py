"""Gates of a stage: when they wait, what they make final, and what is left to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from include.rollout import steps
from include.rollout.gates import Figure
from include.rollout.lever import Plan, Refused, Stage, Target
from include.rollout.lock import LockHeld
from include.rollout.steps import NotWanted, OnRecord, Run
from tests.dags.toy import Toy, World
from tests.unit.rollout.toy_runs import AP, APPROVED, US, Clock, recorded, roll_out, start


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


def test_no_region_takes_a_stage_before_the_canary_has_passed_it_whoever_marks_tasks(
    run: Run, world: World, clock: Clock
) -> None:
    start(run)
    for region in (AP, US):
        steps.take_snapshot(run, region)
    waits = f"{US}: size 2 has not passed its gates in the canary {AP}"
    with pytest.raises(Refused, match=waits):
        steps.apply_stage(run, US, "step_1")
    steps.apply_stage(run, AP, "step_1")
    with pytest.raises(Refused, match=waits):
        steps.apply_stage(run, US, "step_1")
    clock.move(61)
    steps.judge_gates(run, AP, "step_1")
    steps.apply_stage(run, US, "step_1")
    assert world.events == [f"apply {AP} step_1", f"apply {US} step_1"]


def test_what_failed_elsewhere_undoes_an_unknown_region_too(run: Run, world: World, clock: Clock) -> None:
    start(run)
    for region in (AP, US):
        steps.take_snapshot(run, region)
    roll_out(run, AP, clock, "step_1")
    steps.apply_stage(run, AP, "step_2")
    steps.apply_stage(run, US, "step_1")
    world.change(lambda w: w["faults"].update({"no data": [f"{AP} step_2"], "unhealthy": [f"{US} step_1"]}))
    clock.move(91)
    for region, slot in ((AP, "step_2"), (US, "step_1")):
        with pytest.raises(OnRecord):
            steps.judge_gates(run, region, slot)
    decision = steps.decide(run)
    assert (decision["promote"], decision["touched"], "unknown" in decision) == (False, [AP, US], False)


def test_a_failed_gate_is_final_whoever_marks_its_task(run: Run, world: World, clock: Clock) -> None:
    start(run)
    for region in (AP, US):
        steps.take_snapshot(run, region)
        roll_out(run, region, clock, "step_1")
    roll_out(run, AP, clock, "step_2")
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
