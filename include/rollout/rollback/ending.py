"""The verdict of a rollback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from include.rollout import decisions, steps
from include.rollout.ledger import (
    WHOLE_RUN,
    Chain,
    Record,
    Step,
    last,
)
from include.rollout.rollback.run import RollbackRun, Undoing, chosen_names, found, is_chosen, is_closed, records_of


def conclude(run: RollbackRun, approval: Mapping[str, Any] | None, failed_tasks: Sequence[str]) -> decisions.Verdict:
    """The verdict of a rollback, put on record with the heads of the chains that it wrote."""
    plan = last(run.records(WHOLE_RUN), Step.PLAN)
    places = list(run.params["regions"])
    by_place = {WHOLE_RUN: run.records(WHOLE_RUN), **{place: [] for place in places}}
    facts = decisions.RunFacts(run.chain(), run.params["dry_run"], places, [], by_place, approval, failed_tasks)
    undoings = found(run)
    changes = [decisions.Undone(_name(undoing, undoings), records_of(run, undoing)) for undoing in undoings]
    older = [Chain.from_json(item) for item in plan.figures["older"]] if plan else []
    left = [f"{chain.place} {chain.lever} of {chain.dag_id}/{chain.run_id}" for chain in older]
    verdict = decisions.rollback_verdict(facts, changes, _aside(run, plan, undoings) if plan else [], left)
    written = dict.fromkeys(Chain(u.lever, u.place, run.dag_id, run.run_id) for u in undoings)
    steps.record_verdict(run, verdict, list(written))
    return verdict


def _name(undoing: Undoing, undoings: Sequence[Undoing]) -> str:
    alone = sum((u.lever, u.place) == (undoing.lever, undoing.place) for u in undoings) == 1
    of_run = "" if alone else f" of {undoing.chain.dag_id}/{undoing.chain.run_id}"
    return f"{undoing.place} {undoing.lever}{of_run}"


def _aside(run: RollbackRun, plan: Record, undoings: Sequence[Undoing]) -> list[str]:
    """What this run could not undo, a line each: out of reach, not adding up, or in a place without a lock.

    Every record of the choice is read for it: whether a bad chain hides a change, its marks alone don't prove.
    """
    lines = []
    for item in plan.figures["out_of_reach"]:
        change = Undoing(Chain.from_json(item))
        if not (run.params.get("accept") and (run.params["dry_run"] or is_closed(run, change))):
            lines.append(f"{change.place} {change.lever}: {item['reason']}")
    bad = dict(plan.figures["bad"])
    for below in chosen_names(run) or [""]:
        bad |= {path: reason for path, reason in run.ledger.audit(below).items() if is_chosen(run, path)}
    tried = {undoing.chain.path for undoing in undoings}
    lines += [f"nobody knows what stands of a chain: {bad[path]}" for path in sorted(bad) if path not in tried]
    approval = last(run.records(WHOLE_RUN), Step.APPROVAL)
    missed = approval.figures.get("not_locked", {}) if approval else {}
    busy = {undoing.place for undoing in undoings}
    return lines + [f"{r}: lock not taken, a rollout may go on: {why}" for r, why in missed.items() if r not in busy]
