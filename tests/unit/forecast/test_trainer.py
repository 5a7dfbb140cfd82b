"""The bridge between the nightly training and the models: what is kept as a version, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from include.estate import EstateError, load_estate
from include.forecast import trainer
from include.forecast.candidates.lstm import PROFILES
from include.forecast.candidates.trees import TreeSettings
from include.forecast.traffic.features import floor_of, windows_of
from include.forecast.traffic.series import TrafficSeries
from include.forecast.trainer import CandidateTrainer, RetrainError, country_of

DAY = 1440


def daily(days: int, name: str = "us-east-1") -> TrafficSeries:
    minutes = np.arange(days * DAY)
    noise = 1 + 0.03 * np.random.default_rng(7).normal(size=len(minutes))
    values = (1000 + 700 * np.sin(2 * np.pi * minutes / DAY)) * noise
    return TrafficSeries(name, datetime(2026, 11, 1, tzinfo=UTC), 1, values)


def test_the_chosen_candidate_and_the_best_naive_are_kept_and_can_be_replayed(tmp_path: Path) -> None:
    series = daily(9)
    made = CandidateTrainer("none", TreeSettings(rounds=20)).train(series, tmp_path)
    assert len(made) == 2
    assert made[1].model in {"yesterday", "yesterday_scaled", "last_week", "last_week_scaled", "now", "now_scaled"}
    assert made[0].model in made[0].metrics["choice"]
    assert 0 < made[0].metrics["wape15"] < 0.05
    assert made[0].metrics["wape15"] == made[0].metrics["horizons"][-1]["wape"]
    assert json.dumps(made[0].metrics, allow_nan=False)
    assert made[0].metrics["scores"]["blend"] == 1.0
    assert made[0].folder != made[1].folder
    assert f"<h1>{made[0].model} for us-east-1</h1>" in (made[0].folder / "card.html").read_text()
    windows = windows_of(series, floor_of(series.values)).between(8 * DAY, 9 * DAY)
    for one in made:
        forecast = CandidateTrainer().replay(one.folder, windows)
        assert forecast.shape == (len(windows), 15)
        truth = windows.targets()[:, -1]
        assert float(np.abs(forecast[:, -1] - truth).sum() / truth.sum()) < 0.08


def test_data_that_can_not_be_learned_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(RetrainError, match=r"us-east-1: nothing is trained: too short: 1\.0 days"):
        CandidateTrainer("none").train(daily(1), tmp_path)


def test_an_unknown_profile_is_refused_with_those_that_exist() -> None:
    with pytest.raises(RetrainError, match=r"profile 'large' is not known: use fast, quick, seed, none"):
        CandidateTrainer("large").settings(daily(1))


def test_settings_follow_profile_region_and_data() -> None:
    fast, seed = CandidateTrainer("fast").settings(daily(1)), CandidateTrainer("seed").settings(daily(1))
    assert (fast.country, fast.lstm, CandidateTrainer("none").settings(daily(1)).lstm) == ("US", PROFILES["fast"], None)
    assert fast.checkpoint != seed.checkpoint
    assert fast.checkpoint == CandidateTrainer("fast").settings(daily(1)).checkpoint
    assert fast.checkpoint != CandidateTrainer("fast").settings(daily(2)).checkpoint


def test_a_country_without_a_calendar_is_refused_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    estate = load_estate()
    odd = estate.regions["us-east-1"].model_copy(update={"holidays": "XX"})
    changed = estate.model_copy(update={"regions": {**estate.regions, "us-east-1": odd}})
    monkeypatch.setattr(trainer, "load_estate", lambda: changed)
    with pytest.raises(EstateError, match=r"regions\.us-east-1\.holidays is XX, which has no calendar"):
        country_of("us-east-1")


@pytest.mark.parametrize(
    ("region", "country"),
    [("us-east-1", "US"), ("eu-central-1", "DE"), ("ap-northeast-1", "JP"), ("eu-west-9", None)],
)
def test_holidays_are_those_that_the_estate_names(region: str, country: str | None) -> None:
    assert country_of(region) == country
