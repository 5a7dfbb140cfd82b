"""A change that a recurring job makes after an approval: one region, one stage, under the same lock and ledger.

What stands afterwards is found and undone by the rollback DAG like any rollout's change.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from include.rollout import decisions, steps
from include.rollout.ledger import WHOLE_RUN, Step, last
from include.rollout.lever import Refused, Stage, Target
from include.rollout.steps import Run


def change(run: Run, region: str, plan_hash: str) -> dict[str, Any]:
    """Lock, snapshot, apply and promote; may run again after a crash at any point. Returns the stage's figures.

    Raises Refused without an approval of the plan of that hash, when somebody has undone this change meanwhile, or when
    the lever refuses; LockHeld while another run holds the region. The lock is given up in any case. Empty figures: it
    was as wanted before.
    """
    answer = steps.answer_on_record(run)
    if problem := decisions.approval_problem(answer, [plan_hash], run.estate.governance.approvers):
        raise Refused(f"{region}: {problem}. Nothing was changed")
    lock = run.lock(region)
    lock.acquire(run.run_ended)
    try:
        figures = {"approved_by": (answer or {}).get("user"), "locked": [region], "hash": plan_hash}
        run.record(WHOLE_RUN, Step.APPROVAL, figures)
        return _change(run, run.target(region, run.begin(region, "change")))
    finally:
        lock.release()


def preview(run: Run, region: str) -> str:
    """What :func:`change` would do, as Markdown; only reads. Raises Refused as it does where another change stands."""
    plan = run.lever.plan(run.target(region))
    if plan.stages:
        _refuse_second(run, region)
    return "\n".join([*map(str, plan.differences), *plan.notes]) if plan.stages else "nothing to change"


def _change(run: Run, target: Target) -> dict[str, Any]:
    region = target.region
    if (other := steps.undone_by(run, region)) is not None:
        raise Refused(f"{region}: {other} has undone this change; nothing more is done")
    stages = _begun(run, region) or _begin(run, target)
    if not stages:
        return {}
    (stage,) = stages
    run.record(region, Step.TOUCH, {"slot": stage.slot, "title": stage.title})
    started = run.clock()
    figures = run.lever.apply(target, stage)
    row = {"slot": stage.slot, "title": stage.title, "seconds": run.seconds_since(started)}
    run.record(region, Step.APPLIED, row | {"figures": figures})
    run.record(region, Step.PROMOTED, {"after": steps.evidence(run, target)})
    return figures


def _begun(run: Run, region: str) -> tuple[Stage, ...]:
    """The stage of a try before this one, which was cut after its first write: the live state may have it already."""
    records = run.records(region)
    return decisions.confirmed_stages(records) if last(records, Step.TOUCH) else ()


def _begin(run: Run, target: Target) -> tuple[Stage, ...]:
    plan = run.lever.plan(target)
    if plan.stages:
        _refuse_second(run, target.region)
        run.record(target.region, Step.PLAN, {"hash": plan.hash(), "plan": plan.to_json()})
        if run.ledger.snapshot(run.chain(target.region)) is None:
            steps.put_snapshot(run, target)
    return plan.stages


def _refuse_second(run: Run, region: str) -> None:
    """Two changes of one field would be undone in an order that nobody remembers."""
    for other in run.ledger.standing(run.lever.name, region):
        if other.chain != run.chain(region):
            choice = f'{{"lever": "{run.lever.name}", "regions": ["{region}"], "dry_run": false}}'
            raise Refused(
                f"{region}: a change of {run.lever.name} by {other.chain.dag_id}/{other.chain.run_id} stands; "
                f"undo it first: trigger rollback with {choice}"
            )


def acting(run: Run, settings: dict[str, Any]) -> Run:
    """The run with the lever's settings in place of the form's, which belongs to another job."""
    return dataclasses.replace(run, params=settings)
