"""Read-only checks before anything is planned, in the order in which a person would repair what they find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from include.clients.kubernetes import DISRUPTION_BUDGET, NODE_POOL, VERTICAL_AUTOSCALER
from include.levers import checks, node_checks, workload_checks
from include.levers.base import CheckOf
from include.levers.consolidation import budgets, floor
from include.levers.consolidation.fleet import TYPE, fleet, required
from include.levers.consolidation.pins import pins
from include.levers.consolidation.settings import POOLS, SPOT_TO_SPOT_TYPES, ConsolidationSettings, World
from include.levers.nodes.pools import claims_of, find, unsettled
from include.levers.world import condition
from include.rollout.lever import Check


def of_the_pools(world: World) -> Iterator[Check]:
    """Do the spot lever's pools stand, and is Karpenter ready to use them?"""
    for name in POOLS.names:
        pool = find(world, NODE_POOL, name)
        if pool is None:
            yield Check(f"NodePool {name}", False, f"NodePool {name} does not exist", "promote day1_spot first")
        elif condition(pool, "Ready") != "True":
            reason = f"NodePool {name} is not ready"
            yield Check(f"NodePool {name}", False, reason, f"see kubectl describe nodepool {name}")
        else:
            yield Check(f"NodePool {name}", True, f"NodePool {name} is ready")


def at_rest(world: World) -> Iterator[Check]:
    """Is no node on its way? What is packed is what the levers before have left."""
    moving = unsettled(claims_of(world, POOLS.names))
    remedy = "wait until Karpenter has replaced it, or see kubectl describe nodeclaim"
    if moving:
        yield Check("nodes at rest", False, "; ".join(moving), remedy)
    else:
        yield Check("nodes at rest", True, "no node of the pools is coming, drifting or going")


def spot_to_spot(world: World) -> Iterator[Check]:
    """Which moves will Karpenter not make? It replaces one spot node by another only with enough cheaper types."""
    counts = {name: len(required(pool, TYPE)) for name in POOLS.names if (pool := find(world, NODE_POOL, name))}
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    needs = f"one spot node is replaced by a cheaper one only with {SPOT_TO_SPOT_TYPES} cheaper types and the gate"
    yield Check("spot to spot", True, f"types: {listed}; {needs} SpotToSpotConsolidation; several nodes by one always")


def expiry(world: World) -> Iterator[Check]:
    """When do the nodes end by themselves? Budgets don't hold that back."""
    pools = {name: pool for name in POOLS.names if (pool := find(world, NODE_POOL, name)) is not None}
    times = {name: pool["spec"]["template"]["spec"].get("expireAfter", "720h") for name, pool in pools.items()}
    ends = ", ".join(f"{name} after {time}" for name, time in times.items() if time != "Never")
    yield Check("expiry", True, f"budgets don't hold expiry back: {ends}" if ends else "nodes don't expire")


def recommendations(world: World) -> Iterator[Check]:
    """Which recommendations are held while nodes are packed?"""
    found = pins(world)
    without = [pin.name for pin in found if not ((pin.live(world) or {}).get("status") or {}).get("recommendation")]
    kind = VERTICAL_AUTOSCALER.name
    if without:
        reason = f"{kind} {', '.join(without)} has no recommendation yet"
        yield Check("recommendations", False, reason, "wait until day4_right_sizing is promoted, or delete the object")
    elif found:
        yield Check("recommendations", True, f"held while nodes are packed: {', '.join(pin.name for pin in found)}")
    else:
        yield Check("recommendations", True, f"no {kind} stands: pods request what their templates say")


def packing(world: World) -> Iterator[Check]:
    """Can the optimum be computed?"""
    found = fleet(world)
    best = found.optimum()
    if best is None:
        reason = f"no packing of {sum(shape.count for shape in found.shapes)} pods out of {len(found.offers)} offers"
        remedy = "see that the pools' instance types are in the price book and EC2 quotes their spot prices"
        yield Check("packing", False, reason, remedy)
        return
    pods, live = sum(shape.count for shape in found.shapes), found.usd_hour
    now = "at an unknown price" if live is None else f"at {live:.4f} USD/h"
    text = f"{pods} pods on {found.nodes} nodes {now}; the cheapest {len(best.nodes)} cost {best.usd_hour:.4f}"
    yield Check("packing", True, text if best.exact else f"{text} or more")


def watched(world: World) -> Iterator[Check]:
    """Can every state of the disruption budgets be seen?"""
    count = len(world.cluster.list(DISRUPTION_BUDGET))
    series = budgets.SERIES.format("current")
    if world.prometheus.series_exists(f'{series}{{region="{world.target.region}"}}'):
        text = f"{count} PodDisruptionBudgets, in a long soak by {series}"
    else:
        text = f"{count} PodDisruptionBudgets; without {series} of kube-state-metrics only soaks of up to 4 minutes"
    yield Check("budgets watched", True, text)


def metrics(world: World) -> Iterator[Check]:
    """Are there the series that the gates look at?"""
    yield from checks.series_exist(world, checks.request_series(world))


def of_the_workloads(settings: ConsolidationSettings) -> Mapping[str, CheckOf[ConsolidationSettings]]:
    """The checks of what moves."""
    return {
        "rollout": checks.rollouts,
        "pending pods": workload_checks.pending,
        "do-not-disrupt": lambda world: workload_checks.disruption(world, POOLS.names, settings.accept_do_not_disrupt),
        "disruption budget": workload_checks.budgets_exist,
        "disruption budgets": workload_checks.budgets_allow,
        "recommendations": recommendations,
    }


OF_THE_NODES: Mapping[str, CheckOf[ConsolidationSettings]] = {
    "nodes at rest": at_rest,
    "spot to spot": spot_to_spot,
    "expiry": expiry,
    "prices": checks.prices,
    "packing": packing,
    **floor.checks(),
}
OF_WHAT_IT_RESTS_ON: Mapping[str, CheckOf[ConsolidationSettings]] = {
    "budgets watched": watched,
    "metrics": metrics,
    "Karpenter running": node_checks.karpenter_runs,
}
