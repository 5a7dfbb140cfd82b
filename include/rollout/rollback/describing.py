"""What is undone in which order, for the approver."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from include.rollout import decisions, steps
from include.rollout.decisions import Undoable
from include.rollout.ledger import LedgerError, OpenRun, Step
from include.rollout.lever import Plan, Undo
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
    """The levers that are undone, in their order, with what an approver may lean on for each.

    Two requests to the ledger for each lever and place, at once: everything may be thousands of changes.
    """
    newest: dict[str, dict[str, OpenRun]] = {}
    for change in found.changes:
        newest.setdefault(run.levers.current_name(change.chain.lever), {}).setdefault(change.chain.place, change)
    firsts = [next(iter(places.values())).chain for places in newest.values()]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        hashes = dict(zip(newest, pool.map(lambda chain: steps.plan_hash_of(run.ledger, chain), firsts), strict=True))
        undos = {lever: list(pool.map(lambda one: _undo_of(run, one), at.values())) for lever, at in newest.items()}
    backing = steps.backings(run, hashes)
    return [Undoable(backing[lever], tuple(places), _worst(undos[lever])) for lever, places in newest.items()]


def _undo_of(run: RollbackRun, change: OpenRun) -> Undo | None:
    """The undo that a change was approved with; None where its first record doesn't say."""
    try:
        record = run.ledger.first(change.chain)
        return Plan.from_json(record.figures["plan"]).undo if record and record.step == Step.PLAN else None
    except (LedgerError, KeyError, TypeError, ValueError):
        return None


def _worst(undos: Sequence[Undo | None]) -> Undo | None:
    """The one that takes most; None where one is not known."""
    known = [undo for undo in undos if undo is not None]
    return decisions.worst(known) if len(known) == len(undos) else None
