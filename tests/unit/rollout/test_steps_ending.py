"""How a rollout ends: promotion, undo, and what is left behind after a crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from include.estate import Estate, load_estate
from include.rollout import decisions, steps
from include.rollout.lever import Difference, Lever, Refused, Restored, Stage, Target
from include.rollout.steps import NotWanted, OnRecord, Run
from tests.dags.toy import Toy, World
from tests.unit.rollout.toy_runs import AP, APPROVED, EU, US, Clock, roll_out, start


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
    assert run.records(AP)[-1].figures["after"] == {"problem": "ConnectionError: Prometheus is away"}
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


@pytest.mark.parametrize("undone", [True, False])
def test_a_promoted_run_whose_ending_is_chosen_again_and_finds_a_difference_is_not_called_promoted(
    run: Run, world: World, clock: Clock, undone: bool
) -> None:
    run = replace(run, params={**run.params, "regions": [AP]})
    start(run)
    steps.take_snapshot(run, AP)
    roll_out(run, AP, clock, "step_1", "step_2")
    steps.decide(run)
    steps.promote(run)
    assert steps.conclude(run, APPROVED, []).name == "promoted"
    world.change(lambda w: w["regions"][AP].update(size=2))
    assert steps.decide(run)["reasons"] == [f"{AP}: every gate passed, but the plan is not fulfilled: toy size: 2 -> 3"]
    if undone:
        steps.undo_changes(run, AP, steps.own_snapshot(run, AP))
        steps.verify_restored(run, AP, steps.own_snapshot(run, AP))
    verdict = steps.conclude(run, APPROVED, [])
    assert (verdict.name, verdict.green) == ("rolled back" if undone else "unfinished", False)
    assert f"{AP}: every gate passed, but the plan is not fulfilled: toy size: 2 -> 3" in verdict.message


def test_no_selected_region_is_no_promotion(run: Run) -> None:
    facts = decisions.RunFacts(run.chain(), dry_run=False, selected=[], touched=[], by_place={"estate": []})
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
