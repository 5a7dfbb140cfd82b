"""The benchmark of the power modes: what it compares, on loads with known answers, and what it says without traces."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench_edge_power as bench

DAY = 1440


def two_days() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A night of 50 QPS and a day of 264, twice."""
    one = np.where(np.arange(DAY) < 720, 50, 264).astype(np.float32)
    return np.concatenate([one, one])


def test_with_the_measured_table_ours_stays_in_the_mode_that_is_always_the_cheapest() -> None:
    found = bench.compare(two_days(), bench.MEASURED)
    fastest = 5 * 2 * 12 * sum(4.6 + 24.8 / 330 * load for load in (50, 264)) / 0.75
    assert (found["wh"], found["unserved"]) == (round(fastest), 0)
    assert found["device"]["energy_ratio"] == found["device"]["optimum_ratio"]
    # Half of all minutes have 264 QPS where the thresholds' mode serves 220; in one more the lowest mode still holds.
    assert found["device"]["unserved_thresholds"] == 5 * 60 * (44 * (2 * 720 - 2) + 144 * 2)


def test_a_device_raises_its_scheduled_mode_when_the_real_load_needs_more() -> None:
    load = np.full(60, 10, np.float32)
    load[30:] = 200
    done = bench.carried_out(np.zeros(60, np.uint8), load, bench.PLAN)
    assert (set(done[:31].tolist()), done[31:].tolist()) == ({0}, [2] * 29)  # 200 is above 90 % of 220


def test_a_load_that_is_unknown_changes_nothing() -> None:
    load = np.full(20, 200, np.float32)
    load[5:] = np.nan
    assert bench.carried_out(np.zeros(20, np.uint8), load, bench.PLAN).tolist() == [0] + [2] * 19


def test_a_line_has_the_five_fields_of_the_issue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"2026-11-0{1 + n // DAY}T{n % DAY // 60:02d}:{n % 60:02d}:00Z,{q}" for n, q in enumerate(two_days())]
    with gzip.open(tmp_path / bench.FILES["nasa"], "wt", encoding="utf-8") as file:
        file.write("\n".join(["timestamp,requests_per_minute", *rows]))
    assert bench.main(["--json", "--traces", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    (line,) = [json.loads(text) for text in out.splitlines()]
    assert list(line) == ["trace", "energy_ratio", "unserved", "unserved_thresholds", "optimum_ratio"]
    assert (line["trace"], line["unserved"]) == ("nasa", 0)
    assert "worldcup98: skipped, worldcup98_1min.csv.gz is not in" in err
