"""The load step: how much is asked, and what counts as served."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from include.estate import load_estate
from lab.rehearsal import load
from lab.rehearsal.served import Moment, Served

ESTATE = load_estate()
AP = "ap-northeast-1"


def test_more_than_600_requests_a_second_times_the_demand_scale_are_asked() -> None:
    assert load.wanted_qps(ESTATE) == pytest.approx(6414.545, abs=1e-3)
    assert load.factor(ESTATE) == pytest.approx(1.04 * 600 / 550)
    peak = max(ESTATE.traffic.weekday_qps) * ESTATE.demand_scale()
    assert peak * load.factor(ESTATE) > load.wanted_qps(ESTATE)


def test_the_step_is_taken_back_whatever_happens(tmp_path: Path) -> None:
    file = tmp_path / "plant_faults.json"
    with contextlib.suppress(RuntimeError), load.stepped(tmp_path, [AP], 1.13):
        assert json.loads(file.read_text()) == {AP: {"load_factor": 1.13}}
        raise RuntimeError
    assert json.loads(file.read_text()) == {}


def test_throughput_is_what_was_served_a_second_and_is_reached_above_what_is_wanted() -> None:
    before, after = Moment(10.0, {AP: Served(0.0, 0.0)}), Moment(40.0, {AP: Served(195_000.0, 192_600.0)})
    found = load.throughputs(before, after, 6414.5, {AP: 21.5})
    assert found[AP].figures() == {
        "asked_qps": 6500.0,
        "served_qps": 6420.0,
        "wanted_qps": 6414.5,
        "seconds": 30.0,
        "p95_ms": 21.5,
    }
    assert found[AP].reached
    assert not load.throughputs(before, after, 6420.0, {})[AP].reached
    assert load.table(found).splitlines() == [
        "region          asked/s  served/s  wanted: more than  P95 ms",
        "--------------  -------  --------  -----------------  ------",
        "ap-northeast-1    6,500     6,420              6,414    21.5",
    ]


def test_the_counters_are_read_after_the_settling_and_again_after_the_measured_seconds() -> None:
    looks = iter([Moment(1.0, {}), Moment(2.0, {})])
    alive: list[int] = []
    assert load.measured(lambda: next(looks), lambda: alive.append(1), 0.01, 0.01) == (Moment(1.0, {}), Moment(2.0, {}))
    assert alive
