"""``python -m lab.surge``: boot one region, replay the surges, print and write what came of them, take all down."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from include.estate import Estate, EstateError, load_estate
from lab import world as worlds
from lab.machine.processes import Crashed
from lab.machine.programs import BuildError
from lab.service.traffic import TraceError
from lab.surge import pace as paces
from lab.surge import report as texts
from lab.surge.replay import drill, start_replicas
from lab.surge.scenario import SYNTHETIC, Surge, burst, morning, synthetic_trace
from lab.surge.stage import SurgeStage

SHARED_TRACE = worlds.REPOSITORY.parent / "shared" / "data" / "traffic" / "worldcup98_1min.csv.gz"
RESULT = "surge.json"
KINDS = {"morning": ("morning",), "burst": ("burst",), "both": ("morning", "burst")}


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="lab.surge", description="Replay a surge with and without the forecast.")
    parser.add_argument("--surge", choices=KINDS, default=os.environ.get("SURGE") or "both")
    parser.add_argument("--trace", type=Path, default=os.environ.get("TRACE") or None, help="CSV for the burst")
    parser.add_argument("--region", default="", help="a region of the estate; the canary by default")
    parser.add_argument("--profile", default="none", help="how the champion is trained: none (no network), quick, fast")
    parser.add_argument("--time-scale", type=float, default=paces.TIME_SCALE, help="how much faster plant time passes")
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("LAB_DIR") or worlds.DEFAULT_FOLDER))
    parser.add_argument("--json", type=Path, help="where the report is written; results/surge.json in the lab's folder")
    parser.add_argument("--markdown", type=Path, help="where the tables are written as Markdown")
    given = parser.parse_args(arguments)
    given.json = given.json or worlds.results_folder(given.folder) / RESULT
    return given


def chosen(asked: argparse.Namespace, estate: Estate) -> list[Surge]:
    """The surges that were asked for. Raises SurgeError and TraceError for a trace that can't be used."""
    return [morning() if kind == "morning" else burst(estate, trace_of(asked)) for kind in KINDS[asked.surge]]


def trace_of(asked: argparse.Namespace) -> Path:
    """The trace given, that of the shared data where they are, or one made up in the lab's folder."""
    if asked.trace:
        return Path(asked.trace).resolve()
    if SHARED_TRACE.is_file():
        return SHARED_TRACE
    path: Path = asked.folder.resolve() / f"{SYNTHETIC}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(synthetic_trace(), encoding="utf-8")
    return path


def run(asked: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything between the command line and the report."""
    estate = load_estate()
    region = asked.region or estate.canary_region
    pace = paces.pace_of(estate, asked.time_scale)
    surges = chosen(asked, estate)
    report: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "region": region,
        "time_scale": pace.time_scale,
        "profile": asked.profile,
        "waits": [wait.shown(pace.time_scale) for wait in paces.waits(estate, pace)],
        "not_scaled": paces.NOT_SCALED,
        "surges": [],
    }
    begun = time.monotonic()
    world = worlds.up([region], boot_options(asked.folder.resolve(), pace))
    try:
        stage = SurgeStage(world, region, pace)
        stage.day_one(start_replicas(stage, surges[0], stage.scaling(use_forecast=False)))
        say("capacity as day 1 leaves it")
        for surge in surges:
            report["surges"].append(drill(stage, surge, asked.profile, say))
            report["seconds"] = round(time.monotonic() - begun, 1)
            write(asked, report)  # what is known stays known when the next surge fails
    finally:
        world.down()
    return report


def write(asked: argparse.Namespace, report: Mapping[str, Any]) -> None:
    """Write the report where the command line wants it."""
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if asked.markdown:
        asked.markdown.write_text(texts.markdown(report) + "\n", encoding="utf-8")


def boot_options(folder: Path, pace: paces.Pace) -> worlds.Options:
    """A world at the drill's pace, without a history: every replay brings its own."""
    return worlds.Options(
        folder=folder,
        history_days=0,
        node_boot_seconds=pace.node_boot,
        pod_start_seconds=pace.pod_start,
        pod_stop_seconds=pace.pod_stop,
        autoscaler_sync_seconds=pace.autoscaler_sync,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the drill; returns the exit status. A forecast that doesn't help is a result, and no failure."""
    asked = options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: everything is taken down
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begun:6.0f} s] {text}", flush=True)

    try:
        report = run(asked, say)
    except (BuildError, Crashed, EstateError, RuntimeError, TimeoutError, TraceError, ValueError) as error:
        print(f"surge: {error}", file=sys.stderr)
        return 1
    print(f"\n{texts.text(report)}\n\nreport: {asked.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
