"""The same forecast as ``Candidate.predict`` for one request at a time, several times as fast.

Training code works on thousands of windows at once; on a single one nearly all of its time is overhead. Here the eight
days before a request are summed once a minute instead of once a request, levels are computed once, and trees are run
by ONNX Runtime, from what ``compile_version`` made. That both ways agree is checked for every version before it serves.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from include.forecast.candidates.candidate import CandidateError, joined, load_model, slot_of, with_p90
from include.forecast.candidates.lstm import onnx_session
from include.forecast.server.fast_models import (
    Minute,
    OnnxTrees,
    PerMinute,
    PerRequest,
    Recent,
    blend,
    lstm,
    median,
    naive,
    seasonal,
    week_median,
)
from include.forecast.traffic.features import LOOKBACK_MINUTES
from include.forecast.traffic.series import Array, TrafficSeries

TREES, PROBES = "trees.onnx", "probes.json"
TOLERANCE = 1e-5
# Clients that send timestamps ask for different minutes in turn; one is about half a megabyte.
KEPT_MINUTES = 16


@dataclass(frozen=True)
class Prepared:
    """A minute that was asked for: what was computed for its first request serves the next ones too."""

    history: TrafficSeries | None
    read: Callable[[Array], Recent]
    forecast: PerRequest


@dataclass
class FastCandidate:
    """A candidate that answers single requests. Its ``predict`` may be called by several threads.

    ``tail`` and the settings are those of Candidate.
    """

    per_minute: PerMinute
    name: str
    floor: float
    country: str | None
    p90_above: Array
    tail: TrafficSeries
    _prepared: dict[int, Prepared] = field(default_factory=dict, init=False)

    @property
    def lookback(self) -> int:
        """How many values a request has."""
        return LOOKBACK_MINUTES // self.tail.step

    def predict(self, window: Array, end: datetime, history: TrafficSeries | None = None) -> tuple[Array, Array]:
        """P50 and P90 of the next 15 minutes; ``window`` is one hour without gaps, ``end`` the start of its last step.

        Raises CandidateError for another length and for a model that gives no numbers.
        """
        if len(window) != self.lookback:
            raise CandidateError(f"{self.lookback} values are needed, not {len(window)}")
        minute = self._minute(end, history)
        p50 = minute.forecast(minute.read(window))
        p90 = with_p90(p50, self.p90_above, self.floor)
        if not np.isfinite(p90).all():
            raise CandidateError(f"{self.name} gives no number for this hour: set another champion")
        return p50, p90

    def _minute(self, end: datetime, history: TrafficSeries | None) -> Prepared:
        slot = slot_of(end, self.tail.step)
        found = self._prepared.get(slot)
        if found is None or found.history is not history:
            # Whatever the hour holds, it has no gap: ones stand for it.
            series = joined(self.tail, np.ones(self.lookback), end, history)
            minute = Minute(series, self.lookback, self.floor, self.country)
            forecast = self.per_minute(minute)
            found = Prepared(history, minute.reader(), forecast)
            others = [one for one in self._prepared.items() if one[0] != slot]
            # One assignment: another thread sees the minutes of before or those of now.
            self._prepared = dict([*others, (slot, found)][-KEPT_MINUTES:])
        return found


def load_fast(folder: Path) -> FastCandidate:
    """The version in ``folder``, which ``compile_version`` has been through. Raises CandidateError."""
    try:
        about = json.loads((folder / "candidate.json").read_text(encoding="utf-8"))
        values = np.load(folder / "tail.npy", allow_pickle=False)
        name, start = about["tail"]["name"], datetime.fromisoformat(about["tail"]["start"])
        tail = TrafficSeries(name, start, about["step"], values)
        per_minute = per_minute_of(about["model"], folder)
        above = np.array(about["p90_above"])
        fast = FastCandidate(per_minute, about["name"], about["floor"], about["country"], above, tail)
        agreed = agrees(fast, json.loads((folder / PROBES).read_text(encoding="utf-8")))
    except CandidateError:
        raise
    # Each library has its own errors for a damaged file; all mean the same here.
    except Exception as error:
        raise CandidateError(f"it can't be served ({type(error).__name__}: {error}): train again") from error
    if not agreed:
        raise CandidateError("served, it does not give what it gave in training: train again")
    return fast


def per_minute_of(record: dict[str, Any], folder: Path) -> PerMinute:
    """How a model of ``save_model`` answers single requests, without LightGBM. ``record`` is what it gave."""
    kind = record["kind"]
    if kind == "Blend":
        return functools.partial(blend, [(part["weight"], per_minute_of(part, folder)) for part in record["parts"]])
    if kind == "Trees":
        # The base level is a part of each file's name.
        bases = tuple(int(path.name.split("_")[2]) for path in sorted(folder.glob("lightgbm_*_last.txt")))
        return OnnxTrees(bases, onnx_session((folder / TREES).read_bytes()))
    plans: dict[str, Callable[[Any, Minute], PerRequest]] = {
        "Lstm": lstm,
        "Naive": naive,
        "Seasonal": seasonal,
        "WeekMedian": week_median,
        "Median": median,
    }
    return functools.partial(plans[kind], load_model(record, folder))


def agrees(fast: FastCandidate, probes: list[dict[str, Any]]) -> bool:
    """Are the forecasts of ``probes`` what the candidate's own code gave?"""
    for probe in probes:
        found = fast.predict(np.array(probe["window"]), datetime.fromisoformat(probe["end"]))
        wanted = (np.array(probe["p50"]), np.array(probe["p90"]))
        if not all(np.allclose(*pair, rtol=TOLERANCE, atol=1e-9) for pair in zip(found, wanted, strict=True)):
            return False
    return bool(probes)
