"""Read-only checks before anything is planned, in the order in which a person would repair what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from include.clients.kubernetes import EC2_NODE_CLASS, NODE, NODE_POOL
from include.levers import checks, node_checks, workload_checks
from include.levers.nodes.karpenter import node_labels
from include.levers.nodes.packing import PoolTypes, pool_choices
from include.levers.nodes.scheduling import ZONE, Labels, labels_of
from include.levers.spot_capacity.apply import exported, specs
from include.levers.spot_capacity.live import live_feed, read_live
from include.levers.spot_capacity.settings import NODE_CLASS, ON_DEMAND_POOL, POOLS, SPOT_POOL, World, step_domains
from include.levers.spot_capacity.wanted import placing
from include.levers.world import Object, deployments, name_of
from include.rollout.lever import Check

FEWEST_DOMAINS = 2  # what the setting domains allows at least
Checks = dict[str, Callable[[World], Iterator[Check]]]


def run_checks(world: World) -> list[Check]:
    """Every check. Never raises for a failed one."""
    world = checks.once(world)
    reached = checks.guarded("cluster reachable", world, checks.reachable)
    if not reached[0].passed:
        return reached
    served: Checks = {"Karpenter's definitions": node_checks.definitions, "workloads": checks.deployed}
    found = [*reached, *checks.several(world, served)]
    if all(check.passed for check in found):
        found += checks.several(world, OF_THE_WORKLOADS)
        types = checks.guarded("instance types", world, node_checks.instance_types)
        found += types
        if types[0].passed:
            found += checks.several(world, {"placement": _placement, "manifests accepted": _dry_run})
        found += checks.several(world, OF_THE_ROOM)
    return [*found, *checks.several(world, OF_THE_CLOUD)]


def _owners(world: World) -> Iterator[Check]:
    things: dict[str, Object | None] = {f"Deployment {name}": found for name, found in deployments(world).items()}
    kinds = dict.fromkeys(POOLS.names, NODE_POOL) | {NODE_CLASS: EC2_NODE_CLASS}
    things |= {f"{kind.name} {name}": world.cluster.get(kind, name) for name, kind in kinds.items()}
    first = "make the change in {owner}, or"
    yield from checks.owners(world, things, "undo the change", first, partial(_bodies, world))


def _bodies(world: World) -> dict[str, Object]:
    found = exported(world, read_live(world), PoolTypes.named(pool_choices(world)), ())
    return {f"{body['kind']} {name_of(body)}": body for body in (*found.manifests, *found.patches)}


def _placement(world: World) -> Iterator[Check]:
    yield from workload_checks.placement(world, pool_labels(world), [POOLS.spread])


def pool_labels(world: World) -> dict[str, list[Labels]]:
    """The labels that nodes of each pool may carry, a set for each instance type and zone."""
    zones = {labels_of(node)[ZONE] for node in world.cluster.list(NODE) if ZONE in labels_of(node)}
    choices, region = pool_choices(world), world.target.region
    return {
        pool: [*node_labels(pool, {"karpenter.sh/capacity-type": capacity, POOLS.spread: domain}, types, region, zones)]
        for pool, capacity, domain, types in (
            (SPOT_POOL, "spot", "d1", choices.spot),
            (ON_DEMAND_POOL, "on-demand", "d2", choices.on_demand),
        )
    }


def _dry_run(world: World) -> Iterator[Check]:
    types = PoolTypes.named(pool_choices(world))
    first, found = step_domains(world.settings.steps_percent, world.settings.domains)[0], deployments(world)
    wanted = specs(world, first, types)
    for spec in wanted:
        spec.write(world, dry_run=True)
    for name, deployment in found.items():
        placing(world.estate, name, world.settings.domains).write(world, deployment, dry_run=True)
    names = [*(f"{spec.kind.name} {spec.name}" for spec in wanted), *(f"Deployment {name}" for name in found)]
    yield Check("manifests accepted", True, f"the API server's dry run accepts {', '.join(names)}")


def _way_back(world: World) -> Iterator[Check]:
    found = deployments(world).items()
    away = {name: live for name, live in found if not placing(world.estate, name).state(live)["constraints"]}
    yield from node_checks.way_back(world, away, POOLS.spread)


def _queue(world: World) -> Iterator[Check]:
    arn, (queue, _) = live_feed(world)
    state = "will be created" if queue.entry(world) is None else "exists"
    yield Check("interruption queue", True, f"{arn} {state}")


def _metrics(world: World) -> Iterator[Check]:
    memory = f"{world.estate.metrics.memory}{{{world.estate.matchers(world.target.region)}}}"
    yield from checks.series_exist(world, {**checks.request_series(world), "memory": memory})


OF_THE_WORKLOADS: Checks = {
    "objects' owners": _owners,
    "rollout": checks.rollouts,
    "strategy": partial(workload_checks.strategies, change="the spread constraint"),
    "pace": workload_checks.pace,
    "pending pods": workload_checks.pending,
    "requests": workload_checks.requests,
    "architecture": lambda w: node_checks.architectures(w, w.estate.spot.architecture, w.settings.multi_arch_images),
    "do-not-disrupt": lambda w: workload_checks.disruption(w, POOLS.names, w.settings.accept_do_not_disrupt),
    "volumes": workload_checks.volumes,
    "quota": workload_checks.surge_quotas,
    "disruption budget": workload_checks.budgets_exist,
    "disruption budgets": workload_checks.budgets_allow,
}
OF_THE_ROOM: Checks = {
    "domains": lambda world: workload_checks.replicas(world, world.settings.domains, FEWEST_DOMAINS),
    "pool limits": lambda w: node_checks.pool_limits(w, w.estate.spot.cpu_limit, w.estate.spot.memory_limit),
    "way back": _way_back,
    "evictions": lambda world: node_checks.evictions(world, POOLS, world.settings.accept_unmovable_pods),
}
OF_THE_CLOUD: Checks = {
    "node group": node_checks.group_active,
    "interruption queue": _queue,
    "Karpenter's queue": node_checks.karpenter_queue,
    "commitments": lambda world: node_checks.commitments(world, world.settings.accept_stranded_commitments),
    "metrics": _metrics,
    "Karpenter running": node_checks.karpenter_runs,
}
