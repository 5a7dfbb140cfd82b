"""A run of the rollback DAG, what it found, and how far it has come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from include.rollout.ledger import (
    WHOLE_RUN,
    Chain,
    OpenRun,
    Record,
    Step,
    is_complete_restoration,
    last,
)
from include.rollout.lever import Levers, Refused
from include.rollout.settings import EVERYTHING
from include.rollout.steps import Run


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


def plan_on_record(run: RollbackRun) -> Record:
    """What find_changes put on record last. Raises Refused before it has."""
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
    return bool(found(run)) or bool(run.params.get("accept") and plan_on_record(run).figures["out_of_reach"])


def as_lever(run: RollbackRun, lever: str) -> Run:
    """The run as one of the lever of that name, for the steps of a rollout."""
    return replace(run, lever=run.levers.lever(lever))


def snapshot_of(run: RollbackRun, undoing: Undoing) -> Record:
    """The snapshot to restore. Raises Refused when it is gone."""
    snapshot = run.ledger.snapshot(undoing.chain)
    if snapshot is None:
        raise Refused(f"{undoing.chain.path} has no snapshot any more: restore the ledger from a backup")
    return snapshot


def records_of(run: RollbackRun, undoing: Undoing) -> list[Record]:
    """What this run has on record of undoing one change, and where it stopped."""
    records = run.ledger.records(Chain(undoing.lever, undoing.place, run.dag_id, run.run_id))
    return [record for record in records if record.links.get("restores") == undoing.chain.path]


def is_closed(run: RollbackRun, undoing: Undoing) -> bool:
    """Whether this run has ended a change: everything is back, or what is not was accepted."""
    return any(is_complete_restoration(record) for record in records_of(run, undoing))


def chosen_names(run: RollbackRun) -> list[str]:
    """The names under which the ledger has the chosen lever; none for everything."""
    chosen = str(run.params["lever"])
    return [] if chosen == EVERYTHING else run.levers.names_on_record(chosen)


def is_chosen(run: RollbackRun, path: str) -> bool:
    """Whether a chain is one of the form's lever and places."""
    lever, place, _ = path.split("/")
    names, places = chosen_names(run), list(run.params["regions"])
    return (not names or lever in names) and (not places or place in places)


def grouped(run: RollbackRun, items: Iterable[tuple[str, str, Any]]) -> list[list[Any]]:
    """Items of (place, lever, item) by place and lever, in their order; a renamed lever is one with its former self."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for place, lever, item in items:
        groups.setdefault((place, run.levers.current_name(lever)), []).append(item)
    return list(groups.values())
