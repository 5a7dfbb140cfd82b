"""Taking the locks over from whoever holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from include.rollout import steps
from include.rollout.ledger import (
    WHOLE_RUN,
    Chain,
    Record,
    Step,
    without_secrets,
)
from include.rollout.lever import Refused
from include.rollout.rollback.finding import choose, record_plan
from include.rollout.rollback.run import RollbackRun, plan_on_record


def take_locks(run: RollbackRun, approval: Mapping[str, Any] | None) -> None:
    """Take the locks of all selected places over, from whoever holds them.

    A place whose lock can't be taken does not keep the others: its own undo tries again. Raises Refused without an
    approval of this very plan, or when other changes stand than were approved; an emergency undoes these too.
    """
    plan = plan_on_record(run)
    if not run.params["emergency"]:
        steps.check_approval(run, approval)
    before: dict[str, str] = {}
    missed: dict[str, str] = {}
    for place in plan.figures["regions"]:
        try:
            before[place] = run.lock(place).take_over() or ""
        except Exception as error:  # noqa: BLE001 - put on record below; an unreachable place must not keep the others
            missed[place] = without_secrets(f"{type(error).__name__}: {error}")
    _look_again(run, plan)
    figures = {
        "approved_by": (approval or {}).get("user"),
        "hash": plan.figures["hash"],
        "locked": list(before),
        "taken_over_from": {place: holder for place, holder in before.items() if holder},
        "not_locked": missed,
    }
    run.record(WHOLE_RUN, Step.APPROVAL, figures)
    _close_out_of_reach(run)


def _look_again(run: RollbackRun, plan: Record) -> None:
    """Compare with what stands now that nobody else writes."""
    found = choose(run, run.ledger.survey())
    if [change.chain.to_json() for change in found.changes] == plan.figures["items"]:
        return
    if run.params["emergency"]:
        places = {*plan.figures["regions"], *(change.chain.place for change in found.changes)}
        record_plan(run, found, plan.figures["hash"], sorted(places))
        return
    release_locks(run)
    raise Refused("other changes stand now than when the plan was approved; nothing was changed; trigger a new run")


def _close_out_of_reach(run: RollbackRun) -> None:
    """Put on record that what is out of reach is accepted, when the form says so: it no longer stands then."""
    if not run.params.get("accept"):
        return
    for item in plan_on_record(run).figures["out_of_reach"]:
        chain = Chain.from_json(item)
        figures = {"complete": False, "remaining": [f"out of reach: {item['reason']}"], "others": [], "accepted": True}
        ours = Chain(chain.lever, chain.place, run.dag_id, run.run_id)
        run.ledger.append(ours, Step.RESTORED, figures, {**run.links, "restores": chain.path})


def release_locks(run: RollbackRun) -> None:
    """Give up the locks that this run holds."""
    steps.unlock_places(run, plan_on_record(run).figures["regions"])
