"""The tasks of one lever in a rollout: its places, their slots with soak and gates, then promotion or undo."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import TaskGroup, TriggerRule, task

from include.estate import Lead
from include.rollout import steps
from include.rollout.lever import acts_in
from include.rollout.place import places_of
from include.rollout.steps import Run
from include.wiring.tasks import WRITE_LIMIT, Engine, group_id, sensor_task, step_task


def carry_out(engine: Engine, confirm: Any, choose: Callable[[Run], list[str]]) -> tuple[Any, list[Any]]:
    """Wire the lever of ``engine`` from its confirmed plan to its end, into the current group.

    ``choose`` gives the tasks that follow. Returns the task ``promote`` and the last task of each place's undo.
    """
    assert engine.lever is not None
    assert engine.estate is not None
    places = places_of(acts_in(engine.lever), engine.estate)
    decide = step_task(
        engine, choose, task_id="choose_ending", decorator=task.branch, trigger_rule=TriggerRule.ALL_DONE
    )
    promote = step_task(engine, steps.promote)
    _every_place(engine, places, confirm) >> decide >> promote
    return promote, _undo_every_place(engine, places, decide)


def choose_ending(run: Run, group: str = "") -> list[str]:
    """Promote, roll back the touched places, or leave everything as it is while a gate is unknown."""
    decision = steps.decide(run)
    if decision["promote"]:
        return [f"{group}promote"]
    if decision.get("unknown"):
        return []
    return [f"{group}rollback.{group_id(place)}.undo_changes" for place in decision["touched"]]


def _every_place(engine: Engine, places: Sequence[str], confirm: Any) -> list[Any]:
    """Roll out in the canary, which is the first, then in the other places in parallel. Returns their last gates."""
    assert engine.estate is not None
    by_stage = engine.estate.governance.canary_lead is Lead.STAGE
    snapshot, canary = _place(engine, places[0])
    # The others' snapshots are no older than need be. A canary that is not selected skips its tasks: nobody waits.
    first, *later = canary if by_stage else canary[-1:]
    confirm >> snapshot
    last_gates = [canary[-1]]
    for place in places[1:]:
        snapshot, gates = _place(engine, place, later)
        [confirm, first] >> snapshot
        last_gates.append(gates[-1])
    return last_gates


def _undo_every_place(engine: Engine, places: Sequence[str], decide: Any) -> list[Any]:
    """Places touched in parallel are undone in parallel, then the canary that was touched first."""
    undone: list[Any] = []
    with TaskGroup("rollback", tooltip="Undo what this run touched"):
        for place in reversed(places):
            undo, verify = _undo(engine, place)
            decide >> undo
            if place == places[0] and undone:
                undone >> undo
            undone.append(verify)
    return undone


def _place(engine: Engine, place: str, ahead: Sequence[Any] = ()) -> tuple[Any, list[Any]]:
    """Snapshot, then every slot in order; ``ahead``: the canary's gates of all slots but the first, to wait for.

    Returns the snapshot task and each slot's gate.
    """
    assert engine.lever is not None
    go_on = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
    with TaskGroup(group_id(place), tooltip=f"Roll out in {place}"):
        snapshot = step_task(engine, steps.take_snapshot, place, place=place, trigger_rule=go_on)
        gates: list[Any] = []
        for slot in engine.lever.slots:
            with TaskGroup(group_id(slot)):
                applied = step_task(
                    engine, steps.apply_stage, place, slot, place=place, trigger_rule=go_on, **WRITE_LIMIT
                )
                target = f"{{{{ ti.xcom_pull(task_ids='{applied.operator.task_id}')['soak_until'] }}}}"
                # Ends in the triggerer: a soak holds no worker slot, and costs one process start.
                soak = DateTimeSensorAsync(
                    task_id="await_soak", target_time=target, end_from_trigger=True, execution_timeout=None
                )
                judged = _gate(engine, place, slot)
            # A snapshot before the first write; the stage before must have passed its gate or not be in the plan.
            snapshot >> applied >> soak >> judged
            if gates:
                [gates[-1], *ahead[len(gates) - 1 :][:1]] >> applied
            gates.append(judged)
    return snapshot, gates


def _gate(engine: Engine, place: str, slot: str) -> Any:
    limit = dt.timedelta(days=8)
    return sensor_task(engine, "judge_gates", limit, lambda _: place, steps.judge_gates, place, slot)


def _undo(engine: Engine, place: str) -> tuple[Any, Any]:
    """Undo a place and verify it. Both look into the ledger themselves, so that they also work when decide failed."""
    with TaskGroup(group_id(place)):
        undo = step_task(
            engine, undo_changes, place,
            place=place, undoing=True, trigger_rule=TriggerRule.ALL_DONE, **WRITE_LIMIT,
        )  # fmt: skip
        # Also after a failed undo: what is left behind belongs into the verdict.
        verify = step_task(
            engine, verify_restored, place, place=place, undoing=True, trigger_rule=TriggerRule.NONE_SKIPPED
        )
        undo >> verify
    return undo, verify


def undo_changes(run: Run, place: str) -> None:
    """Set the place back to this run's snapshot."""
    steps.undo_changes(run, place, steps.own_snapshot(run, place))


def verify_restored(run: Run, place: str) -> None:
    """Compare the place with this run's snapshot."""
    steps.verify_restored(run, place, steps.own_snapshot(run, place))
