"""What a replay is judged by: counters from Prometheus, replicas and paid nodes from the API server."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping

from urllib3.exceptions import HTTPError

from include.clients import kubernetes as k8s
from include.clients.kubernetes import Cluster, KubernetesError
from include.clients.prometheus import Prometheus
from include.estate import Estate
from include.prices import AwsBook
from lab.rehearsal.evidence import NODE_GROUP, node_of, usd_hour
from lab.surge.measures import Counters, ReplaySample

LOOK_SECONDS = 0.5


def at_minutes(prometheus: Prometheus, query: str, begins: float, minutes: int, step: float) -> dict[str, list[float]]:
    """The query's series by their label ``le`` ('' without one) at minute 0 .. ``minutes``; NaN where there is none."""
    found = {}
    for series in prometheus.query_range(query, begins, begins + minutes * step, step):
        values = [math.nan] * (minutes + 1)
        for at, value in series.points:
            values[round((at - begins) / step)] = value
        found[series.labels.get("le", "")] = values
    return found


def counters(
    prometheus: Prometheus, estate: Estate, region: str, begins: float, minutes: int, step: float
) -> tuple[Counters, Counters]:
    """REST's and gRPC's counters at each plant minute, which has ``step`` seconds."""
    metrics, mine = estate.metrics, estate.matchers(region)
    none = [0.0] * (minutes + 1)
    made = []
    for (requests, label), histogram in zip(
        metrics.requests(), (metrics.http_duration, metrics.grpc_duration), strict=True
    ):
        read = {
            "buckets": f"sum by (le) ({histogram}_bucket{{{mine}}})",
            "all": f"sum({requests}{{{mine}}})",
            "failed": f'sum({requests}{{{mine},{label}=~"5.."}})',
        }
        seen = {name: at_minutes(prometheus, query, begins, minutes, step) for name, query in read.items()}
        buckets = {float(edge): values for edge, values in seen["buckets"].items()}
        made.append(Counters(buckets, seen["all"].get("", none), seen["failed"].get("", none)))
    return made[0], made[1]


def added(
    prometheus: Prometheus, query_of: Mapping[str, str], begins: float, minutes: int, step: float
) -> dict[str, list[float | None]]:
    """What the forecast's trigger said of each workload in each plant minute; None where it was silent."""
    found: dict[str, list[float | None]] = {}
    for name, query in query_of.items():
        values = at_minutes(prometheus, query, begins, minutes - 1, step).get("", [math.nan] * minutes)
        found[name] = [None if math.isnan(value) else value for value in values]
    return found


class Sampler:
    """Looks at replicas and nodes twice a second in a thread of its own, from ``start`` to ``stop``."""

    def __init__(
        self, estate: Estate, region: str, cluster: Cluster, book: AwsBook, minute: Callable[[], float]
    ) -> None:
        """``minute`` gives the plant minutes since the replay began."""
        self._estate, self._region, self._cluster, self._book, self._minute = estate, region, cluster, book, minute
        self.samples: list[ReplaySample] = []
        self.problems = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> list[ReplaySample]:
        """End, and give every sample."""
        self._over.set()
        self._thread.join(timeout=30)
        return self.samples

    def _run(self) -> None:
        while not self._over.is_set():
            begun = time.monotonic()
            try:
                self.samples.append(self._look())
            except (KubernetesError, HTTPError, OSError, ValueError):  # away, or an answer that was cut off
                self.problems += 1  # the sample before counts until the next one
            self._over.wait(max(0.0, LOOK_SECONDS - (time.monotonic() - begun)))

    def _look(self) -> ReplaySample:
        minute = self._minute()
        wanted, ready = {}, {}
        for name in self._estate.workloads:
            found = self._cluster.get(k8s.DEPLOYMENT, name, self._estate.namespace) or {"spec": {}, "status": {}}
            wanted[name] = int(found["spec"].get("replicas", 0))
            ready[name] = int(found["status"].get("readyReplicas", 0))
        group = [node for node in self._cluster.list(k8s.NODE) if NODE_GROUP in node["metadata"].get("labels", {})]
        # An instance is paid from its launch on, not only once its node is there.
        launched = [claim for claim in self._cluster.list(k8s.NODE_CLAIM) if "capacity" in claim.get("status", {})]
        nodes = [node_of(thing) for thing in (*group, *launched)]
        vcpu = sum(node.vcpu for node in nodes)
        return ReplaySample(minute, wanted, ready, len(nodes), vcpu, usd_hour(nodes, self._book, self._region))
