"""Who may serve a request: capacity, price, and the share of its requests that keep to a latency budget. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import NormalDist
from typing import NamedTuple

JETSON, SPOT, LAMBDA, ON_DEMAND = NAMES = ("jetson", "spot", "lambda", "on_demand")
_NORMAL = NormalDist()
_Z95 = _NORMAL.inv_cdf(0.95)
LONGEST_MS = 60_000.0


class Latency(NamedTuple):
    """Log-normal times in ms with a given median and P95, and ``network_ms`` on top of each."""

    p50_ms: float
    p95_ms: float
    network_ms: float = 0.0

    def share_within(self, budget_ms: float) -> float:
        """Share (0..1) of the requests that take at most ``budget_ms``."""
        served = budget_ms - self.network_ms
        if served <= 0:
            return 0.0
        spread = math.log(self.p95_ms / self.p50_ms) / _Z95
        return _NORMAL.cdf(math.log(served / self.p50_ms) / spread)


@dataclass(frozen=True)
class Backend:
    """One who may serve requests, or several behind one Service, which shares requests out among them by itself.

    ``capacity_qps`` is what it may be given, its headroom already taken off. ``healthy`` is None while nobody knows.
    """

    name: str
    usd_million: Decimal
    capacity_qps: float
    latencies: Sequence[Latency]
    healthy: bool | None = True

    @property
    def usable(self) -> bool:
        """Whether it may be given requests: an unknown health is no good one."""
        return self.healthy is True and self.capacity_qps > 0

    def share_within(self, budget_ms: float) -> float:
        """Share of its requests within the budget: that of the slowest, since its Service picks."""
        return min(latency.share_within(budget_ms) for latency in self.latencies)


def joined(name: str, parts: Sequence[Backend], capacity_qps: float) -> Backend:
    """Several backends behind one Service as one: its price is their mean, by capacity; healthy when one of them is."""
    whole = sum(part.capacity_qps for part in parts)
    weights = [Decimal(str(part.capacity_qps / whole if whole else 1 / len(parts))) for part in parts]
    usd = sum((w * part.usd_million for w, part in zip(weights, parts, strict=True)), Decimal(0))
    health = {part.healthy for part in parts}
    healthy = True if True in health else None if None in health else False
    latencies = tuple(dict.fromkeys(latency for part in parts for latency in part.latencies))
    return Backend(name, usd, capacity_qps, latencies, healthy)


def mixture_share(shares: Mapping[str, float], backends: Sequence[Backend], budget_ms: float) -> float:
    """Share of all requests within the budget, where ``shares`` of them go to each backend (any unit)."""
    total = sum(shares.values())
    within = {backend.name: backend.share_within(budget_ms) for backend in backends}
    return sum(share * within[name] for name, share in shares.items()) / total if total else 0.0


def mixture_p95(shares: Mapping[str, float], backends: Sequence[Backend]) -> float:
    """P95 in ms of all requests together, to a hundredth: not the mean of the backends' P95."""
    low, high = 0.0, LONGEST_MS
    while high - low > 0.005:
        middle = (low + high) / 2
        low, high = (middle, high) if mixture_share(shares, backends, middle) < 0.95 else (low, middle)
    return round(high, 2)


def usd_million(shares: Mapping[str, float], backends: Sequence[Backend]) -> Decimal:
    """USD per million requests, where ``shares`` of them go to each backend (any unit)."""
    prices, total = {backend.name: backend.usd_million for backend in backends}, Decimal(str(sum(shares.values())))
    usd = sum((Decimal(str(share)) * prices[name] for name, share in shares.items()), Decimal(0))
    return usd / total if total else Decimal(0)
