"""What one pod requests before and after right-sizing, by the lever's own arithmetic. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from include.estate import Estate
from include.estate.service import Workload
from include.levers.right_sizing import floors
from include.levers.right_sizing.recommendation import Bounds, ContainerUse, Requests, Samples, recommend
from include.quantities import MIB, cores, quantity

Floats = npt.NDArray[np.float64]
HISTORY_DAYS = 8  # what the recommender looks at
STEP = 5  # minutes between two samples of use


@dataclass(frozen=True)
class Size:
    """Requests of one pod: millicores and bytes."""

    cpu: int
    memory: int


def requested(workload: Workload) -> Size:
    """What the estate's file says."""
    return Size(int(cores(workload.requests.cpu) * 1000), int(quantity(workload.requests.memory)))


def cores_per_qps(estate: Estate, name: str) -> float:
    """CPU that one request a second takes: the use at the weekday peak over what a start replica serves then."""
    workload = estate.workloads[name]
    whole = sum(one.replicas for one in estate.workloads.values())
    each = max(estate.traffic.weekday_qps) * estate.demand_scale() / whole
    return workload.use_at_peak.cpu_millicores / 1000 / each


def right_sized(estate: Estate, name: str, qps: Floats, replicas: Floats, scaled: bool) -> Size:
    """The recommendation for the newest days of ``qps`` on ``replicas`` ([minutes] of one workload), within its floor.

    Memory is taken at its use at the peak all day: the estate says nothing of what falls with the load.
    """
    each = cores_per_qps(estate, name)
    least, most = _bounds(estate, name, each, scaled)
    cpu = (qps / replicas * each)[-HISTORY_DAYS * 1440 :: STEP]
    times = np.arange(len(cpu), dtype=float) * STEP * 60
    memory = np.full(len(cpu), estate.workloads[name].use_at_peak.memory_mib * float(MIB))
    use = ContainerUse(Samples(times, cpu), Samples(times, memory))
    found = recommend([use], float(times[-1]), Bounds(least, most)).target
    return Size(found.cpu_millicores, found.memory_bytes)


def _bounds(estate: Estate, name: str, each: float, scaled: bool) -> tuple[Requests, Requests]:
    """What the recommendation stays within: the bounds, and what an autoscaled pod and its peak need."""
    chosen, bounds = estate.right_sizing, estate.right_sizing.bounds_of(name)
    limits = floors.in_base_units(estate.workloads[name].limits.model_dump())
    most = {n: min(v, limits[n]) for n, v in floors.in_base_units(bounds.most.model_dump()).items()}
    needed: dict[str, float | None] = {
        "memory": estate.workloads[name].use_at_peak.memory_mib * float(MIB) * chosen.memory_margin
    }
    if scaled:
        needed["cpu"] = each * estate.qps_per_replica() * chosen.cpu_margin
    now = floors.in_base_units(estate.workloads[name].requests.model_dump())
    least = floors.floor(floors.in_base_units(bounds.least.model_dump()), most, now, needed, {})
    return _requests(least), _requests(most)


def _requests(amounts: dict[str, Decimal]) -> Requests:
    return Requests(math.ceil(amounts["cpu"] * 1000), int(amounts["memory"]))
