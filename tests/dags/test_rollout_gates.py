"""Gates end to end: a failed one is undone; an unknown one is judged again or undone, as the verdict says."""

from __future__ import annotations

import json

from include.rollout.ledger import Ledger
from tests.dags.toy import World, clients_of
from tests.dags.toy_dags import (
    AP,
    EU,
    QUICK,
    START,
    US,
    Runner,
    estate_of,
    holders,
    records,
    rollback_dag,
    rollout_dag,
    set_fault,
    steps,
    when_task_begins,
)


def test_a_gate_that_fails_in_the_canary_stops_there(world: World, ledger: Ledger, run_dag: Runner) -> None:
    set_fault(world, "unhealthy", [f"{AP} step_1"])
    run = run_dag(rollout_dag(world, estate_of(AP, US)), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert run.verdict["message"] == (
        f"rolled back: {AP}: gate of size 2 is fail: health: 0.5 ratio is not >= 0.99 ratio (toy; 100 samples)\n"
        f"Restored: {AP}.\nLeft behind: nothing. Next: remove the reason and trigger a new run."
    )
    assert world.events == [f"apply {AP} step_1", f"rollback {AP}"]
    assert world.sizes() == START
    assert holders(world) == {AP: None, US: None}
    assert steps(ledger, run, AP)[-4:] == ["gate", "undo", "undone", "restored"]
    assert records(ledger, run, AP)[-1].figures["complete"] is True


def test_a_gate_that_fails_later_undoes_every_touched_region(world: World, run_dag: Runner) -> None:
    set_fault(world, "unhealthy", [f"{US} step_1"])
    run = run_dag(rollout_dag(world), QUICK | {"regions": [AP, US]})
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert world.events == [f"apply {AP} step_1", f"apply {US} step_1", f"rollback {US}", f"rollback {AP}"]
    assert world.sizes() == START
    assert run.ran("undo_changes") == ["rollback.ap_northeast_1.undo_changes", "rollback.us_east_1.undo_changes"]
    assert run.tasks["rollback.eu_central_1.undo_changes"] == "skipped"
    assert run.tasks["eu_central_1.take_snapshot"] == "skipped"


def test_a_gate_that_stays_unknown_is_judged_again_and_promoted(world: World, ledger: Ledger, run_dag: Runner) -> None:
    from tests.dags import conftest

    set_fault(world, "no data", [f"{AP} step_1"])
    estate = estate_of(AP, US)
    run = run_dag(rollout_dag(world, estate), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "unknown")
    assert world.sizes() == {US: 1, EU: 1, AP: 2}
    assert world.events == [f"apply {AP} step_1"]
    holder = f"toy_rollout/{run.run_id}"
    assert holders(world) == {AP: holder, US: None}  # nothing was written to US yet
    lines = run.verdict["message"].splitlines()
    assert lines[:4] == [
        f"unknown: {AP}: gate of size 2 is unknown: health: no data",
        "Nothing was promoted. The change is kept, and the lock where it stands.",
        "Left behind:",
        f"{AP}: written to, neither promoted nor rolled back",
    ]
    rollback = json.dumps({"lever": "toy", "regions": [AP], "dry_run": False})
    assert lines[5:] == [f"Or undo: airflow dags trigger rollback --conf '{rollback}'"]
    judge_again, _, body = lines[4].partition(" in the UI or by POST /api/v2/dags/toy_rollout/clearTaskInstances ")
    assert judge_again == (
        "Next, once the data is there: judge again. Clear ap_northeast_1.step_1.judge_gates with everything downstream,"
    )

    # The verdict's own call judges again; what comes after a gate that passes now follows as in any run.
    world.change(lambda w: w["faults"].clear())
    cleared = conftest.clear("toy_rollout", json.loads(body))
    assert {"ap_northeast_1.step_1.judge_gates", "us_east_1.take_snapshot", "choose_ending", "verdict"} <= {*cleared}
    assert "ap_northeast_1.step_1.apply_stage" not in cleared
    again = run_dag(rollout_dag(world, estate), {}, goes_on=run.run_id)
    assert (again.run_id, again.state, again.verdict["verdict"]) == (run.run_id, "success", "promoted")
    assert world.events == [f"apply {AP} step_1", f"apply {US} step_1"]
    assert holders(world) == {AP: None, US: None}
    assert steps(ledger, run, AP) == ["plan", "snapshot", "touch", "applied", "gate", "gate", "promoted"]


def test_a_gate_that_stays_unknown_is_undone_by_the_verdicts_command(world: World, run_dag: Runner) -> None:
    set_fault(world, "no data", [f"{AP} step_1"])
    estate = estate_of(AP, US)
    run = run_dag(rollout_dag(world, estate), QUICK)
    assert run.verdict["verdict"] == "unknown"
    conf = run.verdict["message"].partition("airflow dags trigger rollback --conf '")[2].removesuffix("'")
    undone = run_dag(rollback_dag(world, estate), json.loads(conf))
    assert (undone.state, undone.verdict["verdict"]) == ("success", "rolled back")
    assert world.sizes() == START
    assert holders(world) == {AP: None, US: None}


def test_a_gate_that_was_marked_by_hand_is_no_gate_that_passed(world: World, run_dag: Runner) -> None:
    set_fault(world, "unhealthy", [f"{AP} step_1"])
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK | {"size": 3}, marked=r".*\.step_1\.judge_gates")
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert (
        f"{AP}: size 2 has not passed its gates: a task that was marked by hand passes none" in run.verdict["message"]
    )
    assert world.events == [f"apply {AP} step_1", f"rollback {AP}"]
    assert world.sizes() == START


def test_an_emergency_rollback_stops_the_rollout_that_soaks(world: World, ledger: Ledger, run_dag: Runner) -> None:
    """It undoes the canary and is gone again, its locks are free: the rollout must neither judge nor go on."""
    from include.rollout import steps as engine
    from tests.dags.toy import Toy

    estate, make = estate_of(AP, US), clients_of(world)

    def undo() -> None:
        (chain,) = ledger.chains("toy", AP)
        snapshot = ledger.snapshot(chain)
        assert snapshot is not None
        emergency = engine.Run(Toy(), estate, {}, "rollback", "undo", ledger, lambda r: make(r, estate), lambda _: None)
        for region in (AP, US):
            emergency.lock(region).take_over()
        engine.undo_changes(emergency, AP, snapshot)
        engine.verify_restored(emergency, AP, snapshot)
        engine.unlock_places(emergency, [AP, US])

    clients = when_task_begins(world, "ap_northeast_1.step_1.judge_gates", undo)
    run = run_dag(rollout_dag(world, estate, clients), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert run.verdict["message"] == (
        f"rolled back: {AP}: ap_northeast_1.step_1.judge_gates: {AP}: the lock was released; this run writes nothing "
        f"more there: rollback/undo has undone its change\n{AP}: undone by rollback/undo.\n"
        "Left behind: nothing. Next: remove the reason and trigger a new run."
    )
    assert world.events == [f"apply {AP} step_1", f"rollback {AP}"]
    assert world.sizes() == START
    assert run.tasks["us_east_1.take_snapshot"] == "upstream_failed"
