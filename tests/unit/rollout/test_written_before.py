"""A ledger of the release before places (written_before/, made by running it) is read, gone on with and undone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from include import levers
from include.clients.storage import Folder
from include.completion.history import History
from include.rollout import rollback
from include.rollout.ledger import WHOLE_RUN, Chain, Ledger, last
from include.rollout.lever import Plan
from include.rollout.steps import Run
from tests.dags.toy import World
from tests.unit.rollout.toy_runs import AP, EU, US, Clock, roll_back, undoing

BEFORE = Path(__file__).parent / "written_before"
FIRST, SECOND = "manual__1", "manual__2026-11-24T11:00:00+00:00"


@pytest.fixture
def run_before(run: Run, world: World, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run on a copy of the old ledger, in the world as that release left it."""
    monkeypatch.setitem(levers.LEVERS, "toy", "tests.dags.toy:Toy")
    shutil.copytree(BEFORE, tmp_path / "before")
    sizes = {US: 3, EU: 1, AP: 3}
    world.change(lambda w: w["regions"].update({region: {"size": size} for region, size in sizes.items()}))
    clock.move(24 * 3600)
    return replace(run, ledger=Ledger(Folder(tmp_path / "before"), clock))


def test_what_stands_is_known_by_marks_and_by_records_alike(run_before: Run, tmp_path: Path) -> None:
    expected = [(AP, FIRST, True), (AP, "cut", False), (US, FIRST, True), (US, SECOND, True)]
    for _ in range(2):
        survey = run_before.ledger.survey()
        found = sorted((change.chain.place, change.chain.run_id, change.promoted) for change in survey.standing)
        assert found == sorted(expected)
        assert (survey.bad, survey.places) == ({}, frozenset({AP, US}))
        for mark in (tmp_path / "before").rglob("00*-*"):  # the second time as a release without marks would leave it
            mark.unlink()
    assert run_before.ledger.audit() == {}


def test_every_record_is_read_and_says_the_same_in_the_form_of_today(run_before: Run) -> None:
    files = sorted(BEFORE.rglob("*.json"))
    assert len(files) == 48
    for file in files:
        lever, place, run = file.relative_to(BEFORE).parts[:3]
        (chain,) = [c for c in run_before.ledger.chains(lever, place) if c.path.endswith(run)]
        record = run_before.ledger.records(chain)[int(file.stem) - 1]
        assert (record.lever, record.place) == (lever, place)
        assert json.loads(record.encode()) == json.loads(file.read_bytes())
        assert (record.key, record.signature) == ("", "")


def test_a_plan_on_record_is_the_plan_that_was_approved(run_before: Run) -> None:
    offered = last(run_before.ledger.records(Chain("toy", WHOLE_RUN, "toy_rollout", FIRST)), "plan")
    confirmed = last(run_before.ledger.records(Chain("toy", AP, "toy_rollout", FIRST)), "plan")
    assert offered is not None
    assert confirmed is not None
    plan = Plan.from_json(offered.figures["plans"][AP])
    assert (plan.place, plan.hash()) == (AP, confirmed.figures["hash"])


def test_everything_of_it_is_undone(run_before: Run, world: World) -> None:
    undo = undoing(run_before)
    assert roll_back(undo).green
    assert world.sizes() == {US: 1, EU: 1, AP: 1}
    assert run_before.ledger.survey().standing == ()
    assert run_before.ledger.audit() == {}
    assert [(u.place, u.chain.run_id) for u in rollback.found(undo)] == [
        (AP, "cut"), (AP, FIRST), (US, SECOND), (US, FIRST)
    ]  # fmt: skip


def test_a_report_reads_it(run_before: Run) -> None:
    history = History.read(run_before.ledger, ["toy"], [AP, US])
    outcomes = [(run.region, run.run, run.outcome) for run in history.region_runs()]
    assert (AP, "toy_rollout/cut", "unfinished") in outcomes
    assert (US, f"toy_rollout/{SECOND}", "promoted") in outcomes
