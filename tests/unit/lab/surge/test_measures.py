"""The figures of a replay, by exact values."""

from __future__ import annotations

import math

import pytest

from include.forecast.waste import Bounds, Waste
from lab.surge.measures import (
    Counters,
    Cover,
    Errors,
    Paid,
    ReplayLatency,
    ReplaySample,
    cover,
    errors,
    false_extra,
    increases,
    latency,
    leads,
    needs,
    outcome,
    paid,
    waits,
)

BOUNDS = Bounds(280, 2, 20)
# 100 requests a minute; in the second minute only half of them within 25 ms.
BUCKETS = {0.025: [0.0, 100, 150, 250], 0.05: [0.0, 100, 200, 300], math.inf: [0.0, 100, 200, 300]}
COUNTERS = Counters(BUCKETS, requests=[0.0, 100, 210, 310], failed=[0.0, 0, 10, 10])


def sample(minute: float, wanted: int, ready: int, nodes: int = 4, usd_hour: float | None = 0.6) -> ReplaySample:
    return ReplaySample(minute, {"a": wanted}, {"a": ready}, nodes, nodes * 4.0, usd_hour)


def test_latency_of_the_whole_surge_and_of_its_worst_minute() -> None:
    # 250 of 300 within 25 ms; 95 % lie at 25 + 25 * (0.95 - 0.8333) / 0.1667 = 42.5; alone 25 + 25 * 0.45 / 0.5 = 47.5.
    assert latency(COUNTERS, 0, 3, 30) == ReplayLatency(surge_ms=42.5, worst_minute_ms=47.5, minutes_above_target=1)
    assert latency(COUNTERS, 2, 3, 30) == ReplayLatency(23.8, 23.8, 0)


def test_minutes_without_requests_have_no_latency() -> None:
    nothing = Counters({0.025: [5.0, 5], math.inf: [5.0, 5]}, [5.0, 5], [0.0, 0])
    assert latency(nothing, 0, 1, 30) == ReplayLatency(None, None, 0)


def test_errors_count_both_protocols() -> None:
    assert errors([COUNTERS, COUNTERS], 0, 3) == Errors(ratio=0.032258, worst_minute=0.090909, failed=20)


def test_no_requests_are_no_errors_and_no_zero() -> None:
    nothing = Counters({}, [5.0, 5], [0.0, 0])
    with pytest.raises(ValueError, match="no request between the minutes 0 and 1"):
        errors([nothing], 0, 1)


def test_a_counter_that_fell_or_is_missing_is_refused() -> None:
    assert increases([900.0, 10, 12, 15], 1, 3) == 5
    with pytest.raises(ValueError, match="fell between the minutes 0 and 3"):
        increases([900.0, 10, 12, 15], 0, 3)
    with pytest.raises(ValueError, match="no value between the minutes 0 and 2"):
        increases([1.0, math.nan, 3], 0, 2)


def test_needs_keep_to_the_bounds() -> None:
    assert needs([0, 560, 561, 99_999], BOUNDS) == [2, 2, 3, 20]


def test_the_lead_of_each_further_replica() -> None:
    wanted = [2, 2, 3, 4, 5, 5]
    samples = [sample(0, 2, 2), sample(0.5, 4, 3), sample(3.25, 5, 4), sample(6, 5, 4)]
    # The third is needed in minute 2 and there after 0.5; the fourth in minute 3 and there a quarter late; the fifth
    # never comes, so it is as late as the samples end.
    assert leads(wanted, samples, "a", 2, 6) == [1.5, -0.25, -2]


def test_replicas_that_went_again_before_they_were_needed_are_no_lead() -> None:
    samples = [sample(0, 4, 4), sample(1, 2, 2), sample(2.5, 3, 3), sample(4.5, 4, 4), sample(6, 4, 4)]
    assert leads([2, 2, 2, 3, 4, 4], samples, "a", 2, 6) == [0.5, -0.5]


def test_replicas_against_the_need() -> None:
    wanted = {"a": [2, 2, 3, 4, 5, 5]}
    samples = [sample(0, 2, 2), sample(0.5, 4, 3), sample(3.25, 5, 4), sample(4.25, 5, 4), sample(6, 5, 4)]
    assert cover(wanted, samples, 2, 6) == Cover(
        median_lead=-0.2, least_lead=-2.0, levels=3, late=2, short_minutes=1.8, most_short=1
    )


def test_without_a_further_replica_there_is_no_lead() -> None:
    found = cover({"a": [2, 2, 2]}, [sample(0, 2, 2), sample(3, 2, 2)], 1, 3)
    assert found == Cover(None, None, 0, 0, 0.0, 0)


def test_how_long_a_replica_is_waited_for() -> None:
    samples = [sample(0, 2, 2), sample(1, 4, 2), sample(1.5, 4, 3), sample(3, 5, 4), sample(4, 5, 4)]
    assert waits(samples, "a") == [30, 120, 60]  # the last one never comes
    assert waits(samples[:1], "a") == []


def test_what_stood_is_paid_until_the_next_look() -> None:
    samples = [sample(0, 2, 2), sample(30, 4, 2, nodes=6, usd_hour=1.2), sample(90, 4, 4, nodes=9)]
    assert paid(samples) == Paid(replica_minutes=300, node_minutes=480, vcpu_minutes=1920, usd=1.5)
    assert paid([sample(0, 2, 2, usd_hour=None), sample(1, 2, 2)]).usd is None


def test_what_was_added_in_vain_knows_the_future_of_every_minute() -> None:
    demand = {"a": [500.0, 500, 500, 1100, 500, 500]}
    # 4 replicas from minute 0 on, needed in minute 3; 6 in minute 2, two of which never are.
    added: dict[str, list[float | None]] = {"a": [1000.0, 0, 1600]}
    assert false_extra(demand, added, BOUNDS, ahead=3, hold=0) == Waste(2, 6, 2, 6, 3, 3)


def test_outcome_puts_it_together() -> None:
    found = outcome(
        protocols=(COUNTERS, COUNTERS),
        samples=[sample(0, 2, 2, nodes=9), sample(1.5, 3, 3), sample(3, 3, 3, nodes=5)],
        # Two replicas and the tenth that an HPA leaves alone carry 616 requests a second, not 617.
        demand={"a": [500.0, 616, 617, 617]},
        added={"a": [0.0, 700, None]},
        bounds=BOUNDS,
        window=(2, 3),
        target_ms=30,
        ahead=1,
        hold=0,
    )
    assert found.rest == ReplayLatency(surge_ms=23.8, worst_minute_ms=23.8, minutes_above_target=0)
    assert found.cover.median_lead == 0.5
    assert (found.nodes_at_start, found.most_nodes, found.most_replicas, found.forecast_minutes) == (4, 5, 3, 1)
    assert found.false_replica_minutes == 0
    assert (found.median_wait_s, found.longest_wait_s) == (None, None)  # the third was there when it began
    assert found.to_json()["paid"]["node_minutes"] == 6  # from a minute before the surge on
