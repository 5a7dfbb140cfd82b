"""Live forecasts: what is read of Prometheus, when there is a forecast, and why there is none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from include.clients.prometheus import PrometheusError
from include.forecast.candidates.baselines import Naive
from include.forecast.registry import Registry
from include.forecast.server.champions import Champions
from include.forecast.server.forecaster import ForecasterSettings, Timeline
from include.forecast.traffic.features import DAY
from tests.unit.forecast.serving_world import NOW, REGION, World, candidate, crown, followed, keep, service, steady


def test_the_last_hour_and_eight_days_are_read_then_only_the_last_hour(world: World) -> None:
    forecast = world.tick()
    assert forecast is not None
    assert (forecast.seen_until, forecast.p50, forecast.doubt) == (NOW - 20, (1000.0,) * 15, "")
    assert world.live.history is not None
    assert int(np.isfinite(world.live.history.values).sum()) == 8 * DAY + 60
    assert len(world.prometheus.asked) == 9
    world.prometheus.asked.clear()
    world.tick(60)
    assert [(end - start) / 60 for start, end, _ in world.prometheus.asked] == [60.0]


def test_a_minute_is_read_once_it_has_settled(world: World) -> None:
    world.now = NOW - 6  # 14 s after the full minute
    forecast = world.tick()
    assert forecast is not None
    assert forecast.seen_until == NOW - 80
    forecast = world.tick(1)
    assert forecast is not None
    assert forecast.seen_until == NOW - 20


def test_gaps_of_five_minutes_are_bridged_longer_ones_are_not(world: World) -> None:
    whole = dict(world.prometheus.minutes)
    last = int((NOW - 20) // 60) * 60 - 60
    # An outage begins in the minute before the first that is missing: that one is not believed either.
    for minute in range(4):
        del world.prometheus.minutes[last - 600 - 60 * minute]
    assert world.tick() is not None
    del world.prometheus.minutes[last - 600 - 240]
    assert world.tick() is None
    assert world.live.why_none() == "6 of the last 60 minutes were not observed (gaps of 5 are bridged)"
    world.prometheus.minutes = whole
    assert world.tick() is not None


def test_lost_input_shows_the_old_forecast_only_while_it_is_fresh(world: World) -> None:
    assert world.tick() is not None
    seen = [forecast.seen_until - NOW for _ in range(6) if (forecast := world.tick(15))]
    # When the next minute does not come, the one before it is where the outage began.
    assert seen == [-20.0, -20.0, -20.0, -80.0, -80.0, -80.0]
    assert world.tick(15) is None
    assert world.live.why_none() == "the last minute that was observed ended 185 s ago: is everything scraped?"
    world.prometheus.minutes = steady(world.now)
    assert world.tick() is not None


def test_a_loop_that_hangs_shows_nothing_old(world: World) -> None:
    assert world.tick() is not None
    world.now += 161
    assert world.live.current() is None
    assert world.live.why_none() == "the last forecast is older than 180 s: is the loop held up?"
    assert "akidb_forecast_qps{" not in service(world.live._champions, world.live).metrics()


def test_prometheus_that_is_down_is_named_and_the_gap_is_read_later(world: World) -> None:
    world.tick()
    world.prometheus.error = PrometheusError("http://prometheus can't be reached")
    assert world.tick(200) is None
    assert world.live.why_none() == "http://prometheus can't be reached"
    world.prometheus.error = None
    world.prometheus.minutes = steady(NOW + 7200)
    world.prometheus.asked.clear()
    forecast = world.tick(7000)
    assert forecast is not None
    assert [(end - start) / 60 for start, end, _ in world.prometheus.asked] == [179.0]  # 120 minutes and an hour
    assert world.live.history is not None
    assert np.isfinite(world.live.history.values).all()


def test_history_that_can_not_be_read_is_tried_again_and_holds_up_nothing(world: World) -> None:
    world.prometheus.oldest = NOW - 2 * 86400
    assert world.tick() is not None
    assert world.live.history is not None
    assert int(np.isfinite(world.live.history.values).sum()) == DAY + 60
    world.prometheus.oldest = 0.0
    assert world.tick(15) is not None
    assert np.isfinite(world.live.history.values).all()


def test_nothing_at_all_and_no_champion_are_told_apart(registry: Registry, world: World) -> None:
    world.prometheus.minutes = {}
    assert world.tick() is None
    assert world.live.why_none() == (
        "Prometheus has no QPS of us-east-1 in the last days: check metrics in the estate's file"
    )
    (registry._storage.root / "models" / REGION / "champion.json").unlink()  # type: ignore[attr-defined]
    empty = World(followed(registry))
    assert empty.tick() is None
    assert empty.live.why_none() == "no champion: models/us-east-1/champion.json does not exist"


def test_the_forecast_is_made_from_the_days_before(registry: Registry, tmp_path: Path) -> None:
    crown(registry, keep(registry, candidate(Naive(DAY, scaled=False)), tmp_path / "yesterday"))
    world = World(followed(registry))
    world.prometheus.minutes = {minute: float(minute // 60 % DAY) for minute in world.prometheus.minutes}
    forecast = world.tick()
    assert forecast is not None
    assert forecast.p50 == tuple(float(minute) for minute in range(540, 555))


def test_short_minutes_are_minutes_of_the_model(champions: Champions) -> None:
    begins = NOW - 20 - 600
    timeline = Timeline(minute_seconds=5.0, begins=begins, begins_as=begins + 3600)
    assert timeline.model(begins - 60) == begins + 3540
    assert timeline.model(begins + 5) == begins + 3660
    assert timeline.real(timeline.model(begins + 12.5)) == begins + 12.5
    assert timeline.real(timeline.model(begins - 12.5)) == begins - 12.5
    settings = ForecasterSettings(timeline)
    assert (settings.settle_seconds, settings.max_age_seconds) == (1.25, 15.0)
    world = World(champions, settings)
    world.now = begins + 301.25
    # An hour of five-second minutes takes five minutes: 400 QPS since then, 1,000 before.
    world.prometheus.minutes = steady(begins) | {int(begins) + 5 * minute: 400.0 for minute in range(60)}
    forecast = world.tick()
    assert forecast is not None
    assert (forecast.p50, forecast.seen_until) == ((400.0,) * 15, begins + 300)
    assert (begins + 5, begins + 300, 5.0) in world.prometheus.asked
    history = world.live.history
    assert history is not None
    assert history.at(len(history)) == datetime.fromtimestamp(begins + 3600 + 3600, UTC)
    assert history.values[-61:].tolist() == [1000.0] + [400.0] * 60


def test_a_timeline_begins_on_whole_minutes() -> None:
    with pytest.raises(ValueError, match="begins, begins_as on whole minutes, not 5, 61, 0"):
        Timeline(5, 61, 0)
