"""Memory peaks of one container, one for each aggregation interval, as the recommender keeps them.

The figures of ``pkg/recommender/model/container.go`` (addMemorySample, RecordOOM) of k8s.io/autoscaler/
vertical-pod-autoscaler v1.8.1: a container's intervals begin at its first sample, a higher sample takes the place of
the peak of its interval, and the peak counts at the interval's end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from include.levers.right_sizing.histogram import Floats, Moments

Kill = tuple[int, float]  # when (Unix milliseconds), and the bytes that the container requested


def peaks(
    times_ms: Moments, bytes_used: Floats, interval_ms: int, kills: Sequence[Kill], after_oom: Callable[[float], float]
) -> tuple[Moments, Floats]:
    """The ends of the intervals that have a sample (Unix milliseconds), and the peak in each (bytes).

    Samples and ``kills`` are in ascending order of time; ``after_oom`` gives the bytes that a killed container is
    taken to need, from what it had. A kill counts as a sample of that many bytes.
    """
    firsts = [int(times_ms[0])] if len(times_ms) else []
    origin = min([*firsts, *(at for at, _ in kills[:1])], default=0)
    if kills:
        needed = _needed(times_ms, bytes_used, kills, origin, interval_ms, after_oom)
        times_ms, bytes_used = _merged(times_ms, bytes_used, needed)
    if not len(times_ms):
        return times_ms, bytes_used
    intervals = (times_ms - origin) // interval_ms
    starts = np.flatnonzero(np.diff(intervals, prepend=-1))
    heights = np.maximum.reduceat(bytes_used, starts)
    # A peak of zero stays: the recommender takes it for "no peak yet" and never replaces it (oldMaxMem != 0).
    heights[bytes_used[starts] == 0] = 0
    return origin + (intervals[starts] + 1) * interval_ms, heights


def _needed(
    times_ms: Moments,
    bytes_used: Floats,
    kills: Sequence[Kill],
    origin: int,
    interval_ms: int,
    after_oom: Callable[[float], float],
) -> list[Kill]:
    """The samples that stand for the kills.

    What a container needs follows from the peak that samples alone have set: a kill's own peak is left out, so that
    one kill after the other does not drive the recommendation up. A kill that opens an interval still goes by the
    peak of the interval before.
    """
    result: list[Kill] = []
    samples = zip(times_ms.tolist(), bytes_used.tolist(), itertools.repeat(False))
    events = sorted([*samples, *((at, requested, True) for at, requested in kills)], key=lambda event: event[0])
    interval, peak, oom_peak = -1, 0.0, 0.0
    for at, value, is_kill in events:
        used = after_oom(max(value, peak)) if is_kill else value
        if opens := (at - origin) // interval_ms != interval:
            interval, peak, oom_peak = (at - origin) // interval_ms, 0.0, 0.0
        if opens or 0 < max(peak, oom_peak) < used:
            peak, oom_peak = (peak, used) if is_kill else (used, oom_peak)
        if is_kill:
            result.append((at, used))
    return result


def _merged(times_ms: Moments, bytes_used: Floats, needed: Sequence[Kill]) -> tuple[Moments, Floats]:
    """Samples and kills in the order of time; at the same moment the sample comes first."""
    times = np.concatenate([times_ms, np.array([at for at, _ in needed], dtype=np.int64)])
    values = np.concatenate([bytes_used, np.array([value for _, value in needed], dtype=float)])
    order = np.argsort(times, kind="stable")
    return times[order], values[order]
