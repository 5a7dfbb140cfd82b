"""What the requests of one minute share, and how each kind of model answers one of them.

Yesterday, last week, the time of day and the calendar are the same for every request that ends with the same minute:
the training code itself computes them, once a minute. What is left for a request is a few dozen numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from include.forecast.candidates.baselines import Median, Naive, Seasonal, WeekMedian, median_of_known
from include.forecast.candidates.lstm import INPUT_LIMITS, Lstm
from include.forecast.candidates.trees import columns
from include.forecast.traffic.features import (
    DAY,
    LAGS,
    LEVEL_SHARE,
    LEVELS,
    RATIO_LIMITS,
    RECENT_MINUTES,
    SEASONS,
    SHAPES,
    WEEK,
    Past,
    TrainingWindows,
    same_time,
)
from include.forecast.traffic.series import Array, TrafficSeries

SCALE, VARIATION = -1, -2  # places in Recent.numbers; levels are counted from the front


@dataclass(frozen=True)
class Recent:
    """The hour of one request: ``numbers`` are the levels that its minute was asked for, then variation and scale."""

    window: Array
    numbers: Array
    scale: float


PerRequest = Callable[[Recent], Array]  # what is left of a model for each request of a minute: [horizon] values
PerMinute = Callable[["Minute"], PerRequest]  # what a model computes once a minute


class Minute:
    """The days before an hour, and where in them and in the hour the levels lie that plans ask for."""

    def __init__(self, series: TrafficSeries, lookback: int, floor: float, country: str | None) -> None:
        """``series`` ends with the hour: its values there don't matter, but none may be missing."""
        self.past = Past(series)
        self.windows = TrainingWindows(self.past, np.array([len(series) - 1], dtype=np.int64), floor, country)
        self.floor = floor
        self._border = len(series) - lookback
        self._places: dict[tuple[int, int], int] = {}
        self.level(RECENT_MINUTES)

    @property
    def horizon(self) -> int:
        """Steps ahead that are forecast."""
        return self.windows.horizon

    def level(self, minutes: int, before: int = 0) -> int:
        """The place in ``Recent.numbers`` of the level of ``minutes``, as it was ``before`` minutes ago."""
        return self._places.setdefault((minutes, before), len(self._places))

    def level_then(self, minutes: int, period: int) -> float:
        """The level of ``minutes`` a day or more ago, at least the floor; NaN where it is unknown."""
        then = self.past.level(self.windows.origins - self.past.steps(period), minutes)
        return float(np.maximum(then, self.floor)[0])

    def reader(self) -> Callable[[Array], Recent]:
        """What turns an hour into numbers, for the levels that were asked for until now."""
        past, border, floor = self.past, self._border, self.floor
        requested = np.array(list(self._places), dtype=np.int64)
        last = len(past.values) - 1 - requested[:, 1] // past.series.step
        first = last - np.maximum(1, requested[:, 0] // past.series.step) + 1
        count = past.count(first, last)
        counts = np.where(count >= np.maximum(1.0, np.ceil(LEVEL_SHARE * (last - first + 1))), count, np.nan)
        # Of the sums before the hour only these are needed; the hour's follow them.
        ends = np.concatenate([first, last + 1])
        older = np.unique(ends[ends < border])
        sums_before = past.sums[older]
        place = np.where(ends < border, np.searchsorted(older, ends), ends - border + len(older))
        begin, end = np.split(place, 2)
        sum_before, square_before = past.sums[border : border + 1], past.squares[border : border + 1]
        steps = past.steps(RECENT_MINUTES)

        def read(window: Array) -> Recent:
            # One addition after the other, as if all had been summed at once: the last bit is the same.
            sums = np.concatenate([sums_before, np.cumsum(np.concatenate([sum_before, window]))])
            squares = np.cumsum(np.concatenate([square_before, window * window]))
            numbers = np.empty(len(counts) + 2)
            np.divide(sums[end] - sums[begin], counts, out=numbers[:VARIATION])
            mean = numbers[0]
            numbers[VARIATION] = np.sqrt(max((squares[-1] - squares[-1 - steps]) / steps - mean * mean, 0.0))
            numbers[SCALE] = scale = max(mean, floor)
            return Recent(window, numbers, float(scale))

        return read


def or_level(forecast: Array, recent: Recent) -> Array:
    """``forecast``, and the recent level where it is missing."""
    return np.where(np.isfinite(forecast), forecast, recent.scale)


def naive(model: Naive, minute: Minute) -> PerRequest:
    """Now, yesterday or last week."""
    horizon = minute.horizon
    if model.period == 0 and not model.scaled:
        return lambda recent: np.full(horizon, recent.window[-1])
    if model.period == 0:
        place = minute.level(model.minutes)
        return lambda recent: np.full(horizon, recent.numbers[place])
    shape = same_time(minute.windows, model.period)[0]
    if not model.scaled:
        return lambda recent: or_level(shape, recent)
    return scaled(shape, model.period, model.minutes, minute)


def seasonal(model: Seasonal, minute: Minute) -> PerRequest:
    """The smoothed shape of yesterday or last week."""
    shape = same_time(minute.windows, model.period, model.around)[0]
    return scaled(shape, model.period, model.minutes, minute)


def scaled(shape: Array, period: int, minutes: int, minute: Minute) -> PerRequest:
    """A shape of a ``period`` ago, as many times as high as the level is now."""
    place, then, floor = minute.level(minutes), minute.level_then(minutes, period), minute.floor

    def forecast(recent: Recent) -> Array:
        return or_level(shape * within_limits(np.maximum(recent.numbers[place], floor) / then), recent)

    return forecast


def within_limits(ratio: Any) -> Any:
    """``ratio`` within RATIO_LIMITS; NaN stays. On single numbers many times as fast as np.clip."""
    return np.minimum(np.maximum(ratio, RATIO_LIMITS[0]), RATIO_LIMITS[1])


def week_median(model: WeekMedian, minute: Minute) -> PerRequest:
    """The median of the last seven days' shapes."""
    periods = range(DAY, WEEK + 1, DAY)
    shapes = np.stack([same_time(minute.windows, period, model.around)[0] for period in periods])
    then = np.array([minute.level_then(model.minutes, period) for period in periods])[:, None]
    place, floor = minute.level(model.minutes), minute.floor

    def forecast(recent: Recent) -> Array:
        days = shapes * within_limits(np.maximum(recent.numbers[place], floor) / then)
        return or_level(median_of_known(days), recent)

    return forecast


def median(model: Median, minute: Minute) -> PerRequest:
    """Always the same."""
    values = np.full(minute.horizon, model.value)
    return lambda _: values


def blend(parts: Sequence[tuple[float, PerMinute]], minute: Minute) -> PerRequest:
    """The weighted mean of parts."""
    forecasts = [(weight, plan(minute)) for weight, plan in parts]
    return lambda recent: sum((weight * forecast(recent) for weight, forecast in forecasts), np.zeros(minute.horizon))


def lstm(model: Lstm, minute: Minute) -> PerRequest:
    """The network: of its inputs only the values change with the request."""
    inputs, session, trust = model.inputs(minute.windows), model.session, model.trust
    base = naive(model.base, minute) if isinstance(model.base, Naive) else seasonal(model.base, minute)

    def forecast(recent: Recent) -> Array:
        window = inputs.copy()
        window[0, :, 0] = np.clip(recent.window / recent.scale - 1.0, *INPUT_LIMITS)
        change = session.run(None, {"window": window})[0][0].astype(float)
        corrected: Array = np.maximum(base(recent) + trust * change * recent.scale, 0.0)
        return corrected

    return forecast


@dataclass(frozen=True)
class OnnxTrees:
    """``Trees`` in ONNX Runtime: the change of all members is their mean, the levels that they start from differ."""

    bases: tuple[int, ...]
    session: Any

    def __call__(self, minute: Minute) -> PerRequest:
        """The plan of a minute."""
        features = tree_features_of(minute)
        bases = [minute.level(base) for base in self.bases]

        def forecast(recent: Recent) -> Array:
            changes = self.session.run(None, {"features": features(recent)})[0][:, 0]
            values: Array = np.maximum(recent.numbers[bases].mean() + recent.scale * changes, 0.0)
            return values

        return forecast


def tree_features_of(minute: Minute) -> PerRequest:
    """The features of every step, [horizon, columns]: what is known of the minute times numbers of the hour.

    Each column is a number of the hour / scale / a level of then, times a shape; what the hour leaves alone is
    scale / scale / 1, times the column.
    """
    size, floor = minute.horizon, minute.floor
    known = columns(minute.windows.take(np.zeros(size, dtype=np.int64)), np.arange(1, size + 1))
    ones = np.ones(size)
    changing: dict[str, tuple[Array, int, float]] = {
        **{f"level_{minutes}": (ones, minute.level(minutes), 1.0) for minutes in LEVELS},
        **{f"lag_{minutes}": (ones, minute.level(5, minutes), 1.0) for minutes in LAGS},
        "variation": (ones, VARIATION, 1.0),
        "log_level": (ones, SCALE, 1.0),
    }
    for name, period in SEASONS:
        for minutes, arounds in SHAPES:
            then = np.fmax(minute.level_then(minutes, period), floor)
            for around in arounds:
                shape = same_time(minute.windows, period, around)[0]
                changing[f"{name}_{minutes}_{around}"] = (shape, minute.level(minutes), float(then))
        changing[f"{name}_level"] = (ones, minute.level(60, period), 1.0)
    every = [changing.get(name, (values, SCALE, 1.0)) for name, values in known.items()]
    shapes = np.column_stack([shape for shape, _, _ in every])
    places, then_levels = np.array([place for _, place, _ in every]), np.array([then for _, _, then in every])
    log_level = list(known).index("log_level")

    def features(recent: Recent) -> Array:
        factors: Array = recent.numbers[places] / recent.scale / then_levels
        factors[log_level] = np.log(recent.scale)
        return shapes * factors

    return features
