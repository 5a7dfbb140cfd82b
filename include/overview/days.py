"""The days of the week at a glance: which levers each brings, and how far they have come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from include.overview.changes import LeverState
from include.overview.runs import RunRow
from include.week.days import DAYS

TITLES = {1: "Spot capacity", 2: "Predictive scaling", 3: "Edge", 4: "Right-sizing", 5: "Cost monitoring"}
# From the worst to the best: what a day shows is the worst of its levers' places.
WORST = ("unknown", "unfinished", "rolled back", "stopped", "planned only", "promoted")
VERDICTS = {"promoted": "pass", "rolled back": "fail", "unknown": "fail", "unfinished": "unknown", "waiting": "unknown"}


@dataclass(frozen=True)
class DayCard:
    """One day: its state in a word, how many of its levers' places stand of those on record, and the newest run."""

    number: int
    title: str
    state: str
    standing: int
    places: int
    run: str = ""

    @property
    def verdict(self) -> str:
        """The class of its chip: pass, fail, unknown, or "" before anything happened."""
        return VERDICTS.get(self.state, "")


def day_cards(
    states: Sequence[LeverState], runs: Sequence[RunRow], waiting: Mapping[str, int] | None = None
) -> list[DayCard]:
    """The five days. ``waiting`` counts the approvals that DAGs wait for, by dag_id."""
    return [_card(number, states, runs, waiting or {}) for number in TITLES]


def _card(number: int, states: Sequence[LeverState], runs: Sequence[RunRow], waiting: Mapping[str, int]) -> DayCard:
    rollouts = [day for day in DAYS if day.number == number]
    dags = [day.dag for day in rollouts]
    names = [lever for day in rollouts for lever in day.levers]
    ours = [state for state in states if state.lever in names]
    newest = next((run for run in runs if run.dag_id in dags), None)
    state = min((s.state for s in ours), key=_rank, default=newest.outcome if newest else "not started")
    if any(waiting.get(dag) for dag in dags):
        state = "waiting"
    return DayCard(number, TITLES[number], state, sum(s.stands for s in ours), len(ours), newest.name if newest else "")


def _rank(state: str) -> int:
    return WORST.index(state) if state in WORST else len(WORST)
