"""A pool that costs more than it has to, packed by Karpenter while the other pools' nodes stand still.

Karpenter puts several nodes' pods on one new node only where these nodes come first in its order over all pools, and
only as many of a pool as its budget lets go: a share of a small pool is one node, and no pair of it is ever tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from include.clients.kubernetes import NODE_POOL
from include.levers.consolidation.fleet import fleet, required
from include.levers.consolidation.rest import Rest, look_again, on_its_way
from include.levers.consolidation.settings import LOOK_SECONDS, POOLS, UNDERUTILIZED, World
from include.levers.consolidation.wanted import PoolPolicy, disruption
from include.levers.node_costs import SPREAD, node_facts, usd_hour


@dataclass(frozen=True)
class DearPool:
    """A pool of several nodes, what they cost an hour, and what the cheapest would that hold its pods."""

    name: str
    nodes: int
    usd_hour: Decimal
    cheapest: Decimal

    def __str__(self) -> str:
        return f"{self.name}: {self.nodes} nodes for {self.usd_hour:.4f} USD/h where {self.cheapest:.4f} would do"


def dear_pools(world: World) -> list[DearPool]:
    """The pools above their part of the packing optimum by more than ``expected_packing``, the dearest first."""
    best, expected = fleet(world).optimum(), Decimal(str(world.settings.expected_packing))
    if best is None:
        return []
    found = []
    for name in POOLS.names:
        pool = world.cluster.get(NODE_POOL, name)
        domains = required(pool, SPREAD) if pool else ()
        mine = [fact for fact in node_facts(world) if fact.node_pool == name]
        live, least = usd_hour(world, mine)[0], sum((n.usd_hour for n in best.nodes if n.domain in domains), Decimal(0))
        if live is not None and len(mine) > 1 and live > least * expected:
            found.append(DearPool(name, len(mine), live, least))
    return sorted(found, key=lambda pool: (pool.cheapest - pool.usd_hour, pool.name))


def pack_alone(world: World, meanwhile: Callable[[], None]) -> list[str]:
    """Let Karpenter look at each dear pool alone; a line for the ledger on each, before and after.

    The nodes have to be at rest. Every pool has its own policy back afterwards, and the nodes are at rest again.
    """
    return list(_packed(world, dear_pools(world), meanwhile))


def _packed(world: World, pools: Sequence[DearPool], meanwhile: Callable[[], None]) -> Iterator[str]:
    for pool in pools if at_once(world) > 1 else ():
        before = on_its_way(world)[0]
        _await(world, only(world, pool.name), meanwhile, f"Karpenter having looked at {pool.name} alone")
        policies, changed = disruption(UNDERUTILIZED, world.settings), on_its_way(world)[0] != before
        if changed:
            _await(world, policies, meanwhile, f"the nodes being at rest after {pool.name} was packed alone")
        else:  # the nodes are those that it had no move for
            _write(world, policies)
        mine = [fact for fact in node_facts(world) if fact.node_pool == pool.name]
        now = usd_hour(world, mine)[0]
        price = "an unknown price" if now is None else f"{now:.4f} USD/h"
        yield f"{pool}; after a look at it alone {len(mine)} nodes for {price}"


def _await(world: World, policies: Sequence[PoolPolicy], meanwhile: Callable[[], None], about: str) -> None:
    _write(world, policies)
    rest = Rest(world, meanwhile, lambda: look_again(world, policies), LOOK_SECONDS)
    world.wait_for(rest.missing, about)


def _write(world: World, policies: Sequence[PoolPolicy]) -> None:
    for policy in policies:
        policy.write(world)


def only(world: World, pool: str) -> Sequence[PoolPolicy]:
    """The full policy, with all that the pools' budgets allow together for one, and none for the others."""
    return disruption(UNDERUTILIZED, world.settings, {pool: str(at_once(world))})


def at_once(world: World) -> int:
    """How many underutilized nodes the budgets of all pools let go at the same time."""
    facts = node_facts(world)
    counts = (sum(fact.node_pool == name for fact in facts) for name in POOLS.names)
    return sum(allowed(world.settings.underutilized_nodes, count) for count in counts)


def allowed(budget: str, nodes: int) -> int:
    """How many of a pool's nodes a budget lets go: a share is rounded up, as Karpenter does.

    >>> allowed("34%", 2), allowed("34%", 7), allowed("1", 5)
    (1, 3, 1)
    """
    return math.ceil(int(budget[:-1]) * nodes / 100) if budget.endswith("%") else min(int(budget), nodes)
