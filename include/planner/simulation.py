"""The month of every region under every coalition: dollars, node-hours and what binds. float64 inside. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from include.estate import Estate, EstateError
from include.planner import edge, shapley
from include.planner.fleet import PLAYERS, Minutes, Region, coalitions
from include.planner.market import Market, market_of
from include.planner.order import PACKING, SCALING, SPOT
from include.planner.sizes import requested
from include.planner.traffic import Traffic
from include.planner.usage import Usage
from include.prices import AwsBook

Floats = npt.NDArray[np.float64]
HOURS_MONTH = 729.6  # 30.4 days, as in include/prices.py
EVERY = coalitions()
STOPS = tuple((1 << count) - 1 for count in range(len(PLAYERS) + 1))  # masks of the week's order


@dataclass(frozen=True)
class Simulated:
    """Daily means by coalition's mask: nodes, USD an hour, risk and interruptions, each [masks, regions, days]."""

    masks: tuple[int, ...]
    nodes: Floats
    usd_hour: Floats
    risk: Floats
    interruptions: Floats

    def month(self) -> Floats:
        """USD a month of all regions, [masks]."""
        return np.asarray(self.usd_hour.mean(axis=2).sum(axis=1) * HOURS_MONTH)

    def node_hours(self) -> Floats:
        """Node-hours a month of all regions, [masks]."""
        return np.asarray(self.nodes.mean(axis=2).sum(axis=1) * HOURS_MONTH)


def _demand_room(estate: Estate, region: str, market: Market) -> None:
    """A month can be priced only if a node holds each workload's pod, and the fixed group's price is known."""
    for name, workload in estate.workloads.items():
        size = requested(workload)
        if not any(size.cpu <= kind.cpu and size.memory <= kind.memory for kind in market.spot):
            asked = f"cpu {workload.requests.cpu} and memory {workload.requests.memory}"
            raise EstateError(
                f"workloads.{name}.requests: a pod of {asked} fits on none of the {market.types} instance types that "
                f"spot allows in {region}: ask for less, or widen spot.sizes or spot.categories"
            )
    if not market.fixed.usd_hour >= 0:
        raise EstateError(
            f"regions.{region}.node_group.instance_type: the price book has no price of {market.fixed.kind}: "
            "name another type, or add its price with `python -m tools.derive_prices`"
        )


class World:
    """An estate's regions with their traffic; what coalitions share is computed once."""

    def __init__(self, estate: Estate, traffic: Traffic, book: AwsBook, usage: Usage) -> None:
        self.estate, self.traffic = estate, traffic
        minutes = traffic.of_minutes()
        self.routed = [edge.routed_share(estate, qps) for qps in minutes]
        self.markets: list[Market] = [market_of(estate, name, book, usage) for name in traffic.regions]
        rows = zip(self.markets, minutes, self.routed, strict=True)
        for name, market in zip(traffic.regions, self.markets, strict=True):
            _demand_room(estate, name, market)
        self.regions = [Region(estate, market, qps, routed) for market, qps, routed in rows]

    def routed_qps(self) -> float:
        """Requests a second of all regions that routing sends to the devices, on average."""
        share = self.estate.routed_share()
        means = self.traffic.of_minutes().mean(axis=1)
        return float(sum(mean * share * routed for mean, routed in zip(means, self.routed, strict=True)))

    def simulate(self, masks: Sequence[int]) -> Simulated:
        """Each region under each coalition."""
        days: list[list[Minutes]] = [
            [region.minutes(EVERY[mask]).of_days() for region in self.regions] for mask in masks
        ]
        parts = ("nodes", "usd_hour", "risk", "interruptions")
        found = [np.array([[getattr(one, part) for one in row] for row in days]) for part in parts]
        return Simulated(tuple(masks), *found)

    def minutes(self, levers: frozenset[str]) -> list[Minutes]:
        """Each region's minutes under one coalition."""
        return [region.minutes(levers) for region in self.regions]


# What binds ----------------------------------------------------------------------------------------------------------


def binding(world: World) -> dict[str, tuple[str, ...]]:
    """What holds the fleet where it is with all levers, by lever: a line each."""
    everything = frozenset(PLAYERS)
    scaling, spot, markets = world.estate.predictive_scaling, world.estate.spot, world.markets
    moved, pods = bool(world.routed[0]), [region.replicas(bool(world.routed[0]), True) for region in world.regions]
    least = np.mean([(p <= scaling.min_replicas).mean() for p in pods])
    most = np.mean([(p >= scaling.max_replicas).mean() for p in pods])
    nodes = [m.nodes for m in world.minutes(everything)]
    zones = [region.least_nodes_share(moved) for region in world.regions]
    floor = [n.min() - market.small_floor.nodes for n, market in zip(nodes, markets, strict=True)]
    return {
        SPOT: (
            f"{spot.domains} capacity domains: each needs a node, {world.regions[0].spot_domains} of them are spot",
            f"{min(m.types for m in markets)} instance types pass sizes, categories and interruption band "
            f"{spot.max_interruption_band}; the smallest size is {spot.sizes[0]}",
            f"the floor of {markets[0].floor.kind} stays on demand for system pods",
        ),
        SCALING: (
            f"min_replicas {scaling.min_replicas} binds in {least:.0%} of the minutes, "
            f"max_replicas {scaling.max_replicas} in {most:.0%}",
        ),
        PACKING: (
            f"{markets[0].zones} zones: in {np.mean(zones):.0%} of the minutes nodes are kept so that each zone has "
            "its share of the pods",
            f"at least {min(floor):.0f} nodes of the pools, one in each domain, and {markets[0].small_floor.kind} for "
            "system pods",
        ),
    }


def game(found: Simulated) -> Floats:
    """Savings by coalition, [masks], of a simulation of all coalitions."""
    month = found.month()
    return np.asarray(month[0] - month)


def daily_parts(found: Simulated) -> tuple[Floats, Floats]:
    """Shapley parts of each day's USD an hour and of its risk, [regions, days, players]; all coalitions are needed."""
    saved = [np.moveaxis(values[0] - values, 0, -1) for values in (found.usd_hour, found.risk)]
    return shapley.parts(saved[0]), shapley.parts(saved[1])
