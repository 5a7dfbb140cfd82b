"""Writing the stages. Everything here may run again after a crash at any point: it looks first, and converges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from include.clients.kubernetes import EC2_NODE_CLASS
from include.levers.node_costs import NodeFact, node_facts
from include.levers.nodes import group
from include.levers.nodes.evidence import misplaced, share_figures
from include.levers.nodes.packing import PoolTypes
from include.levers.nodes.pools import claims_of, unsettled
from include.levers.nodes.shrink import shrink
from include.levers.nodes.specs import Spec, check_zones, wait_ready
from include.levers.owned import Thing
from include.levers.pods import incomplete, pending_seconds, waiting, workload_pods
from include.levers.spot_capacity.live import live_feed, pool_spec
from include.levers.spot_capacity.settings import NODE_CLASS, POOLS, SPOT_POOL, World, pools_by_domain, step_domains
from include.levers.spot_capacity.wanted import node_class, node_pools, parts_of, placing
from include.levers.world import deployments
from include.rollout.export import Export, joined
from include.rollout.lever import Difference, Stage


def move_domains(world: World, stage: Stage) -> dict[str, Any]:
    """Offer the stage's domains on spot and spread the pods over all of them."""
    started, wanted = world.now(), stage.settings
    queue, rules = live_feed(world)[1]
    things: list[Thing] = [queue, *rules.values()]
    for thing in things:
        thing.write(world)
    node_class, *pools = specs(world, wanted["spot_domains"], PoolTypes.of(wanted))
    node_class.write(world)
    wait_ready(world, [node_class])
    check_zones(world, NODE_CLASS)
    # Spot first: a domain is always offered by a pool, and the nodes that lose theirs find it there.
    for pool in pools:
        pool.write(world)
    wait_ready(world, pools)
    world.target.fence()
    for name, deployment in deployments(world).items():
        placing(world.estate, name, wanted["domains"]).write(world, deployment)
    seconds = wait_settled(world, stage, f"moving to {wanted['spot_domains']} of {wanted['domains']} spot domains")
    return {
        "spot_domains": wanted["spot_domains"],
        "domains": wanted["domains"],
        "converged_seconds": round(seconds, 1),
        **placement_figures(world, started),
    }


def specs(world: World, spot_domains: int, types: PoolTypes) -> list[Spec]:
    """The node class and both pools when the first ``spot_domains`` domains are spot, in the order of their making."""
    pools = node_pools(world.estate, world.settings, spot_domains, types)
    made = Spec(EC2_NODE_CLASS, NODE_CLASS, node_class(world.estate, world.target.region))
    return [made, *(pool_spec(name, pools[name]) for name in POOLS.names)]


def exported(world: World, live: Mapping[str, Any], types: PoolTypes, changed: Sequence[Difference]) -> Export:
    """All of it as files, beside what others have in the state ``live``; ``changed`` are the plan's differences."""
    domains, (queue, rules) = world.settings.domains, live_feed(world)[1]
    made = specs(world, step_domains(world.settings.steps_percent, domains)[-1], types)
    things: list[Thing] = [*made, queue, *rules.values()]
    added = (placing(world.estate, n, domains).beside_parts(parts_of(live, n)) for n in world.estate.workloads)
    found = [thing.export(world, None) for thing in things]
    return joined([*found, Export(patches=tuple(added)), group.export(world, changed)])


def shrink_node_group(world: World, stage: Stage) -> dict[str, Any]:
    """Let the nodes beyond the floor go; see :func:`shrink`, which may refuse before anything is cordoned."""
    started = world.now()
    wait_settled(world, stage, "having all pods on the new nodes before the old ones go")
    gone = shrink(world, POOLS, int(stage.settings["floor"]), world.settings.accept_unmovable_pods)
    settle = wait_settled(world, stage, "settling on the new nodes alone")
    return {**gone, "settle_seconds": round(settle, 1), **placement_figures(world, started)}


# Settled ---------------------------------------------------------------------------------------------------------


def wait_settled(world: World, stage: Stage, what: str) -> float:
    """Wait until every pod is ready on the pool of its domain and no NodeClaim is on its way in or out."""
    pools = pools_by_domain(stage.settings["domains"], stage.settings["spot_domains"])

    def missing() -> list[str]:
        found, pods = deployments(world), workload_pods(world)
        placed = misplaced(found, pods, node_facts(world), pools)
        return [*incomplete(found), *placed, *unsettled(claims_of(world, POOLS.names)), *waiting(pods)]

    return world.wait_for(missing, what)


def placement_figures(world: World, since: float) -> dict[str, Any]:
    """Nodes, shares and the longest wait of a pod since ``since``, for the ledger."""
    nodes, pods = node_facts(world), workload_pods(world)
    return {
        "nodes": len(nodes),
        "spot_nodes": sum(n.capacity == "spot" for n in nodes),
        "fallback_nodes": fallback_nodes(nodes),
        **share_figures(world, nodes, pods),
        "pending_seconds_max": max(pending_seconds(pods, world.now(), since), default=0.0),
    }


def fallback_nodes(nodes: Sequence[NodeFact]) -> int:
    """Nodes of the spot pool that run on demand, for want of spot capacity."""
    return sum(n.node_pool == SPOT_POOL and n.capacity != "spot" for n in nodes)
