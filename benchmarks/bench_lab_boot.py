"""How long three regions take to boot and to end, and what memory they hold: ``make bench`` runs it.

Writes benchmarks/results/lab_boot.json. Limits of the issue: 90 s, 6 GiB, nothing left behind.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from pathlib import Path

import psutil

from lab import world as worlds

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def measure() -> dict[str, object]:
    """Boot all regions, let them settle for one scrape, measure, and end them."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        world = worlds.up([], worlds.Options(folder=Path(folder)))
        booted = time.monotonic() - begun
        memory = world.processes.memory_bytes()
        pids = [entry.pid for entry in world.processes.registered()]
        begun = time.monotonic()
        world.down()
        ended = time.monotonic() - begun
        left = [pid for pid in pids if psutil.pid_exists(pid)]
        files = sorted(path.name for path in Path(folder).iterdir() if path.name != "logs")
    return {
        "machine": machine(),
        "regions": len(world.state["regions"]),
        "boot_seconds": round(booted, 1),
        "parts": world.seconds,
        "down_seconds": round(ended, 1),
        "memory_gib": round(sum(memory.values()) / 2**30, 2),
        "memory_mib": {name: round(size / 2**20) for name, size in sorted(memory.items())},
        "processes_left": len(left),
        "files_left": files,
    }


if __name__ == "__main__":
    result = measure()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "lab_boot.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "memory_mib"}, indent=1))
