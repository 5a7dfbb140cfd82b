"""Before the first day: the checks of all days, what they would change and save, and the one approval."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from include.rollout import decisions, steps
from include.rollout.ledger import WHOLE_RUN, Step, last, without_secrets
from include.rollout.lever import Check, Refused
from include.rollout.steps import Run
from include.week.coverage import Offer, offer_of, offers_hash
from include.week.days import Day
from include.week.run import Week
from include.week.settings import ONCE
from include.week.words import week_text

log = logging.getLogger(__name__)

Planned = Callable[[str], Decimal | None]  # a lever's name -> the planner's change of the monthly cost


def check_preflight(week: Week, own: Sequence[Check] = ()) -> None:
    """Everything of any day that can be known to be wrong before the first. Raises Refused with all of it.

    ``own`` are checks of the caller. A later day's own checks may wait for what an earlier day brings: they are on
    record, and that day makes them again.
    """
    window = [] if week.settings.dry_run else [steps.window_check(week.whole)]
    checks: dict[str, list[Check]] = {"estate": [*window, *own]}
    for number, day in enumerate(week.chosen):
        for run in week.runs(day):
            for place, found in steps.lever_checks(run).items():
                made = found if number == 0 else [_for_its_day(day, check) for check in found]
                checks[f"{day.dag}: {place}: {run.lever.name}"] = made
    steps.judge_checks(week.whole, checks)


def _for_its_day(day: Day, check: Check) -> Check:
    """A failed check of a later day, which does not stop the week; a missing connection does."""
    if check.passed or check.name.endswith(" connection"):
        return check
    return replace(check, passed=True, reason=f"not yet, and made again before {day.dag}: {check.reason}")


def make_plan(week: Week, waterfall: Mapping[str, Any], planned: Planned) -> dict[str, str]:
    """Plan every day on the live state; put the plan on record. Returns its hash and the text that an approver reads.

    ``waterfall`` is the planner's, with its ``text``; ``planned`` gives its figure of a lever.
    """
    settings = week.settings
    planned_days = [_planned_day(week, day, planned) for day in week.chosen]
    days = [day for day, _ in planned_days]
    hashes = {lever: own for _, of_day in planned_days for lever, own in of_day.items()}
    proved = decisions.safety_lines([*steps.backings(week.whole, hashes).values()])
    plan_hash = offers_hash(days, settings.tolerance)
    text = week_text(days, settings, proved, str(waterfall.get("text", "")))
    figures = {"hash": plan_hash, "dry_run": settings.dry_run, "reason": settings.reason}
    more = {"approval": settings.approval, "dollar_tolerance": str(settings.tolerance), "days": days}
    more["estate"] = week.estate.name
    week.record(WHOLE_RUN, Step.PLAN, {**figures, **more, "waterfall": dict(waterfall)})
    log.info("plan of the week %s\n%s", plan_hash, text)
    return {"hash": plan_hash, "text": text}


def _planned_day(week: Week, day: Day, planned: Planned) -> tuple[dict[str, Any], dict[str, str]]:
    """What a day offers, and the hash of each of its levers' plans."""
    found = {run.lever.name: _offer(run, planned(run.lever.name)) for run in week.runs(day)}
    levers = {name: offer.to_json() for name, (offer, _) in found.items()}
    offered = {"day": day.number, "dag": day.dag, "run_id": week.child_run_id, "levers": levers}
    return offered | {"settings": week.values(day)}, {name: own for name, (_, own) in found.items()}


def _offer(run: Run, planned: Decimal | None) -> tuple[Offer, str]:
    """What the lever would do on the state of today, and its plan's hash; the reason where it can't be planned yet."""
    try:
        plans = steps.each_place(run, run.lever.plan)
    except Exception as error:  # noqa: BLE001 - such as a resource that an earlier day brings
        problem = without_secrets(f"{type(error).__name__}: {error}"[:500])
        return Offer(None, None, planned, problem=problem), ""
    return offer_of(plans, planned), decisions.plans_hash(plans, run.settings.judging())


def record_answer(week: Week, answer: Mapping[str, Any]) -> None:
    """Put on record who answered what to the week's plan."""
    week.record(WHOLE_RUN, Step.ANSWER, answer)


def confirm_approval(week: Week) -> None:
    """Put the week's approval on record, where it is one for all days; else each day asks for itself.

    Raises Refused unless a person who may has approved the plan on record.
    """
    if week.settings.approval != ONCE:
        return
    answer = last(week.records, Step.ANSWER)
    given = None if answer is None else answer.figures
    steps.check_approval(week.whole, given)
    plan = last(week.records, Step.PLAN)
    assert plan is not None
    week.record(WHOLE_RUN, Step.APPROVAL, {"approved_by": (given or {}).get("user"), "hash": plan.figures["hash"]})


def approval_problem(week: Week) -> str | None:
    """Why no day may begin, or None: one approval for all that is missing, or is not of the plan on record."""
    settings = week.settings
    if settings.dry_run:
        return "a dry run carries out no day"
    plan, approval = last(week.records, Step.PLAN), last(week.records, Step.APPROVAL)
    if plan is None:
        return "the week has no plan on record"
    if settings.approval != ONCE:
        return None
    answer = last(week.records, Step.ANSWER)
    offered = [record.figures["hash"] for record in week.records if record.step == Step.PLAN]
    people = week.estate.governance.approvers
    problem = decisions.approval_problem(answer.figures if answer else None, offered, people)
    if problem is None and (approval is None or approval.figures["hash"] != offered[-1]):
        return "the week's approval was not confirmed"
    return problem


def refuse_without_plan(week: Week) -> None:
    """Raise Refused when no day may begin."""
    if problem := approval_problem(week):
        raise Refused(f"{problem}. No day is begun")
