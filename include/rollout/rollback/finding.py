"""What stands in the choice, in the order in which it is undone, and what stands in the way."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from include.estate import EstateError
from include.rollout import decisions, steps
from include.rollout.ledger import (
    WHOLE_RUN,
    OpenRun,
    Record,
    Step,
    Survey,
    without_secrets,
)
from include.rollout.lever import Refused, needs_of
from include.rollout.place import Place, PlaceKind, places_of
from include.rollout.rollback.describing import describe, undoables
from include.rollout.rollback.estates import target_estate
from include.rollout.rollback.run import Found, RollbackRun, is_chosen
from include.rollout.settings import EVERYTHING

log = logging.getLogger(__name__)


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
    places = sorted({*_selected(run, survey), *(change.chain.place for change in found.changes)})
    record = record_plan(run, found, plan_hash, places, text)
    links = steps.links_of(run)
    shown = decisions.undo_form(plan_hash, undoables(run, found), text, record.address, links)
    return {"hash": plan_hash, "text": shown}


def record_plan(run: RollbackRun, found: Found, plan_hash: str, places: Sequence[str], text: str = "") -> Record:
    """Put on record what was found, for the approver and for every later step; ``text`` is its description."""
    figures = {
        "hash": plan_hash,
        "items": [change.chain.to_json() for change in found.changes],
        "out_of_reach": [chain.to_json() | {"reason": reason} for chain, reason in found.out_of_reach.items()],
        "bad": dict(found.bad),
        "older": [change.chain.to_json() for change in found.older],
        "regions": list(places),
        "reason": run.params["reason"],
        "text": without_secrets(text),
    }
    return run.record(WHOLE_RUN, Step.PLAN, figures)


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


def choose(run: RollbackRun, survey: Survey) -> Found:
    """What of the survey is to be undone, in order: place by place, the levers as they declare, the newest first."""
    chosen = str(run.params["lever"])
    standing = [change for change in survey.standing if is_chosen(run, change.chain.path)]
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
    bad = {path: why for path, why in survey.bad.items() if is_chosen(run, path)}
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
        target_estate(run, change.snapshot).region(chain.place)
        missing = steps.missing_clients(run.clients(Place.named(chain.place)), needs_of(run.levers.lever(chain.lever)))
        if missing:
            raise Refused("; ".join(missing.values()))
    except (EstateError, Refused) as error:
        return (
            f"region {chain.place} is not in the estate any more and its snapshot does not lead there ({error}): "
            "put it back into the estate's file and trigger again"
        )
    return ""
