"""What a lever's pools and the drain of the node group mean for everybody else."""

from __future__ import annotations

from dataclasses import dataclass

from include.clients.kubernetes import DAEMON_SET
from include.levers.node_costs import node_facts
from include.levers.nodes.evidence import pods_by_zone
from include.levers.nodes.pools import Pools
from include.levers.nodes.shrink import stuck_in, surplus_and_evicted
from include.levers.pods import pods_of_others, workload_pods
from include.levers.world import Object, World, readable


@dataclass(frozen=True)
class Surroundings:
    """What a lever doesn't own and its plan speaks of.

    ``zones``: in how many zones the workloads' pods stand, None when the nodes don't say. ``evicted``: the pods that
    the drain of the node group to its floor would evict, a line each; ``unmovable``: those among them that it must not,
    with the reason. ``guests``: others whose pods the pools' nodes would take. ``shut_out``: DaemonSets that will not
    run on the pools' nodes, None when they may not be read.
    """

    zones: int | None = None
    evicted: tuple[str, ...] = ()
    unmovable: tuple[str, ...] = ()
    guests: tuple[str, ...] = ()
    shut_out: tuple[str, ...] | None = ()


def surroundings(world: World, pools: Pools) -> Surroundings:
    """See :class:`Surroundings`."""
    others = pods_of_others(world)
    _, evicted = surplus_and_evicted(world, pools, world.region.node_group.floor, others)
    agents: list[Object] | None = readable(lambda: world.cluster.list(DAEMON_SET))
    return Surroundings(
        zones=len(pods_by_zone(workload_pods(world), node_facts(world))) or None,
        evicted=tuple(map(str, evicted)),
        unmovable=tuple(stuck_in(evicted)),
        guests=tuple(pools.guests(others)),
        shut_out=None if agents is None else tuple(pools.shut_out(agents)),
    )
