"""What the DAG of the drills is wired from."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable
from typing import Any, cast

from airflow.sdk import Param, TriggerRule, task

from include import levers
from include.estate import Estate
from include.levers.game_day.settings import NAME, GameDaySettings
from include.rollout import drills, steps
from include.rollout.lever import Levers
from include.rollout.settings import RegionRolloutSettings
from include.rollout.steps import Run
from include.wiring.clients import ClientsFactory, clients_for
from include.wiring.conventions import UNDO_RETRY_ARGS, Tag
from include.wiring.dag import arguments, estate_or_problem, params_of, show_problem
from include.wiring.tasks import (
    WRITE_LIMIT,
    Engine,
    announce,
    await_approval,
    failed_tasks,
    recorded,
    sensor_task,
    step_task,
)

OWN_DEFAULTS = {"soak_seconds": 1}  # a drill watches by itself: its gates are judged at once


def game_day_arguments(doc_md: str | None, estate: Estate | None = None) -> dict[str, Any]:
    """Arguments of ``@dag`` for the drills, but its schedule: the form of a rollout in one region, and the drill's."""
    estate, _ = estate_or_problem(estate)
    params: dict[str, Param] = params_of([RegionRolloutSettings, GameDaySettings], estate) if estate else {}
    params.pop("deliver", None)  # a drill has nothing to export
    own = OWN_DEFAULTS | {"regions": [estate.canary_region]} if estate else {}
    for name, value in own.items():
        params[name] = Param(value, params[name].description, schema=params[name].schema)
    return arguments(doc_md, [Tag.OPERATIONS]) | {"params": params}


def drill(clients: ClientsFactory | None = None, estate: Estate | None = None) -> None:
    """Wire a drill into the current DAG. Tests give their own ``clients`` and ``estate``."""
    estate, problem = estate_or_problem(estate)
    if estate is None:
        show_problem(problem)
        return
    engine = Engine(estate, levers.lever(NAME), clients or clients_for)
    preflight, plan = step_task(engine, drills.check_preflight), step_task(engine, steps.make_plan)
    real = step_task(engine, is_real_run, decorator=task.branch)
    approval = await_approval(engine, "make_plan")
    lock = step_task(engine, drills.take_locks).as_setup()
    confirm = step_task(engine, steps.confirm_unchanged)
    snapshot, strike = _in_place(engine, drills.take_snapshot), _in_place(engine, drills.strike, **WRITE_LIMIT)
    judged = _judge(engine)
    always = {**UNDO_RETRY_ARGS, **WRITE_LIMIT, "trigger_rule": TriggerRule.ALL_DONE}
    back = _in_place(engine, drills.set_back, undoing=True, **always)
    verified = _in_place(engine, drills.verify, undoing=True, **UNDO_RETRY_ARGS, trigger_rule=TriggerRule.NONE_SKIPPED)
    unlock = step_task(engine, steps.release_locks).as_teardown(setups=lock)
    verdict = step_task(engine, give_verdict, task_id="verdict", trigger_rule=TriggerRule.ALL_DONE, retries=1)

    # Nothing goes wrong before the approval, and nothing without a snapshot of what is to come back.
    preflight >> plan >> real >> approval >> lock >> confirm >> snapshot >> strike >> judged
    # Also after a drill that was stopped, or killed half way: whatever stands is set back, and proved.
    judged >> back >> verified >> unlock >> verdict


def _in_place(engine: Engine, step: Callable[[Run], Any], *, undoing: bool = False, **options: Any) -> Any:
    """A task of ``step``, whose reasons go on record in the run's one place."""

    @task(task_id=step.__name__, doc_md=inspect.getdoc(step), **options)
    def body() -> None:
        run = engine.run()
        with recorded(run, drills.place_of(run), undoing=undoing):
            step(run)

    return body()


def _judge(engine: Engine) -> Any:
    return sensor_task(engine, "judge_hypothesis", dt.timedelta(hours=3), drills.place_of, drills.judge)


def is_real_run(run: Run) -> list[str]:
    """A dry run stops here; a real one goes on to the approval."""
    return [] if run.settings.dry_run else ["await_approval"]


def give_verdict(run: Run) -> dict[str, Any]:
    """Say whether the hypothesis held and what it proves; fails the run unless it did and everything is back."""
    verdict = drills.conclude(run, cast("Levers", levers), steps.answer_on_record(run), failed_tasks())
    return announce(verdict)
