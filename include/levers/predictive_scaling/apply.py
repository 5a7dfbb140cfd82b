"""Writing the stages. Everything here may run again after a crash at any point: it looks first, and converges."""

from __future__ import annotations

from typing import Any

from include.clients.kubernetes import DEPLOYMENT
from include.levers.common import Object, condition, deployments, refusals
from include.levers.predictive_scaling import live, observe
from include.levers.predictive_scaling.live import World
from include.levers.predictive_scaling.plan import DEPLOYMENT_NAME, MANAGER, PREDICTIVE, PREDICTOR
from include.rollout.lever import Stage


def apply_stage(world: World, stage: Stage) -> dict[str, Any]:
    """Write one stage and wait until it works; returns its figures."""
    started = world.now()
    with refusals(world):
        before = live.all_replicas(world)
        wanted = live.bodies(world, stage.slot)
        for body in wanted:
            world.target.fence()
            world.cluster.apply(body, MANAGER)
        if stage.slot == PREDICTOR:
            world.await_all(lambda: predictor_missing(world), f"{DEPLOYMENT_NAME} and its forecast")
        else:
            triggers = 2 if stage.slot == PREDICTIVE else 1
            world.await_all(lambda: scaling_missing(world, triggers), "the autoscaling", world.estate.namespace)
        after = live.all_replicas(world)
    figures: dict[str, Any] = {"started_at": started, "seconds": round(world.now() - started, 1)}
    return figures | {"objects": len(wanted), "replicas_before": before, "replicas_after": after}


def predictor_missing(world: World) -> list[str]:
    """What keeps the predictor from being available and its forecast from being seen."""
    found = world.cluster.get(DEPLOYMENT, DEPLOYMENT_NAME, world.estate.namespace)
    if found is None:
        return [f"Deployment {DEPLOYMENT_NAME} does not exist"]
    return available_missing(found) or observe.forecast_missing(world)


def scaling_missing(world: World, triggers: int) -> list[str]:
    """What keeps the autoscaling from working with so many triggers, and the pods from being there."""
    wrong = [line for lines in observe.scaling_problems(world, triggers).values() for line in lines]
    return wrong or [line for found in deployments(world).values() for line in available_missing(found)]


def available_missing(deployment: Object) -> list[str]:
    """Pods that a Deployment's current template lacks, one line; none when it is available."""
    status, name = deployment.get("status", {}), deployment["metadata"]["name"]
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    wanted = live.replicas_of(deployment)
    ready = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0)) if seen else 0
    # Most pods of a Deployment make it Available; here all have to be there.
    if ready >= wanted and condition(deployment, "Available") != "False":
        return []
    return [f"Deployment {name}: {ready} of {wanted} pods of the current template available"]
