"""What the tests of the forecast server share: candidates, a registry, and a Prometheus of numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from include.clients.prometheus import PrometheusError
from include.clients.prometheus import Series as PromSeries
from include.estate import load_estate
from include.forecast.candidates.baselines import Naive
from include.forecast.candidates.blend import Model
from include.forecast.candidates.candidate import Candidate
from include.forecast.registry import Action, ChampionDecision, Registry
from include.forecast.replicas import ReplicaRule
from include.forecast.server import app, compile_models, forecaster
from include.forecast.server.champions import Champions
from include.forecast.server.forecaster import Forecaster, ForecasterSettings
from include.forecast.traffic.features import DAY, floor_of
from include.forecast.traffic.series import TrafficSeries

REGION = "us-east-1"
NOW = datetime(2026, 11, 24, 9, 0, 20, tzinfo=UTC).timestamp()
AS_OF = "2026-11-24T00:00:00Z"
RULE = ReplicaRule(350, 0.8, 2, 20)
ESTATE = load_estate()
FLAT = [1000.0] * 60


def series(days: int = 9, gap: bool = False) -> TrafficSeries:
    minutes = np.arange(days * DAY)
    noise = 1 + 0.05 * np.random.default_rng(3).standard_normal(len(minutes))
    values = (1000 + 600 * np.sin(2 * np.pi * minutes / DAY)) * noise
    if gap:
        values[-3000:-2700] = np.nan
        values[-500:-497] = np.nan
    return TrafficSeries(REGION, datetime(2026, 11, 24, tzinfo=UTC) - timedelta(days=days), 1, values)


def candidate(model: Model, above: float = 0.2, data: TrafficSeries | None = None) -> Candidate:
    data = data or series()
    return Candidate(model, data.step, floor_of(data.values), "US", np.full(15 // data.step, above), data.last_days(8))


def now_scaled() -> Naive:
    return Naive(0, scaled=True, minutes=15)


def keep(registry: Registry, one: Candidate, folder: Path) -> str:
    one.save(folder)
    return registry.add(folder, model=one.name, window={"last": AS_OF}, metrics={}, code_version="1")


def crown(registry: Registry, version: str) -> None:
    pointer = registry.pointer()
    registry.move(pointer, ChampionDecision(Action.PROMOTED, version, pointer.version, "better", AS_OF))


def followed(registry: Registry, clock: Callable[[], float] = lambda: NOW) -> Champions:
    champions = Champions(registry, compile_models.compile_version, clock)
    champions.refresh()
    return champions


def service(champions: Champions, one: Forecaster | None = None) -> app.Service:
    return app.Service({REGION: app.ServedRegion(champions, one)}, RULE, clock=lambda: NOW)


def body(**fields: Any) -> bytes:
    return json.dumps({"region": REGION, "values": FLAT} | fields).encode()


def with_value(place: int, value: str) -> bytes:
    values = ["1000"] * 60
    values[place] = value
    return f'{{"region": "{REGION}", "values": [{", ".join(values)}]}}'.encode()


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
