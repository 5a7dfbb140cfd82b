"""What was forecast against what came: is the champion still better than the naives, and what to do when it isn't.

A champion has decayed when, over the last day, its error 15 minutes ahead is larger than that of the best naive on
the same minutes by more than noise (two standard errors) and by more than 2 %. It then gives way
to the best of what is in the registry, judged on the same minutes. Without enough forecasts the answer is "unknown":
somebody is told, and nothing is demoted.
"""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from include.forecast import evaluation
from include.forecast.candidates.baselines import Median, naive_models
from include.forecast.candidates.candidate import CandidateError
from include.forecast.gauges import FORECAST, FRESH_SECONDS, GENERATED, LONGEST_LEAD, MEDIAN, MODEL_INFO
from include.forecast.registry import Action, ChampionDecision, CorruptError, Registry
from include.forecast.traffic.export import observable_until, observed
from include.forecast.traffic.features import HISTORY_DAYS, TrainingWindows, floor_of, windows_of
from include.forecast.traffic.series import Array, TrafficSeries
from include.forecast.traffic.table import STEP

if TYPE_CHECKING:
    from include.clients.prometheus import Prometheus
    from include.clients.prometheus import Series as PromSeries
    from include.estate import Estate

HOURS = 24  # of forecasts that are looked at
MOST_ALTERNATIVES = 3  # former champions that are tried
Replay = Callable[[Path, TrainingWindows], Array]  # a version's files and windows -> [n, horizon]


class Status(enum.StrEnum):
    """What an assessment says."""

    GOOD = "good"
    YOUNG = "young"  # champion for too short a time to be judged; its predecessor's forecasts were served before
    DECAYED = "decayed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class AssessmentLimits:
    """What an assessment needs and what counts as decay."""

    hours: int = HOURS
    least_minutes: int = 720  # noise is judged by blocks of two hours: with fewer than six it is not known
    margin: float = 0.02  # of the naive's error


@dataclass(frozen=True)
class Assessment:
    """Champion against the best naive on the same minutes. WAPEs are None where no traffic came."""

    status: Status
    reason: str
    minutes: int = 0
    champion_wape: float | None = None
    best_naive: str = ""
    best_naive_wape: float | None = None
    noise: float | None = None  # standard error of the difference of the two
    naives: Mapping[str, float] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """For the registry and XCom, rounded."""
        raw = {name: value for name, value in vars(self).items() if name not in {"status", "reason", "naives"}}
        rounded: dict[str, Any] = {n: round(v, 6) if isinstance(v, float) else v for n, v in raw.items()}
        return rounded | {"naives": {name: round(value, 6) for name, value in self.naives.items()}}


# --- What was served, and what came -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ServedForecasts:
    """P50 forecasts 15 minutes ahead by their origin: the Unix start of the last minute that the predictor saw.

    ``own`` are the champion's; ``every`` counts those of all versions.
    """

    own: Mapping[int, float]
    every: int


def served(prometheus: Prometheus, region: str, start: float, end: float, version: str) -> ServedForecasts:
    """What was served. Where the predictor names its model, only forecasts of ``version`` are the champion's."""
    gauge = prometheus.query_range(
        f'{FORECAST}{{region="{region}",horizon="{LONGEST_LEAD}",quantile="{MEDIAN}"}}', start, end, STEP
    )
    times = prometheus.query_range(f'{GENERATED}{{region="{region}"}}', start, end, STEP)
    models = prometheus.query_range(f'{MODEL_INFO}{{region="{region}"}}', start, end, STEP)
    return ServedForecasts(
        forecasts_by_origin(gauge, times, models, version), len(forecasts_by_origin(gauge, times, [], version))
    )


def recent_forecasts(
    prometheus: Prometheus, region: str, version: str, now: float, hours: int = HOURS
) -> ServedForecasts:
    """What was served in the last ``hours`` up to ``now`` (Unix seconds)."""
    end = observable_until(now)
    return served(prometheus, region, end - hours * 3600, end, version)


def recent_traffic(prometheus: Prometheus, estate: Estate, region: str, now: float) -> TrafficSeries:
    """What came in those hours, and before them what the weekly naives need."""
    end = observable_until(now)
    start = end - (HISTORY_DAYS + 1) * 86_400
    return series_of(observed(prometheus, estate, region, start, end, now), region, start, end)


def forecasts_by_origin(
    gauge: Sequence[PromSeries], times: Sequence[PromSeries], models: Sequence[PromSeries], version: str
) -> dict[int, float]:
    """Forecasts by origin from the series of one or several predictors; pure."""
    born = {_who(series.labels): dict(series.points) for series in times}
    own = {
        _who(series.labels): {at for at, _ in series.points}
        for series in models
        if series.labels.get("version") == version
    }
    found: dict[int, float] = {}
    for series in gauge:
        who = _who(series.labels)
        for at, value in series.points:
            made = born.get(who, {}).get(at)
            if made is None or not 0 <= at - made <= FRESH_SECONDS or not math.isfinite(value):
                continue
            if models and at not in own.get(who, ()):
                continue
            found.setdefault(int(made // STEP) * STEP - STEP, value)
    return found


def _who(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The predictor that a series comes from."""
    return tuple(sorted((name, value) for name, value in labels.items() if name in {"instance", "job", "pod"}))


def series_of(values: Mapping[int, float], region: str, start: int, end: int) -> TrafficSeries:
    """QPS by start of minute as a series from ``start`` up to ``end`` (Unix seconds); NaN where not observed."""
    grid = np.full((end - start) // STEP, np.nan)
    for minute, value in values.items():
        if start <= minute < end:
            grid[(minute - start) // STEP] = value
    return TrafficSeries(region, dt.datetime.fromtimestamp(start, dt.UTC), 1, grid)


def observed_windows(series: TrafficSeries, origins: Iterable[int]) -> TrainingWindows:
    """The windows of ``series`` that end at ``origins`` (Unix seconds) and whose target was observed."""
    start = int(series.start.timestamp())
    wanted = np.array(sorted((origin - start) // STEP for origin in origins), np.int64)
    windows = windows_of(series, floor_of(series.values) if np.isfinite(series.values).any() else 1.0)
    windows = windows.take(np.isin(windows.origins, wanted))
    return windows.take(np.isfinite(windows.targets()[:, -1]))


# --- The assessment ---------------------------------------------------------------------------------------------------


def assess(series: TrafficSeries, live: ServedForecasts, limits: AssessmentLimits | None = None) -> Assessment:
    """Judge the champion's forecasts against what came and what the naives would have said. Pure."""
    limits = limits or AssessmentLimits()
    windows = observed_windows(series, live.own)
    if len(live.own) < limits.least_minutes <= live.every:
        why = f"{len(live.own)} minutes served since it became champion, {limits.least_minutes} are needed to judge it"
        return Assessment(Status.YOUNG, why, len(windows))
    if len(windows) < limits.least_minutes:
        return Assessment(
            Status.UNKNOWN,
            f"{len(windows)} minutes of the last {limits.hours} h have a forecast and what came, "
            f"{limits.least_minutes} are needed: is the predictor up and scraped?",
            len(windows),
        )
    start = int(series.start.timestamp())
    forecast = np.array([live.own[start + int(origin) * STEP] for origin in windows.origins])
    return assess_minutes(forecast, naive_forecasts(windows), windows.targets()[:, -1], limits)


def naive_forecasts(windows: TrainingWindows) -> dict[str, Array]:
    """What each naive says 15 minutes ahead; the level windows are the defaults, since nothing may be fitted here."""
    found = {}
    for model in naive_models():
        if isinstance(model, Median):
            continue
        if model.scaled:
            model.minutes = 15
        found[model.name] = model.predict(windows)[:, -1]
    return found


def assess_minutes(champion: Array, naives: Mapping[str, Array], truth: Array, limits: AssessmentLimits) -> Assessment:
    """The champion's forecasts against those of the naives for the same minutes; pure."""
    errors = {name: float(np.abs(forecast - truth).sum()) for name, forecast in naives.items()}
    best = min(errors, key=lambda name: (errors[name], name))
    gap = evaluation.wape_difference(champion, naives[best], truth, step=1)
    ours, theirs = evaluation.wape(champion, truth), evaluation.wape(naives[best], truth)
    decayed = (
        theirs is not None
        and gap.difference > evaluation.TIE_ERRORS * gap.error
        and gap.difference > limits.margin * theirs
    )
    reason = (
        f"WAPE {_shown(ours)} against {_shown(theirs)} of {best} over {len(truth)} minutes, "
        f"{'worse by more than noise' if decayed else 'not worse by more than noise'} "
        f"(difference {gap.difference:+.4f}, standard error {gap.error:.4f})"
    )
    return Assessment(
        status=Status.DECAYED if decayed else Status.GOOD,
        reason=reason,
        minutes=len(truth),
        champion_wape=ours,
        best_naive=best,
        best_naive_wape=theirs,
        noise=gap.error if math.isfinite(gap.error) else None,
        naives={n: value for n, f in naives.items() if (value := evaluation.wape(f, truth)) is not None},
    )


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


# --- The demotion -----------------------------------------------------------------------------------------------------


def alternatives(registry: Registry, champion: str) -> list[str]:
    """What may take the champion's place: former champions, then the newest naive of each kind."""
    former = [version for version in registry.champions() if version != champion][:MOST_ALTERNATIVES]
    naive_names = {model.name for model in naive_models()}
    newest: dict[str, str] = {}
    for version in reversed(registry.versions()):
        try:
            model = registry.manifest(version).model
        except CorruptError:
            continue
        if model in naive_names:
            newest.setdefault(model, version)
        if len(newest) == len(naive_names):
            break
    return list(dict.fromkeys([*former, *(version for version in newest.values() if version != champion)]))


def replayed(registry: Registry, versions: Iterable[str], windows: TrainingWindows, replay: Replay) -> dict[str, float]:
    """The summed absolute error 15 minutes ahead of each version on ``windows``; unusable ones are left out."""
    truth = windows.targets()[:, -1]
    errors: dict[str, float] = {}
    for version in versions:
        with tempfile.TemporaryDirectory(prefix="akidb-") as folder:
            try:
                registry.fetch(version, Path(folder))
                error = np.abs(replay(Path(folder), windows)[:, -1] - truth)
            except (CorruptError, CandidateError):
                continue
        if np.isfinite(error).all():
            errors[version] = float(error.sum())
    return errors


def successor(errors: Mapping[str, float], champion_error: float) -> str | None:
    """The version with the smallest error, if it is smaller than the champion's; None: nothing is better."""
    better = {version: error for version, error in errors.items() if error < champion_error}
    return min(better, key=lambda version: (better[version], version), default=None)


def demote(
    registry: Registry,
    champion: str,
    assessment: Assessment,
    series: TrafficSeries,
    live: Mapping[int, float],
    replay: Replay,
    as_of: str,
) -> ChampionDecision:
    """Put the best alternative in the place of the decayed ``champion``; KEPT when none is better, LOST when somebody
    changed the champion since ``live`` was served."""
    pointer = registry.pointer()
    if pointer.version != champion:
        why = f"{pointer.version or 'no version'} is champion by now, so it stays; {assessment.reason}"
        lost = ChampionDecision(Action.LOST, champion, pointer.version, why, as_of, assessment.figures())
        return registry.record(lost)
    windows = observed_windows(series, live)
    start = int(series.start.timestamp())
    truth = windows.targets()[:, -1]
    own = sum(
        abs(live[start + int(origin) * STEP] - value) for origin, value in zip(windows.origins, truth, strict=True)
    )
    errors = replayed(registry, alternatives(registry, champion), windows, replay)
    total = float(truth.sum())
    figures = assessment.figures() | {
        "alternatives": {version: round(error / total, 6) for version, error in errors.items() if total > 0}
    }
    chosen = successor(errors, float(own))
    if chosen is None:
        why = f"{assessment.reason}; nothing in the registry is better ({len(errors)} tried): run forecast_retrain"
        return registry.record(ChampionDecision(Action.KEPT, champion, champion, why, as_of, figures))
    model = registry.manifest(chosen).model
    why = f"{assessment.reason}; {model} {chosen} takes its place"
    return registry.move(pointer, ChampionDecision(Action.DEMOTED, chosen, champion, why, as_of, figures))


@dataclass(frozen=True)
class Watched:
    """What one look at a region found."""

    region: str
    champion: str
    assessment: Assessment
    decision: ChampionDecision | None = None

    @property
    def alert(self) -> str:
        """What somebody must be told; empty when all is well."""
        if self.decision is not None:
            return f"{self.region}: {self.decision.action}: {self.decision.reason}"
        if self.assessment.status in {Status.GOOD, Status.YOUNG}:
            return ""
        return f"{self.region}: {self.assessment.status}: {self.assessment.reason}; {self.champion} stays champion"

    def to_json(self) -> dict[str, Any]:
        """For XCom."""
        raw: dict[str, Any] = {
            "region": self.region,
            "champion": self.champion,
            "status": str(self.assessment.status),
            "reason": self.assessment.reason,
            "alert": self.alert,
            "figures": self.assessment.figures(),
            "decision": self.decision.to_json() if self.decision else None,
        }
        plain: dict[str, Any] = json.loads(json.dumps(raw))
        return plain


def watch_region(
    registry: Registry,
    live: ServedForecasts,
    series: TrafficSeries,
    champion: str,
    replay: Replay,
    limits: AssessmentLimits | None = None,
) -> Watched:
    """Compare, and demote a champion that has decayed."""
    assessment = assess(series, live, limits)
    if assessment.status != Status.DECAYED:
        return Watched(registry.region, champion, assessment)
    as_of = series.at(len(series)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Watched(
        registry.region, champion, assessment, demote(registry, champion, assessment, series, live.own, replay, as_of)
    )
