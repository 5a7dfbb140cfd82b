"""What a forecast sees: levels, seasonal values, the calendar; nothing of the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from include.forecast.traffic.features import (
    DAY,
    Past,
    TrainingWindows,
    at,
    growth,
    is_holiday,
    minute_of_week,
    rest_days,
    same_time,
    tree_features,
    windows_of,
)
from tests.unit.forecast.traffic_series import daily, ramp


def windows(origins: list[int], size: int = 3000, step: int = 1) -> TrainingWindows:
    return TrainingWindows(Past(ramp(size, step)), np.array(origins), floor=1.0)


def test_levels_are_means_of_the_last_minutes() -> None:
    past = Past(ramp(100))
    np.testing.assert_array_equal(past.level(np.array([50]), 5), [48])
    np.testing.assert_array_equal(past.level(np.array([50]), 1), [50])
    np.testing.assert_array_equal(Past(ramp(100, step=5)).level(np.array([50]), 15), [49])
    # A quarter of the window is enough; less is not known.
    np.testing.assert_array_equal(past.level(np.array([1, 15]), 60), [np.nan, 7.5])
    np.testing.assert_array_equal(past.around(np.array([50]), 7), [50])


def test_a_window_with_a_long_gap_is_left_out() -> None:
    series = ramp(300)
    values = series.values.copy()
    values[100:106] = np.nan
    values[200:203] = np.nan
    origins = windows_of(replace(series, values=values), 1.0).origins
    assert origins[0] == 59
    assert list(origins[[40, 41]]) == [99, 165]
    assert 201 in origins


def test_targets_and_windows_between() -> None:
    found = windows([10, 20, 30]).between(10, 36)
    assert list(found.origins) == [10, 20]
    np.testing.assert_array_equal(found.targets()[0], np.arange(11, 26))
    assert found.weights is None
    assert windows([10], step=5).horizon == 3


def test_growth_is_against_the_level_a_period_ago_and_bounded() -> None:
    np.testing.assert_allclose(growth(windows([2880]), DAY, 1), [2.0])
    np.testing.assert_allclose(growth(windows([1441]), DAY, 1), [10.0])


def test_same_time_is_the_value_a_period_before_the_target() -> None:
    np.testing.assert_array_equal(same_time(windows([2000]), DAY)[0], np.arange(561, 576))


def test_values_outside_are_missing() -> None:
    np.testing.assert_array_equal(at(np.array([1.0, 2.0]), np.array([-1, 0, 2])), [np.nan, 1, np.nan])


def test_the_calendar_knows_weekends_and_holidays() -> None:
    ahead = np.array([1])
    saturday = 5 * DAY
    found = windows([saturday - 2, saturday - 1], size=saturday + 10)
    assert list(minute_of_week(found, ahead)[:, 0]) == [saturday - 1, saturday]
    assert list(rest_days(found, ahead)[:, 0]) == [False, True]
    christmas = replace(ramp(100), start=ramp(1).start.replace(month=12, day=25))
    assert rest_days(TrainingWindows(Past(christmas), np.array([60]), 1.0, "US"), ahead)[0, 0]
    assert not rest_days(TrainingWindows(Past(christmas), np.array([60]), 1.0), ahead)[0, 0]
    assert not is_holiday("US", christmas.start.toordinal() - 2)


@pytest.mark.parametrize("step", [1, 5])
def test_features_know_nothing_of_the_future(step: int) -> None:
    series = daily(days=9, step=step)
    origin = 8 * series.per_day + 17
    future = series.values.copy()
    future[origin + 1 :] = 999.0
    columns = [
        tree_features(TrainingWindows(Past(replace(series, values=values)), np.array([origin]), 1.0), np.array([2]))
        for values in (series.values, future, series.values[: origin + 1])
    ]
    for name, column in columns[0].items():
        np.testing.assert_array_equal(column, columns[1][name], err_msg=name)
        np.testing.assert_array_equal(column, columns[2][name], err_msg=name)
