"""The steps of the rollback DAG: what is found, in which order it is undone, and what is never called green."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from include import levers
from include.rollout import rollback
from include.rollout.ledger import WHOLE_RUN, Chain, Step, last
from include.rollout.lever import Refused, Restored, Target
from include.rollout.lock import Lock, holder_of
from include.rollout.place import Place
from include.rollout.steps import NotWanted, OnRecord, Run
from tests.dags.toy import Toy, World
from tests.unit.rollout.rollback_world import ANSWER, old_snapshot, standing, without
from tests.unit.rollout.toy_runs import (
    AP,
    EU,
    US,
    First,
    Second,
    promoted,
    roll_back,
    undoing,
)

pytestmark = pytest.mark.usefixtures("toy_levers")


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
    undo = undoing(run, regions=[AP])
    found = rollback.find_changes(undo)
    described = (
        f"### {AP}: toy of toy_rollout/manual__2 (promoted, {times[1]})\n"
        f"### {AP}: toy of toy_rollout/manual__1 (promoted, {times[0]})\n\n- set back `toy size: 3 -> 1`"
    )
    plan = last(undo.records(WHOLE_RUN), Step.PLAN)
    assert plan is not None
    assert plan.figures["text"] == described
    head, _, rest = found["text"].partition("\n\n| lever and code |")
    assert head == (
        f"**Undo {found['hash']}:** toy.\n\n"
        "| lever | in | saving a month by the simulation of 30 days | undo, and as rehearsed |\n|---|---|---|---|\n"
        f"| toy | {AP} | not known: nothing that simulates toy is connected | instant: not rehearsed |"
    )
    assert rest.endswith(f" |\n\n{described}")


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
