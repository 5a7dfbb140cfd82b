"""Demand on AkiDB: the plan's daily pattern with seeded noise, or a recorded trace. Pure functions of region and time.

Times are plant time: Unix seconds whose UTC hour and weekday the pattern follows. Plant time need not be the
clock's: ``plant_start`` says where a rehearsal begins.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from include.estate import Estate, Traffic

# Demand moves between two hourly levels over 20 minutes around the full hour: users don't arrive in a step.
RAMP_SECONDS = 1200
NOISE_STANDARD_DEVIATION = 0.02
PEAK_HOUR = 10
SATURDAY = 5
DAY = 86400


class TraceError(ValueError):
    """A trace can't be replayed; the message names the file, the line and the remedy."""


class Demand(Protocol):
    """Offered load of a region."""

    def qps(self, region: str, plant_time: float) -> float:
        """Requests per second that all clients of ``region`` offer at ``plant_time`` (Unix seconds)."""


def plant_start(mode: str | float, now: float) -> float:
    """Plant time at clock time ``now``: ``now`` itself, 10:00 UTC of the last weekday (``peak``), or the number given.

    A rehearsal at night or on a Sunday would meet so little demand that half of the pods could carry it; ``peak``
    makes every rehearsal face the weekday peak. Raises ValueError for another mode.
    """
    if isinstance(mode, int | float):
        return float(mode)
    if mode == "now":
        return now
    if mode != "peak":
        raise ValueError(f"start must be 'peak' or 'now', not {mode!r}")
    peak = datetime.fromtimestamp(now, UTC).replace(hour=PEAK_HOUR, minute=0, second=0, microsecond=0)
    while peak.timestamp() > now or peak.weekday() >= SATURDAY:
        peak -= timedelta(days=1)
    return peak.timestamp()


def hourly_level(traffic: Traffic, hour: int) -> float:
    """The plan's QPS in the ``hour`` since 1970 (UTC): the weekday's level, at weekends capped."""
    weekday = (hour // 24 + 3) % 7  # 1970-01-01 was a Thursday
    return traffic.planned_qps(hour % 24, weekend=weekday >= SATURDAY)


def shape(traffic: Traffic, plant_time: float) -> float:
    """The plan's QPS at ``plant_time``, with ramps between the hourly levels and without noise or scale."""
    hour, second = divmod(plant_time, 3600)
    here, half = int(hour), RAMP_SECONDS / 2
    if second < half:
        before, after, progress = here - 1, here, 0.5 + second / RAMP_SECONDS
    elif second > 3600 - half:
        before, after, progress = here, here + 1, (second - 3600 + half) / RAMP_SECONDS
    else:
        return hourly_level(traffic, here)
    start, end = hourly_level(traffic, before), hourly_level(traffic, after)
    return start + (end - start) * progress


def noise(region: str, plant_time: float) -> float:
    """A factor around 1 that depends on region and minute only: mean 1, deviation 0.02, always within 0.07 of 1."""
    digest = hashlib.blake2b(f"{region}/{int(plant_time // 60)}".encode(), digest_size=8).digest()
    # The sum of four uniform numbers is close to normal, has mean 2 and deviation sqrt(1/3), and is bounded.
    total = sum(int.from_bytes(digest[i : i + 2], "big") for i in range(0, 8, 2)) / 65536
    return 1 + NOISE_STANDARD_DEVIATION * math.sqrt(3) * (total - 2)


@dataclass(frozen=True)
class Pattern:
    """The estate's daily and weekly pattern, the same in UTC for each region, times ``scale``."""

    traffic: Traffic
    scale: float

    def qps(self, region: str, plant_time: float) -> float:
        """Requests per second of ``region`` at ``plant_time``."""
        return shape(self.traffic, plant_time) * noise(region, plant_time) * self.scale


@dataclass(frozen=True)
class Trace:
    """A recorded load, replayed modulo its length: ``values`` in QPS, one every ``step`` seconds from ``start``."""

    values: tuple[float, ...]
    step: float
    start: float

    def qps(self, region: str, plant_time: float) -> float:  # noqa: ARG002 - as every Demand
        """Requests per second at ``plant_time``; every region gets the same."""
        return self.values[int((plant_time - self.start) // self.step) % len(self.values)]


def demand_of(estate: Estate, trace: Path | None = None) -> Demand:
    """The demand that the plant replays: the estate's pattern, or ``trace`` scaled to the estate's weekday peak."""
    scale = estate.demand_scale()
    if trace is None:
        return Pattern(estate.traffic, scale)
    return load_trace(trace, peak_qps=max(estate.traffic.weekday_qps) * scale)


def load_trace(path: Path, peak_qps: float) -> Trace:
    """Read a CSV with ``timestamp`` and ``requests_per_minute`` or ``qps`` (``.gz`` too).

    The trace is scaled so that its 99th percentile equals ``peak_qps``; its unit therefore does not matter. Higher
    values stay: a trace with spikes above twice its 99th percentile overloads the estate. A value that was not
    observed repeats the one before. Raises TraceError.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            return parse_trace(path.name, file, peak_qps)
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"trace {path.name} can't be read ({error}): give a CSV file, or one with gzip") from error


def parse_trace(name: str, lines: Iterable[str], peak_qps: float) -> Trace:
    """``load_trace`` on lines of text."""
    reader = csv.DictReader(lines)
    columns = reader.fieldnames or []
    column = next((c for c in ("qps", "requests_per_minute") if c in columns), None)
    if column is None or "timestamp" not in columns:
        raise TraceError(
            f"trace {name} has the columns {', '.join(columns) or '(none)'}: "
            "it needs timestamp and one of qps, requests_per_minute"
        )
    times: list[float] = []
    values: list[float | None] = []
    for number, row in enumerate(reader, 2):
        try:
            times.append(_unix(row["timestamp"]))
            values.append(float(row[column]) if row[column] else None)
        except (TypeError, ValueError) as error:
            raise TraceError(f"trace {name} line {number}: {error}: correct or remove the line") from error
    return _scaled(name, times, values, peak_qps)


def _unix(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _scaled(name: str, times: list[float], values: list[float | None], peak_qps: float) -> Trace:
    steps = {later - earlier for earlier, later in pairwise(times)}
    if len(steps) != 1 or min(steps) <= 0:
        raise TraceError(f"trace {name} must have 2 or more rows on a regular, rising grid of timestamps")
    observed = sorted(value for value in values if value is not None)
    if not observed or observed[0] < 0:
        raise TraceError(f"trace {name} has no observed value, or one below zero: correct the file")
    percentile = observed[math.ceil(0.99 * len(observed)) - 1]
    if percentile == 0:
        raise TraceError(f"trace {name} is zero in 99 % of its rows: it can't be scaled to {peak_qps:g} QPS")
    last = next(value for value in values if value is not None)
    filled = []
    for value in values:
        last = last if value is None else value
        filled.append(last * peak_qps / percentile)
    return Trace(tuple(filled), steps.pop(), times[0])
