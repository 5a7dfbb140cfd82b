"""What nodes are to be had in a region: kinds, prices and interruptions, from the price book. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from include.estate import Estate
from include.levers.consolidation import floor_size
from include.levers.consolidation.floor_size import Wanted
from include.levers.nodes.rooms import Crowd
from include.planner.cover import Kind
from include.planner.usage import Usage
from include.prices import AwsBook, InstanceChoice, choose_instance_types
from include.quantities import MIB, cores, quantity

# Interruptions of one node a month by Spot Advisor's band: the middle of each, 25 % for "above 20 %".
BAND_RATES = (0.025, 0.075, 0.125, 0.175, 0.25)
ELSEWHERE = "us-east-1"  # whose spot savings stand in where a region's own are not known


@dataclass(frozen=True)
class Floor:
    """The node group's nodes: how many, and USD an hour of all of them."""

    nodes: int
    usd_hour: float
    kind: str


@dataclass(frozen=True)
class Market:
    """One region: kinds of nodes, the fixed group of week 13, the floor now and right-sized.

    ``dearer``: by how much the next spot pool costs more than the cheapest, a share. ``is_assumed``: the book has no
    spot prices of the region, so that the savings of us-east-1 stand in for them.
    """

    spot: tuple[Kind, ...]
    on_demand: tuple[Kind, ...]
    fixed: Floor
    floor: Floor
    small_floor: Floor
    dearer: float
    types: int
    zones: int
    is_assumed: bool


def market_of(estate: Estate, region: str, book: AwsBook, usage: Usage) -> Market:
    """The market of a region. Raises TooFewInstanceTypesError, or PriceBookError for a price that is not known."""
    is_assumed = not book.knows_spot(region)
    choices = choose_instance_types(book, region, estate.spot, _assumed_spot(book, region) if is_assumed else None)
    group = estate.region(region).node_group
    each = _known(book.on_demand(region, group.instance_type))
    most = estate.spot.max_interruption_band
    floor = Floor(group.floor, each * group.floor, f"{group.floor} x {group.instance_type}")
    return Market(
        spot=tuple(_kind(one, float(one.spot), usage, _rate(one.interruption_band, most)) for one in choices.spot),
        on_demand=tuple(_kind(choice, float(choice.on_demand), usage, 0.0) for choice in choices.on_demand),
        fixed=Floor(group.size, each * group.size, f"{group.size} x {group.instance_type}"),
        floor=floor,
        small_floor=small_floor(estate, region, book, usage) or floor,
        dearer=_dearer(choices.spot),
        types=len(choices.spot),
        zones=len(usage.zones),
        is_assumed=is_assumed,
    )


def _assumed_spot(book: AwsBook, region: str) -> dict[tuple[str, str], Decimal]:
    """What spot would cost in a region that the book doesn't know, with the savings of the one that it knows best."""
    prices = ((name, book.on_demand(region, name), book.savings(ELSEWHERE, name)) for name in book.instance_types())
    return {(name, "a"): usd * (1 - less) for name, usd, less in prices if usd is not None and less is not None}


def _rate(band: int | None, most: int) -> float:
    """Interruptions of a node a month; of a band that isn't known those of the worst that is allowed."""
    return BAND_RATES[most if band is None else band]


def _known(price: Decimal | None) -> float:
    return float("nan") if price is None else float(price)


def _kind(choice: InstanceChoice, usd_hour: float, usage: Usage, interruptions: float) -> Kind:
    cpu = int(Decimal(str(choice.instance.allocatable_cpu)) * 1000) - usage.daemons_cpu
    memory = choice.instance.allocatable_memory_mib * int(MIB) - usage.daemons_memory
    return Kind(choice.name, usd_hour, cpu, memory, interruptions)


def _dearer(choices: Sequence[InstanceChoice]) -> float:
    first, second = choices[0].spot_per_vcpu, choices[min(1, len(choices) - 1)].spot_per_vcpu
    return float(second / first - 1)


def small_floor(estate: Estate, region: str, book: AwsBook, usage: Usage) -> Floor | None:
    """The cheapest small group for the system's pods, by the lever's own choice; None where none holds them."""
    arch = book.details(estate.region(region).node_group.instance_type).arch
    names = estate.region(region).node_group.system.instance_types
    size = floor_size.cheapest(_system(estate, region, usage), floor_size.node_types(book, region, arch, names))
    if size is None:
        return None
    return Floor(size.count, float(size.usd_hour), f"{size.count} x {size.instance_type}")


def _system(estate: Estate, region: str, usage: Usage) -> Wanted:
    """The system's pods, the predictor's, and the reserve for what comes on day 5."""
    system, predictor = estate.region(region).node_group.system, estate.predictive_scaling.predictor
    pods = [(one.name, one.replicas, one.cpu, one.memory) for one in usage.system]
    pods.append(("traffic-predictor", predictor.replicas, predictor.requests.cpu, predictor.requests.memory))
    pods.append(("reserve", 1, system.reserve_cpu, system.reserve_memory))
    crowds = [
        Crowd(name, count, {"cpu": cores(cpu), "memory": quantity(memory)}, {}, {}) for name, count, cpu, memory in pods
    ]
    daemons = {"cpu": Decimal(usage.daemons_cpu) / 1000, "memory": Decimal(usage.daemons_memory)}
    return Wanted(crowds, [daemons], {}, usage.zones)
