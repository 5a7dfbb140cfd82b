"""The naive forecasts that a model must beat: now, yesterday and last week, each also scaled by the recent level.

How many minutes make the recent level is chosen on data before the test part. ``seasonal`` is the same idea with a
smoothed shape, for traffic whose single minutes are noise; ``week_median`` takes the median of the last seven days, so
that one odd day misleads nobody; ``median`` is the yardstick where zeros are common.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from include.forecast.traffic.features import DAY, WEEK, TrainingWindows, growth, same_time
from include.forecast.traffic.series import Array

LEVEL_WINDOWS = (1, 3, 5, 10, 15, 30, 60)
SHAPE_WINDOWS = (0, 2, 7, 15, 30)
WEEK_MEDIAN_LEVELS = (5, 15, 30, 60)
WEEK_MEDIAN_SHAPES = (0, 2, 7, 15)


def total_error(forecast: Array, windows: TrainingWindows) -> float:
    """The weighted sum of absolute errors at the last step over what was observed."""
    errors = np.abs(forecast[:, -1] - windows.targets()[:, -1])
    return float(np.nansum(errors if windows.weights is None else errors * windows.weights))


def or_level(forecast: Array, windows: TrainingWindows) -> Array:
    """``forecast``, and the recent level where it is missing."""
    return np.where(np.isfinite(forecast), forecast, windows.scale()[:, None])


@dataclass
class Naive:
    """Now, yesterday or last week; ``minutes`` of recent level scale it, 0 means as it was."""

    period: int
    scaled: bool
    minutes: int = 0

    @property
    def name(self) -> str:
        """What reports call it."""
        base = {0: "now", DAY: "yesterday", WEEK: "last_week"}[self.period]
        return f"{base}_scaled" if self.scaled else base

    def fit(self, train: TrainingWindows, validation: TrainingWindows) -> None:  # noqa: ARG002 - one interface for all candidates
        """Choose the level window with the smallest error on the validation part."""
        if self.scaled:
            self.minutes = best_level_window(self, validation)

    def predict(self, windows: TrainingWindows) -> Array:
        """[n, horizon] values."""
        if self.period == 0:
            now = windows.past.values[windows.origins] if not self.scaled else None
            level = windows.past.level(windows.origins, self.minutes) if now is None else now
            return np.repeat(level[:, None], windows.horizon, axis=1)
        shape = same_time(windows, self.period)
        rise = growth(windows, self.period, self.minutes)[:, None] if self.scaled else 1.0
        return or_level(shape * rise, windows)


def best_level_window(naive: Naive, windows: TrainingWindows) -> int:
    """The level window of LEVEL_WINDOWS with the smallest error at the last step."""
    errors = [
        total_error(Naive(naive.period, scaled=True, minutes=minutes).predict(windows), windows)
        for minutes in LEVEL_WINDOWS
    ]
    return LEVEL_WINDOWS[int(np.argmin(errors))]


@dataclass
class Seasonal:
    """The smoothed shape of yesterday or last week, scaled by the recent level; both windows chosen on validation."""

    period: int
    minutes: int = 15
    around: int = 7
    names: ClassVar[dict[int, str]] = {DAY: "seasonal_day", WEEK: "seasonal_week"}

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.names[self.period]

    def fit(self, train: TrainingWindows, validation: TrainingWindows) -> None:  # noqa: ARG002 - one interface for all candidates
        """Choose the level and the shape window with the smallest error on the validation part."""
        choices = [(minutes, around) for minutes in LEVEL_WINDOWS for around in SHAPE_WINDOWS]
        errors = [
            total_error(Seasonal(self.period, minutes, around).predict(validation), validation)
            for minutes, around in choices
        ]
        self.minutes, self.around = choices[int(np.argmin(errors))]

    def predict(self, windows: TrainingWindows) -> Array:
        """[n, horizon] values."""
        shape = same_time(windows, self.period, self.around)
        return or_level(shape * growth(windows, self.period, self.minutes)[:, None], windows)


@dataclass
class WeekMedian:
    """The median of the last seven days at the same time, each scaled by the recent level; windows as in Seasonal."""

    minutes: int = 15
    around: int = 7
    name: ClassVar[str] = "week_median"

    def fit(self, train: TrainingWindows, validation: TrainingWindows) -> None:  # noqa: ARG002 - one interface for all candidates
        """Choose the level and the shape window with the smallest error at the last step of the validation part."""
        choices = [(minutes, around) for minutes in WEEK_MEDIAN_LEVELS for around in WEEK_MEDIAN_SHAPES]
        before_last = validation.horizon - 1
        errors = [total_error(median_of_week(validation, *choice, before_last), validation) for choice in choices]
        self.minutes, self.around = choices[int(np.argmin(errors))]

    def predict(self, windows: TrainingWindows) -> Array:
        """[n, horizon] values."""
        return median_of_week(windows, self.minutes, self.around)


def median_of_week(windows: TrainingWindows, minutes: int, around: int, skipped: int = 0) -> Array:
    """The median of the last seven days' shapes, each scaled by the recent level: [n, horizon - skipped]."""
    periods = [day * DAY for day in range(1, WEEK // DAY + 1)]
    days = [
        same_time(windows, period, around, skipped) * growth(windows, period, minutes)[:, None] for period in periods
    ]
    return or_level(median_of_known(np.stack(days)), windows)


def median_of_known(values: Array) -> Array:
    """The median along the first axis of what is not NaN; NaN where all is."""
    ordered = np.sort(values, axis=0)  # NaN comes last
    count = np.isfinite(values).sum(axis=0)
    lower, upper = (
        np.take_along_axis(ordered, at[None], axis=0)[0] for at in (np.maximum(count - 1, 0) // 2, count // 2)
    )
    median: Array = (lower + upper) / 2.0
    return median


@dataclass
class Median:
    """The median of the training part, always."""

    value: float = 0.0
    name: str = field(default="median", init=False)

    def fit(self, train: TrainingWindows, validation: TrainingWindows) -> None:  # noqa: ARG002 - one interface for all candidates
        """Take the median of what the training part forecasts."""
        self.value = float(np.nanmedian(train.targets()[:, -1]))

    def predict(self, windows: TrainingWindows) -> Array:
        """[n, horizon] times the median."""
        return np.full((len(windows), windows.horizon), self.value)


def naive_models() -> list[Naive | Median]:
    """Every naive forecast, unfitted."""
    return [
        *(Naive(period, scaled) for period in (0, DAY, WEEK) for scaled in (False, True)),
        Median(),
    ]
