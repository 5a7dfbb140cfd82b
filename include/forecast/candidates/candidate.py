"""A trained candidate as the registry keeps it and the server asks it: numpy, LightGBM and ONNX Runtime are enough.

A request brings the last hour. Yesterday and last week come from the ``history`` that the caller may hold (such as the
last 8 days from Prometheus), and where that has nothing from the tail of the training data that is saved with the
model: after a nightly training it covers last week and yesterday. What is still missing falls back to the level.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from include.forecast.candidates.baselines import Median, Naive, Seasonal, WeekMedian
from include.forecast.candidates.blend import Blend, Model
from include.forecast.candidates.lstm import Lstm
from include.forecast.candidates.trees import Trees
from include.forecast.traffic.features import HISTORY_DAYS, LOOKBACK_MINUTES, Past, TrainingWindows
from include.forecast.traffic.series import Array, TrafficSeries

FORMAT = 1


class CandidateError(ValueError):
    """A saved candidate or a request can't be used; the message says why."""


@dataclass(frozen=True)
class Candidate:
    """A model with what turns its forecasts into quantiles.

    ``p90_above`` has a figure for each step: how far the 90th percentile lies above the forecast, as a share of it.
    """

    model: Model
    step: int
    floor: float
    country: str | None
    p90_above: Array
    tail: TrafficSeries

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def lookback(self) -> int:
        """How many values a request has: one hour of them."""
        return LOOKBACK_MINUTES // self.step

    def forecast(self, windows: TrainingWindows) -> tuple[Array, Array]:
        """P50 and P90 at many origins: [n, horizon] each."""
        p50 = self.model.predict(windows)
        return p50, with_p90(p50, self.p90_above, self.floor)

    def predict(
        self, values: Sequence[float] | Array, timestamps: Sequence[datetime], history: TrafficSeries | None = None
    ) -> tuple[Array, Array]:
        """P50 and P90 of the next 15 minutes from one hour of values; ``timestamps`` are the starts of its minutes."""
        if len(values) != self.lookback or len(timestamps) != self.lookback:
            raise CandidateError(f"{self.lookback} values and timestamps are needed, one for every {self.step} min")
        window = np.asarray(values, float)
        if not (np.isfinite(window) & (window >= 0)).all():
            raise CandidateError("every value must be a number of at least zero")
        series = joined(self.tail, window, timestamps[-1], history)
        origin = np.array([len(series) - 1], dtype=np.int64)
        p50, p90 = self.forecast(TrainingWindows(Past(series), origin, self.floor, self.country))
        return p50[0], p90[0]

    def save(self, folder: Path) -> None:
        """Write everything that ``load`` needs into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "format": FORMAT,
            "name": self.name,
            "step": self.step,
            "floor": self.floor,
            "country": self.country,
            "p90_above": [float(value) for value in self.p90_above],
            "tail": {"name": self.tail.name, "start": self.tail.start.isoformat()},
            "model": save_model(self.model, folder),
        }
        np.save(folder / "tail.npy", self.tail.values, allow_pickle=False)
        (folder / "candidate.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Candidate:
        """What ``save`` wrote. Raises CandidateError when it is damaged."""
        try:
            about = json.loads((folder / "candidate.json").read_text(encoding="utf-8"))
            values = np.load(folder / "tail.npy", allow_pickle=False)
            name, start = about["tail"]["name"], datetime.fromisoformat(about["tail"]["start"])
            tail = TrafficSeries(name, start, about["step"], values)
            model = load_model(about["model"], folder)
        # Each library has its own errors for a damaged file; all mean the same here.
        except Exception as error:
            raise CandidateError(f"{folder.name} holds no usable candidate ({error}): train again") from error
        return cls(model, about["step"], about["floor"], about["country"], np.array(about["p90_above"]), tail)


def joined(tail: TrafficSeries, window: Array, end: datetime, history: TrafficSeries | None) -> TrafficSeries:
    """Eight days that end with ``window``, whose last step holds ``end``; above ``history``, above ``tail``."""
    step, size = tail.step, HISTORY_DAYS * tail.per_day + len(window)
    last = slot_of(end, step)
    grid = np.full(size, np.nan)
    for part in (tail, history):
        if part is not None and part.step == step:
            place(grid, last - size + 1, part)
    grid[-len(window) :] = window
    start = datetime.fromtimestamp((last - size + 1) * step * 60, UTC)
    return TrafficSeries(tail.name, start, step, grid)


def slot_of(moment: datetime, step: int) -> int:
    """The number of the step that holds ``moment``; without an offset it is UTC."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) // (60 * step)


def place(grid: Array, first: int, part: TrafficSeries) -> None:
    """Write what ``part`` observed into ``grid``, whose first value is of step number ``first``."""
    offset = slot_of(part.start, part.step) - first
    begin, end = max(0, offset), min(len(grid), offset + len(part))
    if begin < end:
        values = part.values[begin - offset : end - offset]
        grid[begin:end] = np.where(np.isfinite(values), values, grid[begin:end])


def with_p90(p50: Array, above: Array, floor: float) -> Array:
    """P90 from P50: at least as high."""
    upper: Array = p50 + np.maximum(above, 0.0) * np.maximum(p50, floor)
    return upper


def p90_above(p50: Array, truth: Array, floor: float) -> Array:
    """For each step how far 90 % of what came lies above the forecast at most, as a share of the forecast."""
    ratio = (truth - p50) / np.maximum(p50, floor)
    return np.array([_quantile(column[np.isfinite(column)]) for column in ratio.T])


def _quantile(ratio: Array) -> float:
    if not len(ratio):
        return 0.0
    # The conformal rank: one more than n, so that a new value is covered as well.
    rank = min(1.0, 0.9 * (len(ratio) + 1) / len(ratio))
    return float(np.quantile(ratio, rank, method="higher"))


def save_model(model: Model, folder: Path) -> dict[str, Any]:
    """Write a model's files and give the record that ``load_model`` reads."""
    if isinstance(model, Blend):
        parts = [
            {"weight": weight, **save_model(part, folder)}
            for part, weight in zip(model.parts, model.weights, strict=True)
        ]
        return {"kind": "Blend", "parts": parts}
    if isinstance(model, Trees | Lstm):
        model.save(folder)
        return {"kind": type(model).__name__}
    if isinstance(model, Naive | Seasonal | WeekMedian):
        return {"kind": type(model).__name__, "settings": asdict(model)}
    if isinstance(model, Median):
        return {"kind": "Median", "value": model.value}
    raise TypeError(f"{type(model).__name__} can't be saved")


def load_model(record: dict[str, Any], folder: Path) -> Model:
    """The model of a record of ``save_model``."""
    kind = record["kind"]
    if kind == "Blend":
        parts = record["parts"]
        return Blend([load_model(part, folder) for part in parts], [part["weight"] for part in parts])
    if kind == "Trees":
        return Trees.load(folder)
    if kind == "Lstm":
        return Lstm.load(folder)
    if kind == "Median":
        return Median(record["value"])
    simple: dict[str, type[Naive | Seasonal | WeekMedian]] = {
        "Naive": Naive,
        "Seasonal": Seasonal,
        "WeekMedian": WeekMedian,
    }
    return simple[kind](**record["settings"])
