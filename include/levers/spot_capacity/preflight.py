"""Read-only checks before anything is planned. Each gives one line: what was looked at, and the remedy if it failed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

from include.clients.kubernetes import (
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    EC2_NODE_CLASS,
    NODE,
    NODE_CLAIM,
    NODE_POOL,
    POD,
    VOLUME_CLAIM,
    ForbiddenError,
)
from include.levers import checks, nodes, workloads
from include.levers.common import NODE_GROUP_LABEL, SPREAD, Object, deployments, name_of
from include.levers.nodes import ARCHITECTURE, HOST, ZONE, Crowd, Labels, Room, by_node, crowd_of, room_of, takes_pods
from include.levers.spot_capacity import karpenter
from include.levers.spot_capacity.apply import write_placement
from include.levers.spot_capacity.dependents import evictable
from include.levers.spot_capacity.live import (
    MANAGER,
    World,
    instance_types,
    node_group,
    read_queue,
    surplus_and_evicted,
)
from include.levers.spot_capacity.plan import (
    NODE_CLASS,
    ON_DEMAND_POOL,
    POOLS,
    SPOT_POOL,
    constraint_of,
    node_class,
    node_pools,
    step_domains,
)
from include.levers.workloads import Finding
from include.prices import Choice, PriceBookError, load_aws_book
from include.quantities import cores, quantity
from include.rollout.lever import Check

FEWEST_DOMAINS = 2  # what the setting domains allows at least
OLD_NAMES = {
    "beta.kubernetes.io/arch": ARCHITECTURE,
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/zone": ZONE,
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}


def run_checks(world: World) -> list[Check]:
    """Every check, in the order in which a person would repair them. Never raises for a failed check."""
    world = checks.once(world)
    reached = checks.guarded("cluster reachable", world, checks.reachable)
    if not reached[0].passed:
        return reached
    served = checks.several(world, {"Karpenter's definitions": _definitions, "workloads": checks.deployed})
    found = [*reached, *served]
    if all(check.passed for check in found):
        found += checks.several(world, OF_THE_WORKLOADS)
        types = checks.guarded("instance types", world, _instance_types)
        found += types
        if types[0].passed:
            found += checks.several(world, {"placement": _placement, "manifests accepted": _dry_run})
        found += checks.several(world, OF_THE_ROOM)
    return [*found, *checks.several(world, OF_THE_CLOUD)]


# The cluster -----------------------------------------------------------------------------------------------------


def _definitions(world: World) -> Iterator[Check]:
    for kind in (NODE_POOL, NODE_CLAIM, EC2_NODE_CLASS):
        name = f"{kind.plural}.{kind.api_version}"
        if world.cluster.serves(kind):
            yield Check(f"definition {kind.plural}", True, f"{name} is served")
        else:
            remedy = f"install Karpenter 1.x with its CustomResourceDefinitions in {world.region.cluster}"
            yield Check(f"definition {kind.plural}", False, f"{name} is not served", remedy)


def _group(world: World) -> list[Object]:
    """Nodes of the old node group."""
    name = world.region.node_group.name
    return [n for n in world.cluster.list(NODE) if (n["metadata"].get("labels") or {}).get(NODE_GROUP_LABEL) == name]


def _own_pods(world: World, deployment: Object) -> list[Object]:
    return checks.pods_of(world, deployment, world.cluster.list(POD))


def _requests_of(world: World, deployment: Object) -> dict[str, Decimal]:
    return workloads.live_requests(deployment, _own_pods(world, deployment))


def _others(world: World) -> list[Object]:
    """Pods of all namespaces that are no workload's and have not ended."""
    own = {name_of(p) for d in deployments(world).values() for p in _own_pods(world, d)}
    return [
        pod
        for pod in world.cluster.list(POD)
        if not workloads.is_finished(pod)
        and not (pod["metadata"]["namespace"] == world.estate.namespace and name_of(pod) in own)
    ]


# The workloads ---------------------------------------------------------------------------------------------------


def _strategies(world: World) -> Iterator[Check]:
    found = checks.each(world, workloads.strategy_findings)
    yield from checks.report("strategy", found, "no rollout of a Deployment takes all of its pods down at once")


def _pace(world: World) -> Iterator[Check]:
    found = checks.each(world, lambda deployment: workloads.slow_findings(deployment, world.timeout))
    yield from checks.report("pace", found, f"a pod ends and counts as ready within {world.timeout:.0f} s")


def _pending(world: World) -> Iterator[Check]:
    found = checks.each(world, lambda d: workloads.pending_findings(d, _own_pods(world, d)))
    yield from checks.report("pending pods", found, "every pod of the workloads has a node")


def _requests(world: World) -> Iterator[Check]:
    def find(deployment: Object) -> Iterator[Finding]:
        wanted = world.estate.workloads[name_of(deployment)].requests
        return workloads.request_findings(deployment, _own_pods(world, deployment), wanted)

    yield from checks.report("requests", checks.each(world, find), "the pods request what estate.yaml says")


def _architecture(world: World) -> Iterator[Check]:
    wanted, book = world.estate.spot.architecture, load_aws_book(world.estate)
    group = world.region.node_group

    def of_type(instance_type: str) -> str | None:
        try:
            return book.details(instance_type).arch
        except PriceBookError:
            return None

    known: dict[str, str | None] = {}
    for node in _group(world):
        labels = node["metadata"].get("labels") or {}
        told = labels.get(ARCHITECTURE) or node.get("status", {}).get("nodeInfo", {}).get("architecture")
        instance_type = labels.get("node.kubernetes.io/instance-type", group.instance_type)
        known[f"node {name_of(node)} of {group.name}"] = told or of_type(instance_type)
    described = of_type(group.instance_type)
    if described:
        known[f"node group {group.name} ({group.instance_type} in estate.yaml)"] = described
    confirmed = world.settings.multi_arch_images
    found = checks.each(world, lambda d: workloads.architecture_findings(d, known, wanted, confirmed))
    passed = f"the nodes are {wanted}, like the pools"
    yield from checks.report("architecture", found, f"{passed}{' (multi_arch_images)' if confirmed else ''}")


def _disruption(world: World) -> Iterator[Check]:
    findings = list(checks.each(world, lambda d: workloads.disruption_findings(d, _own_pods(world, d))))
    findings += list(_kept_nodes(world))
    if findings and world.settings.accept_do_not_disrupt:
        told = "; ".join(finding.reason for finding in findings)
        yield Check("do-not-disrupt", True, f"accepted (accept_do_not_disrupt): {told}")
        return
    yield from checks.report("do-not-disrupt", findings, "no pod and no new node asks not to be disrupted")


def _kept_nodes(world: World) -> Iterator[Finding]:
    ours = [n for n in world.cluster.list(NODE) if (n["metadata"].get("labels") or {}).get(karpenter.POOL) in POOLS]
    kept = sorted(name_of(node) for node in ours if workloads.asks_to_be_left(node))
    if kept:
        reason = f"nodes {workloads.listed(kept)} are annotated {workloads.DO_NOT_DISRUPT}: they would never drift away"
        yield Finding("nodes", reason, "remove the annotation, or set accept_do_not_disrupt")


def _volumes(world: World) -> Iterator[Check]:
    used = any(d["spec"]["template"]["spec"].get("volumes") for d in deployments(world).values())
    space = world.estate.namespace
    claims = (checks.readable(lambda: world.cluster.list(VOLUME_CLAIM, space)) or []) if used else []
    by_name = {name_of(claim): claim for claim in claims}
    found = checks.each(world, lambda deployment: workloads.volume_findings(deployment, by_name))
    yield from checks.report("volumes", found, "no workload mounts a volume that ties its pods to a node")


def _quotas(world: World) -> Iterator[Check]:
    more = {name: workloads.max_surge(found) for name, found in deployments(world).items()}
    what = f"the {sum(more.values())} pods that the rollouts add for a while"
    yield from checks.quotas(world, more, world.cluster.list(POD), what)


def _placement(world: World) -> Iterator[Check]:
    pools = pool_labels(world, instance_types(world))
    found = checks.each(world, lambda deployment: workloads.tie_findings(deployment, pools, [SPREAD]))
    yield from checks.report("placement", found, f"the pods may be on nodes of {' and '.join(pools)}")


def pool_labels(world: World, choices: Sequence[Choice]) -> dict[str, list[Labels]]:
    """The labels that nodes of each pool may carry, a set for each instance type and zone."""
    zones = {(n["metadata"].get("labels") or {}).get(ZONE) for n in world.cluster.list(NODE)} - {None}
    found: dict[str, list[Labels]] = {}
    for pool, capacity, domain in ((SPOT_POOL, "spot", "d1"), (ON_DEMAND_POOL, "on-demand", "d2")):
        own = {karpenter.POOL: pool, "karpenter.sh/capacity-type": capacity, SPREAD: domain, HOST: "a new node"}
        place = {"kubernetes.io/os": "linux", "topology.kubernetes.io/region": world.target.region}
        sorts = [_type_labels(choice) for choice in choices]
        found[pool] = [
            with_old_names({**own, **place, **sort, **zone})
            for sort in sorts
            for zone in [{ZONE: str(zone)} for zone in sorted(zones, key=str)] or [{}]
        ]
    return found


def with_old_names(labels: Labels) -> Labels:
    """The labels with those of older releases, which nodes carry besides."""
    return {**labels, **{old: labels[new] for old, new in OLD_NAMES.items() if new in labels}}


def _type_labels(choice: Choice) -> dict[str, str]:
    instance, prefix = choice.instance, "karpenter.k8s.aws/instance"
    family = instance.name.split(".")[0]
    generation = re.search(r"\d+", family)
    return {
        "node.kubernetes.io/instance-type": instance.name,
        ARCHITECTURE: instance.arch,
        f"{prefix}-category": instance.category,
        f"{prefix}-family": family,
        f"{prefix}-generation": generation[0] if generation else "",
        f"{prefix}-size": instance.size,
        f"{prefix}-cpu": str(instance.vcpu),
        f"{prefix}-memory": str(instance.memory_mib),
    }


# Who owns what ---------------------------------------------------------------------------------------------------


def _owners(world: World) -> Iterator[Check]:
    things: dict[str, Object | None] = {f"Deployment {name}": found for name, found in deployments(world).items()}
    things |= {f"NodePool {name}": world.cluster.get(NODE_POOL, name) for name in POOLS}
    things[f"EC2NodeClass {NODE_CLASS}"] = world.cluster.get(EC2_NODE_CLASS, NODE_CLASS)
    yield from checks.owners(world, things, "undo the change", "make the change in {owner}, or")


# Disruption budgets ----------------------------------------------------------------------------------------------


def _budgets(world: World) -> Iterator[Check]:
    budgets = world.cluster.list(DISRUPTION_BUDGET)
    moved = _pods_to_move(world)
    passed = f"{len(budgets)} PodDisruptionBudgets let {len(moved)} pods move"
    yield from checks.report("disruption budgets", workloads.budget_findings(budgets, moved), passed)


def _pods_to_move(world: World) -> list[Object]:
    group = {name_of(node) for node in _group(world)}
    others = [pod for pod in _others(world) if pod["spec"].get("nodeName") in group and evictable(pod)]
    return [*others, *(pod for d in deployments(world).values() for pod in _own_pods(world, d))]


# What is about to be built ---------------------------------------------------------------------------------------


def _instance_types(world: World) -> Iterator[Check]:
    choices, book = instance_types(world), load_aws_book(world.estate)
    cheapest = ", ".join(choice.name for choice in choices[:3])
    source = f"by price and interruption band ({book.date})"
    if not book.knows_spot(world.target.region):
        source = "by EC2's own prices; how often they are interrupted here is not known"
    yield Check("instance types", True, f"{len(choices)} types {source}, cheapest first: {cheapest} ...")


def _domains(world: World) -> Iterator[Check]:
    domains = world.settings.domains
    found = checks.each(world, lambda d: workloads.replica_findings(d, domains, FEWEST_DOMAINS))
    yield from checks.report("domains", found, f"{domains} domains, one node each at least")


def _limits(world: World) -> Iterator[Check]:
    cpu, memory = Decimal(0), Decimal(0)
    for deployment in deployments(world).values():
        replicas, each = workloads.replicas_of(deployment), _requests_of(world, deployment)
        cpu += replicas * each.get("cpu", Decimal(0))
        memory += replicas * each.get("memory", Decimal(0))
    limits = world.estate.spot
    asked = f"the pods request {nodes.shown({'cpu': cpu, 'memory': memory})}"
    if cpu > cores(limits.cpu_limit) or memory > quantity(limits.memory_limit):
        reason = f"{asked}, a pool may have {limits.cpu_limit} and {limits.memory_limit}"
        yield Check("pool limits", False, reason, "raise spot.cpu_limit and spot.memory_limit")
    else:
        yield Check("pool limits", True, f"{asked}, within what a pool may have")


def _dry_run(world: World) -> Iterator[Check]:
    types = [choice.name for choice in instance_types(world)]
    first = step_domains(world.settings.steps_percent, world.settings.domains)[0]
    bodies = [
        node_class(world.estate, world.target.region),
        *node_pools(world.estate, world.settings, first, types).values(),
    ]
    for body in bodies:
        world.cluster.apply(body, MANAGER, dry_run=True)
    found = deployments(world)
    for name, deployment in found.items():
        write_placement(world, name, deployment, world.settings.domains, dry_run=True)
    names = [*(f"{body['kind']} {name_of(body)}" for body in bodies), *(f"Deployment {name}" for name in found)]
    yield Check("manifests accepted", True, f"the API server's dry run accepts {', '.join(names)}")


# The way back ----------------------------------------------------------------------------------------------------


def _way_back(world: World) -> Iterator[Check]:
    """Would the node group, as it takes pods today, hold those that a rollback brings back to it?"""
    away = {name: found for name, found in deployments(world).items() if constraint_of(found) is None}
    if not away:
        yield Check("way back", True, "the pods are on the pools already: a rollback of this run leaves them there")
        return
    group, others = _group(world), by_node(_others(world))
    usable = [node for node in group if takes_pods(node)]
    rooms = [room_of(node, others.get(name_of(node), ())) for node in usable]
    crowds = [
        crowd_of(name, workloads.replicas_of(d), _requests_of(world, d), d["spec"]["template"], SPREAD)
        for name, d in away.items()
    ]
    yield way_back(crowds, rooms, sorted({name_of(n) for n in group} - {room.name for room in rooms}))


def way_back(crowds: Sequence[Crowd], rooms: Sequence[Room], unusable: Sequence[str]) -> Check:
    """Whether the rooms of the node group take every crowd; ``unusable`` are its nodes that take no pods."""
    if not rooms:
        reason = "the node group has no node that takes pods"
        return Check("way back", False, reason, "start from a node group that carries the pods")
    every = len(rooms) + len(unusable)
    held = f"{every} nodes of the node group"
    if unusable:
        held = f"{len(rooms)} of {every} nodes of the node group ({workloads.listed(unusable)} cordoned or not ready)"
    wanted, placed = sum(crowd.count for crowd in crowds), nodes.place(crowds, rooms)
    if sum(placed.values()) >= wanted:
        return Check("way back", True, f"{held} hold the {wanted} pods that a rollback brings back")
    reason = f"{held} hold {sum(placed.values())} of {wanted} pods{_by_domain(crowds, rooms)}: a rollback would not fit"
    return Check("way back", False, reason, "grow the node group before the rollout, or lower requests")


def _by_domain(crowds: Sequence[Crowd], rooms: Sequence[Room]) -> str:
    """Where the smallest domain of a hard spread has too little room: how many pods it needs, how many fit."""
    for key in sorted({key for crowd in crowds for key in crowd.skews}):
        hard = [crowd for crowd in crowds if key in crowd.skews]
        domains = sorted({room.labels[key] for room in rooms if key in room.labels})
        need = sum(math.ceil(crowd.count / len(domains)) for crowd in hard) if domains else 0
        fits = {
            domain: _fitting(hard, [room for room in rooms if room.labels.get(key) == domain]) for domain in domains
        }
        smallest = min(domains, key=lambda domain: fits[domain], default="")
        if domains and fits[smallest] < need:
            return f" ({need} pods in each of {len(domains)} {key}, {fits[smallest]} fit in {smallest})"
    return ""


def _fitting(crowds: Sequence[Crowd], rooms: Sequence[Room]) -> int:
    """How many pods of the crowds these rooms hold, whatever their spread."""
    free = [Crowd(crowd.name, crowd.count, crowd.requests, crowd.spec, {}) for crowd in crowds]
    return sum(nodes.place(free, rooms).values())


# The way out -----------------------------------------------------------------------------------------------------


def _evictions(world: World) -> Iterator[Check]:
    """Who else would be moved when the old node group goes down to its floor, and where to?"""
    group = world.region.node_group
    _, evicted = surplus_and_evicted(world, group.floor)
    stuck = "; ".join(f"{pod}: {pod.problem}" for pod in evicted if pod.problem)
    if not stuck:
        yield Check("evictions", True, f"the drain of {group.name} evicts {len(evicted)} pods; each finds another node")
    elif world.settings.accept_unmovable_pods:
        yield Check("evictions", True, f"accepted (accept_unmovable_pods): {stuck}")
    else:
        remedy = "move these pods or let them end, raise node_group.floor, or set accept_unmovable_pods"
        yield Check("evictions", False, f"draining {group.name} would evict {stuck}", remedy)


# The cloud -------------------------------------------------------------------------------------------------------


def _node_group(world: World) -> Iterator[Check]:
    group, wanted = node_group(world), world.region.node_group
    scaling = group["scalingConfig"]
    reason = f"{wanted.name} of {world.region.cluster}: {scaling['desiredSize']} nodes, {group['status']}"
    if group["status"] != "ACTIVE":
        yield Check("node group", False, reason, "wait until its update has ended, or repair the node group")
    elif not group.get("resources", {}).get("autoScalingGroups"):
        yield Check("node group", False, f"{wanted.name} has no Auto Scaling group", "use a managed node group")
    else:
        yield Check("node group", True, reason)


def _queue(world: World) -> Iterator[Check]:
    arn, attributes = read_queue(world)
    state = "will be created" if attributes is None else "exists"
    yield Check("interruption queue", True, f"{arn} {state}")


def _karpenter_queue(world: World) -> Iterator[Check]:
    """Does Karpenter listen to the queue that the estate names? An interruption would be lost in another one."""
    try:
        named = [world.cluster.get(DEPLOYMENT, karpenter.NAME, space) for space in karpenter.NAMESPACES]
        deployment = next(filter(None, [*named, *world.cluster.list(DEPLOYMENT, labels=karpenter.LABEL)]), None)
    except ForbiddenError:
        yield Check("Karpenter's queue", True, "Karpenter's Deployment can't be read: its queue was not compared")
        return
    if deployment is None:
        reason = f"no Deployment {karpenter.NAME} was found: its queue was not compared"
        yield Check("Karpenter's queue", True, reason)
        return
    space = deployment["metadata"]["namespace"]

    def config_map(name: str) -> Mapping[str, str] | None:
        try:
            return (world.cluster.get(CONFIG_MAP, name, space) or {}).get("data") or {}
        except ForbiddenError:
            return None

    yield karpenter.queue_check(karpenter.queue_of(deployment, config_map), world.target.region, world.region.queue)


def _commitments(world: World) -> Iterator[Check]:
    family = world.region.node_group.instance_type.split(".")[0]
    covered = list(stranded(world, family))
    if not covered:
        yield Check("commitments", True, f"no active Reserved Instance or Savings Plan covers {family} here")
    elif world.settings.accept_stranded_commitments:
        yield Check("commitments", True, f"accepted (accept_stranded_commitments): {'; '.join(covered)}")
    else:
        reason = f"spot uses no commitment, these would be paid for nothing: {'; '.join(covered)}"
        remedy = "let them end or sell them first, or set accept_stranded_commitments"
        yield Check("commitments", False, reason, remedy)


def stranded(world: World, family: str) -> Iterator[str]:
    """Active commitments that cover on-demand nodes of ``family`` in the region, one line each."""
    active = [{"Name": "state", "Values": ["active"]}]
    answer = world.aws.call("ec2", "describe_reserved_instances", Filters=active)
    for reserved in answer.get("ReservedInstances", []):
        if reserved["InstanceType"].split(".")[0] == family:
            count, kind = reserved["InstanceCount"], reserved["InstanceType"]
            yield f"{count} Reserved Instances {kind} until {reserved.get('End')}"
    request = {"states": ["active"]}
    while True:
        answer = world.aws.call("savingsplans", "describe_savings_plans", **request)
        for plan in answer.get("savingsPlans", []):
            everywhere = plan["savingsPlanType"] == "Compute"
            if everywhere or (plan.get("ec2InstanceFamily"), plan.get("region")) == (family, world.target.region):
                yield f"Savings Plan {plan['savingsPlanId']} ({plan['savingsPlanType']}, {plan['commitment']} USD/h)"
        if not answer.get("nextToken"):
            return
        request["nextToken"] = answer["nextToken"]


# Metrics ---------------------------------------------------------------------------------------------------------


def _metrics(world: World) -> Iterator[Check]:
    memory = f"{world.estate.metrics.memory}{{{world.estate.matchers(world.target.region)}}}"
    yield from checks.series_exist(world, {**checks.request_series(world), "memory": memory})


def _karpenter(world: World) -> Iterator[Check]:
    series = f'up{{job="karpenter",region="{world.target.region}"}}'
    up = world.prometheus.value(f"max({series})")
    if up == 1:
        yield Check("Karpenter running", True, f"{series} is 1")
    else:
        state = "has no sample" if up is None else f"is {up:g}"
        remedy = "start Karpenter, and scrape it as job karpenter: its interruption counter is a gate"
        yield Check("Karpenter running", False, f"{series} {state}", remedy)


OF_THE_WORKLOADS: dict[str, Callable[[World], Iterator[Check]]] = {
    "objects' owners": _owners,
    "rollout": checks.rollouts,
    "strategy": _strategies,
    "pace": _pace,
    "pending pods": _pending,
    "requests": _requests,
    "architecture": _architecture,
    "do-not-disrupt": _disruption,
    "volumes": _volumes,
    "quota": _quotas,
    "disruption budget": lambda world: checks.budgets_exist(world, world.cluster.list(DISRUPTION_BUDGET)),
    "disruption budgets": _budgets,
}
OF_THE_ROOM: dict[str, Callable[[World], Iterator[Check]]] = {
    "domains": _domains,
    "pool limits": _limits,
    "way back": _way_back,
    "evictions": _evictions,
}
OF_THE_CLOUD: dict[str, Callable[[World], Iterator[Check]]] = {
    "node group": _node_group,
    "interruption queue": _queue,
    "Karpenter's queue": _karpenter_queue,
    "commitments": _commitments,
    "metrics": _metrics,
    "Karpenter running": _karpenter,
}
