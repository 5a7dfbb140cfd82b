"""The locks of a run's places, and whether what it wrote is still its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from include.rollout import decisions
from include.rollout.ledger import WHOLE_RUN, Step, last
from include.rollout.lever import Refused
from include.rollout.lock import LockHeld
from include.rollout.steps.preparing import check_approval
from include.rollout.steps.run import Run


def lock_places(run: Run, places: Sequence[str], approval: Mapping[str, Any] | None, *, take_over: bool) -> None:
    """Take the locks of all places, in one order for all runs, or of none.

    Raises Refused unless ``approval`` approves the plan on record (only an emergency rollback needs none), and LockHeld
    with the holder.
    """
    # A rollout's parameters may hold any name: only a rollback, which takes over, knows emergencies.
    if not (take_over and run.params.get("emergency")):
        check_approval(run, approval)
    if not take_over:
        check_not_undone(run, places)
    stands = run.ledger.touched(run.chain(), places) if not take_over else []
    record_approval(run, approval, acquire(run, places, stands, take_over=take_over))


def check_not_undone(run: Run, places: Sequence[str]) -> None:
    """Raise Refused where another run has undone this one's change."""
    for place in places:
        if (other := undone_by(run, place)) is not None:
            raise Refused(f"{place}: {other} has undone this run's change; trigger a new run")


def acquire(
    run: Run, places: Sequence[str], stands: Sequence[str], *, take_over: bool = False
) -> dict[str, str | None]:
    """Take the locks of all places, in one order for all runs, or of none; who held each before, where that was stale.

    ``stands`` are the places where this run's change stands: a run that is judged again has held these all the time.
    """
    previous: dict[str, str | None] = {}
    kept: set[str] = set()
    try:
        for place in sorted(places):
            lock = run.lock(place)
            if lock.is_kept():
                kept.add(place)
            previous[place] = lock.take_over() if take_over else lock.acquire(run.run_ended)
    except Exception:
        for place in previous:
            if place in kept:
                run.lock(place).keep()  # the change still waits for people, whatever becomes of this try
            elif place not in stands:
                run.lock(place).release()
        raise
    return previous


def record_approval(run: Run, approval: Mapping[str, Any] | None, previous: Mapping[str, str | None]) -> None:
    """Put on record who approved which plan, and the locks that were taken for it."""
    taken_over = {place: holder for place, holder in previous.items() if holder}
    by = (approval or {}).get("user")
    figures = {"approved_by": by, "locked": [*previous], "taken_over_from": taken_over}
    figures |= {name: value for name, value in (approval or {}).items() if name == "through"}  # the week's run
    plan = last(run.records(WHOLE_RUN), Step.PLAN)
    run.record(WHOLE_RUN, Step.APPROVAL, figures | ({"hash": plan.figures["hash"]} if plan else {}))


def release_locks(run: Run) -> None:
    """Give up the locks of this run; one that waits for people keeps those where its change stands, beyond its end."""
    kept = places_kept(run)
    for place in kept:
        run.lock(place).keep()
    unlock_places(run, [place for place in run.places if place not in kept])


def places_kept(run: Run) -> list[str]:
    """The places whose locks a run keeps beyond its end: where its change stands while it waits for people."""
    waits = decisions.waits_for_people(run.records(WHOLE_RUN))
    return run.ledger.touched(run.chain(), run.places) if waits else []


def unlock_places(run: Run, places: Sequence[str]) -> None:
    """Give up every lock that this run holds; one that fails does not keep the others."""
    problems = []
    for place in places:
        try:
            run.lock(place).release()
        except Exception as error:  # noqa: BLE001 - raised below, once every place was tried
            problems.append(f"{place}: {error}")
    if problems:
        raise RuntimeError(f"locks not released (stale once this run has ended): {'; '.join(problems)}")


def lock_again(run: Run, place: str) -> bool:
    """Take a lock that this run gave up at its end because nothing was written there yet: it is judged again now.

    Whether it did.
    """
    untouched = last(decisions.attempt(run.records(place)), Step.TOUCH) is None
    if not (untouched and decisions.waits_for_people(run.records(WHOLE_RUN))):
        return False
    run.lock(place).acquire(run.run_ended)
    return True


def undone_by(run: Run, place: str) -> str | None:
    """The other run (``dag_id/run_id``) that has undone, or began to undo, what this one wrote to a place; or None."""
    if last(decisions.attempt(run.records(place)), Step.TOUCH) is None:
        return None
    other = run.ledger.undone_by(run.chain(place))
    return f"{other.dag_id}/{other.run_id}" if other else None


def check_ours(run: Run, place: str) -> None:
    """Raise Refused unless this run holds the place's lock and everything that it wrote anywhere still stands.

    An emergency rollback takes the lock over and undoes: a rollout that goes on must neither write, judge nor promote.
    """
    try:
        run.lock(place).assert_held()
    except LockHeld as held:
        other = undone_by(run, place)
        raise LockHeld(f"{held}: {other} has undone its change" if other else str(held), held.holder) from held
    # Read before what stands is: a write that another place begins in between is then in neither or in the second.
    read = {name: decisions.attempt(run.records(name)) for name in run.places}
    stands = run.ledger.touched(run.chain(), run.places)
    for name, records in read.items():
        if last(records, Step.UNDO) is not None:
            raise Refused(f"{name}: this run was rolled back there; trigger a new run")
        if last(records, Step.TOUCH) is not None and name not in stands:
            other = undone_by(run, name) or "another run"
            raise Refused(f"{name}: {other} has undone this run's change; nothing more is done")
