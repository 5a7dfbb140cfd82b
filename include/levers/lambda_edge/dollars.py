"""What the change costs and saves, at list prices and by the plan's figures; sums in USD a month."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from include.levers.base import OBJECTS, Dollars
from include.levers.lambda_edge import live
from include.levers.lambda_edge.choose import Choice, usd_of
from include.levers.lambda_edge.functions import PROVISIONED_UNITS, UNITS, aws_in, configuration
from include.levers.lambda_edge.measured import History
from include.levers.lambda_edge.money import PLAN_PROVISIONED_USD, load_book
from include.levers.lambda_edge.settings import World
from include.levers.owned import by_key
from include.prices import PlanBook
from include.rollout.lever import Json

CENT = Decimal("0.01")


def edge_usd(known: History, memory_mb: int, architecture: str) -> Decimal | None:
    """A month of the function at the edge at a size; None while durations, requests or prices are not known."""
    size = next((size for size in known.sizes if size.memory_mb == memory_mb), None)
    rates = load_book().edge_rates(architecture)
    if size is None or rates is None or known.requests_month is None:
        return None
    return usd_of(size, rates, known.requests_month)


def unit_usd(world: World, region: str, units: int) -> Decimal | None:
    """A month of so many provisioned units of the alias in a region."""
    if not units:
        return Decimal(0)
    chosen = world.settings
    found = configuration(aws_in(world, region), chosen.regional_function, chosen.regional_alias)
    if found is None:
        return None
    return load_book().units_usd_month(region, live.architecture(found), found["MemorySize"], units)


def summed(parts: Iterable[Decimal | None]) -> Decimal | None:
    """The sum in cents; unknown when a part is."""
    known = list(parts)
    return None if None in known else sum((part for part in known if part is not None), Decimal(0)).quantize(CENT)


def units_standing(facts: Mapping[str, Json]) -> dict[str, int]:
    """The provisioned units by region, as a plan's live state has them."""
    found = {}
    for key, entry in by_key(facts[OBJECTS]).items():
        kind, _, name = key.partition(" ")
        if kind == PROVISIONED_UNITS.kind:
            fields = entry["fields"] if entry else []
            found[name.partition(" ")[0]] = next((f["was"] for f in fields if f["path"] == [UNITS]), None) or 0
    return found


def total(world: World, edge: live.Edge, known: History, memory_mb: int, units: Mapping[str, int]) -> Decimal | None:
    """The edge's requests and time at a size, and each region's provisioned units; what is on demand there is not."""
    at_edge = edge_usd(known, memory_mb, live.architecture(edge.current))
    return summed([at_edge, *(unit_usd(world, region, number) for region, number in units.items())])


def of_plan(world: World, facts: Mapping[str, Json]) -> Dollars:
    """What the plan touches, as it stands and as it is to be."""
    edge = live.look(world)
    known, standing = live.decide(world, edge)[1], units_standing(facts)
    now, asked = edge.current["MemorySize"], world.settings.provisioned_units
    size = facts["wanted_mb"] if live.is_wanted(facts) else now
    after = {region: asked or number for region, number in standing.items()}
    return Dollars(total(world, edge, known, now, standing), total(world, edge, known, size, after), load_book().name)


def evidence(world: World) -> dict[str, Json]:
    """Version, size and units as they stand, and what they cost a month; None where that is not known."""
    edge, chosen = live.look(world), world.settings
    named = f"{chosen.regional_function} {chosen.regional_alias}"
    read = {region: PROVISIONED_UNITS.read(world, f"{region} {named}")[0] or {} for region in world.estate.regions}
    units = {region: int(document.get(UNITS, 0)) for region, document in read.items()}
    size = edge.current["MemorySize"]
    usd = total(world, edge, live.decide(world, edge)[1], size, units)
    found = {"edge_version": edge.current["Version"], "edge_memory_mb": size, "provisioned_units": units}
    return {**found, "usd_month": None if usd is None else float(usd)}


# Notes ----------------------------------------------------------------------------------------------------------------


def notes(world: World, facts: Mapping[str, Json]) -> list[str]:
    """What an approver should know: the sizes, list prices beside the plan's, and what stays."""
    edge = live.look(world)
    choice, known = live.decide(world, edge)
    today = dt.datetime.fromtimestamp(world.now(), dt.UTC).date()
    lines = [f"memory: {choice.reason}", *(f"measured: {candidate}" for candidate in choice.candidates)]
    lines += [*_edge_line(facts, known, live.architecture(edge.current)), *_unit_lines(world, facts)]
    plan = PlanBook().component("lambda_edge")
    lines.append(
        f"the plan: {plan.week_14 - plan.week_13} USD a month for memory and fewer cold starts together, "
        f"+{PLAN_PROVISIONED_USD} for provisioned concurrency"
    )
    lines.append(
        "requests and durations at the edge are those of the estate's regions and us-east-1: no other is asked"
    )
    lines.append(f"version {facts['edge']['version']} is not deleted: replicas and an undo need it")
    return [*lines, *filter(None, [load_book().warning(today), *_refused(choice)])]


def _refused(choice: Choice) -> Sequence[str]:
    return [] if choice.memory_mb else ["the size of the function at the edge stays as it is"]


def _edge_line(facts: Mapping[str, Json], known: History, architecture: str) -> Sequence[str]:
    if not live.is_wanted(facts):
        return []
    now, wanted = facts["edge"]["memory_mb"], facts["wanted_mb"]
    parts = edge_usd(known, now, architecture), edge_usd(known, wanted, architecture)
    if parts[0] is None or parts[1] is None:
        return [f"{now} -> {wanted} MB: the dollars are not known, as requests or durations of one size are not"]
    requests = known.requests_month or Decimal(0)
    return [f"{now} -> {wanted} MB: {parts[1] - parts[0]:+.2f} USD at list prices for {requests:,.0f} requests a month"]


def _unit_lines(world: World, facts: Mapping[str, Json]) -> list[str]:
    units, standing = world.settings.provisioned_units, units_standing(facts)
    if not units:
        return []
    costs = {region: unit_usd(world, region, units) for region in standing}
    total = summed(costs.values())
    said = "unknown: a region's price or function is" if total is None else f"+{total} USD a month at list prices"
    lines = [f"provisioned concurrency, {units} units in each of {len(standing)} regions: {said}"]
    return [*lines, *(line for region in standing if (line := _pays_line(world, region)))]


def _pays_line(world: World, region: str) -> str:
    """From which use on a unit costs no more than requests on demand would."""
    chosen, book = world.settings, load_book()
    found = configuration(aws_in(world, region), chosen.regional_function, chosen.regional_alias)
    kind = live.architecture(found or {})
    share = book.pays_from(region, kind)
    if share is None:
        return f"{region}: no price of provisioned concurrency on {kind} is known"
    derived = " (price derived, not listed)" if book.is_assumed(region, kind) else ""
    if share > 1:
        return f"{region}: a unit never costs less than requests on demand{derived}: it buys speed alone"
    return f"{region}: a unit costs less than requests on demand when it serves {share:.0%} of the time{derived}"
