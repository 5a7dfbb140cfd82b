"""What a forecast sees at an origin (the last observed sample): recent levels, the same time yesterday and last week.

Everything is computed from samples up to the origin, so the same code serves training and one live request. Minutes
are settings, steps are what the arrays count: a 5-minute series uses the same windows with fewer samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from include.forecast.traffic.series import MINUTES_PER_DAY, Array, TrafficSeries, fill_short_gaps

Indices = NDArray[np.int64]
LOOKBACK_MINUTES = 60
HORIZON_MINUTES = 15
HISTORY_DAYS = 8  # what the weekly shapes need, and a day
DAY = MINUTES_PER_DAY
WEEK = 7 * DAY
SHORT_GAP_MINUTES = 5
RECENT_MINUTES = 15  # of level and variation that forecasts are relative to
LEVEL_SHARE = 0.25  # of a level's minutes must be there
# A level below this share of the mean counts as this share: ratios stay finite when traffic stops.
FLOOR_SHARE = 0.02
RATIO_LIMITS = (0.1, 10.0)
LEVELS = (1, 3, 5, 10, 30, 60, 120, 240)
LAGS = (1, 2, 5, 10, 15, 30, 45)
# Columns of trees for yesterday and last week: minutes of level, and the minutes around that smooth the shape.
SHAPES = ((5, (0, 7)), (15, (0, 2, 7, 20)), (60, (0, 7)))
SEASONS = (("day", DAY), ("week", WEEK))


class Past:
    """A series with its means over any stretch in constant time; short gaps carry the last value on.

    ``sums``, ``squares`` and ``counts`` hold one entry more than ``values``: what came before each, and the whole.
    """

    def __init__(self, series: TrafficSeries) -> None:
        self.series = series
        self.values = fill_short_gaps(series.values, SHORT_GAP_MINUTES // series.step)
        observed = np.isfinite(self.values)
        known = np.where(observed, self.values, 0.0)
        self.sums = np.concatenate([[0.0], np.cumsum(known)])
        self.squares = np.concatenate([[0.0], np.cumsum(known * known)])
        self.counts = np.concatenate([[0], np.cumsum(observed)])

    def steps(self, minutes: int) -> int:
        """How many samples ``minutes`` are."""
        return minutes // self.series.step

    def count(self, first: Indices, last: Indices) -> Indices:
        """How many of the samples ``first`` to ``last`` (both included) are there."""
        size = len(self.values)
        counted: Indices = self.counts[np.clip(last + 1, 0, size)] - self.counts[np.clip(first, 0, size)]
        return counted

    def mean(self, first: Indices, last: Indices, share: float) -> Array:
        """The mean of the samples ``first`` to ``last`` (both included); NaN when fewer than ``share`` are there."""
        return self._average(self.sums, first, last, share)

    def level(self, index: Indices, minutes: int) -> Array:
        """The mean of the last ``minutes``; what is missing of them is left out, a quarter must be there."""
        return self.mean(index - max(1, self.steps(minutes)) + 1, index, LEVEL_SHARE)

    def around(self, index: Indices, minutes: int) -> Array:
        """The mean of ``minutes`` before and after; half must be there."""
        return self.mean(index - self.steps(minutes), index + self.steps(minutes), 0.5)

    def deviation(self, index: Indices, minutes: int) -> Array:
        """The standard deviation of the last ``minutes``."""
        first = index - max(2, self.steps(minutes)) + 1
        mean = self._average(self.sums, first, index, 0.5)
        spread: Array = np.sqrt(np.maximum(self._average(self.squares, first, index, 0.5) - mean * mean, 0.0))
        return spread

    def _average(self, sums: Array, first: Indices, last: Indices, share: float) -> Array:
        size = len(self.values)
        total = sums[np.clip(last + 1, 0, size)] - sums[np.clip(first, 0, size)]
        count = self.count(first, last)
        enough = count >= np.maximum(1, np.ceil(share * (last - first + 1)))
        return np.where(enough, total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True)
class TrainingWindows:
    """Where forecasts are made: ``origins`` are the last samples seen; ``floor`` is the lowest level of a ratio.

    ``weights`` say how much an error at each origin counts when settings are chosen; None means all the same.
    """

    past: Past
    origins: Indices
    floor: float
    country: str | None = None
    weights: Array | None = None

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def horizon(self) -> int:
        """Steps ahead that are forecast."""
        return self.past.steps(HORIZON_MINUTES)

    @property
    def lookback(self) -> int:
        """Samples that a window holds."""
        return self.past.steps(LOOKBACK_MINUTES)

    def take(self, chosen: NDArray[np.bool_] | Indices | slice) -> TrainingWindows:
        """The windows of some of the origins."""
        weights = None if self.weights is None else self.weights[chosen]
        return replace(self, origins=self.origins[chosen], weights=weights)

    def between(self, first: int, last: int) -> TrainingWindows:
        """The windows whose origin and targets all lie in ``first`` up to but without ``last``."""
        return self.take((self.origins >= first) & (self.origins + self.horizon < last))

    def targets(self) -> Array:
        """What came: [n, horizon], NaN where nothing was observed."""
        return at(self.past.series.values, self.origins[:, None] + np.arange(1, self.horizon + 1))

    def scale(self) -> Array:
        """The level of the last 15 minutes, at least the floor: what forecasts are relative to."""
        return np.fmax(self.past.level(self.origins, RECENT_MINUTES), self.floor)


def floor_of(values: Array) -> float:
    """The lowest level that ratios of a series divide by."""
    return max(float(np.nanmean(values)) * FLOOR_SHARE, 1e-9)


def windows_of(series: TrafficSeries, floor: float, country: str | None = None) -> TrainingWindows:
    """Every origin of ``series`` with a full window: no gap but short ones in the last hour."""
    past = Past(series)
    origins = np.arange(len(series), dtype=np.int64)
    lookback = past.steps(LOOKBACK_MINUTES)
    whole = past.count(origins - lookback + 1, origins) == lookback
    return TrainingWindows(past, origins[whole], floor, country)


def at(values: Array, index: Indices) -> Array:
    """``values`` at ``index``; NaN outside."""
    inside = (index >= 0) & (index < len(values))
    return np.where(inside, values[np.clip(index, 0, len(values) - 1)], np.nan)


def growth(windows: TrainingWindows, period: int, minutes: int) -> Array:
    """How many times the level of a ``period`` ago the level is now, over ``minutes``; within RATIO_LIMITS."""
    past, origins = windows.past, windows.origins
    now = np.maximum(past.level(origins, minutes), windows.floor)
    before = np.maximum(past.level(origins - past.steps(period), minutes), windows.floor)
    return np.clip(now / before, *RATIO_LIMITS)


def same_time(windows: TrainingWindows, period: int, around: int = 0, skipped: int = 0) -> Array:
    """The values a ``period`` before each forecast step, each a mean over ``around`` minutes on both sides: [n, H].

    The first ``skipped`` steps are left out.
    """
    ahead = windows.origins[:, None] + np.arange(skipped + 1, windows.horizon + 1)
    return windows.past.around(ahead - windows.past.steps(period), around)


def minute_of_week(windows: TrainingWindows, ahead: Indices) -> Indices:
    """Minutes since Monday 00:00 UTC, ``ahead`` steps after each origin: [n, len(ahead)]."""
    series = windows.past.series
    first = series.start.weekday() * DAY + series.start.hour * 60 + series.start.minute
    return (first + (windows.origins[:, None] + ahead[None, :]) * series.step) % WEEK


def rest_days(windows: TrainingWindows, ahead: Indices) -> NDArray[np.bool_]:
    """Weekends and, when the country is known, its public holidays, ``ahead`` steps after each origin."""
    rest = minute_of_week(windows, ahead) >= 5 * DAY
    if windows.country is None:
        return rest
    series = windows.past.series
    first = series.start.hour * 60 + series.start.minute
    day = (first + (windows.origins[:, None] + ahead[None, :]) * series.step) // DAY + series.start.toordinal()
    found = np.unique(day)
    free = found[[is_holiday(windows.country, int(ordinal)) for ordinal in found]]
    return rest | np.isin(day, free)


@lru_cache(maxsize=4096)
def is_holiday(country: str, ordinal: int) -> bool:
    """Is the day with this proleptic ordinal a public holiday in ``country`` (such as US)?"""
    from datetime import date

    day = date.fromordinal(ordinal)
    return day in _calendar(country, day.year)


@lru_cache(maxsize=64)
def _calendar(country: str, year: int) -> frozenset[object]:
    import holidays

    return frozenset(holidays.country_holidays(country, years=year))


def tree_features(windows: TrainingWindows, ahead: Indices) -> dict[str, Array]:
    """The columns that trees learn from, for the forecast step ``ahead`` (one a window); levels relative to now."""
    past, origins = windows.past, windows.origins
    scale = windows.scale()
    columns = {f"level_{minutes}": past.level(origins, minutes) / scale for minutes in LEVELS}
    columns |= {f"lag_{minutes}": past.level(origins - past.steps(minutes), 5) / scale for minutes in LAGS}
    columns["variation"] = past.deviation(origins, RECENT_MINUTES) / scale
    columns["log_level"] = np.log(scale)
    columns |= _seasonal_columns(windows, ahead, scale)
    minute = minute_of_week(windows, np.zeros(1, np.int64))[:, 0] + ahead * past.series.step
    columns["sin"], columns["cos"] = np.sin(2 * np.pi * minute / DAY), np.cos(2 * np.pi * minute / DAY)
    columns["weekday"] = (minute // DAY % 7).astype(float)
    columns["rest"] = rest_days(windows, np.zeros(1, np.int64))[:, 0].astype(float)
    return columns


def _seasonal_columns(windows: TrainingWindows, ahead: Indices, scale: Array) -> dict[str, Array]:
    past, origins = windows.past, windows.origins
    columns: dict[str, Array] = {}
    for name, period in SEASONS:
        before = origins - past.steps(period)
        shapes = {around: past.around(before + ahead, around) for around in (0, 2, 7, 20)}
        for minutes, arounds in SHAPES:
            rise = past.level(origins, minutes) / scale / np.fmax(past.level(before, minutes), windows.floor)
            columns |= {f"{name}_{minutes}_{around}": shapes[around] * rise for around in arounds}
        columns[f"{name}_level"] = past.level(before, 60) / scale
    return columns
