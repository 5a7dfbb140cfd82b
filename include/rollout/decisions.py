"""Decisions of a rollout as pure functions: what to show for approval, whether to go on, and what to say at the end.

They see plans and ledger records only; reading, writing and Airflow are the caller's.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from include.rollout.gates import GateResult, Outcome
from include.rollout.ledger import WHOLE_RUN, Chain, OpenRun, Record, Step, is_complete_restoration, last
from include.rollout.lever import Check, Plan, Refused, Stage, differences

Records = Sequence[Record]
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


def plan_text(plans: Sequence[Plan], resumed: Mapping[str, OpenRun], reason: str, judging: Mapping[str, float]) -> str:
    """The plan as Markdown: per place what changes, in which steps, what it saves and how it is undone."""
    lines = [f"**Reason:** {reason}", ""] if reason else []
    for plan in plans:
        lines += [f"### {plan.place}: {plan.lever}", ""]
        if plan.place in resumed:
            run = resumed[plan.place].chain
            lines += [f"Resumes unfinished run {run.dag_id}/{run.run_id}: its snapshot stays the origin.", ""]
        shown = plan.differences[:_SHOWN_DIFFERENCES]
        lines += [f"- `{difference}`" for difference in shown] or ["- nothing to change"]
        if len(plan.differences) > len(shown):
            lines.append(f"- and {len(plan.differences) - len(shown)} more, all in the ledger")
        lines += ["", *(f"{number}. {_stage_line(stage)}" for number, stage in enumerate(plan.stages, start=1)), ""]
        lines += [_saving_line(plan), plan.undo.words]
        lines += [*(f"Note: {note}" for note in plan.notes), ""]
    lines.append(
        "Gates are judged {soak_seconds} s after each step, over at most {gate_window_seconds} s of which "
        "{minimum_coverage:.0%} must have samples; without data they wait {gate_wait_seconds} s.".format(**judging)
    )
    return "\n".join(lines).strip()


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


def attempt(records: Records) -> Records:
    """A place's records since its plan was last confirmed; all of them when it never was."""
    start = max((n for n, record in enumerate(records) if record.step == Step.PLAN), default=0)
    return records[start:]


def confirmed_plan(records: Records) -> Plan | None:
    """The plan that was confirmed for a place before the first write, or None when there is none."""
    record = last(records, Step.PLAN)
    return None if record is None else Plan.from_json(record.figures["plan"])


def confirmed_stages(records: Records) -> tuple[Stage, ...]:
    """The confirmed plan's stages, in order; none without a plan."""
    plan = confirmed_plan(records)
    return () if plan is None else plan.stages


def stage_in(records: Records, slot: str) -> Stage | None:
    """The confirmed plan's stage of a slot, or None when the slot is not in the plan."""
    return next((stage for stage in confirmed_stages(records) if stage.slot == slot), None)


def last_of_slot(records: Records, step: str, slot: str) -> Record | None:
    """The last record of ``step`` for a slot, or None."""
    return last([record for record in records if record.figures.get("slot") == slot], step)


def failure(records: Records) -> str | None:
    """Why a place can't go on, or None: a gate that failed at any time in this attempt, or a step that stopped.

    A failed gate is final, whoever marks or clears its task: the plan has to be approved and tried again. A step that
    stopped counts until it was done after all.
    """
    records = attempt(records)
    if gate := next((record for record in records if record.step == Step.GATE and is_final(record)), None):
        return _gate_line(gate)
    for record in reversed(records):
        if record.step == Step.STOPPED:
            return f"{record.place}: {record.figures['where']}: {record.figures['reason']}"
        if record.step in {Step.GATE, Step.APPLIED}:
            return None
    return None


def is_final(gate: Record) -> bool:
    """Whether a judged stage has to be undone: a gate failed, or one that the service's safety hangs on is unknown.

    A stage without gates can never be known; results of an older release don't say which gates are for safety.
    """
    results = gate.figures["results"]
    unknown = [result for result in results if result["outcome"] == Outcome.UNKNOWN]
    failed = gate.figures["outcome"] == Outcome.FAIL
    return failed or not results or any(result.get("safety", True) for result in unknown)


def undecided(records: Records) -> list[str]:
    """The stages of a place whose gates are unknown and may be judged again, with the reasons."""
    records = attempt(records)
    slots = dict.fromkeys(record.figures["slot"] for record in records if record.step == Step.GATE)
    gates = [gate for slot in slots if (gate := standing_gate(records, slot)) is not None]
    return [_gate_line(g) for g in gates if g.figures["outcome"] == Outcome.UNKNOWN and not is_final(g)]


def standing_gate(records: Records, slot: str) -> Record | None:
    """The last judgement of a slot, unless the slot was written again since."""
    ours = [record for record in records if record.figures.get("slot") == slot]
    judged = [record for record in ours if record.step in {Step.TOUCH, Step.GATE}]
    return judged[-1] if judged and judged[-1].step == Step.GATE else None


def has_passed(records: Records, slot: str) -> bool:
    """Whether the gates of a slot passed after its last write."""
    gate = standing_gate(records, slot)
    return gate is not None and gate.figures["outcome"] == Outcome.PASS


def _gate_line(record: Record) -> str:
    reasons = [r["reason"] for r in record.figures["results"] if r["outcome"] != Outcome.PASS] or ["it has no gate"]
    return f"{record.place}: gate of {record.figures['title']} is {record.figures['outcome']}: {'; '.join(reasons)}"


def check_may_apply(place: str, slot: str, by_place: Mapping[str, Records]) -> None:
    """Raise Refused when the run must not write to ``place``.

    That is: no snapshot, rolled back already, a stage before that did not pass its gates, or stopped elsewhere. The
    graph's edges say the same; this holds when somebody clears or marks tasks by hand.
    """
    own = attempt(by_place[place])
    if last(own, Step.SNAPSHOT) is None:
        raise Refused(f"{place}: this run has no snapshot there; trigger a new run")
    if last(own, Step.UNDO) is not None:
        raise Refused(f"{place}: this run was rolled back there; trigger a new run")
    if gate := next((record for record in own if record.step == Step.GATE and is_final(record)), None):
        raise Refused(f"{place}: nothing more is written there: {_gate_line(gate)}")
    for stage in itertools.takewhile(lambda stage: stage.slot != slot, confirmed_stages(own)):
        if not has_passed(own, stage.slot):
            raise Refused(
                f"{place}: {stage.title} has not passed its gates: a task that was marked by hand passes none"
            )
    for other, records in by_place.items():
        if other != place and (reason := failure(records)):
            raise Refused(f"{place}: stopped before its next step because of {reason}")


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
    """Promote; undo the touched places because of ``reasons``; or leave it to people because of ``unknown``."""

    reasons: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def promote(self) -> bool:
        """Whether nothing speaks against a promotion."""
        return not self.reasons and not self.unknown


def decide(selected: Sequence[str], by_place: Mapping[str, Records]) -> Decision:
    """Promote only when every stage of every selected place's confirmed plan has passed its gates.

    What failed anywhere is undone everywhere. A stage that was not reached is undone too, unless it waits for a gate
    that may be judged again.
    """
    failed = [reason for place in selected if (reason := failure(by_place[place]))]
    unknown = [line for place in selected for line in undecided(by_place[place])]
    if unknown and not failed:
        return Decision(unknown=tuple(unknown))
    ahead = [line for place in selected if (line := _not_reached(place, attempt(by_place[place])))]
    return Decision((*failed, *ahead))


def _not_reached(place: str, records: Records) -> str | None:
    if failure(records):
        return None  # said already
    if confirmed_plan(records) is None:
        return f"{place}: its plan was not confirmed"
    ahead = (stage for stage in confirmed_stages(records) if not has_passed(records, stage.slot))
    return next((f"{place}: {stage.title} was not reached" for stage in ahead), None)


class Ending(enum.StrEnum):
    """Names of the verdicts."""

    PROMOTED = "promoted"
    DRY_RUN = "dry run"
    ROLLED_BACK = "rolled back"
    UNKNOWN = "unknown"
    REJECTED = "rejected"
    REFUSED = "refused"
    UNFINISHED = "unfinished"
    NOTHING = "nothing to undo"


@dataclass(frozen=True)
class Verdict:
    """The end of a run: its name, whether the run may be green, and what to read."""

    name: Ending
    green: bool
    message: str
    left_behind: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What a verdict is made from. ``touched`` are the places where the run's changes still stand.

    ``undone_by`` names the other run (``dag_id/run_id``) that has undone this one's change, by place.
    """

    chain: Chain
    dry_run: bool
    selected: Sequence[str]
    touched: Sequence[str]
    by_place: Mapping[str, Records]  # with the run's own chain under WHOLE_RUN
    approval: Mapping[str, Any] | None = None
    failed_tasks: Sequence[str] = field(default_factory=tuple)
    undone_by: Mapping[str, str] = field(default_factory=dict)


def verdict(facts: Facts) -> Verdict:
    """What happened, what was left behind, the next command. Green only when promoted, or a dry run that planned."""
    own = facts.by_place[WHOLE_RUN]
    stops = [stop_line(record) for record in own if record.step == Step.STOPPED]
    if facts.dry_run and not stops and not facts.failed_tasks and last(own, Step.PLAN):
        message = "dry run: checked and planned, nothing was changed. Next: trigger again with dry_run off."
        return Verdict(Ending.DRY_RUN, green=True, message=message)
    promoted = facts.selected and _all(facts, Step.PROMOTED) and not _stops_after_decision(own)
    if promoted and not facts.undone_by:
        done = ", ".join(facts.selected)
        return Verdict(Ending.PROMOTED, green=True, message=f"promoted in {done}: every gate of every stage passed.")
    undone = [r for r in facts.selected if last(attempt(facts.by_place[r]), Step.UNDO)]
    if not undone and not facts.touched and not facts.undone_by:
        return _nothing_written(facts, stops)
    if facts.touched and not undone and (unknown := waits_for_people(own)):
        return _unknown(facts, unknown)
    return _undone(facts, undone, stops)


def _stops_after_decision(own: Records) -> bool:
    """Whether a step of the run as a whole stopped since its last decision: what was before is settled by it."""
    later = itertools.takewhile(lambda record: record.step != Step.DECISION, reversed(own))
    return any(record.step == Step.STOPPED for record in later)


def waits_for_people(own: Records) -> tuple[str, ...]:
    """What is unknown when the run's last decision was to leave the choice to people, else nothing."""
    decision = last(own, Step.DECISION)
    return tuple(decision.figures.get("unknown", ())) if decision else ()


def _unknown(facts: Facts, unknown: Sequence[str]) -> Verdict:
    chain = facts.chain
    tasks = list(facts.failed_tasks) or ["choose_ending"]  # no task fails when a plan can't be made again
    call = {"dag_run_id": chain.run_id, "task_ids": tasks, "include_downstream": True,
            "only_failed": False, "dry_run": False}  # fmt: skip
    left = tuple(f"{place}: written to, neither promoted nor rolled back" for place in facts.touched)
    lines = [
        f"{Ending.UNKNOWN}: " + "\n".join(unknown),
        "Nothing was promoted. The change is kept, and the lock where it stands.",
        "Left behind:",
        *left,
        f"Next, once the data is there: judge again. Clear {', '.join(tasks)} with everything downstream, "
        f"in the UI or by POST /api/v2/dags/{chain.dag_id}/clearTaskInstances {json.dumps(call)}",
        f"Or undo: {rollback_command(chain.lever, facts.touched)}",
    ]
    return Verdict(Ending.UNKNOWN, green=False, message="\n".join(lines), left_behind=left)


def _all(facts: Facts, step: str) -> bool:
    return all(last(attempt(facts.by_place[place]), step) for place in facts.selected)


def stop_line(record: Record) -> str:
    """One line for a record of a step that stopped."""
    prefix = "" if record.place == WHOLE_RUN else f"{record.place}: "
    return f"{prefix}{record.figures['where']}: {record.figures['reason']}"


def _nothing_written(facts: Facts, stops: Sequence[str]) -> Verdict:
    approval = facts.approval
    stops = [*stops, *(line for r in facts.selected if (line := failure(facts.by_place[r])))]
    if approval is not None and not approval["approved"]:
        by = f"rejected by {approval['user']}" if approval["user"] else "rejected: nobody answered in time"
        message = f"{by}. Nothing was changed. Next: trigger a new run and have its plan approved."
        return Verdict(Ending.REJECTED, green=False, message=message)
    reason = "\n".join(stops or _decided(facts)) or _without_reason(facts)
    message = f"refused: {reason}\nNothing was changed. Next: remove the reason and trigger a new run."
    return Verdict(Ending.REFUSED, green=False, message=message)


def _without_reason(facts: Facts) -> str:
    tasks = ", ".join(facts.failed_tasks) or "none"
    return f"a task ended without a reason on record (failed: {tasks}); read its log"


def _undone(facts: Facts, undone: Sequence[str], stops: Sequence[str]) -> Verdict:
    reasons = [line for place in facts.selected if (line := _first_failure(facts.by_place[place]))]
    # Every gate may have passed, and the live world have spoken against a promotion.
    reasons = reasons or _decided(facts) or [f"{place}: undone by another run" for place in facts.undone_by]
    left = left_behind(facts)
    restored = [place for place in undone if place not in facts.touched]
    name = Ending.UNFINISHED if facts.touched else Ending.ROLLED_BACK
    parts = [f"{name}: " + ("\n".join([*reasons, *stops]) or _without_reason(facts))]
    if restored:
        parts.append(f"Restored: {', '.join(restored)}.")
    parts += [f"{place}: undone by {run}." for place, run in facts.undone_by.items()]
    parts += [line for place in undone if (line := _others_line(facts.by_place[place]))]
    if left:
        parts += ["Left behind:", *left]
        parts.append(f"Next: {rollback_command(facts.chain.lever, facts.touched)}")
    else:
        parts.append("Left behind: nothing. Next: remove the reason and trigger a new run.")
    return Verdict(name, green=False, message="\n".join(parts), left_behind=tuple(left))


def _decided(facts: Facts) -> list[str]:
    """What the run's last decision had against a promotion."""
    decision = last(facts.by_place[WHOLE_RUN], Step.DECISION)
    return [] if decision is None else [*decision.figures["reasons"], *decision.figures.get("unknown", ())]


def _first_failure(records: Records) -> str | None:
    """Why a place was undone: the gate or stop before its rollback started."""
    records = attempt(records)
    before = [n for n, record in enumerate(records) if record.step == Step.UNDO]
    return failure(records[: before[0]] if before else records)


def left_behind(facts: Facts) -> list[str]:
    """One line for each place where the run's changes still stand, with what is known of them."""
    lines = []
    for place in facts.touched:
        records = attempt(facts.by_place[place])
        restored = last(records, Step.RESTORED)
        stop = last(records, Step.STOPPED)
        if restored is not None:
            lines.append(f"{place}: not back yet: {'; '.join(restored.figures['remaining'])}")
        elif stop is not None and last(records, Step.UNDO) is not None:
            lines.append(f"{place}: the rollback stopped: {stop.figures['reason']}")
        else:
            lines.append(f"{place}: written to and not rolled back")
    return lines


def _others_line(records: Records) -> str | None:
    undone = last(attempt(records), Step.UNDONE)
    others = undone.figures["changed_by_others"] if undone else []
    if not others or undone is None:
        return None
    return f"{undone.place}: changed by others since the snapshot and left alone: {'; '.join(others)}"


def rollback_command(lever: str, places: Sequence[str]) -> str:
    """The command that rolls a lever back in places by its own DAG."""
    conf = json.dumps({"lever": lever, "regions": list(places), "dry_run": False})
    return f"airflow dags trigger rollback --conf '{conf}'"


@dataclass(frozen=True)
class Undone:
    """What a run of the rollback DAG has on record of one change; ``name`` reads like ``us-east-1 spot_capacity``."""

    name: str
    records: Records


def rollback_verdict(
    facts: Facts, changes: Sequence[Undone], aside: Sequence[str], older: Sequence[str] = ()
) -> Verdict:
    """The end of a run of the rollback DAG: green only when everything that was found is restored.

    ``aside`` says what could not be undone at all, ``older`` names changes that stand and were not asked for.
    """
    own = facts.by_place[WHOLE_RUN]
    stops = [stop_line(record) for record in own if record.step == Step.STOPPED]
    if last(own, Step.PLAN) and not stops and not facts.failed_tasks and (facts.dry_run or not changes):
        return _nothing_undone(facts, changes, aside)
    if not any(last(change.records, Step.UNDO) for change in changes):
        before = [(c.name, stop) for c in changes if (stop := last(c.records, Step.STOPPED))]
        stops += [f"{name}: {stop.figures['reason']}" for name, stop in before]
        return _nothing_written(facts, stops)
    left = [f"{change.name}: {what}" for change in changes if (what := _not_restored(change.records))] + [*aside]
    notes = [line for change in changes for line in _restored_notes(change)]
    if older:
        notes.append(f"Older changes stand still: {', '.join(older)}. Trigger again to undo the next.")
    if left:
        return _unfinished_rollback(facts, left, notes)
    done = ", ".join(change.name for change in changes)
    return Verdict(Ending.ROLLED_BACK, green=True, message="\n".join([f"rolled back and verified: {done}.", *notes]))


def _nothing_undone(facts: Facts, changes: Sequence[Undone], aside: Sequence[str]) -> Verdict:
    plan = last(facts.by_place[WHOLE_RUN], Step.PLAN)
    if facts.dry_run and (changes or (plan and plan.figures["out_of_reach"])):
        message = "dry run: nothing was changed. Next: trigger again with dry_run off."
        if aside:
            message = "\n".join(["dry run: nothing was changed, and a rollback would leave behind:", *aside])
        return Verdict(Ending.DRY_RUN, green=not aside, message=message, left_behind=tuple(aside))
    if aside:
        return _unfinished_rollback(facts, aside, ())
    return Verdict(Ending.NOTHING, green=True, message="nothing to undo: no change of that choice stands.")


def _unfinished_rollback(facts: Facts, left: Sequence[str], notes: Sequence[str]) -> Verdict:
    command = rollback_command(facts.chain.lever, facts.selected)
    accept = "add accept to close what others changed or what can't come back."
    message = "\n".join(["unfinished. Left behind:", *left, *notes, f"Next: {command}", f"Or {accept}"])
    return Verdict(Ending.UNFINISHED, green=False, message=message, left_behind=tuple(left))


def _not_restored(records: Records) -> str | None:
    restored = last(records, Step.RESTORED)
    if restored is not None:
        closed = is_complete_restoration(restored)
        return None if closed else f"not back yet: {'; '.join(restored.figures['remaining'])}"
    stop = last(records, Step.STOPPED)
    if stop is not None:
        return f"not restored: {stop.figures['reason']}"
    undone = last(records, Step.UNDO) is not None
    return "not restored: " + ("read the log of its tasks" if undone else "waits for what failed before it")


def _restored_notes(change: Undone) -> Iterable[str]:
    """What others changed, and what somebody accepted."""
    if line := _others_line(change.records):
        yield line
    restored = last(change.records, Step.RESTORED)
    if restored is not None and restored.figures.get("accepted"):
        accepted = [*restored.figures["remaining"], *restored.figures["others"]]
        yield f"{change.name}: accepted and closed: {'; '.join(accepted)}"
