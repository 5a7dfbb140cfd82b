"""The policy: the cheapest mode that serves the load, hysteresis, dwell, and the schedule that is only ever raised."""

from __future__ import annotations

from typing import Any

import pytest

from jetson_tasks.desired import Policy
from jetson_tasks.policy import Choice, choose
from tests.unit.jetson_tasks.device_world import POLICY, TABLE, desired

LONG = 10_000.0  # seconds in the mode: the dwell is over
# With utilisation 0.8 the modes serve 160, 240 and 264 requests/s.


def policy(**changes: Any) -> Policy:
    found = desired(mode=None, policy={**POLICY, **changes}).policy
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("load", "mode"), [(0, "15W"), (160, "15W"), (160.1, "25W"), (240, "25W"), (241, "MAXN_SUPER"), (264, "MAXN_SUPER")]
)
def test_the_cheapest_mode_that_serves_the_load_is_chosen(load: float, mode: str) -> None:
    assert choose(policy(), load, "15W", None, LONG) == Choice(mode, f"policy: {load:.1f} requests/s")


def test_a_load_that_no_mode_serves_gets_the_largest() -> None:
    assert choose(policy(), 300, "15W", None, 0) == Choice(
        "MAXN_SUPER", "policy: 300.0 requests/s are more than any mode serves"
    )


@pytest.mark.parametrize(("load", "mode"), [(145.4, "15W"), (145.5, "25W"), (160, "25W")])
def test_a_smaller_mode_must_serve_a_tenth_more_than_the_load(load: float, mode: str) -> None:
    assert choose(policy(), load, "25W", None, LONG).mode == mode


def test_less_capacity_waits_for_the_dwell() -> None:
    assert choose(policy(), 50, "25W", None, 299) == Choice("25W", "dwell: 15W in 1 s at the earliest")
    assert choose(policy(), 50, "25W", None, 300).mode == "15W"


def test_more_capacity_comes_at_once() -> None:
    assert choose(policy(), 200, "15W", None, 0).mode == "25W"


def test_a_cheaper_larger_mode_that_the_load_does_not_need_waits_for_the_dwell() -> None:
    table = [TABLE[0], {"mode": "25W", "watts": 11, "capacity_qps": 300}, TABLE[2]]
    assert choose(policy(table=table), 100, "15W", None, 0).mode == "15W"
    assert choose(policy(table=table), 100, "15W", None, 300).mode == "25W"


def test_the_scheduled_mode_stands_when_it_serves_the_load_though_a_cheaper_one_would_too() -> None:
    assert choose(policy(), 50, "25W", "25W", LONG) == Choice("25W", "schedule")
    assert choose(policy(), 50, "15W", "25W", 0) == Choice("25W", "schedule")


def test_the_scheduled_mode_is_raised_when_it_can_not_serve_the_load() -> None:
    assert choose(policy(), 250, "15W", "15W", 0) == Choice("MAXN_SUPER", "policy: 250.0 requests/s")


def test_a_mode_that_the_table_does_not_know_has_neither_hysteresis_nor_dwell() -> None:
    assert choose(policy(), 160, "7W", None, 0).mode == "15W"


def test_the_cheapest_mode_is_the_one_that_draws_least_at_this_load() -> None:
    table = [
        {"mode": "15W", "watts": 12, "watts_idle": 6, "capacity_qps": 200},
        {"mode": "25W", "watts": 13, "watts_idle": 4, "capacity_qps": 300},
    ]
    # 25W draws 4 + 9 x load / 300, 15W 6 + 6 x load / 200: equal nowhere below 200.
    assert choose(policy(table=table), 100, "15W", None, LONG).mode == "25W"


@pytest.mark.parametrize(
    ("load", "mode"), [(0, "7W"), (100, "7W"), (101, "15W"), (300, "15W"), (301, "MAXN_SUPER"), (900, "MAXN_SUPER")]
)
def test_the_plan_s_thresholds_are_a_table(load: float, mode: str) -> None:
    table = [
        {"mode": "7W", "watts": 7, "capacity_qps": 100},
        {"mode": "15W", "watts": 15, "capacity_qps": 300},
        {"mode": "MAXN_SUPER", "watts": 25, "capacity_qps": 1e9},
    ]
    plan = policy(table=table, utilisation=1, hysteresis=0, dwell_seconds=0)
    assert choose(plan, load, "7W", None, 0).mode == mode


def test_the_choice_never_serves_less_than_the_load_when_a_mode_can() -> None:
    rows = {row["mode"]: row["capacity_qps"] * 0.8 for row in TABLE}
    for load in range(0, 265, 3):
        for current in rows:
            for base in (None, *rows):
                for seconds in (0.0, LONG):
                    assert rows[choose(policy(), load, current, base, seconds).mode] >= load
