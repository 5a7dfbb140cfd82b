"""The steps of the rollback DAG: they know the ledger and the live world only, and need no rollout DAG.

What to undo comes from the ledger, also where a place has left the estate or the estate can't be read: then the slice
of the estate in the snapshot stands in. What can't be undone at all is named in the plan and makes the verdict red.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from include.estate import Estate, EstateError, Region
from include.rollout import decisions, steps
from include.rollout.ledger import (
    WHOLE_RUN,
    Chain,
    Ledger,
    LedgerError,
    OpenRun,
    Record,
    Step,
    Survey,
    is_complete_restoration,
    last,
    without_secrets,
)
from include.rollout.lever import Levers, NotConverged, Refused, needs_of
from include.rollout.lock import LockHeld
from include.rollout.place import Place, PlaceKind, places_of
from include.rollout.settings import EVERYTHING
from include.rollout.steps import NotWanted, OnRecord, Run

log = logging.getLogger(__name__)

_AT_ONCE = 16  # places and levers whose live state is read at the same time


@dataclass(frozen=True)
class RollbackRun(Run):
    """A run of the rollback DAG: ``lever`` names the choice only, and ``levers`` finds those that are undone."""

    levers: Levers = field(kw_only=True)


@dataclass(frozen=True)
class Undoing:
    """One change to undo: that of the run whose snapshot stands in ``chain``."""

    chain: Chain

    @property
    def lever(self) -> str:
        """The name under which the ledger has the lever."""
        return self.chain.lever

    @property
    def place(self) -> str:
        """Where."""
        return self.chain.place


@dataclass(frozen=True)
class Found:
    """What the ledger has of the choice: changes in the order in which they are undone, and what stands in the way.

    ``out_of_reach`` and ``bad`` say by chain why a change can't be undone and why nobody knows whether one stands;
    ``older`` are changes of the same lever that this run leaves.
    """

    changes: tuple[OpenRun, ...]
    out_of_reach: Mapping[Chain, str]
    bad: Mapping[str, str]
    older: tuple[OpenRun, ...] = ()


# --- Finding ------------------------------------------------------------------------------------------------------


def find_changes(run: RollbackRun) -> dict[str, str]:
    """Find the changes that stand in the choice, put them on record, and describe them for approval.

    Everything is every change; a lever alone its last change, or that of the run that is named. Raises Refused when a
    named run has none or a newer one stands on it, and for an emergency without a reason.
    """
    params = run.params
    if params["emergency"] and not str(params["reason"]).strip():
        raise Refused("reason: an emergency rollback skips the approval and needs one; say why in the trigger form")
    survey = run.ledger.survey()
    found = choose(run, survey)
    text = describe(run, found)
    plan_hash = hashlib.sha256(text.encode()).hexdigest()[:12]
    log.info("rollback %s\n%s", plan_hash, text)
    _record_plan(run, found, plan_hash, sorted({*_selected(run, survey), *(c.chain.place for c in found.changes)}))
    return {"hash": plan_hash, "text": text}


def _record_plan(run: RollbackRun, found: Found, plan_hash: str, places: Sequence[str]) -> None:
    figures = {
        "hash": plan_hash,
        "items": [change.chain.to_json() for change in found.changes],
        "out_of_reach": [chain.to_json() | {"reason": reason} for chain, reason in found.out_of_reach.items()],
        "bad": dict(found.bad),
        "older": [change.chain.to_json() for change in found.older],
        "regions": list(places),
        "reason": run.params["reason"],
    }
    run.record(WHOLE_RUN, Step.PLAN, figures)


def _selected(run: RollbackRun, survey: Survey) -> list[str]:
    """The places to lock whatever stands there: those of the form; in an emergency without any, all of the estate.

    Raises Refused for one that nobody knows.
    """
    chosen = list(run.params["regions"])
    every = [name for kind in PlaceKind if kind in run.levers.kinds() for name in places_of(kind, run.estate)]
    known = {*run.estate.regions, *every, *survey.places}
    for place in chosen:
        if place not in known:
            raise Refused(f"regions: {place!r} is neither in the estate nor in the ledger: {', '.join(sorted(known))}")
    return chosen or (every if run.params["emergency"] else [])


def _names(run: RollbackRun) -> list[str]:
    """The names under which the ledger has the chosen lever; none for everything."""
    chosen = str(run.params["lever"])
    return [] if chosen == EVERYTHING else run.levers.names_on_record(chosen)


def _is_chosen(run: RollbackRun, path: str) -> bool:
    """Whether a chain is one of the form's lever and places."""
    lever, place, _ = path.split("/")
    names, places = _names(run), list(run.params["regions"])
    return (not names or lever in names) and (not places or place in places)


def choose(run: RollbackRun, survey: Survey) -> Found:
    """What of the survey is to be undone, in order: place by place, the levers as they declare, the newest first."""
    chosen = str(run.params["lever"])
    standing = [change for change in survey.standing if _is_chosen(run, change.chain.path)]
    by_lever: dict[tuple[str, str], list[OpenRun]] = {}
    for change in sorted(standing, key=lambda change: run.levers.is_current(change.chain.lever)):  # old names are older
        by_lever.setdefault((change.chain.place, run.levers.current_name(change.chain.lever)), []).append(change)
    picked = {key: _pick(run, changes) for key, changes in by_lever.items()}
    if run.params["run"] and not any(picked.values()):
        raise Refused(
            f"run: no change of {run.params['run']!r} stands for {chosen} in "
            f"{', '.join(run.params['regions']) or 'any place'}; "
            "leave it empty for the last change, or take a run id from the ledger"
        )
    order = run.levers.undo_order()
    keys = sorted(picked, key=lambda key: (_place_order(run, key[0]), _index(order, key[1])))
    out_of_reach = {c.chain: why for key in keys for c in picked[key] if (why := _out_of_reach(run, c))}
    changes = [c for key in keys for c in picked[key] if c.chain not in out_of_reach]
    older = () if chosen == EVERYTHING else tuple(c for k in keys for c in by_lever[k] if c not in picked[k])
    bad = {path: why for path, why in survey.bad.items() if _is_chosen(run, path)}
    return Found(tuple(changes), out_of_reach, bad, older)


def _pick(run: RollbackRun, changes: Sequence[OpenRun]) -> list[OpenRun]:
    """Those of one lever and place (the earliest first) that are undone, the newest first."""
    name = str(run.params["run"])
    newest_first = list(reversed(changes))
    if not name:
        return newest_first if run.params["lever"] == EVERYTHING else newest_first[:1]
    picked = [c for c in newest_first if name in {c.chain.run_id, f"{c.chain.dag_id}/{c.chain.run_id}"}]
    if picked and picked != newest_first[: len(picked)]:
        newer = newest_first[0].chain
        raise Refused(
            f"run: {name} of {newer.lever} can't be undone in {newer.place} while the newer "
            f"{newer.dag_id}/{newer.run_id} stands on it, whose undo would bring it back; "
            "undo the newer one first, or everything"
        )
    return picked


def _place_order(run: RollbackRun, place: str) -> tuple[int, str]:
    return _index(run.estate.ordered_regions(), place), place


def _index(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)


def _out_of_reach(run: RollbackRun, change: OpenRun) -> str:
    """Why a change can't be undone from here whatever is tried, with the remedy; "" when it can."""
    chain = change.chain
    try:
        run.levers.lever(chain.lever)
    except Refused:
        return (
            f"lever {chain.lever} is not in the code any more: roll it back with the release that had it, "
            "or name its successor in include/levers RENAMED"
        )
    except Exception as error:  # noqa: BLE001 - a lever that can't be loaded must not keep the others from being undone
        return f"lever {chain.lever} can't be loaded ({type(error).__name__}: {error}): mend it and trigger again"
    if Place.named(chain.place).kind is not PlaceKind.REGION or chain.place in run.estate.regions:
        return ""
    try:
        _target_estate(run, change.snapshot).region(chain.place)
        missing = steps.missing_clients(run.clients(Place.named(chain.place)), needs_of(run.levers.lever(chain.lever)))
        if missing:
            raise Refused("; ".join(missing.values()))
    except (EstateError, Refused) as error:
        return (
            f"region {chain.place} is not in the estate any more and its snapshot does not lead there ({error}): "
            "put it back into the estate's file and trigger again"
        )
    return ""


def _target_estate(run: RollbackRun, snapshot: Record) -> Estate:
    kept = snapshot.figures.get("estate")
    return Estate.from_slice(kept, run.estate) if kept else run.estate


def estate_on_record(ledger: Ledger) -> Estate | None:
    """An estate made of the slices in the last snapshot of every lever and place; None without any."""
    newest: Estate | None = None
    regions: dict[str, Region] = {}
    for snapshot in sorted(ledger.latest_snapshots(), key=lambda record: record.time, reverse=True):
        kept = snapshot.figures.get("estate")
        if kept and snapshot.place not in regions:
            with contextlib.suppress(EstateError):  # of a release too old to be understood: the others may do
                piece = Estate.from_slice(kept, newest)
                newest = newest or piece
                regions = {**piece.regions, **regions} if _is_whole(snapshot) else {**regions, **piece.regions}
    if newest is None:
        return None
    return newest.model_copy(update={"regions": regions})


def _is_whole(snapshot: Record) -> bool:
    """Whether the snapshot holds all of the estate: what is known of its regions by themselves may be newer."""
    return Place.named(snapshot.place).kind is not PlaceKind.REGION


# --- Describing ---------------------------------------------------------------------------------------------------


def describe(run: RollbackRun, found: Found) -> str:
    """What is undone in which order, for the approver, and what can't be. Reads the live state at once."""
    groups = list(_by_lever(run, ((change.chain.place, change.chain.lever, change) for change in found.changes)))
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        texts = list(pool.map(lambda group: _describe_place(run, group), groups))
    texts += [f"**Out of reach:** {chain.path}: {reason}" for chain, reason in found.out_of_reach.items()]
    texts += [f"**Does not add up:** {reason}" for reason in found.bad.values()]
    if run.params.get("accept"):
        texts.append("What remains, what belongs to others and what is out of reach is **accepted** and closed.")
    return "\n\n".join(texts) or "Nothing to undo: no change stands."


def _by_lever(run: RollbackRun, items: Iterable[tuple[str, str, Any]]) -> list[list[Any]]:
    groups: dict[tuple[str, str], list[Any]] = {}
    for place, lever, item in items:
        groups.setdefault((place, run.levers.current_name(lever)), []).append(item)
    return list(groups.values())


def _describe_place(run: RollbackRun, changes: Sequence[OpenRun]) -> str:
    """One lever in one place: its changes, the newest first, and what is set back from now to before the oldest."""
    lines = []
    for change in changes:
        chain, state = change.chain, "promoted" if change.promoted else "unfinished"
        lines += [
            f"### {chain.place}: {chain.lever} of {chain.dag_id}/{chain.run_id} ({state}, {change.snapshot.time})"
        ]
    oldest = changes[-1].snapshot
    acting = _acting(run, oldest.lever)
    try:
        found = acting.lever.verify_restored(acting.target_of(oldest), oldest.figures["snapshot"])
    except Exception as error:  # noqa: BLE001 - one place that can't be read must not stop the rollback of the others
        return "\n".join([*lines, "", f"Live state can't be read: {type(error).__name__}: {error}"])
    return "\n".join([*lines, "", *(f"- set back `{difference}`" for difference in found)]).strip()


# --- Locks --------------------------------------------------------------------------------------------------------


def take_locks(run: RollbackRun, approval: Mapping[str, Any] | None) -> None:
    """Take the locks of all selected places over, from whoever holds them.

    A place whose lock can't be taken does not keep the others: its own undo tries again. Raises Refused without an
    approval of this very plan, or when other changes stand than were approved; an emergency undoes these too.
    """
    plan = _plan(run)
    if not run.params["emergency"]:
        steps.check_approval(run, approval)
    before: dict[str, str] = {}
    missed: dict[str, str] = {}
    for place in plan.figures["regions"]:
        try:
            before[place] = run.lock(place).take_over() or ""
        except Exception as error:  # noqa: BLE001 - put on record below; an unreachable place must not keep the others
            missed[place] = without_secrets(f"{type(error).__name__}: {error}")
    _look_again(run, plan)
    figures = {
        "approved_by": (approval or {}).get("user"),
        "hash": plan.figures["hash"],
        "locked": list(before),
        "taken_over_from": {place: holder for place, holder in before.items() if holder},
        "not_locked": missed,
    }
    run.record(WHOLE_RUN, Step.APPROVAL, figures)
    _close_out_of_reach(run)


def _look_again(run: RollbackRun, plan: Record) -> None:
    """Compare with what stands now that nobody else writes."""
    found = choose(run, run.ledger.survey())
    if [change.chain.to_json() for change in found.changes] == plan.figures["items"]:
        return
    if run.params["emergency"]:
        places = {*plan.figures["regions"], *(change.chain.place for change in found.changes)}
        _record_plan(run, found, plan.figures["hash"], sorted(places))
        return
    release_locks(run)
    raise Refused("other changes stand now than when the plan was approved; nothing was changed; trigger a new run")


def _close_out_of_reach(run: RollbackRun) -> None:
    """Put on record that what is out of reach is accepted, when the form says so: it no longer stands then."""
    if not run.params.get("accept"):
        return
    for item in _plan(run).figures["out_of_reach"]:
        chain = Chain.from_json(item)
        figures = {"complete": False, "remaining": [f"out of reach: {item['reason']}"], "others": [], "accepted": True}
        ours = Chain(chain.lever, chain.place, run.dag_id, run.run_id)
        run.ledger.append(ours, Step.RESTORED, figures, {**run.links, "restores": chain.path})


def release_locks(run: RollbackRun) -> None:
    """Give up the locks that this run holds."""
    steps.unlock_places(run, _plan(run).figures["regions"])


# --- Undoing ------------------------------------------------------------------------------------------------------


def _plan(run: RollbackRun) -> Record:
    plan = last(run.records(WHOLE_RUN), Step.PLAN)
    if plan is None:
        raise Refused("no plan is on record; trigger a new run")
    return plan


def found(run: RollbackRun) -> list[Undoing]:
    """What find_changes put on record, in order; empty before it has."""
    plan = last(run.records(WHOLE_RUN), Step.PLAN)
    return [Undoing(Chain.from_json(item)) for item in plan.figures["items"]] if plan else []


def list_places(run: RollbackRun) -> list[str]:
    """The places in which something is to be undone, for one task each."""
    return list(dict.fromkeys(undoing.place for undoing in found(run)))


def anything_to_do(run: RollbackRun) -> bool:
    """Whether something is to be undone, or accepted as it is."""
    return bool(found(run)) or bool(run.params.get("accept") and _plan(run).figures["out_of_reach"])


def _acting(run: RollbackRun, lever: str) -> Run:
    return replace(run, lever=run.levers.lever(lever))


def _snapshot(run: RollbackRun, undoing: Undoing) -> Record:
    snapshot = run.ledger.snapshot(undoing.chain)
    if snapshot is None:
        raise Refused(f"{undoing.chain.path} has no snapshot any more: restore the ledger from a backup")
    return snapshot


def records_of(run: RollbackRun, undoing: Undoing) -> list[Record]:
    """What this run has on record of undoing one change, and where it stopped."""
    records = run.ledger.records(Chain(undoing.lever, undoing.place, run.dag_id, run.run_id))
    return [record for record in records if record.links.get("restores") == undoing.chain.path]


def undo_changes(run: RollbackRun, place: str) -> None:
    """Undo every change found in a place: the levers in order, the newest run first.

    A lever that fails does not keep the others, but its own older changes: nothing is undone under a newer change.
    """
    approval = last(run.records(WHOLE_RUN), Step.APPROVAL)
    if approval is None or approval.figures.get("hash") != _plan(run).figures["hash"]:
        raise Refused(
            "the locks were not taken for the plan on record: a task that was marked by hand approves nothing; "
            "clear take_locks_over, or trigger a new run"
        )
    locked = approval.figures["locked"]

    def undo(acting: Run, undoing: Undoing, oldest: bool) -> None:
        if place not in locked:
            acting.lock(place).take_over()
        if last(records_of(run, undoing), Step.UNDONE) is None:
            steps.undo_changes(acting, place, _snapshot(run, undoing))
        if not oldest and not _is_closed(run, undoing):
            # The next undo changes the live state: this one is proved before it.
            steps.verify_restored(acting, place, _snapshot(run, undoing))

    _for_each(run, place, undo)


def verify_restored(run: RollbackRun, place: str) -> None:
    """Compare every lever's live fields in a place with its snapshot."""

    def verify(acting: Run, undoing: Undoing, oldest: bool) -> None:
        if oldest or not _is_closed(run, undoing):
            steps.verify_restored(acting, place, _snapshot(run, undoing))

    _for_each(run, place, verify)


def _is_closed(run: RollbackRun, undoing: Undoing) -> bool:
    return any(is_complete_restoration(record) for record in records_of(run, undoing))


def _for_each(run: RollbackRun, place: str, step: Callable[[Run, Undoing, bool], None]) -> None:
    """``step`` for every change of the place, which also hears whether it is the oldest of its lever."""
    undoings = [undoing for undoing in found(run) if undoing.place == place]
    if not undoings:
        raise NotWanted(f"nothing to undo in {place}")
    problems: list[Exception] = []
    for group in _by_lever(run, ((undoing.place, undoing.lever, undoing) for undoing in undoings)):
        for undoing in group:
            try:
                step(_acting(run, undoing.lever), undoing, undoing is group[-1])
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
        _acting(run, undoing.lever).record(undoing.place, Step.STOPPED, figures, restores=undoing.chain.path)


# --- The end ------------------------------------------------------------------------------------------------------


def conclude(run: RollbackRun, approval: Mapping[str, Any] | None, failed_tasks: Sequence[str]) -> decisions.Verdict:
    """The verdict of a rollback, put on record with the heads of the chains that it wrote."""
    plan = last(run.records(WHOLE_RUN), Step.PLAN)
    places = list(run.params["regions"])
    by_place = {WHOLE_RUN: run.records(WHOLE_RUN), **{place: [] for place in places}}
    facts = decisions.Facts(run.chain(), run.params["dry_run"], places, [], by_place, approval, failed_tasks)
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
        if not (run.params.get("accept") and (run.params["dry_run"] or _is_closed(run, change))):
            lines.append(f"{change.place} {change.lever}: {item['reason']}")
    bad = dict(plan.figures["bad"])
    for below in _names(run) or [""]:
        bad |= {path: reason for path, reason in run.ledger.audit(below).items() if _is_chosen(run, path)}
    tried = {undoing.chain.path for undoing in undoings}
    lines += [f"nobody knows what stands of a chain: {bad[path]}" for path in sorted(bad) if path not in tried]
    approval = last(run.records(WHOLE_RUN), Step.APPROVAL)
    missed = approval.figures.get("not_locked", {}) if approval else {}
    busy = {undoing.place for undoing in undoings}
    return lines + [f"{r}: lock not taken, a rollout may go on: {why}" for r, why in missed.items() if r not in busy]
