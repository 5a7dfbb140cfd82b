"""The HTTP side: ``POST /predict``, ``/health``, ``/live``, ``/metrics``."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from pydantic_core import to_json

from include.forecast.candidates.candidate import CandidateError
from include.forecast.replicas import MAX_SPREAD, ReplicaRule, recommend, unsure
from include.forecast.server import metrics
from include.forecast.server.champions import Champions, ServedChampion
from include.forecast.server.forecaster import Forecaster
from include.forecast.server.request import Hour, RefusedError, last_minute, problem, read_hour

FIRST_LOOK_SECONDS = 60.0  # a storage that hangs must not keep the history from being read
MOST_BYTES = 65_536  # 60 values with timestamps take 4,000
PATHS = ("/predict", "/health", "/live", "/metrics")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedRegion:
    """What is served for one region; without ``forecaster`` nothing is read from Prometheus."""

    champions: Champions
    forecaster: Forecaster | None = None


@dataclass(frozen=True)
class Service:
    """Everything behind the routes. Intervals in seconds."""

    regions: Mapping[str, ServedRegion]
    rule: ReplicaRule
    clock: Callable[[], float] = time.time
    poll_seconds: float = 10.0
    forecast_seconds: float = 15.0
    max_spread: float = MAX_SPREAD
    requests: metrics.RequestCounts = field(default_factory=metrics.RequestCounts)

    def predict(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and answer of ``POST /predict``."""
        try:
            hour = read_hour(body, tuple(self.regions))
        except RefusedError as error:
            return 422, {"detail": error.problems}
        region = self.regions[hour.region]
        served = region.champions.served
        if served is None:
            return 503, {"detail": f"{hour.region}: no champion: {region.champions.problem}: run forecast_retrain"}
        try:
            return 200, self._answer(hour, served, region.forecaster)
        except CandidateError as error:
            return 503, {"detail": f"{hour.region}: {error}"}

    def _answer(self, hour: Hour, served: ServedChampion, live: Forecaster | None) -> dict[str, Any]:
        now = datetime.fromtimestamp(self.clock(), UTC)
        history = live.history if live else None
        arrays = served.fast.predict(np.array(hour.values), last_minute(hour, now), history)
        p50, p90 = arrays[0].tolist(), arrays[1].tolist()
        doubt = unsure(p50, p90, self.max_spread)
        advice = recommend(p50, self.rule, hour.current_replicas, doubt)
        return {
            "region": hour.region,
            "predicted_qps": p50,
            "p90_qps": p90,
            "max": max(p50),
            "recommended_replicas": advice.replicas,
            "reason": advice.reason,
            "confident": not doubt,
            "doubt": doubt,
            "model_version": served.version,
            "model": served.manifest.model,
            "generated_at": iso(now.timestamp()),
        }

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and answer of ``/health``: 200 when every region has a champion."""
        regions = {name: self._health_of(region) for name, region in self.regions.items()}
        ready = all(region.champions.served for region in self.regions.values())
        return 200 if ready else 503, {"status": "ok" if ready else "no champion", "regions": regions}

    def _health_of(self, region: ServedRegion) -> dict[str, Any]:
        now, served, live = self.clock(), region.champions.served, region.forecaster
        answer: dict[str, Any] = {"version": None, "problem": region.champions.problem}
        if served:
            answer |= {
                "version": served.version,
                "model": served.manifest.model,
                "data_until": served.manifest.created,
                "data_age_hours": age_hours(served.manifest.created, now),
                "loaded_seconds_ago": round(now - served.loaded_at, 1),
            }
        if live:
            forecast = live.current()
            answer["forecast"] = (
                {"seen_until": iso(forecast.seen_until), "confident": not forecast.doubt, "doubt": forecast.doubt}
                if forecast
                else None
            )
            answer["forecast_problem"] = live.reason if forecast else live.why_none()
        return answer

    def metrics(self) -> str:
        """The text of ``/metrics``."""
        forecasts = {
            name: region.forecaster.current() if region.forecaster else None for name, region in self.regions.items()
        }
        champions = {name: region.champions.served for name, region in self.regions.items()}
        return metrics.exposition(forecasts, champions, self.requests)

    def loops(self) -> list[tuple[Callable[[], None], float]]:
        """What runs beside the requests, with its interval: each in a thread of its own."""
        polls = [(region.champions.refresh, self.poll_seconds) for region in self.regions.values()]
        ticks = [
            (functools.partial(first_look, region.champions, region.forecaster), self.forecast_seconds)
            for region in self.regions.values()
            if region.forecaster
        ]
        return polls + ticks


def first_look(champions: Champions, live: Forecaster) -> None:
    """A forecast, once the champion has been looked for: the very first would come without one, and the next late."""
    champions.looked.wait(FIRST_LOOK_SECONDS)
    live.tick()


def iso(seconds: float) -> str:
    """Unix seconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age_hours(moment: str, now: float) -> float | None:
    """Hours since an ISO time of a manifest; None when it has none."""
    try:
        return round((now - datetime.fromisoformat(moment).timestamp()) / 3600, 2)
    except ValueError:
        return None


def create_app(service: Service, background: bool = True) -> FastAPI:
    """The application; ``background`` False leaves the loops to the caller."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        for work, seconds in service.loops() if background else []:
            # Daemons: a Prometheus that hangs must not hold up the end of the process.
            threading.Thread(target=repeat, args=(work, seconds, stop), daemon=True).start()
        yield
        stop.set()

    app = FastAPI(title="AkiDB traffic forecast", version="1", lifespan=lifespan)
    add_routes(app, service)
    app.add_middleware(Measured, requests=service.requests)
    return app


def add_routes(app: FastAPI, service: Service) -> None:
    """The four paths. Forecasts are made in the event loop: one takes about a millisecond, a thread costs more."""
    schema = {"requestBody": {"required": True, "content": {"application/json": {"schema": Hour.model_json_schema()}}}}

    @app.post("/predict", openapi_extra=schema)
    async def predict(request: Request) -> Response:
        body = await read_body(request)
        if body is None:
            return answer(413, {"detail": [problem("body", "too large", f"send at most {MOST_BYTES} bytes")]})
        return answer(*service.predict(body))

    @app.get("/health")
    async def health() -> Response:
        return answer(*service.health())

    @app.post("/live", include_in_schema=False)
    @app.get("/live")
    async def live() -> Response:
        return Response("alive", media_type="text/plain")

    @app.get("/metrics")
    async def show_metrics() -> Response:
        return Response(service.metrics(), media_type=metrics.CONTENT_TYPE)


async def read_body(request: Request) -> bytes | None:
    """The body; None when it is larger than MOST_BYTES."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


def answer(status: int, content: dict[str, Any]) -> Response:
    """JSON with a status."""
    return Response(to_json(content), status, media_type="application/json")


def repeat(work: Callable[[], None], seconds: float, stop: threading.Event) -> None:
    """``work`` every ``seconds`` until ``stop`` is set; it handles its own errors."""
    while not stop.is_set():
        begun = time.monotonic()
        work()
        stop.wait(max(0.0, seconds - (time.monotonic() - begun)))


class Measured:
    """ASGI middleware that counts answers and their time."""

    def __init__(self, app: Any, requests: metrics.RequestCounts) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass on, and count when the answer is over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def sent(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            # Any other path is one series: a scanner must not make thousands.
            path = scope["path"] if scope["path"] in PATHS else "other"
            self._requests.add(path, status, time.perf_counter() - begun)
