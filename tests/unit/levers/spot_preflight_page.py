"""The page of checks that the spot lever's preflight gives."""

from __future__ import annotations

from typing import Any

from include.levers.spot_capacity import SpotCapacity
from include.rollout.lever import Check
from tests.unit.levers.spot_world import NOW, REGION, Object, World, made_pod

LEVER = SpotCapacity(now=lambda: NOW)


GROUP = "eks.amazonaws.com/nodegroup"


ZONE = "topology.kubernetes.io/zone"


def preflight(world: World) -> list[Check]:
    """Every check; whatever it says, nothing was written."""
    found = LEVER.preflight(world.target)
    assert world.writes == []
    return found


def failed(world: World) -> list[Check]:
    return [check for check in preflight(world) if not check.passed]


def only_failure(world: World) -> Check:
    (check,) = failed(world)
    return check


def passed(world: World, name: str) -> str:
    return next(check.reason for check in preflight(world) if check.name == name and check.passed)


def put_pod(world: World, name: str, node: str, owners: list[Object], space: str = "data", **spec: Any) -> Object:
    pod = made_pod(name, "x", space, node)
    pod["metadata"]["ownerReferences"] = owners
    pod["spec"] |= spec
    return world.cluster.put(pod)


def in_zones(world: World, zones: str) -> None:
    for node, zone in zip(world.cluster.group_nodes(), zones, strict=True):
        node["metadata"]["labels"][ZONE] = f"{REGION}{zone}"
