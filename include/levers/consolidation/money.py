"""What the nodes cost now and after: the packing optimum times what Karpenter is expected to make of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from include.levers.base import Dollars
from include.levers.consolidation import floor
from include.levers.consolidation.fleet import evened, fleet
from include.levers.consolidation.settings import POOLS, World
from include.levers.node_costs import NodeFact, node_facts, usd_hour
from include.levers.nodes.optimum import Shape, optimum
from include.prices import load_aws_book, usd_month


def predicted(world: World, evictions: int) -> Dollars:
    """USD a month of all nodes. Spot prices are EC2's of this moment, on demand is the book's.

    So many ``evictions`` even pods out over all domains first.
    """
    nodes = node_facts(world)
    before, book = usd_hour(world, nodes)[0], load_aws_book(world.estate)
    after = after_hour(world, nodes, evictions)
    months = [None if usd is None else usd_month(usd) for usd in (before, after)]
    return Dollars(months[0], months[1], f"{book.name} ({book.date}); spot as EC2 quotes it")


def evening_notes(world: World, evictions: int) -> list[str]:
    """What evening out the domains moves and costs, for an approver; nothing where they are even."""
    found = fleet(world)
    after = evened(found.shapes, found.domains, evictions)
    moved = (_by_domain(after) - _by_domain(found.shapes)).total()
    if not moved:
        return []
    costs = [best.usd_hour for shapes in (found.shapes, after) if (best := optimum(shapes, found.offers)) is not None]
    words = "" if len(costs) < 2 else f": the cheapest nodes cost {costs[1]:.4f} USD an hour then, {costs[0]:.4f} now"
    return [
        f"{moved} pods move, so that the domains are as even as their spread asks for, without which they can't be "
        f"packed{words} (even_domains)"
    ]


def _by_domain(shapes: Sequence[Shape]) -> Counter[tuple[str, str | None]]:
    counts: Counter[tuple[str, str | None]] = Counter()
    for shape in shapes:
        counts[shape.workload, shape.domain] += shape.count
    return counts


def after_hour(world: World, nodes: list[NodeFact], evictions: int) -> Decimal | None:
    """USD an hour after the last slot: Karpenter's nodes, and those that are not."""
    found = fleet(world)
    best = found.reachable(evictions) if evictions or world.settings.most_emptied_nodes else found.optimum()
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
