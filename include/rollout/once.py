"""A change that a recurring job makes after an approval: one place, one stage, under the same lock and ledger.

What stands afterwards is found and undone by the rollback DAG like any rollout's change.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from include.rollout import decisions, steps
from include.rollout.ledger import WHOLE_RUN, Step, last
from include.rollout.lever import Refused, Stage, Target
from include.rollout.steps import Run


def change(run: Run, place: str, plan_hash: str) -> dict[str, Any]:
    """Lock, snapshot, apply and promote; may run again after a crash at any point. Returns the stage's figures.

    Raises Refused without an approval of the plan of that hash, when somebody has undone this change meanwhile, or when
    the lever refuses; LockHeld while another run holds the place. The lock is given up in any case. Empty figures: it
    was as wanted before.
    """
    answer = steps.answer_on_record(run)
    if problem := decisions.approval_problem(answer, [plan_hash], run.estate.governance.approvers):
        raise Refused(f"{place}: {problem}. Nothing was changed")
    lock = run.lock(place)
    lock.acquire(run.run_ended)
    try:
        figures = {"approved_by": (answer or {}).get("user"), "locked": [place], "hash": plan_hash}
        run.record(WHOLE_RUN, Step.APPROVAL, figures)
        return _change(run, run.target(place, run.begin(place, "change")))
    finally:
        lock.release()


def preview(run: Run, place: str) -> str:
    """What :func:`change` would do, as Markdown; only reads. Raises Refused as it does where another change stands."""
    plan = run.lever.plan(run.target(place))
    if plan.stages:
        _refuse_second(run, place)
    return "\n".join([*map(str, plan.differences), *plan.notes]) if plan.stages else "nothing to change"


def _change(run: Run, target: Target) -> dict[str, Any]:
    place = target.place.name
    if (other := steps.undone_by(run, place)) is not None:
        raise Refused(f"{place}: {other} has undone this change; nothing more is done")
    stages = _begun(run, place) or _begin(run, target)
    if not stages:
        return {}
    (stage,) = stages
    run.record(place, Step.TOUCH, {"slot": stage.slot, "title": stage.title})
    started = run.clock()
    figures = run.lever.apply(target, stage)
    row = {"slot": stage.slot, "title": stage.title, "seconds": run.seconds_since(started)}
    run.record(place, Step.APPLIED, row | {"figures": figures})
    run.record(place, Step.PROMOTED, {"after": steps.evidence(run, target)})
    return figures


def _begun(run: Run, place: str) -> tuple[Stage, ...]:
    """The stage of a try before this one, which was cut after its first write: the live state may have it already."""
    records = run.records(place)
    return decisions.confirmed_stages(records) if last(records, Step.TOUCH) else ()


def _begin(run: Run, target: Target) -> tuple[Stage, ...]:
    plan = run.lever.plan(target)
    if plan.stages:
        _refuse_second(run, target.place.name)
        run.record(target.place.name, Step.PLAN, {"hash": plan.hash(), "plan": plan.to_json()})
        if run.ledger.snapshot(run.chain(target.place.name)) is None:
            steps.put_snapshot(run, target)
    return plan.stages


def _refuse_second(run: Run, place: str) -> None:
    """Two changes of one field would be undone in an order that nobody remembers."""
    for other in run.ledger.standing(run.lever.name, place):
        if other.chain != run.chain(place):
            choice = f'{{"lever": "{run.lever.name}", "regions": ["{place}"], "dry_run": false}}'
            raise Refused(
                f"{place}: a change of {run.lever.name} by {other.chain.dag_id}/{other.chain.run_id} stands; "
                f"undo it first: trigger rollback with {choice}"
            )


def acting(run: Run, settings: dict[str, Any]) -> Run:
    """The run with the lever's settings instead of the form's, which belongs to another job."""
    return dataclasses.replace(run, params=settings)
