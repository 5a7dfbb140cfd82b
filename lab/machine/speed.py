"""How fast this machine is now, and by how much the lab's time-outs are stretched (``python -m lab.machine.speed``).

Machines differ, and neighbours take their share. So each limit in the lab is what the reference machine needs, and is
multiplied by how much longer a fixed piece of work takes here and now, on as many cores at once as the reference has.
Only limits are stretched: what a gate compares with, and how long a soak lasts, are the same on every machine.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

CORES = 2  # of the reference machine, docs/measurements.md; the work runs on each of them at the same time
REFERENCE_SECONDS = 0.97  # what WORK takes there with nothing else running
LONGEST_STRETCH = 8.0  # a machine that is slower than this is stuck, and waiting longer would only hide it
WORK = """
import time
begun, total = time.perf_counter(), 0
for number in range(8_000_000):
    total += number * number % 7
print(time.perf_counter() - begun)
"""


@dataclass(frozen=True, order=True)
class Speed:
    """``seconds``: how long the fixed work took here."""

    seconds: float

    @property
    def share(self) -> float:
        """The speed as a share of the reference machine's; above 1 for a faster one."""
        return REFERENCE_SECONDS / self.seconds

    @property
    def stretch(self) -> float:
        """What a time-out is multiplied by: at least 1, at most LONGEST_STRETCH."""
        return min(LONGEST_STRETCH, max(1.0, self.seconds / REFERENCE_SECONDS))

    def __str__(self) -> str:
        return f"this machine: {self.share:.2f} of the reference; time-outs x {self.stretch:.1f}"


def measure() -> Speed:
    """Do the fixed work on CORES cores at once; the slowest counts, since a run waits for its slowest part."""
    return slowest([_start() for _ in range(CORES)])


def _start() -> subprocess.Popen[str]:
    # Isolated and without site-packages: only the interpreter's own speed is measured.
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", WORK], stdout=subprocess.PIPE, text=True)


def slowest(workers: Sequence[subprocess.Popen[str]]) -> Speed:
    """The speed by the slowest of the started workers, each of which prints its seconds."""
    return max(Speed(float(worker.communicate()[0])) for worker in workers)


def main() -> None:
    """Show the seconds of one measurement, and what comes of them."""
    speed = measure()
    print(f"{speed.seconds:.2f} s for what the reference machine does in {REFERENCE_SECONDS} s; {speed}")


if __name__ == "__main__":
    main()
