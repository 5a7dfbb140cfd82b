"""Which spot nodes a storm hits and when: from the history of real prices, or in waves of our own. Pure.

A price that rises means that capacity is short: a node is hit when the price of its type rises, or of its family where
the type's own does not. Zones are matched by their last sign, since an account's names are its own.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import io
import math
import statistics
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from include.levers.node_costs import NodeFact

JUMP = 0.02  # a smaller rise of a price is none
WAVES = 3
COLUMNS = ("az_id", "instance_type", "price_usd_hour", "timestamp")


class PriceEvent(NamedTuple):
    """A price that was changed to ``usd_hour`` at ``at`` (Unix seconds)."""

    at: float
    zone: str
    instance_type: str
    usd_hour: float


class Hit(NamedTuple):
    """A node that gets its notice so many seconds after the storm begins, and why it and then."""

    after: float
    node: str
    why: str


class HistoryError(ValueError):
    """A price history can't be read; the message names the file, what is wrong and the remedy."""


def read_events(path: Path) -> list[PriceEvent]:
    """The changes of a CSV file, plain or gzip, the earliest first. Raises HistoryError."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        events = [_event(row) for row in csv.DictReader(io.StringIO(text))]
    except (OSError, EOFError, zlib.error, csv.Error, ValueError, KeyError, TypeError) as error:
        raise HistoryError(
            f"price_history {path}: {type(error).__name__}: {error}; give a CSV file with the columns "
            f"{', '.join(COLUMNS)}, or leave it empty"
        ) from error
    return sorted(events, key=lambda event: (event.at, event.zone, event.instance_type))


def _event(row: dict[str, str]) -> PriceEvent:
    at = dt.datetime.fromisoformat(row["timestamp"])
    usd_hour = float(row["price_usd_hour"])
    if not math.isfinite(usd_hour):
        raise ValueError(f"price_usd_hour {row['price_usd_hour']!r} is no price")
    # A time without a zone is UTC, whichever zone the worker is in.
    seconds = (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp()
    return PriceEvent(seconds, row["az_id"], row["instance_type"], usd_hour)


def storm(events: Sequence[PriceEvent], nodes: Sequence[NodeFact], share: float, seconds: float) -> list[Hit]:
    """At most ``share`` of the spot nodes (rounded up), each once, within ``seconds``; the earliest first.

    The history is compressed into that time, and followed as far as it hits something; what it leaves is hit in waves
    of our own, the same at every call.
    """
    spot = sorted((node for node in nodes if node.capacity == "spot" and node.node_pool), key=lambda node: node.name)
    most = math.ceil(len(spot) * share)
    hits = _by_history(scarce(events), spot, most, seconds)
    left = [node for node in spot if node.name not in {hit.node for hit in hits}]
    return sorted([*hits, *_waves(left, most - len(hits), seconds)], key=lambda hit: (hit.after, hit.node))


def scarce(events: Sequence[PriceEvent]) -> list[PriceEvent]:
    """The events that say that capacity is short: a price that rose by more than two per cent.

    The first that is known of a pool is compared with the median of its type: an evening's history has many pools, and
    seldom a second change of one.
    """
    by_type: dict[str, list[float]] = {}
    for event in events:
        by_type.setdefault(event.instance_type, []).append(event.usd_hour)
    usual = {name: statistics.median(prices) for name, prices in by_type.items()}
    known: dict[tuple[str, str], float] = {}
    found = []
    for event in events:
        before = known.get((event.zone, event.instance_type), usual[event.instance_type])
        if event.usd_hour > before * (1 + JUMP):
            found.append(event)
        known[event.zone, event.instance_type] = event.usd_hour
    return found


def _by_history(events: Sequence[PriceEvent], nodes: Sequence[NodeFact], most: int, seconds: float) -> list[Hit]:
    if not events:
        return []
    first, span = events[0].at, max(1.0, events[-1].at - events[0].at)
    hits: dict[str, Hit] = {}
    for matches in (_same_type, _same_family):
        for event in events:
            for node in nodes:
                if len(hits) < most and node.name not in hits and matches(event, node):
                    after = round((event.at - first) / span * seconds, 1)
                    hits[node.name] = Hit(after, node.name, f"{event.instance_type} rose in {event.zone}")
                    break  # one node a change: a pool is not emptied at once
    return list(hits.values())


Match = Callable[[PriceEvent, NodeFact], bool]


def _same_type(event: PriceEvent, node: NodeFact) -> bool:
    return event.instance_type == node.instance_type and _number(event.zone) == _number(node.zone)


def _same_family(event: PriceEvent, node: NodeFact) -> bool:
    return event.instance_type.partition(".")[0] == node.instance_type.partition(".")[0]


def _number(zone: str) -> int:
    """1 for ``apne1-az1`` and for ``ap-northeast-1a``: a lab's stand-in for an account's own mapping."""
    last = zone[-1:]
    return int(last) if last.isdigit() else ord(last or "a") - ord("a") + 1


def _waves(nodes: Sequence[NodeFact], most: int, seconds: float) -> list[Hit]:
    """Three waves over nodes in an order that their names decide."""
    ordered = sorted(nodes, key=lambda node: hashlib.sha256(node.name.encode()).hexdigest())[: max(0, most)]
    each = max(1, math.ceil(len(ordered) / WAVES))
    return [
        Hit(round(index // each * seconds / WAVES, 1), node.name, f"wave {index // each + 1}")
        for index, node in enumerate(ordered)
    ]
