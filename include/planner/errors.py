"""Predicted against rehearsed: what the planner says of a rehearsal's moment, and what the lab read there. Pure.

A rehearsal holds one level of demand, so its nodes and dollars of one hour are compared with the planner's of one
minute at that level, lever after lever as they were rolled out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from include.estate import Estate
from include.planner import traffic
from include.planner.fleet import PLAYERS
from include.planner.simulation import World
from include.planner.usage import load_usage
from include.prices import load_aws_book

REHEARSED = Path(__file__).with_name("rehearsed.json")
LIMIT = 0.10


class RehearsalError(ValueError):
    """A rehearsal's file that holds nothing to compare; the message names the field and the remedy."""


@dataclass(frozen=True)
class Rehearsed:
    """One lever in one region: node-hours an hour and USD an hour, predicted and read; errors as a share of what was
    read, above zero where more was predicted than came. None where the lab read nothing."""

    lever: str
    region: str
    nodes: float
    nodes_predicted: float
    usd_hour: float | None
    usd_hour_predicted: float

    @property
    def nodes_error(self) -> float:
        """Of the node-hours."""
        return self.nodes_predicted / self.nodes - 1

    @property
    def usd_error(self) -> float | None:
        """Of the dollars."""
        return None if not self.usd_hour else self.usd_hour_predicted / self.usd_hour - 1


@dataclass(frozen=True)
class LeverError:
    """One lever over all regions of a rehearsal: errors of the sums, and the worst single region's."""

    lever: str
    regions: int
    nodes_error: float
    usd_error: float | None
    worst_nodes: float
    worst_usd: float | None


def predicted(estate: Estate, rows: Sequence[Mapping[str, Any]]) -> list[Rehearsed]:
    """The planner's figures beside a rehearsal's rows (``realised``: lever, region, nodes, usd_hour), in their order.

    Rows of levers that don't act on the clusters' nodes are left out. Raises RehearsalError when none is left.
    """
    regions = list(dict.fromkeys(str(row["region"]) for row in rows))
    world = _world(estate, regions)
    done: dict[str, frozenset[str]] = dict.fromkeys(regions, frozenset())
    found = []
    for row in rows:
        if row["lever"] not in PLAYERS:
            continue
        region = str(row["region"])
        done[region] |= {row["lever"]}
        now = world.regions[regions.index(region)].minutes(done[region])
        usd = None if row["usd_hour"] is None else float(row["usd_hour"])
        figures = float(row["nodes"]), float(now.nodes[0]), usd, float(now.usd_hour[0])
        found.append(Rehearsed(str(row["lever"]), region, *figures))
    if not found:
        raise RehearsalError("realised has no lever that acts on nodes: rehearse day 1 at least")
    return found


def _world(estate: Estate, regions: Sequence[str]) -> World:
    unknown = [region for region in regions if region not in estate.regions]
    if unknown:
        raise RehearsalError(
            f"realised names {', '.join(unknown)}, not in the estate: give the estate of the rehearsal"
        )
    level = traffic.peak(estate)
    order = [list(estate.regions).index(region) for region in regions]
    used = traffic.Traffic(tuple(regions), level.qps[order], level.weekend, level.source)
    return World(estate, used, load_aws_book(estate), load_usage())


def by_lever(found: Sequence[Rehearsed]) -> list[LeverError]:
    """Each lever's error over all regions."""
    levers = dict.fromkeys(one.lever for one in found)
    return [_of_lever(lever, [one for one in found if one.lever == lever]) for lever in levers]


def _of_lever(lever: str, rows: Sequence[Rehearsed]) -> LeverError:
    nodes = sum(row.nodes_predicted for row in rows) / sum(row.nodes for row in rows) - 1
    known = [row for row in rows if row.usd_hour]
    usd = (
        sum(row.usd_hour_predicted for row in known) / sum(row.usd_hour or 0.0 for row in known) - 1 if known else None
    )
    worst = max((row.usd_error or 0.0 for row in known), key=abs, default=None)
    return LeverError(lever, len(rows), nodes, usd, max((row.nodes_error for row in rows), key=abs), worst)


def rows_of(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows of a rehearsal's file: benchmarks/results/rehearsal_*.json has them, and report.json may.

    Raises RehearsalError naming what is missing.
    """
    rows = report.get("realised") or (report.get("report") or {}).get("realised")
    if not isinstance(rows, list) or not rows:
        raise RehearsalError("no field realised with a row for each lever and region: give the file of a rehearsal")
    return rows


# What was rehearsed last, as it is published -------------------------------------------------------------------------


def to_json(levers: Sequence[LeverError], source: str) -> dict[str, Any]:
    """As rehearsed.json holds it."""
    return {"source": source, "levers": {one.lever: _rounded(asdict(one)) for one in levers}}


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items() if key != "lever"}


@lru_cache(maxsize=1)
def published() -> Mapping[str, Any]:
    """rehearsed.json, empty where there is none."""
    return dict(json.loads(REHEARSED.read_text(encoding="utf-8"))) if REHEARSED.exists() else {}


def rehearsed_error(lever: str) -> float | None:
    """The worst region's error of a lever's dollars in the last published rehearsal, a share; None: never compared."""
    row = published().get("levers", {}).get(lever)
    return None if row is None or row["worst_usd"] is None else abs(float(row["worst_usd"]))
