"""A world in which the spot lever was rolled out, and what its undo has to leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from include.levers.spot_capacity import SpotCapacity
from include.rollout.lever import Restored
from tests.unit.levers.spot_world import NOW, World

LEVER = SpotCapacity(now=lambda: NOW)


Object = dict[str, Any]


ZONE = "topology.kubernetes.io/zone"


def rolled_out(prepare: Callable[[World], object] = lambda _: None, slots: int = 9) -> tuple[World, Object]:
    """A world in which the rollout's first ``slots`` stages stand, and its snapshot as the ledger gives it back."""
    world = World()
    prepare(world)
    snapshot = json.loads(json.dumps(LEVER.snapshot(world.target), sort_keys=True))
    for stage in LEVER.plan(world.target).stages[:slots]:
        LEVER.apply(world.target, stage)
    return world, snapshot


def deployment(world: World, name: str = "akidb-grpc") -> Object:
    found: Object = world.cluster.objects["Deployment", "akidb", name]
    return found


def pod_spec(world: World, name: str = "akidb-grpc") -> Object:
    spec: Object = deployment(world, name)["spec"]["template"]["spec"]
    return spec


def pods_without_node(world: World) -> list[str]:
    nodes = {n for (k, _, n) in world.cluster.objects if k == "Node"}
    pods = {n: o for (k, s, n), o in world.cluster.objects.items() if (k, s) == ("Pod", "akidb")}
    return [name for name, pod in pods.items() if pod["spec"].get("nodeName") not in nodes]


def pools(world: World) -> list[str]:
    return [name for (kind, _, name) in world.cluster.objects if kind == "NodePool"]


def paths(differences: Any) -> set[str]:
    return {difference.path for difference in differences}


def assert_all_back(world: World, snapshot: Object) -> Restored:
    """Rolled back, and what the proof still finds is what was reported as others'."""
    restored = LEVER.rollback(world.target, snapshot)
    assert paths(LEVER.verify_restored(world.target, snapshot)) <= paths(restored.changed_by_others)
    assert pods_without_node(world) == []
    return restored
