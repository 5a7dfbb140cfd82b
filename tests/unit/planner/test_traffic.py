import datetime as dt

import numpy as np
import pytest

from include.estate import load_estate
from include.planner.traffic import MINUTES, TrafficError, peak, planned, recorded


def test_thirty_days_of_the_estates_shape_have_21_weekdays():
    found = planned(load_estate())
    assert found.qps.shape == (3, 30, MINUTES)
    assert int((~found.weekend).sum()) == 21
    assert found.regions == ("us-east-1", "eu-central-1", "ap-northeast-1")


def test_the_weekday_peak_is_demand_scale_times_the_plans_550():
    found = planned(load_estate())
    assert found.qps.max() == pytest.approx(5880.0)
    assert found.qps[0, 0].max() == pytest.approx(250 * 5880 / 550)  # a Sunday keeps to the weekend's ceiling


def test_demand_rises_over_twenty_minutes_around_the_full_hour():
    day = planned(load_estate()).qps[0, 1] / (5880 / 550)
    assert day[8 * 60 + 49] == pytest.approx(200)
    assert day[9 * 60] == pytest.approx(375)
    assert day[9 * 60 + 10] == pytest.approx(550)


def test_a_region_with_fewer_minutes_than_another_is_refused():
    with pytest.raises(TrafficError, match="minutes by region: a 1440, b 2880; wanted the same whole days of 1440"):
        recorded({"a": np.ones(1440), "b": np.ones(2880)}, dt.date(2026, 11, 2), "test")


def test_an_unknown_minute_is_refused():
    values = np.ones(1440)
    values[7] = np.nan
    with pytest.raises(TrafficError, match="qps has minutes that are no number"):
        recorded({"a": values}, dt.date(2026, 11, 2), "test")


def test_recorded_days_know_their_weekend():
    found = recorded({"a": np.ones(3 * 1440)}, dt.date(2026, 11, 6), "test")
    assert found.weekend.tolist() == [False, True, True]


def test_varied_days_are_the_same_for_the_same_seed_and_stay_near():
    traffic = planned(load_estate())
    one, same, other = (traffic.varied(seed).qps for seed in (3, 3, 4))
    assert (one == same).all()
    assert (one != other).any()
    assert one.mean() == pytest.approx(traffic.qps.mean(), rel=0.02)


def test_a_rehearsals_level_is_the_weekday_peak_all_day():
    assert np.unique(peak(load_estate()).qps).tolist() == [pytest.approx(5880.0)]
