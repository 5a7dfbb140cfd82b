"""The load step: more than the plan's 600 requests/s, times the estate's demand scale, in each region at once.

The plan wants "more than 600 QPS" of a service whose peak it puts at 550. The lab's demand is that shape times
``demand_scale``, and so is what is wanted here.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.estate import Estate
from include.pages.table import aligned
from lab.rehearsal.served import Moment
from lab.service.faults import FAULTS_FILE

WANTED_QPS = 600  # the plan's, of its own shape
MORE = 1.04  # than wanted: the minute's noise (0.07 at most, 0.02 as a rule) must not decide
SETTLE_SECONDS, MEASURED_SECONDS = 45, 30  # for autoscaler and nodes; over which it is counted


@dataclass(frozen=True)
class Throughput:
    """A region under the load step. Requests a second; ``p95_ms`` None without data."""

    asked_qps: float
    served_qps: float
    wanted_qps: float
    seconds: float
    p95_ms: float | None = None

    @property
    def reached(self) -> bool:
        """Whether more than wanted was served."""
        return self.served_qps > self.wanted_qps

    def figures(self) -> dict[str, Any]:
        """The figures on record, beside ``kind``."""
        return {
            "asked_qps": round(self.asked_qps, 1),
            "served_qps": round(self.served_qps, 1),
            "wanted_qps": round(self.wanted_qps, 1),
            "seconds": round(self.seconds, 1),
            "p95_ms": self.p95_ms,
        }


def wanted_qps(estate: Estate) -> float:
    """What a region has to serve more than."""
    return WANTED_QPS * estate.demand_scale()


def factor(estate: Estate) -> float:
    """What the demand is multiplied by, so that its weekday peak is ``MORE`` than wanted."""
    return MORE * WANTED_QPS / max(estate.traffic.weekday_qps)


@contextmanager
def stepped(folder: Path, regions: Sequence[str], times: float) -> Any:
    """The demand of ``regions`` times ``times`` until the block ends."""
    plant_faults(folder, {region: {"load_factor": times} for region in regions})
    try:
        yield
    finally:
        plant_faults(folder, {})


def plant_faults(folder: Path, faults: Mapping[str, Any]) -> None:
    """Have the plant of the lab in ``folder`` follow ``faults``, by region; none lifts all of them."""
    partial = folder / "plant_faults.partial"
    partial.write_text(json.dumps(faults), encoding="utf-8")
    partial.replace(folder / FAULTS_FILE)


def measured(
    look: Callable[[], Moment],
    check_alive: Callable[[], None],
    settle_seconds: float = SETTLE_SECONDS,
    seconds: float = MEASURED_SECONDS,
) -> tuple[Moment, Moment]:
    """The counters at both ends of the measured part of a load step."""
    wait(settle_seconds, check_alive)
    before = look()
    wait(seconds, check_alive)
    return before, look()


def wait(seconds: float, check_alive: Callable[[], None]) -> None:
    """Wait while everything lives."""
    pause, until = threading.Event(), time.monotonic() + seconds
    while time.monotonic() < until:
        check_alive()
        pause.wait(min(1.0, max(0.0, until - time.monotonic())))


def throughputs(
    before: Moment, after: Moment, wanted: float, p95_ms: Mapping[str, float | None]
) -> dict[str, Throughput]:
    """Each region's throughput between two moments."""
    seconds = after.at - before.at
    return {
        region: Throughput(found.asked / seconds, found.served / seconds, wanted, seconds, p95_ms.get(region))
        for region, found in after.since(before).items()
    }


def table(found: Mapping[str, Throughput]) -> str:
    """What was asked and served in each region."""
    rows: list[Sequence[str]] = [("region", "asked/s", "served/s", "wanted: more than", "P95 ms")]
    for region, one in found.items():
        p95 = "unknown" if one.p95_ms is None else f"{one.p95_ms:.1f}"
        rows.append((region, f"{one.asked_qps:,.0f}", f"{one.served_qps:,.0f}", f"{one.wanted_qps:,.0f}", p95))
    return aligned(rows, right={1, 2, 3, 4})
