"""How full a region's requests are: what running pods use of what they ask for, and which were killed for memory.

Requests come from the API server's live pods, use from the kubelets' series in Prometheus. No code is shared with the
levers that are judged by these figures.
"""

from __future__ import annotations

import datetime as dt
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from include.clients import kubernetes as k8s
from include.clients.prometheus import Prometheus
from include.estate import Estate
from include.quantities import quantity
from lab.rehearsal.evidence import EvidenceFigures, EvidenceReader

SOAK_SECONDS = 30  # use is the mean of so long: the last soak
FIRST_SAMPLES_SECONDS = 60  # so long a pod that has just started may take to have series of a whole soak
OOM_KILLED = "OOMKilled"


@dataclass(frozen=True)
class Amount:
    """CPU in cores and memory in bytes."""

    cores: float = 0.0
    memory_bytes: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.cores + other.cores, self.memory_bytes + other.memory_bytes)


@dataclass(frozen=True)
class Use:
    """What the running pods of the workloads use, and what they request."""

    used: Amount
    requested: Amount

    @property
    def cpu(self) -> float | None:
        """Used of requested CPU; None where nothing is requested."""
        return _share(self.used.cores, self.requested.cores)

    @property
    def memory(self) -> float | None:
        """Used of requested memory; None where nothing is requested."""
        return _share(self.used.memory_bytes, self.requested.memory_bytes)

    @property
    def utilisation(self) -> float | None:
        """The larger of the two, which is what fills a node; None where one is not known."""
        return None if self.cpu is None or self.memory is None else max(self.cpu, self.memory)


def _share(used: float, requested: float) -> float | None:
    return round(used / requested, 4) if requested else None


@dataclass(frozen=True)
class Occupancy:
    """A region at one end of day 4: its nodes and dollars, the use of its pods, and the traffic of that moment.

    ``use`` and ``qps`` (requests a second) are None without data.
    """

    figures: EvidenceFigures
    use: Use | None
    qps: float | None

    @property
    def utilisation(self) -> float | None:
        """Of the requests; see :class:`Use`."""
        return None if self.use is None else self.use.utilisation


# Pods ----------------------------------------------------------------------------------------------------------------


def requested(pod: Mapping[str, Any]) -> Amount:
    """What a live pod asks for: the sum over its containers. In-place resizes show here, in no template."""
    asked = [container.get("resources", {}).get("requests", {}) for container in pod["spec"]["containers"]]
    amounts = (Amount(float(quantity(one.get("cpu", 0))), float(quantity(one.get("memory", 0)))) for one in asked)
    return sum(amounts, Amount())


def use_of(pods: Iterable[Mapping[str, Any]], used: Mapping[str, Amount]) -> Use | None:
    """The use of ``pods`` by name; None while one has no series: a part of them is no figure of all of them."""
    asked = {str(pod["metadata"]["name"]): requested(pod) for pod in pods}
    if not asked or not asked.keys() <= used.keys():
        return None
    return Use(sum((used[name] for name in asked), Amount()), sum(asked.values(), Amount()))


# Prometheus ----------------------------------------------------------------------------------------------------------


def used_by_pod(prometheus: Prometheus, namespace: str, region: str, seconds: int = SOAK_SECONDS) -> dict[str, Amount]:
    """The mean use of each pod over the last ``seconds``; only pods that were there all the time, with both figures.

    The rate of a counter that has just begun is less than the pod uses.
    """
    chosen = f'{{region="{region}",namespace="{namespace}",container!="",container!="POD"}}'
    cpu = _by_pod(prometheus, f"sum by (pod) (rate(container_cpu_usage_seconds_total{chosen}[{seconds}s]))")
    memory = f"sum by (pod) (avg_over_time(container_memory_working_set_bytes{chosen}[{seconds}s]))"
    resident = _by_pod(prometheus, memory)
    old = _by_pod(prometheus, f"sum by (pod) (container_cpu_usage_seconds_total{chosen} offset {seconds}s)")
    return {name: Amount(cpu[name], resident[name]) for name in cpu.keys() & resident.keys() & old.keys()}


def _by_pod(prometheus: Prometheus, expression: str) -> dict[str, float]:
    return {one.labels["pod"]: one.value for one in prometheus.query(expression) if not math.isnan(one.value)}


def qps(prometheus: Prometheus, estate: Estate, region: str, seconds: int = SOAK_SECONDS) -> float | None:
    """Requests a second of REST and gRPC over the last ``seconds``; None while one of them has no series."""
    mine = estate.matchers(region)
    rates = [f"sum(rate({name}{{{mine}}}[{seconds}s]))" for name, _ in estate.metrics.requests()]
    values = [prometheus.value(rate) for rate in rates]
    known = [value for value in values if value is not None]
    return round(sum(known), 1) if len(known) == len(values) else None


# Kills ---------------------------------------------------------------------------------------------------------------


def killed_containers(pods: Iterable[Mapping[str, Any]], since: dt.datetime) -> int:
    """Containers whose last end was a kill for memory at or after ``since``."""
    return sum(moment >= since for pod in pods for moment in _kills(pod))


def _kills(pod: Mapping[str, Any]) -> Iterator[dt.datetime]:
    for container in pod["status"].get("containerStatuses") or ():
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            ended = state.get("terminated") or {}
            if ended.get("reason") == OOM_KILLED and ended.get("finishedAt"):
                yield dt.datetime.fromisoformat(ended["finishedAt"])


def counted_kills(prometheus: Prometheus, namespace: str, region: str, seconds: float) -> int | None:
    """Kills for memory that kubelets have counted in the last ``seconds``; None without their series."""
    chosen = f'container_oom_events_total{{region="{region}",namespace="{namespace}"}}'
    found = prometheus.value(f"sum(increase({chosen}[{max(10, round(seconds))}s]))")
    return None if found is None else round(found)


def oom_kills(reader: EvidenceReader, begun: dt.datetime, now: dt.datetime) -> int | None:
    """Kills for memory in the workloads since ``begun``.

    A pod that has gone takes its status along, and a counter that begins at 1 shows no increase: the larger of both
    counts. None without the counter.
    """
    space = reader.estate.namespace
    counted = counted_kills(reader.prometheus, space, reader.region, (now - begun).total_seconds())
    shown = killed_containers(reader.cluster.list(k8s.POD, space), begun.replace(microsecond=0))
    return None if counted is None else max(counted, shown)


# One region, all regions ----------------------------------------------------------------------------------------------


def occupancy(reader: EvidenceReader, since_seconds: float) -> Occupancy:
    """A region now; errors are counted over ``since_seconds``. Raises EvidenceError."""
    figures = reader.figures(since_seconds)
    used = used_by_pod(reader.prometheus, reader.estate.namespace, reader.region)
    use = use_of(reader.running_pods(), used)
    return Occupancy(figures, use, qps(reader.prometheus, reader.estate, reader.region))


def occupancies(
    lab: Mapping[str, EvidenceReader],
    since_seconds: float,
    stretch: float = 1.0,
    read: Callable[[EvidenceReader, float], Occupancy] = occupancy,
    pause_seconds: float = 2.0,
) -> dict[str, Occupancy]:
    """Each region once every running pod has series; what has none after a while stays unknown."""
    pause, limit = threading.Event(), time.monotonic() + FIRST_SAMPLES_SECONDS * stretch
    while True:
        found = {region: read(reader, since_seconds) for region, reader in lab.items()}
        if all(one.use is not None for one in found.values()) or time.monotonic() >= limit:
            return found
        pause.wait(pause_seconds)
