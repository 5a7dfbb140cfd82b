"""The network: deterministic, resumed after a kill, stopped in time, and the same in ONNX as in Keras."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from include.forecast.candidates.baselines import Naive, Seasonal
from include.forecast.candidates.lstm import (
    PROFILES,
    Examples,
    Lstm,
    LstmSettings,
    Progress,
    base_from,
    base_record,
    best_trust,
    kept_state,
    learning_rate,
    made_from,
    stop_reason,
    train_network,
)
from include.forecast.traffic.features import DAY, WEEK, Past, TrainingWindows, windows_of
from models.onnx_export import export_lstm, onnx_gates
from tests.unit.forecast.traffic_series import daily, ramp

SMALL = LstmSettings(units=(6, 4), batch=32, epochs=3, windows=100)


def examples(seed: int, count: int = 96) -> Examples:
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((count, 12, 5)).astype(np.float32)
    targets = (inputs[:, -3:, 0] * 0.5).astype(np.float32)
    return Examples(inputs, targets, np.ones(count, np.float32))


def test_the_seed_profile_is_that_of_the_plan() -> None:
    seed = PROFILES["seed"]
    assert (seed.units, seed.batch, seed.epochs, seed.patience, seed.schedule) == ((128, 64, 32), 32, 50, 5, "plateau")
    assert all(profile.wall_cap_seconds == 600 for profile in PROFILES.values())


def test_the_rate_is_halved_after_three_epochs_in_vain() -> None:
    settings = replace(PROFILES["seed"], learning_rate=0.008)
    losses = [1.0, 0.9, 0.95, 0.95, 0.95, 0.95, 0.95, 0.95, 0.5]
    assert [learning_rate(settings, losses[:count]) for count in (0, 4, 5, 7, 8, 9)] == [
        0.008,
        0.008,
        0.004,
        0.004,
        0.002,
        0.002,
    ]


def test_the_cosine_falls_from_the_rate_to_nearly_nothing() -> None:
    settings = replace(SMALL, epochs=2, learning_rate=0.01)
    assert learning_rate(settings, []) == 0.01
    assert learning_rate(settings, [1.0]) == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("progress", "reason"),
    [
        (Progress(), ""),
        (Progress(epoch=2, seconds=20, best_epoch=1), ""),
        (Progress(epoch=10, seconds=20, best_epoch=9), "epochs"),
        (Progress(epoch=7, seconds=20, best_epoch=1), "early stopping"),
        (Progress(epoch=6, seconds=20, best_epoch=1), ""),
        (Progress(epoch=5, seconds=550, best_epoch=4), "wall cap"),
        (Progress(epoch=5, seconds=500, best_epoch=4), ""),
    ],
)
def test_when_training_stops(progress: Progress, reason: str) -> None:
    assert stop_reason(LstmSettings(), progress) == reason


@pytest.fixture(scope="module")
def trained() -> tuple[object, Progress]:
    return train_network(examples(0), examples(1), SMALL)


def test_onnx_equals_keras(trained: tuple[object, Progress]) -> None:
    import onnxruntime

    model, _ = trained
    random = np.random.default_rng(3)
    model.set_weights([random.standard_normal(weight.shape) * 0.4 for weight in model.get_weights()])
    session = onnxruntime.InferenceSession(export_lstm(model), providers=["CPUExecutionProvider"])
    inputs = random.standard_normal((50, 12, 5)).astype(np.float32)
    found = session.run(None, {"window": inputs})[0]
    expected = np.asarray(model.predict(inputs, verbose=0))
    assert found.shape == (50, 3)
    assert np.abs(found - expected).max() < 1e-5
    assert np.abs(expected).max() > 0.1


def test_gates_are_put_in_the_order_of_onnx() -> None:
    kernel = np.array([[1, 2, 3, 4]], np.float32)
    np.testing.assert_array_equal(onnx_gates(kernel), [[1, 4, 2, 3]])


def test_the_best_weights_are_kept_and_a_killed_training_goes_on_as_if_nothing_was(
    tmp_path: Path, trained: tuple[object, Progress]
) -> None:
    whole, again = trained[1], tmp_path / "again"

    class KilledError(Exception):
        pass

    def clock() -> Iterator[float]:
        yield from (0, 1, 1)
        raise KilledError

    ticks = clock()
    with pytest.raises(KilledError):
        train_network(examples(0), examples(1), SMALL, again, lambda: next(ticks))
    state = json.loads((again / "state.json").read_text())
    assert state["progress"]["epoch"] == 1
    model, resumed = train_network(examples(0), examples(1), SMALL, again)
    assert resumed.losses == whole.losses
    assert resumed.stopped == "epochs"
    assert resumed.best == min(whole.losses)
    errors = np.abs(model.predict(examples(1).inputs, verbose=0) - examples(1).targets)
    assert float(errors.mean()) == pytest.approx(resumed.best, rel=1e-5)
    # Other data starts from nothing.
    assert kept_state(again, made_from(examples(0), SMALL)) is not None
    assert kept_state(again, made_from(examples(5), SMALL)) is None
    assert kept_state(again, made_from(examples(0), replace(SMALL, epochs=4))) is None


def test_inputs_are_relative_to_the_level_and_know_the_time() -> None:
    windows = TrainingWindows(Past(ramp(12000)), np.array([11000]), 1.0)
    inputs = Lstm(base=Naive(0, scaled=True, minutes=15)).inputs(windows)
    assert inputs.shape == (1, 60, 5)
    scale = 11000 - 7
    np.testing.assert_allclose(inputs[0, -1, 0], 11000 / scale - 1, rtol=1e-4)
    before = [(11015 - period) / (scale - period) - 1 for period in (DAY, WEEK)]
    np.testing.assert_allclose(inputs[0, -1, 1], np.mean(before), rtol=1e-3)
    np.testing.assert_allclose(inputs[0, -1, 2], np.sin(2 * np.pi * 11015 / DAY), atol=1e-5)
    assert inputs[0, -1, 4] == 0


def test_windows_across_gaps_are_not_learned_from() -> None:
    series = daily(days=3, step=1)
    values = series.values.copy()
    values[2000:2100] = np.nan
    windows = windows_of(replace(series, values=values), 1.0)
    found = Lstm().examples(windows, None)
    assert len(found.inputs) == len(windows) - 15 - 15
    assert np.isfinite(found.targets).all()
    assert len(Lstm().examples(windows, 100).inputs) == 100


def test_the_trust_in_the_correction_is_chosen_on_validation() -> None:
    windows = windows_of(daily(days=2), 1.0).between(0, 500)
    truth = windows.targets()
    assert best_trust(truth - 10, truth + 10, windows) == 0.5
    assert best_trust(truth, truth + 10, windows) == 0.0


def test_a_base_survives_json() -> None:
    for base in (Naive(DAY, scaled=True, minutes=5), Seasonal(WEEK, 30, 7)):
        assert base_from(json.loads(json.dumps(base_record(base)))) == base
