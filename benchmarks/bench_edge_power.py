"""What planned power modes save against the plan's thresholds, on real traffic: ``make bench`` runs it.

Writes benchmarks/results/edge_power.json. With ``--json`` it only prints one line a trace: {trace, energy_ratio,
unserved, unserved_thresholds, optimum_ratio}. Wh at the wall socket, requests of the whole fleet; ``energy_ratio`` is
ours by the plan's thresholds, ``optimum_ratio`` the clairvoyant optimum by the same thresholds, both with MEASURED.

A trace is scaled so that its highest minute is 80 % of 1,650 QPS, and split evenly between five devices. Both sides
look once a minute and know the minutes before. Ours is what runs on the devices: the schedule of the day, planned from
the days that are over, and the agent's own policy (jetson_tasks) on top of it. The optimum plans with the day's true
load. The energy of switching itself is counted on neither side: nobody has measured it.

The plan's thresholds are 300 and 100 QPS. They are read as QPS of a device, as their modes' QPS are; the results also
have them read as QPS of the fleet, as the plan's own hours suggest.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_lab_boot import machine
from include.forecast.traffic.series import load_series
from include.levers.edge_power import planner
from include.levers.edge_power.forecasts import day_ahead
from include.levers.edge_power.modes import Mode, Table, worth_having
from include.levers.edge_power.planner import Loads, Schedule, Switching
from jetson_tasks.desired import LoadSource, ModeFigures, Policy
from jetson_tasks.policy import choose

RESULTS = Path(__file__).parent / "results"
TRACES = Path(__file__).parents[2] / "shared" / "data" / "traffic"
FILES = {
    "worldcup98": "worldcup98_1min.csv.gz",
    "nasa": "nasa_http_1995_1min.csv.gz",
    "ms_mongodb_app1": "ms_mongodb_app1_2018_1min.csv.gz",
}
DEVICES, FLEET_QPS, PEAK_SHARE = 5, 1650, 0.8
BOUNDS = (100.0, 300.0)  # the plan's thresholds
EFFICIENCY = 0.75  # of the carrier between wall socket and board, as the source below says; no ratio depends on it
DAY = 1440
UTILISATION, HYSTERESIS, DWELL_SECONDS = 0.9, 0.1, 300

# Watts: ARK-Electronics/ark_jetson_kernel, its page on power: Orin NX 16 GB, L4T 36.5, one lab, one idle figure for all
# modes; these three switch without a reboot. Requests/s: ASSUMPTION, since that lab measured none: the plan's ratio of
# its three modes (330 : 220 : 120), by rank.
MEASURED: Table = (Mode("25W", 4.6, 16.9, 120), Mode("40W", 4.6, 27.6, 220), Mode("MAXN_SUPER", 4.6, 29.4, 330))
# The same watts with requests/s by the clocks that the same source gives: of the GPU (408, 1173, 1173 MHz) ...
BY_GPU: Table = (Mode("25W", 4.6, 16.9, 114.8), Mode("40W", 4.6, 27.6, 329.9), Mode("MAXN_SUPER", 4.6, 29.4, 330))
# ... or of the CPU (1498, 1498, 1984 MHz).
BY_CPU: Table = (Mode("25W", 4.6, 16.9, 249.1), Mode("40W", 4.6, 27.6, 249.2), Mode("MAXN_SUPER", 4.6, 29.4, 330))
# The plan's: its labels as watts, whatever the load; a hair of slope, since a mode has to have one.
PLAN: Table = (Mode("7W", 7 - 1e-6, 7, 120), Mode("15W", 15 - 1e-6, 15, 220), Mode("MAXN", 25 - 1e-6, 25, 330))
TABLES = {
    "measured": MEASURED,
    "measured, QPS by GPU clock": BY_GPU,
    "measured, QPS by CPU clock": BY_CPU,
    "plan": PLAN,
}
READINGS = {"device": BOUNDS, "fleet": tuple(bound / DEVICES for bound in BOUNDS)}


@dataclass(frozen=True)
class Used:
    """What a schedule used of one trace: Wh at the wall socket and requests unserved, of the whole fleet."""

    wh: float
    unserved: float

    @classmethod
    def of(cls, schedule: Schedule, load: Loads, table: Table) -> Used:
        """All minutes whose load was observed."""
        wh = planner.energy_wh(schedule, load, table, EFFICIENCY)
        return cls(wh * DEVICES, planner.unserved(schedule, load, table) * DEVICES)


def device_load(path: Path) -> Loads:
    """QPS of one device, [minutes]; NaN where nothing was observed."""
    values = load_series(path).values
    return (values / np.nanmax(values) * FLEET_QPS * PEAK_SHARE / DEVICES).astype(np.float32)


def by_day(load: Loads) -> Loads:
    """[days, 1440], the last day filled with NaN."""
    days = np.full((-(-len(load) // DAY), DAY), np.nan, np.float32)
    days.reshape(-1)[: len(load)] = load
    return days


def planned(days: Loads, table: Table) -> Schedule:
    """The schedule of each day from the days before it, [1440, days]; of the first day nothing is known."""
    likely, need = np.full((2, *days.shape), np.nan, np.float32)
    for day in range(1, len(days)):
        ahead = day_ahead(days[:day])
        likely[day], need[day] = ahead.load, ahead.need
    loads = (planner.complete(part.T, table) for part in (likely, need))
    return planner.plan(*loads, table, Switching(dwell_minutes=DWELL_SECONDS // 60))


def optimum(days: Loads, table: Table) -> Schedule:
    """The cheapest schedule by the true load, each day by itself, [1440, days]."""
    load = planner.complete(days.T, table)
    return planner.plan(load, load, table, Switching(dwell_minutes=DWELL_SECONDS // 60))


def flat(schedule: Schedule, minutes: int) -> Schedule:
    """[minutes] of a schedule by day."""
    return schedule.T.reshape(-1)[:minutes]


def carried_out(schedule: Schedule, load: Loads, table: Table) -> Schedule:
    """What a device makes of its schedule with the agent's policy, a look a minute, [minutes]."""
    rows = tuple(ModeFigures(m.name, m.full_watts, m.capacity_qps, m.idle_watts) for m in table)
    policy = Policy(rows, UTILISATION, HYSTERESIS, DWELL_SECONDS, 180, LoadSource("file", "", ""))
    place = {mode.name: number for number, mode in enumerate(table)}
    done, since = [int(schedule[0])], 60.0
    for scheduled, known in zip(schedule[1:].tolist(), load[:-1].tolist(), strict=True):
        current = table[done[-1]].name
        # A load that is unknown changes nothing.
        chosen = current if known != known else choose(policy, known, current, table[scheduled].name, since).mode
        since = since + 60 if chosen == current else 60.0
        done.append(place[chosen])
    return np.array(done, np.uint8)


def compare(load: Loads, table: Table) -> dict[str, Any]:
    """Ours, the optimum, and the thresholds in both readings, of one trace and one table."""
    useful, days, minutes = worth_having(table), by_day(load), len(load)
    ours = Used.of(carried_out(flat(planned(days, useful), minutes), load, useful), load, useful)
    best = Used.of(flat(optimum(days, useful), minutes), load, useful)
    found: dict[str, Any] = {"wh": round(ours.wh), "unserved": round(ours.unserved)}
    for reading, bounds in READINGS.items():
        theirs = Used.of(planner.by_thresholds(load[:, None], bounds, len(table) - 1)[:, 0], load, table)
        found[reading] = {
            "energy_ratio": round(ours.wh / theirs.wh, 4),
            "optimum_ratio": round(best.wh / theirs.wh, 4),
            "unserved_thresholds": round(theirs.unserved),
        }
    return found


def line(trace: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """The line of a trace for other programs."""
    device = found["device"]
    return {
        "trace": trace,
        "energy_ratio": device["energy_ratio"],
        "unserved": found["unserved"],
        "unserved_thresholds": device["unserved_thresholds"],
        "optimum_ratio": device["optimum_ratio"],
    }


def planning_seconds(devices: int = 500, days: int = 30) -> float:
    """How long it takes to plan so many days of so many devices, each with a load of its own."""
    dice = np.random.default_rng(14)
    load = dice.uniform(0, FLEET_QPS * PEAK_SHARE / DEVICES, (DAY, devices * days)).astype(np.float32)
    begun = time.perf_counter()
    planner.plan(load, load, PLAN, Switching())
    return round(time.perf_counter() - begun, 2)


def traces(folder: Path) -> Iterator[tuple[str, Loads | None]]:
    """The load of one device by trace; None where the file is absent."""
    for name, file in FILES.items():
        yield name, device_load(folder / file) if (folder / file).is_file() else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line a trace; without ``--json`` compare all tables, and keep the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_edge_power", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON line a trace, and nothing is written")
    parser.add_argument("--traces", type=Path, default=TRACES, help="folder with the traffic traces")
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {"machine": machine(), "traces": {}}
    for name, load in traces(options.traces):
        if load is None:
            print(f"{name}: skipped, {FILES[name]} is not in {options.traces.name}/", file=sys.stderr)
        elif options.json:
            print(json.dumps(line(name, compare(load, MEASURED))), flush=True)
        else:
            result["traces"][name] = {title: compare(load, table) for title, table in TABLES.items()}
    if not options.json:
        result["planning"] = {"devices": 500, "days": 30, "seconds": planning_seconds()}
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "edge_power.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
