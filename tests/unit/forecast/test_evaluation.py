"""Errors, ties and what forecasts would have done to capacity, by exact values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from include.forecast.evaluation import (
    WapeDifference,
    block_sums,
    by_horizon,
    extra_capacity,
    horizon_metrics,
    lead_steps,
    mae,
    onsets,
    operational,
    relative_scores,
    smoothed_rise,
    trailing_max,
    wape,
    wape_difference,
)

GAP = math.nan


def test_wape_and_mae_leave_out_what_was_not_observed() -> None:
    assert wape(np.array([1.0, 4.0, 9.0]), np.array([2.0, 2.0, GAP])) == 0.75
    assert mae(np.array([1.0, 4.0, 9.0]), np.array([2.0, 2.0, GAP])) == 1.5


def test_without_traffic_wape_is_not_defined() -> None:
    assert wape(np.array([1.0]), np.array([0.0])) is None
    assert math.isnan(mae(np.array([GAP]), np.array([1.0])))


def test_figures_of_one_horizon() -> None:
    found = horizon_metrics(np.array([8.0, 12, 20]), np.array([10.0, 13, 21]), np.array([10.0, 10, 22]), 15)
    assert (found.minutes, found.samples) == (15, 3)
    assert found.wape == pytest.approx(6 / 42)
    assert found.mae == 2.0
    assert found.mape == pytest.approx((0.2 + 0.2 + 2 / 22) / 3)
    assert found.r2 == pytest.approx(1 - 12 / 96)
    assert found.bias == pytest.approx(-2 / 42)
    assert found.coverage_p90 == pytest.approx(2 / 3)


def test_mape_is_not_defined_with_a_minute_without_traffic() -> None:
    found = horizon_metrics(np.array([1.0, 1]), np.array([1.0, 1]), np.array([0.0, 1]), 1)
    assert found.mape is None
    assert found.mae == 0.5


def test_every_step_has_its_minutes() -> None:
    some = np.ones((4, 3))
    assert [row.minutes for row in by_horizon(some, some, some, 5)] == [5, 10, 15]


def test_a_steady_gain_is_more_than_noise_and_a_random_one_a_tie() -> None:
    truth = np.full(5000, 100.0)
    random = np.random.default_rng(0)
    steady = wape_difference(truth + 5, truth + 8, truth, 1)
    assert steady.difference == pytest.approx(-0.03)
    assert steady.better
    assert not steady.tie
    noisy = wape_difference(truth + random.normal(0, 9, 5000), truth + random.normal(0, 9, 5000), truth, 1)
    assert noisy.tie
    assert not noisy.better
    assert wape_difference(truth, truth, truth * GAP, 1).tie


def test_worse_is_neither_tie_nor_better() -> None:
    assert not WapeDifference(0.03, 0.01).better
    assert not WapeDifference(0.03, 0.01).tie
    assert WapeDifference(-0.02, 0.01).tie


def test_block_sums_keep_the_rest() -> None:
    assert list(block_sums(np.arange(5.0), 2)) == [1, 5, 4]


def test_scores_are_on_shared_minutes() -> None:
    errors = {"a": np.array([1.0, 2, 3]), "b": np.array([GAP, 1, 2])}
    assert relative_scores(errors, "a") == {"a": 1.0, "b": 0.6}


def test_spikes_begin_after_quiet() -> None:
    rises = np.array([False, True, True, False, True, False, False, False, True])
    assert onsets(rises, 2) == [1, 8]


def test_a_rise_is_that_of_the_last_third() -> None:
    truth = np.array([[500.0, 100, 121], [100, 100, 119], [GAP, GAP, GAP]])
    assert list(smoothed_rise(truth, np.full(3, 100.0))) == [True, False, False]


def test_lead_is_how_long_before_the_load_the_first_scale_up_came() -> None:
    acts = np.array([False, False, True, True, False])
    assert lead_steps(acts, 1, 3) == 2
    assert lead_steps(acts, 2, 3) == 3
    assert lead_steps(acts, 4, 1) is None


def test_a_spike_that_was_foreseen_and_a_false_alarm() -> None:
    now = np.full(100, 10.0)
    truth, p50 = np.full((100, 3), 10.0), np.full((100, 3), 10.0)
    truth[40:43] = 20.0
    p50[41] = 20.0
    p50[80] = 15.0
    found = operational(p50, truth, now, step=5)
    assert (found.spikes, found.caught, found.lead_minutes) == (1, 1, 10.0)
    assert (found.scale_ups, found.false_scale_ups) == (2, 1)
    # 20 replicas hold the level of 10; the false alarm adds 10 for one horizon of 3 steps.
    assert found.extra_share == pytest.approx(10 * 3 / (20 * 100))


def test_a_scale_up_is_capped_at_twice_the_capacity() -> None:
    now = np.full(10, 10.0)
    ahead, came = np.full(10, 10.0), np.full(10, 10.0)
    ahead[5] = 1000.0
    assert extra_capacity(ahead, came, now, ahead > 12, unit=1.0, horizon=1) == pytest.approx(10 / 100)


def test_trailing_max() -> None:
    assert list(trailing_max(np.array([1.0, 3, 2, 0, 0]), 2)) == [1, 3, 3, 2, 0]
