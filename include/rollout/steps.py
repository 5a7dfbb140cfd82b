"""The steps of a rollout and of a rollback: each reads the ledger and the live world, acts, and records what it did.

Every step may run again after a crash at any point. They raise Refused (or NotConverged) when retrying can't help;
anything else may be retried. Imports no Airflow: include/wiring turns them into tasks.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from include.estate import Estate
from include.rollout import decisions
from include.rollout.gates import Outcome, judge_all, overall
from include.rollout.ledger import WHOLE_RUN, Chain, Ledger, Record, Step, last, without_secrets
from include.rollout.lever import Check, Json, Lever, Plan, Refused, Target, acts_in, needs_of, within
from include.rollout.lock import Lock, LockHeld
from include.rollout.place import Place, estate_for
from include.rollout.settings import RolloutSettings, build, build_on_record, rollout_settings

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class NotWanted(Exception):  # noqa: N818 - not an error: the step has nothing to do in this run
    """The step is not part of this run: its place is not selected, or its slot is not in the plan."""


class OnRecord(Refused):
    """A refusal that the step has already put on record itself."""


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class Run:
    """One run of a DAG: what its steps need. ``clients`` makes a place's clients, ``params`` are the form's values."""

    lever: Lever
    estate: Estate
    params: Mapping[str, Any]
    dag_id: str
    run_id: str
    ledger: Ledger
    clients: Callable[[Place], Any]
    run_ended: Callable[[str], bool | None]
    links: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], dt.datetime] = _now

    @property
    def holder(self) -> str:
        """How the run names itself on a lock."""
        return f"{self.dag_id}/{self.run_id}"

    @property
    def settings(self) -> RolloutSettings:
        """The engine's settings. Raises Refused naming the field that is wrong."""
        settings = build(rollout_settings(acts_in(self.lever)), self.params, self.estate)
        settings.check_against(self.estate)
        return settings

    @property
    def places(self) -> list[str]:
        """The names of the selected places, the canary first."""
        return self.settings.places(acts_in(self.lever), self.estate)

    def chain(self, place: str = WHOLE_RUN) -> Chain:
        """The run's chain in a place, or its own."""
        return Chain(self.lever.name, place, self.dag_id, self.run_id)

    def record(self, place: str, step: str, figures: Mapping[str, Json], **links: str) -> Record:
        """Append a record to a place's chain."""
        return self.ledger.append(self.chain(place), step, figures, {**self.links, **links})

    def records(self, place: str) -> list[Record]:
        """The run's records in a place."""
        return self.ledger.records(self.chain(place))

    def lock(self, place: str) -> Lock:
        """The place's lock as this run sees it."""
        return Lock(self.clients(Place.named(place)).leases, place, self.holder, self.clock)

    def begin(self, place: str, step: str) -> Lock:
        """The place's lock, on which ``step`` alone writes from now on: an older try or step of this run does not."""
        lock = self.lock(place)
        lock.begin(f"{step} {uuid.uuid4().hex}")
        return lock

    def target(self, place: str, lock: Lock | None = None) -> Target:
        """Where the lever acts, with the settings of the form; ``lock`` is that of a step that writes."""
        settings = build(self.lever.settings_type, self.params, self.estate)
        fence = (lock or self.lock(place)).assert_held
        at = Place.named(place)
        return Target(at, self.estate, self.run_id, settings, self.clients(at), fence)

    def target_of(self, snapshot: Record, lock: Lock | None = None) -> Target:
        """Where the lever acts to undo: settings and slice of the estate are those that the snapshot was taken with."""
        place = Place.named(snapshot.place)
        kept = snapshot.figures.get("estate")
        estate = Estate.from_slice(kept, self.estate) if kept else self.estate
        settings = build_on_record(self.lever.settings_type, snapshot.figures["settings"], estate)
        fence = (lock or self.lock(snapshot.place)).assert_held
        return Target(place, estate, self.run_id, settings, self.clients(place), fence)

    def seconds_since(self, start: dt.datetime) -> float:
        """Seconds since ``start``, to the tenth."""
        return round((self.clock() - start).total_seconds(), 1)


def each_place(run: Run, step: Callable[[Target], Result]) -> list[Result]:
    """``step`` in all selected places at once (it waits for networks), results in the places' order."""
    targets = [run.target(place) for place in run.places]
    with ThreadPoolExecutor(max_workers=len(targets)) as pool:
        return list(pool.map(step, targets))


def check_preflight(run: Run) -> None:
    """Everything that can be known to be wrong before anything is written. Raises Refused with all of it at once."""
    settings = run.settings
    build(run.lever.settings_type, run.params, run.estate)
    checks: dict[str, list[Check]] = {"estate": [] if settings.dry_run else [_window_check(run)]}
    checks |= {place: _connection_checks(run, place) for place in run.places}
    reached = [place for place in run.places if not checks[place]]
    with ThreadPoolExecutor(max_workers=len(run.places)) as pool:
        found = pool.map(lambda place: _lever_checks(run, place), reached)
        checks |= dict(zip(reached, found, strict=True))
    for place, of_place in checks.items():
        for check in of_place:
            log.info("%s: %s: %s (%s)", place, check.name, "passed" if check.passed else "FAILED", check.reason)
    rows = {r: [f"{c.name}: {'passed' if c.passed else 'failed'}: {c.reason}" for c in cs] for r, cs in checks.items()}
    run.record(WHOLE_RUN, Step.PREFLIGHT, {"checks": rows})
    if message := decisions.failed_checks(checks):
        raise Refused(message)


def _connection_checks(run: Run, place: str) -> list[Check]:
    missing = missing_clients(run.clients(Place.named(place)), needs_of(run.lever))
    return [Check(f"{name} connection", passed=False, reason=reason) for name, reason in missing.items()]


def missing_clients(clients: Any, needs: Iterable[str]) -> dict[str, str]:
    """Which of a place's clients can't be made, and why with the remedy: those that a lever needs, and its lock's."""
    missing: dict[str, str] = {}
    for name in [*sorted(needs), "leases"]:
        try:
            getattr(clients, name)
        except Exception as error:  # noqa: BLE001 - a client that can't be made is a failed check, whatever the reason
            reason = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
            if reason not in missing.values():  # a region's lock lies in its cluster
                missing[name] = reason
    return missing


def _window_check(run: Run) -> Check:
    refusal = run.estate.governance.refusal(run.clock())
    remedy = "trigger again inside the window, or change governance in the estate's file"
    return Check("change window", passed=refusal is None, reason=refusal or "open", remedy=remedy)


def _lever_checks(run: Run, place: str) -> list[Check]:
    try:
        return run.lever.preflight(run.target(place))
    except Exception as error:  # noqa: BLE001 - one place's failure must not hide what is wrong in the others
        remedy = "see that the place's connections are right and its services answer"
        return [Check("preflight", passed=False, reason=f"{type(error).__name__}: {error}", remedy=remedy)]


def make_plan(run: Run) -> dict[str, str]:
    """Plan every selected place; put the plans on record. Returns the hash and the text that an approver reads."""
    plans, judging = each_place(run, run.lever.plan), run.settings.judging()
    unfinished = {place: run.ledger.unfinished(run.lever.name, place) for place in run.places}
    resumed = {place: other for place, other in unfinished.items() if other is not None}
    text = decisions.plan_text(plans, resumed, run.settings.reason, judging)
    plan_hash = decisions.plans_hash(plans, judging)
    log.info("plan %s\n%s", plan_hash, text)
    figures = {"hash": plan_hash, "dry_run": run.settings.dry_run, "reason": run.settings.reason}
    run.record(WHOLE_RUN, Step.PLAN, figures | {"plans": {plan.place: plan.to_json() for plan in plans}})
    return {"hash": plan_hash, "text": text}


def record_answer(run: Run, answer: Mapping[str, Any]) -> None:
    """Put on record who answered what to which plan: ``approved``, ``user``, ``user_id``, ``hash``."""
    run.record(WHOLE_RUN, Step.ANSWER, answer)


def answer_on_record(run: Run) -> Mapping[str, Any] | None:
    """The last answer to this run's plan; None when nobody has answered, whatever state the task shows."""
    record = last(run.records(WHOLE_RUN), Step.ANSWER)
    return None if record is None else record.figures


def check_approval(run: Run, approval: Mapping[str, Any] | None) -> None:
    """Raise Refused unless ``approval`` is a person's who may, of the very plan that is on record."""
    offered = [record.figures["hash"] for record in run.records(WHOLE_RUN) if record.step == Step.PLAN]
    if problem := decisions.approval_problem(approval, offered, run.estate.governance.approvers):
        raise Refused(f"{problem}. Nothing is written without an approval of the plan")


def lock_places(run: Run, places: Sequence[str], approval: Mapping[str, Any] | None, *, take_over: bool) -> None:
    """Take the locks of all places, in one order for all runs, or of none.

    Raises Refused unless ``approval`` approves the plan on record (only an emergency rollback needs none), and LockHeld
    with the holder.
    """
    # A rollout's parameters may hold any name: only a rollback, which takes over, knows emergencies.
    if not (take_over and run.params.get("emergency")):
        check_approval(run, approval)
    for place in places if not take_over else ():
        if (other := undone_by(run, place)) is not None:
            raise Refused(f"{place}: {other} has undone this run's change; trigger a new run")
    ours = []
    stands = run.ledger.touched(run.chain(), places) if not take_over else []
    previous = {}
    try:
        for place in sorted(places):
            lock = run.lock(place)
            previous[place] = lock.take_over() if take_over else lock.acquire(run.run_ended)
            ours.append(place)
    except Exception:
        for place in ours:
            if place not in stands:  # a run that is judged again has held that lock all the time
                run.lock(place).release()
        raise
    taken_over = {place: holder for place, holder in previous.items() if holder}
    by = (approval or {}).get("user")
    figures = {"approved_by": by, "locked": ours, "taken_over_from": taken_over}
    plan = last(run.records(WHOLE_RUN), Step.PLAN)
    run.record(WHOLE_RUN, Step.APPROVAL, figures | ({"hash": plan.figures["hash"]} if plan else {}))


def release_locks(run: Run) -> None:
    """Give up the locks of this run; one that waits for people keeps those where its change stands, beyond its end."""
    waits = decisions.waits_for_people(run.records(WHOLE_RUN))
    kept = run.ledger.touched(run.chain(), run.places) if waits else []
    for place in kept:
        run.lock(place).keep()
    unlock_places(run, [place for place in run.places if place not in kept])


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


def confirm_unchanged(run: Run) -> None:
    """Plan again under the lock. Raises Refused with the differences when it is not what was approved."""
    offered = last(run.records(WHOLE_RUN), Step.PLAN)
    if offered is None:
        raise Refused("the approved plan is not in the ledger; trigger a new run")
    window = _window_check(run)
    if not window.passed:
        raise Refused(f"{window.reason}; {window.remedy}")
    approved = [Plan.from_json(offered.figures["plans"][place]) for place in run.places]
    plans = each_place(run, run.lever.plan)
    if message := decisions.changed_since(approved, plans):
        raise Refused(message)
    approval = last(run.records(WHOLE_RUN), Step.APPROVAL)
    agreed = approval.figures.get("hash") if approval else None
    if agreed != decisions.plans_hash(plans, run.settings.judging()):
        raise Refused(
            f"plan {offered.figures['hash']} is on record, but {agreed or 'no plan'} was approved; trigger a new run"
        )
    for plan in plans:
        run.record(plan.place, Step.PLAN, {"hash": plan.hash(), "plan": plan.to_json()})


def take_snapshot(run: Run, place: str) -> None:
    """Put on record what a rollback needs, before the first write; never twice, and an unfinished run's is kept."""
    if place not in run.places:
        raise NotWanted(f"{place} is not selected")
    if run.ledger.snapshot(run.chain(place)) is not None:
        return
    _lock_again(run, place)
    check_ours(run, place)
    # Hours may lie between the confirmation and this place's turn: the canary soaked first.
    _check_plan(run, place)
    put_snapshot(run, run.target(place))


def _lock_again(run: Run, place: str) -> bool:
    """Take a lock that this run gave up at its end because nothing was written there yet: it is judged again now.

    Whether it did.
    """
    untouched = last(decisions.attempt(run.records(place)), Step.TOUCH) is None
    if not (untouched and decisions.waits_for_people(run.records(WHOLE_RUN))):
        return False
    run.lock(place).acquire(run.run_ended)
    return True


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
    unfinished = run.ledger.unfinished(run.lever.name, place)
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
    locked_again = _lock_again(run, place)
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


def decide(run: Run) -> dict[str, Any]:
    """Promote, roll back the places where this run's changes stand, or leave the choice to people.

    Puts the decision on record.
    """
    decision = decisions.decide(run.places, {place: run.records(place) for place in run.places})
    if decision.promote:
        decision = _look_again(run)
    touched = run.ledger.touched(run.chain(), run.places)
    figures: dict[str, Any] = {"promote": decision.promote, "reasons": list(decision.reasons), "touched": touched}
    if decision.unknown:
        figures["unknown"] = list(decision.unknown)
    run.record(WHOLE_RUN, Step.DECISION, figures)
    because = [*decision.reasons, *decision.unknown]
    log.info("%s", "promote" if decision.promote else "\n".join(["no promotion:", *because]))
    return figures


def _look_again(run: Run) -> decisions.Decision:
    """What the live world says of a promotion: the change is still this run's, and its plan has nothing left to do."""
    with ThreadPoolExecutor(max_workers=max(1, len(run.places))) as pool:
        found = list(pool.map(lambda place: _against_promotion(run, place), run.places))
    reasons = tuple(reason for decision in found for reason in decision.reasons)
    unknown = tuple(line for decision in found for line in decision.unknown)
    return decisions.Decision(reasons, () if reasons else unknown)


def _against_promotion(run: Run, place: str) -> decisions.Decision:
    ours = False
    try:
        check_ours(run, place)
        ours = True
        left = run.lever.plan(run.target(place)).differences
    except Exception as error:  # noqa: BLE001 - what can't be read is neither promoted nor undone
        if isinstance(error, Refused) and not ours:
            return decisions.Decision((str(error),))
        problem = without_secrets(f"{type(error).__name__}: {error}")
        return decisions.Decision(unknown=(f"{place}: the plan can't be made again ({problem})",))
    if not left:
        return decisions.Decision()
    shown = "; ".join(str(difference) for difference in left)
    return decisions.Decision((f"{place}: every gate passed, but the plan is not fulfilled: {shown}",))


def promote(run: Run) -> None:
    """Put the promotion of every selected place on record, with the figures of the live world.

    Raises Refused when another run has taken a lock over or undone the change since the decision.
    """
    for place in run.places:
        check_ours(run, place)
    for place, after in zip(run.places, each_place(run, lambda target: evidence(run, target)), strict=True):
        run.record(place, Step.PROMOTED, {"after": after})


def evidence(run: Run, target: Target) -> dict[str, Json]:
    """The lever's figures, or why there are none: a report must not stop a promotion or a rollback."""
    try:
        return run.lever.evidence(target)
    except Exception as error:  # noqa: BLE001 - see above; the reason is put on record
        return {"problem": without_secrets(f"{type(error).__name__}: {error}")}


def own_snapshot(run: Run, place: str) -> Record:
    """The snapshot to restore in this rollout. Raises NotWanted where nothing is to be undone."""
    decision = decisions.decide(run.places, {name: run.records(name) for name in run.places})
    decided = last(run.records(WHOLE_RUN), Step.DECISION)
    # The live world may have spoken against a promotion as well: that stands in the decision on record alone.
    if not decision.reasons and not (decided and decided.figures["reasons"]):
        raise NotWanted("; ".join(decision.unknown) or "every gate passed")
    if place not in run.ledger.touched(run.chain(), run.places):
        raise NotWanted(f"{place} was not touched, or is restored")
    snapshot = run.ledger.snapshot(run.chain(place))
    if snapshot is None:
        raise Refused(f"{place} was touched but its snapshot is not in the ledger; restore the ledger from a backup")
    return snapshot


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


def conclude(run: Run, approval: Mapping[str, Any] | None, failed_tasks: Sequence[str]) -> decisions.Verdict:
    """The verdict of a rollout, put on record with the heads of the chains of its places."""
    places = run.places
    by_place = {place: run.records(place) for place in [WHOLE_RUN, *places]}
    touched = run.ledger.touched(run.chain(), places)
    dry_run = run.settings.dry_run
    undone = {place: other for place in places if place not in touched and (other := undone_by(run, place))}
    facts = decisions.Facts(run.chain(), dry_run, places, touched, by_place, approval, failed_tasks, undone)
    verdict = decisions.verdict(facts)
    record_verdict(run, verdict, [run.chain(place) for place in places])
    return verdict


def record_verdict(run: Run, verdict: decisions.Verdict, chains: Sequence[Chain]) -> None:
    """Join the chains: the verdict carries the hash of each one's last record."""
    heads = {f"head {chain.lever} {chain.place}": run.ledger.head(chain) or "" for chain in chains}
    figures = {"verdict": verdict.name.value, "message": verdict.message, "left_behind": list(verdict.left_behind)}
    run.record(WHOLE_RUN, Step.VERDICT, figures, **{name: head for name, head in heads.items() if head})
