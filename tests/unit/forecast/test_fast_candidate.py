"""The fast way of the server gives what the candidate gives, or the version is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from include.forecast.candidates.baselines import Naive, Seasonal, WeekMedian
from include.forecast.candidates.blend import Blend, Model
from include.forecast.candidates.candidate import CandidateError
from include.forecast.candidates.lstm import Lstm
from include.forecast.candidates.trees import Trees
from include.forecast.server import compile_models, fast_candidate
from include.forecast.traffic.features import DAY, WEEK
from include.forecast.traffic.series import TrafficSeries
from tests.unit.forecast.serving_world import REGION, candidate, now_scaled, series


def network() -> Lstm:
    """A network with one weight that matters, written by hand: no training, and no Keras."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Slice", ["window", "starts", "ends", "axes"], ["last"]),
        helper.make_node("Reshape", ["last", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["forecast"]),
    ]
    tensors = {
        "starts": np.array([59, 0]),
        "ends": np.array([60, 5]),
        "axes": np.array([1, 2]),
        "shape": np.array([-1, 5]),
        "weights": np.random.default_rng(1).normal(size=(5, 15)).astype(np.float32) * 0.1,
    }
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["n", 60, 5])],
        [helper.make_tensor_value_info("forecast", TensorProto.FLOAT, ["n", 15])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return Lstm(base=Seasonal(DAY), onnx=made.SerializeToString())


def models(trees: Trees) -> dict[str, Model]:
    return {
        "trees": trees,
        "network": network(),
        "blend": Blend([WeekMedian(15, 7), trees, network()], [0.3, 0.4, 0.3]),
        "now": Naive(0, scaled=False),
        "last week": Naive(WEEK, scaled=True, minutes=60),
        "seasonal": Seasonal(DAY, 5, 30),
        "week median": WeekMedian(60, 15),
    }


@pytest.mark.parametrize("name", ["trees", "network", "blend", "now", "last week", "seasonal", "week median"])
def test_one_request_gets_what_the_candidate_gives(name: str, trees: Trees, tmp_path: Path) -> None:
    one = candidate(models(trees)[name], data=series(gap=True))
    one.save(tmp_path)
    compile_models.compile_version(tmp_path)
    served = fast_candidate.load_fast(tmp_path)
    assert "lightgbm" not in repr(served.per_minute)
    history = TrafficSeries(REGION, one.tail.start + timedelta(days=7), 1, series().values[-2 * DAY :] * 1.1)
    for days, known in ((0.0, None), (0.3, None), (1.0, history), (9.0, history), (30.0, None)):
        end = one.tail.at(len(one.tail) - 1) + timedelta(days=days)
        window = 900 + 200 * np.random.default_rng(int(days)).random(60)
        times = [end - timedelta(minutes=59 - minute) for minute in range(60)]
        wanted, found = one.predict(window, times, known), served.predict(window, end, known)
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5)
        np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5)


def test_missing_values_take_the_way_that_lightgbm_takes() -> None:
    split = {"decision_type": "<=", "missing_type": "None", "default_left": False, "threshold": 0.5}
    assert compile_models._missing_goes_left(split)
    assert not compile_models._missing_goes_left(split | {"threshold": -0.5})
    assert not compile_models._missing_goes_left(split | {"missing_type": "NaN"})
    assert compile_models._missing_goes_left(split | {"missing_type": "NaN", "default_left": True})
    with pytest.raises(CandidateError, match=r"a split by == \(None\) can't be served"):
        compile_models._missing_goes_left(split | {"decision_type": "=="})


def test_a_version_that_gives_something_else_than_in_training_is_refused(tmp_path: Path) -> None:
    candidate(now_scaled()).save(tmp_path)
    compile_models.compile_version(tmp_path)
    about = json.loads((tmp_path / "candidate.json").read_text())
    about["model"]["settings"]["minutes"] = 5
    (tmp_path / "candidate.json").write_text(json.dumps(about))
    with pytest.raises(CandidateError, match="served, it does not give what it gave in training: train again"):
        fast_candidate.load_fast(tmp_path)


def test_a_model_of_another_step_is_refused(tmp_path: Path) -> None:
    five = series()
    five = TrafficSeries(REGION, five.start, 5, five.values[::5])
    candidate(now_scaled(), data=five).save(tmp_path)
    with pytest.raises(CandidateError, match="it forecasts every 5 minutes, the server every minute"):
        compile_models.compile_version(tmp_path)


def test_preparing_runs_in_a_process_of_its_own_and_says_what_is_wrong(tmp_path: Path, trees: Trees) -> None:
    candidate(trees).save(tmp_path)
    compile_models.compile_apart(tmp_path)
    assert {path.name for path in tmp_path.glob("*.onnx")} == {fast_candidate.TREES}
    (tmp_path / "tail.npy").write_bytes(b"nothing")
    with pytest.raises(CandidateError, match=r"holds no usable candidate .*: train again"):
        compile_models.compile_apart(tmp_path)
