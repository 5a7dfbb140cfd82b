"""What the VerticalPodAutoscaler's recommender would recommend, computed from the same samples.

A twin of k8s.io/autoscaler/vertical-pod-autoscaler v1.8.1 (``pkg/recommender``: ``model``, ``logic``), integer for
integer: CPU is cut to whole millicores and memory to whole bytes where the recommender cuts them. CPU samples all
weigh the same whatever was requested; of memory only one peak per container and interval counts.

It differs in one thing, on purpose: of a resource without a sample the recommender recommends its minimum; here that
is refused.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from include.levers.right_sizing.histogram import Buckets, DecayingHistogram, Floats, Moments
from include.levers.right_sizing.peaks import peaks

DAY = 86_400.0  # seconds
CPU_BUCKETS = Buckets(first=0.01, maximum=1000.0)  # cores (aggregations_config.go: cpuHistogramOptions)
MEMORY_BUCKETS = Buckets(first=1e7, maximum=1e12)  # bytes (aggregations_config.go: memoryHistogramOptions)
CPU_WEIGHT = 0.1  # of a CPU sample, whatever the request (aggregations_config.go: minSampleWeight)
PEAK_WEIGHT = 1.0  # of a memory peak (aggregate_container_state.go: AddSample)
MAX_AMOUNT = 10**14  # millicores or bytes (types.go: MaxResourceAmount)
UPPER_CONFIDENCE = (1.0, 1.0)  # multiplier and exponent (recommender.go: CreatePodResourceRecommender)
LOWER_CONFIDENCE = (0.001, -2.0)
HOURS_OF_A_DAY = 18  # so many hours with samples make a day of history


class NoUseError(ValueError):
    """There are no samples to recommend from; the message names what is missing and the remedy."""


@dataclass(frozen=True)
class Samples:
    """One series: ``times`` in Unix seconds, ascending, and the values at these times. NaN is no sample."""

    times: Floats
    values: Floats

    @classmethod
    def of(cls, points: Iterable[tuple[float, float]] = ()) -> Samples:
        """The samples of (Unix seconds, value) pairs."""
        array = np.array(list(points), dtype=float).reshape(-1, 2)
        return cls(array[:, 0], array[:, 1])

    def between(self, start: float, end: float) -> Samples:
        """The samples from ``start`` to ``end`` (Unix seconds, both included) that have a number."""
        kept = (self.times >= start) & (self.times <= end) & ~np.isnan(self.values)
        return Samples(self.times[kept], self.values[kept])

    @property
    def times_ms(self) -> Moments:
        """The times in whole Unix milliseconds."""
        return np.rint(self.times * 1000).astype(np.int64)


@dataclass(frozen=True)
class ContainerUse:
    """What one container of one pod has used.

    ``oom_kills``: the memory that it requested (bytes) at the moment of each kill. The recommender knows only those
    that it has seen itself: its history from Prometheus has none.
    """

    cpu_cores: Samples
    memory_bytes: Samples
    oom_kills: Samples = field(default_factory=Samples.of)


@dataclass(frozen=True)
class Requests:
    """Requests of one container."""

    cpu_millicores: int
    memory_bytes: int


@dataclass(frozen=True)
class Bounds:
    """minAllowed and maxAllowed of a container policy. An amount of 0 is no bound, as in the recommender."""

    min_allowed: Requests = Requests(0, 0)
    max_allowed: Requests = Requests(0, 0)

    def cap(self, wanted: Requests) -> Requests:
        """The requests within the bounds; the upper one wins where the two contradict each other."""
        low, high = self.min_allowed, self.max_allowed
        return Requests(
            _capped(wanted.cpu_millicores, low.cpu_millicores, high.cpu_millicores),
            _capped(wanted.memory_bytes, low.memory_bytes, high.memory_bytes),
        )


@dataclass(frozen=True)
class Flags:
    """The recommender's flags that change a recommendation, with its defaults (config.go). Intervals in seconds."""

    margin: float = 0.15  # --recommendation-margin-fraction
    min_cpu_millicores: float = 25.0  # --pod-recommendation-min-cpu-millicores, of a whole pod
    min_memory_mib: float = 250.0  # --pod-recommendation-min-memory-mb, of a whole pod; the flag's MB are MiB
    percentiles: tuple[float, float, float] = (0.5, 0.9, 0.95)  # lower bound, target, upper bound; CPU and memory
    cpu_half_life: float = DAY  # --cpu-histogram-decay-half-life
    memory_half_life: float = DAY  # --memory-histogram-decay-half-life
    memory_interval: float = DAY  # --memory-aggregation-interval
    memory_intervals: int = 8  # --memory-aggregation-interval-count; older use counts for nothing
    confidence_interval: float = DAY  # --confidence-interval-cpu and -memory
    oom_ratio: float = 1.2  # --oom-bump-up-ratio
    oom_bytes: float = 100 * 2**20  # --oom-min-bump-up-bytes
    round_cpu_millicores: int = 1  # --round-cpu-millicores, up
    round_memory_bytes: int = 1  # --round-memory-bytes, up

    def after_oom(self, used: float) -> float:
        """The bytes that a container is taken to need that was killed when it had, or requested, so many."""
        return max(used + math.trunc(self.oom_bytes), math.trunc(used * self.oom_ratio))


class Recommendation(NamedTuple):
    """A container's recommendation as its VPA's status has it.

    ``uncapped`` is the target without the bounds; ``confidence`` the days of history that it rests on, 1,440 CPU
    samples counting as a day at most: it widens ``lower`` and ``upper``.
    """

    lower: Requests
    target: Requests
    upper: Requests
    uncapped: Requests
    confidence: float

    def upper_known_by(self, share: float) -> Requests:
        """``upper`` if ``confidence`` were that share of what it is, before any bounds: what a recommender that knows
        less of the same use would allow at most.
        """
        widened = (self.confidence + 1 / share) / (self.confidence + 1)
        return Requests(_whole(self.upper.cpu_millicores * widened), _whole(self.upper.memory_bytes * widened))


def recommend(
    use: Sequence[ContainerUse],
    now: float,
    bounds: Bounds | None = None,
    flags: Flags | None = None,
    containers: int = 1,
) -> Recommendation:
    """The recommendation for one container of a workload at Unix time ``now``.

    ``use`` has the container's use in each pod of the workload, living or gone. ``containers`` is how many containers
    the VPA recommends for: they share the recommender's minimum of a pod. Raises NoUseError.
    """
    flags, bounds = flags or Flags(), bounds or Bounds()
    known = [_known(one, now - flags.memory_interval * flags.memory_intervals, now) for one in use]
    cpu, memory = cpu_histogram(known, flags), memory_histogram(known, flags)
    confidence = confidence_of(known, flags)
    shares = zip(flags.percentiles, (LOWER_CONFIDENCE, None, UPPER_CONFIDENCE), strict=True)
    lower, target, upper = (
        Requests(
            _amount(cpu.percentile(share) * 1000, flags.min_cpu_millicores, containers, widening, confidence, flags),
            _amount(memory.percentile(share), flags.min_memory_mib * 2**20, containers, widening, confidence, flags),
        )
        for share, widening in shares
    )
    lower, target, upper = (_rounded(requests, flags) for requests in (lower, target, upper))
    return Recommendation(bounds.cap(lower), bounds.cap(target), bounds.cap(upper), target, confidence)


def cpu_histogram(use: Sequence[ContainerUse], flags: Flags) -> DecayingHistogram:
    """All CPU samples of all pods. Raises NoUseError when there are none."""
    histogram = DecayingHistogram(CPU_BUCKETS, flags.cpu_half_life)
    for one in use:
        cores = np.trunc(np.clip(one.cpu_cores.values * 1000, 0, MAX_AMOUNT)) / 1000
        histogram.add(cores, CPU_WEIGHT, one.cpu_cores.times_ms)
    return _filled(histogram, "CPU", "container_cpu_usage_seconds_total")


def memory_histogram(use: Sequence[ContainerUse], flags: Flags) -> DecayingHistogram:
    """The memory peaks of all pods, one for each interval. Raises NoUseError when there are none."""
    histogram = DecayingHistogram(MEMORY_BUCKETS, flags.memory_half_life)
    interval_ms = round(flags.memory_interval * 1000)
    for one in use:
        memory = np.trunc(np.clip(one.memory_bytes.values, 0, MAX_AMOUNT))
        kills = list(zip(one.oom_kills.times_ms.tolist(), one.oom_kills.values.tolist(), strict=True))
        ends, heights = peaks(one.memory_bytes.times_ms, memory, interval_ms, kills, flags.after_oom)
        histogram.add(heights, PEAK_WEIGHT, ends)
    return _filled(histogram, "memory", "container_memory_working_set_bytes")


def confidence_of(use: Sequence[ContainerUse], flags: Flags) -> float:
    """Days from the first to the last CPU sample of all pods, and at most the number of samples through 1,440."""
    times = [one.cpu_cores.times for one in use if len(one.cpu_cores.times)]
    if not times:
        return 0.0
    life = max(float(t[-1]) for t in times) - min(float(t[0]) for t in times)
    return min(life / flags.confidence_interval, sum(map(len, times)) / (flags.confidence_interval / 60))


def missing_days(use: Sequence[ContainerUse], days: int, now: float) -> list[dt.date]:
    """The days without a history, oldest first, out of the ``days`` periods of 24 hours that end at Unix time ``now``.

    A period is called by the UTC date on which it begins. It has a history when CPU and memory both have samples, of
    any pod, in ``HOURS_OF_A_DAY`` of its 24 hours.
    """
    begins = [now - DAY * n for n in range(days, 0, -1)]
    return [dt.datetime.fromtimestamp(begin, dt.UTC).date() for begin in begins if not _observed(use, begin)]


def _observed(use: Sequence[ContainerUse], begin: float) -> bool:
    kinds = [[one.cpu_cores for one in use], [one.memory_bytes for one in use]]
    return all(len(_hours(kind, begin)) >= HOURS_OF_A_DAY for kind in kinds)


def _hours(series: Iterable[Samples], begin: float) -> set[int]:
    inside = (samples.between(begin, begin + DAY).times for samples in series)
    return {int(hour) for times in inside for hour in np.unique((times - begin) // 3600) if hour < 24}


def _known(use: ContainerUse, start: float, now: float) -> ContainerUse:
    parts = (use.cpu_cores, use.memory_bytes, use.oom_kills)
    return ContainerUse(*(samples.between(start, now) for samples in parts))


def _filled(histogram: DecayingHistogram, resource: str, series: str) -> DecayingHistogram:
    if histogram.empty:
        raise NoUseError(f"no {resource} use in the window: check that Prometheus scrapes {series} of this container")
    return histogram


def _amount(
    base: float, floor: float, containers: int, widening: tuple[float, float] | None, confidence: float, flags: Flags
) -> int:
    """Margin, widening by confidence and the minimum of a pod, with a cut to whole units after each."""
    amount = _whole(base)
    amount += _whole(amount * flags.margin)
    if widening is not None:
        amount = _whole(amount * _factor(*widening, confidence))
    return max(amount, _whole(floor * (1 / containers)))


def _factor(multiplier: float, exponent: float, confidence: float) -> float:
    return float(np.power(1 + (multiplier / confidence if confidence else math.inf), exponent))


def _whole(amount: float) -> int:
    return 0 if math.isnan(amount) else math.trunc(min(max(amount, 0.0), MAX_AMOUNT))


def _rounded(wanted: Requests, flags: Flags) -> Requests:
    return Requests(
        math.ceil(wanted.cpu_millicores / flags.round_cpu_millicores) * flags.round_cpu_millicores,
        math.ceil(wanted.memory_bytes / flags.round_memory_bytes) * flags.round_memory_bytes,
    )


def _capped(amount: int, low: int, high: int) -> int:
    amount = max(amount, low)
    return min(amount, high) if high else amount


def within_one_bucket(resource: str, one: Decimal, other: Decimal) -> bool:
    """Whether two recommendations (cores or bytes, margin included) come from one bucket or from neighbouring ones."""
    buckets = {"cpu": CPU_BUCKETS, "memory": MEMORY_BUCKETS}[resource]
    # A percentile is where a bucket begins, cut to a whole amount after the margin: looked for a little further up.
    inside = np.array([float(one), float(other)]) / (1 + Flags.margin) * 1.01
    first, second = buckets.index(inside)
    return bool(abs(int(first) - int(second)) <= 1)
