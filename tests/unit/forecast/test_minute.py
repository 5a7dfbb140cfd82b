"""What the requests of one minute share, against the training code."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from include.forecast.candidates.trees import matrix
from include.forecast.server.fast_candidate import KEPT_MINUTES, FastCandidate
from include.forecast.server.fast_models import SCALE, VARIATION, Minute, PerRequest, tree_features_of
from include.forecast.traffic.features import DAY, LAGS, LEVELS, RECENT_MINUTES, WEEK, Past, TrainingWindows, floor_of
from include.forecast.traffic.series import Array
from tests.unit.forecast.traffic_series import daily

LOOKBACK = 60
SERIES = daily(days=8, step=1)
HOUR = 90.0 + 40.0 * np.random.default_rng(3).random(LOOKBACK)


def days_and(hour: Array, missing: slice = slice(0, 0)) -> tuple[Minute, TrainingWindows]:
    """The minute, made without the hour, and the windows of training code, which sees it."""
    values = np.concatenate([SERIES.values, np.ones(LOOKBACK)])
    values[missing] = np.nan
    blind = replace(SERIES, values=values)
    seen = replace(SERIES, values=np.concatenate([values[:-LOOKBACK], hour]))
    floor = floor_of(SERIES.values)
    return (
        Minute(blind, LOOKBACK, floor, "US"),
        TrainingWindows(Past(seen), np.array([len(seen) - 1]), floor, "US"),
    )


# Yesterday's hour and the last four before this one; the same time last week, and most of it.
GAPS = [slice(0, 0), slice(7 * DAY - 30, 7 * DAY + 90), slice(8 * DAY - 230, 8 * DAY), slice(DAY, DAY + 80)]


@pytest.mark.parametrize("missing", GAPS)
def test_levels_are_those_of_the_training_code_to_the_last_bit(missing: slice) -> None:
    minute, windows = days_and(HOUR, missing)
    asked = [(size, 0) for size in LEVELS] + [(5, lag) for lag in LAGS] + [(60, DAY), (15, WEEK)]
    places = [minute.level(*one) for one in asked]
    recent = minute.reader()(HOUR)
    wanted = [windows.past.level(windows.origins - before, size)[0] for size, before in asked]
    np.testing.assert_array_equal(recent.numbers[places], wanted)
    assert recent.numbers[SCALE] == recent.scale == windows.scale()[0]
    assert recent.numbers[VARIATION] == windows.past.deviation(windows.origins, RECENT_MINUTES)[0]


@pytest.mark.parametrize("missing", GAPS)
def test_features_of_trees_are_those_of_the_training_code_to_the_last_bit(missing: slice) -> None:
    minute, windows = days_and(HOUR, missing)
    features = tree_features_of(minute)
    rows = windows.take(np.zeros(15, dtype=np.int64))
    np.testing.assert_array_equal(features(minute.reader()(HOUR)), matrix(rows, np.arange(1, 16)))


def test_a_level_asked_for_twice_has_one_place() -> None:
    minute, _ = days_and(HOUR)
    assert minute.level(RECENT_MINUTES) == 0
    assert minute.level(30) == minute.level(30) == 1
    assert len(minute.reader()(HOUR).numbers) == 4  # with variation and scale


def test_traffic_that_stopped_counts_as_the_floor() -> None:
    minute, _ = days_and(HOUR)
    recent = minute.reader()(np.zeros(LOOKBACK))
    assert recent.scale == minute.floor > 0
    assert recent.numbers[VARIATION] == 0.0


def counted() -> tuple[FastCandidate, list[Minute]]:
    """A model that forecasts the recent level, and the minutes that it was prepared for."""
    made: list[Minute] = []

    def plan(minute: Minute) -> PerRequest:
        made.append(minute)
        return lambda recent: np.full(15, recent.scale)

    return FastCandidate(plan, "flat", 1.0, None, np.zeros(15), SERIES), made


END = SERIES.at(len(SERIES) - 1)


def test_a_minute_is_computed_for_its_first_request_alone() -> None:
    fast, made = counted()
    first, second = (fast.predict(np.full(LOOKBACK, value), END + timedelta(seconds=value))[0] for value in (7.0, 9.0))
    assert (first[0], second[14], len(made)) == (7.0, 9.0, 1)
    fast.predict(HOUR, END + timedelta(minutes=1))
    assert len(made) == 2
    fast.predict(HOUR, END + timedelta(minutes=1), history=SERIES)
    assert len(made) == 3
    fast.predict(HOUR, END)
    assert len(made) == 3


def test_the_last_minutes_are_kept() -> None:
    fast, made = counted()
    for minute in [*range(KEPT_MINUTES + 1), *range(1, KEPT_MINUTES + 1)]:
        fast.predict(HOUR, END + timedelta(minutes=minute))
    assert len(made) == KEPT_MINUTES + 1
    for _ in range(2):
        fast.predict(HOUR, END)
    assert len(made) == KEPT_MINUTES + 2
