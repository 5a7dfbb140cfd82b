"""The least that a pod may be given whatever is recommended: what its autoscaler will ask of it, and its peak.

History from before an autoscaler tells less CPU than an autoscaled pod needs, which carries its target at any time of
day. And a running container whose memory falls below what it holds is killed, whatever the percentiles say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal

from include.clients.prometheus import Prometheus
from include.estate import Estate
from include.levers.nodes.requests import Requests
from include.quantities import MIB, quantity

BUSY = 0.5  # hours with at least so much of the highest rate tell what a request costs
STEP = 3600.0  # seconds of one point of use and requests
GRID = {"cpu": Decimal("0.01"), "memory": 16 * MIB}  # floors are multiples of it, so that plans are stable
STANDS = Decimal("1.05")  # a floor that stands is kept while it is at most so many times what is needed


def floor(
    bounds: Requests, most: Requests, now: Requests, needed: Mapping[str, float | None], standing: Requests
) -> dict[str, Decimal]:
    """The least requests of a container, from its bounds and from what is ``needed``, in base units.

    ``needed`` has the resources of which something is known to need an amount; None keeps what is requested ``now``.
    ``standing`` is the floor of a VPA that stands.
    """
    least = {}
    for name, bound in bounds.items():
        amount = needed.get(name, 0.0)
        wanted = now[name] if amount is None else Decimal(amount)
        least[name] = min(most[name], max(bound, stable(name, wanted, standing.get(name))))
    return least


def stable(name: str, wanted: Decimal, standing: Decimal | None) -> Decimal:
    """``wanted`` rounded up to the grid, or the floor that stands where that is enough and hardly more."""
    if standing is not None and wanted <= standing <= wanted * STANDS:
        return standing
    return (wanted / GRID[name]).to_integral_value(ROUND_CEILING) * GRID[name]


def cores_per_request(cores: Mapping[float, float], requests: Mapping[float, float]) -> float | None:
    """CPU seconds that one request takes, over the busy times; both are by Unix time. None without any."""
    both = {at: qps for at, qps in requests.items() if at in cores and math.isfinite(qps) and math.isfinite(cores[at])}
    highest = max(both.values(), default=0.0)
    busy = [at for at, qps in both.items() if qps > 0 and qps >= BUSY * highest]
    return sum(cores[at] for at in busy) / sum(both[at] for at in busy) if busy else None


# Read from Prometheus --------------------------------------------------------------------------------------------


def peak_memory(prometheus: Prometheus, estate: Estate, region: str, workload: str, days: int) -> float | None:
    """The most bytes that any pod's largest container has held in the last ``days``; None without a sample."""
    series = f"container_memory_working_set_bytes{{{of_pods(estate, region, workload)}}}"
    return prometheus.value(f"max(max_over_time({series}[{days}d]))")


def use_of_requests(
    prometheus: Prometheus, estate: Estate, region: str, workload: str, now: float, days: int
) -> float | None:
    """:func:`cores_per_request` of a workload over the last ``days``."""
    protocol = estate.predictive_scaling.requests[workload]
    counter = f"{estate.metrics.counter(protocol)}{{{estate.matchers(region, workload)}}}"
    cpu = f"container_cpu_usage_seconds_total{{{of_pods(estate, region, workload)}}}"
    end = now // STEP * STEP
    cores, requests = (_points(prometheus, f"sum(rate({series}[{STEP:.0f}s]))", end, days) for series in (cpu, counter))
    return cores_per_request(cores, requests)


def _points(prometheus: Prometheus, expression: str, end: float, days: int) -> dict[float, float]:
    found = prometheus.query_range(expression, end - days * 86_400.0, end, STEP)
    return {at: value for series in found for at, value in series.points}


def of_pods(estate: Estate, region: str, workload: str) -> str:
    """Label matchers of the containers of a Deployment's pods."""
    return (
        f'region="{region}",namespace="{estate.namespace}",pod=~"{workload}-[a-z0-9]+-[a-z0-9]+",'
        'container!="",container!="POD"'
    )


def in_base_units(bounds: Mapping[str, str]) -> dict[str, Decimal]:
    """CPU and memory of the estate's quantities."""
    return {name: quantity(value) for name, value in bounds.items()}
