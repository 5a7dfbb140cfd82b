"""The drill's waits, by exact values."""

from __future__ import annotations

import pytest

from include.estate import load_estate
from include.levers.predictive_scaling.wanted import PredictiveSettings
from include.rollout.settings import build
from lab.surge.pace import Pace, Wait, pace_of, seconds_of, waits

ESTATE = load_estate()


def test_every_wait_follows_time_scale_12() -> None:
    assert pace_of(ESTATE) == Pace(
        time_scale=12,
        node_boot=5.0,
        pod_start=2.0,
        pod_stop=1.0,
        autoscaler_sync=1.25,
        scrape=1,
        consolidate_after=2,
        polling=1,
        rate_window=8,
        scale_down=25,
        freshness=15,
        double=1,
        halve=5,
    )
    assert pace_of(ESTATE).minute_seconds == 5


def test_at_the_clocks_pace_the_waits_are_those_of_production() -> None:
    pace = pace_of(ESTATE, 1)
    settings = build(PredictiveSettings, {}, ESTATE).model_dump()
    assert {name: settings[name] for name in pace.settings()} == pace.settings()
    assert all(wait.production == wait.drill for wait in waits(ESTATE, pace))


def test_the_settings_of_the_drill_are_accepted() -> None:
    assert build(PredictiveSettings, pace_of(ESTATE).settings(), ESTATE).rate_window_seconds == 8


def test_a_minute_must_have_whole_seconds() -> None:
    with pytest.raises(ValueError, match="time_scale must divide 60, not 7: 12 makes a plant minute 5 s"):
        pace_of(ESTATE, 7)


def test_the_report_names_what_a_wait_is_in_plant_time() -> None:
    assert Wait("request rate window", 60, 8).shown(12) == {
        "name": "request rate window",
        "production_s": 60,
        "drill_s": 8,
        "plant_s": 96,
    }


def test_durations() -> None:
    assert [seconds_of(text) for text in ("30s", "5m", "168h")] == [30, 300, 604_800]
    with pytest.raises(ValueError, match="a duration ends with s, m or h, not '30'"):
        seconds_of("30")
