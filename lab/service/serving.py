"""One Deployment of a region as it serves requests: counters moved by what is expected, no dice."""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.service.counters import FAULT, LOST, OK, REFUSED, Counters
from lab.service.endpoints import Census
from lab.service.faults import Fault
from lab.service.queueing import Load, load_of

# What AkiDB exports: its own names and bucket edges, in seconds. They differ between HTTP and gRPC.
EDGES = {
    "http": (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    "grpc": (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
}
EDGE_30_MS = 0.03


@dataclass
class AkidbService:
    """The counters of one Deployment of a region, as AkiDB's pods would sum up to."""

    protocol: str
    edges: tuple[float, ...]
    load: Load | None = None
    requests: dict[str, float] = field(default_factory=lambda: dict.fromkeys((OK, FAULT, LOST, REFUSED), 0.0))
    buckets: list[float] = field(default_factory=list)
    duration_sum: float = 0.0
    duration_count: float = 0.0
    _in_flight_per_pod: float = 0.0

    def __post_init__(self) -> None:
        self.buckets = [0.0] * len(self.edges)

    def state(self) -> Counters:
        """What has been counted up to now."""
        return Counters(self.edges, {**self.requests}, [*self.buckets], self.duration_sum, self.duration_count)

    def advance(self, seconds: float, offered_qps: float, census: Census, replica_qps: float, fault: Fault) -> None:
        """Serve ``seconds`` of ``offered_qps`` with the pods of ``census``.

        Requests that a Service still sends to a dead pod are lost, and so is what was in flight on a killed one.
        Refused requests never reach a handler: they count as 503 and are not in the histogram.
        """
        listed = census.serving + census.dead
        reaching = offered_qps * census.serving / listed if listed else 0.0
        load = load_of(reaching, census.serving, replica_qps, fault.extra_latency_ms / 1000)
        accepted = load.accepted_qps * seconds
        killed = min(census.killed * self._in_flight_per_pod, accepted)
        answered = accepted - killed
        unreachable = (offered_qps - reaching) * seconds if listed else 0.0
        self.requests[OK] += answered * (1 - fault.error_ratio)
        self.requests[FAULT] += answered * fault.error_ratio
        self.requests[LOST] += killed + unreachable
        self.requests[REFUSED] += load.refused_qps * seconds if listed else offered_qps * seconds
        for n, edge in enumerate(self.edges):
            self.buckets[n] += answered * load.share_within(edge)
        self.duration_count += answered
        self.duration_sum += answered * load.mean_seconds
        self.load = load
        # Little's law: what is in the house is the rate of arrivals times the time that each stays.
        self._in_flight_per_pod = load.accepted_qps * load.mean_seconds / census.serving if census.serving else 0.0


def service_of(protocol: str, edge_30ms: bool) -> AkidbService:
    """A Deployment that speaks ``http`` or ``grpc``, with an edge at 30 ms or without."""
    edges = EDGES[protocol]
    return AkidbService(protocol, tuple(sorted({*edges, EDGE_30_MS})) if edge_30ms else edges)
