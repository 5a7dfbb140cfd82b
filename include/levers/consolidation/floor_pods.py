"""Which pods the small node group has to hold, what stands against moving them, and the size that they need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from include.clients.kubernetes import DAEMON_SET, DEPLOYMENT
from include.levers.consolidation import floor_group
from include.levers.consolidation.floor_size import NodeType, Size, Wanted, cheapest, node_types
from include.levers.consolidation.settings import World
from include.levers.nodes import group
from include.levers.nodes.requests import largest, pod_requests
from include.levers.nodes.rooms import Crowd, crowd_of
from include.levers.nodes.scheduling import ARCHITECTURE, NODE_GROUP, ZONE, Labels, labels_of, tolerates, wants
from include.levers.pods import (
    asks_to_stay,
    evictable,
    is_ending,
    maker_of,
    namespace_of,
    origin_of,
    pods_of_deployments,
    pods_of_others,
    replicas_of,
    workload_pods,
)
from include.levers.world import Object, name_of
from include.prices import PriceBookError, load_aws_book
from include.quantities import quantity

RESERVE = "reserve"


def system_name(world: World) -> str:
    """``akidb-system``."""
    return world.region.node_group.system.name


def moved(world: World) -> dict[str, Object]:
    """The system Deployments that the estate names and that exist, by ``namespace/name``."""
    found = {}
    for key in world.region.node_group.system.deployments:
        space, _, name = key.partition("/")
        deployment = world.cluster.get(DEPLOYMENT, name, space)
        if deployment is not None:
            found[key] = deployment
    return found


def _moved_spec(deployment: Mapping[str, Any], group_name: str) -> Object:
    """Its pods' spec with the small group in the nodeSelector; what else is asked for there stays."""
    spec = deployment["spec"]["template"]["spec"]
    return {**spec, "nodeSelector": {**(spec.get("nodeSelector") or {}), NODE_GROUP: group_name}}


def on_group(pods: Iterable[Object], nodes: Iterable[Object]) -> list[Object]:
    """Those of the pods that a drain of the nodes has to move."""
    names = {name_of(node) for node in nodes}
    return [pod for pod in pods if pod["spec"].get("nodeName") in names and evictable(pod) and not is_ending(pod)]


def guests(world: World, nodes: Iterable[Object]) -> list[Object]:
    """Pods on the nodes that are neither the workloads' nor a named Deployment's: a drain moves them."""
    named = [key.partition("/") for key in world.region.node_group.system.deployments]
    found = on_group(pods_of_others(world), nodes)
    ours = {
        (space, name_of(pod))
        for space, _, name in named
        for pod in pods_of_deployments((p for p in found if namespace_of(p) == space), [name])
    }
    return [pod for pod in found if (namespace_of(pod), name_of(pod)) not in ours]


def new_labels(world: World, old: Mapping[str, Any], arch: str) -> dict[str, str]:
    """What every node of the small group carries, whatever its type."""
    made = {NODE_GROUP: system_name(world), "eks.amazonaws.com/capacityType": "ON_DEMAND", ARCHITECTURE: arch}
    known = {"kubernetes.io/os": "linux", "topology.kubernetes.io/region": world.target.region}
    return {**(old.get("labels") or {}), **known, **made}


# Size ------------------------------------------------------------------------------------------------------------


def wanted(world: World, labels: Labels) -> Wanted:
    """The pods, the DaemonSets and the zones of the group's nodes, and room for what comes later."""
    system = world.region.node_group.system
    nodes = [*group.nodes(world), *group.nodes(world, system.name)]
    crowds = [_crowd(key, found, system.name) for key, found in moved(world).items()]
    by_origin: dict[str, list[Object]] = {}
    for pod in guests(world, nodes):
        by_origin.setdefault(origin_of(pod), []).append(pod)
    crowds += [_guest_crowd(origin, pods) for origin, pods in sorted(by_origin.items())]
    reserve = {"cpu": quantity(system.reserve_cpu), "memory": quantity(system.reserve_memory)}
    crowds.append(Crowd(RESERVE, 1, reserve, {}, {}))
    specs = [daemon["spec"]["template"]["spec"] for daemon in world.cluster.list(DAEMON_SET)]
    every = [pod_requests(spec) for spec in specs if wants(spec, labels) and tolerates(spec, ())]
    zones = sorted({labels_of(node)[ZONE] for node in nodes if ZONE in labels_of(node)})
    return Wanted(crowds, every, labels, zones or [""])


def _crowd(key: str, deployment: Object, group_name: str) -> Crowd:
    template = deployment["spec"]["template"]
    spec = _moved_spec(deployment, group_name)
    like = {"metadata": template["metadata"], "spec": spec}
    return crowd_of(f"Deployment {key}", replicas_of(deployment), pod_requests(spec), like)


def _guest_crowd(origin: str, pods: Sequence[Object]) -> Crowd:
    requests = largest(pod_requests(pod["spec"]) for pod in pods)
    return crowd_of(origin, len(pods), requests, {"metadata": pods[0]["metadata"], "spec": pods[0]["spec"]})


def architecture(world: World, old: Mapping[str, Any]) -> str:
    """The architecture of the old group's instance type; empty where the price book doesn't know it."""
    names = [*(old.get("instanceTypes") or ()), world.region.node_group.instance_type]
    try:
        return load_aws_book(world.estate).details(names[0]).arch
    except PriceBookError:
        return ""


def size(world: World) -> Size | None:
    """The size of the group that stands, else the cheapest that holds everything; None where there is none."""
    live, book = floor_group.read(world, system_name(world)), load_aws_book(world.estate)
    if live and live.get("instanceTypes"):
        kind, count = live["instanceTypes"][0], int(live["scalingConfig"]["desiredSize"])
        price = book.on_demand(world.target.region, kind)
        return None if price is None else Size(kind, count, price * count)
    old, types = group.describe(world), candidates(world)
    return cheapest(wanted(world, new_labels(world, old, architecture(world, old))), types) if types else None


def candidates(world: World) -> list[NodeType]:
    """The types to choose from, by price book and estate."""
    arch, names = architecture(world, group.describe(world)), world.region.node_group.system.instance_types
    return node_types(load_aws_book(world.estate), world.target.region, arch, names)


def usd_hour_now(world: World) -> Decimal | None:
    """USD an hour of the old group's nodes."""
    price = load_aws_book(world.estate).on_demand(world.target.region, world.region.node_group.instance_type)
    return None if price is None else price * len(group.nodes(world))


# What stands against it ------------------------------------------------------------------------------------------


def absent(world: World) -> list[str]:
    """Named Deployments that don't exist."""
    found = moved(world)
    return [key for key in world.region.node_group.system.deployments if key not in found]


def workloads_there(world: World) -> list[str]:
    """Names of the workloads whose pods are on the old group."""
    return sorted({str(labels_of(pod).get("app")) for pod in on_group(workload_pods(world), group.nodes(world))})


def unmovable(world: World) -> list[str]:
    """A line for each pod on the old group that is not named and that no drain may move to the small one."""
    old = group.describe(world)
    labels = new_labels(world, old, architecture(world, old))
    pods = guests(world, group.nodes(world))
    reasons = ((pod, _stays(pod, labels, world)) for pod in pods)
    return sorted(
        f"{namespace_of(pod)}/{name_of(pod)} ({maker_of(pod) or 'no controller'}): {reason}"
        for pod, reason in reasons
        if reason
    )


def _stays(pod: Object, labels: Labels, world: World) -> str:
    if reason := asks_to_stay(pod):
        return reason
    if not wants(pod["spec"], labels):
        return f"its nodeSelector or affinity ties it to {world.region.node_group.name}"
    claims = [v for v in pod["spec"].get("volumes") or [] if "persistentVolumeClaim" in v]
    return "its volume may be in a zone where the small group has no node" if claims else ""


def misled(world: World) -> list[str]:
    """Named Deployments whose required node affinity no node of the small group fulfils."""
    old, name = group.describe(world), system_name(world)
    labels = new_labels(world, old, architecture(world, old))
    specs = {key: _moved_spec(found, name) for key, found in moved(world).items()}
    return [key for key, spec in specs.items() if not wants(spec, labels)]
