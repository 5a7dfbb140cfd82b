"""The end of a run of the rollback DAG: green only when everything that was found is back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from include.rollout.decisions.progress import Records
from include.rollout.decisions.verdicts import (
    Ending,
    RunFacts,
    Verdict,
    nothing_written,
    others_line,
    rollback_command,
    stop_line,
)
from include.rollout.ledger import WHOLE_RUN, Step, is_complete_restoration, last


@dataclass(frozen=True)
class Undone:
    """What a run of the rollback DAG has on record of one change; ``name`` reads like ``us-east-1 spot_capacity``."""

    name: str
    records: Records


def rollback_verdict(
    facts: RunFacts, changes: Sequence[Undone], aside: Sequence[str], older: Sequence[str] = ()
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
        return nothing_written(facts, stops)
    left = [f"{change.name}: {what}" for change in changes if (what := _not_restored(change.records))] + [*aside]
    notes = [line for change in changes for line in _restored_notes(change)]
    if older:
        notes.append(f"Older changes stand still: {', '.join(older)}. Trigger again to undo the next.")
    if left:
        return _unfinished_rollback(facts, left, notes)
    done = ", ".join(change.name for change in changes)
    return Verdict(Ending.ROLLED_BACK, green=True, message="\n".join([f"rolled back and verified: {done}.", *notes]))


def _nothing_undone(facts: RunFacts, changes: Sequence[Undone], aside: Sequence[str]) -> Verdict:
    plan = last(facts.by_place[WHOLE_RUN], Step.PLAN)
    if facts.dry_run and (changes or (plan and plan.figures["out_of_reach"])):
        message = "dry run: nothing was changed. Next: trigger again with dry_run off."
        if aside:
            message = "\n".join(["dry run: nothing was changed, and a rollback would leave behind:", *aside])
        return Verdict(Ending.DRY_RUN, green=not aside, message=message, left_behind=tuple(aside))
    if aside:
        return _unfinished_rollback(facts, aside, ())
    return Verdict(Ending.NOTHING, green=True, message="nothing to undo: no change of that choice stands.")


def _unfinished_rollback(facts: RunFacts, left: Sequence[str], notes: Sequence[str]) -> Verdict:
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
    if line := others_line(change.records):
        yield line
    restored = last(change.records, Step.RESTORED)
    if restored is not None and restored.figures.get("accepted"):
        accepted = [*restored.figures["remaining"], *restored.figures["others"]]
        yield f"{change.name}: accepted and closed: {'; '.join(accepted)}"
