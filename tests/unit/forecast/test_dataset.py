"""Series: a regular grid of any file, gaps, duplicates, clock changes, and the gate."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from include.forecast.traffic.series import (
    DatasetError,
    QualityLimits,
    fill_short_gaps,
    judge,
    load_series,
    refusal,
    regular_grid,
    series_from_frame,
    split,
)
from tests.unit.forecast.traffic_series import daily


def frame(*rows: tuple[object, object]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["timestamp", "qps"])


def test_missing_minutes_stay_missing() -> None:
    series = series_from_frame(
        frame(("2026-03-02T00:00:00Z", 1), ("2026-03-02T00:01:00Z", 2), ("2026-03-02T00:03:00Z", None)), "a"
    )
    assert series.start == datetime(2026, 3, 2, tzinfo=UTC)
    assert series.step == 1
    np.testing.assert_array_equal(series.values, [1, 2, np.nan, np.nan])


def test_a_duplicated_hour_becomes_the_mean_of_both() -> None:
    series = series_from_frame(
        frame(("2026-10-25T01:00:00", 10), ("2026-10-25T01:01:00", 20), ("2026-10-25T01:00:00", 30)), "a"
    )
    np.testing.assert_array_equal(series.values, [20, 20])


def test_offsets_of_a_clock_change_are_followed() -> None:
    series = series_from_frame(
        frame(
            ("2026-10-25T02:58:00+02:00", 1),
            ("2026-10-25T02:59:00+02:00", 2),
            ("2026-10-25T02:00:00+01:00", 3),
            ("2026-10-25T02:01:00+01:00", 4),
        ),
        "a",
    )
    assert series.start == datetime(2026, 10, 25, 0, 58, tzinfo=UTC)
    np.testing.assert_array_equal(series.values, [1, 2, 3, 4])


def test_impossible_values_were_not_observed() -> None:
    grid = regular_grid("a", np.array([86400 * 9, 86400 * 9 + 60, 86400 * 9 + 120]), np.array([1, -1, np.inf]))
    np.testing.assert_array_equal(grid.values, [1, np.nan, np.nan])


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_every_kind_of_file_gives_the_same_series(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"trace{suffix}"
    table = frame(("2026-03-02T00:00:00Z", 1), ("2026-03-02T00:05:00Z", 2))
    table.to_parquet(path) if suffix == ".parquet" else table.to_csv(path, index=False)
    series = load_series(path)
    assert (series.name, series.step, list(series.values)) == ("trace", 5, [1, 2])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"time": [1]}), "needs the columns timestamp and one of"),
        (frame(("2026-03-02T00:00:00Z", 1)), "1 samples with a time"),
        (frame(("2026-03-02T00:00:00Z", 1), ("2026-03-02T01:00:00Z", 2)), "60 minutes apart; 1 or 5 are supported"),
        (
            frame(("2026-03-02T00:00:00Z", 1), ("yesterday", 2)),
            "a: timestamp of sample 2 is 'yesterday': use ISO 8601 times such as",
        ),
        (frame((1772323200, 1), (1772323260, 2)), "a: timestamp of sample 1 is '1772323200': use ISO 8601"),
        (frame(("2026-03-02T00:00:00Z", "many")), "a: qps of sample 1 is 'many': use numbers, and nothing where none"),
    ],
)
def test_what_is_no_series_is_refused(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        series_from_frame(table, "a")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.csv.gz").write_bytes(b"not gzip")
    with pytest.raises(DatasetError, match=r"bad\.csv\.gz can't be read"):
        load_series(tmp_path / "bad.csv.gz")


@pytest.mark.parametrize(
    ("days", "missing", "thinnest", "distinct", "reason"),
    [
        (30, 0.0, 0.0, 500, None),
        (30, 0.35, 0.5, 10, None),
        (3.5, 0.0, 0.0, 500, "too short: 3.5 days, at least 4 are needed"),
        (30, 0.4, 0.0, 500, "too many gaps: 40% of the samples are missing, at most 35% may be"),
        (30, 0.1, 0.8, 500, "too many gaps in one part: 80% of train, validation or test is missing, "),
        (30, 0.0, 0.0, 1, "constant: 1 distinct values, at least 10 are needed"),
    ],
)
def test_refusals(days: float, missing: float, thinnest: float, distinct: int, reason: str | None) -> None:
    found = refusal(days, missing, thinnest, distinct, QualityLimits())
    assert (found or "").startswith(reason or "")
    assert (found is None) == (reason is None)


def test_many_zeros_are_judged_by_mae() -> None:
    series = daily()
    values = series.values.copy()
    values[::4] = 0
    assert judge(series).metric == "wape"
    quality = judge(replace(series, values=values))
    assert (quality.metric, quality.zero_share, quality.refused) == ("mae", 0.25, None)


def test_an_outage_of_the_whole_test_part_is_refused() -> None:
    series = daily()
    values = series.values.copy()
    parts = split(len(values))
    values[parts[2]] = np.nan
    assert "in one part: 100%" in str(judge(replace(series, values=values), parts).refused)


def test_the_split_is_in_time_and_whole() -> None:
    assert split(1000) == (slice(0, 700), slice(700, 850), slice(850, 1000))


def test_only_short_gaps_carry_the_last_value_on() -> None:
    gap = np.nan
    values = np.array([gap, 1, gap, gap, 2, gap, gap, gap, 3, gap])
    np.testing.assert_array_equal(fill_short_gaps(values, 2), [gap, 1, 1, 1, 2, gap, gap, gap, 3, 3])
