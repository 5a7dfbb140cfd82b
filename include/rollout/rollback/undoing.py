"""Undoing what was found, place by place, and proving it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from include.rollout import steps
from include.rollout.ledger import (
    WHOLE_RUN,
    LedgerError,
    Step,
    last,
    without_secrets,
)
from include.rollout.lever import NotConverged, Refused
from include.rollout.lock import LockHeld
from include.rollout.rollback.run import (
    RollbackRun,
    Undoing,
    as_lever,
    found,
    grouped,
    is_closed,
    plan_on_record,
    records_of,
    snapshot_of,
)
from include.rollout.steps import NotWanted, OnRecord, Run

log = logging.getLogger(__name__)


def undo_changes(run: RollbackRun, place: str) -> None:
    """Undo every change found in a place: the levers in order, the newest run first.

    A lever that fails does not keep the others, but its own older changes: nothing is undone under a newer change.
    """
    approval = last(run.records(WHOLE_RUN), Step.APPROVAL)
    if approval is None or approval.figures.get("hash") != plan_on_record(run).figures["hash"]:
        raise Refused(
            "the locks were not taken for the plan on record: a task that was marked by hand approves nothing; "
            "clear take_locks_over, or trigger a new run"
        )
    locked = approval.figures["locked"]

    def undo(acting: Run, undoing: Undoing, oldest: bool) -> None:
        if place not in locked:
            acting.lock(place).take_over()
        if last(records_of(run, undoing), Step.UNDONE) is None:
            steps.undo_changes(acting, place, snapshot_of(run, undoing))
        if not oldest and not is_closed(run, undoing):
            # The next undo changes the live state: this one is proved before it.
            steps.verify_restored(acting, place, snapshot_of(run, undoing))

    _for_each(run, place, undo)


def verify_restored(run: RollbackRun, place: str) -> None:
    """Compare every lever's live fields in a place with its snapshot."""

    def verify(acting: Run, undoing: Undoing, oldest: bool) -> None:
        if oldest or not is_closed(run, undoing):
            steps.verify_restored(acting, place, snapshot_of(run, undoing))

    _for_each(run, place, verify)


def _for_each(run: RollbackRun, place: str, step: Callable[[Run, Undoing, bool], None]) -> None:
    """``step`` for every change of the place, which also hears whether it is the oldest of its lever."""
    undoings = [undoing for undoing in found(run) if undoing.place == place]
    if not undoings:
        raise NotWanted(f"nothing to undo in {place}")
    problems: list[Exception] = []
    for group in grouped(run, ((undoing.place, undoing.lever, undoing) for undoing in undoings)):
        for undoing in group:
            try:
                step(as_lever(run, undoing.lever), undoing, undoing is group[-1])
            except Exception as error:  # noqa: BLE001 - raised below, once every lever was tried
                log.warning("%s: %s: %s", place, undoing.lever, error)
                _record_stop(run, undoing, error)
                problems.append(error)
                break
        if problems and isinstance(problems[-1], LockHeld):
            break  # the place is another's now, or a later try's: whoever goes on here writes beside it
    for problem in problems:
        if not isinstance(problem, Refused | NotConverged | LedgerError):
            raise problem  # may be cured by a retry
    if problems:
        raise OnRecord("; ".join(str(problem) for problem in problems))


def _record_stop(run: RollbackRun, undoing: Undoing, error: Exception) -> None:
    """Put the reason on record, once for all tries that end with it."""
    if isinstance(error, OnRecord):
        return
    reason = error if isinstance(error, Refused | NotConverged) else f"{type(error).__name__}: {error}"
    figures = {"where": undoing.place, "reason": without_secrets(str(reason))}
    stop = last(records_of(run, undoing), Step.STOPPED)
    if stop is None or stop.figures != figures:
        as_lever(run, undoing.lever).record(undoing.place, Step.STOPPED, figures, restores=undoing.chain.path)
