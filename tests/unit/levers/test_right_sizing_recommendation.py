"""The recommender's twin: figures computed by hand from its source, and the source itself, ported sample by sample."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import numpy as np
import pytest

from include.levers.right_sizing.histogram import Buckets, DecayingHistogram
from include.levers.right_sizing.peaks import peaks
from include.levers.right_sizing.recommendation import (
    CPU_BUCKETS,
    DAY,
    MEMORY_BUCKETS,
    Bounds,
    ContainerUse,
    Flags,
    NoUseError,
    Requests,
    Samples,
    missing_days,
    recommend,
    within_one_bucket,
)
from tests.unit.levers.recommender_port import PortedContainer, PortedHistogram

NOON = 1_764_417_600.0  # 2025-11-29 12:00 UTC
GIB = 2.0**30


def steady(value: float, start: float, end: float, step: float = 60) -> Samples:
    times = np.arange(start, end, step)
    return Samples(times, np.full(len(times), value))


def week(cpu: float = 0.5, memory: float = 1.2 * GIB, days: float = 7, step: float = 60) -> ContainerUse:
    start = NOON - days * DAY
    return ContainerUse(steady(cpu, start, NOON, step), steady(memory, start, NOON, step))


def ms(*times: float) -> np.ndarray:
    return np.array([round(t * 1000) for t in times], dtype=np.int64)


# --- Histogram -------------------------------------------------------------------------------------------------------


def test_cpu_has_176_buckets_and_memory_as_many() -> None:
    assert (CPU_BUCKETS.count, MEMORY_BUCKETS.count) == (176, 176)


@pytest.mark.parametrize(
    ("cores", "bucket"),
    [(0, 0), (0.0101, 1), (0.0204, 1), (0.0206, 2), (0.5, 25), (999, 174), (1e9, 175)],
)
def test_a_value_is_put_into_the_bucket_that_begins_below_it(cores: float, bucket: int) -> None:
    assert CPU_BUCKETS.index(np.array([cores]))[0] == bucket


def test_a_bucket_begins_where_all_before_it_end() -> None:
    starts = [Buckets(first=10, maximum=1000, ratio=2).start(n) for n in range(5)]
    assert starts == [0, 10, 30, 70, 150]


def test_a_percentile_is_the_end_of_its_bucket() -> None:
    histogram = DecayingHistogram(Buckets(first=10, maximum=1000, ratio=2), DAY)
    histogram.add(np.array([5.0, 15, 15, 40]), 1.0, ms(NOON, NOON, NOON, NOON))
    assert [histogram.percentile(share) for share in (0.0, 0.25, 0.26, 0.75, 0.76, 1.0)] == [10, 10, 30, 30, 70, 70]


def test_an_empty_histogram_has_a_percentile_of_zero() -> None:
    histogram = DecayingHistogram(CPU_BUCKETS, DAY)
    assert histogram.empty
    assert histogram.percentile(0.9) == 0


def test_a_sample_weighs_half_as_much_as_one_a_half_life_later() -> None:
    histogram = DecayingHistogram(Buckets(first=10, maximum=1000, ratio=2), DAY)
    histogram.add(np.array([5.0, 15.0]), 1.0, ms(NOON - DAY, NOON))
    low, high = histogram.weights[0], histogram.weights[1]
    assert high / low == pytest.approx(2)
    assert histogram.percentile(0.33) == 10
    assert histogram.percentile(0.34) == 30


@pytest.mark.parametrize(("moment", "midnight"), [(NOON, NOON + DAY / 2), (NOON - 1, NOON - DAY / 2)])
def test_the_reference_is_the_midnight_next_to_the_first_sample(moment: float, midnight: float) -> None:
    histogram = DecayingHistogram(CPU_BUCKETS, DAY)
    histogram.add(np.array([1.0]), 0.1, ms(moment))
    assert histogram.reference_ms == midnight * 1000


def test_after_a_hundred_half_lives_the_reference_moves_and_what_was_before_counts_for_nothing() -> None:
    histogram = DecayingHistogram(Buckets(first=10, maximum=1000, ratio=2), 60)
    histogram.add(np.array([500.0, 5.0]), 1.0, ms(NOON, NOON + 101 * 60))
    assert histogram.reference_ms == (NOON + 101 * 60) * 1000
    assert histogram.total == pytest.approx(1)
    assert histogram.percentile(1) == 10


@pytest.mark.parametrize("half_life", [DAY, 7200.0, 120.0])
def test_many_samples_at_once_are_what_the_source_makes_of_them_one_by_one(half_life: float) -> None:
    rng = np.random.default_rng(7)
    times = NOON + np.concatenate([np.arange(0, 6 * DAY, 300), np.arange(0, 3 * DAY, 300)])  # two pods, one by one
    values = rng.lognormal(-1, 1, len(times))
    ours, theirs = DecayingHistogram(CPU_BUCKETS, half_life), PortedHistogram(CPU_BUCKETS, half_life)
    ours.add(values, 0.1, ms(*times))
    for time, value in zip(times.tolist(), values.tolist(), strict=True):
        theirs.add(value, 0.1, time)
    assert ours.total == pytest.approx(theirs.total)
    shares = [0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0]
    assert [ours.percentile(s) for s in shares] == pytest.approx([theirs.percentile(s) for s in shares])


# --- Memory peaks ----------------------------------------------------------------------------------------------------


def peaks_of(points: list[tuple[float, float]], kills: list[tuple[float, float]] | None = None) -> dict[float, float]:
    """Hours from the first sample, bytes; answers by the hour at which the interval ends."""
    samples = Samples.of([(NOON + hour * 3600, value) for hour, value in points])
    told = [(round((NOON + hour * 3600) * 1000), value) for hour, value in kills or []]
    ends, heights = peaks(samples.times_ms, samples.values, round(DAY * 1000), told, Flags().after_oom)
    return {(end / 1000 - NOON) / 3600: height for end, height in zip(ends.tolist(), heights.tolist(), strict=True)}


def test_an_interval_has_one_peak_and_it_counts_at_the_intervals_end() -> None:
    assert peaks_of([(0, 5), (1, 9), (23.9, 7), (24, 3), (30, 4)]) == {24: 9, 48: 4}


def test_intervals_without_a_sample_are_left_out() -> None:
    assert peaks_of([(0, 5), (60, 6)]) == {24: 5, 72: 6}


def test_an_interval_that_begins_with_zero_keeps_zero() -> None:
    # The recommender takes a peak of 0 for "no peak yet" and never replaces it.
    assert peaks_of([(0, 0), (1, 9), (24, 3), (25, 0)]) == {24: 0, 48: 3}


def test_a_kill_counts_as_a_fifth_more_than_the_container_had() -> None:
    assert peaks_of([(0, GIB)], [(1, 2 * GIB)]) == {24: math.trunc(2 * GIB * 1.2)}


def test_a_small_container_is_taken_to_need_a_hundred_mebibytes_more() -> None:
    assert peaks_of([(0, 100 * 2**20)], [(1, 50 * 2**20)]) == {24: 200 * 2**20}


def test_a_second_kill_does_not_build_on_the_first() -> None:
    assert peaks_of([(0, GIB)], [(1, GIB), (2, GIB)]) == {24: math.trunc(GIB * 1.2)}


def test_a_kill_that_opens_an_interval_goes_by_the_peak_of_the_one_before() -> None:
    assert peaks_of([(0, 2 * GIB)], [(25, GIB)]) == {24: 2 * GIB, 48: math.trunc(2 * GIB * 1.2)}


def test_samples_and_kills_are_what_the_source_makes_of_them_one_by_one() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        hours = np.sort(rng.uniform(0, 200, 300))
        used = np.trunc(rng.lognormal(20, 0.3, 300))
        kills = sorted((float(h), float(np.trunc(rng.lognormal(20.3, 0.3)))) for h in rng.uniform(0, 200, 8))
        source = PortedContainer(PortedHistogram(MEMORY_BUCKETS, DAY), DAY)
        events = [(h, v, False) for h, v in zip(hours.tolist(), used.tolist(), strict=True)]
        for hour, value, is_kill in sorted([*events, *((h, v, True) for h, v in kills)], key=lambda e: e[0]):
            (source.oom if is_kill else source.sample)(round((NOON + hour * 3600) * 1000) / 1000, value)
        ours = DecayingHistogram(MEMORY_BUCKETS, DAY)
        samples = Samples(NOON + hours * 3600, used)
        told = [(round((NOON + hour * 3600) * 1000), value) for hour, value in kills]
        ends, heights = peaks(samples.times_ms, used, round(DAY * 1000), told, Flags().after_oom)
        ours.add(heights, 1.0, ends)
        assert ours.weights.tolist() == pytest.approx(source.histogram.weights)


# --- Recommendation --------------------------------------------------------------------------------------------------


def test_a_steady_week_is_recommended_bucket_end_times_margin() -> None:
    found = recommend([week()], NOON)
    # 0.5 cores lie in bucket 25, which ends at 0.01 x (1.05^26 - 1) / 0.05 = 0.5113: 511m + 76m. 1.2 GiB lie in bucket
    # 41, which ends at 1,352,317,511 bytes.
    assert found.target == Requests(587, 1_352_317_511 + 202_847_626)
    assert found.confidence == pytest.approx(10_079 / 1440)
    # Upper: 587 x (1 + 1 / 6.9993) = 670.9. Lower: 587 x (1 + 0.001 / 6.9993)^-2 = 586.8.
    assert (found.lower.cpu_millicores, found.upper.cpu_millicores) == (586, 670)


def test_the_target_is_what_nine_tenths_of_the_newest_use_stays_below() -> None:
    # One day at 0.2 and then one at 0.8: the second weighs 2/3.
    use = ContainerUse(
        Samples.of(
            [*((NOON - 2 * DAY + n * 60, 0.2) for n in range(1440)), *((NOON - DAY + n * 60, 0.8) for n in range(1440))]
        ),
        steady(GIB, NOON - 2 * DAY, NOON),
    )
    found = recommend([use], NOON)
    assert found.target.cpu_millicores == math.trunc(1000 * CPU_BUCKETS.start(33)) + 120
    assert CPU_BUCKETS.index(np.array([0.8]))[0] == 32


def test_pods_of_a_workload_share_one_histogram_and_their_samples_add_up_to_confidence() -> None:
    alone = recommend([week(step=300)], NOON)
    eight = recommend([week(step=300)] * 8, NOON)
    assert alone.confidence == pytest.approx(2016 / 1440)  # samples, not days, are few
    assert eight.confidence == pytest.approx((2016 - 1) / 288)
    assert eight.target == alone.target
    assert eight.upper.cpu_millicores < alone.upper.cpu_millicores


def test_bounds_cap_all_three_and_leave_the_uncapped_target() -> None:
    bounds = Bounds(Requests(600, 0), Requests(650, 1 << 30))
    found = recommend([week()], NOON, bounds)
    assert (found.lower, found.target, found.upper) == (
        Requests(600, 1 << 30),
        Requests(600, 1 << 30),
        Requests(650, 1 << 30),
    )
    assert found.uncapped == Requests(587, 1_555_165_137)


def test_containers_share_the_minimum_of_a_pod() -> None:
    idle = week(cpu=0.001, memory=1e6)
    assert recommend([idle], NOON).target == Requests(25, 250 * 2**20)
    assert recommend([idle], NOON, containers=2).target == Requests(12, 125 * 2**20)


def test_rounding_is_up_and_before_the_bounds() -> None:
    flags = Flags(round_cpu_millicores=10, round_memory_bytes=2**20)
    found = recommend([week()], NOON, Bounds(max_allowed=Requests(588, 0)), flags)
    assert found.uncapped == Requests(590, math.ceil(1_555_165_137 / 2**20) * 2**20)
    assert found.target.cpu_millicores == 588


def test_half_of_the_confidence_widens_the_upper_bound_as_half_of_the_days_would() -> None:
    whole, half = recommend([week()], NOON), recommend([week(days=3.5)], NOON)
    known = whole.upper_known_by(half.confidence / whole.confidence)
    assert known.cpu_millicores == pytest.approx(half.upper.cpu_millicores, abs=1)
    assert known.memory_bytes == pytest.approx(half.upper.memory_bytes, rel=1e-6)
    assert whole.upper_known_by(1) == whole.upper


def test_one_sample_gives_no_confidence_and_bounds_that_say_nothing() -> None:
    found = recommend([ContainerUse(Samples.of([(NOON, 0.5)]), Samples.of([(NOON, GIB)]))], NOON)
    assert found.confidence == 0
    assert (found.lower.cpu_millicores, found.upper.cpu_millicores) == (25, 10**14)


def test_use_older_than_eight_days_or_without_a_number_counts_for_nothing() -> None:
    old = Samples.of([(NOON - 9 * DAY, 50.0), (NOON - 60, math.nan), (NOON, 0.5)])
    assert recommend([ContainerUse(old, Samples.of([(NOON, GIB)]))], NOON).target.cpu_millicores == 587


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ([], "no CPU use in the window: check that Prometheus scrapes container_cpu_usage_seconds_total"),
        ([ContainerUse(Samples.of([(NOON, 1.0)]), Samples.of())], "no memory use in the window: check that Prometheus"),
    ],
)
def test_without_samples_nothing_is_recommended(use: list[ContainerUse], message: str) -> None:
    with pytest.raises(NoUseError, match=message):
        recommend(use, NOON)


def test_a_day_without_samples_is_named_by_its_date() -> None:
    full, start = week(), NOON - 7 * DAY
    memory = full.memory_bytes
    gap = (memory.times < start + 2 * DAY) | (memory.times >= start + 2.5 * DAY)
    use = ContainerUse(full.cpu_cores, Samples(memory.times[gap], memory.values[gap]))
    assert missing_days([full], 7, NOON) == []
    assert missing_days([use], 7, NOON) == [dt.date(2025, 11, 24)]  # 12 of its 24 hours are there
    assert missing_days([use, full], 7, NOON) == []
    assert missing_days([full], 8, NOON) == [dt.date(2025, 11, 21)]
    assert len(missing_days([], 3, NOON)) == 3


def test_three_million_samples_take_seconds() -> None:
    times = np.arange(NOON - 7 * DAY, NOON, 60)
    use = [
        ContainerUse(Samples(times, np.full(len(times), 0.1 + n / 1000)), steady(GIB, NOON - DAY, NOON))
        for n in range(300)
    ]
    assert recommend(use, NOON).confidence == pytest.approx(10_079 / 1440)


@pytest.mark.parametrize(
    ("resource", "one", "other", "near"),
    [
        ("cpu", "0.716", "0.716", True),
        ("cpu", "0.716", "0.763", True),  # the next bucket: 6.6 % at this amount, and one sample more
        ("cpu", "0.716", "0.813", False),  # two buckets
        ("cpu", "0.025", "0.025", True),
        ("memory", "1555165137", "1645000000", True),
        ("memory", "1555165137", "1800000000", False),
    ],
)
def test_what_comes_from_neighbouring_buckets_agrees(resource: str, one: str, other: str, near: bool) -> None:
    assert within_one_bucket(resource, Decimal(one), Decimal(other)) is near
    assert within_one_bucket(resource, Decimal(other), Decimal(one)) is near
