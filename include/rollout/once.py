"""A change that a recurring job makes: one place, one stage, under the same lock and ledger.

It is approved, or ordered by the estate's file (:func:`carry_out`); of a whole place or a part (:class:`PartRun`).

What stands afterwards is found and undone by the rollback DAG like any rollout's change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from include.rollout import decisions, steps
from include.rollout.ledger import WHOLE_RUN, Chain, OpenRun, Step, last
from include.rollout.lever import Refused, Stage, Target
from include.rollout.steps import Run

PART = "@"  # stands in a chain's run id before the part of the place


@dataclasses.dataclass(frozen=True)
class PartRun(Run):
    """A run whose change covers a part of a place, such as a namespace: each part is undone on its own."""

    part: str = dataclasses.field(kw_only=True)

    @classmethod
    def of(cls, run: Run, part: str, settings: dict[str, Any]) -> PartRun:
        """The run for one part, with the lever's settings instead of the form's."""
        fields = {field.name: getattr(run, field.name) for field in dataclasses.fields(Run)}
        return cls(**{**fields, "params": settings}, part=part)

    def chain(self, place: str = WHOLE_RUN) -> Chain:
        """The part's own chain."""
        chain = super().chain(place)
        return dataclasses.replace(chain, run_id=f"{chain.run_id}{PART}{self.part}")

    def beside(self, chain: Chain) -> bool:
        """Whether a change is of the same part."""
        return part_of(chain) == self.part


def part_of(chain: Chain) -> str:
    """The part of the place that a chain's change covers; empty for a whole place."""
    return chain.run_id.rpartition(PART)[2] if PART in chain.run_id else ""


def change(run: Run, place: str, plan_hash: str) -> dict[str, Any]:
    """Lock, snapshot, apply and promote; may run again after a crash at any point. Returns the stage's figures.

    Raises Refused without an approval of the plan of that hash, when somebody has undone this change meanwhile, or when
    the lever refuses; LockHeld while another run holds the place. The lock is given up in any case. Empty figures: it
    was as wanted before.
    """
    answer = steps.answer_on_record(run)
    if problem := decisions.approval_problem(answer, [plan_hash], run.estate.governance.approvers):
        raise Refused(f"{place}: {problem}. Nothing was changed")
    with locked(run, place):
        figures = {"approved_by": (answer or {}).get("user"), "locked": [place], "hash": plan_hash}
        run.record(WHOLE_RUN, Step.APPROVAL, figures)
        return _change(run, run.target(place, run.begin(place, "change")))


def carry_out(run: Run, place: str) -> dict[str, Any]:
    """Like :func:`change`, for what the estate's file orders: it was reviewed there, and nobody is asked again."""
    with locked(run, place):
        return _change(run, run.target(place, run.begin(place, "change")))


def take_back(run: Run, place: str, standing: OpenRun) -> None:
    """Undo a change under the lock and prove it. Raises what the steps raise; safe to run again."""
    with locked(run, place):
        steps.undo_changes(run, place, standing.snapshot)
        steps.verify_restored(run, place, standing.snapshot)


@contextmanager
def locked(run: Run, place: str) -> Iterator[None]:
    """Hold the place's lock. Raises LockHeld while another run has it."""
    lock = run.lock(place)
    lock.acquire(run.run_ended)
    try:
        yield
    finally:
        lock.release()


def preview(run: Run, place: str) -> str:
    """What :func:`change` would do, as Markdown; only reads. Raises Refused as it does where another change stands."""
    plan = run.lever.plan(run.target(place))
    if plan.stages:
        _refuse_second(run, place)
    return "\n".join([*map(str, plan.differences), *plan.notes]) if plan.stages else "nothing to change"


def _change(run: Run, target: Target) -> dict[str, Any]:
    place = target.place.name
    if (other := steps.undone_by(run, place)) is not None:
        raise Refused(f"{place}: {other} has undone this change; nothing more is done")
    stages = _begun(run, place) or _begin(run, target)
    if not stages:
        return {}
    (stage,) = stages
    run.record(place, Step.TOUCH, {"slot": stage.slot, "title": stage.title})
    started = run.clock()
    figures = run.lever.apply(target, stage)
    row = {"slot": stage.slot, "title": stage.title, "seconds": run.seconds_since(started)}
    run.record(place, Step.APPLIED, row | {"figures": figures})
    run.record(place, Step.PROMOTED, {"after": steps.evidence(run, target)})
    return figures


def _begun(run: Run, place: str) -> tuple[Stage, ...]:
    """The stage of a try before this one, which was cut after its first write: the live state may have it already."""
    records = run.records(place)
    return decisions.confirmed_stages(records) if last(records, Step.TOUCH) else ()


def _begin(run: Run, target: Target) -> tuple[Stage, ...]:
    plan = run.lever.plan(target)
    if plan.stages:
        _refuse_second(run, target.place.name)
        run.record(target.place.name, Step.PLAN, {"hash": plan.hash(), "plan": plan.to_json()})
        if run.ledger.snapshot(run.chain(target.place.name)) is None:
            steps.put_snapshot(run, target)
    return plan.stages


def _refuse_second(run: Run, place: str) -> None:
    """Two changes of one field would be undone in an order that nobody remembers."""
    for other in run.ledger.standing(run.lever.name, place):
        if other.chain != run.chain(place) and run.beside(other.chain):
            choice = f'{{"lever": "{run.lever.name}", "regions": ["{place}"], "dry_run": false}}'
            raise Refused(
                f"{place}: a change of {run.lever.name} by {other.chain.dag_id}/{other.chain.run_id} stands; "
                f"undo it first: trigger rollback with {choice}"
            )


def acting(run: Run, settings: dict[str, Any]) -> Run:
    """The run with the lever's settings instead of the form's, which belongs to another job."""
    return dataclasses.replace(run, params=settings)
