"""The planner of power modes: exact schedules, its optimality against every schedule, speed and the forecast."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from benchmarks import bench_edge_power as bench
from include.levers.edge_power.forecasts import day_ahead
from include.levers.edge_power.modes import Mode, Table, rows_for_agent, table_from, table_of, worth_having
from include.levers.edge_power.planner import (
    Loads,
    Switching,
    by_thresholds,
    complete,
    energy_wh,
    entries,
    plan,
    switches,
    unserved,
)
from include.levers.edge_power.wanted import age_of
from include.rollout.lever import Refused
from tests.unit.levers.power_world import MEASURED

TABLE: Table = (Mode("7W", 4, 7, 100), Mode("15W", 5, 12, 220), Mode("MAXN", 6, 25, 330))
NO_COST = Switching(wh=0, dwell_minutes=1)


def column(*values: float) -> Loads:
    """One series of loads."""
    return np.array([values], np.float32).T


def planned(loads: Loads, switching: Switching = NO_COST, start: int | None = None) -> list[int]:
    schedule = plan(loads, loads, TABLE, switching, start)
    return [int(mode) for mode in schedule[:, 0]]


# The table ------------------------------------------------------------------------------------------------------------


def test_watts_follow_the_load_from_idle_to_full() -> None:
    mode = Mode("15W", 5.0, 12.0, 200)
    assert (mode.watts(0), mode.watts(100), mode.watts(200), mode.watts(400)) == (5.0, 8.5, 12.0, 12.0)
    assert mode.joules_per_request == 0.035


def test_a_table_is_made_of_what_was_measured_by_rising_capacity() -> None:
    table = table_from({**MEASURED, "modes": list(reversed(MEASURED["modes"]))})
    assert [(mode.name, mode.capacity_qps) for mode in table] == [("15W", 220), ("25W", 310), ("MAXN_SUPER", 330)]
    assert rows_for_agent(table)[0] == {"mode": "15W", "watts": 11.8, "watts_idle": 5.0, "capacity_qps": 220.0}


def test_labels_are_refused_as_data_and_so_is_a_measurement_without_a_bench() -> None:
    with pytest.raises(
        Refused, match=r"^the watts of 15W, 25W are their names: names cap clocks, they measure nothing"
    ):
        table_of([Mode("15W", 5, 15, 220), Mode("25W", 6, 25, 310)])
    nothing = [{**row, "watts_full": None, "capacity_qps": None} for row in MEASURED["modes"]]
    with pytest.raises(Refused, match=r"^no power mode has measured watts and capacity: measure the canary first"):
        table_from({**MEASURED, "modes": nothing})
    with pytest.raises(Refused, match=r"^power mode 15W: 5 W idle, 4 W at full load and 220 QPS are no measurement"):
        table_of([Mode("15W", 5, 4, 220)])
    with pytest.raises(Refused, match=r"^the measurement of jetson01 failed: nvpmodel died; measure the canary first"):
        table_from({**MEASURED, "error": {"code": "nvpmodel_failed", "message": "nvpmodel died"}})


ROW = {"mode": "15W", "watts_idle": 5.0, "watts_full": 11.8, "capacity_qps": 220}


@pytest.mark.parametrize(
    "measured",
    [
        [ROW],
        "15W",
        None,
        {"error": "it died"},
        {"modes": None},
        {"modes": [5]},
        {"modes": {"15W": ROW}},
        {"modes": [{**ROW, "watts_full": "much"}]},
        {"modes": [{**ROW, "watts_full": [11.8]}]},
        {"modes": [{**ROW, "capacity_qps": 10**400}]},
        {"modes": [{name: value for name, value in ROW.items() if name != "mode"}]},
        *({"modes": [{**ROW, name: float(v)}]} for name in ("watts_full", "capacity_qps") for v in ("nan", "inf")),
    ],
)
def test_what_is_no_measurement_is_refused_with_the_remedy(measured: Any) -> None:
    with pytest.raises(Refused, match=r"measure the canary first: trigger measure_devices$"):
        table_from(measured)


def test_a_moment_of_measuring_that_nobody_can_read_asks_for_another_measurement() -> None:
    for moment in (None, "yesterday", float("nan"), float("inf"), 1e300, [1]):
        assert age_of({"measured_at": moment}, 1.8e9).endswith("which is no moment: measure again")


def test_a_mode_that_draws_more_at_every_load_that_it_serves_is_not_worth_having() -> None:
    assert [mode.name for mode in worth_having(bench.MEASURED)] == ["MAXN_SUPER"]
    assert worth_having(TABLE) == TABLE
    twins = (Mode("a", 4, 7, 100), Mode("b", 4, 7, 100))
    assert worth_having(twins) == twins


# The plan -------------------------------------------------------------------------------------------------------------


def test_each_minute_has_the_cheapest_mode_that_serves_it() -> None:
    assert planned(column(50, 100, 101, 220, 221, 330)) == [0, 0, 1, 1, 2, 2]


def test_where_no_mode_has_the_capacity_the_largest_is_used() -> None:
    assert planned(column(50, 400, 50)) == [0, 2, 0]


def test_a_change_that_costs_more_than_it_saves_is_not_made() -> None:
    loads = column(150, 150, 50, 150, 150)
    assert planned(loads) == [1, 1, 0, 1, 1]
    assert planned(loads, Switching(wh=1, dwell_minutes=1)) == [1, 1, 1, 1, 1]


def test_a_mode_is_held_for_its_dwell_time_and_a_rush_is_met_before_it_comes() -> None:
    assert planned(column(50, 50, 50, 50, 300, 50, 50, 50, 50), Switching(0, 3)) == [0, 0, 2, 2, 2, 0, 0, 0, 0]


def test_the_mode_of_the_evening_before_counts_as_a_change() -> None:
    assert planned(column(50, 50), Switching(wh=1, dwell_minutes=1), start=2) == [2, 2]
    assert planned(column(50, 50), Switching(wh=1, dwell_minutes=1)) == [0, 0]


def test_what_is_unknown_is_refused_and_completed_with_the_largest_modes_capacity() -> None:
    loads = column(50, np.nan)
    with pytest.raises(ValueError, match="load or need has minutes that are no number"):
        plan(loads, loads, TABLE, NO_COST)
    assert complete(loads, TABLE)[:, 0].tolist() == [50, 330]


def cost(path: tuple[int, ...], loads: Loads, switching: Switching, start: int | None) -> float:
    """Wh of a schedule; infinite where it lacks capacity or leaves a mode too early."""
    total, before, since = 0.0, start, -99
    for minute, mode in enumerate(path):
        if before is not None and mode != before:
            if minute - since < switching.dwell_minutes:
                return float("inf")
            total, since = total + switching.wh, minute
        load = float(loads[minute, 0])
        if TABLE[mode].capacity_qps < min(load, TABLE[-1].capacity_qps):
            return float("inf")
        total, before = total + TABLE[mode].watts(load) / 60, mode
    return total


@pytest.mark.parametrize("seed", range(12))
def test_no_schedule_of_eight_minutes_is_cheaper_than_the_planned_one(seed: int) -> None:
    dice = np.random.default_rng(seed)
    loads = dice.uniform(0, 360, (8, 1)).astype(np.float32)
    switching = Switching(float(dice.choice([0, 0.02, 0.1])), int(dice.integers(1, 4)))
    start = [None, 0, 2][seed % 3]
    found = tuple(planned(loads, switching, start))
    best = min(cost(path, loads, switching, start) for path in itertools.product(range(3), repeat=8))
    assert cost(found, loads, switching, start) == pytest.approx(best, abs=1e-4)


def test_many_series_are_planned_as_each_alone() -> None:
    loads = np.random.default_rng(1).uniform(0, 360, (60, 2100)).astype(np.float32)
    together = plan(loads, loads, TABLE, Switching())
    for series in (0, 2047, 2048, 2099):
        alone = plan(loads[:, [series]], loads[:, [series]], TABLE, Switching())
        assert together[:, series].tolist() == alone[:, 0].tolist()


def test_each_of_500_devices_has_the_schedule_that_it_would_have_alone() -> None:
    loads = np.random.default_rng(2).uniform(0, 264, (1440, 500)).astype(np.float32)
    together = plan(loads, loads, TABLE, Switching())
    assert together.shape == (1440, 500)
    for device in (0, 499):
        alone = loads[:, [device]]
        assert np.array_equal(together[:, [device]], plan(alone, alone, TABLE, Switching()))


# What comes of it -----------------------------------------------------------------------------------------------------


def test_energy_is_paid_at_the_wall_socket_and_requests_above_the_capacity_are_unserved() -> None:
    schedule, loads = np.array([[0], [1], [1]], np.uint8), column(50, 230, np.nan)
    assert energy_wh(schedule, loads, TABLE) == pytest.approx((5.5 + 12) / 60)
    assert energy_wh(schedule, loads, TABLE, 0.75) == pytest.approx((5.5 + 12) / 60 / 0.75)
    assert unserved(schedule, loads, TABLE) == 600
    assert switches(schedule) == 1


def test_the_plans_thresholds_follow_the_minute_before() -> None:
    loads = column(50, 100, 101, 300, 301, np.nan, 50)
    assert by_thresholds(loads, (100, 300), start=2)[:, 0].tolist() == [2, 0, 0, 1, 1, 2, 2]


def test_a_schedule_is_written_as_the_minutes_in_which_the_mode_changes() -> None:
    assert entries(np.array([0, 0, 2, 2, 1], np.uint8), TABLE) == [
        {"minute": 0, "mode": "7W"}, {"minute": 2, "mode": "MAXN"}, {"minute": 4, "mode": "15W"},
    ]  # fmt: skip


# The forecast ---------------------------------------------------------------------------------------------------------


def day(level: float) -> Loads:
    return np.full(1440, level, np.float32)


def test_tomorrow_is_like_yesterday_until_last_week_has_missed_by_less() -> None:
    assert day_ahead(np.stack([day(10)])).source == "yesterday"
    week = [day(10), day(50), day(50), day(50), day(50), day(90), day(90), day(10)]
    ahead = day_ahead(np.stack(week))
    assert (ahead.source, float(ahead.load[0])) == ("last week", 50)


def test_a_forecast_needs_the_highest_load_near_its_time_and_knows_what_it_does_not_know() -> None:
    load = day(10)
    load[600] = 100
    load[:30] = np.nan
    ahead = day_ahead(np.stack([load]))
    assert (ahead.need[592], ahead.need[593], ahead.need[607], ahead.need[608]) == (10, 100, 100, 10)
    assert ahead.load[600] == pytest.approx(16)
    assert np.isnan(ahead.need[:20]).all()
    with pytest.raises(ValueError, match="no day of load is known"):
        day_ahead(np.empty((0, 1440), np.float32))
