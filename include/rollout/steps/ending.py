"""Promotion or undo, and the verdict of a rollout."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from include.rollout import decisions
from include.rollout.ledger import WHOLE_RUN, Chain, Record, Step, last, without_secrets
from include.rollout.lever import Refused
from include.rollout.steps.exporting import promoted_export
from include.rollout.steps.locks import check_ours, undone_by
from include.rollout.steps.run import NotWanted, Run, each_place, evidence

log = logging.getLogger(__name__)


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

    Raises Refused when another run has taken a lock over or undone the change since the decision, or when there is no
    such decision: a task that was marked by hand decides nothing.
    """
    for place in run.places:
        check_ours(run, place)
    _check_decided(run)
    for place, after in zip(run.places, each_place(run, lambda target: evidence(run, target)), strict=True):
        # For a repository: "make it permanent" is to merge the very text of what was promoted.
        run.record(place, Step.PROMOTED, {"after": after, "export": promoted_export(run, place)})


def _check_decided(run: Run) -> None:
    decided = last(run.records(WHOLE_RUN), Step.DECISION)
    found = decisions.decide(run.places, {place: run.records(place) for place in run.places})
    if decided is not None and decided.figures["promote"] and found.promote:
        return
    against = [*found.reasons, *found.unknown] or ([*decided.figures["reasons"]] if decided else [])
    why = "; ".join(against) or "no decision is on record"
    raise Refused(f"not promoted: {why}; clear choose_ending, which decides by the ledger")


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


def conclude(
    run: Run, approval: Mapping[str, Any] | None, failed_tasks: Sequence[str], ending: str = "choose_ending"
) -> decisions.Verdict:
    """The verdict of a rollout, put on record with the heads of the chains of its places.

    ``ending`` is the task that decides.
    """
    places = run.places
    by_place = {place: run.records(place) for place in [WHOLE_RUN, *places]}
    touched = run.ledger.touched(run.chain(), places)
    dry_run = not run.settings.changes
    undone = {place: other for place in places if place not in touched and (other := undone_by(run, place))}
    facts = decisions.RunFacts(run.chain(), dry_run, places, touched, by_place, approval, failed_tasks, undone, ending)
    verdict = decisions.verdict(facts)
    record_verdict(run, verdict, [run.chain(place) for place in places])
    return verdict


def record_verdict(run: Run, verdict: decisions.Verdict, chains: Sequence[Chain]) -> None:
    """Join the chains: the verdict carries the hash of each one's last record."""
    heads = {f"head {chain.lever} {chain.place}": run.ledger.head(chain) or "" for chain in chains}
    figures = {"verdict": verdict.name.value, "message": verdict.message, "left_behind": list(verdict.left_behind)}
    run.record(WHOLE_RUN, Step.VERDICT, figures, **{name: head for name, head in heads.items() if head})
    run.ledger.seal([run.chain(), *chains])
