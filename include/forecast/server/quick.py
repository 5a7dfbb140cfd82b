"""The same forecast as ``Candidate.predict`` for one request at a time, several times as fast.

Training code works on thousands of windows at once; on a single one nearly all of its time is overhead. Here the eight
days before a request are summed once a minute instead of once a request, levels are computed once, and trees are run
by ONNX Runtime, from what ``prepare`` made. That both ways agree is checked for every version before it serves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from include.forecast.api import Candidate, CandidateError, load_model, slot_of, with_p90
from include.forecast.blend import Blend, Model
from include.forecast.dataset import Array, Series, fill_short_gaps
from include.forecast.features import SHORT_GAP_MINUTES, Indices, Past, Windows
from include.forecast.trees import matrix

EARLY, LAST, PROBES = "trees_early.onnx", "trees_last.onnx", "probes.json"
TOLERANCE = 1e-5
Found = dict[tuple[Any, ...], Array]


class RequestPast(Past):
    """The past of one request: sums are handed over, and every ``index`` of a level is the same origin.

    What lies before sample ``border`` is the same for other requests: ``older`` keeps what was found there.
    """

    def __init__(self, series: Series, sums: Array, squares: Array, counts: Indices, border: int, older: Found) -> None:
        self.series = series
        self.values = series.values
        self._sums, self._squares, self._counts = sums, squares, counts
        self._border, self._older = border, older
        self._levels: Found = {}

    def level(self, index: Indices, minutes: int) -> Array:
        """See :class:`Past`."""
        origin = int(index[0])
        kept = self._older if origin < self._border else self._levels
        key = (origin, minutes, len(index))
        if key not in kept:
            kept[key] = _fixed(np.full(len(index), self._level(origin, minutes)))
        return kept[key]

    def around(self, index: Indices, minutes: int) -> Array:
        """See :class:`Past`."""
        key = (index.tobytes(), minutes, index.shape)
        if key in self._older:
            return self._older[key]
        found = _fixed(super().around(index, minutes))
        if int(index.max()) + self.steps(minutes) < self._border:
            self._older[key] = found
        return found

    def _level(self, origin: int, minutes: int) -> float:
        first, after = origin - max(1, self.steps(minutes)) + 1, origin + 1
        count = int(self._counts[after] - self._counts[first])
        if count < max(1.0, 0.25 * (after - first)):
            return float("nan")
        return float(self._sums[after] - self._sums[first]) / count

    def _average(self, sums: Array, first: Indices, last: Indices, share: float) -> Array:
        # Eight days and an hour hold every index that a feature asks for, so that nothing has to be clipped.
        after = last + 1
        count = self._counts[after] - self._counts[first]
        least = max(1.0, share * int(after.flat[0] - first.flat[0]))
        return np.where(count >= least, (sums[after] - sums[first]) / np.maximum(count, 1), np.nan)


def _fixed(values: Array) -> Array:
    values.setflags(write=False)  # it is handed out more than once
    return values


@dataclass(frozen=True)
class Before:
    """The days before the hour of a request, summed up: ``sums`` and its like have one entry more than ``values``."""

    slot: int
    history: Series | None
    start: datetime
    values: Array
    sums: Array
    squares: Array
    counts: Indices
    older: Found = field(default_factory=dict)

    def with_window(self, name: str, step: int, window: Array) -> RequestPast:
        """The past that ends with ``window``, which has no gap."""
        values = np.concatenate([self.values, window])
        steps = np.arange(1, len(window) + 1, dtype=np.int64)
        return RequestPast(
            Series(name, self.start, step, values),
            _continued(self.sums, window),
            _continued(self.squares, window * window),
            np.concatenate([self.counts, self.counts[-1] + steps]),
            len(self.values),
            self.older,
        )


def _continued(sums: Array, values: Array) -> Array:
    # One addition after the other, as if all had been summed at once: the last bit is the same.
    return np.concatenate([sums[:-1], np.cumsum(np.concatenate([sums[-1:], values]))])


def before_of(candidate: Candidate, slot: int, end: datetime, history: Series | None) -> Before:
    """What comes before the hour that ends with the step at ``end``."""
    # Whatever the hour holds, it has no gap: ones stand for it.
    series = candidate.joined(np.ones(candidate.lookback), end, history)
    values = fill_short_gaps(series.values, SHORT_GAP_MINUTES // candidate.step)[: -candidate.lookback]
    observed = np.isfinite(values)
    known = np.where(observed, values, 0.0)
    return Before(
        slot,
        history,
        series.start,
        values,
        np.concatenate([[0.0], np.cumsum(known)]),
        np.concatenate([[0.0], np.cumsum(known * known)]),
        np.concatenate([[0], np.cumsum(observed)]),
    )


class Quick:
    """A candidate that answers single requests. Its ``predict`` may be called by several threads."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self._before: Before | None = None

    def predict(self, window: Array, end: datetime, history: Series | None = None) -> tuple[Array, Array]:
        """P50 and P90 of the next 15 minutes; ``window`` is one hour without gaps, ``end`` the start of its last step.

        Raises CandidateError for another length and for a model that gives no numbers.
        """
        candidate = self.candidate
        if len(window) != candidate.lookback:
            raise CandidateError(f"{candidate.lookback} values are needed, not {len(window)}")
        past = self._until(end, history).with_window(candidate.tail.name, candidate.step, window)
        origin = np.array([len(past.values) - 1], dtype=np.int64)
        p50 = candidate.model.predict(Windows(past, origin, candidate.floor, candidate.country))
        p90 = with_p90(p50, candidate.p90_above, candidate.floor)
        if not np.isfinite(p90).all():
            raise CandidateError(f"{candidate.name} gives no number for this hour: set another champion")
        return p50[0], p90[0]

    def _until(self, end: datetime, history: Series | None) -> Before:
        known, slot = self._before, slot_of(end, self.candidate.step)
        if known is None or known.slot != slot or known.history is not history:
            known = self._before = before_of(self.candidate, slot, end, history)
        return known


@dataclass(frozen=True)
class OnnxTrees:
    """``Trees`` in ONNX Runtime: the change of all members is their mean, the levels that they start from differ."""

    bases: tuple[int, ...]
    early: Any
    last: Any
    name: ClassVar[str] = "lightgbm"

    def fit(self, train: Windows, validation: Windows) -> None:
        """Trees learn in training only."""
        raise NotImplementedError("a served model does not learn: run forecast_retrain")

    def predict(self, windows: Windows) -> Array:
        """[n, horizon] values."""
        size, horizon = len(windows), windows.horizon
        rows = windows.take(np.tile(np.arange(size), horizon))
        features = matrix(rows, np.repeat(np.arange(1, horizon + 1), size))
        before_last, scale = size * (horizon - 1), rows.scale()
        changes = [
            session.run(None, {"features": part})[0][:, 0]
            for session, part in ((self.early, features[:before_last]), (self.last, features[before_last:]))
        ]
        levels = [rows.past.level(rows.origins, base) for base in self.bases]
        start = np.mean([np.where(np.isfinite(level), level, scale) for level in levels], axis=0)
        forecast: Array = np.maximum(start + scale * np.concatenate(changes), 0.0)
        return forecast.reshape(horizon, size).T


def session(network: bytes) -> Any:
    """ONNX Runtime on one thread: a request must not take every core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def load_quick(folder: Path) -> Quick:
    """The version in ``folder``, which ``prepare`` has been through. Raises CandidateError when it is of no use."""
    try:
        about = json.loads((folder / "candidate.json").read_text(encoding="utf-8"))
        values = np.load(folder / "tail.npy", allow_pickle=False)
        tail = Series(about["tail"]["name"], datetime.fromisoformat(about["tail"]["start"]), about["step"], values)
        model = quick_model(about["model"], folder)
        above = np.array(about["p90_above"])
        quick = Quick(Candidate(model, about["step"], about["floor"], about["country"], above, tail))
        agreed = agrees(quick, json.loads((folder / PROBES).read_text(encoding="utf-8")))
    except CandidateError:
        raise
    # Each library has its own errors for a damaged file; all mean the same here.
    except Exception as error:
        raise CandidateError(f"it can't be served ({type(error).__name__}: {error}): train again") from error
    if not agreed:
        raise CandidateError("served, it does not give what it gave in training: train again")
    return quick


def quick_model(record: dict[str, Any], folder: Path) -> Model:
    """The model of a record of ``save_model``, without LightGBM."""
    if record["kind"] == "Blend":
        parts = record["parts"]
        return Blend([quick_model(part, folder) for part in parts], [part["weight"] for part in parts])
    if record["kind"] == "Trees":
        # The base level is a part of each file's name.
        bases = tuple(int(path.name.split("_")[2]) for path in sorted(folder.glob("lightgbm_*_last.txt")))
        return OnnxTrees(bases, *(session((folder / name).read_bytes()) for name in (EARLY, LAST)))
    return load_model(record, folder)


def agrees(quick: Quick, probes: list[dict[str, Any]]) -> bool:
    """Are the forecasts of ``probes`` what the candidate's own code gave?"""
    for probe in probes:
        found = quick.predict(np.array(probe["window"]), datetime.fromisoformat(probe["end"]))
        wanted = (np.array(probe["p50"]), np.array(probe["p90"]))
        if not all(np.allclose(*pair, rtol=TOLERANCE, atol=1e-9) for pair in zip(found, wanted, strict=True)):
            return False
    return bool(probes)
