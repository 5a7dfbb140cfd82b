"""Preflight checks of nodes that are about to change: Karpenter, the node group, the way back, and what is paid for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache

from include.clients.kubernetes import (
    CONFIG_MAP,
    DEPLOYMENT,
    EC2_NODE_CLASS,
    NODE,
    NODE_CLAIM,
    NODE_POOL,
    ForbiddenError,
)
from include.levers import checks, workload_checks, workloads
from include.levers.nodes import group, karpenter
from include.levers.nodes.packing import pool_choices
from include.levers.nodes.pools import Pools
from include.levers.nodes.requests import shown
from include.levers.nodes.rooms import Crowd, Room, by_node, crowd_of, place, room_of, takes_pods
from include.levers.nodes.scheduling import ARCHITECTURE, labels_of
from include.levers.nodes.shrink import stuck_in, surplus_and_evicted
from include.levers.pods import namespace_of, replicas_of
from include.levers.world import Object, World, deployments, name_of
from include.prices import AwsBook, PriceBookError, load_aws_book
from include.quantities import cores, quantity
from include.rollout.lever import Check

# Karpenter -------------------------------------------------------------------------------------------------------


def definitions(world: World) -> Iterator[Check]:
    """Are Karpenter's kinds served?"""
    for kind in (NODE_POOL, NODE_CLAIM, EC2_NODE_CLASS):
        name = f"{kind.plural}.{kind.api_version}"
        if world.cluster.serves(kind):
            yield Check(f"definition {kind.plural}", True, f"{name} is served")
        else:
            remedy = f"install Karpenter 1.x with its CustomResourceDefinitions in {world.region.cluster}"
            yield Check(f"definition {kind.plural}", False, f"{name} is not served", remedy)


def karpenter_runs(world: World) -> Iterator[Check]:
    """Does Prometheus scrape a running Karpenter?"""
    series = f'up{{job="karpenter",region="{world.target.region}"}}'
    up = world.prometheus.value(f"max({series})")
    if up == 1:
        yield Check("Karpenter running", True, f"{series} is 1")
    else:
        state = "has no sample" if up is None else f"is {up:g}"
        remedy = "start Karpenter, and scrape it as job karpenter: its interruption counter is a gate"
        yield Check("Karpenter running", False, f"{series} {state}", remedy)


def karpenter_queue(world: World) -> Iterator[Check]:
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
    space = namespace_of(deployment)

    def config_map(name: str) -> Mapping[str, str] | None:
        try:
            return (world.cluster.get(CONFIG_MAP, name, space) or {}).get("data") or {}
        except ForbiddenError:
            return None

    yield _queue_check(karpenter.queue_of(deployment, config_map), world.target.region, world.region.queue)


def _queue_check(found: str | None, region: str, wanted: str) -> Check:
    if found is None:
        return Check("Karpenter's queue", True, "Karpenter's setting interruptionQueue can't be read: not compared")
    if found == wanted:
        return Check("Karpenter's queue", True, f"Karpenter listens to {wanted}")
    if not found:
        reason = f"Karpenter listens to no interruption queue, so that a notice in {wanted} would be lost"
        return Check("Karpenter's queue", False, reason, f"set Karpenter's settings.interruptionQueue to {wanted}")
    reason = f"Karpenter listens to queue {found}, the estate names {wanted}: a notice would be lost"
    remedy = f"set regions.{region}.interruption_queue to {found} in estate.yaml, or Karpenter's interruptionQueue"
    return Check("Karpenter's queue", False, reason, f"{remedy} to {wanted}")


# The node group --------------------------------------------------------------------------------------------------


def _group(world: World) -> list[Object]:
    return group.of_group(world, world.cluster.list(NODE))


def group_active(world: World) -> Iterator[Check]:
    """Is the node group at rest, and made of Auto Scaling groups?"""
    found, wanted = group.describe(world), world.region.node_group
    size, status = found["scalingConfig"]["desiredSize"], found["status"]
    reason = f"{wanted.name} of {world.region.cluster}: {size} nodes, {status}"
    if status != "ACTIVE":
        yield Check("node group", False, reason, "wait until its update has ended, or repair the node group")
    elif not found.get("resources", {}).get("autoScalingGroups"):
        yield Check("node group", False, f"{wanted.name} has no Auto Scaling group", "use a managed node group")
    else:
        yield Check("node group", True, reason)


def architectures(world: World, wanted: str, confirmed: bool) -> Iterator[Check]:
    """Do the pods run on the architecture ``wanted``? ``confirmed``: their images have it whatever their nodes are."""
    known = _architectures(world)
    found = checks.each(world, lambda d: workloads.architecture_findings(d, known, wanted, confirmed))
    passed = f"the nodes are {wanted}, like the pools"
    yield from checks.report("architecture", found, f"{passed}{' (multi_arch_images)' if confirmed else ''}")


def _architectures(world: World) -> dict[str, str | None]:
    """The architecture of the node group's nodes, and of its type in the estate, by what to call them."""
    described, of_type = world.region.node_group, cache(lambda name: _arch_of(load_aws_book(world.estate), name))
    known: dict[str, str | None] = {}
    for node in _group(world):
        labels = labels_of(node)
        own = labels.get(ARCHITECTURE) or node.get("status", {}).get("nodeInfo", {}).get("architecture")
        instance_type = labels.get("node.kubernetes.io/instance-type", described.instance_type)
        known[f"node {name_of(node)} of {described.name}"] = own or of_type(instance_type)
    if arch := of_type(described.instance_type):
        known[f"node group {described.name} ({described.instance_type} in estate.yaml)"] = arch
    return known


def _arch_of(book: AwsBook, instance_type: str) -> str | None:
    try:
        return book.details(instance_type).arch
    except PriceBookError:
        return None


def evictions(world: World, pools: Pools, accept: bool) -> Iterator[Check]:
    """Who else would be moved when the node group goes down to its floor, and where to?"""
    described = world.region.node_group
    _, evicted = surplus_and_evicted(world, pools, described.floor)
    stuck = "; ".join(stuck_in(evicted))
    if not stuck:
        passed = f"the drain of {described.name} evicts {len(evicted)} pods; each finds another node"
        yield Check("evictions", True, passed)
    elif accept:
        yield Check("evictions", True, f"accepted (accept_unmovable_pods): {stuck}")
    else:
        remedy = "move these pods or let them end, raise node_group.floor, or set accept_unmovable_pods"
        yield Check("evictions", False, f"draining {described.name} would evict {stuck}", remedy)


# Room ------------------------------------------------------------------------------------------------------------


def pool_limits(world: World, cpu_limit: str, memory_limit: str) -> Iterator[Check]:
    """Do all pods together request no more than one pool may have?"""
    cpu, memory = Decimal(0), Decimal(0)
    for deployment in deployments(world).values():
        replicas, each = replicas_of(deployment), workload_checks.requests_of(world, deployment)
        cpu += replicas * each.get("cpu", Decimal(0))
        memory += replicas * each.get("memory", Decimal(0))
    requested = f"the pods request {shown({'cpu': cpu, 'memory': memory})}"
    if cpu > cores(cpu_limit) or memory > quantity(memory_limit):
        reason = f"{requested}, a pool may have {cpu_limit} and {memory_limit}"
        yield Check("pool limits", False, reason, "raise spot.cpu_limit and spot.memory_limit")
    else:
        yield Check("pool limits", True, f"{requested}, within what a pool may have")


def way_back(world: World, away: Mapping[str, Object], ignored: str) -> Iterator[Check]:
    """Would the node group, as it takes pods today, hold those of ``away`` that a rollback brings back to it?

    ``away`` are the Deployments by name; the spread over the label ``ignored`` goes with the rollback.
    """
    if not away:
        yield Check("way back", True, "the pods are on the pools already: a rollback of this run leaves them there")
        return
    nodes, there = _group(world), by_node(workload_checks.others(world))
    rooms = [room_of(node, there.get(name_of(node), ())) for node in nodes if takes_pods(node)]
    crowds = [
        crowd_of(name, replicas_of(d), workload_checks.requests_of(world, d), d["spec"]["template"], ignored)
        for name, d in away.items()
    ]
    yield room_for(crowds, rooms, sorted({name_of(n) for n in nodes} - {room.name for room in rooms}))


def room_for(crowds: Sequence[Crowd], rooms: Sequence[Room], unusable: Sequence[str]) -> Check:
    """Whether the rooms of the node group take every crowd; ``unusable`` are its nodes that take no pods."""
    if not rooms:
        reason = "the node group has no node that takes pods"
        return Check("way back", False, reason, "start from a node group that carries the pods")
    every = len(rooms) + len(unusable)
    held = f"{every} nodes of the node group"
    if unusable:
        held = f"{len(rooms)} of {every} nodes of the node group ({workloads.listed(unusable)} cordoned or not ready)"
    wanted, placed = sum(crowd.count for crowd in crowds), place(crowds, rooms)
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
    return sum(place(free, rooms).values())


def instance_types(world: World) -> Iterator[Check]:
    """Are enough instance types left for spot pools?"""
    choices, book = pool_choices(world).spot, load_aws_book(world.estate)
    cheapest = ", ".join(choice.name for choice in choices[:3])
    source = f"by price and interruption band ({book.date})"
    if not book.knows_spot(world.target.region):
        source = "by EC2's own prices; how often they are interrupted here is not known"
    yield Check("instance types", True, f"{len(choices)} types {source}, cheapest first: {cheapest} ...")


# What is paid for ------------------------------------------------------------------------------------------------


def commitments(world: World, accept: bool) -> Iterator[Check]:
    """Would no active Reserved Instance or Savings Plan be paid for and left unused by fewer nodes on demand?"""
    family = world.region.node_group.instance_type.split(".")[0]
    stranded = "; ".join([*_reserved(world, family), *_savings_plans(world, family)])
    if not stranded:
        yield Check("commitments", True, f"no active Reserved Instance or Savings Plan covers {family} here")
    elif accept:
        yield Check("commitments", True, f"accepted (accept_stranded_commitments): {stranded}")
    else:
        reason = f"spot uses no commitment, these would be paid for nothing: {stranded}"
        remedy = "let them end or sell them first, or set accept_stranded_commitments"
        yield Check("commitments", False, reason, remedy)


def _reserved(world: World, family: str) -> Iterator[str]:
    active = [{"Name": "state", "Values": ["active"]}]
    answer = world.aws.call("ec2", "describe_reserved_instances", Filters=active)
    for reserved in answer.get("ReservedInstances", []):
        if reserved["InstanceType"].split(".")[0] == family:
            count, kind = reserved["InstanceCount"], reserved["InstanceType"]
            yield f"{count} Reserved Instances {kind} until {reserved.get('End')}"


def _savings_plans(world: World, family: str) -> Iterator[str]:
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
