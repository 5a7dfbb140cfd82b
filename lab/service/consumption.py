"""The use of every pod of a region as it adds up, and whom the kernel kills for memory: bookkeeping without a cluster.

A container is killed when it holds more than its limit. When the pods of a node together hold more than the node can
give them, the one that is furthest above its request is killed, one a tick. A killed container runs again at once,
without the back-off of a real kubelet; it holds nothing at first, and what it held after ``REGROW_SECONDS``. What
leaks grows to its full size in ``LEAK_SECONDS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from lab.service.pods import Container, Pod
from lab.service.usage import PERIODS_PER_SECOND, Use, throttled_share

REGROW_SECONDS = 10.0
LEAK_SECONDS = 10.0


@dataclass
class Meter:
    """What one container uses now, and its counters since the plant first saw it."""

    cores: float = 0.0
    memory_bytes: float = 0.0
    cpu_seconds: float = 0.0
    periods: float = 0.0
    throttled: float = 0.0
    oom_kills: int = 0
    restarts: int = 0
    leaking: float = 0.0  # seconds
    age: float = math.inf  # seconds since it was killed

    def advance(self, seconds: float, use: Use, container: Container, leak_bytes: float) -> None:
        """Use so much for ``seconds``, within the CPU limit."""
        self.age += seconds
        self.leaking = self.leaking + seconds if leak_bytes else 0.0
        leaked = leak_bytes * min(self.leaking / LEAK_SECONDS, 1.0)
        self.memory_bytes = use.memory_bytes * min(self.age / REGROW_SECONDS, 1.0) + leaked
        limit = container.cpu_limit
        self.cores = use.cores if limit is None else min(use.cores, limit)
        self.cpu_seconds += self.cores * seconds
        if limit:  # without a quota there are no periods
            self.periods += PERIODS_PER_SECOND * seconds
            self.throttled += PERIODS_PER_SECOND * seconds * throttled_share(use.cores, limit)

    def kill(self, known_restarts: int) -> int:
        """Be killed and start again; returns the count of restarts."""
        self.memory_bytes = self.leaking = self.age = 0.0
        self.oom_kills += 1
        self.restarts = max(self.restarts, known_restarts) + 1
        return self.restarts


@dataclass(frozen=True)
class Kill:
    """A container that was killed for the ``memory_bytes`` that it held; ``limit`` is None when its node was full."""

    pod: Pod
    container: str
    memory_bytes: float
    limit: int | None
    restarts: int
    started: str = ""


@dataclass
class PodUsage:
    """What one pod uses, by container."""

    pod: Pod
    meters: dict[str, Meter] = field(default_factory=dict)

    @property
    def memory_bytes(self) -> float:
        """What all containers hold."""
        return sum(meter.memory_bytes for meter in self.meters.values())

    def advance(self, seconds: float, use: Use, leak_bytes: float) -> None:
        """Use so much for ``seconds``; what leaks does so in the first container."""
        count = len(self.pod.containers) or 1
        each = Use(use.cores / count, use.memory_bytes / count)
        for n, container in enumerate(self.pod.containers):
            meter = self.meters.setdefault(container.name, Meter())
            meter.advance(seconds, each, container, 0.0 if n else leak_bytes)


class Consumption:
    """The use of a region's pods by uid. ``advance`` moves it on."""

    def __init__(self) -> None:
        self.pods: dict[str, PodUsage] = {}

    def advance(
        self,
        seconds: float,
        pods: Collection[Pod],
        use_of: Callable[[Pod], Use],
        leaks: Mapping[str, float],
        room: Mapping[str, int],
    ) -> list[Kill]:
        """Let ``pods`` run for ``seconds``, and forget all others; returns who was killed.

        ``leaks`` are bytes by uid, ``room`` is what each node can give in bytes.
        """
        self.pods = {pod.uid: self.pods.get(pod.uid) or PodUsage(pod) for pod in pods}
        for pod in pods:
            usage = self.pods[pod.uid]
            usage.pod = pod
            usage.advance(seconds, use_of(pod), leaks.get(pod.uid, 0.0))
        over = [kill for usage in self.pods.values() for kill in _over_limit(usage)]
        return [*over, *_short_of_room(self.pods.values(), room)]

    def memory_bytes(self, uids: Collection[str]) -> float:
        """What those pods hold together."""
        return sum(usage.memory_bytes for uid, usage in self.pods.items() if uid in uids)


def _over_limit(usage: PodUsage) -> Iterator[Kill]:
    for container in usage.pod.containers:
        if container.memory_limit is not None and usage.meters[container.name].memory_bytes > container.memory_limit:
            yield _kill(usage, container, container.memory_limit)


def _short_of_room(pods: Iterable[PodUsage], room: Mapping[str, int]) -> Iterator[Kill]:
    by_node: dict[str, list[PodUsage]] = {}
    for usage in pods:
        by_node.setdefault(usage.pod.node, []).append(usage)
    for node, usages in by_node.items():
        if node in room and sum(usage.memory_bytes for usage in usages) > room[node]:
            most = max(usages, key=lambda usage: usage.memory_bytes - usage.pod.memory_request)
            largest = max(most.pod.containers, key=lambda container: most.meters[container.name].memory_bytes)
            yield _kill(most, largest, None)


def _kill(usage: PodUsage, container: Container, limit: int | None) -> Kill:
    meter = usage.meters[container.name]
    held = meter.memory_bytes
    return Kill(usage.pod, container.name, held, limit, meter.kill(container.restarts), container.started)
