"""Setting a place back to a snapshot, of this run or of an earlier one, and proving it."""

from __future__ import annotations

import datetime as dt
import logging

from include.rollout import decisions
from include.rollout.ledger import Record, Step, last
from include.rollout.lever import Json, within
from include.rollout.steps.run import OnRecord, Run, evidence

log = logging.getLogger(__name__)


def undo_changes(run: Run, place: str, snapshot: Record) -> None:
    """Set a place back to a snapshot, of this run or of an earlier one."""
    # A lease that somebody's rollback of another lever took over and gave back is free: an undo may take it again.
    run.lock(place).acquire(run.run_ended)
    restores = snapshot.chain.path
    run.record(place, Step.UNDO, {"run": f"{snapshot.dag_id}/{snapshot.run_id}"}, restores=restores)
    lock = run.begin(place, Step.UNDO)
    started = run.clock()
    restored = run.lever.rollback(run.target_of(snapshot, lock), snapshot.figures["snapshot"])
    figures = {
        "seconds": run.seconds_since(started),
        "steps": list(restored.steps),
        "changed_by_others": [str(difference) for difference in restored.changed_by_others],
        "paths_of_others": [difference.path for difference in restored.changed_by_others],
    }
    run.record(place, Step.UNDONE, figures, restores=restores)
    log.info("%s: rolled back in %s s: %s", place, figures["seconds"], "; ".join(restored.steps))


def verify_restored(run: Run, place: str, snapshot: Record) -> None:
    """Compare the live fields with the snapshot, put the result on record. Raises OnRecord with what is not back."""
    restores = snapshot.chain.path
    records = [r for r in decisions.attempt(run.records(place)) if r.links.get("restores") == restores]
    undo, undone = last(records, Step.UNDO), last(records, Step.UNDONE)
    paths = undone.figures["paths_of_others"] if undone else []
    others = undone.figures["changed_by_others"] if undone else []
    target = run.target_of(snapshot)
    found = run.lever.verify_restored(target, snapshot.figures["snapshot"])
    remaining = [str(difference) for difference in found if not within(difference.path, paths)]
    # Only after an undo: what could not even be tried is not for a tick in a form to close.
    accepted = bool(run.params.get("accept") and undone and (remaining or others))
    figures: dict[str, Json] = {"complete": not remaining, "remaining": remaining, "others": others}
    figures |= {"accepted": accepted, "after": evidence(run, target)}
    if undo is not None:
        figures["seconds"] = run.seconds_since(dt.datetime.fromisoformat(undo.time))
    run.record(place, Step.RESTORED, figures, restores=restores)
    if remaining and not accepted:
        command = decisions.rollback_command(run.lever.name, [place])
        raise OnRecord(f"{place} is not restored: {'; '.join(remaining)}. Next: {command}")
