"""The gate of week 15: cost under $3,000 a month, P95 under 30 ms, no incident, each over the whole window. Pure.

Cost is judged in the plan's book: what a component costs of its own baseline, times the plan's week 13 of it. Unknown
is no pass: one component without data makes the cost unknown, one region without samples the P95.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from include.prices import PlanBook
from include.rollout.gates import Comparison, Figure, Gate, GateResult, Outcome, judge_all, overall

LIMIT_USD_MONTH = 3000
COST, P95, INCIDENTS, AVAILABILITY = "usd_month", "p95_ms", "incidents", "availability"


def gates(p95_ms: float, availability: float) -> tuple[Gate, ...]:
    """The gates: the plan's for cost and incidents, the estate's targets for P95 (ms) and availability (share)."""
    week, estate = "the plan's week-15 gate", "estate targets"
    return (
        Gate(COST, Comparison.BELOW, LIMIT_USD_MONTH, "USD a month", 1, week),
        Gate(P95, Comparison.BELOW, p95_ms, "ms", 100, f"{estate}.p95_ms"),
        Gate(INCIDENTS, Comparison.AT_MOST, 0, "", 1, week),
        Gate(AVAILABILITY, Comparison.AT_LEAST, availability, "ratio", 3, f"{estate}.availability"),
    )


@dataclass(frozen=True)
class Pace:
    """What the month would cost in the plan's book; None with the components that nobody knows."""

    usd_month: Decimal | None
    unknown: tuple[str, ...] = ()


def plan_pace(lines: Sequence[Mapping[str, Any]], book: PlanBook | None = None) -> Pace:
    """The pace of a validation's ``lines`` (its JSON) in the plan's book. Every component of the plan is needed.

    A component that is judged at list prices counts with its share of its own baseline.
    """
    book, by_name = book or PlanBook(), {line["component"]: line for line in lines}
    found = {one.name: _in_plan(by_name.get(one.name), one.week_13) for one in book.components}
    unknown = tuple(name for name, usd in found.items() if usd is None)
    total = sum((usd for usd in found.values() if usd is not None), Decimal(0))
    return Pace(None if unknown else total.quantize(Decimal("0.01")), unknown)


def _in_plan(line: Mapping[str, Any] | None, week_13: Decimal) -> Decimal | None:
    if line is None or line["usd_month"] is None or line["beside_usd_month"] is None or not Decimal(line["coverage"]):
        return None
    # What is missing of the window may have cost as much as the rest.
    usd = Decimal(line["usd_month"]) / Decimal(line["coverage"]) + Decimal(line["beside_usd_month"])
    if line["book"] == "plan":
        return usd
    baseline = line["baseline_usd_month"]
    return usd / Decimal(baseline) * week_13 if baseline and Decimal(baseline) else None


def cost_figure(pace: Pace, coverage: float, source: str) -> Figure | None:
    """The pace as a gate's figure."""
    if pace.usd_month is None:
        return None
    return Figure(float(pace.usd_month), "USD a month", 1, source, "in the plan's book", coverage=coverage)


def least_coverage(lines: Iterable[Mapping[str, Any]]) -> float:
    """The smallest share of the window of which a component's cost is known; 0 without components."""
    return min((float(line["coverage"]) for line in lines), default=0.0)


def worst(figures: Mapping[str, Figure | None], *, highest: bool) -> Figure | None:
    """The worst figure of several places, named; None when one of them has none, or there is no place."""
    known = {place: figure for place, figure in figures.items() if figure is not None}
    if not known or len(known) < len(figures):
        return None
    choose = max if highest else min
    place = choose(known, key=lambda name: known[name].value)
    shares = [1.0 if figure.coverage is None else figure.coverage for figure in known.values()]
    samples = min(figure.samples for figure in known.values())
    # The samples and the coverage are those of the place that has the fewest: all of them have to be known.
    return replace(known[place], samples=samples, coverage=min(shares), note=f"worst: {place}")


def incident_figure(incidents: Sequence[str]) -> Figure:
    """How many incidents there were, and which."""
    return Figure(float(len(incidents)), "", 1, "ledger", "; ".join(incidents[:5]))


def judge(
    found: Mapping[str, Figure | None], limits: Sequence[Gate], minimum_coverage: float
) -> tuple[Outcome, list[GateResult]]:
    """Every gate's result, and the worst: a failure before what is unknown, and that before a pass."""
    results = judge_all(limits, {gate.name: found.get(gate.name) for gate in limits}, minimum_coverage)
    return overall(results), results
