"""What each lever was said to save, what its rollout measured, and what the bill says: USD a month, None is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.overview.changes import LeverState, offered_plans
from include.overview.costs import CostDay
from include.overview.ledger_copy import LedgerContent
from include.pages.chart import Bar, Chart, bar_chart
from include.pages.texts import words
from include.prices import DAYS_PER_MONTH, HOURS_PER_MONTH
from include.rollout.ledger import Record, Step, last

Json = Any


@dataclass(frozen=True)
class LeverMoney:
    """A lever's saving. ``predicted`` is its plans' sum over places, ``measured`` that of what stands."""

    lever: str
    predicted: Decimal | None
    measured: Decimal | None
    book: str = ""
    places: int = 0  # where it stands


def lever_money(content: LedgerContent, states: Sequence[LeverState], names: Sequence[str]) -> list[LeverMoney]:
    """Every lever of which a plan is on record, in the order of ``names``."""
    measured = measured_savings(content, states)
    rows = []
    for name in names:
        offered = offered_plans(content, name)
        ours = [state for state in states if state.lever == name]
        predictions = [state.prediction for state in ours if state.prediction.undo] or list(offered.values())
        if predictions:
            known = [prediction.usd_month for prediction in predictions if prediction.usd_month is not None]
            standing = [measured.get((name, state.place)) for state in ours if state.stands]
            rows.append(
                LeverMoney(
                    lever=name,
                    predicted=sum(known, Decimal(0)) if len(known) == len(predictions) else None,
                    measured=_sum(standing),
                    book=predictions[0].book,
                    places=len(standing),
                )
            )
    return rows


def _sum(values: Sequence[Decimal | None]) -> Decimal | None:
    """The sum; unknown when any is, or when there is nothing to add."""
    known = [value for value in values if value is not None]
    return sum(known, Decimal(0)) if known and len(known) == len(values) else None


def measured_savings(content: LedgerContent, states: Sequence[LeverState]) -> dict[tuple[str, str], Decimal]:
    """(lever, place) -> what a promoted run's own figures of USD an hour, before and after, come to in a month."""
    wanted = {(state.lever, state.place, state.run) for state in states if state.state == "promoted"}
    found = {}
    for chain in content.of_places().values():
        first = chain.records[0] if chain.records else None
        if first and (first.lever, first.place, f"{first.dag_id}/{first.run_id}") in wanted:
            usd = _measured(chain.records)
            if usd is not None:
                found[first.lever, first.place] = usd
    return found


def _measured(records: Sequence[Record]) -> Decimal | None:
    before = _usd_hour(last(records, Step.SNAPSHOT), "before")
    after = _usd_hour(last(records, Step.PROMOTED), "after")
    return None if before is None or after is None else (before - after) * HOURS_PER_MONTH


def _usd_hour(record: Record | None, part: str) -> Decimal | None:
    figures = record.figures.get(part) if record else None
    value = figures.get("usd_hour") if isinstance(figures, Mapping) else None
    return Decimal(str(value)) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class ComponentMoney:
    """A component of the bill: USD a month in week 13, at the newest day's rate, its target, and the verdict."""

    component: str
    week_13: Decimal | None
    billed: Decimal | None
    target: Decimal | None
    verdict: str

    @property
    def saving(self) -> Decimal | None:
        """Week 13 minus what is billed now."""
        return None if self.week_13 is None or self.billed is None else self.week_13 - self.billed


def component_money(day: CostDay | None) -> list[ComponentMoney]:
    """Every component of the newest report, the total last; nothing without a report."""
    if day is None:
        return []
    names = list(day.raw["targets"])
    rows = [_component(day, "component", name, name) for name in names]
    return [*rows, _component(day, "total", "", "total")]


def _component(day: CostDay, section: str, key: str, name: str) -> ComponentMoney:
    def month(metric: str) -> Decimal | None:
        value = day.figure(section, key, metric)
        return None if value is None else value * DAYS_PER_MONTH

    verdict = next(
        (f["status"] for f in day.raw["figures"]
         if (f["section"], f["key"], f["metric"]) == (section, key, "over_target_usd")), "unknown",
    )  # fmt: skip
    return ComponentMoney(name, month("week_13_usd"), month("usd"), month("target_usd"), verdict)


def money_chart(rows: Sequence[LeverMoney]) -> Chart:
    """A bar a lever: what was predicted; the line across it is what was measured."""
    bars = [Bar(words(row.lever), _float(row.predicted), _float(row.measured), is_bad=_short(row)) for row in rows]
    return bar_chart("Saving by lever", bars, "USD a month predicted", "measured")


def _short(row: LeverMoney) -> bool:
    """Whether less was measured than nine tenths of what was predicted."""
    known = row.predicted is not None and row.measured is not None
    return known and row.measured < row.predicted * Decimal("0.9")  # type: ignore[operator]


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
