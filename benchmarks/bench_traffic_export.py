"""How long 30 days of three regions take from a real Prometheus into Parquet: ``make bench`` runs it.

Prometheus is the lab's, with the lab's history and nothing else; the gate is Great Expectations, as in the DAG.
Writes benchmarks/results/traffic_export.json. Limit of the issue: 20 s.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.bench_lab_boot import machine
from include.clients.prometheus import Prometheus
from include.clients.storage import Folder
from include.estate import Estate, load_estate
from include.forecast.traffic.export import Exporter, days_to_export
from include.forecast.traffic.table import MINUTES, TrafficTable
from include.quality.traffic import judge_days
from lab.cluster import telemetry
from lab.machine.processes import Processes, reserved_ports
from lab.machine.programs import find
from lab.service.history import backfill

RESULTS = Path(__file__).parent / "results"
DAYS = 30
LIMIT_SECONDS = 20
# Nothing is scraped; the retention is the lab's, since the default would delete the history.
CONFIGURATION = "storage: {tsdb: {retention: {time: 60d}}}\n"


def export(url: str, estate: Estate, storage: Path, last: dt.date) -> dict[str, object]:
    """Export ``DAYS`` days of every region, one after the other; what it took and what became of the days."""
    begun, used = time.monotonic(), time.process_time()
    states: Counter[str] = Counter()
    table = TrafficTable(Folder(storage))
    for region in estate.ordered_regions():
        exporter = Exporter(Prometheus(url), estate, region, table, judge_days, time.time())
        states.update(str(outcome.state) for outcome in exporter.export(days_to_export(last, DAYS)))
    return {
        "seconds": round(time.monotonic() - begun, 2),
        "cpu_seconds": round(time.process_time() - used, 2),  # of this process, without Prometheus
        "days": dict(states),
    }


def accuracy(estate: Estate, storage: Path, last: dt.date) -> dict[str, object]:
    """Observed minutes, and the exported mean against the mean of the history's own demand."""
    from lab.service.traffic import demand_of, plant_start

    table = TrafficTable(Folder(storage))
    region = estate.canary_region
    series = table.series(region, last, last)
    shift = plant_start("peak", time.time()) - time.time()
    demand = demand_of(estate)
    start = series.index[0].timestamp()
    wanted = [demand.qps(region, start + 60 * minute + 30 + shift) for minute in range(MINUTES)]
    return {
        "observed_minutes": int(series.notna().sum()),
        "mean_qps": round(float(series.mean()), 2),
        "mean_qps_of_the_demand": round(sum(wanted) / MINUTES, 2),
    }


def measure() -> dict[str, object]:
    """Start Prometheus on a fresh history, export twice, and end it."""
    estate = load_estate()
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(Path(folder))
        try:
            with reserved_ports(1) as (port,):
                data = Path(folder) / "prometheus"
                now = time.time()
                written = backfill(
                    find("promtool"), data / "data", estate, estate.ordered_regions(), now, days=DAYS + 2
                )
                url = telemetry.start(processes, data, port, CONFIGURATION)
                last = dt.datetime.fromtimestamp(now, dt.UTC).date() - dt.timedelta(days=1)
                storage = Path(folder) / "traffic"
                first = export(url, estate, storage, last)
                again = export(url, estate, storage, last)
                facts = accuracy(estate, storage, last)
        finally:
            processes.stop_all()
    return {
        "machine": machine() | {"load_average": round(os.getloadavg()[0], 1)},
        "regions": len(estate.regions),
        "days": DAYS,
        "history_seconds": round(written, 1),
        "export": first,
        "again": again,
        "newest_day": facts,
        "limit_seconds": LIMIT_SECONDS,
    }


if __name__ == "__main__":
    result = measure()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "traffic_export.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
