"""Before the first write: checks, the plan, its approval, and that it still holds under the lock."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from include.rollout import decisions
from include.rollout.ledger import WHOLE_RUN, Step, last
from include.rollout.lever import Check, Plan, Refused, needs_of
from include.rollout.place import Place
from include.rollout.settings import build
from include.rollout.steps.run import Run, each_place

log = logging.getLogger(__name__)


def check_preflight(run: Run) -> None:
    """Everything that can be known to be wrong before anything is written. Raises Refused with all of it at once."""
    settings = run.settings
    build(run.lever.settings_type, run.params, run.estate)
    checks: dict[str, list[Check]] = {"estate": [] if settings.dry_run else [_window_check(run)]}
    checks |= {place: _connection_checks(run, place) for place in run.places}
    reached = [place for place in run.places if not checks[place]]
    with ThreadPoolExecutor(max_workers=len(run.places)) as pool:
        found = pool.map(lambda place: _lever_checks(run, place), reached)
        checks |= dict(zip(reached, found, strict=True))
    for place, of_place in checks.items():
        for check in of_place:
            log.info("%s: %s: %s (%s)", place, check.name, "passed" if check.passed else "FAILED", check.reason)
    rows = {r: [f"{c.name}: {'passed' if c.passed else 'failed'}: {c.reason}" for c in cs] for r, cs in checks.items()}
    run.record(WHOLE_RUN, Step.PREFLIGHT, {"checks": rows})
    if message := decisions.failed_checks(checks):
        raise Refused(message)


def _connection_checks(run: Run, place: str) -> list[Check]:
    missing = missing_clients(run.clients(Place.named(place)), needs_of(run.lever))
    return [Check(f"{name} connection", passed=False, reason=reason) for name, reason in missing.items()]


def missing_clients(clients: Any, needs: Iterable[str]) -> dict[str, str]:
    """Which of a place's clients can't be made, and why with the remedy: those that a lever needs, and its lock's."""
    missing: dict[str, str] = {}
    for name in [*sorted(needs), "leases"]:
        try:
            getattr(clients, name)
        except Exception as error:  # noqa: BLE001 - a client that can't be made is a failed check, whatever the reason
            reason = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
            if reason not in missing.values():  # a region's lock lies in its cluster
                missing[name] = reason
    return missing


def _window_check(run: Run) -> Check:
    refusal = run.estate.governance.refusal(run.clock())
    remedy = "trigger again inside the window, or change governance in the estate's file"
    return Check("change window", passed=refusal is None, reason=refusal or "open", remedy=remedy)


def _lever_checks(run: Run, place: str) -> list[Check]:
    try:
        return run.lever.preflight(run.target(place))
    except Exception as error:  # noqa: BLE001 - one place's failure must not hide what is wrong in the others
        remedy = "see that the place's connections are right and its services answer"
        return [Check("preflight", passed=False, reason=f"{type(error).__name__}: {error}", remedy=remedy)]


def make_plan(run: Run) -> dict[str, str]:
    """Plan every selected place; put the plans on record. Returns the hash and the text that an approver reads."""
    plans, judging = each_place(run, run.lever.plan), run.settings.judging()
    unfinished = {place: run.ledger.unfinished(run.lever.name, place) for place in run.places}
    resumed = {place: other for place, other in unfinished.items() if other is not None}
    text = decisions.plan_text(plans, resumed, run.settings.reason, judging)
    plan_hash = decisions.plans_hash(plans, judging)
    log.info("plan %s\n%s", plan_hash, text)
    figures = {"hash": plan_hash, "dry_run": run.settings.dry_run, "reason": run.settings.reason}
    run.record(WHOLE_RUN, Step.PLAN, figures | {"plans": {plan.place: plan.to_json() for plan in plans}})
    return {"hash": plan_hash, "text": text}


def record_answer(run: Run, answer: Mapping[str, Any]) -> None:
    """Put on record who answered what to which plan: ``approved``, ``user``, ``user_id``, ``hash``."""
    run.record(WHOLE_RUN, Step.ANSWER, answer)


def answer_on_record(run: Run) -> Mapping[str, Any] | None:
    """The last answer to this run's plan; None when nobody has answered, whatever state the task shows."""
    record = last(run.records(WHOLE_RUN), Step.ANSWER)
    return None if record is None else record.figures


def check_approval(run: Run, approval: Mapping[str, Any] | None) -> None:
    """Raise Refused unless ``approval`` is a person's who may, of the very plan that is on record."""
    offered = [record.figures["hash"] for record in run.records(WHOLE_RUN) if record.step == Step.PLAN]
    if problem := decisions.approval_problem(approval, offered, run.estate.governance.approvers):
        raise Refused(f"{problem}. Nothing is written without an approval of the plan")


def confirm_unchanged(run: Run) -> None:
    """Plan again under the lock. Raises Refused with the differences when it is not what was approved."""
    offered = last(run.records(WHOLE_RUN), Step.PLAN)
    if offered is None:
        raise Refused("the approved plan is not in the ledger; trigger a new run")
    window = _window_check(run)
    if not window.passed:
        raise Refused(f"{window.reason}; {window.remedy}")
    approved = [Plan.from_json(offered.figures["plans"][place]) for place in run.places]
    plans = each_place(run, run.lever.plan)
    if message := decisions.changed_since(approved, plans):
        raise Refused(message)
    approval = last(run.records(WHOLE_RUN), Step.APPROVAL)
    agreed = approval.figures.get("hash") if approval else None
    if agreed != decisions.plans_hash(plans, run.settings.judging()):
        raise Refused(
            f"plan {offered.figures['hash']} is on record, but {agreed or 'no plan'} was approved; trigger a new run"
        )
    for plan in plans:
        run.record(plan.place, Step.PLAN, {"hash": plan.hash(), "plan": plan.to_json()})
