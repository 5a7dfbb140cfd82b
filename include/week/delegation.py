"""How a day's run takes over the week's one approval: from the ledger, and from nowhere else.

No conf, XCom or state of a task says that a week was approved. The day's run finds the week by its own run id, reads
the week's chain, and compares its own plan on record with what was approved there. Anybody may give a run such an id:
it gains nothing but what an approver has approved for that very run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.rollout import decisions, steps
from include.rollout.ledger import WHOLE_RUN, Chain, Record, Step, last
from include.rollout.steps import Run
from include.week.coverage import Offer, outside
from include.week.days import WEEK, week_run_id
from include.week.settings import ONCE, form_values


@dataclass(frozen=True)
class Delegated:
    """The week's answer for a day's plan, or None and why the day has to ask itself ("" where there is no week)."""

    answer: Mapping[str, Any] | None = None
    reasons: tuple[str, ...] = ()


def answer_for(run: Run, runs: Sequence[Run], shown: str) -> Delegated:
    """What the week's approval says of the plan ``shown`` (its hash) of a day's run; ``runs`` are those of its levers.

    Raises LedgerError when the week's chain doesn't add up.
    """
    name = week_run_id(run.run_id)
    if name is None:
        return Delegated()
    week = run.ledger.records(Chain(WEEK, WHOLE_RUN, WEEK, name))
    plan = last(week, Step.PLAN)
    if plan is None:
        return Delegated(reasons=(f"the ledger has no plan of {WEEK}/{name}",))
    if plan.figures["approval"] != ONCE:
        return Delegated()
    answer = last(week, Step.ANSWER)
    given = answer.figures if answer else None
    problem = _week_problem(week, run, given) or _plan_problem(run, shown)
    reasons = [problem] if problem else _outside(plan, run, runs)
    if reasons or given is None:
        return Delegated(reasons=tuple(reasons))
    by = {"user": given.get("user"), "user_id": given.get("user_id")}
    return Delegated({"approved": True, "hash": shown, **by, "through": f"{WEEK}/{name}"})


def not_covered(reasons: Sequence[str]) -> str:
    """What an approver reads when the week's approval does not hold for this plan."""
    lines = "\n".join(f"- {reason}" for reason in reasons)
    return f"**The week's approval does not cover this plan:**\n\n{lines}"


def _week_problem(week: Sequence[Record], run: Run, answer: Mapping[str, Any] | None) -> str | None:
    """Why the week's approval counts for nothing in this run, or None."""
    plans = [record.figures for record in week if record.step == Step.PLAN]
    if (name := plans[-1]["estate"]) != run.estate.name:
        return f"the week is that of the estate {name}, not of {run.estate.name}"
    offered = [figures["hash"] for figures in plans]
    if problem := decisions.approval_problem(answer, offered, run.estate.governance.approvers):
        return problem
    approval = last(week, Step.APPROVAL)
    if approval is None or approval.figures["hash"] != offered[-1]:
        return "the week's approval was not confirmed"
    of_this = [r.step for r in week if r.step in {Step.BEGUN, Step.ENDED} and _is_of(r, run)]
    if not of_this or of_this[-1] != Step.BEGUN:
        return "the week has not begun this run, or is done with it"
    return "the week has ended" if _has_ended(week) else None


def _is_of(record: Record, run: Run) -> bool:
    return (record.figures["dag"], record.figures["run_id"]) == (run.dag_id, run.run_id)


def _has_ended(week: Sequence[Record]) -> bool:
    """Whether the week gave its verdict and has begun no day since."""
    ends = [record.step for record in week if record.step in {Step.BEGUN, Step.VERDICT}]
    return bool(ends) and ends[-1] == Step.VERDICT


def _plan_problem(run: Run, shown: str) -> str | None:
    offered = last(run.records(WHOLE_RUN), Step.PLAN)
    if offered is None or offered.figures["hash"] != shown:
        return f"plan {shown} is not the one on record"
    return None


def _outside(plan: Record, run: Run, runs: Sequence[Run]) -> list[str]:
    """Why the day's plan is outside of what was approved."""
    day = next((day for day in plan.figures["days"] if day["dag"] == run.dag_id), None)
    if day is None:
        return [f"{run.dag_id} is not among the days that were approved"]
    offered = {lever: Offer.from_json(raw) for lever, raw in day["levers"].items()}
    plans = {one.lever.name: steps.approved_plans(one) for one in runs}
    values = form_values([one.lever for one in runs], run.params, run.estate)
    return outside(offered, day["settings"], plans, values, Decimal(plan.figures["dollar_tolerance"]))
