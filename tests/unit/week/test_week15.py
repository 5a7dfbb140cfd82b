"""The gate of week 15: exact figures at its limits, and everything that nobody knows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from include.prices import PlanBook
from include.rollout.gates import Figure, Outcome
from include.week import week15
from include.week.week15 import Pace, plan_pace

LIMITS = week15.gates(30, 0.9999)
PASSING = {"usd_month": 2999.99, "p95_ms": 29.99, "incidents": 0.0, "availability": 0.9999}
UNITS = {"usd_month": "USD a month", "p95_ms": "ms", "incidents": "", "availability": "ratio"}


def figures(**changed: float | None) -> dict[str, Figure | None]:
    values = {**PASSING, **changed}
    return {
        name: None if v is None else Figure(v, UNITS[name], 1000, "test", coverage=1.0) for name, v in values.items()
    }


def line(
    component: str, usd: str | None, book: str = "plan", baseline: str | None = None, **more: Any
) -> dict[str, Any]:
    return {"component": component, "usd_month": usd, "beside_usd_month": "0", "coverage": "1", "book": book,
            "baseline_usd_month": baseline, **more}  # fmt: skip


def week_14() -> list[dict[str, Any]]:
    return [line(one.name, str(one.week_14)) for one in PlanBook().components]


def test_all_within_the_limits_is_a_pass() -> None:
    outcome, results = week15.judge(figures(), LIMITS, 0.9)
    assert outcome is Outcome.PASS
    assert results[0].reason == (
        "usd_month: 2999.99 USD a month is < 3000 USD a month (the plan's week-15 gate; 1000 samples)"
    )


@pytest.mark.parametrize(
    "changed",
    [{"usd_month": 3000.0}, {"p95_ms": 30.0}, {"incidents": 1.0}, {"availability": 0.9998}],
)
def test_a_figure_at_the_limit_or_beyond_fails(changed: dict[str, float]) -> None:
    assert week15.judge(figures(**changed), LIMITS, 0.9)[0] is Outcome.FAIL


@pytest.mark.parametrize("name", PASSING)
def test_a_figure_that_nobody_has_is_no_pass(name: str) -> None:
    assert week15.judge(figures(**{name: None}), LIMITS, 0.9)[0] is Outcome.UNKNOWN


def test_a_failure_weighs_more_than_what_is_unknown() -> None:
    assert week15.judge(figures(usd_month=None, incidents=2.0), LIMITS, 0.9)[0] is Outcome.FAIL


def test_samples_for_half_of_the_window_are_no_pass() -> None:
    found = figures() | {"p95_ms": Figure(20, "ms", 1000, "test", coverage=0.5)}
    assert week15.judge(found, LIMITS, 0.9)[0] is Outcome.UNKNOWN


def test_the_plans_own_week_14_is_2970_dollars() -> None:
    assert plan_pace(week_14()) == Pace(Decimal("2970.00"))


def test_a_component_at_list_prices_counts_with_its_share_of_its_own_baseline() -> None:
    others = [one for one in week_14() if one["component"] != "central_dc"]
    # 1,588 of 3,176 at list prices are half of the plan's 1,800.
    assert plan_pace([*others, line("central_dc", "1588", "list", "3176")]) == Pace(Decimal("2820.00"))


def test_what_is_missing_of_the_window_may_have_cost_as_much_as_the_rest() -> None:
    others = [one for one in week_14() if one["component"] != "s3"]
    assert plan_pace([*others, line("s3", "90", coverage="0.75")]) == Pace(Decimal("2970.00"))


def test_a_component_that_is_unknown_or_not_there_makes_the_pace_unknown() -> None:
    others = [one for one in week_14() if one["component"] not in {"s3", "jetson"}]
    assert plan_pace([*others, line("s3", None)]) == Pace(None, ("jetson", "s3"))
    assert week15.cost_figure(Pace(None, ("s3",)), 1.0, "key") is None


def test_a_component_at_list_prices_without_a_baseline_is_unknown() -> None:
    others = [one for one in week_14() if one["component"] != "jetson"]
    assert plan_pace([*others, line("jetson", "5", "list")]) == Pace(None, ("jetson",))


def test_the_worst_place_counts_with_the_fewest_samples_of_all() -> None:
    found = week15.worst(
        {"us": Figure(20, "ms", 50, "q", coverage=0.5), "eu": Figure(25, "ms", 900, "q", coverage=1.0)}, highest=True
    )
    assert found == Figure(25, "ms", 50, "q", "worst: eu", 0.5)
    assert week15.worst({"us": None, "eu": Figure(25, "ms", 900, "q")}, highest=True) is None
    assert week15.worst({}, highest=False) is None


def test_an_incident_is_named() -> None:
    assert week15.incident_figure([]) == Figure(0.0, "", 1, "ledger", "")
    assert week15.incident_figure(["spot_capacity in us undone by rollback/a"]).note == (
        "spot_capacity in us undone by rollback/a"
    )


def test_the_least_covered_component_is_the_coverage_of_all() -> None:
    assert week15.least_coverage([{"coverage": "1"}, {"coverage": "0.25"}]) == 0.25
    assert week15.least_coverage([]) == 0.0
