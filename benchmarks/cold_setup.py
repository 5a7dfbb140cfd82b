"""A cold build of the lab's programs: seconds of the clock and of the processor.

    python -m benchmarks.cold_setup [--programs keda-operator,keda-adapter] [--checkout PATH] [--name after]

builds into a cache of its own that is removed at the end, and writes its figures under the name into
benchmarks/results/cold_setup.json. ``--checkout`` measures another checkout (the one before a change) with its own
code, back to back on the same machine. Not part of `make bench`: it takes as long as the first set-up.

Modules come from the proxy that GOPROXY names: ``file://$(go env GOMODCACHE)/cache/download`` leaves the network out.
On a machine with other work the clock says how busy it was; the processor's seconds compare.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "cold_setup.json"
LOOK_SECONDS = 5.0
# Runs in the measured checkout; before `lab.machine.build` there was `lab.machine.programs` alone.
PROGRAM = """
import json, os, sys
from lab.machine import programs
try:
    from lab.machine import build
except ImportError:
    build = programs
wanted = set(filter(None, os.environ["WANTED"].split(",")))
if wanted:
    programs.PROGRAMS = tuple(p for p in programs.PROGRAMS if p.name in wanted)
    groups = {p.group for p in programs.PROGRAMS}
    programs.SHARED_FILES = {n: f for n, f in programs.SHARED_FILES.items() if f[0] in groups}
print(json.dumps(build.provide_all(lambda line: print(line, file=sys.stderr, flush=True))))
"""


class Disk(threading.Thread):
    """How much of the disk of ``folder`` was taken at most; other work on the disk counts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.largest_mib, self.over = folder, 0.0, threading.Event()
        self.before = shutil.disk_usage(folder).free

    def taken_mib(self) -> float:
        """Since the start."""
        return (self.before - shutil.disk_usage(self.folder).free) / 2**20

    def run(self) -> None:
        while not self.over.wait(LOOK_SECONDS):
            self.largest_mib = max(self.largest_mib, self.taken_mib())


def measure(checkout: Path, wanted: str) -> dict[str, Any]:
    """Build into an empty cache; raises CalledProcessError when a build fails."""
    folder = Path(tempfile.mkdtemp(prefix="akidb-cold-"))
    settings = {"AKIDB_CACHE": str(folder / "akidb"), "WANTED": wanted, "PYTHONPATH": str(checkout), "LAB_PROGRAMS": ""}
    go = {"GOCACHE": str(folder / "gocache"), "GOMODCACHE": str(folder / "modules")}
    disk = Disk(folder)
    disk.start()
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=checkout,
            env={**os.environ, **settings, **go},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        left = disk.taken_mib()
    finally:
        disk.over.set()
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)  # the module cache of old checkouts
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "largest_mib": round(disk.largest_mib),
        "left_mib": round(left),
        "steps": json.loads(done.stdout.splitlines()[-1]),
        "programs": wanted or "all",
        "cores": os.cpu_count(),
        "load_average_at_end": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Measure one checkout and add its figures to the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", default="", help="names, separated by commas; all by default")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="whose code builds (default: this one)")
    parser.add_argument("--name", default="after", help="of the figures in the file")
    options = parser.parse_args()
    found = measure(options.checkout.resolve(), options.programs)
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    known[options.name] = found
    RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
