"""A lever that acts once for the estate: its chain, its lock in the ledger's store, its undo without a cluster."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include import levers
from include.clients.storage import Folder
from include.estate import Estate
from include.rollout import rollback, steps
from include.rollout.leases import StoreLeases
from include.rollout.ledger import Ledger
from include.rollout.lever import Refused
from include.rollout.lock import LEASE, LockHeld, holder_of
from include.rollout.place import DEVICES, ESTATE_WIDE, Place
from include.rollout.steps import Run
from tests.dags.toy import Edge, World
from tests.unit.rollout.toy_runs import AP, APPROVED, US, Clock, promoted, roll_back, roll_out, start, undoing


@pytest.fixture
def edge(run: Run, world: World, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of the edge's toy lever: whoever asks for a region's clients fails the test."""
    monkeypatch.setitem(levers.LEVERS, "toy", "tests.dags.toy:Toy")
    monkeypatch.setitem(levers.LEVERS, "edge", "tests.dags.toy:Edge")
    world.change(lambda w: w["regions"].update({ESTATE_WIDE: {"size": 1}}))
    store = Folder(tmp_path / "ledger")

    def clients(place: Place) -> Any:
        if place.name != ESTATE_WIDE:
            return run.clients(place)
        return SimpleNamespace(leases=StoreLeases(store, place.name), location=lambda _: str(world.path))

    params = {"dry_run": False, "size": 2, "soak_seconds": 60, "gate_wait_seconds": 30}
    return replace(
        run, lever=Edge(), dag_id="edge_rollout", params=params, ledger=Ledger(store, clock), clients=clients
    )


def holder(edge: Run) -> str:
    return holder_of(edge.clients(Place.named(ESTATE_WIDE)).leases.get(LEASE))


def test_it_is_planned_locked_written_and_promoted_as_one_place(edge: Run, world: World, clock: Clock) -> None:
    steps.check_preflight(edge)
    plan = steps.make_plan(edge)
    assert "\n\n### estate-wide: edge\n\n- `toy size: 1 -> 2`\n" in plan["text"]
    start(edge)
    assert holder(edge) == "edge_rollout/manual__1"
    steps.take_snapshot(edge, ESTATE_WIDE)
    roll_out(edge, ESTATE_WIDE, clock, "step_1")
    steps.decide(edge)
    steps.promote(edge)
    steps.release_locks(edge)
    verdict = steps.conclude(edge, APPROVED, [])
    assert verdict.message == "promoted in estate-wide: every gate of every stage passed."
    assert holder(edge) == ""
    assert [change.chain.path for change in edge.ledger.survey().standing] == [
        "edge/estate-wide/edge_rollout--manual__1"
    ]
    whole = [record.step for record in edge.records("estate")]
    assert whole == ["preflight", "plan", "preflight", "plan", "approval", "decision", "verdict"]
    assert world.events == ["apply estate-wide step_1"]


def test_the_snapshot_holds_the_whole_estate_and_an_undo_uses_it(edge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(edge, "manual__1", 2)
    snapshot = edge.ledger.snapshot(replace(edge, run_id="manual__1").chain(ESTATE_WIDE))
    assert snapshot is not None
    assert Estate.model_validate(snapshot.figures["estate"]) == edge.estate
    assert rollback.estate_on_record(edge.ledger) == edge.estate


def test_the_estate_on_record_keeps_the_canary_that_reaches_the_global_services(edge: Run, run: Run) -> None:
    promoted(edge, "manual__1", 2)
    promoted(replace(run, ledger=edge.ledger), "manual__2", 2, regions=[US])  # a newer slice, of one region alone
    found = rollback.estate_on_record(edge.ledger)
    assert found is not None
    assert found.ordered_regions()[0] == AP
    assert found.global_aws() == edge.estate.global_aws() == "aws_ap_northeast_1"


def test_it_is_undone_without_any_cluster(edge: Run, world: World) -> None:
    promoted(edge, "manual__1", 2)
    undo = undoing(edge)
    text = rollback.find_changes(undo)["text"]
    assert "### estate-wide: edge of edge_rollout/manual__1 (promoted" in text
    assert "- set back `toy size: 2 -> 1`" in text
    verdict = roll_back(undo)
    assert verdict.green
    assert verdict.message == "rolled back and verified: estate-wide edge."
    assert world.sizes()[ESTATE_WIDE] == 1
    assert holder(edge) == ""


def test_the_verdicts_command_names_it_and_the_rollback_takes_it(edge: Run, world: World, clock: Clock) -> None:
    world.change(
        lambda w: w["faults"].update({"unhealthy": ["estate-wide step_1"], "rollback refused": ["estate-wide"]})
    )
    start(edge)
    steps.take_snapshot(edge, ESTATE_WIDE)
    steps.apply_stage(edge, ESTATE_WIDE, "step_1")
    clock.move(61)
    with pytest.raises(Refused, match="estate-wide: gate of size 2 is fail"):
        steps.judge_gates(edge, ESTATE_WIDE, "step_1")
    steps.decide(edge)
    with pytest.raises(Refused, match="does not let go"):
        steps.undo_changes(edge, ESTATE_WIDE, steps.own_snapshot(edge, ESTATE_WIDE))
    verdict = steps.conclude(edge, APPROVED, ["undo_changes"])
    command = verdict.message.partition("airflow dags trigger rollback --conf '")[2].removesuffix("'")
    assert json.loads(command) == {"lever": "edge", "regions": ["estate-wide"], "dry_run": False}
    world.change(lambda w: w["faults"].clear())
    assert roll_back(undoing(edge, **json.loads(command))).green
    assert world.sizes()[ESTATE_WIDE] == 1


def test_an_emergency_locks_it_as_well_as_every_region(edge: Run) -> None:
    start(edge)
    undo = undoing(edge, emergency=True, reason="errors")
    rollback.find_changes(undo)
    rollback.take_locks(undo, None)
    approval = undo.ledger.records(undo.chain())[-1]
    assert approval.figures["locked"] == [AP, DEVICES, ESTATE_WIDE, "eu-central-1", US]
    assert approval.figures["taken_over_from"] == {ESTATE_WIDE: "edge_rollout/manual__1"}
    with pytest.raises(LockHeld, match="estate-wide: rollback/undo has taken the lock over"):
        steps.take_snapshot(edge, ESTATE_WIDE)


def test_an_emergency_locks_only_places_where_a_lever_acts(edge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(levers.LEVERS, "edge")
    kinds = levers.kinds()
    monkeypatch.setattr(levers, "kinds", lambda: kinds - {Place.named(ESTATE_WIDE).kind})
    undo = undoing(edge, emergency=True, reason="errors")
    rollback.find_changes(undo)
    rollback.take_locks(undo, None)
    assert undo.ledger.records(undo.chain())[-1].figures["locked"] == [AP, DEVICES, "eu-central-1", US]
