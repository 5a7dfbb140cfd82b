"""The steps of the rollback DAG: they know the ledger and the live world only, and need no rollout DAG."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from include import levers
from include.rollout import flow, steps
from include.rollout.ledger import WHOLE_RUN, Chain, OpenRun, Record, Step, last
from include.rollout.lever import NotConverged, Refused
from include.rollout.steps import NotWanted, OnRecord, Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Undoing:
    """One change to undo: the run that made it, by the snapshot that it took."""

    lever: str
    region: str
    snapshot: Record


def find_changes(run: Run) -> dict[str, str]:
    """Find the changes that stand in the choice, put them on record, and describe them for approval.

    Per region and lever the last change that stands, or the one of the run that is named. Raises Refused when a named
    run has none, or an emergency has no reason.
    """
    params = run.params
    if params["emergency"] and not str(params["reason"]).strip():
        raise Refused("reason: an emergency rollback skips the approval and needs one; say why in the trigger form")
    names = list(levers.LEVERS) if run.lever.name not in levers.LEVERS else [run.lever.name]
    regions = [region for region in run.estate.ordered_regions() if region in params["regions"]]
    changes = [change for region in regions for change in _standing(run, names, region, str(params["run"]))]
    if params["run"] and not changes:
        raise Refused(
            f"run: no change of {params['run']!r} stands for {', '.join(names)} in {', '.join(regions)}; "
            "leave it empty for the last change, or take a run id from the ledger"
        )
    items = [{"lever": c.chain.lever, "region": c.chain.region, "dag_id": c.chain.dag_id, "run_id": c.chain.run_id}
             for c in changes]  # fmt: skip
    text = "\n".join(_describe(run, change) for change in changes) or "Nothing to undo: no change stands."
    plan_hash = hashlib.sha256(text.encode()).hexdigest()[:12]
    log.info("rollback %s\n%s", plan_hash, text)
    run.record(WHOLE_RUN, Step.PLAN, {"hash": plan_hash, "items": items, "reason": params["reason"]})
    return {"hash": plan_hash, "text": text}


def _standing(run: Run, names: Sequence[str], region: str, run_id: str) -> list[OpenRun]:
    """The last standing change of each lever, the latest first: that is the order in which they are undone."""
    found = []
    for name in names:
        changes = run.ledger.standing(name, region)
        if run_id:
            changes = [c for c in changes if run_id in {c.chain.run_id, f"{c.chain.dag_id}/{c.chain.run_id}"}]
        found += changes[-1:]
    return sorted(found, key=lambda change: change.touched_at, reverse=True)


def _describe(run: Run, change: OpenRun) -> str:
    state = "promoted" if change.promoted else "unfinished"
    chain = change.chain
    lines = [f"### {chain.region}: {chain.lever} of {chain.dag_id}/{chain.run_id} ({state}, {change.touched_at})", ""]
    acting = _acting(run, chain.lever)
    try:
        found = acting.lever.verify_restored(acting.target_of(change.snapshot), change.snapshot.figures["snapshot"])
    except Exception as error:  # noqa: BLE001 - one region that can't be read must not stop the rollback of the others
        return "\n".join([*lines, f"Live state can't be read: {type(error).__name__}: {error}"])
    return "\n".join([*lines, *(f"- set back `{difference}`" for difference in found)])


def _acting(run: Run, lever: str) -> Run:
    return replace(run, lever=levers.lever(lever))


def found(run: Run) -> list[Undoing]:
    """What find_changes put on record, in order; empty before it has."""
    plan = last(run.records(WHOLE_RUN), Step.PLAN)
    undoings = []
    for item in plan.figures["items"] if plan else []:
        snapshot = run.ledger.snapshot(Chain(**item))
        if snapshot is None:
            raise Refused(f"{Chain(**item).path} has no snapshot any more: restore the ledger from a backup")
        undoings.append(Undoing(item["lever"], item["region"], snapshot))
    return undoings


def undo_changes(run: Run, region: str) -> None:
    """Undo every change found in a region, the latest first; a lever that fails does not keep the others."""

    def undo(acting: Run, undoing: Undoing) -> None:
        if last(acting.records(region), Step.UNDONE) is None:
            steps.undo_changes(acting, region, undoing.snapshot)

    _for_each(run, region, undo)


def verify_restored(run: Run, region: str) -> None:
    """Compare every lever's live fields in a region with its snapshot."""
    _for_each(run, region, lambda acting, undoing: steps.verify_restored(acting, region, undoing.snapshot))


def _for_each(run: Run, region: str, step: Callable[[Run, Undoing], None]) -> None:
    undoings = [undoing for undoing in found(run) if undoing.region == region]
    if not undoings:
        raise NotWanted(f"nothing to undo in {region}")
    problems: list[Exception] = []
    for undoing in undoings:
        acting = _acting(run, undoing.lever)
        try:
            step(acting, undoing)
        except Exception as error:  # noqa: BLE001 - raised below, once every lever was tried
            log.warning("%s: %s: %s", region, undoing.lever, error)
            if not isinstance(error, OnRecord):
                acting.record(region, Step.STOPPED, {"where": region, "reason": f"{type(error).__name__}: {error}"})
            problems.append(error)
    for problem in problems:
        if not isinstance(problem, Refused | NotConverged):
            raise problem  # may be cured by a retry
    if problems:
        raise OnRecord("; ".join(str(problem) for problem in problems))


def conclude(run: Run, approval: Mapping[str, Any] | None, failed_tasks: Sequence[str]) -> flow.Verdict:
    """The verdict of a rollback, put on record with the heads of the chains that it wrote."""
    regions = [region for region in run.estate.ordered_regions() if region in run.params["regions"]]
    by_region = {WHOLE_RUN: run.records(WHOLE_RUN), **{region: [] for region in regions}}
    facts = flow.Facts(run.chain(), run.params["dry_run"], regions, [], by_region, approval, failed_tasks)
    undoings = found(run)
    chains = [_acting(run, undoing.lever).chain(undoing.region) for undoing in undoings]
    items = [(chain.region, chain.lever, run.ledger.records(chain)) for chain in chains]
    verdict = flow.rollback_verdict(facts, items)
    steps.record_verdict(run, verdict, chains)
    return verdict
