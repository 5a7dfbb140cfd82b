"""Gates and figures: the forecast, the autoscalers, and the service while it scales. No data is None, never zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from include.estate import Estate
from include.forecast import accuracy, gauges, waste
from include.forecast.accuracy import Accuracy
from include.forecast.registry import Registry, RegistryError
from include.forecast.replicas import need
from include.levers import service
from include.levers import world as any_world
from include.levers.autoscalers import fallback, keda_autoscaler, own_scaled_object, unhealthy
from include.levers.node_costs import node_facts, usd_hour
from include.levers.predictive_scaling import queries
from include.levers.predictive_scaling.wanted import (
    MODELS_VARIABLE,
    PREDICTOR,
    REACTIVE,
    PredictiveSettings,
    forecast_query,
)
from include.levers.probes import Probe, at_once, over_stage
from include.levers.replicas import all_replicas
from include.levers.service import covered
from include.rollout.gates import Comparison, Figure, Gate

World = any_world.World[PredictiveSettings]
# An HPA leaves replicas as they are while the metric is within so much of its target (its default).
TOLERANCE = 0.1
SUSTAINED_SECONDS = 60  # a need counts once it has lasted so long
DOWN = "no forecast in Prometheus: is traffic-predictor up and scraped? Scaling goes on by requests alone"


def probes(slot: str, estate: Estate, settings: PredictiveSettings) -> Sequence[Probe]:
    """The gates of a slot. Those of the service cover the whole stage, so that a scale-up at its beginning counts."""
    scaling, source, at_most = estate.predictive_scaling, "estate predictive_scaling", Comparison.AT_MOST

    def gate(name: str, threshold: float, unit: str, told_by: str, comparison: Comparison = at_most) -> Gate:
        return Gate(name, comparison, threshold, unit, 1, told_by)

    least, ratio = scaling.min_accuracy, scaling.max_naive_ratio
    fresh = at_once(gate("forecast_age", settings.freshness_seconds, "s", "freshness_seconds"), forecast_age)
    if slot == PREDICTOR:
        good = gate("forecast_accuracy", least, "ratio", f"{source}.min_accuracy", Comparison.AT_LEAST)
        better = gate("forecast_against_naive", ratio, "ratio", f"{source}.max_naive_ratio")
        return [fresh, at_once(good, accuracy_figure), at_once(better, ratio_figure)]
    scaled = [
        at_once(gate("autoscalers_unhealthy", 0, "workloads", "every HPA must scale"), unhealthy),
        at_once(gate("fallback_active", 0, "workloads", "metrics must arrive"), fallback),
        at_once(gate("replicas_below_need", 0, "workloads", "requests decide the least"), below_need),
        *(over_stage(one.gate, one.measure) for one in (*service.latency_gates(estate), service.error_gate(estate))),
    ]
    if slot == REACTIVE:
        return scaled
    false = gate("false_scale_ups", scaling.max_false_share, "ratio", f"{source}.max_false_share")
    return [*scaled, fresh, over_stage(false, false_scale_ups)]


# The forecast ----------------------------------------------------------------------------------------------------


def registry(world: World) -> Registry:
    """The models of the region."""
    return Registry(world.target.clients.storage(MODELS_VARIABLE), world.target.region)


def forecast_age(world: World) -> Figure:
    """Seconds since the newest forecast; not a number, and without samples, when there is none."""
    query = queries.age(world.target.region)
    value = world.prometheus.value(query)
    if value is None:
        return Figure(math.nan, "s", 0, query, DOWN)
    sure = world.prometheus.value(f'max({gauges.CONFIDENT}{{region="{world.target.region}"}})')
    return Figure(value, "s", 1, query, "sure" if sure == 1 else "not sure: it adds nothing for now")


def champion_accuracy(world: World) -> Accuracy | None:
    """How good the champion is; None without one, or without any figure of it."""
    return accuracy.champion_accuracy(registry(world), world.prometheus, world.estate, world.now())


def accuracy_figure(world: World) -> Figure | None:
    """1 - WAPE of the champion 15 minutes ahead."""
    found = champion_accuracy(world)
    return None if found is None else Figure(1 - found.wape, "ratio", found.samples, "1 - WAPE at 15 min", found.note)


def ratio_figure(world: World) -> Figure | None:
    """The champion's WAPE by the best naive's."""
    found = champion_accuracy(world)
    if found is None or found.ratio is None:
        return None
    return Figure(found.ratio, "ratio", found.samples, "WAPE at 15 min / that of the best naive", found.note)


def forecast_missing(world: World) -> list[str]:
    """What keeps the forecast from being seen and fresh, for a wait."""
    region, fresh = world.target.region, world.settings.freshness_seconds
    found = forecast_age(world)
    if not found.samples:
        return [found.note]
    if found.value > fresh:
        return [f"the newest forecast is {found.value:.0f} s old, {fresh} s are allowed"]
    gauge = f'{gauges.FORECAST}{{region="{region}",quantile="{gauges.MEDIAN}"}}'
    minutes = world.prometheus.value(f"count(count by (horizon) ({gauge}))") or 0
    return [] if minutes >= gauges.LONGEST_LEAD else [f"{gauge} has {minutes:.0f} of {gauges.LONGEST_LEAD} horizons"]


# The replicas ----------------------------------------------------------------------------------------------------


def below_need(world: World) -> Figure | None:
    """Workloads for which the HPA wants fewer replicas than their requests have needed for a minute."""
    settings, region = world.settings, world.target.region
    per_replica = world.estate.qps_per_replica() * (1 + TOLERANCE)
    lines, short = [], 0
    for name in world.estate.workloads:
        own = queries.own_demand(world.estate, region, name, settings.rate_window_seconds)
        qps = world.prometheus.value(f"min_over_time(({own})[{SUSTAINED_SECONDS}s:10s])")
        autoscaler = keda_autoscaler(world, name)
        if qps is None or autoscaler is None:
            return None
        needed = need(qps, per_replica, settings.min_replicas, settings.max_replicas)
        desired = int(autoscaler["status"].get("desiredReplicas", 0))
        short += desired < needed
        lines.append(f"{name}: {desired} for {qps:.0f} requests/s, which need {needed}")
    return Figure(short, "workloads", len(lines), "HPA desiredReplicas against request rate", "; ".join(lines))


def false_scale_ups(world: World, seconds: float) -> Figure | None:
    """Replica time that the forecast added and no demand came for, as a share of what requests alone take."""
    settings, limit = world.settings, world.estate.predictive_scaling.max_false_share
    lead = settings.lead_minutes * 60
    span = max(seconds, 2.0 * lead)
    step = min(60.0, max(5.0, span // 120))
    end = world.now() // step * step
    times = [end - n * step for n in range(int(span // step), -1, -1)]
    bounds = waste.Bounds(world.estate.qps_per_replica(), settings.min_replicas, settings.max_replicas)
    found, since, known = waste.Waste(), [at > end - seconds for at in times], 0
    for name in world.estate.workloads:
        own = queries.own_demand(world.estate, world.target.region, name, settings.rate_window_seconds)
        ahead = forecast_query(world.estate, world.target.region, settings, name)
        demand, added = (_at(world, query, times, step) for query in (own, ahead))
        found += waste.of_workload(demand, added, bounds, int(lead // step), int(settings.scale_down_seconds // step))
        pairs = zip(since, demand, added, strict=True)
        known += sum(ours and own is not None and forecast is not None for ours, own, forecast in pairs)
    judged = found.share(limit)
    if judged is None:
        return None
    share, steps = judged
    note = f"{found.extra} of {found.base} replica-steps of {step:.0f} s at most, {found.judged} of {found.steps} known"
    figure = Figure(share, "ratio", steps, "the forecast's trigger against the request rate", note)
    return covered(figure, known / (sum(since) * len(world.estate.workloads)))


def _at(world: World, query: str, times: list[float], step: float) -> list[float | None]:
    series = world.prometheus.query_range(query, times[0], times[-1], step)
    known = {round(at): value for found in series for at, value in found.points if math.isfinite(value)}
    return [known.get(round(at)) for at in times]


# The report ------------------------------------------------------------------------------------------------------


def evidence(world: World) -> dict[str, Any]:
    """Replicas, forecast, service and cost of the live world; None where nothing is known."""
    nodes, replicas = node_facts(world), all_replicas(world)
    cost, unknown = usd_hour(world, nodes)
    return {
        "nodes": len(nodes),
        "replicas": replicas,
        "pods": sum(replicas.values()),
        "autoscaled": {name: own_scaled_object(world, name) is not None for name in replicas},
        **_forecast(world),
        "usd_hour": None if cost is None else float(cost),
        "usd_hour_unknown": unknown,
        **service.evidence(world),
    }


def _forecast(world: World) -> dict[str, Any]:
    fresh = forecast_age(world)
    try:
        version, found = registry(world).pointer().version, champion_accuracy(world)
    except RegistryError as error:
        return {"forecast": str(error)}
    return {
        "forecast": fresh.note,
        "forecast_age_seconds": fresh.value if fresh.samples else None,
        "champion": version or None,
        "forecast_accuracy": None if found is None else round(1 - found.wape, 4),
        "forecast_accuracy_of": None if found is None else found.note,
    }
