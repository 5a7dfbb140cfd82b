"""Gates: judged by exact values, refusals included."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from include.rollout.gates import (
    Comparison,
    Figure,
    Gate,
    Outcome,
    judge,
    judge_all,
    overall,
    p95_within,
)

P95 = Gate("p95", Comparison.AT_MOST, 30, "ms", 100, "estate targets.p95_ms")


def buckets(**counts: float) -> dict[float, float]:
    """``ms25=950`` is 950 requests within 25 ms; ``total`` is the +Inf bucket."""
    return {math.inf if name == "total" else int(name[2:]) / 1000: count for name, count in counts.items()}


@pytest.mark.parametrize(
    ("comparison", "value", "outcome"),
    [
        ("<", 29.9, "pass"),
        ("<", 30.0, "fail"),
        ("<=", 30.0, "pass"),
        ("<=", 30.1, "fail"),
        (">=", 30.0, "pass"),
        (">=", 29.9, "fail"),
        (">", 30.1, "pass"),
        (">", 30.0, "fail"),
    ],
)
def test_comparisons_at_the_threshold(comparison: str, value: float, outcome: str) -> None:
    gate = Gate("g", Comparison(comparison), 30, "ms", 1, "test")
    assert judge(gate, Figure(value, "ms", 1, "query")).outcome == outcome


def test_no_data_is_unknown() -> None:
    result = judge(P95, None)
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "p95: no data")


def test_too_few_samples_are_unknown() -> None:
    result = judge(P95, Figure(10, "ms", 99, "query"))
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "p95: 99 of the 100 samples that it needs")
    assert judge(P95, Figure(10, "ms", 100, "query")).outcome is Outcome.PASS


def test_samples_for_too_little_of_the_window_are_unknown() -> None:
    """Three good minutes of thirty say nothing about the other twenty-seven."""
    sparse = Figure(10, "ms", 5000, "query", "a note", coverage=0.1)
    result = judge(P95, sparse)
    reason = "p95: samples for 10.0% of its window; it needs 90%; a note"
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, reason)
    assert judge(P95, replace(sparse, coverage=0.9)).outcome is Outcome.PASS
    assert judge(P95, replace(sparse, coverage=0.8999)).outcome is Outcome.UNKNOWN
    assert judge_all([P95], {"p95": sparse}, minimum_coverage=0.1)[0].outcome is Outcome.PASS
    # Nor does a breach: it may be the one bad scrape. The safety gates roll back once the wait is over.
    assert judge(P95, replace(sparse, value=99.0)).outcome is Outcome.UNKNOWN


def test_a_figure_of_one_moment_has_no_window_to_cover() -> None:
    assert judge(P95, Figure(10, "ms", 100, "query", coverage=None), minimum_coverage=1.0).outcome is Outcome.PASS


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_unknown(value: float) -> None:
    assert judge(P95, Figure(value, "ms", 100, "query")).outcome is Outcome.UNKNOWN


def test_a_figure_in_another_unit_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="gate p95 is in 'ms' but its figure is in 's'"):
        judge(P95, Figure(0.02, "s", 100, "query"))


def test_the_reason_shows_figure_threshold_source_samples_and_note() -> None:
    result = judge(P95, Figure(41.25, "ms", 812, "query", "interpolated"))
    assert result.reason == "p95: 41.25 ms is not <= 30 ms (estate targets.p95_ms; 812 samples); interpolated"


def test_judge_all_takes_a_missing_figure_as_no_data() -> None:
    other = Gate("errors", Comparison.AT_MOST, 0.005, "ratio", 1, "test")
    results = judge_all([P95, other], {"p95": Figure(20, "ms", 500, "query")})
    assert [result.outcome for result in results] == [Outcome.PASS, Outcome.UNKNOWN]


@pytest.mark.parametrize(
    ("values", "outcome"),
    [([20], "pass"), ([20, 40], "fail"), ([20, None], "unknown"), ([40, None], "fail"), ([], "unknown")],
)
def test_overall_is_the_worst(values: list[float | None], outcome: str) -> None:
    results = [judge(P95, None if value is None else Figure(value, "ms", 100, "q")) for value in values]
    assert overall(results) == outcome


@pytest.mark.parametrize(
    ("counts", "outcome", "share", "p95", "note"),
    [
        # An edge at the limit: counted.
        ({"ms25": 940, "ms30": 950, "ms50": 1000, "total": 1000}, "pass", 0.95, 30.0, "95.00% counted within the edge"),
        ({"ms25": 940, "ms30": 949, "ms50": 999, "total": 1000}, "fail", 0.949, 30.4, "94.90% counted within the edge"),
        # No edge at 30 ms: certain on either side, interpolated between.
        ({"ms25": 950, "ms50": 980, "total": 1000}, "pass", 0.956, 25.0, "certain: 95.00% within 25 ms"),
        (
            {"ms25": 900, "ms50": 949, "ms100": 1000, "total": 1000},
            "fail",
            0.9098,
            None,
            "certain: only 94.90% within 50",
        ),
        ({"ms25": 940, "ms50": 1000, "total": 1000}, "pass", 0.952, 29.167, "interpolated between 25 and 50 ms"),
        ({"ms25": 900, "ms50": 1000, "total": 1000}, "fail", 0.92, 37.5, "interpolated between 25 and 50 ms"),
        # All within the highest edge, which is below the limit.
        ({"ms25": 960, "total": 1000}, "pass", 0.96, None, "certain: 96.00% within 25 ms"),
    ],
)
def test_p95_within_30_ms(counts: dict[str, float], outcome: str, share: float, p95: float | None, note: str) -> None:
    latency = p95_within(buckets(**counts), 30)
    assert latency.outcome == outcome
    assert latency.share == pytest.approx(share)
    if p95 is not None:
        assert latency.p95_ms == pytest.approx(p95, abs=0.001)
    assert latency.note.startswith(note)
    assert latency.samples == 1000
    figure = latency.figure("query")
    assert judge(P95, figure).outcome == outcome


def test_p95_beyond_the_highest_edge_is_not_known() -> None:
    latency = p95_within(buckets(ms25=900, total=1000), 30)
    assert (latency.outcome, latency.note) == (Outcome.UNKNOWN, "the highest edge, 25 ms, is below 30 ms")
    assert latency.figure("query") is None


@pytest.mark.parametrize("counts", [{"ms25": 0, "total": 0}, {"ms25": math.nan, "total": math.nan}])
def test_p95_without_requests_is_not_known(counts: dict[str, float]) -> None:
    latency = p95_within(buckets(**counts), 30)
    assert (latency.outcome, latency.note) == (Outcome.UNKNOWN, "no requests in the window")
    assert judge(P95, latency.figure("query")).outcome is Outcome.UNKNOWN


def test_p95_of_buckets_out_of_order_takes_the_running_maximum() -> None:
    assert p95_within(buckets(ms25=960.4, ms50=960.1, total=1000), 30).share == pytest.approx(0.9604)


def test_p95_needs_the_total() -> None:
    with pytest.raises(ValueError, match=r"no \+Inf bucket"):
        p95_within({0.025: 10}, 30)
