"""Back to the snapshot: the forecast's trigger goes first, within seconds; then the autoscaling, then the predictor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from include.clients.kubernetes import DEPLOYMENT
from include.levers.common import deployments, refusals
from include.levers.objects import await_gone, by_key, restore_object, split, unrestored
from include.levers.predictive_scaling import live, plan
from include.levers.predictive_scaling.apply import available_missing
from include.levers.predictive_scaling.live import World
from include.levers.predictive_scaling.plan import MANAGER
from include.rollout.lever import Difference, Restored

Report = list[Difference]


def restore(world: World, snapshot: Mapping[str, Any]) -> Restored:
    """Set back every object and the replicas; what others made or changed since is reported."""
    others: Report = []
    objects = by_key(snapshot["objects"])
    scaled = {key: was for key, was in objects.items() if split(key)[0] == live.OWNER}
    rest = {key: was for key, was in objects.items() if key not in scaled}
    with refusals(world):
        steps = _take_forecast_out(world, scaled)
        steps += _restore_objects(world, scaled, others)
        _await_no_autoscaler(world, scaled)
        steps += _restore_replicas(world, snapshot["replicas"])
        steps += _restore_objects(world, rest, others)
    return Restored(tuple(steps) or ("nothing was written, nothing is to be undone",), tuple(others))


def _take_forecast_out(world: World, scaled: Mapping[str, Any]) -> list[str]:
    """One apply a workload: scaling goes on by requests from then on, whatever the rest of the rollback takes."""
    started, steps = world.now(), []
    for key, was in scaled.items():
        workload = split(key)[2]
        mine = live.our_scaled_object(world, workload)
        if mine is None or not plan.has_forecast(mine) or (was is not None and plan.has_forecast(was["ours"])):
            continue
        world.target.fence()
        world.cluster.apply(plan.without_forecast(mine), MANAGER)
        steps.append(f"forecast trigger of {workload} taken out after {world.now() - started:.1f} s")
    return steps


def _restore_objects(world: World, objects: Mapping[str, Any], others: Report) -> list[str]:
    steps, deleted = [], []
    for key in reversed(list(objects)):
        world.target.fence()
        done = restore_object(world, MANAGER, key, objects[key], others)
        if done:
            steps.append(f"{key} {done}")
        if done == "deleted":
            deleted.append(key)
    await_gone(world, deleted)
    return steps


def _await_no_autoscaler(world: World, scaled: Mapping[str, Any]) -> None:
    """An HPA that outlives its ScaledObject would undo the replicas that are set back next."""

    def left() -> list[str]:
        found = live.scaled_objects(world) if scaled else {}
        return [
            f"KEDA's HPA of {name} still exists"
            for name, thing in found.items()
            if thing is None and live.keda_autoscaler(world, name) is not None
        ]

    world.await_all(left, "removing the autoscalers")


def _restore_replicas(world: World, replicas: Mapping[str, int | None]) -> list[str]:
    steps = []
    wanted = {name: count for name, count in replicas.items() if count is not None}
    for name, found in deployments(world).items():
        now = live.replicas_of(found)
        if name in wanted and now != wanted[name]:
            world.target.fence()
            change = {"spec": {"replicas": wanted[name]}}
            world.cluster.patch(DEPLOYMENT, name, change, world.estate.namespace, manager=MANAGER)
            steps.append(f"{name} from {now} back to {wanted[name]} replicas")

    def missing() -> list[str]:
        return [
            line for name, found in deployments(world).items() if name in wanted for line in available_missing(found)
        ]

    if steps:
        world.await_all(missing, "getting the replicas back", world.estate.namespace)
    return steps


def verify(world: World, snapshot: Mapping[str, Any]) -> list[Difference]:
    """What would still have to be set back, from live to snapshot."""
    found = unrestored(world, MANAGER, by_key(snapshot["objects"]))
    now = live.all_replicas(world)
    for name, was in snapshot["replicas"].items():
        if was is None:
            continue
        if now[name] != was:
            found.append(Difference(f"Deployment {world.estate.namespace}/{name} replicas", now[name], was))
        if live.keda_autoscaler(world, name) is not None:
            found.append(Difference(f"HorizontalPodAutoscaler of {name}", "exists", None))
    return found
