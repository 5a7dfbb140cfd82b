"""Snapshot, apply and gate: one stage after the other in a place."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from include.rollout import decisions
from include.rollout.gates import Outcome, judge_all, overall
from include.rollout.ledger import Step, without_secrets
from include.rollout.lever import Refused, Target
from include.rollout.place import estate_for
from include.rollout.steps.locks import check_ours, lock_again
from include.rollout.steps.run import NotWanted, OnRecord, Run

log = logging.getLogger(__name__)


def take_snapshot(run: Run, place: str) -> None:
    """Put on record what a rollback needs, before the first write; never twice, and an unfinished run's is kept."""
    if place not in run.places:
        raise NotWanted(f"{place} is not selected")
    if run.ledger.snapshot(run.chain(place)) is not None:
        return
    lock_again(run, place)
    check_ours(run, place)
    # Hours may lie between the confirmation and this place's turn: the canary soaked first.
    _check_plan(run, place)
    put_snapshot(run, run.target(place))


def _check_plan(run: Run, place: str) -> None:
    """Raise Refused unless the place's plan, made again, is the one that was confirmed."""
    confirmed = decisions.confirmed_plan(run.records(place))
    if confirmed is None:
        raise Refused(f"{place}: its plan was not confirmed; trigger a new run")
    if message := decisions.changed_since([confirmed], [run.lever.plan(run.target(place))]):
        raise Refused(message)


def put_snapshot(run: Run, target: Target) -> None:
    """Put the snapshot of a place on record, with all that its undo needs; an unfinished run's stays the origin."""
    place = target.place.name
    figures = {"before": run.lever.evidence(target), "settings": target.settings.model_dump(mode="json")}
    figures["estate"] = estate_for(run.estate, place).model_dump(mode="json")
    standing = [change for change in run.ledger.standing(run.lever.name, place) if run.beside(change.chain)]
    unfinished = next((change for change in reversed(standing) if not change.promoted), None)
    if unfinished is None:
        links = dict(run.links)
        figures["snapshot"] = run.lever.snapshot(target)
    else:
        links = {**run.links, "origin": unfinished.chain.path}
        figures["snapshot"] = unfinished.snapshot.figures["snapshot"]
    run.ledger.append_once(run.chain(place), Step.SNAPSHOT, figures, links)


def _check_may_write(run: Run, place: str, slot: str) -> None:
    by_place = {name: run.records(name) for name in run.places}
    if waiting := [line for records in by_place.values() for line in decisions.undecided(records)]:
        raise OnRecord(f"{place}: nothing more is written while a gate is unknown: {'; '.join(waiting)}")
    decisions.check_may_apply(place, slot, by_place)
    check_ours(run, place)


def apply_stage(run: Run, place: str, slot: str) -> dict[str, str]:
    """Write a stage, wait until the world has converged, and say until when it soaks (ISO 8601)."""
    stage = decisions.stage_in(run.records(place), slot)
    if stage is None:
        raise NotWanted(f"{slot} is not in the plan of {place}")
    locked_again = lock_again(run, place)
    _check_may_write(run, place, slot)
    if locked_again:
        # Others may have written while the place was free: what the snapshot holds must still be what stands.
        _check_plan(run, place)
    lock = run.begin(place, slot)
    # Once more: an undo that began before this step is on record now, one that begins later stops its writes.
    _check_may_write(run, place, slot)
    run.record(place, Step.TOUCH, {"slot": slot, "title": stage.title})
    started = run.clock()
    figures = run.lever.apply(run.target(place, lock), stage)
    soak_until = (run.clock() + dt.timedelta(seconds=run.settings.soak_seconds)).isoformat()
    row = {"slot": slot, "title": stage.title, "seconds": run.seconds_since(started), "soak_until": soak_until}
    run.record(place, Step.APPLIED, row | {"figures": figures})
    log.info("%s: %s applied in %s s", place, stage.title, row["seconds"])
    return {"soak_until": soak_until}


def judge_gates(run: Run, place: str, slot: str) -> dict[str, Any] | None:
    """Judge a soaked stage. None while it must still wait: for the soak's end, or for data up to gate_wait_seconds.

    Raises OnRecord when a gate fails or has failed in this attempt, or is unknown at the end of the wait; Refused when
    the stage was not applied, or the change is not this run's any more.
    """
    records = decisions.attempt(run.records(place))
    applied = decisions.last_of_slot(records, Step.APPLIED, slot)
    stage = decisions.stage_in(records, slot)
    if applied is None or stage is None:
        raise Refused(f"{place}: {slot} was not applied in this run; trigger a new run")
    if (judged := decisions.standing_gate(records, slot)) is not None and decisions.is_final(judged):
        raise OnRecord(f"{decisions.failure(records)}; that is final for this run")
    settings = run.settings
    soaked_at = dt.datetime.fromisoformat(applied.figures["soak_until"])
    if run.clock() < soaked_at:
        return None
    check_ours(run, place)
    problem = ""
    figures = {}
    observed = {**applied.figures["figures"], "started_at": _first_touch(records, slot).timestamp()}
    try:
        figures = run.lever.observe(run.target(place), stage, settings.gate_window_seconds, observed)
    except Exception as error:  # noqa: BLE001 - an unreachable source is missing evidence, and that never passes
        problem = without_secrets(f"{type(error).__name__}: {error}")
        log.warning("%s: no evidence for %s: %s", place, stage.title, problem)
    results = judge_all(stage.gates, figures, settings.minimum_coverage)
    for result in results:
        log.info("%s: %s: %s", place, result.outcome.value, result.reason)
    outcome = overall(results)
    if outcome is Outcome.UNKNOWN and run.clock() < soaked_at + dt.timedelta(seconds=settings.gate_wait_seconds):
        return None
    row = {"slot": slot, "title": stage.title, "outcome": outcome.value, "results": decisions.results_json(results)}
    record = run.record(place, Step.GATE, row | ({"problem": problem} if problem else {}))
    because = f" ({problem})" if problem else ""
    if reason := decisions.failure([record]):
        raise OnRecord(f"{reason}{because}; what was touched is rolled back")
    if waiting := decisions.undecided([record]):
        raise OnRecord(f"{waiting[0]}{because}; nothing is promoted and nothing undone: the verdict says what to do")
    return {"outcome": outcome.value, "reasons": [result.reason for result in results]}


def _first_touch(records: decisions.Records, slot: str) -> dt.datetime:
    """When a stage was first written in this attempt: what went wrong between a crash and its retry counts too."""
    times = (record.time for record in records if record.step == Step.TOUCH and record.figures["slot"] == slot)
    return dt.datetime.fromisoformat(next(times))
