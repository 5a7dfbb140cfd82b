"""Back to the snapshot: the forecast's trigger goes first, within seconds; then the autoscaling, then the predictor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from include.clients.kubernetes import DEPLOYMENT, ConflictError
from include.levers.common import refusals
from include.levers.objects import await_gone, restore_object, split, unrestored
from include.levers.predictive_scaling import live, plan, queries
from include.levers.predictive_scaling.apply import available_missing
from include.levers.predictive_scaling.live import World
from include.levers.predictive_scaling.plan import MANAGER
from include.rollout.lever import Difference, Restored, kept

Report = list[Difference]


def restore(world: World, snapshot: Mapping[str, Any]) -> Restored:
    """Set back every object and the replicas; what others made or changed since is reported."""
    others: Report = []
    with refusals(world):
        objects = live.objects_of(world, snapshot)
        scaled = {key: was for key, was in objects.items() if split(key)[0] == live.OWNER}
        rest = {key: was for key, was in objects.items() if key not in scaled}
        steps = _take_forecast_out(world, scaled)
        steps += _restore_objects(world, scaled, others)
        _await_no_autoscaler(world, scaled)
        steps += _restore_replicas(world, _declared(world, scaled) | kept(snapshot, "replicas"))
        steps += _restore_objects(world, rest, others)
    return Restored(tuple(steps) or ("nothing was written, nothing is to be undone",), tuple(others))


def _take_forecast_out(world: World, scaled: Mapping[str, Any]) -> list[str]:
    """One apply a workload: scaling goes on by requests from then on, whatever the rest of the rollback takes."""
    started, steps = world.now(), []
    for key, was in scaled.items():
        workload = split(key)[2]
        mine = live.our_scaled_object(world, workload)
        if mine is None or not plan.has_forecast(mine) or (was is not None and plan.has_forecast(was.get("ours"))):
            continue
        world.target.fence()
        try:
            world.cluster.apply(plan.without_forecast(mine), MANAGER)
        except ConflictError:  # others have taken the triggers over: what becomes of the object says so
            continue
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
    names = [split(key)[2] for key in scaled]

    def left() -> list[str]:
        return [
            f"KEDA's HPA of {name} still exists"
            for name in names
            if live.keda_autoscaler(world, name) is not None and live.scaled_object(world, name) is None
        ]

    world.await_all(left, "removing the autoscalers")


def _declared(world: World, scaled: Mapping[str, Any]) -> dict[str, int]:
    """The estate's replicas of each workload: those of one that came after the snapshot, which no autoscaler keeps."""
    workloads = world.estate.workloads
    return {name: workloads[name].replicas for key in scaled if (name := split(key)[2]) in workloads}


def _restore_replicas(world: World, replicas: Mapping[str, int | None]) -> list[str]:
    wanted = {name: count for name, count in replicas.items() if count is not None}
    steps = []
    for name, found in live.standing(world, wanted).items():
        now, was = live.replicas_of(found), wanted[name]
        back, why = (was, "") if now <= was else _enough(world, name, now, was)
        if back != now:
            world.target.fence()
            change = {"spec": {"replicas": back}}
            world.cluster.patch(DEPLOYMENT, name, change, world.estate.namespace, manager=MANAGER)
            steps.append(f"{name} from {now} back to {back} replicas{why}")
        elif why:
            steps.append(f"{name} stays at {now} replicas{why}")

    def missing() -> list[str]:
        return [line for found in live.standing(world, wanted).values() for line in available_missing(found)]

    if steps:
        world.await_all(missing, "getting the replicas back", world.estate.namespace)
    return steps


def _enough(world: World, workload: str, now: int, was: int) -> tuple[int, str]:
    """Replicas to go down to from ``now``, and why those of the snapshot (``was``) are not enough.

    No more than run now; all of them while the requests are not known, because an undo must not cost an answer.
    """
    qps = _requests(world, workload)
    need = now if qps is None else math.ceil(qps / world.estate.qps_per_replica())
    back = max(was, min(now, need))
    if back == was:
        return was, ""
    known = "how many requests come is not known" if qps is None else f"{qps:.0f} requests a second need {need}"
    by_hand = f"kubectl -n {world.estate.namespace} scale deployment/{workload} --replicas={was}"
    return back, f": {known}, the snapshot has {was}; set it back when they are fewer: {by_hand}"


def _requests(world: World, workload: str) -> float | None:
    try:
        return world.prometheus.value(
            queries.own_demand(world.estate, world.target.region, workload, world.chosen.rate_window_seconds)
        )
    except Exception:  # noqa: BLE001 - whatever keeps Prometheus from answering must not stop an undo
        return None


def verify(world: World, snapshot: Mapping[str, Any]) -> list[Difference]:
    """What would still have to be set back, from live to snapshot.

    More replicas than the snapshot's are none of it: a rollback leaves what the requests need, and says so.
    """
    found = unrestored(world, MANAGER, live.objects_of(world, snapshot))
    wanted = {name: count for name, count in kept(snapshot, "replicas").items() if count is not None}
    for name, deployment in live.standing(world, wanted).items():
        now = live.replicas_of(deployment)
        if now < wanted[name]:
            found.append(Difference(f"Deployment {world.estate.namespace}/{name} replicas", now, wanted[name]))
    for name in wanted:
        if live.keda_autoscaler(world, name) is not None:
            found.append(Difference(f"HorizontalPodAutoscaler of {name}", "exists", None))
    return found
