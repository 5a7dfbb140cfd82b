"""Nodes and spot nodes of each region over time, from the figures that rollouts and undos left in the ledger."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.overview.ledger_copy import LedgerContent
from include.pages.chart import Chart, line_chart
from include.rollout.ledger import Record

Json = Any
WINDOW_HOURS = 14 * 24  # what is shown, up to the newest figure
NODES, SPOT = "nodes", "spot nodes"


@dataclass(frozen=True)
class FleetPoint:
    """What a record says of a region's nodes; ``spot`` None is unknown."""

    time: dt.datetime
    nodes: float
    spot: float | None


def fleet_points(content: LedgerContent) -> dict[str, list[FleetPoint]]:
    """Region -> its points in the order of their times."""
    found: dict[str, list[FleetPoint]] = {}
    for chain in content.of_places().values():
        for record in chain.records:
            for figures in _evidence(record):
                if (point := _point(record.time, figures)) is not None:
                    found.setdefault(record.place, []).append(point)
    return {place: sorted(points, key=lambda point: point.time) for place, points in sorted(found.items())}


def _evidence(record: Record) -> Iterator[Mapping[str, Json]]:
    """The parts of a record that may hold figures of the fleet."""
    for name in ("before", "figures", "after"):
        part = record.figures.get(name)
        if isinstance(part, Mapping):
            yield part


def _point(time: str, figures: Mapping[str, Json]) -> FleetPoint | None:
    nodes = _number(figures.get("nodes"))
    if nodes is None:
        return None
    spot = _number(figures.get("spot_nodes"))
    if spot is None and isinstance(kinds := figures.get("nodes_by_kind"), Mapping):
        spot = sum(count for kind, count in kinds.items() if _is_spot(kind) and _number(count) is not None)
    share = _number(figures.get("spot_share_vcpu"))
    if spot is None and share == 0:
        spot = 0.0
    return FleetPoint(dt.datetime.fromisoformat(time), nodes, spot)


def _is_spot(kind: str) -> bool:
    return str(kind).endswith(" spot")


def _number(value: Json) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def fleet_charts(points: Mapping[str, Sequence[FleetPoint]]) -> list[Chart]:
    """A picture a region of the last two weeks up to the newest figure; none without figures."""
    newest = max((line[-1].time for line in points.values()), default=None)
    if newest is None:
        return []
    begin = max(newest - dt.timedelta(hours=WINDOW_HOURS), min(line[0].time for line in points.values()))
    return [_chart(region, line, begin, newest) for region, line in points.items() if line[-1].time >= begin]


def _chart(region: str, points: Sequence[FleetPoint], begin: dt.datetime, end: dt.datetime) -> Chart:
    unit, seconds = ("hours", 3600) if end - begin >= dt.timedelta(hours=6) else ("minutes", 60)
    times, nodes, spot = [], [], []
    for point, following in zip(points, [*points[1:], None], strict=True):
        until = following.time if following else end
        if until < begin:
            continue
        # A count holds until the next one is on record: two points make a step of it.
        times += [(max(point.time, begin) - begin).total_seconds() / seconds, (until - begin).total_seconds() / seconds]
        nodes += [point.nodes] * 2
        spot += [math.nan if point.spot is None else point.spot] * 2
    latest = points[-1]
    text = f"{region}: {latest.nodes:.0f} nodes, {_words(latest.spot)} on spot, as of {latest.time:%d %b %H:%M} UTC."
    return line_chart(region, times, {NODES: nodes, SPOT: spot}, f"{unit} since {begin:%d %b %H:%M} UTC", text)


def _words(spot: float | None) -> str:
    return "an unknown number" if spot is None else f"{spot:.0f}"
