"""The whole path on a small series: train, blend, choose, look at the test part, save, load and ask."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from include.forecast import benchmark
from include.forecast.candidates.baselines import Naive
from include.forecast.candidates.blend import Blend, l1_weights, mixed
from include.forecast.candidates.candidate import Candidate, CandidateError, p90_above, with_p90
from include.forecast.candidates.lstm import LstmSettings
from include.forecast.candidates.trees import Trees, TreeSettings
from include.forecast.choose import SIMPLEST_FIRST
from include.forecast.traffic.features import DAY, windows_of
from include.forecast.traffic.series import TrafficSeries
from include.forecast.training import Trained, TrainingSettings, look_at_test, parts_of, train_candidates
from tests.unit.forecast.traffic_series import daily

TREES = TreeSettings(rounds=20, min_leaf=20, learning_rate=0.1)
QUICK = TrainingSettings(trees=TREES, lstm=LstmSettings(units=(4,), epochs=1, windows=200))


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train_candidates(daily(), QUICK)


def request_at(series: TrafficSeries, origin: int) -> tuple[np.ndarray, list]:
    first = origin - 60 // series.step + 1
    return series.values[first : origin + 1], [series.at(index) for index in range(first, origin + 1)]


def test_every_candidate_is_there_and_one_is_chosen(trained: Trained) -> None:
    assert set(trained.candidates) == set(SIMPLEST_FIRST) == set(trained.scores)
    assert trained.scores["blend"] == 1.0
    assert trained.chosen.name == trained.choice.name
    assert sum(trained.weights.values()) == pytest.approx(1.0)
    assert trained.scores["now"] > 1.2


def test_training_is_deterministic() -> None:
    first, again = (train_candidates(daily(), replace(QUICK, lstm=None)) for _ in range(2))
    assert again.scores == first.scores
    assert again.weights == first.weights


def test_the_test_part_is_judged_and_a_seasonal_champion_promoted_over_now(trained: Trained) -> None:
    tested = look_at_test(trained)
    result = tested.results[trained.choice.name]
    assert result.wape < tested.results["now"].wape
    assert tested.results[tested.best_naive].against_best_naive.difference == 0
    assert [row.minutes for row in result.horizons] == [5, 10, 15]
    assert 0.8 < result.horizons[-1].coverage_p90 < 1
    assert tested.promotion.reason.startswith(("promoted: ", "not promoted: "))
    # Nobody is better than himself.
    assert "champion" in look_at_test(trained, trained.chosen).promotion.reason


def test_parts_do_not_overlap() -> None:
    series = daily()
    parts = parts_of(series, None)
    horizon = parts.test.horizon
    assert parts.before_fold.origins.max() + horizon < parts.fold.origins.min()
    assert parts.train.origins.max() + horizon < parts.validation.origins.min()
    assert parts.until_test.origins.max() + horizon < parts.test.origins.min()
    assert parts.test.origins.min() >= int(len(series) * 0.85)
    # Each window counts as a share of its own traffic; the newer one three times.
    shares = [np.nansum(part.targets()[:, -1] * part.weights) for part in (parts.fold, parts.validation)]
    np.testing.assert_allclose(shares, [1.0, 3.0])


def test_thin_data_is_refused_with_the_reason() -> None:
    refused = train_candidates(daily(days=3), QUICK)
    assert refused.quality.refused == "too short: 3.0 days, at least 4 are needed"
    assert refused.choice is None
    with pytest.raises(ValueError, match="too short"):
        _ = refused.chosen


def test_too_few_whole_hours_are_refused() -> None:
    series = daily()
    values = series.values.copy()
    values[::7] = np.nan
    values[1::7] = np.nan
    refused = train_candidates(replace(series, values=values), QUICK)
    assert "hours without a gap" in str(refused.quality.refused)


@pytest.mark.parametrize("trouble", ["outage", "shift", "zeros", "duplicated"])
def test_trouble_is_trained_on_or_refused(trouble: str) -> None:
    series = daily()
    values = series.values.copy()
    if trouble == "outage":
        values[1000:1576] = np.nan
    elif trouble == "shift":
        values[2000:] *= 5
    elif trouble == "zeros":
        values[np.random.default_rng(0).random(len(values)) < 0.43] = 0.0
    else:
        values[500:512] = values[512:524]
    trained = train_candidates(replace(series, values=values), replace(QUICK, lstm=None))
    assert trained.choice is not None
    result = look_at_test(trained).results[trained.choice.name]
    assert np.isfinite(result.mae)
    assert trained.quality.metric == ("mae" if trouble == "zeros" else "wape")


@pytest.mark.parametrize(
    "name", ["now_scaled", "yesterday", "seasonal_day", "week_median", "median", "lightgbm", "lstm", "blend"]
)
def test_a_saved_candidate_answers_one_request_as_it_did_in_bulk(trained: Trained, name: str, tmp_path: Path) -> None:
    candidate = trained.candidates[name]
    candidate.save(tmp_path)
    loaded = Candidate.load(tmp_path)
    series = trained.series
    windows = windows_of(series, candidate.floor).take(slice(-1, None))
    p50, p90 = candidate.forecast(windows)
    values, times = request_at(series, int(windows.origins[0]))
    alone = loaded.predict(values, times)
    np.testing.assert_allclose(alone[0], p50[0], rtol=1e-6)
    np.testing.assert_allclose(alone[1], p90[0], rtol=1e-6)
    assert (alone[1] >= alone[0]).all()
    assert isinstance(loaded.model, type(candidate.model))


def test_history_takes_the_place_of_what_was_saved(trained: Trained) -> None:
    yesterday = replace(trained.candidates["now"], model=Naive(DAY, scaled=False))
    values, times = request_at(trained.series, len(trained.series) - 1)
    double = TrafficSeries("live", trained.series.start, 5, trained.series.values * 2)
    np.testing.assert_allclose(yesterday.predict(values, times, double)[0], 2 * yesterday.predict(values, times)[0])


def test_without_any_history_the_level_is_the_forecast(trained: Trained) -> None:
    yesterday = replace(trained.candidates["now"], model=Naive(DAY, scaled=True, minutes=15))
    values, times = request_at(trained.series, len(trained.series) - 1)
    later = [time + timedelta(days=90) for time in times]
    np.testing.assert_allclose(yesterday.predict(values, later)[0], np.full(3, values[-3:].mean()))
    for candidate in trained.candidates.values():
        assert np.isfinite(candidate.predict(values, later)).all()


def test_a_wrong_request_is_refused(trained: Trained) -> None:
    values, times = request_at(trained.series, 500)
    with pytest.raises(CandidateError, match="12 values and timestamps are needed"):
        trained.chosen.predict(values[1:], times[1:])
    with pytest.raises(CandidateError, match="at least zero"):
        trained.chosen.predict(-values, times)


def test_a_damaged_file_is_refused(trained: Trained, tmp_path: Path) -> None:
    trained.candidates["lstm"].save(tmp_path)
    (tmp_path / "lstm.onnx").write_bytes(b"damaged")
    with pytest.raises(CandidateError, match="train again"):
        Candidate.load(tmp_path)


def test_p90_covers_nine_of_ten_and_is_never_below_the_forecast() -> None:
    truth = np.arange(1.0, 1001.0)[:, None] / 10
    p50 = np.full_like(truth, 50.0)
    above = p90_above(p50, truth, 1.0)
    assert above == pytest.approx([0.802])
    assert with_p90(p50[:1], above, 1.0) == pytest.approx(90.1)
    assert with_p90(np.array([[10.0]]), np.array([-0.5]), 1.0) == 10.0
    assert list(p90_above(p50, np.full_like(truth, np.nan), 1.0)) == [0.0]


def test_blend_weights_find_what_the_truth_was_made_of() -> None:
    random = np.random.default_rng(0)
    columns = random.uniform(50, 150, (500, 3))
    truth = columns @ np.array([0.7, 0.3, 0.0])
    truth[::50] = 5000.0  # bursts that squared errors would follow
    np.testing.assert_allclose(l1_weights(columns, truth), [0.7, 0.3, 0.0], atol=0.01)


def test_small_weights_are_left_out() -> None:
    assert mixed({"a": 0.98, "b": 0.02}, "lstm", 0.5) == pytest.approx({"a": 0.49 / 0.99, "lstm": 0.5 / 0.99})


def test_a_blend_fits_its_weights() -> None:
    windows = windows_of(daily(), 1.0).between(600, 2000)
    blend = Blend([Naive(0, scaled=False), Naive(DAY, scaled=False)])
    blend.fit(windows, windows)
    assert blend.weights[1] > blend.weights[0]


def test_trees_of_one_step_ahead_alone(tmp_path: Path) -> None:
    trees = Trees(TREES)
    windows = windows_of(daily(), 1.0).between(600, 2000)
    trees.fit(windows, windows)
    trees.save(tmp_path)
    assert len(list(tmp_path.glob("*.txt"))) == 4
    np.testing.assert_allclose(trees.predict_last(windows), trees.predict(windows)[:, -1])
    np.testing.assert_allclose(Trees.load(tmp_path).predict(windows), trees.predict(windows), rtol=1e-6)


def test_the_benchmark_prints_one_line_a_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "TrainingSettings", lambda: replace(QUICK, lstm=None))
    series = daily(days=6)
    times = [series.at(index).isoformat() for index in range(len(series))]
    pd.DataFrame({"timestamp": times, "qps": series.values}).to_csv(tmp_path / "a.csv.gz", index=False)
    pd.DataFrame({"timestamp": times[:50], "qps": series.values[:50]}).to_csv(tmp_path / "b.csv", index=False)
    (tmp_path / "c.csv").write_text("nothing,here\n1,2\n")
    (tmp_path / "LICENSE.txt").write_text("no trace")
    cards = tmp_path / "cards"
    assert benchmark.main([str(tmp_path), "--json", "--profile", "none", "--cards", str(cards)]) == 0
    assert [path.name for path in cards.iterdir()] == ["a.html"]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["trace"] for line in lines] == ["a", "b", "c"]
    assert all(set(benchmark.FIELDS) <= set(line) for line in lines)
    assert lines[0]["wape15"] > 0
    assert lines[0]["refused"] is None
    assert lines[0]["lstm_wape15"] is None
    assert lines[1]["refused"].startswith("too short")
    assert "needs the columns" in lines[2]["refused"]


def test_an_empty_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main([str(tmp_path)]) == 1
    assert "has no .csv" in capsys.readouterr().err
