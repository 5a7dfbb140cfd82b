"""Decisions of a rollout as pure functions: what to show for approval, whether to go on, and what to say at the end.

They see plans and ledger records only; reading, writing and Airflow are the caller's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from include.rollout.gates import GateResult, Outcome
from include.rollout.ledger import WHOLE_RUN, Chain, OpenRun, Record, Step, last
from include.rollout.lever import Check, Plan, Refused, Stage, differences

Records = Sequence[Record]
_SHOWN_DIFFERENCES = 40  # lines of a plan that a person reads; the ledger holds all of them


def failed_checks(checks: Mapping[str, Sequence[Check]]) -> str | None:
    """One message with every failed check of every region and its remedy, or None when all passed."""
    lines = [
        f"{region}: {check.name}: {check.reason}" + (f" -> {check.remedy}" if check.remedy else "")
        for region, of_region in checks.items()
        for check in of_region
        if not check.passed
    ]
    if not lines:
        return None
    return f"preflight refused, {len(lines)} check(s) failed and nothing was changed:\n" + "\n".join(lines)


def plans_hash(plans: Sequence[Plan]) -> str:
    """12 hex digits over the plans of all regions: what an approval is bound to."""
    return hashlib.sha256(" ".join(plan.hash() for plan in plans).encode()).hexdigest()[:12]


def plan_text(plans: Sequence[Plan], resumed: Mapping[str, OpenRun], reason: str) -> str:
    """The plan as Markdown: per region what changes, in which steps, what it saves and how it is undone."""
    lines = [f"**Reason:** {reason}", ""] if reason else []
    for plan in plans:
        lines += [f"### {plan.region}: {plan.lever}", ""]
        if plan.region in resumed:
            run = resumed[plan.region].chain
            lines += [f"Resumes unfinished run {run.dag_id}/{run.run_id}: its snapshot stays the origin.", ""]
        shown = plan.differences[:_SHOWN_DIFFERENCES]
        lines += [f"- `{difference}`" for difference in shown] or ["- nothing to change"]
        if len(plan.differences) > len(shown):
            lines.append(f"- and {len(plan.differences) - len(shown)} more, all in the ledger")
        lines += ["", *(f"{number}. {_stage_line(stage)}" for number, stage in enumerate(plan.stages, start=1)), ""]
        lines += [_saving_line(plan), f"Undo: {plan.undo.value}."]
        lines += [*(f"Note: {note}" for note in plan.notes), ""]
    return "\n".join(lines).strip()


def _stage_line(stage: Stage) -> str:
    gates = "; ".join(f"{g.name} {g.comparison.value} {g.threshold:g} {g.unit}".strip() for g in stage.gates)
    return f"{stage.title} (gates: {gates})"


def _saving_line(plan: Plan) -> str:
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
    if plans_hash(approved) == plans_hash(now):
        return None
    lines = []
    for old, new in zip(approved, now, strict=True):
        before, after = old.to_json(), new.to_json()
        for part in ("live", "differences", "stages"):
            found = differences(_comparable(before[part]), _comparable(after[part]), f"{new.region} {part}")
            lines += [str(difference) for difference in found]
    return (
        "the plan changed between the approval and now, nothing was changed; trigger a new run and approve its plan:\n"
        + "\n".join(lines)
    )


def _comparable(part: Any) -> Any:
    # Lists compare by position of what they hold, so that the message names the entry and not the whole list.
    return {str(position): item for position, item in enumerate(part)} if isinstance(part, list) else part


def attempt(records: Records) -> Records:
    """A region's records since its plan was last confirmed; all of them when it never was."""
    start = max((n for n, record in enumerate(records) if record.step == Step.PLAN), default=0)
    return records[start:]


def confirmed_plan(records: Records) -> Plan | None:
    """The plan that was confirmed for a region before the first write, or None when there is none."""
    record = last(records, Step.PLAN)
    return None if record is None else Plan.from_json(record.figures["plan"])


def stage_in(records: Records, slot: str) -> Stage | None:
    """The confirmed plan's stage of a slot, or None when the slot is not in the plan."""
    plan = confirmed_plan(records)
    return None if plan is None else next((stage for stage in plan.stages if stage.slot == slot), None)


def last_of_slot(records: Records, step: str, slot: str) -> Record | None:
    """The last record of ``step`` for a slot, or None."""
    return last([record for record in records if record.figures.get("slot") == slot], step)


def failure(records: Records) -> str | None:
    """Why a region can't go on (a gate that did not pass, or a step that stopped), or None."""
    for record in reversed(attempt(records)):
        if record.step == Step.STOPPED:
            return f"{record.region}: {record.figures['where']}: {record.figures['reason']}"
        if record.step == Step.GATE:
            return None if record.figures["outcome"] == Outcome.PASS else _gate_failure(record)
        if record.step == Step.APPLIED:
            return None
    return None


def _gate_failure(record: Record) -> str:
    reasons = [r["reason"] for r in record.figures["results"] if r["outcome"] != Outcome.PASS] or ["it has no gate"]
    return f"{record.region}: gate of {record.figures['title']} is {record.figures['outcome']}: {'; '.join(reasons)}"


def check_may_apply(region: str, by_region: Mapping[str, Records]) -> None:
    """Raise Refused when the run must not write to ``region``: no snapshot, rolled back already, or stopped elsewhere.

    The graph's edges say the same; this holds when somebody clears or marks tasks by hand.
    """
    own = attempt(by_region[region])
    if last(own, Step.SNAPSHOT) is None:
        raise Refused(f"{region}: this run has no snapshot there; trigger a new run")
    if last(own, Step.UNDO) is not None:
        raise Refused(f"{region}: this run was rolled back there; trigger a new run")
    for other, records in by_region.items():
        if other != region and (reason := failure(records)):
            raise Refused(f"{region}: stopped before its next step because of {reason}")


def results_json(results: Iterable[GateResult]) -> list[dict[str, Any]]:
    """Gate results for the ledger and XCom."""
    rows = []
    for result in results:
        gate, figure = result.gate, result.figure
        row: dict[str, Any] = {"gate": gate.name, "outcome": result.outcome.value, "reason": result.reason}
        row |= {"comparison": gate.comparison.value, "threshold": gate.threshold, "unit": gate.unit}
        row |= {"threshold_source": gate.threshold_source, "safety": gate.safety}
        if figure is not None:
            # JSON has no NaN: what is not a number is written as its name.
            value = figure.value if abs(figure.value) < float("inf") else str(figure.value)
            row |= {"value": value, "samples": figure.samples, "source": figure.source, "note": figure.note}
            if figure.coverage is not None:
                row["coverage"] = figure.coverage
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Decision:
    """Promote, or undo the touched regions; ``reasons`` say why a promotion is off."""

    promote: bool
    reasons: tuple[str, ...]


def decide(selected: Sequence[str], by_region: Mapping[str, Records]) -> Decision:
    """Promote only when every stage of every selected region's confirmed plan has a gate that passed."""
    reasons = [reason for region in selected if (reason := failure(by_region[region]))]
    for region in selected:
        records = attempt(by_region[region])
        plan = confirmed_plan(records)
        if plan is None:
            reasons.append(f"{region}: its plan was not confirmed")
            continue
        for stage in plan.stages:
            gate = last_of_slot(records, Step.GATE, stage.slot)
            if gate is None and not failure(records):
                reasons.append(f"{region}: {stage.title} was not reached")
                break
    return Decision(promote=not reasons, reasons=tuple(reasons))


class Ending:
    """Names of the verdicts."""

    PROMOTED = "promoted"
    DRY_RUN = "dry run"
    ROLLED_BACK = "rolled back"
    REJECTED = "rejected"
    REFUSED = "refused"
    UNFINISHED = "unfinished"
    NOTHING = "nothing to undo"


@dataclass(frozen=True)
class Verdict:
    """The end of a run: its name, whether the run may be green, and what to read."""

    name: str
    green: bool
    message: str
    left_behind: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What a verdict is made from. ``touched`` are the regions where the run's changes still stand."""

    chain: Chain
    dry_run: bool
    selected: Sequence[str]
    touched: Sequence[str]
    by_region: Mapping[str, Records]  # with the run's own chain under WHOLE_RUN
    approval: Mapping[str, Any] | None = None
    failed_tasks: Sequence[str] = field(default_factory=tuple)


def verdict(facts: Facts) -> Verdict:
    """What happened, what was left behind, the next command. Green only when promoted, or a dry run that planned."""
    own = facts.by_region[WHOLE_RUN]
    stops = [stop_line(record) for record in own if record.step == Step.STOPPED]
    if facts.dry_run and not stops and not facts.failed_tasks and last(own, Step.PLAN):
        message = "dry run: checked and planned, nothing was changed. Next: trigger again with dry_run off."
        return Verdict(Ending.DRY_RUN, green=True, message=message)
    if facts.selected and _all(facts, Step.PROMOTED) and not stops:
        done = ", ".join(facts.selected)
        return Verdict(Ending.PROMOTED, green=True, message=f"promoted in {done}: every gate of every stage passed.")
    undone = [r for r in facts.selected if last(attempt(facts.by_region[r]), Step.UNDO)]
    if not undone and not facts.touched:
        return _nothing_written(facts, stops)
    return _undone(facts, undone, stops)


def _all(facts: Facts, step: str) -> bool:
    return all(last(attempt(facts.by_region[region]), step) for region in facts.selected)


def stop_line(record: Record) -> str:
    """One line for a record of a step that stopped."""
    place = "" if record.region == WHOLE_RUN else f"{record.region}: "
    return f"{place}{record.figures['where']}: {record.figures['reason']}"


def _nothing_written(facts: Facts, stops: Sequence[str]) -> Verdict:
    approval = facts.approval
    stops = [*stops, *(line for r in facts.selected if (line := failure(facts.by_region[r])))]
    if approval is not None and not approval["approved"]:
        by = f"rejected by {approval['user']}" if approval["user"] else "rejected: nobody answered in time"
        message = f"{by}. Nothing was changed. Next: trigger a new run and have its plan approved."
        return Verdict(Ending.REJECTED, green=False, message=message)
    reason = "\n".join(stops) or _without_reason(facts)
    message = f"refused: {reason}\nNothing was changed. Next: remove the reason and trigger a new run."
    return Verdict(Ending.REFUSED, green=False, message=message)


def _without_reason(facts: Facts) -> str:
    tasks = ", ".join(facts.failed_tasks) or "none"
    return f"a task ended without a reason on record (failed: {tasks}); read its log"


def _undone(facts: Facts, undone: Sequence[str], stops: Sequence[str]) -> Verdict:
    reasons = [line for region in facts.selected if (line := _first_failure(facts.by_region[region]))]
    left = left_behind(facts)
    restored = [region for region in undone if region not in facts.touched]
    name = Ending.UNFINISHED if facts.touched else Ending.ROLLED_BACK
    parts = [f"{name}: " + ("\n".join([*reasons, *stops]) or _without_reason(facts))]
    if restored:
        parts.append(f"Restored: {', '.join(restored)}.")
    parts += [line for region in undone if (line := _others_line(facts.by_region[region]))]
    if left:
        parts += ["Left behind:", *left]
        parts.append(f"Next: {rollback_command(facts.chain.lever, facts.touched)}")
    else:
        parts.append("Left behind: nothing. Next: remove the reason and trigger a new run.")
    return Verdict(name, green=False, message="\n".join(parts), left_behind=tuple(left))


def _first_failure(records: Records) -> str | None:
    """Why a region was undone: the gate or stop before its rollback started."""
    records = attempt(records)
    before = [n for n, record in enumerate(records) if record.step == Step.UNDO]
    return failure(records[: before[0]] if before else records)


def left_behind(facts: Facts) -> list[str]:
    """One line for each region where the run's changes still stand, with what is known of them."""
    lines = []
    for region in facts.touched:
        records = attempt(facts.by_region[region])
        restored = last(records, Step.RESTORED)
        stop = last(records, Step.STOPPED)
        if restored is not None:
            lines.append(f"{region}: not back yet: {'; '.join(restored.figures['remaining'])}")
        elif stop is not None and last(records, Step.UNDO) is not None:
            lines.append(f"{region}: the rollback stopped: {stop.figures['reason']}")
        else:
            lines.append(f"{region}: written to and not rolled back")
    return lines


def _others_line(records: Records) -> str | None:
    undone = last(attempt(records), Step.UNDONE)
    others = undone.figures["changed_by_others"] if undone else []
    if not others or undone is None:
        return None
    return f"{undone.region}: changed by others since the snapshot and left alone: {'; '.join(others)}"


def rollback_command(lever: str, regions: Sequence[str]) -> str:
    """The command that rolls a lever back in regions by its own DAG."""
    conf = json.dumps({"lever": lever, "regions": list(regions), "dry_run": False})
    return f"airflow dags trigger rollback --conf '{conf}'"


def rollback_verdict(facts: Facts, items: Sequence[tuple[str, str, Records]]) -> Verdict:
    """The end of a run of the rollback DAG. ``items`` are (region, lever, this run's records) of what it undoes."""
    own = facts.by_region[WHOLE_RUN]
    stops = [stop_line(record) for record in own if record.step == Step.STOPPED]
    if last(own, Step.PLAN) and not stops and not facts.failed_tasks:
        if not items:
            return Verdict(Ending.NOTHING, green=True, message="nothing to undo: no change of that choice stands.")
        if facts.dry_run:
            message = "dry run: nothing was changed. Next: trigger again with dry_run off."
            return Verdict(Ending.DRY_RUN, green=True, message=message)
    if not any(last(records, Step.UNDO) for _, _, records in items):
        return _nothing_written(facts, stops)
    left = [f"{region} {lever}: {what}" for region, lever, records in items if (what := _not_restored(records))]
    others = [line for _, _, records in items if (line := _others_line(records))]
    if left:
        command = rollback_command(facts.chain.lever, facts.selected)
        message = "\n".join(["unfinished. Left behind:", *left, *others, f"Next: {command}"])
        return Verdict(Ending.UNFINISHED, green=False, message=message, left_behind=tuple(left))
    done = ", ".join(f"{region} {lever}" for region, lever, _ in items)
    return Verdict(Ending.ROLLED_BACK, green=True, message="\n".join([f"rolled back and verified: {done}.", *others]))


def _not_restored(records: Records) -> str | None:
    restored = last(records, Step.RESTORED)
    if restored is not None:
        return None if restored.figures["complete"] else f"not back yet: {'; '.join(restored.figures['remaining'])}"
    stop = last(records, Step.STOPPED)
    return f"not restored: {stop.figures['reason'] if stop else 'read the log of its tasks'}"
