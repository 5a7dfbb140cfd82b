"""What stands of each lever in each place, how it is undone, and how long the last undo took: from the ledger alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from include.completion.history import outcome_of
from include.overview.ledger_copy import ChainCopy, LedgerContent, standing_changes
from include.rollout.ledger import WHOLE_RUN, Record, Step, last

Json = Any
NEVER, UNKNOWN = "not rolled out", "unknown"


@dataclass(frozen=True)
class Prediction:
    """What a plan on record says: how it is undone, and USD a month before minus after (None is unknown)."""

    undo: str = ""
    usd_month: Decimal | None = None
    book: str = ""


@dataclass(frozen=True)
class LeverState:
    """A lever in a place. ``state``: promoted, unfinished, rolled back, stopped, planned only, or unknown.

    ``run`` is dag_id/run_id of the newest run there; ``undo_seconds`` those of the newest undo on record,
    ``undo_place`` where it was, in this place or another, or who rehearsed it; ``problem`` why nobody knows the state.
    """

    lever: str
    place: str
    state: str
    since: str = ""
    run: str = ""
    stage: str = ""
    prediction: Prediction = Prediction()
    undo_seconds: float | None = None
    undo_place: str = ""
    problem: str = ""

    @property
    def stands(self) -> bool:
        """Whether there is a change to undo."""
        return self.state in {"promoted", "unfinished"}

    @property
    def run_id(self) -> str:
        """The run's id without its DAG's."""
        return self.run.partition("/")[2]


def lever_states(content: LedgerContent, names: Sequence[str], places: Sequence[str]) -> list[LeverState]:
    """Every lever in every place where the ledger has something of it, in the order of ``names`` and ``places``."""
    by_place: dict[tuple[str, str], list[tuple[str, ChainCopy]]] = {}
    for path, chain in content.of_places().items():
        lever, place, _ = path.split("/")
        by_place.setdefault((lever, place), []).append((path, chain))
    stand = {change.path: change.promoted for change in standing_changes(content)}
    problems = content.problems
    undos = last_undos(content)
    states = []
    for (lever, place), chains in by_place.items():
        if lever in names:
            state = _state(lever, place, sorted(chains, key=_begun), stand, problems)
            states.append(_with_undo(state, undos))
    return sorted(states, key=lambda state: (names.index(state.lever), _index(places, state.place), state.place))


def _begun(item: tuple[str, ChainCopy]) -> str:
    return item[1].records[0].time if item[1].records else ""


def _index(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)


def _state(
    lever: str,
    place: str,
    chains: Sequence[tuple[str, ChainCopy]],
    stand: Mapping[str, bool],
    problems: Mapping[str, str],
) -> LeverState:
    """The state of one lever in one place; ``chains`` are its runs there, the earliest first."""
    broken = [problems[path] for path, _ in chains if path in problems]
    standing = [(path, chain) for path, chain in chains if path in stand]
    written = [item for item in chains if item[1].records]
    if not written:
        return LeverState(lever, place, UNKNOWN, problem="; ".join(broken))
    path, chain = (standing or _of_rollouts(written) or written)[-1]
    state = ("promoted" if stand[path] else "unfinished") if standing else _ended(chain)
    first, newest = chain.records[0], chain.records[-1]
    return LeverState(
        lever=lever,
        place=place,
        state=UNKNOWN if broken else state,
        since=newest.time,
        run=f"{first.dag_id}/{first.run_id}",
        stage=_stage(chain.records),
        prediction=prediction_of(last(chain.records, Step.PLAN)),
        problem="; ".join(broken),
    )


def _of_rollouts(chains: Sequence[tuple[str, ChainCopy]]) -> list[tuple[str, ChainCopy]]:
    """The chains that rollouts wrote: a rollback's own only say what it set back."""
    return [item for item in chains if item[1].records[0].dag_id != "rollback"]


def _ended(chain: ChainCopy) -> str:
    """How a run that left nothing standing ended."""
    outcome = outcome_of(chain.records)
    return "rolled back" if outcome in {"promoted", "unfinished"} else outcome


def _stage(records: Sequence[Record]) -> str:
    applied = last(records, Step.APPLIED)
    return str(applied.figures.get("title", "")) if applied else ""


def prediction_of(record: Record | None) -> Prediction:
    """What a place's plan on record promises; unknown without one."""
    plan = record.figures.get("plan") if record else None
    return plan_prediction(plan) if isinstance(plan, Mapping) else Prediction()


def plan_prediction(plan: Mapping[str, Json]) -> Prediction:
    """The promise of a plan as JSON."""
    before, after = _dollars(plan.get("usd_month_before")), _dollars(plan.get("usd_month_after"))
    saving = None if before is None or after is None else before - after
    return Prediction(str(plan.get("undo", "")), saving, str(plan.get("price_book", "")))


def _dollars(value: Json) -> Decimal | None:
    """An amount of a record; what is no number is unknown."""
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None


# --- Undos ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Undo:
    """One complete restoration on record."""

    lever: str
    place: str
    time: str
    seconds: float


def last_undos(content: LedgerContent) -> list[Undo]:
    """Every complete restoration whose length is on record, the newest first."""
    found = [undo for chain in content.of_places().values() for undo in _undos(chain.records)]
    return sorted(found, key=lambda undo: undo.time, reverse=True)


def _undos(records: Iterable[Record]) -> Iterator[Undo]:
    for record in records:
        seconds = record.figures.get("seconds")
        if record.step == Step.RESTORED and record.figures.get("complete") and isinstance(seconds, int | float):
            yield Undo(record.lever, record.place, record.time, float(seconds))


def _with_undo(state: LeverState, undos: Sequence[Undo]) -> LeverState:
    of_lever = [undo for undo in undos if undo.lever == state.lever]
    here = next((undo for undo in of_lever if undo.place == state.place), None) or next(iter(of_lever), None)
    if here is None:
        return state
    return replace(state, undo_seconds=here.seconds, undo_place=here.place)


# --- Predictions of the newest plans ----------------------------------------------------------------------------------


def offered_plans(content: LedgerContent, lever: str) -> dict[str, Prediction]:
    """Place -> what the lever's newest plan, offered for approval or only shown, promises there."""
    newest = _newest_plan(content, lever)
    plan_by_place = newest.figures["plans"] if newest else {}
    return {place: plan_prediction(plan) for place, plan in plan_by_place.items()}


def plan_hash(content: LedgerContent, lever: str) -> str:
    """The hash of the lever's newest plan on record; "" without one."""
    newest = _newest_plan(content, lever)
    return str(newest.figures.get("hash", "")) if newest else ""


def _newest_plan(content: LedgerContent, lever: str) -> Record | None:
    plans = [
        record
        for path, chain in content.chains.items()
        if path.startswith(f"{lever}/{WHOLE_RUN}/")
        for record in chain.records
        if record.step == Step.PLAN and record.figures.get("plans")
    ]
    return max(plans, key=lambda record: record.time, default=None)
