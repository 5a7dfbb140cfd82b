"""The forecast of one region from Prometheus: read the last hour, keep eight days, forecast, forget what is stale."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from include.clients.prometheus import PrometheusError
from include.forecast.candidates.candidate import CandidateError
from include.forecast.gauges import FRESH_SECONDS
from include.forecast.replicas import MAX_SPREAD, unsure
from include.forecast.server.champions import Champions
from include.forecast.traffic.export import SETTLE_SECONDS, observed
from include.forecast.traffic.features import HISTORY_DAYS, SHORT_GAP_MINUTES
from include.forecast.traffic.series import Array, TrafficSeries, fill_short_gaps

if TYPE_CHECKING:
    from include.clients.prometheus import Prometheus
    from include.estate import Estate

MINUTE, HOUR, DAY = 60, 60, 1440  # seconds, and minutes
MINUTES_KEPT = HISTORY_DAYS * DAY + HOUR
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timeline:
    """How the minutes that a model sees lie in real time. The default: they are real minutes.

    A world in which time passes faster has a minute of ``minute_seconds`` from ``begins`` (Unix seconds) on; there the
    model's clock shows ``begins_as``. Before it, minutes are real, moved by the difference of the two.
    """

    minute_seconds: float = 60.0
    begins: float = 0.0
    begins_as: float = 0.0

    def __post_init__(self) -> None:
        if self.minute_seconds <= 0 or self.begins % MINUTE or self.begins_as % MINUTE:
            raise ValueError(
                "needs minute_seconds above 0 and begins, begins_as on whole minutes, not "
                f"{self.minute_seconds}, {self.begins}, {self.begins_as}"
            )

    def model(self, real: float) -> float:
        """The model's clock at ``real`` Unix seconds."""
        pace = MINUTE / self.minute_seconds if real >= self.begins else 1.0
        return self.begins_as + (real - self.begins) * pace

    def real(self, model: float) -> float:
        """Unix seconds at which the model's clock shows ``model``."""
        pace = self.minute_seconds / MINUTE if model >= self.begins_as else 1.0
        return self.begins + (model - self.begins_as) * pace


@dataclass(frozen=True)
class ForecasterSettings:
    """When a minute is read and how long a forecast counts, in seconds; None: as befits the length of a minute.

    ``settle`` passes before a minute is read: scrapes come late. ``max_age`` is counted from the end of the last
    minute that a forecast has seen.
    """

    timeline: Timeline = field(default_factory=Timeline)
    settle: float | None = None
    max_age: float | None = None
    max_spread: float = MAX_SPREAD

    @property
    def settle_seconds(self) -> float:
        """A quarter of a minute by default."""
        return self.timeline.minute_seconds / 4 if self.settle is None else self.settle

    @property
    def max_age_seconds(self) -> float:
        """Three minutes by default, as long as forecast_watch counts a forecast as fresh."""
        return self.timeline.minute_seconds * FRESH_SECONDS / MINUTE if self.max_age is None else self.max_age


@dataclass(frozen=True)
class Forecast:
    """What was forecast. ``seen_until`` (Unix seconds) is the end of the last minute that it has seen."""

    p50: tuple[float, ...]
    p90: tuple[float, ...]
    seen_until: float
    version: str
    model: str
    doubt: str


class Forecaster:
    """One region. ``tick`` runs in one thread; ``current`` may be asked in any."""

    def __init__(
        self,
        region: str,
        prometheus: Prometheus,
        estate: Estate,
        champions: Champions,
        settings: ForecasterSettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.region = region
        self.reason = "no forecast was made yet"
        self.history: TrafficSeries | None = None
        self._prometheus = prometheus
        self._estate = estate
        self._champions = champions
        self._settings = settings or ForecasterSettings()
        self._clock = clock
        self._forecast: Forecast | None = None
        self._minutes: dict[int, float] = {}  # by number of the minute on the model's clock
        self._read_until: int | None = None
        self._read_from: int | None = None

    def current(self) -> Forecast | None:
        """The forecast, while it is fresh."""
        forecast = self._forecast
        if forecast is None or self._clock() - forecast.seen_until > self._settings.max_age_seconds:
            return None
        return forecast

    def why_none(self) -> str:
        """Why there is no fresh forecast."""
        if self.reason:
            return self.reason
        return f"the last forecast is older than {self._settings.max_age_seconds:g} s: is the loop held up?"

    def tick(self) -> None:
        """Read what is new, and forecast from it; ``reason`` says why not."""
        now = self._clock()
        try:
            reason = self._read(now) or self._predict(now)
        except PrometheusError as error:
            reason = str(error)
        # Whatever libraries raise: one bad tick must not end the loop, and the gauges vanish by their age.
        except Exception as error:
            log.exception("%s: forecast failed", self.region)
            reason = f"the forecast failed ({type(error).__name__}: {error})"
        if reason != self.reason:
            log.log(logging.WARNING if reason else logging.INFO, "%s: %s", self.region, reason or "forecasts are made")
        self.reason = reason

    # --- What came ----------------------------------------------------------------------------------------------------

    def _read(self, now: float) -> str:
        """Read the last hour, and what is missing of the days before; those may fail, the hour may not."""
        last = int(self._settings.timeline.model(now - self._settings.settle_seconds) // MINUTE)
        known = self._read_until if self._read_until is not None else last
        # An hour again: late samples count. More, after an outage of Prometheus.
        first = max(min(known, last) - HOUR, last - MINUTES_KEPT)
        fresh = self._minutes_between(first, last, now)
        for minute in range(first, last):
            self._minutes.pop(minute, None)
        self._minutes |= fresh
        self._read_until = last
        self._read_from = first if self._read_from is None else self._read_from
        self._extend(last, now)
        oldest = last - MINUTES_KEPT
        self._minutes = {minute: value for minute, value in self._minutes.items() if minute >= oldest}
        return ""

    def _extend(self, last: int, now: float) -> None:
        """Day after day into the past, until eight are there; what fails is tried again at the next tick."""
        assert self._read_from is not None
        while self._read_from > last - MINUTES_KEPT:
            first = max(self._read_from - DAY, last - MINUTES_KEPT)
            try:
                self._minutes |= self._minutes_between(first, self._read_from, now)
            except PrometheusError as error:
                # The days that are saved with the model stand in.
                log.warning("%s: history: %s", self.region, error)
                return
            self._read_from = first

    def _minutes_between(self, first: int, last: int, now: float) -> dict[int, float]:
        """QPS by number of the minute from ``first`` up to, not including, ``last``, where it was observed."""
        timeline = self._settings.timeline
        border = int(timeline.begins_as // MINUTE)
        if timeline.minute_seconds == MINUTE or last <= border:
            return self._real_minutes(first, last, now)
        found = self._real_minutes(first, border, now) if first < border else {}
        return found | self._short_minutes(max(first, border), last)

    def _real_minutes(self, first: int, last: int, now: float) -> dict[int, float]:
        timeline = self._settings.timeline
        shift = int(timeline.begins - timeline.begins_as) // MINUTE
        # The table's own waiting time is longer: it must never read a minute again.
        as_of = now + SETTLE_SECONDS - self._settings.settle_seconds
        start, end = (first + shift) * MINUTE, (last + shift) * MINUTE
        values = observed(self._prometheus, self._estate, self.region, start, end, as_of)
        return {second // MINUTE - shift: value for second, value in values.items()}

    def _short_minutes(self, first: int, last: int) -> dict[int, float]:
        timeline = self._settings.timeline
        step = timeline.minute_seconds
        start, end = timeline.real((first + 1) * MINUTE), timeline.real(last * MINUTE)
        if end < start:
            return {}
        series = self._prometheus.query_range(short_expression(self._estate, self.region, step), start, end, step)
        points = (point for one in series for point in one.points)
        return {
            round(timeline.model(at) / MINUTE) - 1: value for at, value in points if np.isfinite(value) and value >= 0
        }

    # --- What comes ---------------------------------------------------------------------------------------------------

    def _predict(self, now: float) -> str:
        served = self._champions.served
        if served is None:
            self._forecast = None
            return f"no champion: {self._champions.problem}"
        hour = newest_hour(self._minutes)
        if hour is None:
            self._forecast = None
            return f"Prometheus has no QPS of {self.region} in the last days: check metrics in the estate's file"
        last, window = hour
        seen_until = self._settings.timeline.real((last + 1) * MINUTE)
        if now - seen_until > self._settings.max_age_seconds:
            self._forecast = None
            return f"the last minute that was observed ended {now - seen_until:.0f} s ago: is everything scraped?"
        missing = int((~np.isfinite(window)).sum())
        if missing:
            self._forecast = None
            return f"{missing} of the last {HOUR} minutes were not observed (gaps of {SHORT_GAP_MINUTES} are bridged)"
        self.history = history_of(self._minutes, self.region, last)
        try:
            p50, p90 = served.fast.predict(window, datetime.fromtimestamp(last * MINUTE, UTC), self.history)
        except CandidateError as error:
            self._forecast = None
            return str(error)
        doubt = unsure(p50.tolist(), p90.tolist(), self._settings.max_spread)
        self._forecast = Forecast(
            tuple(p50.tolist()), tuple(p90.tolist()), seen_until, served.version, served.manifest.model, doubt
        )
        return ""


def short_expression(estate: Estate, region: str, seconds: float) -> str:
    """PromQL: requests a second over two short minutes, which hold enough scrapes where one may not."""
    window = f"{round(2000 * seconds)}ms"
    return " + ".join(
        f"sum(rate({metric}{{{estate.matchers(region)}}}[{window}]))" for metric, _ in estate.metrics.requests()
    )


def newest_hour(minutes: dict[int, float]) -> tuple[int, Array] | None:
    """The newest observed minute and the hour that ends with it, short gaps bridged; None without any minute."""
    if not minutes:
        return None
    last = max(minutes)
    # A gap that began before the hour is bridged from the value before it.
    first = last - HOUR - SHORT_GAP_MINUTES
    values = np.array([minutes.get(minute, np.nan) for minute in range(first, last + 1)])
    return last, fill_short_gaps(values, SHORT_GAP_MINUTES)[-HOUR:]


def history_of(minutes: dict[int, float], region: str, last: int) -> TrafficSeries:
    """Every kept minute as a series that ends with minute number ``last``."""
    first = last - MINUTES_KEPT + 1
    values = np.full(MINUTES_KEPT, np.nan)
    kept = [(minute - first, value) for minute, value in minutes.items() if first <= minute <= last]
    if kept:
        places, known = zip(*kept, strict=True)
        values[list(places)] = known
    return TrafficSeries(region, datetime.fromtimestamp(first * MINUTE, UTC), 1, values)
