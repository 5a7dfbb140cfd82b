"""The plan of the spot lever: stages, what they cost, and what an approver should know. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from include.estate import Estate
from include.levers.manifests import filled
from include.levers.node_costs import total
from include.levers.nodes import group
from include.levers.nodes.neighbours import Surroundings
from include.levers.nodes.packing import PoolTypes, cheapest_hosting
from include.levers.spot_capacity.settings import (
    DRILL,
    OLD_NODE_GROUP,
    POOLS,
    SPOT_POOL,
    STEPS,
    TAINT,
    SpotSettings,
    balanced,
    domain_names,
    step_domains,
)
from include.levers.world import Object
from include.prices import AwsBook, PoolChoices

ZONES = "zones"  # how many zones the pods stood in before: a stage's setting, and the gate that looks at it
Made = tuple[str, str, dict[str, Any]]  # a stage's slot, title and settings


def stages(
    estate: Estate,
    region: str,
    settings: SpotSettings,
    types: PoolTypes,
    live: Mapping[str, Any],
    changes: bool,
    zones: int | None = None,
) -> Iterator[Made]:
    """The stages that lead from ``live`` to the wanted state. ``changes``: something besides the node group differs."""
    wanted, have = step_domains(settings.steps_percent, settings.domains), live_spot_domains(live, settings.domains)
    every = list(zip(STEPS, settings.steps_percent, wanted, strict=False))
    steps = [step for step in every if step[2] > have] or (every[-1:] if changes else [])
    known = {"domains": settings.domains, **types.settings(), ZONES: zones}
    for slot, percent, count in steps:
        title = f"{percent} % spot: {count} of {settings.domains} domains ({count / settings.domains:.0%})"
        yield slot, title, {**known, "percent": percent, "spot_domains": count}
    last, described, sizes = {**known, "spot_domains": wanted[-1]}, estate.region(region).node_group, live["node_group"]
    shrinks = sizes["minSize" if group.SIZE in live["moving"] else "desiredSize"] > described.floor
    if settings.drill and (steps or shrinks):
        yield DRILL, "one spot node gets an interruption notice", last
    if shrinks:
        title = f"node group {described.name} from {sizes['desiredSize']} nodes to its floor of {described.floor}"
        yield OLD_NODE_GROUP, title, {**last, "floor": described.floor}


def live_spot_domains(live: Mapping[str, Any], domains: int) -> int:
    """How many of ``domains`` are spot in the live pools; 0 when the pools are absent or split otherwise."""
    found = {name: _domains_of(live["node_pools"].get(name)) for name in POOLS.names}
    every = [domain for of_pool in found.values() for domain in of_pool]
    return len(found[SPOT_POOL]) if sorted(every) == sorted(domain_names(domains)) else 0


def _domains_of(spec: Object | None) -> list[str]:
    requirements = spec["template"]["spec"]["requirements"] if spec else []
    return next((list(r.get("values", [])) for r in requirements if r["key"] == POOLS.spread), [])


def predicted_usd_hour(
    estate: Estate, region: str, book: AwsBook, choices: PoolChoices, spot_domains: int, domains: int
) -> Decimal | None:
    """USD an hour after the last stage: the node group's floor and each domain on its cheapest type."""
    described = estate.region(region).node_group
    floor = book.on_demand(region, described.instance_type)
    spreads = [balanced(w.replicas, domains) for w in estate.workloads.values()]
    in_domain = [sum(spread[n] for spread in spreads) for n in range(domains)]
    parts = [cheapest_hosting(estate, choices, pods, n < spot_domains) for n, pods in enumerate(in_domain)]
    return total([None if floor is None else floor * described.floor, *parts])


# Notes -----------------------------------------------------------------------------------------------------------


def notes(
    estate: Estate, region: str, settings: SpotSettings, live: Mapping[str, Any], around: Surroundings, book: AwsBook
) -> Iterator[str]:
    """What an approver should know besides the differences; the sentences stand in notes.yaml."""
    counts, described = step_domains(settings.steps_percent, settings.domains), estate.region(region).node_group
    values = {
        "REQUESTED": ", ".join(f"{p} %" for p in settings.steps_percent),
        "GIVEN": ", ".join(f"{count / settings.domains:.0%}" for count in counts),
        "DOMAINS": str(settings.domains),
        "FLOOR": str(described.floor),
        "GROUP": described.name,
        "EXPIRE_AFTER": estate.spot.expire_after,
        "TAINT": TAINT,
        "REGION": region,
        "UNTAINTED": " and ".join(name for name, spec in live["node_pools"].items() if spec and not _is_tainted(spec)),
        "SHUT_OUT": ", ".join(around.shut_out or ()),
        "GUESTS": ", ".join(around.guests),
        "COUNT": str(len(around.evicted)),
        "EVICTED": ", ".join(around.evicted),
        "UNMOVABLE": "; ".join(around.unmovable),
    }
    never = estate.spot.expire_after == "Never"
    applies = {
        "no_expiry": never,
        "expiry": not never,
        "untainted": values["UNTAINTED"],
        "agents_unknown": around.shut_out is None,
        "shut_out": around.shut_out,
        "guests": around.guests,
        "evicted": around.evicted,
        "unmovable": around.unmovable,
        "quoted": not book.knows_spot(region),
    }
    yield from (text for name, text in filled("spot_capacity/notes.yaml", values).items() if applies.get(name, True))
    yield from book.assumptions


def _is_tainted(spec: Object) -> bool:
    return any(taint["key"] == TAINT for taint in spec["template"]["spec"].get("taints") or [])
