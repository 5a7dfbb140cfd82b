"""A change of a recurring job as tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from airflow.sdk import task

from include import levers
from include.estate import load_estate
from include.rollout import once
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
    estate = load_estate()
    engine = Engine(estate, levers.lever(lever), lambda place, estate: clients_for(place, estate))

    @task(task_id=task_id, multiple_outputs=False, doc_md=inspect.getdoc(once.change))
    def make_change(found: dict[str, Any]) -> dict[str, Any]:
        region, settings = choose(found)
        run = once.acting(engine.run(), settings)
        with recorded(run, region):
            return {"region": region, "figures": once.change(run, region, found["hash"])}

    approval, change = await_approval(engine, plan_task), make_change(planned)
    approval >> change
    return approval, change
