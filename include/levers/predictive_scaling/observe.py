"""Evidence: the forecast, the autoscalers, and the service while it scales. No data is None, never zero."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from include.forecast import gauges
from include.forecast.registry import RegistryError
from include.levers import service
from include.levers.common import Object, condition, node_facts, usd_hour
from include.levers.predictive_scaling import accuracy, live, plan, queries, waste
from include.levers.predictive_scaling.accuracy import Accuracy
from include.levers.predictive_scaling.live import World
from include.levers.service import covered, spans
from include.rollout.gates import Figure

# An HPA leaves replicas as they are while the metric is within so much of its target (its default).
TOLERANCE = 0.1
SUSTAINED_SECONDS = 60  # a need counts once it has lasted so long
DOWN = "no forecast in Prometheus: is traffic-predictor up and scraped? Scaling goes on by requests alone"


def observe_slot(world: World, window: float, applied: Mapping[str, Any]) -> dict[str, Callable[[], Figure | None]]:
    """Every figure by gate name, each made when it is asked for.

    Latency, errors and false scale-ups cover the whole stage, so that a scale-up at its beginning counts too.
    """
    _, seconds = spans(world, window, applied)
    return {
        "forecast_age": lambda: forecast_age(world),
        "forecast_accuracy": lambda: accuracy_figure(world),
        "forecast_against_naive": lambda: ratio_figure(world),
        "autoscalers_unhealthy": lambda: unhealthy(world),
        "fallback_active": lambda: fallback(world),
        "replicas_below_need": lambda: below_need(world),
        "false_scale_ups": lambda: false_scale_ups(world, seconds),
        **{pair.gate.name: functools.partial(pair.measure, world, seconds) for pair in plan.served(world.estate)},
    }


# The forecast ----------------------------------------------------------------------------------------------------


def forecast_age(world: World) -> Figure:
    """Seconds since the newest forecast; not a number, and without samples, when there is none."""
    query = queries.age(world.target.region)
    value = world.prometheus.value(query)
    if value is None:
        return Figure(math.nan, "s", 0, query, DOWN)
    sure = world.prometheus.value(f'max({gauges.CONFIDENT}{{region="{world.target.region}"}})')
    return Figure(value, "s", 1, query, "sure" if sure == 1 else "not sure: it adds nothing for now")


def champion_accuracy(world: World) -> Accuracy | None:
    """The champion's accuracy: live when half a day of its forecasts can be judged, else as recorded."""
    registry = world.registry
    version = registry.pointer().version
    if not version:
        return None
    return live_accuracy(world, version) or accuracy.recorded(registry.history(), version)


def live_accuracy(world: World, version: str) -> Accuracy | None:
    """What the champion forecast in the last day against what came; None while that is too little."""
    from include.forecast import watch  # numpy: not at a DAG's parse

    now, region, limits = world.now(), world.target.region, watch.AssessmentLimits()
    served = watch.recent_forecasts(world.prometheus, region, version, now)
    if len(served.own) < limits.least_minutes:
        return None
    found = watch.assess(watch.recent_traffic(world.prometheus, world.estate, region, now), served, limits)
    if found.champion_wape is None or found.best_naive_wape is None:
        return None
    source = f"live forecasts of the last {watch.HOURS} h"
    return Accuracy(found.champion_wape, found.best_naive, found.best_naive_wape, found.minutes, source)


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
    region, fresh = world.target.region, world.chosen.freshness_seconds
    found = forecast_age(world)
    if not found.samples:
        return [found.note]
    if found.value > fresh:
        return [f"the newest forecast is {found.value:.0f} s old, {fresh} s are allowed"]
    gauge = f'{gauges.FORECAST}{{region="{region}",quantile="{gauges.MEDIAN}"}}'
    minutes = world.prometheus.value(f"count(count by (horizon) ({gauge}))") or 0
    return [] if minutes >= gauges.LONGEST_LEAD else [f"{gauge} has {minutes:.0f} of {gauges.LONGEST_LEAD} horizons"]


# The autoscalers -------------------------------------------------------------------------------------------------


def unhealthy(world: World) -> Figure:
    """Workloads whose ScaledObject or HPA does not work."""
    problems = [lines for lines in scaling_problems(world).values() if lines]
    wrong = [line for lines in problems for line in lines]
    return Figure(len(problems), "workloads", len(world.estate.workloads), "conditions of the HPAs", "; ".join(wrong))


def scaling_problems(world: World, triggers: int | None = None) -> dict[str, list[str]]:
    """What is wrong with the scaling of each workload; ``triggers`` is how many must have a value."""
    scaled = live.scaled_objects(world)
    return {name: _problems(name, found, live.keda_autoscaler(world, name), triggers) for name, found in scaled.items()}


def _problems(name: str, scaled: Object | None, autoscaler: Object | None, triggers: int | None) -> list[str]:
    if scaled is None:
        return [f"ScaledObject {name} does not exist"]
    if condition(scaled, "Ready") != "True":
        return [f"ScaledObject {name} is not ready: {_message(scaled, 'Ready')}"]
    if autoscaler is None:
        return [f"KEDA has made no HPA for {name}"]
    for kind in ("AbleToScale", "ScalingActive"):
        if condition(autoscaler, kind) != "True":
            return [f"the HPA of {name} is not {kind}: {_message(autoscaler, kind)}"]
    wanted = len(scaled["spec"]["triggers"]) if triggers is None else triggers
    # A metric that could not be read is listed too, but empty.
    read = [m for m in autoscaler["status"].get("currentMetrics") or [] if m.get("external", {}).get("current")]
    return [] if len(read) >= wanted else [f"the HPA of {name} has a value of {len(read)} of {wanted} triggers"]


def _message(thing: Object, kind: str) -> str:
    conditions = thing.get("status", {}).get("conditions") or []
    return next((c.get("message") or c.get("reason") or c["status"] for c in conditions if c["type"] == kind), "none")


def fallback(world: World) -> Figure | None:
    """Workloads that KEDA scales by its fallback, since their metrics are lost; None without any ScaledObject."""
    scaled = {name: found for name, found in live.scaled_objects(world).items() if found}
    if not scaled:
        return None
    active = [name for name, found in scaled.items() if condition(found, "Fallback") == "True"]
    note = f"lost metrics of {', '.join(active)}" if active else ""
    return Figure(len(active), "workloads", len(scaled), "ScaledObject condition Fallback", note)


def below_need(world: World) -> Figure | None:
    """Workloads for which the HPA wants fewer replicas than their requests have needed for a minute."""
    settings, region = world.chosen, world.target.region
    per_replica = world.estate.qps_per_replica() * (1 + TOLERANCE)
    lines, short = [], 0
    for name in world.estate.workloads:
        own = queries.own_demand(world.estate, region, name, settings.rate_window_seconds)
        qps = world.prometheus.value(f"min_over_time(({own})[{SUSTAINED_SECONDS}s:10s])")
        autoscaler = live.keda_autoscaler(world, name)
        if qps is None or autoscaler is None:
            return None
        needed = plan.need(qps, per_replica, settings.min_replicas, settings.max_replicas)
        desired = int(autoscaler["status"].get("desiredReplicas", 0))
        short += desired < needed
        lines.append(f"{name}: {desired} for {qps:.0f} requests/s, which need {needed}")
    return Figure(short, "workloads", len(lines), "HPA desiredReplicas against request rate", "; ".join(lines))


def false_scale_ups(world: World, seconds: float) -> Figure | None:
    """Replica time that the forecast added and no demand came for, as a share of what requests alone take."""
    settings, limit = world.chosen, world.estate.predictive_scaling.max_false_share
    lead = settings.lead_minutes * 60
    span = max(seconds, 2.0 * lead)
    step = min(60.0, max(5.0, span // 120))
    end = world.now() // step * step
    times = [end - n * step for n in range(int(span // step), -1, -1)]
    bounds = waste.Bounds(world.estate.qps_per_replica(), settings.min_replicas, settings.max_replicas)
    found, since, known = waste.Waste(), [at > end - seconds for at in times], 0
    for name in world.estate.workloads:
        own = queries.own_demand(world.estate, world.target.region, name, settings.rate_window_seconds)
        ahead = plan.forecast_query(world.estate, world.target.region, settings, name)
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
    nodes = node_facts(world)
    cost, unknown = usd_hour(world, nodes)
    replicas = live.all_replicas(world)
    return {
        "nodes": len(nodes),
        "replicas": replicas,
        "pods": sum(replicas.values()),
        "autoscaled": {name: live.our_scaled_object(world, name) is not None for name in world.estate.workloads},
        **_forecast(world),
        "usd_hour": None if cost is None else float(cost),
        "usd_hour_unknown": unknown,
        **service.evidence(world),
    }


def _forecast(world: World) -> dict[str, Any]:
    fresh = forecast_age(world)
    try:
        version, found = world.registry.pointer().version, champion_accuracy(world)
    except RegistryError as error:
        return {"forecast": str(error)}
    return {
        "forecast": fresh.note,
        "forecast_age_seconds": fresh.value if fresh.samples else None,
        "champion": version or None,
        "forecast_accuracy": None if found is None else round(1 - found.wape, 4),
        "forecast_accuracy_of": None if found is None else found.note,
    }
