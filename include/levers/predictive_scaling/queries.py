"""The PromQL of the triggers and of what is judged: pure functions. A forecast may add capacity, never remove it."""

from __future__ import annotations

from include.estate import Estate
from include.forecast.gauges import CONFIDENT, FORECAST, GENERATED, LONGEST_LEAD, MEDIAN

# The pods of a Deployment: its name, the hash of its template, and an ending.
POD_NAME = "{}-[a-z0-9]+-[a-z0-9]+"


def demand(estate: Estate, region: str, window: int) -> str:
    """Requests a second of a region, over the last ``window`` seconds; no series when any of the counters is lost."""
    return " + ".join(own_demand(estate, region, name, window) for name in estate.predictive_scaling.requests)


def ready_pods(estate: Estate, region: str, workload: str) -> str:
    """How many pods of a workload run, by their containers."""
    pods = f'region="{region}",namespace="{estate.namespace}",pod=~"{POD_NAME.format(workload)}"'
    return f"count(count by (pod) (container_cpu_usage_seconds_total{{{pods}}}))"


def age(region: str) -> str:
    """Seconds since the newest forecast."""
    return f'time() - max({GENERATED}{{region="{region}"}})'


def forecast(region: str, lead_minutes: int, freshness: int) -> str:
    """The highest median of the next ``lead_minutes``, of predictors that are fresh and sure; else no series."""
    near = "|".join(str(minute) for minute in range(1, lead_minutes + 1))
    horizon = "" if lead_minutes >= LONGEST_LEAD else f',horizon=~"{near}"'
    mine = f'region="{region}"'
    return (
        f'max({FORECAST}{{{mine},quantile="{MEDIAN}"{horizon}}}'
        f" and on (job, instance) (abs(time() - {GENERATED}{{{mine}}}) < {freshness})"
        f" and on (job, instance) ({CONFIDENT}{{{mine}}} == 1))"
    )


def own_demand(estate: Estate, region: str, workload: str, window: int) -> str:
    """Requests a second that a workload has to serve, those included that it refuses."""
    counter = estate.metrics.counter(estate.predictive_scaling.requests[workload])
    return f"sum(rate({counter}{{{estate.matchers(region, workload)}}}[{window}s]))"


def forecast_trigger(
    estate: Estate, region: str, workload: str, *, window: int, lead_minutes: int, freshness: int
) -> str:
    """Requests a second that are to come to a workload, or 0: there is always exactly one number.

    0 without a fresh and sure forecast, without a known demand or number of pods, and where the forecast is not
    ``act_above`` times the demand of now; never more than ``cap`` times what the workload's pods serve.
    """
    scaling = estate.predictive_scaling
    every = demand(estate, region, window)
    own = own_demand(estate, region, workload, window)
    rise = f"({forecast(region, lead_minutes, freshness)} > {scaling.act_above:g} * ({every}))"
    capacity = f"scalar({ready_pods(estate, region, workload)}) * {scaling.cap * estate.qps_per_replica():g}"
    # What is lost is NaN by then, and NaN >= 0 gives no series.
    return f"clamp_max({rise} * ({own}) / ({every}), {capacity}) >= 0 or vector(0)"
