"""``python -m lab up|down|status``: the rehearsal world by hand."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from include.estate import EstateError
from lab import world
from lab.machine.processes import Crashed, Processes
from lab.machine.programs import BuildError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="lab", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status"])
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("LAB_DIR") or world.DEFAULT_FOLDER))
    parser.add_argument("--regions", default=os.environ.get("REGIONS", ""), help="comma-separated; all by default")
    parser.add_argument("--trace", type=Path, default=os.environ.get("TRACE") or None, help="CSV of traffic to replay")
    parser.add_argument("--time-scale", type=float, default=1.0)
    parser.add_argument("--edge-30ms", action="store_true", help="give the latency histogram an edge at 30 ms")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except (BuildError, Crashed, EstateError, RuntimeError, TimeoutError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    folder: Path = options.folder.resolve()
    if options.command == "down":
        world.take_down(folder)
        return 0
    if options.command == "status":
        processes = Processes(folder)
        processes.check()
        memory = processes.memory_bytes()
        for name, size in sorted(memory.items()):
            print(f"{size / 2**20:8.0f} MiB  {name}")
        print(f"{sum(memory.values()) / 2**20:8.0f} MiB  in all")
        return 0
    regions = [name for name in options.regions.replace(",", " ").split() if name]
    booted = world.up(
        regions,
        world.Options(folder=folder, trace=options.trace, time_scale=options.time_scale, edge_30ms=options.edge_30ms),
    )
    for name, region in booted.state["regions"].items():
        print(f"{name}: {region['apiserver']}, KUBECONFIG={region['kubeconfig']}")
    print(f"Prometheus {booted.state['prometheus']}, AWS {booted.state['aws_endpoint']}, plant {booted.state['plant']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
