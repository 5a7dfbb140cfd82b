"""What the calendars ask of one region at a moment: looked at, carried out, and what it has saved. No Airflow here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from include.clients.kubernetes import NAMESPACE
from include.levers.nonprod_hours.calendars import KEEP_UNTIL, keep_until, sleeps_through
from include.levers.nonprod_hours.decide import (
    NEWEST_WAKES,
    TICK,
    Action,
    Decision,
    Seen,
    decide,
    kept_awake,
    lead_of,
)
from include.levers.nonprod_hours.wanted import MANAGER
from include.rollout import once
from include.rollout.ledger import OpenRun, Record, Step, last
from include.rollout.lever import Json, NotConverged, Refused
from include.rollout.lock import LockHeld
from include.rollout.once import PartRun, part_of
from include.rollout.place import Place
from include.rollout.steps import OnRecord, Run, evidence

LONGEST_LEAD = dt.timedelta(hours=4)


@dataclass(frozen=True)
class Outcome:
    """What a look decided for a namespace, and what came of it. ``problem`` makes the run red."""

    namespace: str
    action: str
    reason: str
    done: str = ""
    problem: str = ""
    figures: Mapping[str, Json] | None = None

    @property
    def line(self) -> str:
        """``akidb-staging: sleep (asleep until ...): done``."""
        end = self.problem or self.done
        return f"{self.namespace}: {self.action} ({self.reason})" + (f": {end}" if end else "")

    def to_json(self) -> dict[str, Json]:
        """For an XCom."""
        return {**asdict(self), "line": self.line}


@dataclass(frozen=True)
class Hours:
    """One run in one region. ``converge_seconds`` is the longest wait for pods, ``woken`` whom it was asked to wake."""

    run: Run
    region: str
    now: dt.datetime
    converge_seconds: int
    nodes_wait_seconds: int = 300
    woken: Collection[str] = ()
    keep: dt.timedelta = dt.timedelta(hours=2)

    @property
    def cluster(self) -> Any:
        """The region's cluster."""
        return self.run.clients(Place.named(self.region)).kubernetes

    def part(self, space: str) -> PartRun:
        """This run for one namespace."""
        waits = {"converge_timeout_seconds": self.converge_seconds, "nodes_wait_seconds": self.nodes_wait_seconds}
        return PartRun.of(self.run, space, {"namespace": space, **waits})

    def sleeps(self) -> dict[str, OpenRun]:
        """The newest sleep that stands of each namespace, complete or only begun."""
        standing = self.run.ledger.standing(self.run.lever.name, self.region)
        return {part_of(change.chain): change for change in standing if part_of(change.chain)}


def look(hours: Hours) -> list[tuple[str, Decision | Refused]]:
    """What is to be done with each namespace, or why that can't be known. Reads only.

    Raises Refused for a namespace to wake that the estate's file doesn't have.
    """
    nonprod, sleeps = hours.run.estate.nonprod, hours.sleeps()
    if unknown := sorted({*hours.woken} - {*nonprod.namespaces} - {*sleeps}):
        known = ", ".join(nonprod.namespaces) or "none"
        raise Refused(f"wake: {', '.join(unknown)} is not in nonprod.namespaces of estate.yaml, which has {known}")
    return [(space, _looked_at(hours, space, sleeps.get(space))) for space in {**nonprod.namespaces, **sleeps}]


def _looked_at(hours: Hours, space: str, change: OpenRun | None) -> Decision | Refused:
    nonprod = hours.run.estate.nonprod
    if space not in nonprod.namespaces:
        return Decision(Action.WAKE, "it is not in nonprod.namespaces of estate.yaml any more")
    live = hours.cluster.get(NAMESPACE, space)
    if live is None:
        action = Action.WAKE if change else Action.NOTHING  # its record is closed: there is nothing to wake
        return Decision(action, f"it does not exist in {hours.region}")
    if change and not change.promoted:
        return Decision(Action.WAKE, "its sleep was cut: it is undone, and begun anew by a later look")
    calendar = nonprod.calendars[nonprod.namespaces[space]]
    seen = Seen(live, asleep=change is not None, woken=space in hours.woken)
    try:
        lead = LONGEST_LEAD
        if not kept_awake(seen) and sleeps_through(calendar, hours.now, LONGEST_LEAD + TICK) is None:
            lead = min(lead_of(measured(hours, space), nonprod.default_lead_minutes)[0], LONGEST_LEAD)
        return decide(seen, calendar, hours.now, lead)
    except Refused as error:
        return error


def measured(hours: Hours, space: str) -> list[float]:
    """Seconds from the start of each of the newest wakes to its pods being ready, the newest last."""
    ledger, part = hours.run.ledger, hours.part(space)
    chains = [chain for chain in ledger.chains(part.lever.name, hours.region) if part.beside(chain)]
    found = (last(ledger.records(chain), Step.VERDICT) for chain in chains[-2 * NEWEST_WAKES :])
    return [float(wake.figures["ready_seconds"]) for wake in found if wake and "ready_seconds" in wake.figures]


def carry_out(hours: Hours) -> list[Outcome]:
    """Look, then put to sleep and wake what is to be; one namespace that fails does not keep the others."""
    return [_carried_out(hours, space, decision) for space, decision in look(hours)]


def _carried_out(hours: Hours, space: str, decision: Decision | Refused) -> Outcome:
    if isinstance(decision, Refused):
        return Outcome(space, Action.NOTHING, "unknown: left as it is", problem=str(decision))
    action, reason = decision.action, decision.reason
    try:
        if space in hours.woken:
            keep_awake(hours, space)
        done, figures = _ACTS[action](hours, space)
        return Outcome(space, action, reason, done, figures=figures)
    except LockHeld as error:
        if action is Action.SLEEP:
            return Outcome(space, action, reason, f"postponed: {error}")
        return Outcome(space, action, reason, problem=str(error))
    except OnRecord as error:
        return Outcome(space, action, reason, problem=str(error))
    except (Refused, NotConverged) as error:
        hours.part(space).record(hours.region, Step.STOPPED, {"where": action.value, "reason": str(error)})
        return Outcome(space, action, reason, problem=str(error))


def _nothing(hours: Hours, space: str) -> tuple[str, dict[str, Json]]:
    del hours, space
    return "", {}


def _sleep(hours: Hours, space: str) -> tuple[str, dict[str, Json]]:
    run = hours.part(space)
    failed = [check for check in run.lever.preflight(run.target(hours.region)) if not check.passed]
    if failed:
        raise Refused("; ".join(f"{check.name}: {check.reason}; {check.remedy}" for check in failed))
    figures = once.carry_out(run, hours.region)
    if not figures:
        return "nothing there to put to sleep", {}
    gone, usd = figures["nodes_gone"], figures["usd_hour_gone"]
    cost = "at an unknown price" if usd is None else f"at {usd} USD an hour"
    return (
        f"{len(figures['asleep'])} objects; {len(gone)} nodes gone {cost}, {len(figures['nodes_left'])} left",
        figures,
    )


def _wake(hours: Hours, space: str) -> tuple[str, dict[str, Json]]:
    run, change = hours.part(space), hours.sleeps().get(space)
    if change is None:
        return "awake already", {}
    nodes = evidence(run, run.target_of(change.snapshot)).get("nodes")
    saving = saved(run.ledger.records(change.chain), nodes, hours.now)
    once.take_back(run, hours.region, change)
    undone = last(run.records(hours.region), Step.UNDONE)
    assert undone is not None
    seconds, others = undone.figures["seconds"], undone.figures["changed_by_others"]
    # Where the sleep was cut, not everything had to start: that would make the next lead too short.
    figures = saving | ({"ready_seconds": seconds} if change.promoted else {})
    run.record(hours.region, Step.VERDICT, figures)
    left = f"; left as others made it: {'; '.join(others)}" if others else ""
    return f"ready after {seconds} s; {saving['saving']}{left}", figures


_ACTS = {Action.NOTHING: _nothing, Action.SLEEP: _sleep, Action.WAKE: _wake}


def saved(records: Sequence[Record], nodes_now: int | None, now: dt.datetime) -> dict[str, Json]:
    """What a sleep has saved, by what was measured at both of its ends: node-hours and USD, None while unknown.

    Nodes that came back, or that others needed meanwhile, make it unknown: what was not bought is not measured.
    """
    applied = last(records, Step.APPLIED)
    if applied is None:
        return _unknown("its sleep was cut")
    figures = applied.figures["figures"]
    if nodes_now is None or nodes_now > figures["nodes_after"]:
        return _unknown(f"{figures['nodes_after']} nodes after it fell asleep, {nodes_now} when it was woken")
    hours = (now - dt.datetime.fromisoformat(applied.time)).total_seconds() / 3600
    node_hours, usd_hour = round(len(figures["nodes_gone"]) * hours, 2), figures["usd_hour_gone"]
    if usd_hour is None:
        return {**_unknown("a node has no price"), "node_hours": node_hours}
    usd = round(Decimal(usd_hour) * Decimal(hours), 4)
    text = f"{node_hours} node-hours not needed, {usd} USD"
    return {"node_hours": node_hours, "usd": str(usd), "saving": text}


def _unknown(why: str) -> dict[str, Json]:
    return {"node_hours": None, "usd": None, "saving": f"saving unknown: {why}"}


def keep_awake(hours: Hours, space: str) -> None:
    """Have the namespace stay awake for the time that was asked for, so that the next look leaves it awake. A wish that
    reaches further stays.
    """
    live, until = hours.cluster.get(NAMESPACE, space), hours.now + hours.keep
    if live is None or _wished_until(live, hours.now) >= until:
        return
    body = {"metadata": {"annotations": {KEEP_UNTIL: until.isoformat(timespec="seconds")}}}
    hours.cluster.patch(NAMESPACE, space, body, manager=MANAGER)


def _wished_until(live: Mapping[str, Any], now: dt.datetime) -> dt.datetime:
    metadata = live["metadata"]
    try:
        return keep_until(metadata.get("annotations") or {}, metadata["name"], now) or now
    except Refused:  # nobody can read it: what was asked for now takes its place
        return now


def preview(hours: Hours) -> list[Outcome]:
    """What :func:`carry_out` would do; reads only."""
    found = []
    for space, decision in look(hours):
        if isinstance(decision, Refused):
            found.append(_carried_out(hours, space, decision))
            continue
        found.append(Outcome(space, decision.action, decision.reason, _preview(hours, space, decision)))
    return found


def _preview(hours: Hours, space: str, decision: Decision) -> str:
    if decision.action is not Action.SLEEP:
        return ""
    try:
        return once.preview(hours.part(space), hours.region)
    except Refused as error:
        return f"it would be refused: {error}"
