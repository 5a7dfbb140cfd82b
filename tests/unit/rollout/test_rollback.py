"""The steps of the rollback DAG: what is found, in which order it is undone, and what is never called green."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from include import levers
from include.estate import Estate
from include.rollout import rollback, steps
from include.rollout.ledger import Chain, Record, Step
from include.rollout.lever import Difference, Refused, Restored, Target
from include.rollout.lock import Lock, LockHeld, holder_of
from include.rollout.place import Place
from include.rollout.steps import NotWanted, OnRecord, Run
from tests.dags.toy import Toy, World
from tests.unit.rollout.toy_runs import (
    AP,
    EU,
    US,
    Clock,
    First,
    Second,
    Without,
    promoted,
    roll_back,
    roll_out,
    start,
    undoing,
)

HERE = "tests.unit.rollout.toy_runs"
ANSWER = {"approved": True, "user": "platform-lead"}


@pytest.fixture(autouse=True)
def _levers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(levers.LEVERS, "toy", "tests.dags.toy:Toy")
    # Declared the wrong way round: the order comes from undo_after.
    monkeypatch.setitem(levers.LEVERS, "first", f"{HERE}:First")
    monkeypatch.setitem(levers.LEVERS, "second", f"{HERE}:Second")


def standing(run: Run, region: str = AP, lever: str = "toy") -> list[str]:
    return [change.chain.run_id for change in run.ledger.standing(lever, region)]


def without(run: Run, *regions: str) -> Run:
    """The run with an estate that has lost regions."""
    raw = run.estate.model_dump(mode="json")
    raw["regions"] = {name: region for name, region in raw["regions"].items() if name not in regions}
    return replace(run, estate=Estate.model_validate(raw))


def spoil(tmp_path: Path, chain: Chain, number: int, old: str, new: str) -> None:
    path = tmp_path / "ledger" / chain.path / f"{number:06}.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_everything_is_every_change_back_to_before_the_first(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2)
    promoted(run, "manual__2", 3)
    verdict = roll_back(undoing(run))
    assert (verdict.name, verdict.green) == ("rolled back", True)
    assert verdict.message == (
        f"rolled back and verified: {AP} toy of toy_rollout/manual__2, {AP} toy of toy_rollout/manual__1, "
        f"{US} toy of toy_rollout/manual__2, {US} toy of toy_rollout/manual__1."
    )
    assert world.sizes() == {US: 1, EU: 1, AP: 1}
    assert standing(run) == standing(run, US) == []
    again = roll_back(undoing(run, "again"))
    assert (again.name, again.green) == ("nothing to undo", True)


def test_the_plan_shows_every_run_and_what_comes_back_in_the_end(run: Run) -> None:
    first, second = promoted(run, "manual__1", 2), promoted(run, "manual__2", 3)
    times = [str(run.ledger.snapshot(r.chain(AP)).time) for r in (first, second)]  # type: ignore[union-attr]
    assert rollback.find_changes(undoing(run, regions=[AP]))["text"] == (
        f"### {AP}: toy of toy_rollout/manual__2 (promoted, {times[1]})\n"
        f"### {AP}: toy of toy_rollout/manual__1 (promoted, {times[0]})\n\n- set back `toy size: 3 -> 1`"
    )


def test_a_lever_alone_is_its_last_change_and_the_older_ones_are_named(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2)
    promoted(run, "manual__2", 3)
    verdict = roll_back(undoing(run, lever="toy", regions=[AP]))
    assert verdict.green
    assert verdict.message == (
        f"rolled back and verified: {AP} toy.\n"
        f"Older changes stand still: {AP} toy of toy_rollout/manual__1. Trigger again to undo the next."
    )
    assert world.sizes() == {US: 3, EU: 1, AP: 2}
    assert roll_back(undoing(run, "next", lever="toy", regions=[AP])).green
    assert world.sizes()[AP] == 1


def test_an_older_run_is_not_undone_under_a_newer_one(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2)
    promoted(run, "manual__2", 3)
    with pytest.raises(Refused) as caught:
        rollback.find_changes(undoing(run, lever="toy", run="toy_rollout/manual__1", regions=[AP]))
    assert str(caught.value) == (
        f"run: toy_rollout/manual__1 of toy can't be undone in {AP} while the newer toy_rollout/manual__2 "
        "stands on it, whose undo would bring it back; undo the newer one first, or everything"
    )
    assert roll_back(undoing(run, "named", lever="toy", run="manual__2", regions=[AP])).green
    assert roll_back(undoing(run, "then", lever="toy", run="manual__1", regions=[AP])).green
    assert world.sizes()[AP] == 1


def test_an_unknown_run_is_refused(run: Run) -> None:
    promoted(run, "manual__1", 2)
    with pytest.raises(Refused, match=f"run: no change of 'manual__9' stands for toy in {AP};"):
        rollback.find_changes(undoing(run, lever="toy", run="manual__9", regions=[AP]))


def test_a_region_that_nobody_knows_is_refused(run: Run) -> None:
    with pytest.raises(Refused, match="regions: 'us-esat-1' is neither in the estate nor in the ledger"):
        rollback.find_changes(undoing(run, regions=["us-esat-1"]))


def test_levers_are_undone_as_they_declare_and_not_by_time(run: Run, world: World) -> None:
    promoted(replace(run, lever=First()), "manual__1", 2, regions=[AP])
    promoted(replace(run, lever=Second()), "manual__2", 3, regions=[AP])
    undo = undoing(run)
    rollback.find_changes(undo)
    assert [(u.place, u.lever) for u in rollback.found(undo)] == [(AP, "first"), (AP, "second")]
    order = levers.undo_order()
    assert sorted(order) == sorted(levers.LEVERS)
    for name in order:
        assert all(order.index(other) < order.index(name) for other in levers.lever(name).undo_after), name


def test_levers_that_wait_for_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(First, "undo_after", ("second",))
    with pytest.raises(Refused, match="undo_after goes in a circle: second -> first -> second; take one of them out"):
        levers.undo_order()


def test_a_lever_that_can_not_be_loaded_keeps_no_other(run: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(run, "manual__1", 2)
    monkeypatch.setitem(levers.LEVERS, "broken", "no.such.module:Lever")
    assert roll_back(undoing(run)).green
    assert world.sizes()[AP] == 1


def test_a_lever_that_can_not_be_loaded_and_whose_change_stands_keeps_no_other(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(run, "manual__1", 2, regions=[AP])
    promoted(replace(run, lever=First()), "manual__2", 3, regions=[AP])
    monkeypatch.setitem(levers.LEVERS, "toy", "no_such_module:Lever")
    verdict = roll_back(undoing(run))
    assert verdict.left_behind == (
        f"{AP} toy: lever toy can't be loaded (ModuleNotFoundError: No module named 'no_such_module'): "
        "mend it and trigger again",
    )
    assert standing(run, lever="first") == []
    assert standing(run) == ["manual__1"]


def test_a_try_that_was_given_up_goes_on_with_no_other_lever(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(replace(run, lever=First()), "manual__1", 2, regions=[AP])
    promoted(replace(run, lever=Second()), "manual__2", 3, regions=[AP])
    undo = undoing(run)
    rollback.take_locks(undo, ANSWER | {"hash": rollback.find_changes(undo)["hash"]})
    next_try = undo.lock(AP)

    def paused(self: First, target: Target, snapshot: Mapping[str, Any]) -> Restored:
        next_try.begin("the next try")
        target.fence()
        raise AssertionError("the fence let a process pass that was given up")

    monkeypatch.setattr(First, "rollback", paused)
    with pytest.raises(OnRecord, match="a later step of this run has begun"):
        rollback.undo_changes(undo, AP)
    next_try.assert_held()
    assert world.sizes()[AP] == 3


def test_an_error_whose_text_no_record_may_hold_keeps_no_other_lever(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(run, "manual__1", 2, regions=[AP])
    promoted(replace(run, lever=First()), "manual__2", 3, regions=[AP])

    def fail(self: First, target: Target, snapshot: Mapping[str, Any]) -> Restored:
        raise ConnectionError("https://me:pass1234@prometheus refused")

    monkeypatch.setattr(First, "rollback", fail)
    undo = undoing(run)
    rollback.take_locks(undo, ANSWER | {"hash": rollback.find_changes(undo)["hash"]})
    with pytest.raises(ConnectionError):
        rollback.undo_changes(undo, AP)
    assert world.events == [f"apply {AP} step_1", f"apply {AP} step_1", f"rollback {AP}"]
    stop = undo.ledger.records(Chain("first", AP, "rollback", "undo"))[-1]
    assert stop.figures["reason"] == "its message holds what looks like a credential; read the task's log"


def test_an_undo_that_could_not_begin_says_why(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2, regions=[AP])
    undo = undoing(run)
    rollback.take_locks(undo, ANSWER | {"hash": rollback.find_changes(undo)["hash"]})
    Lock(run.clients(Place.named(AP)).leases, AP, "day1_spot/other").take_over()
    with pytest.raises(OnRecord):
        rollback.undo_changes(undo, AP)
    verdict = rollback.conclude(undo, ANSWER, ["undo_changes"])
    assert (verdict.name, verdict.green) == ("refused", False)
    assert f"refused: {AP} toy: {AP}: day1_spot/other holds the lock" in verdict.message


def test_an_undo_that_is_tried_again_is_not_done_twice(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2)
    promoted(run, "manual__2", 3)
    undo = undoing(run, regions=[AP])
    rollback.take_locks(undo, ANSWER | {"hash": rollback.find_changes(undo)["hash"]})
    for _ in range(2):
        rollback.undo_changes(undo, AP)
    assert world.events.count(f"rollback {AP}") == 2
    for _ in range(2):
        rollback.verify_restored(undo, AP)
    assert standing(run) == []
    with pytest.raises(NotWanted, match=f"nothing to undo in {EU}"):
        rollback.undo_changes(undo, EU)


def test_an_undo_that_was_cut_between_two_runs_goes_on(run: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(run, "manual__1", 2)
    promoted(run, "manual__2", 3)

    def cut(self: Toy, target: Target, snapshot: Mapping[str, Any]) -> Restored:
        if snapshot["size"] == 1:
            raise ConnectionError("the process was killed")
        return undone(self, target, snapshot)

    undone = Toy.rollback
    undo = undoing(run, regions=[AP])
    rollback.take_locks(undo, ANSWER | {"hash": rollback.find_changes(undo)["hash"]})
    with monkeypatch.context() as patch:
        patch.setattr(Toy, "rollback", cut)
        with pytest.raises(ConnectionError):  # not Refused: the task is tried again
            rollback.undo_changes(undo, AP)
    assert world.sizes()[AP] == 2
    rollback.undo_changes(undo, AP)
    rollback.verify_restored(undo, AP)
    assert rollback.conclude(undo, ANSWER, []).green
    assert world.sizes()[AP] == 1


def test_nothing_older_is_undone_when_the_newer_run_fails_but_other_levers_and_regions_are(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(run, "manual__1", 2)
    promoted(run, "manual__2", 3)
    promoted(replace(run, lever=Second()), "manual__3", 4, regions=[AP])

    def refuses(self: Toy, target: Target, snapshot: Mapping[str, Any]) -> Restored:
        if self.name == "toy" and target.region == AP:
            raise Refused("the region does not let go; open its door")
        return undone(self, target, snapshot)

    undone = Toy.rollback
    monkeypatch.setattr(Toy, "rollback", refuses)
    verdict = roll_back(undoing(run))
    assert (verdict.name, verdict.green) == ("unfinished", False)
    assert verdict.left_behind == (
        f"{AP} toy of toy_rollout/manual__2: not back yet: toy size: 3 -> 2",
        f"{AP} toy of toy_rollout/manual__1: not restored: waits for what failed before it",
    )
    assert "rollback --conf" in verdict.message
    assert world.events.count("second") == 1
    assert standing(run) == ["manual__1", "manual__2"]
    assert standing(run, US) == []
    assert standing(run, lever="second") == []


def test_an_unreachable_region_does_not_keep_the_others(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2)

    def clients(place: Place) -> Any:
        if place.name == AP:
            raise ConnectionError("no route to host")
        return run.clients(place)

    undo = undoing(replace(run, clients=clients))
    text = rollback.find_changes(undo)["text"]
    assert "Live state can't be read: ConnectionError: no route to host" in text
    verdict = roll_back(undo)
    assert not verdict.green
    assert verdict.left_behind == (f"{AP} toy: not restored: ConnectionError: no route to host",)
    assert world.sizes() == {US: 1, EU: 1, AP: 2}
    assert world.read()["leases"][US]["spec"].get("holderIdentity") is None


def test_a_lock_that_could_not_be_taken_is_taken_by_the_undo(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2, regions=[AP])
    away = [True]

    def clients(place: Place) -> Any:
        if place.name == EU and away:
            raise ConnectionError("no route to host")
        if place.name == AP and away:
            away.clear()
            raise ConnectionError("no route to host")
        return run.clients(place)

    undo = undoing(replace(run, clients=clients), emergency=True, reason="errors", regions=[AP])
    rollback.find_changes(undoing(run, emergency=True, reason="errors", regions=[AP]))
    rollback.take_locks(undo, None)
    assert undo.ledger.records(undo.chain())[-1].figures["not_locked"] == {AP: "ConnectionError: no route to host"}
    rollback.undo_changes(undo, AP)
    rollback.verify_restored(undo, AP)
    rollback.release_locks(undo)
    assert rollback.conclude(undo, None, []).green
    assert world.sizes()[AP] == 1
    assert holder_of(world.read()["leases"][AP]) == ""


# --- Approval and locks -----------------------------------------------------------------------------------------------


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
    run: Run, world: World, regions: list[str]
) -> None:
    start(run)
    steps.take_snapshot(run, AP)
    steps.take_snapshot(run, US)
    steps.apply_stage(run, AP, "step_1")
    undo = undoing(run, emergency=True, reason="errors", regions=regions)
    assert roll_back(undo).green
    approval = [record for record in undo.records("estate") if record.step == Step.APPROVAL][-1]
    assert approval.figures["locked"] == sorted(regions or [AP, US, EU])
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


# --- Out of reach and bad chains --------------------------------------------------------------------------------------


def test_a_region_that_left_the_estate_is_undone_by_its_snapshots_slice(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2)
    verdict = roll_back(undoing(without(run, US)))
    assert verdict.green
    assert world.sizes() == {US: 1, EU: 1, AP: 1}


def old_snapshot(run: Run) -> None:
    """A promoted run whose snapshot holds no slice, as an older release left it."""
    rollout = replace(run, run_id="old", params={**run.params, "regions": [US]})
    chain = rollout.chain(US)
    figures = {"before": {}, "settings": {"size": 2, "converge_timeout_seconds": 60}, "snapshot": {"size": 1}}
    rollout.ledger.append(chain, Step.SNAPSHOT, figures)
    rollout.ledger.append(chain, Step.TOUCH, {"slot": "step_1", "title": "size 2"})
    rollout.ledger.append(chain, Step.PROMOTED, {"after": {}})


def test_a_region_out_of_reach_is_red_until_it_is_accepted(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2, regions=[AP])
    old_snapshot(run)
    small = without(run, US)
    verdict = roll_back(undoing(small))
    assert (verdict.name, verdict.green) == ("unfinished", False)
    assert world.sizes()[AP] == 1
    assert len(verdict.left_behind) == 1
    assert verdict.left_behind[0].startswith(f"{US} toy: region {US} is not in the estate any more")
    assert "put it back into the estate's file" in verdict.left_behind[0]
    assert standing(run, US) == ["old"]
    dry = undoing(small, "dry", dry_run=True)
    assert "**Out of reach:** toy/us-east-1/toy_rollout--old" in rollback.find_changes(dry)["text"]
    alone = undoing(small, "alone")
    rollback.find_changes(alone)
    assert rollback.conclude(alone, None, []).name == "unfinished"
    accepting = undoing(small, "accept", accept=True)
    assert rollback.find_changes(accepting)["text"].endswith("is **accepted** and closed.")
    assert rollback.anything_to_do(accepting)
    assert roll_back(accepting).green
    assert standing(run, US) == []


def test_what_is_out_of_reach_is_accepted_by_an_approval_alone(run: Run) -> None:
    old_snapshot(run)
    accepting = undoing(without(run, US), accept=True)
    plan = rollback.find_changes(accepting)
    rejected = {"approved": False, "user": "platform-lead", "hash": plan["hash"]}
    verdict = rollback.conclude(accepting, rejected, [])  # every task behind the approval was skipped
    assert (verdict.name, verdict.green) == ("unfinished", False)
    assert verdict.left_behind[0].startswith(f"{US} toy: region {US} is not in the estate any more")
    assert standing(run, US) == ["old"]
    dry = undoing(without(run, US), "dry", accept=True, dry_run=True)
    rollback.find_changes(dry)
    assert rollback.conclude(dry, None, []).message.startswith("dry run: nothing was changed.")


def test_a_region_whose_connections_are_gone_is_out_of_reach(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2)

    def clients(place: Place) -> Any:
        if place.name == US:
            return Without("leases", "Airflow connection 'kubernetes_us_east_1' does not exist: create it")
        return run.clients(place)

    verdict = roll_back(undoing(replace(without(run, US), clients=clients)))
    assert not verdict.green
    assert "Airflow connection 'kubernetes_us_east_1' does not exist" in verdict.left_behind[0]
    assert world.sizes() == {US: 2, EU: 1, AP: 1}


def test_a_lever_that_left_the_code_is_out_of_reach(run: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(run, "manual__1", 2, regions=[AP])
    promoted(replace(run, lever=First()), "manual__2", 3, regions=[AP])
    monkeypatch.delitem(levers.LEVERS, "toy")
    verdict = roll_back(undoing(run))
    assert (verdict.name, verdict.green) == ("unfinished", False)
    assert verdict.left_behind == (
        f"{AP} toy: lever toy is not in the code any more: roll it back with the release that had it, "
        "or name its successor in include/levers RENAMED",
    )
    assert standing(run, lever="first") == []


@pytest.mark.parametrize("choice", ["everything", "first"])
def test_a_renamed_lever_is_undone_under_its_old_name(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    promoted(run, "manual__1", 2, regions=[AP])
    monkeypatch.delitem(levers.LEVERS, "toy")
    monkeypatch.setitem(levers.RENAMED, "toy", "first")
    verdict = roll_back(undoing(run, lever=choice))
    assert (verdict.name, verdict.green) == ("rolled back", True)
    assert world.sizes()[AP] == 1
    assert standing(run, lever="toy") == []


def test_changes_of_a_new_name_are_undone_before_those_of_the_old(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(run, "manual__1", 2, regions=[AP])
    promoted(replace(run, lever=First()), "manual__2", 3, regions=[AP])
    monkeypatch.delitem(levers.LEVERS, "toy")
    monkeypatch.setitem(levers.RENAMED, "toy", "first")
    undo = undoing(run)
    assert roll_back(undo).green
    assert [u.lever for u in rollback.found(undo)] == ["first", "toy"]
    assert world.sizes()[AP] == 1


def test_a_bad_record_of_an_old_run_blocks_that_chain_alone(run: Run, world: World, tmp_path: Path) -> None:
    promoted(run, "manual__1", 2)
    chain = Chain("toy", AP, "toy_rollout", "a_year_ago")
    run.ledger.append(chain, Step.PLAN)
    run.ledger.append(chain, Step.STOPPED, {"where": "x", "reason": "y"})
    spoil(tmp_path, chain, 1, '"plan"', '"plaN"')
    verdict = roll_back(undoing(run))
    assert world.sizes() == {US: 1, EU: 1, AP: 1}
    assert standing(run) == standing(run, US) == []
    assert (verdict.name, verdict.green) == ("unfinished", False)
    assert verdict.left_behind == (
        "nobody knows what stands of a chain: toy/ap-northeast-1/toy_rollout--a_year_ago/000002.json does not follow "
        "from the record before it: a record was changed, added or removed; restore the chain from a backup of the "
        "ledger",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"run_id": 5},
        {"figures": None},
        {"figures": {"order": "first"}},
        {"links": None},
        {"links": []},
        {"step": None},
        {"sequence": "2"},
    ],
)
def test_a_record_of_another_shape_blocks_its_chain_alone(run: Run, tmp_path: Path, wrong: Any) -> None:
    promoted(run, "manual__1", 2, regions=[AP])
    promoted(replace(run, lever=First()), "manual__2", 3, regions=[AP])
    folder = tmp_path / "ledger" / run.chain(AP).path
    for mark in folder.glob("*-*"):
        mark.unlink()
    path = folder / "000002.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong if wrong else wrong))
    verdict = roll_back(undoing(run))
    assert (verdict.name, verdict.green) == ("unfinished", False)
    assert len(verdict.left_behind) == 1
    assert verdict.left_behind[0].startswith(f"nobody knows what stands of a chain: {run.chain(AP).path}")
    assert standing(run, lever="first") == []


@pytest.mark.parametrize(
    ("number", "old", "new"),
    [(2, '"snapshot"', '"snapshoT"'), (2, "{", ""), (3, '"step_1"', '"step_2"')],
    ids=["another step", "half a record", "an edited touch"],
)
def test_a_bad_chain_of_a_change_is_not_restored_and_not_green(
    run: Run, world: World, tmp_path: Path, number: int, old: str, new: str
) -> None:
    promoted(run, "manual__1", 2)
    spoil(tmp_path, Chain("toy", AP, "toy_rollout", "manual__1"), number, old, new)
    verdict = roll_back(undoing(run))
    assert (verdict.name, verdict.green) == ("unfinished", False)
    assert world.sizes() == {US: 1, EU: 1, AP: 2}
    assert any("restore" in line and AP in line for line in verdict.left_behind)


def test_a_lost_record_is_seen_by_its_mark(run: Run, world: World, tmp_path: Path) -> None:
    promoted(run, "manual__1", 2)
    chain = Chain("toy", AP, "toy_rollout", "manual__1")
    (tmp_path / "ledger" / chain.path / "000004.json").rename(tmp_path / "lost.json")
    verdict = roll_back(undoing(run))
    assert not verdict.green
    assert f"{chain.path}/000004.json is missing: restore it from a backup of the ledger" in verdict.message
    assert world.sizes() == {US: 1, EU: 1, AP: 2}


# --- What others changed ----------------------------------------------------------------------------------------------


class Shared(Toy):
    """Its label belongs to others as well: what they changed is left alone, and what nobody can set back stays."""

    def rollback(self, target: Target, snapshot: Mapping[str, Any]) -> Restored:
        restored = super().rollback(target, snapshot)
        return Restored(restored.steps, (Difference("toy label", "theirs", "ours"),))

    def verify_restored(self, target: Target, snapshot: Mapping[str, Any]) -> list[Difference]:
        stuck = target.clients.world.read()["faults"].get("stuck", [])
        found = [Difference("toy label text", "theirs", "ours"), *super().verify_restored(target, snapshot)]
        return [*found, *(Difference("toy colour", "red", "blue") for _ in stuck)]


@pytest.fixture
def shared(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("tests.dags.toy.Toy", Shared)
    promoted(replace(run, lever=Shared()), "manual__1", 2, regions=[AP])
    return run


def last_restored(undo: Run) -> Record:
    return undo.ledger.records(Chain("toy", AP, undo.dag_id, undo.run_id))[-1]


def test_what_others_changed_ends_the_undo_and_is_named(shared: Run) -> None:
    undo = undoing(shared)
    verdict = roll_back(undo)
    assert verdict.green
    assert f"{AP}: changed by others since the snapshot and left alone: toy label: theirs -> ours" in verdict.message
    figures = last_restored(undo).figures
    names = ("complete", "remaining", "others", "accepted")
    assert {name: figures[name] for name in names} == {
        "complete": True, "remaining": [], "others": ["toy label: theirs -> ours"], "accepted": False,
    }  # fmt: skip
    assert standing(shared) == []


def test_what_remains_stands_until_it_is_accepted(shared: Run, world: World) -> None:
    world.change(lambda w: w["faults"].update(stuck=[1]))
    verdict = roll_back(undoing(shared))
    assert not verdict.green
    assert verdict.left_behind == (f"{AP} toy: not back yet: toy colour: red -> blue",)
    assert verdict.message.endswith("Or add accept to close what others changed or what can't come back.")
    assert standing(shared) == ["manual__1"]
    accepting = undoing(shared, "accept", accept=True)
    verdict = roll_back(accepting)
    assert verdict.green
    assert f"{AP} toy: accepted and closed: toy colour: red -> blue; toy label: theirs -> ours" in verdict.message
    assert last_restored(accepting).figures["accepted"] is True
    assert last_restored(accepting).figures["complete"] is False
    assert standing(shared) == []


def test_an_undo_that_was_not_even_tried_is_not_accepted(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2, regions=[AP])
    world.change(lambda w: w["faults"].update({"rollback refused": [AP]}))
    verdict = roll_back(undoing(run, accept=True))
    assert not verdict.green
    assert verdict.left_behind == (f"{AP} toy: not back yet: toy size: 2 -> 1",)
    assert standing(run) == ["manual__1"]


# --- An estate that can't be read -------------------------------------------------------------------------------------


def test_the_estate_on_record_is_made_of_the_slices_in_the_snapshots(run: Run) -> None:
    assert rollback.estate_on_record(run.ledger) is None
    promoted(run, "manual__1", 2)
    assert roll_back(undoing(run)).green  # also what no longer stands: the locks are yet to be given up
    estate = rollback.estate_on_record(run.ledger)
    assert estate is not None
    assert sorted(estate.regions) == [AP, US]
    assert estate.region(US) == run.estate.region(US)
    assert json.loads(estate.model_dump_json())["governance"]["approvers"] == ["platform-lead"]


def test_a_dry_run_with_something_in_the_way_is_not_green(run: Run) -> None:
    promoted(run, "manual__1", 2, regions=[AP])
    dry = undoing(run, dry_run=True)
    rollback.find_changes(dry)
    assert rollback.conclude(dry, None, []).message == (
        "dry run: nothing was changed. Next: trigger again with dry_run off."
    )
    old_snapshot(run)
    second = undoing(without(run, US), "second", dry_run=True)
    rollback.find_changes(second)
    verdict = rollback.conclude(second, None, [])
    assert (verdict.name, verdict.green) == ("dry run", False)
    assert verdict.message.startswith("dry run: nothing was changed, and a rollback would leave behind:")


def test_nothing_is_called_restored_that_was_rejected(run: Run) -> None:
    promoted(run, "manual__1", 2)
    undo = undoing(run)
    rollback.find_changes(undo)
    verdict = rollback.conclude(undo, {"approved": False, "user": "platform-lead"}, [])
    assert (verdict.name, verdict.green) == ("rejected", False)
    assert Lock(run.clients(Place.named(AP)).leases, AP, undo.holder).release() is False
