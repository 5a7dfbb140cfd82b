"""What a pod uses of CPU and memory, and what happens at its limits: the model, pure functions.

A serving pod uses CPU in proportion to its load, at least ``IDLE_CPU_SHARE`` of what the estate gives for the weekday
peak, and of memory ``IDLE_MEMORY_SHARE`` of the peak's and the rest with its load. A pod that runs without serving is
idle; every other pod uses a constant. Several containers of a pod share its use evenly.

CPU beyond the limit is not had. A CFS period is 100 ms; of those in which a container runs, the share in which it is
throttled is 0 up to ``THROTTLED_FROM`` of the limit, 1 from ``THROTTLED_ALL`` times the limit, a straight line between:
bursts within a period meet the limit before the mean does. Throttling does not slow requests down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from include.estate import Traffic
from include.estate import Use as PeakUse

MIB = 1024 * 1024
IDLE_MEMORY_SHARE = 0.75  # of what a pod uses at the weekday peak
IDLE_CPU_SHARE = 0.05
PERIODS_PER_SECOND = 10
THROTTLED_FROM, THROTTLED_ALL = 0.9, 1.1
MAIN_CONTAINER = "akidb"  # of the service's own Deployments
PROTOCOLS = {"akidb-rest": "http", "akidb-grpc": "grpc"}  # the Deployments that serve


@dataclass(frozen=True)
class Use:
    """What something uses: cores, and bytes that it holds."""

    cores: float
    memory_bytes: float


OTHER = Use(0.01, 50 * MIB)
# By the label that names the workload; of the order of what these programs take.
CONSTANT: Mapping[str, Use] = {
    "traffic-predictor": Use(0.1, 300 * MIB),
    "karpenter": Use(0.04, 290 * MIB),
    "kube-dns": Use(0.005, 20 * MIB),
    "aws-node": Use(0.01, 60 * MIB),
    "kube-proxy": Use(0.002, 25 * MIB),
}


def serving_use(traffic: Traffic, at_peak: PeakUse, utilisation: float) -> Use:
    """The use of a pod whose service is utilised so: offered load over capacity, above 1 when it is overloaded."""
    fullness = utilisation / (traffic.target_utilisation * traffic.peak_share_of_capacity)
    memory = IDLE_MEMORY_SHARE + (1 - IDLE_MEMORY_SHARE) * min(fullness, 1.0)
    cores = max(fullness, IDLE_CPU_SHARE) * at_peak.cpu_millicores / 1000
    return Use(cores, memory * at_peak.memory_mib * MIB)


def constant_use(workload: str) -> Use:
    """The use of a pod that is none of the service's."""
    return CONSTANT.get(workload, OTHER)


def throttled_share(cores: float, limit: float) -> float:
    """The share of its CFS periods in which a container that wants ``cores`` is throttled at ``limit``."""
    return min(max((cores / limit - THROTTLED_FROM) / (THROTTLED_ALL - THROTTLED_FROM), 0.0), 1.0)
