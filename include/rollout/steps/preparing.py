"""Before the first write: checks, the plan, its approval, and that it still holds under the lock."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from include.rollout import decisions
from include.rollout.ledger import WHOLE_RUN, OpenRun, Record, Step, last
from include.rollout.lever import Check, Json, Plan, Refused, needs_of
from include.rollout.place import Place
from include.rollout.settings import build
from include.rollout.steps.backing import backings
from include.rollout.steps.run import Run, each_place

log = logging.getLogger(__name__)


def check_preflight(run: Run, own: Sequence[Check] = ()) -> None:
    """Everything that can be known to be wrong before anything is written. Raises Refused with all of it at once.

    ``own`` are checks of the caller.
    """
    checks = {"estate": [*whole_run_checks(run, run.settings.changes), *own], **lever_checks(run)}
    judge_checks(run, checks)


def whole_run_checks(run: Run, changes: bool) -> list[Check]:
    """What is checked of a run as a whole: the ledger's key, and the change window if it changes anything."""
    return [window_check(run), signing_check(run)] if changes else [signing_check(run)]


def signing_check(run: Run) -> Check:
    """Whether the ledger is signed. Without a key the run goes on and warns; a key that can't be used is refused."""
    if problem := run.ledger.signing_problem:
        return Check("signed ledger", passed=False, reason=problem, remedy="repair the connection, or delete it")
    if run.ledger.key_id:
        return Check("signed ledger", passed=True, reason=f"signed by key {run.ledger.key_id}")
    reason = "WARNING: not signed, so that others can't verify it: there is no Airflow connection ledger_signing_key"
    return Check("signed ledger", passed=True, reason=reason)


def judge_checks(run: Run, checks: Mapping[str, Sequence[Check]]) -> None:
    """Put checks on record, by where they were made. Raises Refused with all that failed."""
    for place, of_place in checks.items():
        for check in of_place:
            log.info("%s: %s: %s (%s)", place, check.name, "passed" if check.passed else "FAILED", check.reason)
    rows = {r: [f"{c.name}: {'passed' if c.passed else 'failed'}: {c.reason}" for c in cs] for r, cs in checks.items()}
    run.record(WHOLE_RUN, Step.PREFLIGHT, {"checks": rows})
    if message := decisions.failed_checks(checks):
        raise Refused(message)


def lever_checks(run: Run) -> dict[str, list[Check]]:
    """The checks of a run's lever by place: those of its connections, else its own. Raises Refused for its settings."""
    build(run.lever.settings_type, run.params, run.estate)
    checks = {place: _connection_checks(run, place) for place in run.places}
    reached = [place for place in run.places if not checks[place]]
    with ThreadPoolExecutor(max_workers=len(run.places)) as pool:
        found = pool.map(lambda place: _own_checks(run, place), reached)
        return checks | dict(zip(reached, found, strict=True))


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


def window_check(run: Run) -> Check:
    """Whether the estate allows a change now."""
    refusal = run.estate.governance.refusal(run.clock())
    remedy = "trigger again inside the window, or change governance in the estate's file"
    return Check("change window", passed=refusal is None, reason=refusal or "open", remedy=remedy)


def _own_checks(run: Run, place: str) -> list[Check]:
    try:
        return run.lever.preflight(run.target(place))
    except Exception as error:  # noqa: BLE001 - one place's failure must not hide what is wrong in the others
        remedy = "see that the place's connections are right and its services answer"
        return [Check("preflight", passed=False, reason=f"{type(error).__name__}: {error}", remedy=remedy)]


def make_plan(run: Run) -> dict[str, str]:
    """Plan every selected place; put the plans on record. Returns the hash and the text that an approver reads."""
    plans, judging = each_place(run, run.lever.plan), run.settings.judging()
    resumed, reason, plan_hash = resumed_by(run), run.settings.reason, decisions.plans_hash(plans, judging)
    log.info("plan %s\n%s", plan_hash, decisions.plan_text(plans, resumed, reason, judging))
    record = record_plan(run, plan_hash, {"plans": {plan.place: plan.to_json() for plan in plans}})
    backing = backings(run, {run.lever.name: plan_hash})[run.lever.name]
    offered = decisions.Offered(backing, plans, resumed, record.address)
    return {"hash": plan_hash, "text": decisions.approval_text(plan_hash, [offered], reason, judging, links_of(run))}


def links_of(run: Run) -> dict[str, str]:
    """Where an approver finds the run in Airflow's UI."""
    return decisions.run_links(run.links.get("log", ""))


def resumed_by(run: Run) -> dict[str, OpenRun]:
    """The unfinished run that this one resumes, by place."""
    unfinished = {place: run.ledger.unfinished(run.lever.name, place) for place in run.places}
    return {place: other for place, other in unfinished.items() if other is not None}


def record_plan(run: Run, plan_hash: str, more: Mapping[str, Json]) -> Record:
    """Put a plan on record as a whole, with the hash that an approval is bound to; returns the record."""
    figures = {"hash": plan_hash, "dry_run": run.settings.dry_run, "reason": run.settings.reason}
    return run.record(WHOLE_RUN, Step.PLAN, {**figures, **more})


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
    for plan in plan_again(run):
        run.record(plan.place, Step.PLAN, {"hash": plan.hash(), "plan": plan.to_json()})


def plan_again(run: Run) -> list[Plan]:
    """The plan of each place, made again; raises Refused with the differences when they are not what was approved."""
    window = window_check(run)
    if not window.passed:
        raise Refused(f"{window.reason}; {window.remedy}")
    offered, approved = plan_on_record(run), approved_plans(run)
    plans = each_place(run, run.lever.plan)
    if message := decisions.changed_since(approved, plans):
        raise Refused(message)
    approval = last(run.records(WHOLE_RUN), Step.APPROVAL)
    agreed = approval.figures.get("hash") if approval else None
    if agreed != decisions.plans_hash(plans, run.settings.judging()):
        raise Refused(
            f"plan {offered.figures['hash']} is on record, but {agreed or 'no plan'} was approved; trigger a new run"
        )
    return plans


def plan_on_record(run: Run) -> Record:
    """What make_plan put on record last. Raises Refused before it has."""
    offered = last(run.records(WHOLE_RUN), Step.PLAN)
    if offered is None:
        raise Refused("the approved plan is not in the ledger; trigger a new run")
    return offered


def approved_plans(run: Run) -> list[Plan]:
    """The plan of each place as it was offered for approval."""
    return [Plan.from_json(plan_on_record(run).figures["plans"][place]) for place in run.places]
