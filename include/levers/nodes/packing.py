"""Which instance types may host the workloads' pods, and what the cheapest of them costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Self

from include.estate import Estate
from include.levers.node_costs import spot_prices
from include.levers.world import World
from include.prices import PoolChoices, choose_instance_types, load_aws_book
from include.quantities import cores, mebibytes


class PoolTypes(NamedTuple):
    """Names of the instance types that each pool may use."""

    spot: Sequence[str]
    on_demand: Sequence[str]

    @classmethod
    def named(cls, choices: PoolChoices) -> Self:
        """The names of what is to be had."""
        return cls(*([choice.name for choice in of_pool] for of_pool in choices))

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Those of a stage; see :meth:`settings`. A stage of the release before has the same types for both pools."""
        return cls(settings["instance_types"], settings.get("on_demand_types", settings["instance_types"]))

    def settings(self) -> dict[str, list[str]]:
        """As a stage keeps them."""
        return {"instance_types": sorted(self.spot), "on_demand_types": sorted(self.on_demand)}


def pods_per_node(estate: Estate, cpu: float, memory_mib: float) -> int:
    """How many of the workloads' pods fit a node with this allocatable, counted with the largest request."""
    requests = [w.requests for w in estate.workloads.values()]
    return min(
        int(Decimal(str(cpu)) // max(cores(r.cpu) for r in requests)),
        int(Decimal(str(memory_mib)) // max(mebibytes(r.memory) for r in requests)),
    )


def cheapest_hosting(estate: Estate, choices: PoolChoices, pods: int, spot: bool) -> Decimal | None:
    """USD an hour of the cheapest way to host ``pods`` on nodes of one type; None when none fits."""
    costs = []
    for choice in choices.spot if spot else choices.on_demand:
        fits = pods_per_node(estate, choice.instance.allocatable_cpu, choice.instance.allocatable_memory_mib)
        if fits:
            costs.append(math.ceil(pods / fits) * (choice.spot if spot else choice.on_demand))
    return min(costs, default=None)


def pool_choices(world: World) -> PoolChoices:
    """The instance types that the pools may use, at EC2's own spot prices where the price book has none of the region.

    Raises TooFewInstanceTypesError with what each filter removed.
    """
    book, region = load_aws_book(world.estate), world.target.region
    quoted = {} if book.knows_spot(region) else spot_prices(world, book.instance_types())
    return choose_instance_types(book, region, world.estate.spot, quoted)
