"""A storm on the spot market: how much of it moved at once in the worst hour of a real day, laid on the lab's nodes.

The prices are AWS's own of one day of 2022 (``../shared/data/ec2``), when half of today's instance types didn't exist:
so a pool isn't told by its name. What is taken from them is the share of a region's pools whose price rose within the
worst hour, and when in that hour. That share of the live spot nodes gets a notice at those moments, the hour shortened.
Without the file the shape is :data:`MADE_UP`: the same every time.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lab import world

HISTORY = world.REPOSITORY.parent / "shared/data/ec2/spot_price_events_2022-05-31_linux.csv.gz"
HOUR = 3600.0
STORM_SECONDS = 20.0  # an hour of the market in the lab
LEAST_SHARE = 0.3  # a storm is felt: the estate stops a rollout from a tenth on
# Availability zones' ids begin with it.
ZONES = {
    "ap-northeast-1": "apne1",
    "us-east-1": "use1",
    "eu-central-1": "euc1",
}


@dataclass(frozen=True)
class Storm:
    """``share`` (0..1) of the pools; ``offsets``: when in the hour they moved, 0..1, rising; ``source`` says whose."""

    share: float
    offsets: tuple[float, ...]
    source: str

    def notices(self, nodes: Sequence[str], seconds: float = STORM_SECONDS) -> list[tuple[float, str]]:
        """Which nodes get a notice after how many seconds: the share of them, spread over the hour's moments."""
        count = min(len(nodes), max(1, math.ceil(self.share * len(nodes)))) if nodes else 0
        last = max(1, count - 1)
        picked = [self.offsets[round(n * (len(self.offsets) - 1) / last)] for n in range(count)]
        return [(round(at * seconds, 1), name) for at, name in zip(picked, sorted(nodes), strict=False)]


MADE_UP = Storm(LEAST_SHARE, (0.0, 0.25, 0.5, 0.75, 1.0), "made up")


@dataclass(frozen=True)
class PriceEvent:
    """A pool's new price; ``at`` in Unix seconds."""

    pool: str
    usd_hour: float
    at: float


def events_of(lines: Iterable[str], zone: str) -> list[PriceEvent]:
    """The events of the availability zones whose id begins with ``zone``, from CSV."""
    return [
        PriceEvent(
            f"{row['az_id']} {row['instance_type']}",
            float(row["price_usd_hour"]),
            dt.datetime.fromisoformat(row["timestamp"]).timestamp(),
        )
        for row in csv.DictReader(lines)
        if row["az_id"].startswith(f"{zone}-")
    ]


def rises(events: Iterable[PriceEvent]) -> list[tuple[float, str]]:
    """When which pool's price rose, by time."""
    by_pool: dict[str, list[PriceEvent]] = {}
    for event in sorted(events, key=lambda one: one.at):
        by_pool.setdefault(event.pool, []).append(event)
    found = [
        (later.at, pool)
        for pool, of in by_pool.items()
        for earlier, later in pairwise(of)
        if later.usd_hour > earlier.usd_hour
    ]
    return sorted(found)


def storm_of(events: Sequence[PriceEvent], source: str) -> Storm:
    """The worst hour of a day of prices; the made-up storm where no price rose."""
    risen, pools = rises(events), {event.pool for event in events}
    hours = [[(at, pool) for at, pool in risen if start <= at < start + HOUR] for start, _ in risen]
    if not hours:
        return MADE_UP
    worst = max(hours, key=lambda hour: len({pool for _, pool in hour}))
    share = len({pool for _, pool in worst}) / len(pools)
    offsets = tuple(round((at - worst[0][0]) / HOUR, 4) for at, _ in worst)
    return Storm(max(LEAST_SHARE, round(share, 4)), offsets, source)


def storm_in(region: str, history: Path = HISTORY, zones: Mapping[str, str] = ZONES) -> Storm:
    """The storm of a region by the file of prices; made up without the file, or for a region that it doesn't name."""
    if not history.is_file() or region not in zones:
        return MADE_UP
    with gzip.open(history, "rt", encoding="utf-8") as lines:
        return storm_of(events_of(lines, zones[region]), history.name)
