"""Thirty days of metrics from before the rehearsal, written into Prometheus' data folder before it starts.

The history is what the plant would have exported had it run all the time with the estate's start replicas: the same
demand, the same queue, the same edge devices, up to the present minute. Request counters have a sample a minute,
device power one every four, latency histograms one every five minutes. They carry the labels of a scrape of the job
``akidb``, without an ``instance``. The plant's own counters start at zero, which ``rate`` takes for a restart.
What pods used in the last week is ``usage_history.py``'s.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from include.estate import Estate
from lab.service import devices, usage_history
from lab.service.counters import OK
from lab.service.queueing import load_of
from lab.service.serving import EDGES
from lab.service.traffic import Demand, demand_of, plant_start
from lab.service.usage import PROTOCOLS

DAYS = 30
MINUTES_PER_HISTOGRAM = 5
# promtool reads the whole file once for each block, so fewer and longer blocks are faster (it takes the largest of
# its own durations below this: 1,458 h).
MAX_BLOCK_DURATION = "1500h"
TIMEOUT_SECONDS = 120


class HistoryError(RuntimeError):
    """The history could not be written; the message says what promtool said and what to do."""


def backfill(
    promtool: Path,
    data_dir: Path,
    estate: Estate,
    regions: Sequence[str],
    now: float,
    *,
    days: int = DAYS,
    start: str | float = "peak",
    trace: Path | None = None,
    stretch: float = 1.0,
) -> float:
    """Write ``days`` of history that ends at ``now`` (clock, Unix seconds) into ``data_dir``; returns the seconds.

    ``start`` and ``trace`` are the plant's options of these names; give both the same, so that demand runs on without
    a jump; ``stretch`` multiplies the time that promtool may take. ``data_dir`` must not be in use by a running
    Prometheus. Raises HistoryError.
    """
    begun = time.monotonic()
    data_dir.mkdir(parents=True, exist_ok=True)
    demand = demand_of(estate, trace)
    shift = plant_start(start, now) - now
    with tempfile.TemporaryDirectory(dir=data_dir.parent, prefix="history-") as folder:
        text = Path(folder) / "history.txt"
        with text.open("w", encoding="utf-8") as file:
            for region in regions:
                file.writelines(samples(estate, demand, region, minutes(now, days), shift))
                file.writelines(usage_history.samples(estate, demand, region, minutes(now, days), shift))
            file.writelines(devices.history(estate, minutes(now, days), shift))
            file.write("# EOF\n")
        create_blocks(promtool, text, data_dir, TIMEOUT_SECONDS * stretch)
    return time.monotonic() - begun


def minutes(now: float, days: int) -> range:
    """The full minutes (Unix seconds) of ``days`` that end at or before ``now``: the times of the samples."""
    end = int(now // 60) * 60
    return range(end - (days * 1440 - 1) * 60, end + 1, 60)


def samples(estate: Estate, demand: Demand, region: str, times: range, shift: float) -> Iterator[str]:
    """OpenMetrics lines of one region; ``shift`` is plant time less clock time, in seconds."""
    workloads = {name: w for name, w in estate.workloads.items() if name in PROTOCOLS}
    total = sum(workload.replicas for workload in workloads.values())
    labels = f'region="{region}",namespace="{estate.namespace}",job="akidb",instance="akidb"'
    offered = [demand.qps(region, moment - 30 + shift) for moment in times]
    for name, workload in workloads.items():
        share = workload.replicas / total
        rates = [load_of(qps * share, workload.replicas, estate.traffic.replica_qps).accepted_qps for qps in offered]
        yield from _counter(PROTOCOLS[name], labels, times, rates)
        yield from _histogram(PROTOCOLS[name], labels, times, rates, workload.replicas, estate.traffic.replica_qps)


def _counter(protocol: str, labels: str, times: range, rates: Sequence[float]) -> Iterator[str]:
    series = f'akidb_{protocol}_requests_total{{{labels},status="{OK}"}}'
    count = 0.0
    for moment, rate in zip(times, rates, strict=True):
        count += rate * 60
        yield f"{series} {count:.0f} {moment}\n"


def _histogram(
    protocol: str, labels: str, times: range, rates: Sequence[float], replicas: int, replica_qps: float
) -> Iterator[str]:
    """Cumulated buckets, sum and count, series by series."""
    step = MINUTES_PER_HISTOGRAM
    sampled = times[step - 1 :: step]
    steps = [sum(rates[n * step : (n + 1) * step]) / step for n in range(len(sampled))]
    loads = [load_of(rate, replicas, replica_qps) for rate in steps]
    counts = [load.accepted_qps * step * 60 for load in loads]
    name = f"akidb_{protocol}_request_duration_seconds"
    columns = {
        f'{name}_bucket{{{labels},le="{edge}"}}': [
            count * load.share_within(edge) for count, load in zip(counts, loads, strict=True)
        ]
        for edge in EDGES[protocol]
    }
    columns[f'{name}_bucket{{{labels},le="+Inf"}}'] = counts
    columns[f"{name}_count{{{labels}}}"] = counts
    columns[f"{name}_sum{{{labels}}}"] = [c * load.mean_seconds for c, load in zip(counts, loads, strict=True)]
    for series, increments in columns.items():
        value = 0.0
        for moment, increment in zip(sampled, increments, strict=True):
            value += increment
            yield f"{series} {value:.3f} {moment}\n"


def create_blocks(promtool: Path, text: Path, data_dir: Path, timeout: float) -> None:
    """Write the OpenMetrics file ``text`` into ``data_dir`` within ``timeout`` seconds. Raises HistoryError."""
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", f"--max-block-duration={MAX_BLOCK_DURATION}"]
    try:
        result = subprocess.run(
            [*map(str, command), "--quiet", str(text), str(data_dir)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HistoryError(f"promtool did not write the history ({error}): run `make setup`, then try again") from error
    if result.returncode != 0:
        said = (result.stderr or result.stdout).strip()[-500:]
        raise HistoryError(f"promtool could not write the history into {data_dir.name}: {said}")
