"""A traffic series on a regular UTC grid, read from CSV or Parquet, and the gate that refuses what can't be learned.

What was not observed is NaN, never zero. Two rules make a grid of any file: a time without an offset is UTC, and
samples that fall into the same step (a duplicated hour, an overlapping export) become their mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
VALUE_COLUMNS = ("requests_per_minute", "qps", "value")
STEPS = (1, 5)
MINUTES_PER_DAY = 1440
LONGEST_SERIES_DAYS = 30


class DatasetError(ValueError):
    """A file is not a traffic series; the message names it and what is missing."""


@dataclass(frozen=True)
class TrafficSeries:
    """Values at ``start``, ``start`` + ``step`` minutes ... (UTC); NaN where nothing was observed."""

    name: str
    start: datetime
    step: int
    values: Array

    def __len__(self) -> int:
        return len(self.values)

    @property
    def per_day(self) -> int:
        """Steps in a day."""
        return MINUTES_PER_DAY // self.step

    @property
    def days(self) -> float:
        """Length in days."""
        return len(self) / self.per_day

    def at(self, index: int) -> datetime:
        """The time of sample ``index``."""
        return self.start + timedelta(minutes=self.step * index)

    def slice(self, first: int, last: int | None = None) -> TrafficSeries:
        """The samples ``first`` up to but without ``last``."""
        return TrafficSeries(self.name, self.at(first), self.step, self.values[first:last])

    def last_days(self, days: float) -> TrafficSeries:
        """The newest ``days``, or all of a shorter series."""
        return self.slice(max(0, len(self) - round(days * self.per_day)))


@dataclass(frozen=True)
class QualityLimits:
    """What a series must have before a model is trained on it."""

    min_days: float = 4.0
    max_missing_share: float = 0.35
    max_part_missing_share: float = 0.5
    max_zero_share: float = 0.2
    min_distinct_values: int = 10


@dataclass(frozen=True)
class DataQuality:
    """``refused`` is the reason why nothing is trained, or None; ``metric`` is what the candidates are judged by."""

    refused: str | None
    metric: str
    days: float
    missing_share: float
    zero_share: float


def load_series(path: Path) -> TrafficSeries:
    """The series in ``path`` (.csv, .csv.gz or .parquet with ``timestamp`` and a value column).

    Raises DatasetError when it isn't one.
    """
    import pandas as pd

    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path.name} can't be read: {error}") from error
    return series_from_frame(frame, path.name.removesuffix(".gz").removesuffix(".csv").removesuffix(".parquet"))


def series_from_frame(frame: pd.DataFrame, name: str) -> TrafficSeries:
    """The regular grid of a frame with a ``timestamp`` column and one of VALUE_COLUMNS. Raises DatasetError."""
    import pandas as pd

    value = next((column for column in VALUE_COLUMNS if column in frame), None)
    if "timestamp" not in frame or value is None:
        raise DatasetError(f"{name}: needs the columns timestamp and one of {', '.join(VALUE_COLUMNS)}")
    # Numbers are refused: seconds, milliseconds and days of a spreadsheet look alike.
    written = frame["timestamp"].astype(str) if frame["timestamp"].dtype.kind in "iuf" else frame["timestamp"]
    times = pd.to_datetime(written, utc=True, format="ISO8601", errors="coerce")
    values = pd.to_numeric(frame[value], errors="coerce")
    for column, parsed, remedy in (
        ("timestamp", times, "use ISO 8601 times such as 2026-11-24T09:00:00Z"),
        (value, values, "use numbers, and nothing where none was observed"),
    ):
        wrong = np.flatnonzero(parsed.isna() & frame[column].notna())
        if len(wrong):
            shown = str(frame[column].iloc[wrong[0]])[:40]
            raise DatasetError(f"{name}: {column} of sample {wrong[0] + 1} is {shown!r}: {remedy}")
    return regular_grid(name, times.to_numpy("datetime64[s]").astype(np.int64), values.to_numpy(float))


def regular_grid(name: str, seconds: NDArray[np.int64], values: Array, step: int | None = None) -> TrafficSeries:
    """One value a step from samples at Unix ``seconds`` in any order; several in one step become their mean.

    What is negative or infinite was not observed. Without ``step`` the commonest distance decides.
    """
    known = seconds > np.datetime64("1970-01-02", "s").astype(np.int64)
    seconds, values = seconds[known], np.asarray(values, float)[known]
    if len(seconds) < 2:
        raise DatasetError(f"{name}: {len(seconds)} samples with a time; a series needs at least two")
    step = step or common_step(name, seconds)
    position = seconds // (60 * step)
    first = int(position.min())
    size = int(position.max()) - first + 1
    observed = np.isfinite(values) & (values >= 0)
    total = np.bincount(position[observed] - first, weights=values[observed], minlength=size)
    count = np.bincount(position[observed] - first, minlength=size)
    grid = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return TrafficSeries(name, datetime.fromtimestamp(first * 60 * step, UTC), step, grid)


def common_step(name: str, seconds: NDArray[np.int64]) -> int:
    """The commonest distance between neighbours in minutes: 1 or 5. Raises DatasetError for others."""
    distances = np.diff(np.unique(seconds))
    found, counts = np.unique(distances, return_counts=True)
    step = int(found[np.argmax(counts)]) / 60 if len(found) else 0
    if step not in STEPS:
        raise DatasetError(f"{name}: samples are {step:g} minutes apart; 1 or 5 are supported")
    return int(step)


def judge(series: TrafficSeries, parts: tuple[slice, ...] = (), limits: QualityLimits | None = None) -> DataQuality:
    """May models be trained on ``series``, whose ``parts`` (train, validation, test) must each be thick enough?"""
    limits = limits or QualityLimits()
    observed = np.isfinite(series.values)
    values = series.values[observed]
    missing = 1.0 - float(observed.mean()) if len(series) else 1.0
    zeros = float((values == 0).mean()) if len(values) else 0.0
    thin = [1.0 - float(observed[part].mean()) for part in parts if len(observed[part])]
    metric = "mae" if zeros > limits.max_zero_share else "wape"
    refused = refusal(series.days, missing, max(thin, default=0.0), len(np.unique(values)), limits)
    return DataQuality(refused, metric, round(series.days, 2), round(missing, 4), round(zeros, 4))


def refusal(days: float, missing: float, thinnest: float, distinct: int, limits: QualityLimits) -> str | None:
    """The reason to train nothing on such data, or None."""
    if days < limits.min_days:
        return f"too short: {days:.1f} days, at least {limits.min_days:g} are needed"
    if missing > limits.max_missing_share:
        return f"too many gaps: {missing:.0%} of the samples are missing, at most {limits.max_missing_share:.0%} may be"
    if thinnest > limits.max_part_missing_share:
        return (
            f"too many gaps in one part: {thinnest:.0%} of train, validation or test is missing, "
            f"at most {limits.max_part_missing_share:.0%} may be"
        )
    if distinct < limits.min_distinct_values:
        return f"constant: {distinct} distinct values, at least {limits.min_distinct_values} are needed"
    return None


def split(size: int, train: float = 0.70, validation: float = 0.15) -> tuple[slice, slice, slice]:
    """Train, validation and test in time order."""
    first, second = int(size * train), int(size * (train + validation))
    return slice(0, first), slice(first, second), slice(second, size)


def fill_short_gaps(values: Array, limit: int) -> Array:
    """Gaps of at most ``limit`` samples carry the last value on; longer ones stay missing in full."""
    seen = np.isfinite(values)
    position = np.arange(len(values))
    last = np.maximum.accumulate(np.where(seen, position, -1))
    following = np.minimum.accumulate(np.where(seen, position, len(values))[::-1])[::-1]
    short = ~seen & (last >= 0) & (following - last - 1 <= limit)
    return np.where(short, values[np.maximum(last, 0)], values)


def window_hash(series: TrafficSeries) -> str:
    """A short fingerprint of the data that a model was made from."""
    import hashlib

    head: Any = f"{series.name} {series.start.isoformat()} {series.step}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(series.values).tobytes()).hexdigest()[:16]
