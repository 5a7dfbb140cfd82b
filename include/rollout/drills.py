"""A drill from its plan to its verdict: one region, one stage, always set back; what it proved goes on record.

It goes through the steps of a rollout (lock, snapshot, stage, gates), so that one that was cut short is found and
undone by the rollback DAG like any other change. There is no promotion.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from include.rollout import decisions, steps
from include.rollout.decisions import Ending, Verdict
from include.rollout.ledger import WHOLE_RUN, OpenRun, Record, Step, last
from include.rollout.lever import Levers, Refused, Target
from include.rollout.safety import Fault, Outcome, SafetyError, SafetyRecords, proved
from include.rollout.steps import NotWanted, Run

log = logging.getLogger(__name__)


class Expectation(Protocol):
    """What a drill is about: the fault, the levers of which it proves something, and what is expected."""

    @property
    def fault(self) -> Fault:
        """The column of the safety matrix."""

    @property
    def concerns(self) -> Sequence[str]:
        """The levers by name."""

    @property
    def hypothesis(self) -> str:
        """A sentence."""


class DrillLever(Protocol):
    """A lever that carries a drill out."""

    def expects(self, target: Target) -> Expectation:
        """What the drill of these settings is about."""


def place_of(run: Run) -> str:
    """The one place of a drill. Raises Refused for none or several."""
    if len(run.places) != 1:
        raise Refused(f"regions: {', '.join(run.places)}: a drill strikes one region at a time; name one")
    return run.places[0]


def check_preflight(run: Run) -> None:
    """Everything that can be known to be wrong before anything is written. Raises Refused with all of it at once."""
    place_of(run)
    steps.check_preflight(run)


def take_locks(run: Run) -> None:
    """Take the lock of the region."""
    steps.lock_places(run, [place_of(run)], steps.answer_on_record(run), take_over=False)


def take_snapshot(run: Run) -> None:
    """Put on record what is needed to set back what the drill takes away."""
    steps.take_snapshot(run, place_of(run))


def strike(run: Run) -> None:
    """Let it go wrong, and watch until all is well again, or the stop condition ends the drill."""
    steps.apply_stage(run, place_of(run), run.lever.slots[0])


def judge(run: Run) -> dict[str, Any] | None:
    """Whether the hypothesis held, by its gates; None while these wait for data."""
    return steps.judge_gates(run, place_of(run), run.lever.slots[0])


def set_back(run: Run) -> None:
    """Set back what the drill has changed, whatever became of it. Raises NotWanted where it wrote nothing."""
    steps.undo_changes(run, place_of(run), _snapshot(run))


def verify(run: Run) -> None:
    """Compare the region with the snapshot."""
    steps.verify_restored(run, place_of(run), _snapshot(run))


def _snapshot(run: Run) -> Record:
    place = place_of(run)
    snapshot = run.ledger.snapshot(run.chain(place))
    if snapshot is None or place not in run.ledger.touched(run.chain(), [place]):
        raise NotWanted(f"{place} was not touched, or is restored")
    return snapshot


def conclude(run: Run, levers: Levers, approval: Mapping[str, Any] | None, failed_tasks: Sequence[str]) -> Verdict:
    """The verdict, put on record: green when the hypothesis held and everything is back, or a dry run that planned.

    What a drill that held has proved of the levers that stand in the region goes into the safety records.
    """
    places = run.places
    by_place = {place: run.records(place) for place in [WHOLE_RUN, *places]}
    touched = run.ledger.touched(run.chain(), places)
    undone = {place: other for place in places if place not in touched and (other := steps.undone_by(run, place))}
    facts = decisions.RunFacts(
        run.chain(), run.settings.dry_run, places, touched, by_place, approval, failed_tasks, undone
    )
    held = len(places) == 1 and not touched and not undone and _held(run, by_place[places[0]])
    verdict = _held_verdict(run, levers, by_place[places[0]]) if held else decisions.verdict(facts)
    steps.record_verdict(run, verdict, [run.chain(place) for place in places])
    return verdict


def _held(run: Run, records: Sequence[Record]) -> bool:
    """Whether the gates passed and a complete restoration followed."""
    restored = last(records, Step.RESTORED)
    complete = restored is not None and bool(restored.figures["complete"])
    return complete and decisions.has_passed(records, run.lever.slots[0]) and decisions.failure(records) is None


def _held_verdict(run: Run, levers: Levers, records: Sequence[Record]) -> Verdict:
    place = place_of(run)
    applied, restored = last(records, Step.APPLIED), last(records, Step.RESTORED)
    assert applied is not None
    assert restored is not None
    figures, expected = applied.figures["figures"], cast("DrillLever", run.lever).expects(run.target(place))
    found = _prove(run, levers, expected, figures.get("recovered_seconds"))
    lines = [
        f"{Ending.HELD} in {place}: {expected.hypothesis}",
        f"Least share of ready pods {figures['least_ready_share']:.0%}; well again "
        f"{figures['recovered_seconds']:.0f} s after the last strike; set back in "
        f"{restored.figures.get('seconds', 0):.0f} s.",
        *(found or [f"Nothing for the safety matrix: none of {', '.join(expected.concerns)} stands in {place}."]),
    ]
    return Verdict(Ending.HELD, green=True, message="\n".join(lines))


def _prove(run: Run, levers: Levers, expected: Expectation, seconds: float | None) -> list[str]:
    """Put on record which levers that stand in the region survived; a line each."""
    lines = []
    for name, change in _standing(run, levers, expected.concerns).items():
        try:
            record = proved(
                name, expected.fault, Outcome.SURVIVED, seconds,
                plan_hash=steps.plan_hash_of(run.ledger, change.chain), source=f"{run.dag_id}/{run.run_id}"[:200],
                place=change.chain.place, when=run.clock().isoformat(),
            )  # fmt: skip
            SafetyRecords(run.ledger.store).add(record)
            lines.append(f"On record: {name} survived {expected.fault} (code {record.code_version}).")
        except SafetyError as error:
            lines.append(f"Not on record: {error}")
    return lines


def _standing(run: Run, levers: Levers, concerns: Sequence[str]) -> dict[str, OpenRun]:
    """The newest promoted change of each lever in the region, by the lever's name of today."""
    place, found = place_of(run), {}
    for change in run.ledger.survey().standing:
        name = levers.current_name(change.chain.lever)
        if name in concerns and change.chain.place == place and change.promoted:
            found[name] = change
    return found
