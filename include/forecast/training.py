"""From a series to judged candidates: gate, split in time, train, blend, choose; the test part is looked at once.

    0 %                    55 %           70 %           85 %        100 %
    |------- train --------|---- fold ----|- validation -|--- test ---|
    |------------ train ------------------|- validation -|

Everything is chosen on what came before the test part: on two rolling windows, the newer one counting three times, and
each divided by its own traffic, so that a busy week doesn't drown a quiet one. The network, too dear to train twice,
is judged on the newer window alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from include.forecast.candidates.baselines import Seasonal, WeekMedian, naive_models
from include.forecast.candidates.blend import Blend, Model, l1_weights, mixed
from include.forecast.candidates.candidate import Candidate, p90_above
from include.forecast.candidates.lstm import Lstm, LstmSettings
from include.forecast.candidates.trees import Trees, TreeSettings
from include.forecast.choose import Choice, Promotion, choose, promote
from include.forecast.evaluation import (
    HorizonMetrics,
    Operational,
    WapeDifference,
    by_horizon,
    mae,
    operational,
    relative_scores,
    standard_error,
    wape,
    wape_difference,
)
from include.forecast.traffic.features import DAY, HISTORY_DAYS, WEEK, TrainingWindows, floor_of, windows_of
from include.forecast.traffic.series import (
    LONGEST_SERIES_DAYS,
    Array,
    DataQuality,
    QualityLimits,
    TrafficSeries,
    judge,
    split,
)

FOLD_START = 0.55
FOLD_WEIGHTS = (1.0, 3.0)
# Few parts: weights of many are found on too little. Yesterday alone is in the week's median.
BLEND_PARTS = ("now_scaled", "last_week_scaled", "seasonal_week", "week_median", "lightgbm")
NAIVE_NAMES = tuple(model.name for model in naive_models())
MIN_WINDOWS = 200


@dataclass(frozen=True)
class TrainingSettings:
    """What is trained; ``lstm`` None leaves the network out. ``country`` is for public holidays (such as US)."""

    days: float = LONGEST_SERIES_DAYS
    country: str | None = None
    trees: TreeSettings = field(default_factory=TreeSettings)
    lstm: LstmSettings | None = field(default_factory=LstmSettings)
    limits: QualityLimits = field(default_factory=QualityLimits)
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Parts:
    """The windows of each part of a series; ``fold`` and ``validation`` have weights."""

    before_fold: TrainingWindows
    fold: TrainingWindows
    train: TrainingWindows
    validation: TrainingWindows
    until_test: TrainingWindows
    test: TrainingWindows


@dataclass(frozen=True)
class Trained:
    """Everything trained on a series, what was chosen and why. Empty, with the reason, when the data was refused."""

    quality: DataQuality
    series: TrafficSeries
    candidates: Mapping[str, Candidate] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    choice: Choice | None = None
    test: TrainingWindows | None = None
    seconds: float = 0.0

    @property
    def chosen(self) -> Candidate:
        """The chosen candidate. Raises ValueError when the data was refused."""
        if self.choice is None:
            raise ValueError(f"{self.series.name}: {self.quality.refused}")
        return self.candidates[self.choice.name]


@dataclass(frozen=True)
class PartResult:
    """What the test part says of a candidate at the last step."""

    wape: float | None
    mae: float
    error: float
    against_best_naive: WapeDifference
    horizons: tuple[HorizonMetrics, ...]
    operational: Operational


@dataclass(frozen=True)
class Tested:
    """The test part's word on every candidate, and whether the chosen one may become champion."""

    results: Mapping[str, PartResult]
    best_naive: str
    promotion: Promotion


def train_candidates(
    series: TrafficSeries, settings: TrainingSettings | None = None, clock: Callable[[], float] = time.monotonic
) -> Trained:
    """Train, blend and choose; data that can't be learned from gives a refusal instead."""
    settings = settings or TrainingSettings()
    begun = clock()
    series = series.last_days(settings.days)
    quality = judge(series, split(len(series)), settings.limits)
    if quality.refused is not None:
        return Trained(quality, series)
    parts = parts_of(series, settings.country)
    thin = min(len(part) for part in (parts.before_fold, parts.fold, parts.validation, parts.test))
    if thin < MIN_WINDOWS:
        reason = f"too many gaps: one part has {thin} hours without a gap, at least {MIN_WINDOWS} are needed"
        return Trained(replace(quality, refused=reason), series)
    return _train(series, quality, parts, settings, lambda: clock() - begun)


def parts_of(series: TrafficSeries, country: str | None) -> Parts:
    """The split in time. The floor is known from the training part alone."""
    train, validation, test = split(len(series))
    fold_start = int(len(series) * FOLD_START)
    windows = windows_of(series, floor_of(series.values[train]), country)
    fold, judged = windows.between(fold_start, train.stop), windows.between(validation.start, validation.stop)
    return Parts(
        before_fold=windows.between(0, fold_start),
        fold=weighted(fold, FOLD_WEIGHTS[0]),
        train=windows.between(0, train.stop),
        validation=weighted(judged, FOLD_WEIGHTS[1]),
        until_test=windows.between(0, validation.stop),
        test=windows.between(test.start, test.stop),
    )


def weighted(windows: TrainingWindows, weight: float) -> TrainingWindows:
    """Windows whose errors count as a share of their own traffic, times ``weight``."""
    total = float(np.nansum(windows.targets()[:, -1]))
    return replace(windows, weights=np.full(len(windows), weight / total if total else 0.0))


def together(first: TrainingWindows, second: TrainingWindows) -> TrainingWindows:
    """The windows of both, with their weights."""
    assert first.weights is not None
    assert second.weights is not None
    return replace(
        first,
        origins=np.concatenate([first.origins, second.origins]),
        weights=np.concatenate([first.weights, second.weights]),
    )


def _train(
    series: TrafficSeries, quality: DataQuality, parts: Parts, settings: TrainingSettings, elapsed: Callable[[], float]
) -> Trained:
    rolling = together(parts.fold, parts.validation)
    models, past, recent = _train_simple_and_trees(parts, rolling, settings)
    weights = blend_weights(past, rolling)
    past[Blend.name] = blended(past, weights)
    if settings.lstm is not None:
        lstm = Lstm(settings.lstm, settings.checkpoint)
        lstm.fit(parts.train, parts.validation)
        models[lstm.name], recent[lstm.name] = lstm, lstm.predict(parts.validation)
        weights = _with_lstm(past, recent[lstm.name][:, -1], weights, rolling, len(parts.fold))
    recent[Blend.name] = blended(recent, weights)
    models[Blend.name] = Blend([models[name] for name in weights], list(weights.values()))
    scores = candidate_scores(past, rolling)
    # The trees learn again, with the validation part; how high P90 lies was measured before, on data new to them.
    above = {name: p90_above(recent[name], parts.validation.targets(), rolling.floor) for name in models}
    trees = models[Trees.name]
    assert isinstance(trees, Trees)
    trees.fit(parts.until_test, parts.validation)
    tail = series.last_days(HISTORY_DAYS)
    candidates = {
        name: Candidate(model, series.step, rolling.floor, settings.country, above[name], tail)
        for name, model in models.items()
    }
    return Trained(quality, series, candidates, scores, weights, choose(scores), parts.test, elapsed())


def _train_simple_and_trees(
    parts: Parts, rolling: TrainingWindows, settings: TrainingSettings
) -> tuple[dict[str, Model], dict[str, Array], dict[str, Array]]:
    """Fitted models, their forecasts of the last step on the rolling windows, of all steps on the validation part."""
    simple: list[Model] = [*naive_models(), Seasonal(DAY), Seasonal(WEEK), WeekMedian()]
    for model in simple:
        model.fit(parts.train, rolling)
    models = {model.name: model for model in simple}
    past = {name: model.predict(rolling)[:, -1] for name, model in models.items()}
    recent = {name: model.predict(parts.validation) for name, model in models.items()}
    trees, before = Trees(settings.trees), Trees(settings.trees)
    before.fit_last(parts.before_fold)
    trees.fit(parts.train, parts.validation)
    models[trees.name], recent[trees.name] = trees, trees.predict(parts.validation)
    past[trees.name] = np.concatenate([before.predict_last(parts.fold), recent[trees.name][:, -1]])
    return models, past, recent


def blend_weights(past: Mapping[str, Array], rolling: TrainingWindows) -> dict[str, float]:
    """What each part of the blend weighs, from its forecasts of the rolling windows."""
    assert rolling.weights is not None
    columns = np.column_stack([past[name] for name in BLEND_PARTS]) * rolling.weights[:, None]
    found = l1_weights(columns, rolling.targets()[:, -1] * rolling.weights)
    return {name: float(weight) for name, weight in zip(BLEND_PARTS, found, strict=True) if weight > 0}


def blended(forecasts: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """The weighted sum of forecasts."""
    total: Array = np.sum([forecasts[name] * weight for name, weight in weights.items()], axis=0)
    return total


def _with_lstm(
    past: dict[str, Array], lstm: Array, weights: dict[str, float], rolling: TrainingWindows, known_from: int
) -> dict[str, float]:
    """The network takes the share of the blend that served the newer window; before it has no forecasts."""
    past[Lstm.name] = np.concatenate([np.full(known_from, np.nan), lstm])
    truth = rolling.targets()[known_from:, -1]
    share = float(l1_weights(np.column_stack([past[Blend.name][known_from:], lstm]), truth)[1])
    past[Blend.name][known_from:] = (1.0 - share) * past[Blend.name][known_from:] + share * lstm
    return mixed(weights, Lstm.name, share) if share else weights


def candidate_scores(past: Mapping[str, Array], rolling: TrainingWindows) -> dict[str, float]:
    """Errors on the rolling windows relative to those of the blend."""
    truth = rolling.targets()[:, -1]
    errors = {name: np.abs(forecast - truth) * rolling.weights for name, forecast in past.items()}
    return relative_scores(errors, Blend.name)


def look_at_test(trained: Trained, champion: Candidate | None = None) -> Tested:
    """Look at the test part: errors of every candidate, and the promotion gate for the chosen one."""
    assert trained.test is not None
    windows, chosen = trained.test, trained.chosen
    truth, step = windows.targets(), trained.series.step
    forecasts = {name: candidate.forecast(windows) for name, candidate in trained.candidates.items()}
    best = min(NAIVE_NAMES, key=lambda name: mae(forecasts[name][0][:, -1], truth[:, -1]))
    results = {
        name: _result(p50, p90, forecasts[best][0][:, -1], windows, truth) for name, (p50, p90) in forecasts.items()
    }
    rivals = {name: forecasts[name][0] for name in NAIVE_NAMES if name != chosen.name}
    if champion is not None:
        rivals["champion"] = champion.forecast(windows)[0]
    own = forecasts[chosen.name][0][:, -1]
    compared = {name: wape_difference(own, other[:, -1], truth[:, -1], step) for name, other in rivals.items()}
    return Tested(results, best, promote(chosen.name, compared))


def _result(p50: Array, p90: Array, naive: Array, windows: TrainingWindows, truth: Array) -> PartResult:
    step = windows.past.series.step
    return PartResult(
        wape=wape(p50[:, -1], truth[:, -1]),
        mae=mae(p50[:, -1], truth[:, -1]),
        error=standard_error(p50[:, -1], truth[:, -1], step),
        against_best_naive=wape_difference(p50[:, -1], naive, truth[:, -1], step),
        horizons=tuple(by_horizon(p50, p90, truth, step)),
        operational=operational(p50, truth, windows.scale(), step),
    )
