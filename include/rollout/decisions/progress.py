"""How far a run has come in a place, from its records: which gates passed, what failed, and whether it may go on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.rollout.gates import GateResult, Outcome
from include.rollout.ledger import Record, Step, last
from include.rollout.lever import Plan, Refused, Stage

Records = Sequence[Record]


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

    That is: no snapshot, rolled back already, a stage before that did not pass its gates, stopped elsewhere, or a stage
    that the canary (the first of ``by_place``) has yet to pass. The graph's edges say the same; this holds when
    somebody clears or marks tasks by hand.
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
    canary = next(iter(by_place))
    ahead = attempt(by_place[canary])
    if canary != place and (first := stage_in(ahead, slot)) and not has_passed(ahead, slot):
        raise Refused(f"{place}: {first.title} has not passed its gates in the canary {canary}")


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


def waits_for_people(own: Records) -> tuple[str, ...]:
    """What is unknown when the run's last decision was to leave the choice to people, else nothing."""
    decision = last(own, Step.DECISION)
    return tuple(decision.figures.get("unknown", ())) if decision else ()
