"""What a rollback can not undo: out of reach, bad chains, and what others changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from include import levers
from include.rollout import rollback
from include.rollout.ledger import Chain, Record, Step
from include.rollout.lever import Difference, Restored, Target
from include.rollout.place import Place
from include.rollout.steps import Run
from tests.dags.toy import Toy, World
from tests.unit.rollout.rollback_world import old_snapshot, standing, without
from tests.unit.rollout.toy_runs import (
    AP,
    EU,
    US,
    First,
    Without,
    promoted,
    roll_back,
    undoing,
)

pytestmark = pytest.mark.usefixtures("toy_levers")


def spoil(tmp_path: Path, chain: Chain, number: int, old: str, new: str) -> None:
    path = tmp_path / "ledger" / chain.path / f"{number:06}.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_region_that_left_the_estate_is_undone_by_its_snapshots_slice(run: Run, world: World) -> None:
    promoted(run, "manual__1", 2)
    verdict = roll_back(undoing(without(run, US)))
    assert verdict.green
    assert world.sizes() == {US: 1, EU: 1, AP: 1}


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
