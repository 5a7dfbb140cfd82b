"""What is undone in which order, for the approver."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from include.rollout import decisions, steps
from include.rollout.decisions import Undoable
from include.rollout.ledger import LedgerError, OpenRun
from include.rollout.lever import Undo
from include.rollout.rollback.run import Found, RollbackRun, as_lever, grouped

_AT_ONCE = 16  # places and levers whose live state is read at the same time


def describe(run: RollbackRun, found: Found) -> str:
    """What is undone in which order, for the approver, and what can't be. Reads the live state at once."""
    groups = list(grouped(run, ((change.chain.place, change.chain.lever, change) for change in found.changes)))
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        texts = list(pool.map(lambda group: _describe_place(run, group), groups))
    texts += [f"**Out of reach:** {chain.path}: {reason}" for chain, reason in found.out_of_reach.items()]
    texts += [f"**Does not add up:** {reason}" for reason in found.bad.values()]
    if run.params.get("accept"):
        texts.append("What remains, what belongs to others and what is out of reach is **accepted** and closed.")
    return "\n\n".join(texts) or "Nothing to undo: no change stands."


def _describe_place(run: RollbackRun, changes: Sequence[OpenRun]) -> str:
    """One lever in one place: its changes, the newest first, and what is set back from now to before the oldest."""
    lines = []
    for change in changes:
        chain, state = change.chain, "promoted" if change.promoted else "unfinished"
        lines += [
            f"### {chain.place}: {chain.lever} of {chain.dag_id}/{chain.run_id} ({state}, {change.snapshot.time})"
        ]
    oldest = changes[-1].snapshot
    acting = as_lever(run, oldest.lever)
    try:
        found = acting.lever.verify_restored(acting.target_of(oldest), oldest.figures["snapshot"])
    except Exception as error:  # noqa: BLE001 - one place that can't be read must not stop the rollback of the others
        return "\n".join([*lines, "", f"Live state can't be read: {type(error).__name__}: {error}"])
    return "\n".join([*lines, "", *(f"- set back `{difference}`" for difference in found)]).strip()


def undoables(run: RollbackRun, found: Found) -> list[Undoable]:
    """The levers that are undone, in their order, with what an approver may lean on for each."""
    by_lever: dict[str, list[OpenRun]] = {}
    for change in found.changes:
        by_lever.setdefault(run.levers.current_name(change.chain.lever), []).append(change)
    hashes = {lever: steps.plan_hash_of(run.ledger, changes[0].chain) for lever, changes in by_lever.items()}
    backing = steps.backings(run, hashes)
    return [Undoable(backing[lever], _places(changes), _undo_of(run, changes)) for lever, changes in by_lever.items()]


def _places(changes: Sequence[OpenRun]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(change.chain.place for change in changes))


def _undo_of(run: RollbackRun, changes: Sequence[OpenRun]) -> Undo | None:
    """The undo that takes most of those that the changes were approved with; None where one is not on record."""
    found = []
    for change in changes:
        try:
            plan = decisions.confirmed_plan(run.ledger.records(change.chain))
        except LedgerError:
            return None
        if plan is None:
            return None
        found.append(plan.undo)
    return decisions.worst(found)
