"""How good the forecasts are on real traffic, how long training takes, and how long a forecast: ``make bench``.

Writes benchmarks/results/forecast.json. The traces are not part of the project: without ../shared/data this says so
and ends. Limits of the issue: 60 minutes in all, 10 minutes an LSTM.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from benchmarks.bench_lab_boot import machine
from include.forecast.benchmark import run, traces
from include.forecast.candidates.lstm import LstmSettings
from include.forecast.traffic.series import load_series
from include.forecast.training import TrainingSettings, train_candidates

TRACES = Path(__file__).parents[2] / "shared" / "data" / "traffic"
RESULTS = Path(__file__).parent / "results"


def request_milliseconds(path: Path, count: int = 200) -> dict[str, dict[str, float]]:
    """P50 and P99 of one forecast by every candidate: one hour in, 15 minutes out, eight days of history."""
    short = LstmSettings(epochs=1, windows=500)
    trained = train_candidates(load_series(path), TrainingSettings(lstm=short))
    series = trained.series
    found = {}
    for name, candidate in trained.candidates.items():
        first = len(series) - candidate.lookback
        values, times = series.values[first:], [series.at(index) for index in range(first, len(series))]
        taken = []
        for _ in range(count):
            begun = time.perf_counter()
            candidate.predict(values, times)
            taken.append(1000 * (time.perf_counter() - begun))
        found[name] = {"p50": round(float(np.median(taken)), 2), "p99": round(float(np.quantile(taken, 0.99)), 2)}
    return found


def measure() -> dict[str, object]:
    """Every trace with the whole path, then the time of a request."""
    begun = time.monotonic()
    lines = []
    for path in traces(TRACES):
        lines.append(run(path, TrainingSettings()))
        print(json.dumps(lines[-1]), flush=True)
    seconds = time.monotonic() - begun
    shortest = min(traces(TRACES), key=lambda path: path.stat().st_size)
    return {
        "machine": machine(),
        "seconds": round(seconds),
        "traces": lines,
        "request_milliseconds": request_milliseconds(shortest),
    }


if __name__ == "__main__":
    if TRACES.exists():
        result = measure()
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "forecast.json").write_text(json.dumps(result, indent=1) + "\n")
    else:
        print(f"{TRACES} is not there: no real traffic to measure on")
