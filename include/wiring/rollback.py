"""What the rollback DAG is wired from."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

from airflow.sdk import TriggerRule, get_current_context, task

from include import levers
from include.estate import Estate
from include.rollout import rollback, steps
from include.rollout.lever import Levers
from include.rollout.rollback import RollbackRun
from include.rollout.settings import LONGEST_CONVERGENCE
from include.wiring.clients import ClientsFactory, clients_for
from include.wiring.conventions import UNDO_RETRY_ARGS
from include.wiring.dag import estate_or_problem, without_copies
from include.wiring.tasks import Engine, announce, await_approval, failed_tasks, recorded, step_task, write_timeout


def roll_back(clients: ClientsFactory | None = None, estate: Estate | None = None) -> None:
    """Wire the rollback into the current DAG. Tests give their own ``clients`` and ``estate``.

    Its places come from the ledger when it runs: the graph is the same for every estate, also for one that can't be
    read.
    """
    estate, problem = estate_or_problem(estate)
    engine = Engine(estate, None, clients or clients_for, problem, cast("Levers", levers))
    find = step_task(engine, rollback.find_changes)
    choose = step_task(engine, choose_path, decorator=task.branch)
    approval = await_approval(engine, "find_changes")
    lock = step_task(engine, take_locks_over, trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS).as_setup()
    # A task of its own: what follows a setup directly may not also run after a failure, as verify must.
    places = step_task(engine, rollback.list_places)
    # Each change brings the settings of its own run: their upper bound is all that is known at parse.
    timeout = write_timeout(LONGEST_CONVERGENCE)
    undo = _for_each_place(engine, rollback.undo_changes, places, execution_timeout=timeout)
    # Also after an undo that failed: what is left behind belongs into the verdict.
    verify = _for_each_place(engine, rollback.verify_restored, places, trigger_rule=TriggerRule.NONE_SKIPPED)
    unlock = step_task(engine, release_rollback_locks).as_teardown(setups=lock)
    verdict = step_task(engine, give_rollback_verdict, task_id="verdict", trigger_rule=TriggerRule.ALL_DONE, retries=1)

    # An emergency goes straight to the lock; everything else needs the approval.
    find >> choose >> [approval, lock]
    approval >> lock
    # Every place by itself and at once: one that fails does not keep the others.
    lock >> places >> undo >> verify >> unlock >> verdict
    without_copies(verdict)


def _for_each_place(engine: Engine, step: Callable[[RollbackRun, str], None], places: Any, **options: Any) -> Any:
    """A task mapped over the places that ``places`` returns, each shown by its name."""

    @task(
        task_id=step.__name__,
        doc_md=inspect.getdoc(step),
        map_index_template="{{ place }}",
        **{**UNDO_RETRY_ARGS, **options},
    )
    def body(place: str) -> None:
        get_current_context()["place"] = place  # type: ignore[typeddict-unknown-key]
        run = cast("RollbackRun", engine.run())
        with recorded(run, undoing=True):
            step(run, place)

    return body.expand(place=places)


def choose_path(run: RollbackRun) -> list[str]:
    """A dry run stops here; an emergency goes straight to the locks, which stop a rollout that is about to write."""
    if run.params["dry_run"]:
        return []
    if run.params["emergency"]:
        return ["take_locks_over"]
    return ["await_approval"] if rollback.anything_to_do(run) else []


def take_locks_over(run: RollbackRun) -> None:
    """Take the locks of the selected places from whoever holds them: that run writes nothing more."""
    rollback.take_locks(run, steps.answer_on_record(run))


def release_rollback_locks(run: RollbackRun) -> None:
    """Give up the locks that this run holds."""
    rollback.release_locks(run)


def give_rollback_verdict(run: RollbackRun) -> dict[str, Any]:
    """Say what was restored, what was left behind and what to do next; fails the run unless everything is back."""
    return announce(rollback.conclude(run, steps.answer_on_record(run), failed_tasks()))
