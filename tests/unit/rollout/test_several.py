"""Several levers in one run, without Airflow: what a mark by hand, a new plan or a failed unlock must not change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from include.clients.storage import Folder
from include.rollout import several, steps
from include.rollout.ledger import Ledger
from include.rollout.lever import Refused
from include.rollout.lock import LockHeld
from include.rollout.place import ESTATE_WIDE
from include.rollout.several import Several
from include.rollout.steps import NotWanted, OnRecord, Run
from tests.dags.several_levers import DAG_ID, QUICK, Alpha, Beta, Gamma, make_worlds, set_fault, sizes
from tests.dags.toy import World, clients_of
from tests.dags.toy_dags import AP, estate_of
from tests.unit.rollout.toy_runs import APPROVED, Clock, roll_out

UNHEALTHY = [f"{ESTATE_WIDE} step_1"]


@pytest.fixture
def locks(tmp_path: Path) -> World:
    return make_worlds(tmp_path)


@pytest.fixture
def toys(locks: World, tmp_path: Path, clock: Clock) -> Several:
    estate, make = estate_of(AP), clients_of(locks)
    run = Run(
        Alpha(), estate, {**QUICK, "regions": [AP]}, DAG_ID, "manual__1", Ledger(Folder(tmp_path / "ledger"), clock),
        lambda place: make(place, estate), lambda _: None, clock=clock,
    )  # fmt: skip
    return Several.of(run, [Alpha(), Beta(), Gamma()])


def approve(toys: Several) -> None:
    plan = several.make_plan(toys)
    several.record_answer(toys, {**APPROVED, "hash": plan["hash"]})
    several.lock_places(toys)
    several.confirm_unchanged(toys)


def carry_out(toys: Several, run: Run, clock: Clock) -> None:
    several.begin(toys, run)
    for place in run.places:
        steps.take_snapshot(run, place)
        roll_out(run, place, clock, "step_1")


def promote(toys: Several, run: Run, clock: Clock) -> None:
    carry_out(toys, run, clock)
    assert steps.decide(run)["promote"] is True
    steps.promote(run)


def test_a_failed_gate_is_not_promoted_although_the_decision_was_marked_by_hand(
    toys: Several, locks: World, clock: Clock
) -> None:
    alpha, beta, _ = toys.runs
    set_fault(locks, "alpha", "unhealthy", UNHEALTHY)
    approve(toys)
    with pytest.raises(OnRecord):
        carry_out(toys, alpha, clock)
    with pytest.raises(Refused, match=r"not promoted: .* gate of size 2 is fail: .* clear choose_ending"):
        steps.promote(alpha)
    with pytest.raises(NotWanted, match="alpha is not promoted: beta does not begin"):
        several.begin(toys, beta)
    assert several.conclude(toys, []).green is False


def test_gates_that_passed_are_not_promoted_without_a_decision_on_record(toys: Several, clock: Clock) -> None:
    alpha = toys.runs[0]
    approve(toys)
    carry_out(toys, alpha, clock)
    with pytest.raises(Refused, match="not promoted: no decision is on record"):
        steps.promote(alpha)
    assert steps.decide(alpha)["promote"] is True
    steps.promote(alpha)


def test_a_new_plan_without_steps_does_not_make_a_lever_done_whose_undo_is_unfinished(
    toys: Several, locks: World, clock: Clock
) -> None:
    alpha, beta, _ = toys.runs
    set_fault(locks, "alpha", "unhealthy", UNHEALTHY)
    approve(toys)
    with pytest.raises(OnRecord):
        carry_out(toys, alpha, clock)
    assert steps.decide(alpha)["touched"] == [ESTATE_WIDE]
    approve(toys)  # the change stands, so that a plan made now has nothing to do
    assert several.nothing_to_do(alpha)
    with pytest.raises(NotWanted, match="alpha is not promoted: beta does not begin"):
        several.begin(toys, beta)
    verdict = several.conclude(toys, [])
    assert (verdict.green, sizes(locks)["beta"]) == (False, [1])


def test_a_lever_that_was_promoted_stays_done_when_its_new_plan_has_no_steps(toys: Several, clock: Clock) -> None:
    alpha, beta, _ = toys.runs
    approve(toys)
    promote(toys, alpha, clock)
    approve(toys)
    several.begin(toys, beta)


@pytest.mark.parametrize("on_record", [True, False])
def test_a_run_whose_unlocking_failed_is_not_green(toys: Several, clock: Clock, on_record: bool) -> None:
    approve(toys)
    for run in toys.runs:
        promote(toys, run, clock)
    if on_record:
        toys.record("estate", "stopped", {"where": "release_locks", "reason": "us-east-1: 503"})
    verdict = several.conclude(toys, ["release_locks"])
    assert (verdict.name, verdict.green) == ("unfinished", False)
    why = "release_locks: us-east-1: 503" if on_record else "read the log of release_locks"
    assert f"unfinished: {why}\nNext: clear release_locks with everything downstream." in verdict.message
    assert several.conclude(toys, []).green is True


def _other(toys: Several) -> Run:
    return replace(toys.runs[0], run_id="manual__2")


@pytest.mark.parametrize("kept", [True, False])
def test_a_lock_that_waits_for_people_is_kept_when_another_place_is_locked_by_somebody_else(
    toys: Several, kept: bool
) -> None:
    """The places are taken in order: what stood in the first must not become anybody's when the second is refused."""
    first, second = sorted((AP, ESTATE_WIDE))
    ours, other = toys.whole, _other(toys)
    ours.lock(first).acquire(lambda _: None)
    if kept:
        ours.lock(first).keep()
    other.lock(second).acquire(lambda _: None)
    with pytest.raises(LockHeld):
        steps.acquire(ours, [AP, ESTATE_WIDE], [first])
    ended: Callable[[str], bool | None] = lambda _: True  # noqa: E731 - what Airflow says of a run that is over
    if kept:
        with pytest.raises(LockHeld, match="its gates are unknown"):
            other.lock(first).acquire(ended)
    else:
        assert other.lock(first).acquire(ended) == ours.holder
