"""The rollback DAG on what a rollout left."""

from __future__ import annotations

from include.rollout.ledger import Ledger
from tests.dags.toy import World
from tests.dags.toy_dags import (
    AP,
    EU,
    QUICK,
    START,
    US,
    Runner,
    estate_of,
    holders,
    rollback_dag,
    rollout_dag,
    set_fault,
    steps,
)


def test_the_rollback_dag_restores_a_promoted_run(world: World, ledger: Ledger, run_dag: Runner) -> None:
    estate = estate_of(AP, US)
    rolled_out = run_dag(rollout_dag(world, estate), QUICK)
    assert world.sizes() == {US: 2, EU: 1, AP: 2}

    dry = run_dag(rollback_dag(world, estate), {"lever": "toy"})
    assert (dry.state, dry.verdict["verdict"]) == ("success", "dry run")
    assert world.sizes() == {US: 2, EU: 1, AP: 2}

    rejected = run_dag(rollback_dag(world, estate), {"lever": "toy", "dry_run": False}, answer="Reject")
    assert (rejected.state, rejected.verdict["verdict"]) == ("failed", "rejected")
    assert world.sizes() == {US: 2, EU: 1, AP: 2}

    undone = run_dag(rollback_dag(world, estate), {"lever": "toy", "run": rolled_out.run_id, "dry_run": False})
    assert (undone.state, undone.verdict["verdict"]) == ("success", "rolled back")
    assert world.sizes() == START
    assert holders(world) == {AP: None, US: None}
    assert steps(ledger, undone, AP, "rollback") == ["undo", "undone", "restored"]

    again = run_dag(rollback_dag(world, estate), {"lever": "toy", "dry_run": False})
    assert (again.state, again.verdict["verdict"]) == ("success", "nothing to undo")


def test_an_emergency_needs_a_reason_and_no_approval(world: World, run_dag: Runner) -> None:
    estate = estate_of(AP)
    run_dag(rollout_dag(world, estate), QUICK)

    refused = run_dag(rollback_dag(world, estate), {"emergency": True, "dry_run": False}, answer="Reject")
    assert (refused.state, refused.verdict["verdict"]) == ("failed", "refused")
    assert "an emergency rollback skips the approval and needs one" in refused.verdict["message"]
    assert world.sizes()[AP] == 2

    # A rollout that still holds the lock loses it.
    world.change(lambda w: w["leases"][AP]["spec"].update(holderIdentity="toy_rollout/running"))
    conf = {"emergency": True, "reason": "errors", "dry_run": False}
    undone = run_dag(rollback_dag(world, estate), conf, answer="Reject")
    assert (undone.state, undone.verdict["verdict"]) == ("success", "rolled back")
    assert undone.tasks["await_approval"] == "skipped"
    assert world.sizes() == START


def test_a_rollback_that_fails_in_one_region_names_what_is_left(world: World, run_dag: Runner) -> None:
    estate = estate_of(AP, US)
    run_dag(rollout_dag(world, estate), QUICK)
    set_fault(world, "rollback refused", [AP])
    run = run_dag(rollback_dag(world, estate), {"lever": "toy", "dry_run": False})
    assert (run.state, run.verdict["verdict"]) == ("failed", "unfinished")
    assert run.verdict["left_behind"] == [f"{AP} toy: not back yet: toy size: 2 -> 1"]
    assert world.sizes() == {US: 1, EU: 1, AP: 2}
