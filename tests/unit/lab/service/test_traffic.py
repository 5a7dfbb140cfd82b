"""Demand: the plan's levels, ramps, weekends, noise, and recorded traces."""

from __future__ import annotations

import gzip
import statistics
from datetime import UTC, datetime
from pathlib import Path

import pytest

from include.estate import load_estate
from lab.service.traffic import (
    Pattern,
    Trace,
    TraceError,
    demand_of,
    hourly_level,
    load_trace,
    noise,
    parse_trace,
    plant_start,
    shape,
)

ESTATE = load_estate()
HEADER = "timestamp,qps"


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("moment", "qps"),
    [
        ("2026-11-24T03:30", 50),  # a Tuesday
        ("2026-11-24T07:30", 200),
        ("2026-11-24T10:00", 550),
        ("2026-11-24T17:49", 550),
        ("2026-11-24T19:30", 300),
        ("2026-11-24T23:00", 100),
        ("2026-11-28T12:00", 250),  # a Saturday keeps to the weekend's ceiling
        ("2026-11-29T07:30", 200),
        ("2026-11-29T03:30", 50),
    ],
)
def test_shape_keeps_the_plans_levels(moment: str, qps: float) -> None:
    assert shape(ESTATE.traffic, at(moment)) == qps


@pytest.mark.parametrize(
    ("moment", "qps"),
    [
        ("2026-11-24T08:50", 200),
        ("2026-11-24T08:55", 287.5),
        ("2026-11-24T09:00", 375),
        ("2026-11-24T09:05", 462.5),
        ("2026-11-24T09:10", 550),
        ("2026-11-28T00:00", 75),  # Friday night 100 -> Saturday 50
    ],
)
def test_shape_ramps_over_twenty_minutes(moment: str, qps: float) -> None:
    assert shape(ESTATE.traffic, at(moment)) == pytest.approx(qps)


def test_a_plan_weekday_sums_to_the_plans_table() -> None:
    hours = [hourly_level(ESTATE.traffic, int(at("2026-11-24T00:00")) // 3600 + h) for h in range(24)]
    assert sum(hours) == 6 * 50 + 3 * 200 + 9 * 550 + 4 * 300 + 2 * 100


def test_noise_is_fixed_per_region_and_minute() -> None:
    assert noise("us-east-1", 60.0) == noise("us-east-1", 119.9)
    assert noise("us-east-1", 60.0) != noise("us-east-1", 120.0)
    assert noise("us-east-1", 60.0) != noise("eu-central-1", 60.0)
    assert noise("us-east-1", 60.0) == pytest.approx(0.9892502693867407, abs=1e-12)


def test_noise_is_small_and_centred() -> None:
    factors = [noise("us-east-1", 60.0 * minute) for minute in range(10_000)]
    assert statistics.mean(factors) == pytest.approx(1, abs=0.001)
    assert statistics.stdev(factors) == pytest.approx(0.02, abs=0.0005)
    assert 0.93 <= min(factors) < max(factors) <= 1.07


def test_weekday_peak_is_70_percent_of_the_start_replicas_at_target() -> None:
    # 30 replicas x 350 QPS x 0.8 x 0.7
    moment = at("2026-11-24T12:00")
    pattern = Pattern(ESTATE.traffic, ESTATE.demand_scale())
    assert pattern.qps("us-east-1", moment) == pytest.approx(5880 * noise("us-east-1", moment))
    assert demand_of(ESTATE) == pattern


@pytest.mark.parametrize(
    ("now", "start"),
    [
        ("2026-11-24T16:14", "2026-11-24T10:00"),
        ("2026-11-24T10:00", "2026-11-24T10:00"),
        ("2026-11-24T09:59", "2026-11-23T10:00"),
        ("2026-11-23T04:00", "2026-11-20T10:00"),  # Monday morning: Friday
        ("2026-11-29T23:00", "2026-11-27T10:00"),  # Sunday: Friday
    ],
)
def test_peak_start_is_ten_oclock_of_the_last_weekday(now: str, start: str) -> None:
    assert plant_start("peak", at(now)) == at(start)


def test_now_start_is_the_clock_and_other_modes_are_refused() -> None:
    assert plant_start("now", 12.5) == 12.5
    assert plant_start(7, 12.5) == 7
    with pytest.raises(ValueError, match="start must be 'peak' or 'now', not 'noon'"):
        plant_start("noon", 0)


def test_a_trace_is_scaled_by_its_99th_percentile_and_wraps() -> None:
    rows = [f"2026-01-01T{n // 60:02d}:{n % 60:02d}:00Z,{n + 1}" for n in range(100)]
    trace = parse_trace("t.csv", [HEADER, *rows], peak_qps=990)
    start = at("2026-01-01T00:00")
    assert trace.qps("us-east-1", start) == 10
    assert trace.qps("us-east-1", start + 98 * 60) == 990  # the 99th percentile of 1..100 is 99
    assert trace.qps("us-east-1", start + 99 * 60 + 59) == 1000
    assert trace.qps("us-east-1", start + 100 * 60) == 10
    assert trace.qps("us-east-1", start - 60) == 1000


def test_a_value_not_observed_repeats_the_one_before() -> None:
    lines = [
        "timestamp,requests_per_minute",
        "2026-01-01T00:00:00Z,",
        "2026-01-01T00:05:00Z,4",
        "2026-01-01T00:10:00Z,",
    ]
    assert parse_trace("t.csv", lines, peak_qps=8) == Trace((8.0, 8.0, 8.0), 300.0, at("2026-01-01T00:00"))


def test_a_gzipped_trace_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n2026-01-01T00:00:00Z,1\n2026-01-01T00:01:00Z,2\n".encode()))
    assert load_trace(path, peak_qps=20).values == (10.0, 20.0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["time,load", "1,2"], r"has the columns time, load: it needs timestamp and one of qps, requests_per_minute"),
        ([], r"has the columns \(none\)"),
        ([HEADER, "2026-01-01T00:00:00Z,1"], "must have 2 or more rows"),
        ([HEADER, "2026-01-01T00:01:00Z,1", "2026-01-01T00:00:00Z,1"], "regular, rising grid"),
        ([HEADER, "2026-01-01T00:00:00Z,1", "2026-01-01T00:01:00Z,many"], "line 3: could not convert"),
        ([HEADER, "2026-01-01T00:00:00Z,0", "2026-01-01T00:01:00Z,0"], "can't be scaled to 100 QPS"),
        ([HEADER, "2026-01-01T00:00:00Z,-1", "2026-01-01T00:01:00Z,2"], "below zero"),
        ([HEADER, "2026-01-01T00:00:00Z,", "2026-01-01T00:01:00Z,"], "no observed value"),
    ],
)
def test_a_trace_that_cannot_be_replayed_is_refused(lines: list[str], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        parse_trace("t.csv", lines, peak_qps=100)


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"trace absent\.csv can't be read"):
        load_trace(tmp_path / "absent.csv", peak_qps=100)
    path = tmp_path / "plain.csv.gz"
    path.write_text(HEADER)
    with pytest.raises(TraceError, match=r"trace plain\.csv\.gz can't be read"):
        load_trace(path, peak_qps=100)
