"""The recommender's histogram and memory peaks ported line by line, one sample at a time: what the twin is held to.

Sources: pkg/recommender/util/{histogram,decaying_histogram}.go and pkg/recommender/model/container.go, v1.8.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from include.levers.right_sizing.histogram import EPSILON, MAX_DECAY_EXPONENT, Buckets

YEAR_ONE = -62_135_596_800.0


@dataclass
class PortedHistogram:
    buckets: Buckets
    half_life: float
    reference: float = YEAR_ONE
    total: float = 0.0

    def __post_init__(self) -> None:
        self.count = self.buckets.count
        self.weights = [0.0] * self.count
        self.low, self.high = self.count - 1, 0

    def find(self, value: float) -> int:
        if value < self.buckets.first:
            return 0
        ratio = self.buckets.ratio
        return min(int(math.log(value * (ratio - 1) / self.buckets.first + 1) / math.log(ratio)), self.count - 1)

    def add(self, value: float, weight: float, time: float) -> None:
        weight *= self.factor(time)
        bucket = self.find(value)
        self.weights[bucket] += weight
        self.total += weight
        if bucket < self.low and self.weights[bucket] >= EPSILON:
            self.low = bucket
        if bucket > self.high and self.weights[bucket] >= EPSILON:
            self.high = bucket

    def subtract(self, value: float, weight: float, time: float) -> None:
        weight *= self.factor(time)
        bucket = self.find(value)
        self.total = self.less(self.total, weight)
        self.weights[bucket] = self.less(self.weights[bucket], weight)
        self.narrow()

    @staticmethod
    def less(value: float, sub: float) -> float:
        return 0.0 if value - sub < EPSILON else value - sub

    def factor(self, time: float) -> float:
        if time > self.reference + MAX_DECAY_EXPONENT * self.half_life:
            since = time - YEAR_ONE
            over = since % self.half_life
            new = time - over + (self.half_life if 2 * over >= self.half_life else 0.0)
            exponent = math.floor((self.reference - new) / self.half_life + 0.5)
            for bucket in range(self.low, self.high + 1):
                self.weights[bucket] *= math.ldexp(1.0, exponent)
            self.total *= math.ldexp(1.0, exponent)
            self.narrow()
            self.reference = new
        return math.exp2((time - self.reference) / self.half_life)

    def narrow(self) -> None:
        while self.weights[self.low] < EPSILON and self.low < self.count - 1:
            self.low += 1
        while self.weights[self.high] < EPSILON and self.high > 0:
            self.high -= 1

    def percentile(self, share: float) -> float:
        if self.weights[self.low] < EPSILON:
            return 0.0
        partial, bucket = 0.0, self.low
        while bucket < self.high:
            partial += self.weights[bucket]
            if partial >= share * self.total:
                break
            bucket += 1
        return self.buckets.start(min(bucket + 1, self.count - 1))


@dataclass
class PortedContainer:
    """Memory of one container; ``histogram`` is the aggregator."""

    histogram: PortedHistogram
    interval: float
    peak: float = 0.0
    oom_peak: float = 0.0
    window_end: float | None = None
    last: float | None = None
    discarded: list[float] = field(default_factory=list)

    def sample(self, time: float, used: float, *, is_oom: bool = False) -> None:
        if not is_oom and self.last is not None and time < self.last:
            self.discarded.append(time)
            return
        self.last = time
        if self.window_end is None:
            self.window_end = time
        add = False
        if time < self.window_end:
            old = max(self.peak, self.oom_peak)
            if old != 0 and used > old:
                self.histogram.subtract(old, 1.0, self.window_end)
                add = True
        else:
            self.window_end += math.floor((time - self.window_end) / self.interval) * self.interval + self.interval
            self.peak = self.oom_peak = 0.0
            add = True
        if add:
            self.histogram.add(used, 1.0, self.window_end)
            if is_oom:
                self.oom_peak = used
            else:
                self.peak = used

    def oom(self, time: float, requested: float) -> None:
        used = max(requested, self.peak)
        self.sample(time, max(used + 100 * 2**20, math.trunc(used * 1.2)), is_oom=True)
