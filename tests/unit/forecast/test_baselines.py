"""The naive forecasts, by exact values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from include.forecast.candidates.baselines import (
    Median,
    Naive,
    Seasonal,
    WeekMedian,
    median_of_known,
    naive_models,
    total_error,
)
from include.forecast.traffic.features import DAY, WEEK, Past, TrainingWindows, windows_of
from tests.unit.forecast.traffic_series import daily, ramp


def windows(origin: int, size: int = 3000) -> TrainingWindows:
    return TrainingWindows(Past(ramp(size)), np.array([origin]), floor=1.0)


def test_every_naive_has_its_name() -> None:
    assert [model.name for model in naive_models()] == [
        "now",
        "now_scaled",
        "yesterday",
        "yesterday_scaled",
        "last_week",
        "last_week_scaled",
        "median",
    ]


def test_now_is_the_last_value_and_scaled_the_recent_level() -> None:
    np.testing.assert_array_equal(Naive(0, scaled=False).predict(windows(100)), np.full((1, 15), 100))
    np.testing.assert_array_equal(Naive(0, scaled=True, minutes=5).predict(windows(100)), np.full((1, 15), 98))


def test_yesterday_is_scaled_by_the_level_of_now_against_then() -> None:
    np.testing.assert_array_equal(Naive(DAY, scaled=False).predict(windows(2880))[0], np.arange(1441, 1456))
    np.testing.assert_allclose(
        Naive(DAY, scaled=True, minutes=1).predict(windows(2880))[0], 2.0 * np.arange(1441, 1456)
    )


def test_without_last_week_the_level_is_the_forecast() -> None:
    np.testing.assert_array_equal(Naive(WEEK, scaled=True, minutes=5).predict(windows(2880)), np.full((1, 15), 2873))


def test_the_level_window_with_the_smallest_error_is_chosen() -> None:
    series = ramp(2000)
    naive = Naive(0, scaled=True)
    naive.fit(windows_of(series, 1.0), windows_of(series, 1.0))
    assert naive.minutes == 1  # on a ramp the newest value is the nearest
    noisy = windows_of(daily(days=3, step=1, noise=0.5), 1.0)
    naive.fit(noisy, noisy)
    assert naive.minutes >= 15


def test_a_noisy_shape_is_smoothed() -> None:
    noisy = windows_of(daily(days=6, step=1, noise=0.3), 1.0).between(2 * DAY, 6 * DAY)
    seasonal, naive = Seasonal(DAY), Naive(DAY, scaled=True)
    seasonal.fit(noisy, noisy)
    naive.fit(noisy, noisy)
    assert seasonal.around >= 15
    assert total_error(seasonal.predict(noisy), noisy) < total_error(naive.predict(noisy), noisy)


def week_of_days(levels: list[float]) -> TrainingWindows:
    """Eight days of a level each, up to noon; from there a ramp of a hundredth a minute. The origin is at noon."""
    minutes = np.arange(DAY)
    day = 1.0 + np.clip(minutes - DAY // 2, 0, 100) / 100
    values = np.concatenate([level * day for level in levels])
    return TrainingWindows(Past(replace(ramp(1), values=values)), np.array([7 * DAY + DAY // 2]), floor=1.0)


def test_the_median_of_the_week_scales_every_day_by_the_level_of_now() -> None:
    windows = week_of_days([10, 20, 30, 40, 50, 60, 70, 100])
    np.testing.assert_allclose(WeekMedian(5, 0).predict(windows)[0], 100 + np.arange(1, 16))


def test_odd_days_do_not_move_the_median_of_the_week() -> None:
    windows = week_of_days([10.0] * 8)
    noon = DAY // 2
    for day in (0, 3, 6):  # three of seven days had a burst where the others had not
        windows.past.series.values[day * DAY + noon + 1 : day * DAY + noon + 16] = 90.0
    burst = replace(windows, past=Past(windows.past.series))
    np.testing.assert_allclose(WeekMedian(5, 0).predict(burst)[0], 10 + np.arange(1, 16) / 10)
    assert Naive(DAY, scaled=True, minutes=5).predict(burst)[0, 0] == 90.0


def test_the_median_of_the_week_takes_the_days_that_are_there_and_the_level_without_any() -> None:
    np.testing.assert_allclose(WeekMedian(1, 0).predict(windows(2240))[0], 2.8 * np.arange(801, 816))
    np.testing.assert_array_equal(WeekMedian(1, 0).predict(windows(100)), np.full((1, 15), 93.0))


def test_the_median_of_the_week_chooses_a_smoothed_shape_for_noise_and_a_sharp_one_for_steps() -> None:
    noisy = windows_of(daily(days=6, step=1, noise=0.3), 1.0).between(2 * DAY, 6 * DAY)
    model = WeekMedian()
    model.fit(noisy, noisy)
    assert (model.minutes, model.around) == (60, 15)
    steps = np.where(np.arange(6 * DAY) % 10 == 0, 200.0, 100.0)
    sharp = windows_of(replace(ramp(1), values=steps), 1.0).between(2 * DAY, 6 * DAY)
    model.fit(sharp, sharp)
    assert model.around == 0


def test_the_median_of_what_is_known() -> None:
    rows = np.array([[3.0, 1.0, np.nan, np.nan], [1.0, np.nan, 5.0, np.nan], [2.0, 4.0, np.nan, np.nan]])
    np.testing.assert_array_equal(median_of_known(rows), [2.0, 2.5, 5.0, np.nan])


def test_errors_count_by_their_weights() -> None:
    two = TrainingWindows(Past(ramp(200)), np.array([100, 110]), 1.0)
    forecast = two.targets() + np.array([[1.0], [3.0]])
    assert total_error(forecast, two) == 4.0
    assert total_error(forecast, replace(two, weights=np.array([1.0, 2.0]))) == 7.0


def test_the_median_is_that_of_the_training_part() -> None:
    median = Median()
    train = windows_of(ramp(200), 1.0).between(0, 200)
    median.fit(train, train)
    assert median.value == np.median(train.targets()[:, -1])
    assert median.predict(train).shape == (len(train), 15)
