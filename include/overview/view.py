"""What the first page shows, in the order in which a person needs it: what is wrong, what waits, then the rest."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import urlencode

from include.completion.scorecard import Score
from include.estate import Estate
from include.overview.approvals import Pending
from include.overview.changes import LeverState, lever_states
from include.overview.costs import CostDay, Costs, cost_chart
from include.overview.days import DayCard, day_cards
from include.overview.fleet import fleet_charts, fleet_points
from include.overview.forecasts import ForecastState
from include.overview.latest import Answer
from include.overview.ledger_copy import LedgerContent
from include.overview.money import ComponentMoney, LeverMoney, component_money, lever_money, money_chart
from include.overview.planned import Planned
from include.overview.runs import RunRow, runs_of
from include.overview.safe import safety_table, with_rehearsed_undo
from include.overview.score import Evidence, Priority, priorities, scores_of
from include.pages.chart import Chart
from include.pages.table import Table
from include.pages.texts import usd
from include.rollout.place import DEVICES, ESTATE_WIDE
from include.rollout.safety import Reading

NO_ROLLOUTS = frozenset({"cost_cap", "game_day"})  # what the guard and the drills set, and set back by themselves
SHOWN_RUNS = 12
SHOWN_PROBLEMS = 20
NOTHING = LedgerContent({})


@dataclass(frozen=True)
class Sources:
    """What was read, each with when and what is wrong with it. ``evidence`` comes with the costs."""

    ledger: Answer[LedgerContent] = field(default_factory=Answer)
    costs: Answer[tuple[Costs, Evidence]] = field(default_factory=Answer)
    forecasts: Answer[tuple[ForecastState, ...]] = field(default_factory=Answer)
    planned: Answer[Planned] = field(default_factory=Answer)
    safety: Answer[Reading] = field(default_factory=Answer)


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where."""

    where: str
    text: str


@dataclass(frozen=True)
class Overview:
    """The first page but for what depends on who looks: the approvals and the undo buttons."""

    estate: str
    as_of: dt.datetime | None
    records: int
    unsigned: int
    version: str
    problems: tuple[Problem, ...]
    states: tuple[LeverState, ...]
    untouched: tuple[str, ...]  # levers of which the ledger has nothing
    runs: tuple[RunRow, ...]
    run_count: int
    money: tuple[LeverMoney, ...]
    money_picture: Chart | None
    planned: Planned
    safety: Table | None
    components: tuple[ComponentMoney, ...]
    bill_day: CostDay | None
    scores: tuple[Score, ...]
    priorities: tuple[Priority, ...]
    fleet: tuple[Chart, ...]
    forecasts: tuple[ForecastState, ...]
    costs_picture: Chart | None

    def days(self, pending: Pending) -> list[DayCard]:
        """The five days, with what waits."""
        return day_cards(self.states, self.runs, pending.by_dag())

    @property
    def predicted(self) -> Decimal | None:
        """USD a month that the plans on record promise together; None while one of them is unknown."""
        return self.predicted_known if self.money and not self.unpriced else None

    @property
    def predicted_known(self) -> Decimal:
        """USD a month of the plans whose saving is known."""
        return sum((row.predicted for row in self.money if row.predicted is not None), Decimal(0))

    @property
    def unpriced(self) -> int:
        """How many levers' savings nobody knows."""
        return sum(row.predicted is None for row in self.money)

    @property
    def measured(self) -> Decimal | None:
        """USD a month that was measured of what stands, as far as it is measured."""
        known = [row.measured for row in self.money if row.measured is not None]
        return sum(known, Decimal(0)) if known else None

    @property
    def billed(self) -> Decimal | None:
        """USD a month between week 13 and the newest day's rate, by the bill."""
        return self.components[-1].saving if self.components else None


def view_of(estate: Estate, names: Sequence[str], sources: Sources) -> Overview:
    """The page of an estate, whose levers are ``names``, from what was read of it."""
    content = sources.ledger.value or NOTHING
    costs, evidence = sources.costs.value or (Costs(), Evidence())
    proved = sources.safety.value or Reading((), {})
    places = [*estate.ordered_regions(), ESTATE_WIDE, DEVICES]
    states = with_rehearsed_undo(lever_states(content, names, places), proved)
    runs = runs_of(content)
    money = lever_money(content, states, names)
    bill = costs.days[-1] if costs.days else None
    scores = scores_of(content, estate, names, evidence, bill.key if bill else "")
    touched = {state.lever for state in states}
    return Overview(
        estate=estate.name,
        as_of=sources.ledger.at,
        records=content.records,
        unsigned=content.unsigned,
        version=content.version,
        problems=tuple(problems_of(sources)),
        states=tuple(states),
        untouched=tuple(name for name in names if name not in touched | NO_ROLLOUTS),
        runs=tuple(runs[:SHOWN_RUNS]),
        run_count=len(runs),
        money=tuple(money),
        money_picture=money_chart(money) if money else None,
        planned=sources.planned.value or Planned(),
        safety=safety_table(content, names, proved),
        components=tuple(component_money(bill)),
        bill_day=bill,
        scores=tuple(scores),
        priorities=tuple(priorities(scores)),
        fleet=tuple(fleet_charts(fleet_points(content))),
        forecasts=sources.forecasts.value or (),
        costs_picture=cost_chart(costs),
    )


def problems_of(sources: Sources) -> Iterator[Problem]:
    """Everything that keeps the page from being whole, the ledger's first."""
    if sources.ledger.problem:
        yield Problem("ledger", sources.ledger.problem)
    broken = sources.ledger.value.problems if sources.ledger.value else {}
    for path, text in list(broken.items())[:SHOWN_PROBLEMS]:
        yield Problem(f"ledger, {path}", text)
    if len(broken) > SHOWN_PROBLEMS:
        yield Problem("ledger", f"{len(broken) - SHOWN_PROBLEMS} more chains don't add up: read the ledger's verifier")
    if sources.costs.problem:
        yield Problem("cost reports", sources.costs.problem)
    for day, text in (sources.costs.value[0].bad if sources.costs.value else {}).items():
        yield Problem(f"cost report of {day}", text)
    for where, answer in (
        ("forecasts", sources.forecasts),
        ("planner", sources.planned),
        ("safety records", sources.safety),
    ):
        if answer.problem:
            yield Problem(where, answer.problem)
    for key, text in (sources.safety.value.bad if sources.safety.value else {}).items():
        yield Problem(f"safety record {key}", text)


def headline(overview: Overview, pending: Pending) -> str:
    """The week in one sentence or two."""
    if overview.as_of is None:
        return "The ledger has not been read yet: nothing below is known."
    return f"{_state_sentence(overview.days(pending))} {_money_sentence(overview)}"


def _state_sentence(days: Sequence[DayCard]) -> str:
    words: Mapping[str, str] = {
        "waiting": "waits for an approval", "rolled back": "was rolled back", "unfinished": "is unfinished",
        "unknown": "is unknown", "stopped": "was stopped", "open": "is going on",
    }  # fmt: skip
    done = [day for day in days if day.state == "promoted"]
    parts = [f"day {day.number} {words[day.state]}" for day in days if day.state in words]
    first = f"{len(done)} of {len(days)} days {'is' if len(done) == 1 else 'are'} promoted"
    return "; ".join([first, *parts]) + "."


def _money_sentence(overview: Overview) -> str:
    if not overview.money:
        return "No plan is on record yet."
    book = next((row.book for row in overview.money if row.book), "no book")
    known = f"{usd(overview.predicted_known)} USD a month ({book})"
    known += f" and {overview.unpriced} unknown" if overview.unpriced else ""
    saved = f"Saving predicted {known}, measured {usd(overview.measured)}"
    bill = f", billed {usd(overview.billed)} on {overview.bill_day.day}" if overview.bill_day else ", not billed yet"
    return f"{saved}{bill}."


def undo_query(state: LeverState) -> str:
    """The query of the page that fills in the rollback of a state."""
    return urlencode({"lever": state.lever, "place": state.place, "run": state.run})
