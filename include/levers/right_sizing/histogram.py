"""The decaying histogram of the VerticalPodAutoscaler's recommender, bucket for bucket.

It gives the figures of ``pkg/recommender/util`` of k8s.io/autoscaler/vertical-pod-autoscaler v1.8.1, with whole arrays
of samples added at once instead of one sample at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Moments = npt.NDArray[np.int64]  # Unix milliseconds, the resolution of Prometheus

EPSILON = 1e-4  # a bucket of less weight than this at either end counts as empty (aggregations_config.go: epsilon)
MAX_DECAY_EXPONENT = 100  # beyond 2 to this power the reference time moves (decaying_histogram.go)
# Go rounds times to multiples of a duration since the year 1, not since 1970.
_YEAR_ONE_MS = 62_135_596_800_000


@dataclass(frozen=True)
class Buckets:
    """Buckets that grow: the first is ``first`` wide, each further one ``ratio`` times as wide, up to ``maximum``."""

    first: float
    maximum: float
    ratio: float = 1.05

    @property
    def count(self) -> int:
        """The number of buckets; the last one has no upper end."""
        return math.ceil(self._log(self.maximum * (self.ratio - 1) / self.first + 1)) + 1

    def index(self, values: Floats) -> npt.NDArray[np.int64]:
        """The bucket of each value."""
        grown = np.log(np.maximum(values, 0) * (self.ratio - 1) / self.first + 1) / math.log(self.ratio)
        return np.where(values < self.first, 0, np.minimum(grown.astype(np.int64), self.count - 1))

    def start(self, bucket: int) -> float:
        """Where a bucket begins."""
        return self.first * (math.pow(self.ratio, bucket) - 1) / (self.ratio - 1)

    def _log(self, value: float) -> float:
        return math.log(value) / math.log(self.ratio)


class DecayingHistogram:
    """How much weight lies in each bucket, where a sample is worth half as much ``half_life`` seconds earlier.

    Nothing is scaled as time passes: a sample weighs 2 to the number of half-lives since a reference time, and only
    when that grows too large the reference moves and the old weights shrink.
    """

    def __init__(self, buckets: Buckets, half_life: float) -> None:
        self.buckets = buckets
        self.weights: Floats = np.zeros(buckets.count)
        self.total = 0.0
        self.reference_ms: int | None = None
        self._half_life_ms = round(half_life * 1000)
        self._low, self._high = buckets.count - 1, 0  # first and last bucket that count

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take a percentile of."""
        return bool(self.weights[self._low] < EPSILON)

    def add(self, values: Floats, weight: float, times_ms: Moments) -> None:
        """Add samples of one weight in the given order."""
        buckets, begin = self.buckets.index(values), 0
        while begin < len(values):
            self._make_room(int(times_ms[begin]))
            late = np.flatnonzero(times_ms[begin:] > self._latest_ms())
            end = begin + int(late[0]) if len(late) else len(values)
            self._pour(buckets[begin:end], weight, times_ms[begin:end])
            begin = end

    def percentile(self, share: float) -> float:
        """The end of the bucket below which ``share`` (0 to 1) of the weight lies; 0 when the histogram is empty."""
        if self.empty:
            return 0.0
        sums = np.cumsum(self.weights[self._low : self._high])
        bucket = self._low + int(np.searchsorted(sums, share * self.total))
        return self.buckets.start(min(bucket + 1, self.buckets.count - 1))

    def _pour(self, buckets: npt.NDArray[np.int64], weight: float, times_ms: Moments) -> None:
        assert self.reference_ms is not None
        weights = weight * np.exp2((times_ms - self.reference_ms) / self._half_life_ms)
        self.weights += np.bincount(buckets, weights, self.buckets.count)
        self.total += float(weights.sum())
        counting = buckets[self.weights[buckets] >= EPSILON]
        if len(counting):
            self._low, self._high = min(self._low, int(counting.min())), max(self._high, int(counting.max()))

    def _latest_ms(self) -> int:
        assert self.reference_ms is not None
        return self.reference_ms + MAX_DECAY_EXPONENT * self._half_life_ms

    def _make_room(self, moment: int) -> None:
        """Move the reference time when a sample's weight would grow too large."""
        if self.reference_ms is None:
            self.reference_ms = self._rounded(moment)
        elif moment > self._latest_ms():
            new = self._rounded(moment)
            exponent = math.floor((self.reference_ms - new) / self._half_life_ms + 0.5)
            self._scale(math.ldexp(1.0, exponent))
            self.reference_ms = new

    def _rounded(self, moment: int) -> int:
        """The multiple of the half-life next to a time; from the middle on, the later one."""
        over = (moment + _YEAR_ONE_MS) % self._half_life_ms
        return moment - over + (self._half_life_ms if 2 * over >= self._half_life_ms else 0)

    def _scale(self, factor: float) -> None:
        self.weights[self._low : self._high + 1] *= factor
        self.total *= factor
        counting = np.flatnonzero(self.weights >= EPSILON)
        inside = counting[(counting >= self._low) & (counting <= self._high)]
        last = self.buckets.count - 1
        self._low, self._high = (int(inside[0]), int(inside[-1])) if len(inside) else (last, 0)
