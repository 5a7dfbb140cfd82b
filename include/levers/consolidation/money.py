"""What the nodes cost now and after: the packing optimum times what Karpenter is expected to make of it."""

from __future__ import annotations

from decimal import Decimal

from include.levers.base import Dollars
from include.levers.consolidation import floor
from include.levers.consolidation.fleet import fleet
from include.levers.consolidation.settings import POOLS, World
from include.levers.node_costs import NodeFact, node_facts, usd_hour
from include.prices import load_aws_book, usd_month


def predicted(world: World) -> Dollars:
    """USD a month of all nodes. Spot prices are EC2's of this moment, on demand is the book's."""
    nodes = node_facts(world)
    before, book = usd_hour(world, nodes)[0], load_aws_book(world.estate)
    after = after_hour(world, nodes)
    months = [None if usd is None else usd_month(usd) for usd in (before, after)]
    return Dollars(months[0], months[1], f"{book.name} ({book.date}); spot as EC2 quotes it")


def after_hour(world: World, nodes: list[NodeFact]) -> Decimal | None:
    """USD an hour after the last slot: Karpenter's nodes, and those that are not."""
    found = fleet(world)
    best = found.reachable() if world.settings.most_emptied_nodes else found.optimum()
    rest = _rest(world, [node for node in nodes if node.node_pool not in POOLS.names])
    if best is None or rest is None:
        return None
    packed = best.usd_hour * Decimal(str(world.settings.expected_packing))
    # Nodes that cost less than expected are not expected to cost more.
    return rest + (packed if found.usd_hour is None else min(packed, found.usd_hour))


def _rest(world: World, nodes: list[NodeFact]) -> Decimal | None:
    if not world.settings.right_size_floor:
        return usd_hour(world, nodes)[0]
    mine = world.region.node_group.name
    after, others = floor.usd_hour_after(world), [node for node in nodes if node.node_group != mine]
    kept = usd_hour(world, [node for node in others if not floor.is_floor(world, node)])[0]
    return None if after is None or kept is None else after + kept
