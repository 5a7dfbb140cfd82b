"""The state that the spot lever owns, and what it must know of everybody else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from include.clients.kubernetes import EC2_NODE_CLASS, NODE_POOL, POD
from include.levers.events import EventRule, Queue, queue_arn
from include.levers.node_costs import node_facts
from include.levers.nodes import group
from include.levers.nodes.rooms import takes_pods
from include.levers.nodes.specs import Spec
from include.levers.spot_capacity.settings import NODE_CLASS, POOLS, World
from include.levers.spot_capacity.wanted import feed, placing
from include.levers.workloads.placing import PARTS, owners_of_tolerations
from include.levers.world import Object, deployments, name_of

# What the lever owns whole; what it wants of them depends on a run's settings.
CLASS_SPEC = Spec(EC2_NODE_CLASS, NODE_CLASS)
# How a pool's nodes may be disrupted is the lever consolidation's once it has taken that over.
pool_spec = partial(Spec, NODE_POOL, yields=(("spec", "disruption"),))


def read_live(world: World, found: Mapping[str, Object] | None = None) -> Object:
    """Every field that the lever owns, as JSON. An object that doesn't exist is None.

    ``found``: the Deployments to read; without it those of the estate, and one that is missing raises Refused.
    """
    arn, (queue, rules) = live_feed(world)
    found = deployments(world) if found is None else found
    placed = {name: placing(world.estate, name).state(deployment) for name, deployment in found.items()}
    return {
        "queue_arn": arn,
        "queue": queue.entry(world),
        "rules": {name: rule.entry(world) for name, rule in rules.items()},
        "node_class": CLASS_SPEC.entry(world),
        "node_pools": {name: pool_spec(name).entry(world) for name in POOLS.names},
        **{part: {name: state[part] for name, state in placed.items()} for part in PARTS},
        "node_group": dict(group.describe(world)["scalingConfig"]),
        "nodes": group.count_nodes(world, node_facts(world)),
        "moving": group.moving(world.cluster.list(POD)),
    }


def held_paths(world: World) -> list[str]:
    """The paths of what other levers hold of the pools, as a plan names them."""
    specs = (pool_spec(name) for name in POOLS.names)
    return [f"{spec.key}.{'.'.join(path[1:])}" for spec in specs for path in spec.held_by_others(world)]


def read_snapshot(world: World) -> Object:
    """``read_live``, and what a way back has to know besides: the floor, nodes out of use, who owns tolerations."""
    owners = {name: owners_of_tolerations(found, world.manager) for name, found in deployments(world).items()}
    idle = [name_of(node) for node in group.nodes(world) if not takes_pods(node)]
    floor = world.region.node_group.floor
    return {**read_live(world), "floor": floor, "out_of_use": sorted(idle), "toleration_owners": owners}


def live_feed(world: World) -> tuple[str, tuple[Queue, dict[str, EventRule]]]:
    """The interruption queue's ARN, also of one that doesn't exist yet, and what is wanted of it and its rules."""
    arn = queue_arn(world, world.region.queue)
    return arn, feed(world.estate, world.target.region, arn)
