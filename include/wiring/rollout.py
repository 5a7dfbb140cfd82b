"""What every rollout DAG is wired from.

A lever's DAG is its docstring (headings: conventions.DOC_HEADINGS) and this::

    @dag(schedule=None, **rollout_arguments("spot_capacity", __doc__, [Tag.ROLLOUT, Tag.SPOT]))
    def day1_spot() -> None:
        rollout("spot_capacity")

    day1_spot()

The lever is registered in ``include/levers``; its module is imported at parse, so it must import nothing heavy at its
top. What the engine does for a lever:

- Places (regions unless ``lever.acts_in`` says otherwise) and ``lever.slots`` become static task groups:
  ``<place>.<slot>.apply_stage``, ``.await_soak``, ``.judge_gates``. A stage of the plan runs in its slot; slots without
  a stage are skipped. A drill is best a slot.
- The DAG's params are those of ``rollout_settings`` and of ``lever.settings_type``, each with its description, bounds
  and default; a field without default takes the estate's window of its name.
- ``target.clients`` is :class:`Clients`, which makes what is asked for; preflight refuses a connection that is missing
  of those that ``lever.needs`` names. ``target.fence()`` raises when the lock was taken over.
- Change window, connections, ledger and lock are the engine's to check; ``lever.preflight`` checks the rest.
- ``apply``: Refused and NotConverged stop the run, which is then rolled back; anything else is retried twice.
- ``observe`` may raise or return None while a source is away: the gate waits up to ``gate_wait_seconds`` for it. What
  is unknown then is rolled back if the gate is for the service's safety; else the run ends red, keeps change and lock,
  and may be judged again by clearing the gate's task.
- A task's limit follows the run's ``converge_timeout_seconds``; undoing is retried for at least 15 minutes.
- The approval's answer goes from its task into the ledger: no state that is set by hand, and no XCom, approves.

With an invalid estate every DAG still loads: a rollout with one failing task that shows what is wrong, the rollback
whole, as it can work from the slices of the estate in the ledger's snapshots.
"""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Sequence
from typing import Any

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import TaskGroup, TriggerRule, task

from include import levers
from include.estate import Estate
from include.rollout import steps
from include.rollout.lever import acts_in
from include.rollout.place import places_of
from include.rollout.steps import Run
from include.wiring.clients import ClientsFactory, clients_for
from include.wiring.dag import estate_or_problem, show_problem
from include.wiring.tasks import (
    WRITE_LIMIT,
    Engine,
    announce,
    await_approval,
    failed_tasks,
    group_id,
    recorded,
    step_task,
)

GATE_POLL = 5.0  # seconds between two looks at a gate that still waits


def rollout(lever: str, clients: ClientsFactory | None = None, estate: Estate | None = None) -> Any:
    """Wire the rollout of ``lever`` into the current DAG. Tests give their own ``clients`` and ``estate``.

    Returns the task ``promote``, for what is to follow a rollout that was promoted; None when the estate can't be read.
    """
    estate, problem = estate_or_problem(estate)
    if estate is None:
        show_problem(problem)
        return None
    engine = Engine(estate, levers.lever(lever), clients or clients_for)
    places = places_of(acts_in(levers.lever(lever)), estate)
    lock = step_task(engine, take_locks).as_setup()
    confirm = step_task(engine, steps.confirm_unchanged)
    decide = step_task(engine, choose_ending, decorator=task.branch, trigger_rule=TriggerRule.ALL_DONE)
    promote = step_task(engine, steps.promote)
    unlock = step_task(engine, steps.release_locks).as_teardown(setups=lock)
    verdict = step_task(engine, give_verdict, task_id="verdict", trigger_rule=TriggerRule.ALL_DONE, retries=1)

    # Nothing is written before the approval, and nothing but what was approved after it.
    _approved(engine) >> lock >> confirm
    _every_place(engine, places, confirm) >> decide
    # The locks go last: nobody else may write while this run promotes or undoes.
    decide >> promote >> unlock
    _undo_every_place(engine, places, decide) >> unlock >> verdict
    return promote


def _approved(engine: Engine) -> Any:
    """Everything before the first write. Returns the approval."""
    preflight = step_task(engine, steps.check_preflight)
    plan = step_task(engine, steps.make_plan)
    real = step_task(engine, is_real_run, decorator=task.short_circuit, ignore_downstream_trigger_rules=False)
    approval = await_approval(engine, "make_plan")
    preflight >> plan >> real >> approval
    return approval


def _every_place(engine: Engine, places: Sequence[str], confirm: Any) -> list[Any]:
    """Roll out in the canary, which is the first, then in the other places in parallel. Returns their last gates."""
    gates: list[Any] = []
    for place in places:
        snapshot, last_gate = _place(engine, place)
        confirm >> snapshot
        # The others follow once the canary's last gate has passed (or the canary is not selected).
        gates[:1] >> snapshot if gates else None
        gates.append(last_gate)
    return gates


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


def _place(engine: Engine, place: str) -> tuple[Any, Any]:
    """Snapshot, then every slot in order. Returns the snapshot task and the last gate."""
    assert engine.lever is not None
    go_on = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
    with TaskGroup(group_id(place), tooltip=f"Roll out in {place}"):
        snapshot = step_task(engine, steps.take_snapshot, place, place=place, trigger_rule=go_on)
        gate: Any = None
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
            if gate is not None:
                gate >> applied
            gate = judged
    return snapshot, gate


def _gate(engine: Engine, place: str, slot: str) -> Any:
    @task.sensor(
        task_id="judge_gates",
        mode="reschedule",
        poke_interval=GATE_POLL,
        timeout=dt.timedelta(days=8).total_seconds(),
        doc_md=inspect.getdoc(steps.judge_gates),
    )
    def judge_gates() -> Any:
        from airflow.sdk import PokeReturnValue

        run = engine.run()
        with recorded(run, place):
            judged = steps.judge_gates(run, place, slot)
        return PokeReturnValue(is_done=judged is not None, xcom_value=judged)

    return judge_gates()


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


def is_real_run(run: Run) -> bool:
    """A dry run stops here; a real one goes on to the approval."""
    return not run.settings.dry_run


def take_locks(run: Run) -> None:
    """Take the locks of all selected places, or of none."""
    steps.lock_places(run, run.places, steps.answer_on_record(run), take_over=False)


def choose_ending(run: Run) -> list[str]:
    """Promote, roll back the touched places, or leave everything as it is while a gate is unknown."""
    decision = steps.decide(run)
    if decision["promote"]:
        return ["promote"]
    if decision.get("unknown"):
        return []
    return [f"rollback.{group_id(place)}.undo_changes" for place in decision["touched"]]


def undo_changes(run: Run, place: str) -> None:
    """Set the place back to this run's snapshot."""
    steps.undo_changes(run, place, steps.own_snapshot(run, place))


def verify_restored(run: Run, place: str) -> None:
    """Compare the place with this run's snapshot."""
    steps.verify_restored(run, place, steps.own_snapshot(run, place))


def give_verdict(run: Run) -> dict[str, Any]:
    """Say how the run ended, what was left behind and what to do next; fails the run unless it may be green."""
    return announce(steps.conclude(run, steps.answer_on_record(run), failed_tasks()))
