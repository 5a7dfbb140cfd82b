"""How much of what the workloads' pods request they use: CPU and memory, over the running pods."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from include.estate import Estate
from include.levers.nodes.requests import pod_requests
from include.levers.pods import is_ready, workload_pods
from include.levers.world import World, name_of

CPU, MEMORY = "container_cpu_usage_seconds_total", "container_memory_working_set_bytes"
RATE_SECONDS = 60


def utilisation(world: World, seconds: float = 300) -> dict[str, float | None]:
    """``utilisation_cpu``, ``utilisation_memory`` and the larger of them, the mean of the last so many seconds.

    Used by requested, over the ready pods of the workloads that have samples; None without any.
    """
    requested = {name_of(pod): pod_requests(pod["spec"]) for pod in workload_pods(world) if is_ready(pod)}
    mine = f'{world.estate.matchers(world.target.region)},container!=""'
    window = max(RATE_SECONDS, round(seconds))
    rate = f"sum by (pod) (rate({CPU}{{{mine}}}[{window}s]))"
    used = f"sum by (pod) (avg_over_time({MEMORY}{{{mine}}}[{window}s]))"
    shares = {
        "utilisation_cpu": _share(_by_pod(world, rate), {pod: r.get("cpu") for pod, r in requested.items()}),
        "utilisation_memory": _share(_by_pod(world, used), {pod: r.get("memory") for pod, r in requested.items()}),
    }
    known = [share for share in shares.values() if share is not None]
    return {**shares, "utilisation": max(known) if len(known) == len(shares) else None}


def _by_pod(world: World, expression: str) -> dict[str, float]:
    return {sample.labels.get("pod", ""): sample.value for sample in world.prometheus.query(expression)}


def _share(used: Mapping[str, float], requested: Mapping[str, Decimal | None]) -> float | None:
    both = [(used[pod], float(value)) for pod, value in requested.items() if value and pod in used]
    whole = sum(value for _, value in both)
    return sum(value for value, _ in both) / whole if whole else None


def oom_kills(world: World, seconds: float = 300) -> float | None:
    """Containers of the namespace killed for want of memory in the last so many seconds; None without the series."""
    mine = world.estate.matchers(world.target.region)
    return world.prometheus.value(f"sum(increase(container_oom_events_total{{{mine}}}[{max(1, round(seconds))}s]))")


def requests_and_use(estate: Estate, mine: str) -> dict[str, str]:
    """PromQL of what the workloads' pods request and use: cores and bytes by region; ``mine`` chooses OpenCost."""
    chosen = f'namespace="{estate.namespace}",pod=~"({"|".join(estate.workloads)})-.+",container!=""'
    requested = f"kube_pod_container_resource_requests{{{mine},{chosen},resource="
    return {
        "cpu_requested": f'sum by (region) ({requested}"cpu"}})',
        "memory_requested": f'sum by (region) ({requested}"memory"}})',
        "cpu_used": f"sum by (region) (rate(container_cpu_usage_seconds_total{{{chosen}}}[5m]))",
        "memory_used": f"sum by (region) (container_memory_working_set_bytes{{{chosen}}})",
    }
