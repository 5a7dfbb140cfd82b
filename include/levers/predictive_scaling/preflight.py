"""Read-only checks of what the forecast rests on: the champion, and the series that the triggers read."""

from __future__ import annotations

from collections.abc import Iterator

from include.levers import checks
from include.levers.predictive_scaling import queries
from include.levers.predictive_scaling.figures import World, registry
from include.levers.predictive_scaling.wanted import models_of
from include.rollout.lever import Check


def champion(world: World) -> Iterator[Check]:
    """Has the registry a champion for the region, if a forecast is wanted?"""
    region = world.target.region
    if not world.settings.use_forecast:
        yield Check("champion", True, "not needed: use_forecast is off")
        return
    pointer = registry(world).pointer()
    if not pointer.version:
        reason = pointer.problem or f"{region} has no champion in the registry ({models_of(world.target)})"
        yield Check("champion", False, reason, "run traffic_export, then forecast_retrain, until one is promoted")
        return
    manifest = registry(world).manifest(pointer.version)
    why = pointer.decision.reason if pointer.decision else ""
    yield Check("champion", True, f"{manifest.model} {manifest.version}, data up to {manifest.created}: {why}")


def metrics(world: World) -> Iterator[Check]:
    """Has every series that the triggers and the gates read a sample?"""
    yield from checks.series_exist(world, checks.request_series(world) | checks.own_series(world))
    yield from _pod_metrics(world)


def _pod_metrics(world: World) -> Iterator[Check]:
    """Without the number of pods a forecast could not be capped, so that it would add nothing."""
    for name in world.estate.workloads:
        query = queries.ready_pods(world.estate, world.target.region, name)
        count = world.prometheus.value(query)
        if count:
            yield Check(f"metric pods of {name}", True, f"{query} is {count:.0f}")
        else:
            remedy = "have Prometheus scrape the kubelets' cAdvisor with the labels region, namespace and pod"
            yield Check(f"metric pods of {name}", False, f"{query} has no sample", remedy)
