"""What was forecast against what came: good, decayed, unknown, and who takes a decayed champion's place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from include.clients.prometheus import Series as PromSeries
from include.clients.storage import Folder
from include.forecast.candidates.candidate import CandidateError
from include.forecast.registry import Action, ChampionDecision, Registry
from include.forecast.traffic.features import TrainingWindows
from include.forecast.traffic.series import Array, TrafficSeries
from include.forecast.watch import (
    Assessment,
    ServedForecasts,
    Status,
    Watched,
    alternatives,
    assess,
    forecasts_by_origin,
    observed_windows,
    series_of,
    served,
    successor,
    watch_region,
)

REGION = "us-east-1"
DAY = 1440
END = int(datetime(2026, 11, 24, tzinfo=UTC).timestamp())
START = END - 9 * 86400
AS_OF = "2026-11-24T00:00:00Z"
WHO = {"instance": "a", "job": "predictor"}


def daily(noise: float = 0.02) -> TrafficSeries:
    """Nine days of a daily wave with a little noise."""
    minutes = np.arange(9 * DAY)
    wave = 1000 + 800 * np.sin(2 * np.pi * minutes / DAY)
    values = wave * (1 + noise * np.random.default_rng(1).normal(size=9 * DAY))
    return TrafficSeries(REGION, datetime.fromtimestamp(START, UTC), 1, values)


def forecasts(series: TrafficSeries, factor: float, minutes: int = DAY) -> ServedForecasts:
    """Forecasts of the last ``minutes`` that are ``factor`` times what came."""
    first = len(series) - 15 - minutes
    origins = range(first, first + minutes)
    own = {START + 60 * origin: float(series.values[origin + 15] * factor) for origin in origins}
    return ServedForecasts(own, len(own))


def prom(values: Mapping[float, float], **labels: str) -> PromSeries:
    return PromSeries(WHO | labels, tuple(values.items()))


# --- What was served --------------------------------------------------------------------------------------------------


def test_a_forecast_belongs_to_the_minute_before_it_was_made() -> None:
    gauge = [prom({600.0: 5.0, 660.0: 6.0}, horizon="15", quantile="0.5")]
    times = [prom({600.0: 570.0, 660.0: 631.0})]
    assert forecasts_by_origin(gauge, times, [], "v") == {480: 5.0, 540: 6.0}


def test_old_forecasts_and_those_that_are_no_number_were_not_served() -> None:
    gauge = [prom({600.0: 5.0, 660.0: math.nan, 720.0: 7.0, 780.0: 8.0})]
    times = [prom({600.0: 419.0, 660.0: 640.0, 720.0: 730.0})]
    assert forecasts_by_origin(gauge, times, [], "v") == {}
    assert forecasts_by_origin(gauge, [prom({600.0: 420.0})], [], "v") == {360: 5.0}


def test_only_forecasts_of_the_champion_count_where_the_predictor_names_its_model() -> None:
    gauge, times = [prom({600.0: 5.0, 660.0: 6.0})], [prom({600.0: 590.0, 660.0: 650.0})]
    models = [prom({600.0: 1.0}, version="old"), prom({660.0: 1.0}, version="new")]
    assert forecasts_by_origin(gauge, times, models, "new") == {540: 6.0}
    assert forecasts_by_origin(gauge, times, models, "other") == {}


def test_two_predictors_are_told_apart() -> None:
    other = {"instance": "b"}
    gauge = [prom({600.0: 5.0}), prom({600.0: 9.0}, **other)]
    times = [prom({600.0: 100.0}), prom({600.0: 590.0}, **other)]
    assert forecasts_by_origin(gauge, times, [], "v") == {480: 9.0}


def test_the_region_horizon_and_median_are_asked_for() -> None:
    class Server:
        asked: list[str] = []  # noqa: RUF012

        def query_range(self, expression: str, start: float, end: float, step: float) -> list[PromSeries]:
            self.asked.append(expression)
            return []

    assert served(Server(), REGION, 0, 60, "v") == ServedForecasts({}, 0)  # type: ignore[arg-type]
    assert Server.asked == [
        'akidb_forecast_qps{region="us-east-1",horizon="15",quantile="0.5"}',
        'akidb_forecast_generated_timestamp_seconds{region="us-east-1"}',
        'akidb_forecast_model_info{region="us-east-1"}',
    ]


def test_a_series_keeps_its_gaps() -> None:
    series = series_of({START: 1.0, START + 120: 3.0, START + 240: 9.0}, REGION, START, START + 240)
    assert np.array_equal(series.values, [1.0, np.nan, 3.0, np.nan], equal_nan=True)
    assert series.start == datetime.fromtimestamp(START, UTC)


# --- The assessment ---------------------------------------------------------------------------------------------------


def test_a_good_champion_is_good() -> None:
    found = assess(daily(), forecasts(daily(), 1.01))
    assert found.status == Status.GOOD
    assert found.minutes == DAY
    assert found.champion_wape == pytest.approx(0.01)
    assert found.best_naive_wape is not None
    assert found.best_naive_wape > 0.01
    assert set(found.naives) == {"now", "now_scaled", "yesterday", "yesterday_scaled", "last_week", "last_week_scaled"}


def test_a_bad_champion_has_decayed() -> None:
    found = assess(daily(), forecasts(daily(), 1.3))
    assert found.status == Status.DECAYED
    assert found.champion_wape == pytest.approx(0.3)
    assert "worse by more than noise" in found.reason
    assert found.figures()["minutes"] == DAY


def test_a_champion_within_two_percent_of_the_best_naive_has_not_decayed() -> None:
    series = daily()
    first = assess(series, forecasts(series, 1.0))
    assert first.best_naive_wape
    assert assess(series, forecasts(series, 1 + first.best_naive_wape * 1.01)).status == Status.GOOD
    assert assess(series, forecasts(series, 1 + first.best_naive_wape * 1.5)).status == Status.DECAYED


@pytest.mark.parametrize("minutes", [0, 719])
def test_too_few_forecasts_are_unknown(minutes: int) -> None:
    found = assess(daily(), forecasts(daily(), 5.0, minutes))
    assert found.status == Status.UNKNOWN
    assert found.reason.startswith(f"{minutes} minutes of the last 24 h have a forecast and what came, 720 are needed")


def test_a_new_champion_is_not_judged_and_no_alert() -> None:
    live = ServedForecasts(forecasts(daily(), 5.0, 300).own, 1440)
    found = assess(daily(), live)
    assert (found.status, found.minutes) == (Status.YOUNG, 300)
    assert found.reason == "300 minutes served since it became champion, 720 are needed to judge it"
    assert Watched(REGION, "v1", found).alert == ""
    # A predictor that died is no young champion.
    assert assess(daily(), ServedForecasts(live.own, 300)).status == Status.UNKNOWN


def test_a_lost_day_of_observations_is_unknown_not_zero() -> None:
    series = daily()
    series.values[-DAY:] = np.nan
    assert assess(series, forecasts(daily(), 1.0)).status == Status.UNKNOWN
    nothing = TrafficSeries(REGION, series.start, 1, np.full(9 * DAY, np.nan))
    assert assess(nothing, ServedForecasts({START: 1.0}, 1)).status == Status.UNKNOWN


def test_a_day_without_traffic_has_no_wape() -> None:
    series = TrafficSeries(REGION, datetime.fromtimestamp(START, UTC), 1, np.zeros(9 * DAY))
    live = dict.fromkeys(range(START + 8 * DAY * 60, START + (9 * DAY - 15) * 60, 60), 0.0)
    found = assess(series, ServedForecasts(live, len(live)))
    assert (found.status, found.champion_wape) == (Status.GOOD, None)
    assert "WAPE unknown" in found.reason


# --- The demotion -----------------------------------------------------------------------------------------------------


def replay(folder: Path, windows: TrainingWindows) -> Array:
    """A "model" that knows what comes, times the number in its file; NaN for a broken one, 0 for one of old code."""
    if (folder / "factor").read_text() == "0.0":
        raise CandidateError("made by other code")
    return windows.targets() * float((folder / "factor").read_text())


def add(registry: Registry, tmp_path: Path, factor: float, model: str = "blend") -> str:
    folder = tmp_path / f"{model}-{factor}"
    folder.mkdir()
    (folder / "factor").write_text(str(factor))
    return registry.add(folder, model=model, window={"last": AS_OF}, metrics={}, code_version="")


def promote(registry: Registry, version: str) -> None:
    expected = registry.pointer()
    registry.move(expected, ChampionDecision(Action.PROMOTED, version, expected.version, "better", AS_OF))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Folder(tmp_path / "store"), REGION)


def watch(registry: Registry, factor: float) -> Watched:
    series = daily()
    return watch_region(registry, forecasts(series, factor), series, registry.pointer().version, replay)


def test_a_good_champion_stays_and_nothing_is_recorded(registry: Registry, tmp_path: Path) -> None:
    promote(registry, add(registry, tmp_path, 1.0))
    found = watch(registry, 1.0)
    assert (found.assessment.status, found.decision, found.alert) == (Status.GOOD, None, "")
    assert len(registry.history()) == 1
    assert found.to_json()["status"] == "good"


def test_a_decayed_champion_gives_way_to_the_best_alternative(registry: Registry, tmp_path: Path) -> None:
    former, naive, bad = (
        add(registry, tmp_path, 1.1),
        add(registry, tmp_path, 1.05, "last_week_scaled"),
        add(registry, tmp_path, 1.4),
    )
    promote(registry, former)
    promote(registry, bad)
    assert alternatives(registry, bad) == [former, naive]
    found = watch(registry, 1.4)
    assert found.decision
    assert (found.decision.action, found.decision.version, found.decision.previous) == (Action.DEMOTED, naive, bad)
    assert f"last_week_scaled {naive} takes its place" in found.decision.reason
    assert found.decision.as_of == AS_OF
    assert found.decision.figures["alternatives"] == {former: 0.1, naive: 0.05}
    assert registry.pointer().version == naive
    assert found.alert.startswith("us-east-1: demoted: WAPE 0.4000 against ")


def test_the_former_champion_wins_when_it_is_better(registry: Registry, tmp_path: Path) -> None:
    former, _, bad = (
        add(registry, tmp_path, 1.01),
        add(registry, tmp_path, 1.05, "yesterday"),
        add(registry, tmp_path, 1.4),
    )
    promote(registry, former)
    promote(registry, bad)
    watch(registry, 1.4)
    assert registry.pointer().version == former


def test_nothing_is_demoted_to_nothing(registry: Registry, tmp_path: Path) -> None:
    only = add(registry, tmp_path, 1.4)
    promote(registry, only)
    found = watch(registry, 1.4)
    assert found.decision
    assert found.decision.action == Action.KEPT
    assert "nothing in the registry is better (0 tried): run forecast_retrain" in found.alert
    assert registry.pointer().version == only


def test_a_damaged_or_worse_alternative_is_not_taken(registry: Registry, tmp_path: Path) -> None:
    damaged, worse, broken, bad = (
        add(registry, tmp_path, 1.0),
        add(registry, tmp_path, 2.0),
        add(registry, tmp_path, float("nan")),
        add(registry, tmp_path, 1.4),
    )
    add(registry, tmp_path, 0.0, "yesterday")
    for version in (damaged, worse, broken, bad):
        promote(registry, version)
    (tmp_path / "store" / "models" / REGION / "versions" / damaged / "factor").write_text("0.5")
    found = watch(registry, 1.4)
    assert found.decision
    assert (found.decision.action, registry.pointer().version) == (Action.KEPT, bad)
    assert "(1 tried)" in found.decision.reason


def test_unknown_is_an_alert_and_moves_nothing(registry: Registry, tmp_path: Path) -> None:
    champion = add(registry, tmp_path, 1.0)
    promote(registry, champion)
    series = daily()
    found = watch_region(registry, ServedForecasts({}, 0), series, champion, replay)
    assert found.decision is None
    assert found.alert.startswith("us-east-1: unknown: 0 minutes of the last 24 h")
    assert found.alert.endswith(f"{champion} stays champion")


def test_a_champion_that_changed_meanwhile_stays(registry: Registry, tmp_path: Path) -> None:
    old, new = add(registry, tmp_path, 1.4), add(registry, tmp_path, 1.0)
    promote(registry, old)
    promote(registry, new)
    series = daily()
    found = watch_region(registry, forecasts(series, 1.4), series, old, replay)
    assert found.decision
    assert (found.decision.action, registry.pointer().version) == (Action.LOST, new)


def test_ties_go_to_the_older_version() -> None:
    assert successor({"b": 1.0, "a": 1.0}, 2.0) == "a"
    assert successor({"a": 2.0}, 2.0) is None
    assert successor({}, 2.0) is None


def test_windows_without_an_observed_target_are_not_judged() -> None:
    series = daily()
    series.values[-1] = np.nan
    origins = [START + 60 * (9 * DAY - 16), START + 60 * (9 * DAY - 17)]
    assert len(observed_windows(series, origins)) == 1


def test_an_alert_names_region_and_reason() -> None:
    found = Watched(REGION, "v1", Assessment(Status.UNKNOWN, "why"))
    assert found.alert == "us-east-1: unknown: why; v1 stays champion"
