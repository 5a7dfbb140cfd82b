"""What a backend exports: requests by status, and how long they took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

# gRPC answers carry the HTTP code that a gateway would give them, so that one expression counts both.
OK, FAULT, LOST, REFUSED = STATUSES = ("200", "500", "502", "503")


@dataclass
class Counters:
    """Counts that only grow; ``edges`` of the histogram in seconds, rising."""

    edges: tuple[float, ...]
    requests: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0.0))
    buckets: list[float] = field(default_factory=list)
    duration_sum: float = 0.0
    duration_count: float = 0.0

    def __post_init__(self) -> None:
        self.buckets = self.buckets or [0.0] * len(self.edges)

    def add(self, before: Counters, after: Counters, share: float) -> None:
        """Count ``share`` (0..1) of what another one has counted between two states."""
        for status in STATUSES:
            self.requests[status] += share * (after.requests[status] - before.requests[status])
        self.buckets = [
            n + share * (b - a) for n, a, b in zip(self.buckets, before.buckets, after.buckets, strict=True)
        ]
        self.duration_sum += share * (after.duration_sum - before.duration_sum)
        self.duration_count += share * (after.duration_count - before.duration_count)

    def histogram(self, name: str, labels: str) -> Iterator[str]:
        """The times as Prometheus' text format has them."""
        for edge, count in zip(self.edges, self.buckets, strict=True):
            yield f'{name}_bucket{{{labels},le="{edge:g}"}} {count:.6f}'
        yield f'{name}_bucket{{{labels},le="+Inf"}} {self.duration_count:.6f}'
        yield f"{name}_sum{{{labels}}} {self.duration_sum:.6f}"
        yield f"{name}_count{{{labels}}} {self.duration_count:.6f}"
