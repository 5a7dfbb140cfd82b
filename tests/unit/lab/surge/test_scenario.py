"""Which surge is replayed, by exact moments and values."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.estate import load_estate
from lab.surge.scenario import (
    MINUTE,
    SurgeError,
    burst,
    demand_by_minute,
    morning,
    stands_still,
    strongest_burst,
    synthetic_trace,
    utc,
)

ESTATE = load_estate()
START = 1_767_225_600.0  # 2026-01-01T00:00Z


def test_the_morning_is_a_weekdays_step_with_time_to_set_up_before_it() -> None:
    surge = morning()
    moments = [utc(moment) for moment in (surge.begins, surge.rises, surge.ends, surge.until)]
    assert moments == ["2026-11-24T08:00Z", "2026-11-24T08:50Z", "2026-11-24T09:20Z", "2026-11-24T09:30Z"]
    assert (surge.minutes, surge.history_days, surge.trace) == (90, 33, None)


def test_the_mornings_demand_is_the_estates() -> None:
    demand = demand_by_minute(ESTATE, morning(), "ap-northeast-1", 15)
    assert len(demand) == 105
    assert demand[0] == pytest.approx(2138, rel=0.07)  # 200 of the plan's 550 QPS
    assert demand[70] == pytest.approx(5880, rel=0.07)


def minutes(values: list[float]) -> object:
    return lambda at: values[int(at // MINUTE)]


def noisy(level: float, count: int) -> list[float]:
    return [level + minute % 2 for minute in range(count)]


def test_the_strongest_burst_is_where_a_quarter_of_an_hour_changes_most() -> None:
    values = noisy(100, 60) + noisy(300, 60) + noisy(350, 60)
    # The mean of minutes 60 to 64 is compared with that of 45 to 49: any minute from 50 to 60 sees the whole step.
    assert strongest_burst(minutes(values), 30 * MINUTE, 160 * MINUTE) == pytest.approx(50 * MINUTE, abs=1 * MINUTE)
    assert strongest_burst(minutes(values), 70 * MINUTE, 160 * MINUTE) == pytest.approx(110 * MINUTE, abs=1 * MINUTE)


def test_a_single_high_minute_is_less_than_a_lasting_rise() -> None:
    values = noisy(100, 180)
    values[60] = 400.0
    values[120:] = noisy(200, 60)
    assert strongest_burst(minutes(values), 30 * MINUTE, 160 * MINUTE) == pytest.approx(110 * MINUTE, abs=1 * MINUTE)


def test_traffic_that_comes_back_after_an_outage_is_no_burst() -> None:
    values = noisy(100, 60) + [0.0] * 20 + noisy(100, 60) + noisy(150, 60)
    assert strongest_burst(minutes(values), 30 * MINUTE, 180 * MINUTE) == pytest.approx(130 * MINUTE, abs=1 * MINUTE)


def test_there_may_be_no_burst() -> None:
    falling = [float(300 - minute) for minute in range(200)]
    assert strongest_burst(minutes(falling), 30 * MINUTE, 160 * MINUTE) is None


def test_five_equal_values_in_a_row_stand_still() -> None:
    assert stands_still([1, 2, 2, 2, 2, 2, 3], 5)
    assert not stands_still([1, 2, 2, 2, 2, 3, 2], 5)
    assert not stands_still([2, 2], 5)


def test_the_synthetic_trace_is_the_same_every_time_and_has_its_burst_in_the_afternoon(tmp_path: Path) -> None:
    assert synthetic_trace() == synthetic_trace()
    path = tmp_path / "synthetic trace of the drill.csv"
    path.write_text(synthetic_trace())
    surge = burst(ESTATE, path)
    assert surge.title == "the strongest burst of synthetic trace of the drill (2026-10-06T13:37Z)"
    assert (surge.history_days, utc(surge.begins), utc(surge.until)) == (29, "2026-10-06T12:47Z", "2026-10-06T14:17Z")
    assert surge.to_json()["trace"] == "synthetic trace of the drill.csv"  # no path of a machine in a report


def test_a_trace_that_is_too_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text("\n".join(synthetic_trace().splitlines()[:3000]))
    with pytest.raises(
        SurgeError, match=r"short\.csv has no rise in its second half and after 8 days: give a longer trace"
    ):
        burst(ESTATE, path)
