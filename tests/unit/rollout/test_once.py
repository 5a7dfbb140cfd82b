"""A change that a recurring job makes: cut anywhere and tried again, and never against somebody who has undone it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from include import levers
from include.rollout import once, steps
from include.rollout.lever import Plan, Refused, Stage, Target
from include.rollout.lock import holder_of
from include.rollout.steps import Run
from tests.dags.toy import Toy, World
from tests.unit.rollout.toy_runs import AP, roll_back, undoing

HASH = "0123456789ab"


class OneStep(Toy):
    """The toy in one stage, as a recurring job's lever has it."""

    def plan(self, target: Target) -> Plan:
        plan = super().plan(target)
        return replace(plan, stages=plan.stages[-1:])


class CutAfterTheWrite(OneStep):
    """Its process is killed before it can say what it wrote."""

    def apply(self, target: Target, stage: Stage) -> dict[str, Any]:
        super().apply(target, stage)
        raise ConnectionError("the process was killed")


@pytest.fixture
def guard(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """An approved run of the job."""
    monkeypatch.setitem(levers.LEVERS, "toy", f"{__name__}:OneStep")
    params: Mapping[str, Any] = {"size": 2, "converge_timeout_seconds": 60}
    guard = replace(run, lever=OneStep(), params=params, dag_id="cost_guard", run_id="scheduled__1")
    steps.record_answer(guard, {"approved": True, "user": "platform-lead", "hash": HASH})
    return guard


def test_a_change_that_was_cut_after_its_write_is_told_and_promoted_by_the_next_try(guard: Run, world: World) -> None:
    with pytest.raises(ConnectionError):
        once.change(replace(guard, lever=CutAfterTheWrite()), AP, HASH)
    assert world.sizes()[AP] == 2
    assert holder_of(world.read()["leases"][AP]) == ""
    assert once.change(guard, AP, HASH) == {"size": 2}
    (change,) = guard.ledger.standing("toy", AP)
    assert (change.promoted, change.snapshot.figures["snapshot"]) == (True, {"size": 1})


def test_what_is_as_wanted_before_leaves_no_change(guard: Run, world: World) -> None:
    world.change(lambda w: w["regions"][AP].update(size=2))
    assert once.change(guard, AP, HASH) == {}
    assert guard.records(AP) == []


@pytest.mark.parametrize("lever", [OneStep(), CutAfterTheWrite()])
def test_a_change_that_was_undone_is_not_made_again_by_the_next_try(guard: Run, world: World, lever: Toy) -> None:
    with contextlib.suppress(ConnectionError):
        once.change(replace(guard, lever=lever), AP, HASH)
    assert roll_back(undoing(guard, emergency=True, reason="errors")).green
    with pytest.raises(Refused, match=f"{AP}: rollback/undo has undone this change; nothing more is done"):
        once.change(guard, AP, HASH)
    assert world.sizes()[AP] == 1
