"""A change that a recurring job makes after an approval: one region, one stage, under the same lock and ledger.

What stands afterwards is found and undone by the rollback DAG like any rollout's change.
"""

from __future__ import annotations

from typing import Any

from include.rollout import steps
from include.rollout.ledger import WHOLE_RUN, Step
from include.rollout.lever import Refused
from include.rollout.steps import Run


def change(run: Run, region: str, approved_by: str) -> dict[str, Any]:
    """Plan, lock, snapshot, apply and promote; may run again after a crash at any point. Returns the stage's figures.

    Raises LockHeld while another run holds the region, Refused when the lever does; the lock is given up in any case.
    """
    lock = run.lock(region)
    lock.acquire(run.run_ended)
    try:
        return _change(run, region, approved_by)
    finally:
        lock.release()


def _change(run: Run, region: str, approved_by: str) -> dict[str, Any]:
    plan = run.lever.plan(run.target(region))
    if not plan.stages:
        return {}  # as wanted already, such as by the attempt before
    standing = run.ledger.standing(run.lever.name, region)
    if standing and standing[-1].chain != run.chain(region):
        chain = standing[-1].chain
        raise Refused(
            f"{region}: a change of {run.lever.name} by {chain.dag_id}/{chain.run_id} stands; undo it first with the "
            f'rollback DAG: {{"lever": "{run.lever.name}", "regions": ["{region}"]}}'
        )
    run.record(WHOLE_RUN, Step.APPROVAL, {"approved_by": approved_by, "locked": [region], "taken_over_from": {}})
    run.record(region, Step.PLAN, {"hash": plan.hash(), "plan": plan.to_json()})
    steps.put_snapshot(run, region)
    (stage,) = plan.stages
    run.record(region, Step.TOUCH, {"slot": stage.slot, "title": stage.title})
    started = run.clock()
    figures = run.lever.apply(run.target(region), stage)
    row = {"slot": stage.slot, "title": stage.title, "seconds": run.seconds_since(started)}
    run.record(region, Step.APPLIED, row | {"figures": figures})
    run.record(region, Step.PROMOTED, {"after": steps.evidence(run, run.target(region))})
    return figures
