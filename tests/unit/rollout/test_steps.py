"""The steps without Airflow: crashes, take-overs and refusals that a whole DAG run would only reach by chance."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from include.estate import Estate, load_estate
from include.rollout import flow, rollback, steps
from include.rollout.gates import Figure
from include.rollout.ledger import FolderStore, Ledger
from include.rollout.lever import Difference, Lever, Refused, Restored, Stage, Target
from include.rollout.lock import Lock, LockHeld
from include.rollout.steps import NotWanted, OnRecord, Run
from tests.dags.toy import Toy, World, clients_of

US, EU, AP = "us-east-1", "eu-central-1", "ap-northeast-1"
APPROVED = {"approved": True, "user": "platform-lead"}


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        self.now += dt.timedelta(milliseconds=1)
        return self.now

    def move(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(tmp_path: Path) -> World:
    path = tmp_path / "world.json"
    regions = {region: {"size": 1} for region in (US, EU, AP)}
    path.write_text(json.dumps({"regions": regions, "faults": {}, "leases": {}, "events": []}))
    return World(path)


@pytest.fixture
def run(world: World, tmp_path: Path, clock: Clock) -> Run:
    estate = load_estate()
    params = {"regions": [AP, US], "dry_run": False, "size": 3, "soak_seconds": 60, "gate_wait_seconds": 30}
    make = clients_of(world)
    return Run(Toy(), estate, params, "toy_rollout", "manual__1", Ledger(FolderStore(tmp_path / "ledger"), clock),
               lambda region: make(region, estate), lambda _: None, clock=clock)  # fmt: skip


def start(run: Run) -> None:
    """Everything before the first write."""
    steps.check_preflight(run)
    steps.make_plan(run)
    steps.lock_regions(run, run.regions, APPROVED, take_over=False)
    steps.confirm_unchanged(run)


def recorded(run: Run, region: str) -> list[str]:
    return [record.step for record in run.records(region)]


def roll_out(run: Run, region: str, clock: Clock, *slots: str) -> None:
    for slot in slots:
        steps.apply_stage(run, region, slot)
        clock.move(61)
        steps.judge_gates(run, region, slot)


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

    def clients(region: str) -> Any:
        if region == AP:
            raise Refused("Airflow connection 'kubernetes_ap_northeast_1' does not exist: create it")
        return run.clients(region)

    with pytest.raises(Refused) as caught:
        steps.check_preflight(replace(run, clients=clients))
    assert str(caught.value).splitlines() == [
        "preflight refused, 2 check(s) failed and nothing was changed:",
        f"{AP}: connections: Airflow connection 'kubernetes_ap_northeast_1' does not exist: create it",
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
    Lock(run.clients(US).leases, US, "other/run").take_over()
    with pytest.raises(LockHeld, match="other/run holds the lock"):
        steps.lock_regions(run, run.regions, APPROVED, take_over=False)
    with pytest.raises(LockHeld, match="released"):
        run.lock(AP).assert_held()


def test_unlocking_goes_on_after_a_region_that_fails(run: Run) -> None:
    start(run)

    def clients(region: str) -> Any:
        if region == AP:
            raise ConnectionError("gone")
        return run.clients(region)

    with pytest.raises(RuntimeError, match=f"locks not released .*{AP}: gone"):
        steps.unlock_regions(replace(run, clients=clients), run.regions)
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
    Lock(run.clients(AP).leases, AP, "rollback/manual__2").take_over()
    with pytest.raises(LockHeld, match="rollback/manual__2 has taken the lock over"):
        steps.apply_stage(run, AP, "step_2")
    snapshot = steps.own_snapshot(run, AP)
    with pytest.raises(LockHeld, match="rollback/manual__2 has taken the lock over"):
        steps.undo_changes(run, AP, snapshot)
    assert world.events == [f"apply {AP} step_1"]


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
    for region in run.regions:
        steps.take_snapshot(run, region)
        with pytest.raises(NotWanted):
            steps.apply_stage(run, region, "step_1")
    assert steps.decide(run) == {"promote": True, "reasons": [], "touched": []}
    assert world.events == []


def test_no_selected_region_is_no_promotion(run: Run) -> None:
    facts = flow.Facts(run.chain(), dry_run=False, selected=[], touched=[], by_region={"estate": []})
    verdict = flow.verdict(facts)
    assert (verdict.name, verdict.green) == ("refused", False)


def test_settings_of_an_older_snapshot_still_roll_back(run: Run, world: World) -> None:
    start(run)
    steps.take_snapshot(run, AP)
    steps.apply_stage(run, AP, "step_1")
    snapshot = steps.own_snapshot(run, AP)
    old = replace(snapshot, figures={**snapshot.figures, "settings": {"a setting that is gone": 1}})
    steps.undo_changes(run, AP, old)
    assert world.sizes()[AP] == 1


class TestRollback:
    @pytest.fixture
    def levers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from include import levers

        monkeypatch.setitem(levers.LEVERS, "toy", "tests.dags.toy:Toy")

    @pytest.fixture
    def undo(self, run: Run, levers: None) -> Run:
        """A run of the rollback DAG after two rollouts, in AP and US, of which the second stands on the first."""
        params = {"regions": [AP, US], "run": "", "dry_run": False, "emergency": False, "reason": "", "lever": "toy"}
        for number, size in (("1", 2), ("2", 3)):
            rollout = replace(run, run_id=f"manual__{number}", params={**run.params, "size": size})
            start(rollout)
            for region in rollout.regions:
                steps.take_snapshot(rollout, region)
                steps.apply_stage(rollout, region, "step_1")
                rollout.record(region, "promoted", {})
            steps.unlock_regions(rollout, rollout.regions)
        return replace(run, dag_id="rollback", run_id="undo", params=params)

    def undo_all(self, undo: Run) -> None:
        steps.lock_regions(undo, [AP, US], APPROVED, take_over=True)
        for region in (AP, US):
            rollback.undo_changes(undo, region)
            rollback.verify_restored(undo, region)

    def test_the_last_change_goes_first_then_the_one_before(self, undo: Run, world: World) -> None:
        assert world.sizes() == {US: 3, EU: 1, AP: 3}
        text = rollback.find_changes(undo)["text"]
        assert f"### {AP}: toy of toy_rollout/manual__2 (promoted" in text
        assert "- set back `toy size: 3 -> 2`" in text
        self.undo_all(undo)
        assert world.sizes() == {US: 2, EU: 1, AP: 2}
        again = replace(undo, run_id="undo_2")
        rollback.find_changes(again)
        self.undo_all(again)
        assert world.sizes() == {US: 1, EU: 1, AP: 1}
        verdict = rollback.conclude(again, APPROVED, [])
        assert verdict.message == f"rolled back and verified: {AP} toy, {US} toy."

    def test_a_named_run_is_undone(self, undo: Run, world: World) -> None:
        undo = replace(undo, params={**undo.params, "run": "toy_rollout/manual__1", "regions": [US]})
        rollback.find_changes(undo)
        assert [(u.region, u.snapshot.run_id) for u in rollback.found(undo)] == [(US, "manual__1")]
        with pytest.raises(NotWanted, match=f"nothing to undo in {AP}"):
            rollback.undo_changes(undo, AP)

    def test_an_unknown_run_is_refused(self, undo: Run) -> None:
        with pytest.raises(Refused, match="run: no change of 'manual__9' stands for toy"):
            rollback.find_changes(replace(undo, params={**undo.params, "run": "manual__9"}))

    def test_an_undo_that_is_tried_again_is_not_done_twice(self, undo: Run, world: World) -> None:
        rollback.find_changes(undo)
        steps.lock_regions(undo, [AP, US], APPROVED, take_over=True)
        rollback.undo_changes(undo, AP)
        rollback.undo_changes(undo, AP)
        assert world.events.count(f"rollback {AP}") == 1

    def test_an_unreachable_region_does_not_stop_the_search(self, undo: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def clients(region: str) -> Any:
            if region == AP:
                raise ConnectionError("no route to host")
            return undo.clients(region)

        text = rollback.find_changes(replace(undo, clients=clients))["text"]
        assert "Live state can't be read: ConnectionError: no route to host" in text
        assert f"### {US}: toy" in text


def test_the_toy_is_a_lever() -> None:
    lever: Lever = Toy()
    estate: Estate = load_estate()
    assert (lever.name, list(lever.slots), estate.canary_region) == ("toy", ["step_1", "step_2"], AP)
