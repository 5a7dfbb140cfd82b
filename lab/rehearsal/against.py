"""Predicted against rehearsed, lever by lever: dollars and node-hours an hour of the whole estate. Pure functions.

``error`` is by which share of it the realised dollars were missed: above zero, more was predicted than came. What is
not known in one region is not known of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from include.estate import Estate
from include.pages.table import aligned
from include.planner import errors
from include.planner.errors import Rehearsed
from include.prices import HOURS_PER_MONTH
from include.rollout.ledger import Record, Step, last
from lab.rehearsal.day3 import COMPONENT_OF, EdgeDay
from lab.rehearsal.day4 import Realised, error, shown

OF_NODES = ("spot_capacity", "predictive_scaling", "right_sizing", "consolidation")
COST_PLATFORM, ROUTING = "cost_platform", "request_routing"
FIELDS = ("usd_hour_predicted", "usd_hour_realised", "node_hours_predicted", "node_hours_realised")
Row = dict[str, float | None]


def of_nodes(estate: Estate, found: Sequence[Realised], routed: bool = False) -> dict[str, Row]:
    """The levers of the clusters' nodes, as the planner has the rehearsed moment; node-hours are those of all nodes.

    ``routed``: day 3 has moved traffic to the devices before day 4.
    """
    rows = [
        {"lever": one.lever, "region": one.region, "nodes": one.nodes, "usd_hour": one.usd_hour}
        for one in found if one.lever in OF_NODES
    ]  # fmt: skip
    if not rows:
        return {}
    packed = next((place for place, one in enumerate(rows) if one["lever"] == "right_sizing"), len(rows))
    moved = [{**one, "lever": ROUTING} for one in rows[:packed] if one["lever"] == rows[0]["lever"]] if routed else []
    by_lever: dict[str, list[Rehearsed]] = {}
    for one in errors.predicted(estate, [*rows[:packed], *moved, *rows[packed:]]):
        by_lever.setdefault(one.lever, []).append(one)
    return {lever: _row_of(regions) for lever, regions in by_lever.items() if lever != ROUTING}


def _row_of(regions: Sequence[Rehearsed]) -> Row:
    values: tuple[Callable[[Rehearsed], float | None], ...] = (
        lambda one: one.usd_hour_predicted,
        lambda one: one.usd_hour,
        lambda one: one.nodes_predicted,
        lambda one: one.nodes,
    )
    return row(*(_sum([value(one) for one in regions]) for value in values))


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 4) if len(known) == len(values) else None


def row(
    usd_predicted: float | None,
    usd_realised: float | None,
    nodes_predicted: float | None = None,
    nodes_realised: float | None = None,
) -> Row:
    """One lever of ``levers`` in report.json."""
    found = dict(zip(FIELDS, (usd_predicted, usd_realised, nodes_predicted, nodes_realised), strict=True))
    return {**found, "error": error(usd_predicted, usd_realised)}


def of_edge(day: EdgeDay) -> dict[str, Row]:
    """The levers of the edge, each by its component; those without a plan of dollars are left out."""
    known = {lever: name for lever, name in COMPONENT_OF.items() if name in day.predicted}
    return {lever: row(hourly(day.predicted[name]), hourly(day.after.get(name))) for lever, name in known.items()}


def of_monthly(predicted: Decimal | None, realised: Decimal | None) -> Row:
    """A lever whose dollars are known by the month."""
    return row(hourly(predicted), hourly(realised))


def of_costs(
    validation: Mapping[str, Any],
    records: Callable[[str], Sequence[Record]],
    regions: Sequence[str],
    share: float = 1.0,
) -> dict[str, Row]:
    """Cost monitoring: the plans' dollars of ``regions`` beside the platform's in the validation, of which they are
    ``share``: the platform is one for all regions of the estate.
    """
    plans = [last(records(region), Step.PLAN) for region in regions]
    told = [None if plan is None else plan.figures["plan"]["usd_month_after"] for plan in plans]
    lines = {line["component"]: line["usd_month"] for line in validation["lines"]}
    realised = lines.get(COST_PLATFORM)
    predicted = None if None in told else sum((Decimal(str(one)) for one in told), Decimal(0))
    return {
        "cost_monitoring": of_monthly(predicted, None if realised is None else Decimal(realised) * Decimal(str(share)))
    }


def hourly(usd_month: Decimal | None) -> float | None:
    """Dollars an hour of a month's."""
    return None if usd_month is None else round(float(usd_month / HOURS_PER_MONTH), 4)


def table(levers: Mapping[str, Row]) -> str:
    """What was predicted and what came, by lever."""
    rows: list[Sequence[str]] = [
        ("lever", "$/hour predicted", "realised", "error", "node-hours/h predicted", "realised")
    ]
    rows += [
        (
            lever,
            shown(found["usd_hour_predicted"], ".3f"),
            shown(found["usd_hour_realised"], ".3f"),
            shown(found["error"], "+.1%"),
            shown(found["node_hours_predicted"], ".0f"),
            shown(found["node_hours_realised"], ".0f"),
        )
        for lever, found in levers.items()
    ]
    return aligned(rows, right={1, 2, 3, 4, 5})


def prediction(lever: str, found: Mapping[str, Any], when: str, run: str) -> dict[str, Any]:
    """What is kept beside the ledger of a lever's prediction: who plans next reads how far the last one was off."""
    return {"lever": lever, "when": when, "run": run, **found}
