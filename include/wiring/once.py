"""A change of a recurring job as tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowSkipException

from include import levers
from include.estate import load_estate
from include.rollout import once
from include.rollout.lever import Refused
from include.wiring.clients import clients_for
from include.wiring.tasks import Engine, await_approval, recorded


def change_once(
    lever: str,
    plan_task: str,
    task_id: str,
    choose: Callable[[dict[str, Any]], tuple[str, dict[str, Any]]],
    planned: Any,
) -> tuple[Any, Any]:
    """Wire a change that a recurring job proposes: its approval, and the task that makes it. Returns both.

    ``planned`` is the XCom of ``plan_task``, with ``hash`` and ``text`` for the approver; ``choose`` gives the region
    and the lever's settings from it.
    """
    engine = _engine(lever)

    @task(task_id=task_id, multiple_outputs=False, doc_md=inspect.getdoc(once.change))
    def make_change(found: dict[str, Any]) -> dict[str, Any]:
        region, settings = choose(found)
        run = once.acting(engine.run(), settings)
        with recorded(run, region):
            return {"region": region, "figures": once.change(run, region, found["hash"])}

    approval, change = await_approval(engine, plan_task), make_change(planned)
    approval >> change
    return approval, change


def show_change(
    lever: str,
    task_id: str,
    choose: Callable[[dict[str, Any]], tuple[str, dict[str, Any]] | None],
    planned: Any,
) -> Any:
    """Wire the task that shows a dry run what :func:`change_once` would do, as Markdown; it takes no lock.

    It is skipped where ``choose`` gives None.
    """
    engine = _engine(lever)

    @task(task_id=task_id, doc_md=inspect.getdoc(once.preview))
    def plan_change(found: dict[str, Any]) -> str:
        if (chosen := choose(found)) is None:
            raise AirflowSkipException("no dry run, or nothing to change")
        region, settings = chosen
        try:
            return once.preview(once.acting(engine.run(), settings), region)
        except Refused as error:
            return f"it would be refused: {error}"

    return plan_change(planned)


def _engine(lever: str) -> Engine:
    return Engine(load_estate(), levers.lever(lever), lambda place, estate: clients_for(place, estate))
