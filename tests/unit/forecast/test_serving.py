"""The forecast server: what it answers, refuses and shows, and how it follows the champion."""

from __future__ import annotations

import json
import logging
import math
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvicorn

from include.clients.prometheus import PrometheusError
from include.clients.prometheus import Series as PromSeries
from include.clients.storage import Folder
from include.estate import load_estate
from include.forecast.candidates.baselines import Naive, Seasonal, WeekMedian
from include.forecast.candidates.blend import Blend, Model
from include.forecast.candidates.candidate import Candidate, CandidateError
from include.forecast.candidates.lstm import Lstm
from include.forecast.candidates.trees import Trees, TreeSettings
from include.forecast.registry import Action, Decision, Registry
from include.forecast.replicas import ReplicaRule
from include.forecast.server import __main__ as serving
from include.forecast.server import app, compile_models, fast_candidate, forecaster, request
from include.forecast.server.champions import RETRY_SECONDS, Champions
from include.forecast.server.forecaster import Forecaster, ForecasterSettings, Timeline
from include.forecast.server.metrics import BUCKETS, Requests, labels
from include.forecast.traffic.features import DAY, WEEK, floor_of, windows_of
from include.forecast.traffic.series import Series

REGION = "us-east-1"
NOW = datetime(2026, 11, 24, 9, 0, 20, tzinfo=UTC).timestamp()
AS_OF = "2026-11-24T00:00:00Z"
RULE = ReplicaRule(350, 0.8, 2, 20)
ESTATE = load_estate()
FLAT = [1000.0] * 60


def series(days: int = 9, gap: bool = False) -> Series:
    minutes = np.arange(days * DAY)
    noise = 1 + 0.05 * np.random.default_rng(3).standard_normal(len(minutes))
    values = (1000 + 600 * np.sin(2 * np.pi * minutes / DAY)) * noise
    if gap:
        values[-3000:-2700] = np.nan
        values[-500:-497] = np.nan
    return Series(REGION, datetime(2026, 11, 24, tzinfo=UTC) - timedelta(days=days), 1, values)


def candidate(model: Model, above: float = 0.2, data: Series | None = None) -> Candidate:
    data = data or series()
    return Candidate(model, data.step, floor_of(data.values), "US", np.full(15 // data.step, above), data.last_days(8))


def now_scaled() -> Naive:
    return Naive(0, scaled=True, minutes=15)


@pytest.fixture(scope="module")
def trees() -> Trees:
    data = series(gap=True)
    windows = windows_of(data, floor_of(data.values), "US")
    some = windows.take(np.arange(0, len(windows), 20))
    made = Trees(TreeSettings(rounds=12, min_leaf=10))
    made.fit(some, some)
    return made


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Folder(tmp_path / "models"), REGION)


def keep(registry: Registry, one: Candidate, folder: Path) -> str:
    one.save(folder)
    return registry.add(folder, model=one.name, window={"last": AS_OF}, metrics={}, code_version="1")


def crown(registry: Registry, version: str) -> None:
    pointer = registry.pointer()
    registry.move(pointer, Decision(Action.PROMOTED, version, pointer.version, "better", AS_OF))


def followed(registry: Registry, clock: Callable[[], float] = lambda: NOW) -> Champions:
    champions = Champions(registry, compile_models.prepare, clock)
    champions.refresh()
    return champions


@pytest.fixture
def champions(registry: Registry, tmp_path: Path) -> Champions:
    crown(registry, keep(registry, candidate(now_scaled()), tmp_path / "first"))
    return followed(registry)


def service(champions: Champions, one: Forecaster | None = None) -> app.Service:
    return app.Service({REGION: app.Region(champions, one)}, RULE, clock=lambda: NOW)


def body(**fields: Any) -> bytes:
    return json.dumps({"region": REGION, "values": FLAT} | fields).encode()


# --- POST /predict ----------------------------------------------------------------------------------------------------


def test_an_hour_gets_fifteen_minutes_with_replicas_and_the_version(champions: Champions) -> None:
    status, answer = service(champions).predict(body(values=[1000.0] * 45 + [2800.0] * 15))
    assert status == 200
    assert champions.served is not None
    assert {key: value for key, value in answer.items() if not key.endswith("_qps")} == {
        "region": REGION,
        "max": 2800.0,
        "recommended_replicas": 10,
        "reason": "the need of 2800 QPS; not compared with what runs",
        "confident": True,
        "doubt": "",
        "model_version": champions.served.version,
        "model": "now_scaled",
        "generated_at": "2026-11-24T09:00:20.000Z",
    }
    assert answer["predicted_qps"] == [2800.0] * 15
    assert answer["p90_qps"] == pytest.approx([3360.0] * 15)


def test_what_runs_now_limits_the_recommendation(champions: Champions) -> None:
    answer = service(champions).predict(body(values=[2800] * 60, current_replicas=4))[1]
    assert answer["recommended_replicas"] == 8


def test_an_unsure_forecast_says_so_and_asks_for_nothing(registry: Registry, tmp_path: Path) -> None:
    crown(registry, keep(registry, candidate(now_scaled(), above=0.51), tmp_path / "unsure"))
    answer = service(followed(registry)).predict(body(values=[2800.0] * 60, current_replicas=4))[1]
    assert (answer["confident"], answer["recommended_replicas"]) == (False, 4)
    assert answer["doubt"] == "P90 lies 51% above P50 1 minutes ahead, at most 50% is sure"


def test_timestamps_say_where_the_hour_lies(registry: Registry, tmp_path: Path) -> None:
    data = series()
    crown(registry, keep(registry, candidate(Naive(DAY, scaled=False)), tmp_path / "yesterday"))
    end = data.start + timedelta(days=8, hours=12)
    times = [(end + timedelta(minutes=minute - 59)).isoformat() for minute in range(60)]
    answer = service(followed(registry)).predict(body(timestamps=times))[1]
    first = 7 * DAY + 12 * 60 + 1
    assert answer["predicted_qps"] == pytest.approx(data.values[first : first + 15].tolist())


def test_an_hour_ends_with_the_last_whole_minute_unless_timestamps_say_otherwise() -> None:
    now = datetime(2026, 11, 24, 9, 0, 20, tzinfo=UTC)
    assert request.last_minute(request.read_hour(body(), (REGION,)), now) == datetime(2026, 11, 24, 8, 59, tzinfo=UTC)
    times = [f"2026-11-24T10:{minute:02}:00+02:00" for minute in range(60)]
    hour = request.read_hour(body(timestamps=times), (REGION,))
    assert request.last_minute(hour, now) == datetime(2026, 11, 24, 8, 59, tzinfo=UTC)


def with_value(place: int, value: str) -> bytes:
    values = ["1000"] * 60
    values[place] = value
    return f'{{"region": "{REGION}", "values": [{", ".join(values)}]}}'.encode()


NUMBER = "use a number of at least 0 and at most 1e12; what was not observed can't be sent"
TIMES = [f"2026-11-24T08:{minute:02}:00Z" for minute in range(60)]


@pytest.mark.parametrize(
    ("sent", "field", "value", "remedy"),
    [
        (body(values=FLAT[1:]), "values", "59 values", "send exactly 60 values, one a minute"),
        (body(values=FLAT * 2), "values", "120 values", "send exactly 60 values, one a minute"),
        (body(values=[]), "values", "0 values", "send exactly 60 values, one a minute"),
        (with_value(3, "NaN"), "values[3]", "nan", NUMBER),
        (with_value(3, "Infinity"), "values[3]", "inf", NUMBER),
        (with_value(3, "1e999"), "values[3]", "inf", NUMBER),
        (with_value(59, "-0.1"), "values[59]", "-0.1", NUMBER),
        (with_value(0, "1e13"), "values[0]", "10000000000000.0", NUMBER),
        (with_value(0, '"12"'), "values[0]", "12", NUMBER),
        (with_value(0, "true"), "values[0]", "True", NUMBER),
        (with_value(0, "null"), "values[0]", "None", NUMBER),
        (with_value(0, "[1]"), "values[0]", "[1]", NUMBER),
        (body(region="mars"), "region", "mars", "use one that is served: us-east-1"),
        (body(region=7), "region", "7", "input should be a valid string"),
        (body(current_replicas=-1), "current_replicas", "-1", "input should be greater than or equal to 0"),
        (
            body(qps=1),
            "qps",
            "1",
            "remove it: region, values, timestamps, current_replicas are known",
        ),
        (b'{"region": "us-east-1"}', "values", "nothing", "add it"),
        (b"[]", "body", "[]", "input should be an object"),
        (b"", "body", "EOF while parsing a value at line 1 column 0", "send a JSON object with region and values"),
        (body(timestamps=TIMES[1:]), "timestamps", "59 timestamps", "send 60, or leave them out"),
        (
            body(timestamps=["yesterday", *TIMES[1:]]),
            "timestamps[0]",
            "yesterday",
            "use an ISO 8601 text such as 2026-11-24T09:00:00Z",
        ),
        (
            body(timestamps=[1764000000, *TIMES[1:]]),
            "timestamps[0]",
            "1764000000",
            "use an ISO 8601 text such as 2026-11-24T09:00:00Z",
        ),
        (
            body(timestamps=[*TIMES[:5], TIMES[4], *TIMES[6:]]),
            "timestamps[5]",
            "2026-11-24T08:04:00+00:00",
            "use the minute after timestamps[4] (2026-11-24T08:04:00+00:00)",
        ),
        (
            body(timestamps=TIMES[::-1]),
            "timestamps[1]",
            "2026-11-24T08:58:00+00:00",
            "use the minute after timestamps[0] (2026-11-24T08:59:00+00:00)",
        ),
        (
            body(timestamps=["1999-12-31T23:59:00", *TIMES[1:]]),
            "timestamps[0]",
            "1999-12-31T23:59:00",
            "use a time between the years 2000 and 2100",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_field_value_and_remedy(
    champions: Champions, sent: bytes, field: str, value: str, remedy: str
) -> None:
    status, answer = service(champions).predict(sent)
    assert (status, answer["detail"][0]) == (422, {"field": field, "value": value, "remedy": remedy})


def test_no_more_problems_are_shown_than_can_be_read(champions: Champions) -> None:
    status, answer = service(champions).predict(body(values=[-1.0] * 60))
    assert (status, len(answer["detail"])) == (422, 10)
    long = service(champions).predict(body(region="x" * 1000))[1]["detail"][0]["value"]
    assert (len(long), long[-5:]) == (80, "xx...")


def test_without_a_champion_the_answer_is_503_and_says_so(registry: Registry) -> None:
    status, answer = service(followed(registry)).predict(body())
    assert status == 503
    assert answer["detail"] == (
        "us-east-1: no champion: models/us-east-1/champion.json does not exist: run forecast_retrain"
    )


# --- The fast way gives what the candidate gives ---------------------------------------------------------------------


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
    compile_models.prepare(tmp_path)
    served = fast_candidate.load_fast(tmp_path)
    assert "lightgbm" not in repr(served.per_minute)
    history = Series(REGION, one.tail.start + timedelta(days=7), 1, series().values[-2 * DAY :] * 1.1)
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
    compile_models.prepare(tmp_path)
    about = json.loads((tmp_path / "candidate.json").read_text())
    about["model"]["settings"]["minutes"] = 5
    (tmp_path / "candidate.json").write_text(json.dumps(about))
    with pytest.raises(CandidateError, match="served, it does not give what it gave in training: train again"):
        fast_candidate.load_fast(tmp_path)


def test_a_model_of_another_step_is_refused(tmp_path: Path) -> None:
    five = series()
    five = Series(REGION, five.start, 5, five.values[::5])
    candidate(now_scaled(), data=five).save(tmp_path)
    with pytest.raises(CandidateError, match="it forecasts every 5 minutes, the server every minute"):
        compile_models.prepare(tmp_path)


def test_preparing_runs_in_a_process_of_its_own_and_says_what_is_wrong(tmp_path: Path, trees: Trees) -> None:
    candidate(trees).save(tmp_path)
    compile_models.prepare_apart(tmp_path)
    assert {path.name for path in tmp_path.glob("*.onnx")} == {fast_candidate.TREES}
    (tmp_path / "tail.npy").write_bytes(b"nothing")
    with pytest.raises(CandidateError, match=r"holds no usable candidate .*: train again"):
        compile_models.prepare_apart(tmp_path)


# --- Following the champion -------------------------------------------------------------------------------------------


def test_a_new_champion_is_picked_up(registry: Registry, champions: Champions, tmp_path: Path) -> None:
    assert champions.served is not None
    before = champions.served
    champions.refresh()
    assert champions.served is before
    second = keep(registry, candidate(Naive(0, scaled=False)), tmp_path / "second")
    crown(registry, second)
    champions.refresh()
    assert (champions.served.version, champions.problem) == (second, "")


def damage(registry: Registry, tmp_path: Path, version: str, name: str = "tail.npy") -> None:
    (tmp_path / "models" / "models" / REGION / "versions" / version / name).write_bytes(b"damaged")


def test_a_corrupt_new_champion_is_refused_and_the_old_one_stays(
    registry: Registry, champions: Champions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert champions.served is not None
    first = champions.served.version
    second = keep(registry, candidate(Naive(0, scaled=False)), tmp_path / "second")
    crown(registry, second)
    damage(registry, tmp_path, second)
    with caplog.at_level(logging.WARNING):
        champions.refresh()
        champions.refresh()
    assert champions.served.version == first
    assert champions.problem == (
        f"champion {second} is refused: version {second} of us-east-1: tail.npy is not what its manifest says; "
        f"{first} goes on being served"
    )
    assert len(caplog.records) == 1
    status, answer = service(champions).health()
    assert (status, answer["regions"][REGION]["problem"]) == (200, champions.problem)


def test_at_the_start_a_corrupt_champion_gives_way_to_the_last_good_one(registry: Registry, tmp_path: Path) -> None:
    versions = [
        keep(registry, candidate(now_scaled(), above), tmp_path / f"made{number}")
        for number, above in enumerate((0.1, 0.2, 0.3))
    ]
    for version in versions:
        crown(registry, version)
    damage(registry, tmp_path, versions[2])
    (tmp_path / "models" / "models" / REGION / "versions" / versions[1] / "manifest.json").write_text("{}")
    champions = followed(registry)
    assert champions.served is not None
    assert champions.served.version == versions[0]
    assert champions.problem.endswith(f"; {versions[0]} is served, the last good champion")


def test_a_model_that_is_whole_but_of_no_use_is_refused_until_it_may_have_changed(
    registry: Registry, champions: Champions, tmp_path: Path
) -> None:
    tried: list[Path] = []
    now = [NOW]

    def refuse(folder: Path) -> None:
        tried.append(folder)
        raise CandidateError("LightGBM crashed")

    assert champions.served is not None
    first = champions.served.version
    second = keep(registry, candidate(Naive(0, scaled=False)), tmp_path / "second")
    crown(registry, second)
    careful = Champions(registry, refuse, lambda: now[0])
    careful.served = champions.served
    careful.refresh()
    careful.refresh()
    assert (len(tried), careful.served.version) == (1, first)
    assert careful.problem == f"champion {second} is refused: LightGBM crashed; {first} goes on being served"
    now[0] += RETRY_SECONDS
    careful.refresh()
    assert len(tried) == 2
    assert not tried[0].exists()


def test_a_registry_that_is_down_or_empty_leaves_the_champion_in_place(
    registry: Registry, champions: Champions, tmp_path: Path
) -> None:
    assert champions.served is not None
    version = champions.served.version
    pointer = tmp_path / "models" / "models" / REGION / "champion.json"
    pointer.unlink()
    champions.refresh()
    assert champions.problem == f"models/us-east-1/champion.json does not exist: {version} goes on being served"
    pointer.mkdir()
    champions.refresh()
    assert champions.problem.startswith("the registry can't be read (IsADirectoryError:")
    assert champions.served.version == version


def test_an_unreadable_pointer_at_the_start_is_bridged_by_the_history(
    registry: Registry, champions: Champions, tmp_path: Path
) -> None:
    assert champions.served is not None
    (tmp_path / "models" / "models" / REGION / "champion.json").write_text("{")
    fresh = followed(registry)
    assert fresh.served is not None
    assert fresh.served.version == champions.served.version
    assert "champion.json can't be read" in fresh.problem


# --- Live forecasts ---------------------------------------------------------------------------------------------------


class FakePrometheus:
    """QPS by start of real minute; ``asked`` are the ranges; a set ``error`` is raised."""

    def __init__(self, minutes: dict[int, float]) -> None:
        self.minutes = minutes
        self.asked: list[tuple[float, float, float]] = []
        self.error: PrometheusError | None = None
        self.oldest = 0.0

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[PromSeries]:
        if self.error or start < self.oldest:
            raise self.error or PrometheusError("too old")
        if expression.startswith("count("):
            return []
        self.asked.append((start, end, step))
        points = []
        at = start
        while at <= end:
            if round(at - step) in self.minutes:
                points.append((at, self.minutes[round(at - step)]))
            at += step
        return [PromSeries({}, tuple(points))]


def steady(until: float, days: float = 9, qps: float = 1000.0) -> dict[int, float]:
    last = int(until // 60)
    return {minute * 60: qps for minute in range(last - round(days * DAY), last)}


class World:
    """A region with a clock that the test moves."""

    def __init__(self, champions: Champions, settings: ForecasterSettings | None = None) -> None:
        self.now = NOW
        self.prometheus = FakePrometheus(steady(NOW))
        self.live = Forecaster(REGION, self.prometheus, ESTATE, champions, settings, lambda: self.now)  # type: ignore[arg-type]

    def tick(self, seconds: float = 0.0) -> forecaster.Forecast | None:
        self.now += seconds
        self.live.tick()
        return self.live.current()


@pytest.fixture
def world(champions: Champions) -> World:
    return World(champions)


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


# --- /health and /metrics ---------------------------------------------------------------------------------------------


def test_health_lists_version_age_and_forecast(world: World, champions: Champions) -> None:
    world.tick()
    assert champions.served is not None
    assert service(champions, world.live).health() == (
        200,
        {
            "status": "ok",
            "regions": {
                REGION: {
                    "version": champions.served.version,
                    "model": "now_scaled",
                    "problem": "",
                    "data_until": AS_OF,
                    "data_age_hours": 9.01,
                    "loaded_seconds_ago": 0.0,
                    "forecast": {"seen_until": "2026-11-24T09:00:00.000Z", "confident": True, "doubt": ""},
                    "forecast_problem": "",
                }
            },
        },
    )


def test_health_fails_while_one_region_has_no_champion(champions: Champions, registry: Registry) -> None:
    other = followed(Registry(registry._storage, "eu-central-1"))
    both = app.Service({REGION: app.Region(champions), "eu-central-1": app.Region(other)}, RULE, clock=lambda: NOW)
    status, answer = both.health()
    assert (status, answer["status"]) == (503, "no champion")
    assert answer["regions"]["eu-central-1"] == {
        "version": None,
        "problem": "models/eu-central-1/champion.json does not exist",
    }


def test_metrics_have_every_minute_and_quantile_and_vanish_with_the_input(world: World, champions: Champions) -> None:
    world.tick()
    assert champions.served is not None
    shown = service(champions, world.live)
    text = shown.metrics()
    found = re.findall(r'akidb_forecast_qps\{region="us-east-1",horizon="(\d+)",quantile="([\d.]+)"\} (\S+)', text)
    assert found == [(str(m), q, v) for q, v in (("0.5", "1000.0"), ("0.9", "1200.0")) for m in range(1, 16)]
    lines = text.splitlines()
    assert f'akidb_forecast_generated_timestamp_seconds{{region="us-east-1"}} {NOW - 20!r}' in lines
    assert 'akidb_forecast_confident{region="us-east-1"} 1' in lines
    info = f'akidb_forecast_model_info{{region="us-east-1",version="{champions.served.version}",model="now_scaled"}} 1'
    assert info in lines
    world.now += 300
    gone = shown.metrics()
    assert not re.search(r"^akidb_forecast_(qps|generated_timestamp_seconds|confident)\{", gone, re.MULTILINE)
    assert info in gone.splitlines()


def test_the_model_of_a_forecast_is_the_one_that_made_it(
    world: World, registry: Registry, champions: Champions, tmp_path: Path
) -> None:
    made_by = world.tick()
    assert made_by is not None
    crown(registry, keep(registry, candidate(Naive(0, scaled=False)), tmp_path / "second"))
    champions.refresh()
    assert f'version="{made_by.version}",model="now_scaled"' in service(champions, world.live).metrics()


def test_requests_are_counted_with_their_time() -> None:
    requests = Requests()
    for seconds in (0.0004, 0.001, 0.7):
        requests.add("/predict", 200, seconds)
    requests.add("/predict", 422, 0.0001)
    lines = list(requests.lines())
    assert 'akidb_forecast_requests_total{path="/predict",code="200"} 3' in lines
    counts = [int(line.rsplit(" ", 1)[1]) for line in lines if "_bucket{" in line]
    assert counts == [2, 3, *[3] * (len(BUCKETS) - 2), 4]
    assert 'akidb_forecast_request_duration_seconds_count{path="/predict"} 4' in lines


def test_labels_are_escaped() -> None:
    assert labels(a='say "no" \\ never', b="two\nlines") == r'{a="say \"no\" \\ never",b="two lines"}'


# --- Over HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture
def address(champions: Champions) -> Iterator[str]:
    served = app.create_app(replace(service(champions), poll_seconds=0.05))
    server = uvicorn.Server(uvicorn.Config(served, log_config=None, access_log=False, timeout_keep_alive=75))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def call(url: str, data: bytes | None = None) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as answer:
            content = answer.read()
            return answer.status, json.loads(content) if "json" in answer.headers["Content-Type"] else content.decode()
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def ready(address: str) -> None:
    for _ in range(300):
        try:
            if call(f"{address}/health")[0] == 200:
                return
        except urllib.error.URLError:
            pass
        time.sleep(0.05)
    pytest.fail("the server is not up after 15 s")


def test_every_path_answers(address: str) -> None:
    ready(address)
    assert call(f"{address}/predict", body())[0] == 200
    assert call(f"{address}/predict", with_value(0, "NaN"))[0] == 422
    status, answer = call(f"{address}/predict", body(region="x" * 70_000))
    assert (status, answer["detail"][0]["remedy"]) == (413, "send at most 65536 bytes")
    assert call(f"{address}/live", b"") == (200, "alive")
    assert call(f"{address}/nothing")[0] == 404
    schema = call(f"{address}/openapi.json")[1]
    assert schema["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["required"] == [
        "region",
        "values",
    ]
    text = call(f"{address}/metrics")[1]
    assert 'akidb_forecast_requests_total{path="/predict",code="413"} 1' in text
    assert 'akidb_forecast_requests_total{path="other",code="404"} 1' in text


def test_a_change_of_champion_under_load_drops_nothing(address: str, registry: Registry, tmp_path: Path) -> None:
    ready(address)
    seen: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            status, answer = call(f"{address}/predict", body())
            seen.append((status, answer["model_version"]))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    second = keep(registry, candidate(Naive(0, scaled=False)), tmp_path / "second")
    crown(registry, second)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (not seen or seen[-1][1] != second):
        stop.wait(0.02)
    stop.set()
    for thread in threads:
        thread.join()
    assert {status for status, _ in seen} == {200}
    assert seen[-1][1] == second
    assert len({version for _, version in seen}) == 2


# --- The command ------------------------------------------------------------------------------------------------------


def built(*arguments: str, **environment: str) -> app.Service:
    given = ["--registry", "/tmp/models", "--regions", REGION, *arguments]
    return serving.service_from(serving.options(given), load_estate(), environment)


def test_the_command_line_says_what_is_served() -> None:
    plain = built()
    assert (list(plain.regions), plain.regions[REGION].live, len(plain.loops())) == ([REGION], None, 1)
    assert plain.rule == ReplicaRule(350, 0.8, 4, 40, 1.2, 2.0)
    full = built("--prometheus", "http://p:9090", "--min-replicas", "2", "--max-age", "90", "--minute-seconds", "5")
    assert (full.rule.minimum, full.rule.maximum, full.forecast_seconds, len(full.loops())) == (2, 40, 1.25, 2)
    shown = full.regions[REGION].live
    assert shown is not None
    assert shown._settings.max_age_seconds == 90


def test_credentials_come_from_the_environment() -> None:
    assert serving.credentials({}) is None
    given = {"PROMETHEUS_USERNAME": "reader", "PROMETHEUS_PASSWORD": "secret"}
    assert serving.credentials(given) == ("reader", "secret")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--regions", "mars"], "--regions 'mars': use regions of the estate: us-east-1, eu-central-1, ap-northeast-1"),
        (["--regions", ","], "--regions ',': use regions of the estate"),
        (["--min-replicas", "50"], "needs 1 <= minimum <= maximum replicas, not 50 and 40"),
        (["--begins", "7"], "--minute-seconds, --begins, --begins-as: needs minute_seconds above 0"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(serving.ServingError, match=re.escape(message)):
        built(*arguments)


def test_a_wrong_place_ends_the_command_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert serving.main(["--registry", "models", "--regions", REGION]) == 2
    assert "location 'models' can't be used" in capsys.readouterr().err


def test_the_server_imports_nothing_that_trains() -> None:
    import subprocess
    import sys

    code = (
        "import sys, include.forecast.server; "
        "heavy = {'keras', 'jax', 'tensorflow', 'lightgbm', 'pandas', 'airflow'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_ages_are_unknown_without_a_time() -> None:
    assert app.age_hours("", NOW) is None
    assert math.isclose(app.age_hours(AS_OF, NOW) or 0, 9.01)


def test_the_image_holds_the_versions_of_production() -> None:
    root = Path(__file__).parents[3]
    image, production = (
        dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", (root / name).read_text(), re.MULTILINE))
        for name in ("include/manifests/predictive_scaling/requirements-serving.txt", "requirements.txt")
    )
    assert {name: version for name, version in image.items() if production.get(name) != version} == {}
    assert not {"keras", "jax", "pandas", "apache-airflow"} & image.keys()


def test_the_first_forecast_waits_for_the_first_look_at_the_registry() -> None:
    order: list[str] = []
    looked = threading.Event()
    champions = SimpleNamespace(looked=looked)
    ticking = SimpleNamespace(tick=lambda: order.append("tick"))
    thread = threading.Thread(target=app.first_look, args=(champions, ticking))
    thread.start()
    order.append("champion")
    looked.set()
    thread.join(10)
    assert order == ["champion", "tick"]
