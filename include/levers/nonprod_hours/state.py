"""What runs in the namespace, on which nodes, and what they cost: what sleep is measured by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from include.clients.aws import AwsError
from include.clients.kubernetes import AUTOSCALER, DEPLOYMENT, NODE, POD, REPLICA_SET, SCALED_OBJECT, STATEFUL_SET
from include.levers.autoscalers import owners_of
from include.levers.node_costs import NodeFact, node_fact, node_facts, usd_hour
from include.levers.nonprod_hours.wanted import NonprodWorld, all_of
from include.levers.owned import read_key, split
from include.levers.pods import controlled_by, is_finished, own_pods, replicas_of
from include.levers.world import Object, condition, name_of
from include.rollout.lever import Json

WORKLOADS = (DEPLOYMENT.name, STATEFUL_SET.name)


def workloads_of(keys: Iterable[str]) -> list[str]:
    """Those of the keys whose pods are the lever's to count."""
    return [key for key in keys if split(key)[0] in WORKLOADS]


def pods_of(world: NonprodWorld, keys: Iterable[str]) -> list[Object]:
    """The pods of the workloads ``keys`` that have not ended."""
    pods, sets = all_of(world, POD), all_of(world, REPLICA_SET)
    found: list[Object] = []
    for key in workloads_of(keys):
        thing = read_key(world, key)
        if thing is None:
            continue
        if thing["kind"] == DEPLOYMENT.name:
            found += own_pods(thing, sets, pods)
        else:
            found += [p for p in pods if controlled_by(p, STATEFUL_SET.name, thing) and not is_finished(p)]
    return found


def nodes_of(world: NonprodWorld, keys: Iterable[str]) -> dict[str, Json]:
    """The nodes of Karpenter's pools on which these pods run, as far as their price needs them."""
    names = {pod["spec"].get("nodeName") for pod in pods_of(world, keys)}
    nodes = [node_fact(node) for node in world.cluster.list(NODE) if name_of(node) in names]
    return {node.name: asdict(node) for node in nodes if node.node_pool}


def usd_of(world: NonprodWorld, nodes: Sequence[NodeFact]) -> str | None:
    """USD an hour of nodes at this moment's prices; None while one of them is not known."""
    try:
        usd, _ = usd_hour(world, list(nodes))
    except AwsError:
        return None
    return None if usd is None else str(usd)


def left_of(world: NonprodWorld, nodes: Mapping[str, Json]) -> list[str]:
    """Those of the nodes that still stand."""
    standing = {name_of(node) for node in world.cluster.list(NODE)}
    return sorted(name for name in nodes if name in standing)


def unready(world: NonprodWorld, keys: Iterable[str]) -> list[str]:
    """Workloads without all of their pods, a line each; one that is gone is nobody's to wait for."""
    found = {key: read_key(world, key) for key in workloads_of(keys)}
    return [line for key, thing in found.items() if thing for line in _missing(key, thing)]


def _missing(key: str, thing: Object) -> list[str]:
    status, wanted = thing.get("status", {}), replicas_of(thing)
    seen = status.get("observedGeneration", 0) >= thing["metadata"].get("generation", 0)
    ready = status.get("readyReplicas", 0) if seen else 0
    return [] if ready >= wanted else [f"{key}: {ready} of {wanted} pods ready"]


def unpaused(world: NonprodWorld, keys: Iterable[str]) -> list[str]:
    """ScaledObjects that KEDA has not paused yet: until then it would undo a zero."""
    found = []
    for key in keys:
        thing = read_key(world, key) if split(key)[0] == SCALED_OBJECT.name else None
        if thing and (condition(thing, "Paused") != "True" or _has_autoscaler(world, name_of(thing))):
            found.append(f"{key} is not paused by KEDA yet")
    return found


def _has_autoscaler(world: NonprodWorld, scaled: str) -> bool:
    return any((SCALED_OBJECT.name, scaled) in owners_of(each) for each in all_of(world, AUTOSCALER))


def figures(world: NonprodWorld) -> dict[str, Json]:
    """Nodes and dollars of the region, pods of the namespace."""
    nodes = node_facts(world)
    pods = [pod for pod in all_of(world, POD) if not is_finished(pod)]
    return {"nodes": len(nodes), "usd_hour": usd_of(world, nodes), "pods": len(pods)}
