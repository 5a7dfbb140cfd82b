"""What is shown and agreed to before the first write: checks, plans, their hash, and whose answer approves them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from include.pages.table import flat
from include.rollout.ledger import OpenRun
from include.rollout.lever import Check, Plan, Stage, differences

_SHOWN_DIFFERENCES = 40  # lines of a plan that a person reads; the ledger holds all of them


def failed_checks(checks: Mapping[str, Sequence[Check]]) -> str | None:
    """One message with every failed check of every place and its remedy, or None when all passed."""
    lines = [
        f"{place}: {check.name}: {check.reason}" + (f" -> {check.remedy}" if check.remedy else "")
        for place, of_place in checks.items()
        for check in of_place
        if not check.passed
    ]
    if not lines:
        return None
    return f"preflight refused, {len(lines)} check(s) failed and nothing was changed:\n" + "\n".join(lines)


def plans_hash(plans: Sequence[Plan], judging: Mapping[str, float]) -> str:
    """12 hex digits over the plans of all places and how their gates are judged: what an approval is bound to."""
    agreed = [*(plan.hash() for plan in plans), json.dumps(judging, sort_keys=True)]
    return hashlib.sha256(" ".join(agreed).encode()).hexdigest()[:12]


def joint_hash(hashes: Mapping[str, str]) -> str:
    """12 hex digits over the plans of several levers, from each one's own hash in their order."""
    agreed = " ".join(f"{lever} {own}" for lever, own in hashes.items())
    return hashlib.sha256(agreed.encode()).hexdigest()[:12]


def plan_text(plans: Sequence[Plan], resumed: Mapping[str, OpenRun], reason: str, judging: Mapping[str, float]) -> str:
    """The plan as Markdown: per place what changes, in which steps, what it saves and how it is undone."""
    return _text(reason, [line for plan in plans for line in _plan_lines(plan, resumed)], judging)


def joint_text(
    by_lever: Mapping[str, tuple[Sequence[Plan], Mapping[str, OpenRun]]], reason: str, judging: Mapping[str, float]
) -> str:
    """The plan of several levers in their order, as Markdown; each with the plans of its places and what it resumes."""
    order = " -> ".join(by_lever)
    lines = [f"**In this order:** {order}. Each begins once the one before is promoted; one without steps is skipped."]
    for plans, resumed in by_lever.values():
        lines += ["", *(line for plan in plans for line in _plan_lines(plan, resumed))]
    return _text(reason, lines, judging)


def _text(reason: str, lines: Sequence[str], judging: Mapping[str, float]) -> str:
    return "\n".join([*reason_lines(reason), *lines, gates_line(judging)]).strip()


def reason_lines(reason: str) -> list[str]:
    """Why somebody wants it, on one line and as text: an approver takes nothing in it for the form's own words."""
    return [f"**Reason:** {flat(reason)}", ""] if reason else []


def gates_line(judging: Mapping[str, float]) -> str:
    """How the gates are judged."""
    return (
        "Gates are judged {soak_seconds} s after each step, over at most {gate_window_seconds} s of which "
        "{minimum_coverage:.0%} must have samples; without data they wait {gate_wait_seconds} s.".format(**judging)
    )


def _plan_lines(plan: Plan, resumed: Mapping[str, OpenRun]) -> list[str]:
    lines = [f"### {plan.place}: {plan.lever}", ""]
    if plan.place in resumed:
        run = resumed[plan.place].chain
        lines += [f"Resumes unfinished run {run.dag_id}/{run.run_id}: its snapshot stays the origin.", ""]
    shown = plan.differences[:_SHOWN_DIFFERENCES]
    lines += [f"- `{difference}`" for difference in shown] or ["- nothing to change"]
    if len(plan.differences) > len(shown):
        lines.append(f"- and {len(plan.differences) - len(shown)} more, all in the ledger")
    lines += ["", *(f"{number}. {stage_line(stage)}" for number, stage in enumerate(plan.stages, start=1)), ""]
    lines += [saving_line(plan), plan.undo.words]
    return [*lines, *(f"Note: {note}" for note in plan.notes), ""]


def approval_problem(answer: Mapping[str, Any] | None, offered: Sequence[str], approvers: Sequence[str]) -> str | None:
    """Why nothing may be written on an answer, or None when it approves the plan on record.

    ``answer`` is None when nobody's is on record, ``offered`` the hashes of this run's plans, the last one standing.
    An answer without a hash can only mean the one plan that there ever was.
    """
    if answer is None:
        return (
            "no approver's answer is on record: a task that was marked by hand approves nothing; clear await_approval "
            "and have the plan approved"
        )
    user = answer.get("user")
    if not answer["approved"]:
        return f"the plan was rejected by {user}" if user else "the plan was rejected: nobody answered in time"
    if approvers and answer.get("user_id", user) not in approvers:
        return f"{user} may not approve: governance.approvers in the estate are {', '.join(approvers)}"
    given = answer.get("hash") or (offered[0] if len(set(offered)) == 1 else "without a hash")
    if not offered or given != offered[-1]:
        return (
            f"{user} approved plan {given}, but the plan on record is {offered[-1] if offered else 'none'}; "
            "clear await_approval and have it approved"
        )
    return None


def stage_line(stage: Stage) -> str:
    """A step's title and its gates."""
    gates = "; ".join(f"{g.name} {g.comparison.value} {g.threshold:g} {g.unit}".strip() for g in stage.gates)
    return f"{stage.title} (gates: {gates})"


def saving_line(plan: Plan) -> str:
    """What a place's plan saves or costs, in its price book."""
    before, after = plan.usd_month_before, plan.usd_month_after
    if before is None or after is None:
        return f"Saving: not known in price book {plan.price_book}."
    word = "Saving" if after <= before else "Extra cost"
    change = abs(before - after)
    share = f" ({change / before:.0%})" if before > Decimal(0) else ""
    return (
        f"{word}: ${change:,.2f} a month{share}, from ${before:,.2f} to ${after:,.2f} (price book {plan.price_book})."
    )


def changed_since(approved: Sequence[Plan], now: Sequence[Plan]) -> str | None:
    """The differences between the approved plans and the plans made again, or None when the hashes are equal."""
    if [plan.hash() for plan in approved] == [plan.hash() for plan in now]:
        return None
    lines = []
    for old, new in zip(approved, now, strict=True):
        before, after = old.to_json(), new.to_json()
        for part in ("live", "differences", "stages"):
            found = differences(_comparable(before[part]), _comparable(after[part]), f"{new.place} {part}")
            lines += [str(difference) for difference in found]
    places = ", ".join(plan.place for plan in now)
    return (
        f"the plan changed between the approval and now, nothing was changed in {places}; trigger a new run and "
        "approve its plan:\n" + "\n".join(lines)
    )


def _comparable(part: Any) -> Any:
    # Lists compare by position of what they hold, so that the message names the entry and not the whole list.
    return {str(position): item for position, item in enumerate(part)} if isinstance(part, list) else part
