"""Writing the stages. Everything here may run again after a crash at any point: it looks first, and converges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from include.clients.kubernetes import DEPLOYMENT, NAMESPACE, PROMETHEUS_RULE
from include.levers import objects
from include.levers.common import Object, condition, refusals
from include.levers.cost_monitoring import live, observe, plan
from include.levers.cost_monitoring.live import World
from include.levers.cost_monitoring.plan import DASHBOARD, KUBECOST, MANAGER, OPENCOST
from include.rollout.lever import Stage


def apply_stage(world: World, stage: Stage) -> dict[str, Any]:
    """Write one stage and wait until it answers; returns its figures."""
    started = world.now()
    with refusals(world):
        left = live.foreign(world)
        wanted = live.bodies(world, stage.slot, world.cluster.serves(PROMETHEUS_RULE), left)
        write(world, wanted)
        if stage.slot != DASHBOARD:
            await_deployment(world, stage.slot)
        await_evidence(world, stage.slot)
    figures: dict[str, Any] = {"started_at": started, "seconds": round(world.now() - started, 1)}
    return figures | {"objects": len(wanted), "left_to_its_owner": stage.slot in left}


def write(world: World, wanted: Sequence[Object]) -> None:
    """Apply the objects in their order. A Namespace that is there and not ours is left as it is."""
    for body in wanted:
        if body["kind"] == "Namespace":
            await_namespace(world, body["metadata"]["name"])
            found = objects.read(world, body)
            if found is not None and plan.ours(found) is None:
                continue
        world.target.fence()
        world.cluster.apply(body, MANAGER)


def await_namespace(world: World, name: str) -> None:
    """Nothing can be made in a Namespace that an earlier rollback is still deleting."""

    def missing() -> list[str]:
        found = world.cluster.get(NAMESPACE, name)
        leaving = found is not None and "deletionTimestamp" in found["metadata"]
        return [f"Namespace {name} is still being deleted"] if leaving else []

    world.await_all(missing, f"the Namespace {name}")


def await_deployment(world: World, name: str) -> None:
    """Wait until the Deployment's current template is available."""

    def missing() -> list[str]:
        found = world.cluster.get(DEPLOYMENT, name, name)
        if found is None:
            return [f"Deployment {name}/{name} does not exist"]
        status = found.get("status", {})
        seen = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
        ready, replicas = status.get("updatedReplicas", 0), found["spec"].get("replicas", 1)
        if seen and condition(found, "Available") == "True" and ready >= replicas > 0:
            return []
        return [f"Deployment {name}/{name}: {ready} of {replicas} pods of the current template available"]

    world.await_all(missing, f"{name} becoming available", name)


def await_evidence(world: World, slot: str) -> None:
    """Wait until Prometheus has what the slot's gates look at."""
    checks = {OPENCOST: observe.prices_missing, KUBECOST: observe.kubecost_missing, DASHBOARD: observe.view_missing}
    world.await_all(lambda: checks[slot](world), f"{slot} in Prometheus")
