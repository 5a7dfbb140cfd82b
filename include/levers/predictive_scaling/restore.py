"""Back to the snapshot: the forecast's trigger goes first, within seconds; then the autoscaling, then the predictor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from include.clients.kubernetes import ConflictError
from include.levers.autoscalers import keda_autoscaler, own_scaled_object, scaled_object
from include.levers.owned import split
from include.levers.predictive_scaling import queries
from include.levers.predictive_scaling.figures import World
from include.levers.predictive_scaling.wanted import has_forecast, without_forecast
from include.rollout.lever import kept


def take_forecast_out(world: World, scaled: Mapping[str, Any]) -> list[str]:
    """One apply a workload: scaling goes on by requests from then on, whatever the rest of the rollback takes."""
    started, steps = world.now(), []
    for key, was in scaled.items():
        workload = split(key)[2]
        mine = own_scaled_object(world, workload)
        if mine is None or not has_forecast(mine) or (was is not None and has_forecast(was.get("ours"))):
            continue
        world.target.fence()
        try:
            world.cluster.apply(without_forecast(mine), world.manager)
        except ConflictError:  # others have taken the triggers over: what becomes of the object says so
            continue
        steps.append(f"forecast trigger of {workload} taken out after {world.now() - started:.1f} s")
    return steps


def await_no_autoscaler(world: World, scaled: Mapping[str, Any]) -> None:
    """An HPA that outlives its ScaledObject would undo the replicas that are set back next."""
    names = [split(key)[2] for key in scaled]

    def left() -> list[str]:
        return [
            f"KEDA's HPA of {name} still exists"
            for name in names
            if keda_autoscaler(world, name) is not None and scaled_object(world, name) is None
        ]

    world.await_all(left, "removing the autoscalers")


def replicas_to_restore(world: World, snapshot: Mapping[str, Any], scaled: Mapping[str, Any]) -> dict[str, int]:
    """The snapshot's replicas, and the estate's of a workload that came after it: nothing keeps those."""
    workloads = world.estate.workloads
    since = {name: workloads[name].replicas for key in scaled if (name := split(key)[2]) in workloads}
    known = kept(snapshot, "replicas")
    return {name: count for name, count in since.items() if name not in known} | kept_replicas(snapshot)


def kept_replicas(snapshot: Mapping[str, Any]) -> dict[str, int]:
    """The replicas that the snapshot has; those that an autoscaler moved then are not its to keep."""
    return {name: count for name, count in kept(snapshot, "replicas").items() if count is not None}


def requests(world: World, workload: str) -> float | None:
    """Requests a second of a workload; None where Prometheus does not say."""
    try:
        return world.prometheus.value(
            queries.own_demand(world.estate, world.target.region, workload, world.settings.rate_window_seconds)
        )
    except Exception:  # noqa: BLE001 - whatever keeps Prometheus from answering must not stop an undo
        return None
