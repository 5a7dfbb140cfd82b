"""How long requests take on a given number of ready replicas: the M/M/c queue, pure functions.

A replica is two servers (its limit is 2 CPUs) that together do ``replica_qps`` requests a second, so a request
takes 2 / 350 s = 5.7 ms of service on average. Requests go to whichever server is free, as a least-request balancer
does. The answer is the steady state: load and latency change together, without a transient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SERVERS_PER_REPLICA = 2
# A queue does not grow without end: where requests that have to wait would wait longer than this on average, the
# rest is refused. It bounds the load at which the formulas below stay finite.
MAX_MEAN_WAIT_SECONDS = 0.25


@dataclass(frozen=True)
class Load:
    """Requests of one service in its steady state. Rates in requests a second, times in seconds.

    ``utilisation`` is offered load against capacity and may exceed 1; ``refused_qps`` is what finds no place.
    """

    offered_qps: float
    accepted_qps: float
    servers: int
    service_seconds: float
    wait_probability: float
    extra_seconds: float = 0.0

    @property
    def refused_qps(self) -> float:
        """Requests a second that are refused at once."""
        return self.offered_qps - self.accepted_qps

    @property
    def utilisation(self) -> float:
        """Offered load over capacity; 0 without servers."""
        return self.offered_qps * self.service_seconds / self.servers if self.servers else 0.0

    @property
    def mean_seconds(self) -> float:
        """Mean time of an accepted request, waiting included; 0 without servers."""
        if not self.servers:
            return 0.0
        free = self.servers / self.service_seconds - self.accepted_qps
        return self.extra_seconds + self.service_seconds + self.wait_probability / free

    def share_within(self, seconds: float) -> float:
        """Share of the accepted requests that take at most ``seconds``."""
        time = seconds - self.extra_seconds
        if time <= 0 or not self.servers:
            return 0.0
        served = time / self.service_seconds
        spare = self.servers - 1 - self.accepted_qps * self.service_seconds
        # P(T > t) = e^-s + C * (e^-s - e^-(spare + 1)s) / spare with s = t/S; the fraction tends to s * e^-s.
        alone = math.exp(-served)
        queued = served * alone if abs(spare) < 1e-6 else (alone - math.exp(-(spare + 1) * served)) / spare
        return 1 - alone - self.wait_probability * queued

    def quantile_seconds(self, share: float) -> float:
        """The time within which ``share`` (0..1) of the accepted requests are answered, to a microsecond."""
        if not self.servers:
            return math.nan
        low, high = 0.0, self.extra_seconds + 60.0
        while high - low > 1e-6:
            middle = (low + high) / 2
            low, high = (middle, high) if self.share_within(middle) < share else (low, middle)
        return high


def wait_probability(servers: int, busy: float) -> float:
    """Erlang's C: the share of requests that find all ``servers`` busy; ``busy`` is the mean number of busy ones.

    Raises ValueError unless 0 <= busy < servers: beyond that there is no steady state.
    """
    if not 0 <= busy < servers:
        raise ValueError(f"busy must be at least 0 and below the {servers} servers, not {busy:g}")
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = busy * blocked / (n + busy * blocked)
    return blocked / (1 - busy / servers * (1 - blocked))


def load_of(offered_qps: float, replicas: int, replica_qps: float, extra_seconds: float = 0.0) -> Load:
    """The load of ``replicas`` ready replicas that each do ``replica_qps`` when they are full.

    ``extra_seconds`` is added to each request, as a slow dependency would. Without replicas all is refused.
    """
    service = SERVERS_PER_REPLICA / replica_qps
    servers = replicas * SERVERS_PER_REPLICA
    if not servers:
        return Load(offered_qps, 0.0, 0, service, 0.0, extra_seconds)
    # A request that waits does so for service / (servers - busy) on average.
    most_busy = servers - service / MAX_MEAN_WAIT_SECONDS
    busy = min(offered_qps * service, most_busy)
    return Load(
        offered_qps,
        min(offered_qps, most_busy / service),
        servers,
        service,
        wait_probability(servers, busy),
        extra_seconds,
    )
