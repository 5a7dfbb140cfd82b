"""How good forecasts were: errors by minute ahead, what they would have done to capacity, and what is a tie.

WAPE is the sum of absolute errors over the sum of the values; accuracy is one less WAPE. Pure arithmetic on arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from include.forecast.traffic.series import Array

# A difference within this many standard errors is a tie.
TIE_ERRORS = 2.0
BLOCK_MINUTES = 120
RESAMPLES = 400
# The plan's rules: act when the change is above 20 %, at most double.
ACT_ABOVE = 1.2
CAP = 2.0


@dataclass(frozen=True)
class HorizonMetrics:
    """Errors at one step ahead. None where a figure is not defined."""

    minutes: int
    samples: int
    wape: float | None
    mae: float
    mape: float | None
    r2: float | None
    bias: float | None
    coverage_p90: float | None


@dataclass(frozen=True)
class Operational:
    """What the forecasts would have done: spikes caught, minutes of warning, false scale-ups and what they cost."""

    spikes: int
    caught: int
    lead_minutes: float | None
    scale_ups: int
    false_scale_ups: int
    extra_share: float


@dataclass(frozen=True)
class WapeDifference:
    """WAPE of one forecast less that of another on the same minutes, with its standard error."""

    difference: float
    error: float

    @property
    def tie(self) -> bool:
        """Is the difference within the noise?"""
        return abs(self.difference) <= TIE_ERRORS * self.error

    @property
    def better(self) -> bool:
        """Is the first one better by more than the noise?"""
        return self.difference < 0 and not self.tie


def wape(forecast: Array, truth: Array) -> float | None:
    """The sum of absolute errors over the sum of values, where both are known; None when nothing came."""
    known = np.isfinite(forecast) & np.isfinite(truth)
    total = float(np.abs(truth[known]).sum())
    return float(np.abs(forecast[known] - truth[known]).sum()) / total if total else None


def mae(forecast: Array, truth: Array) -> float:
    """The mean absolute error where both are known; NaN without any."""
    errors = np.abs(forecast - truth)
    known = errors[np.isfinite(errors)]
    return float(known.mean()) if len(known) else math.nan


def by_horizon(p50: Array, p90: Array, truth: Array, step: int) -> list[HorizonMetrics]:
    """The errors of every step ahead; arrays are [n, horizon]."""
    return [
        horizon_metrics(p50[:, column], p90[:, column], truth[:, column], (column + 1) * step)
        for column in range(truth.shape[1])
    ]


def horizon_metrics(p50: Array, p90: Array, truth: Array, minutes: int) -> HorizonMetrics:
    """The errors at one step ahead."""
    known = np.isfinite(p50) & np.isfinite(truth)
    forecast, upper, came = p50[known], p90[known], truth[known]
    error, total = forecast - came, float(came.sum())
    some = came > 0
    variance = float(((came - came.mean()) ** 2).sum()) if len(came) else 0.0
    return HorizonMetrics(
        minutes=minutes,
        samples=len(came),
        wape=float(np.abs(error).sum()) / total if total else None,
        mae=mae(forecast, came),
        # Minutes without traffic have no percentage: with any of them the figure is not defined.
        mape=float((np.abs(error) / np.where(some, came, 1.0)).mean()) if len(came) and some.all() else None,
        r2=1.0 - float((error**2).sum()) / variance if variance else None,
        bias=float(error.sum()) / total if total else None,
        coverage_p90=float((came <= upper).mean()) if len(came) else None,
    )


def wape_difference(first: Array, second: Array, truth: Array, step: int, seed: int = 0) -> WapeDifference:
    """Is ``first`` better than ``second``? The noise comes from resampling whole blocks of two hours."""
    known = np.isfinite(first) & np.isfinite(second) & np.isfinite(truth)
    gain = np.where(known, np.abs(first - truth) - np.abs(second - truth), 0.0)
    volume = np.where(known, np.abs(truth), 0.0)
    gains, volumes = (block_sums(values, BLOCK_MINUTES // step) for values in (gain, volume))
    if not volumes.sum():
        return WapeDifference(0.0, math.inf)
    chosen = np.random.default_rng(seed).integers(0, len(gains), (RESAMPLES, len(gains)))
    drawn = volumes[chosen].sum(axis=1)
    spread = float((gains[chosen].sum(axis=1) / np.where(drawn > 0, drawn, np.inf)).std(ddof=1))
    return WapeDifference(float(gains.sum() / volumes.sum()), spread)


def block_sums(values: Array, size: int) -> Array:
    """The sums of consecutive blocks of ``size`` values; the last block may be shorter."""
    sums: Array = np.add.reduceat(values, np.arange(0, len(values), max(1, size))) if len(values) else values
    return sums


def operational(p50: Array, truth: Array, now: Array, step: int, replicas: int = 20) -> Operational:
    """What acting on the forecasts of consecutive origins would have done.

    ``now`` is the recent level at each origin. A scale-up is a forecast more than 20 % above it; it is false when
    nothing within the horizon came near. A spike is a rise of more than 20 % against the level a horizon before.
    """
    ahead = np.nanmax(np.where(np.isfinite(p50), p50, -np.inf), axis=1)
    came = np.nanmax(np.where(np.isfinite(truth), truth, -np.inf), axis=1)
    acts = ahead > ACT_ABOVE * now
    rises = smoothed_rise(truth, now)
    begins = onsets(rises, truth.shape[1])
    leads = [lead for begin in begins if (lead := lead_steps(acts, begin, truth.shape[1])) is not None]
    unit = float(np.nanpercentile(now, 99)) / replicas or 1.0
    return Operational(
        spikes=len(begins),
        caught=len(leads),
        lead_minutes=float(np.median(leads)) * step if leads else None,
        scale_ups=int(acts.sum()),
        false_scale_ups=int((acts & (came <= ACT_ABOVE * now)).sum()),
        extra_share=extra_capacity(ahead, came, now, acts, unit, truth.shape[1]),
    )


def smoothed_rise(truth: Array, now: Array) -> NDArray[np.bool_]:
    """Origins after which the mean of the horizon's last third is more than 20 % above the level."""
    tail = truth[:, -max(1, truth.shape[1] // 3) :]
    known = np.isfinite(tail)
    mean = np.where(known, tail, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    rises: NDArray[np.bool_] = known.any(axis=1) & (mean > ACT_ABOVE * now)
    return rises


def onsets(rises: NDArray[np.bool_], quiet: int) -> list[int]:
    """Where spikes begin: a rise after at least ``quiet`` origins without one."""
    begins, last = [], -quiet - 1
    for position in np.flatnonzero(rises):
        if position - last > quiet:
            begins.append(int(position))
        last = int(position)
    return begins


def lead_steps(acts: NDArray[np.bool_], begin: int, horizon: int) -> int | None:
    """How many steps before the load the first scale-up came; None when none came in time.

    The load of a spike that begins at origin ``begin`` arrives a horizon later.
    """
    hits = np.flatnonzero(acts[begin : begin + horizon])
    return horizon - int(hits[0]) if len(hits) else None


def extra_capacity(ahead: Array, came: Array, now: Array, acts: NDArray[np.bool_], unit: float, horizon: int) -> float:
    """Node time that scale-ups added and nobody needed, as a share of what reactive scaling alone takes.

    A scale-up is capped at twice the reactive capacity and held for one horizon. What traffic needed within a
    horizon before or after was needed.
    """
    reactive = np.maximum(np.ceil(now / unit), 1.0)
    wanted = np.minimum(np.maximum(np.ceil(ahead / unit), 1.0), CAP * reactive)
    added = trailing_max(np.where(acts, wanted, 0.0), horizon)
    needed = trailing_max(np.maximum(np.ceil(np.where(np.isfinite(came), came, 0.0) / unit), reactive), horizon)
    waste = np.maximum(np.maximum(added, reactive) - needed, 0.0)
    return float(waste.sum() / reactive.sum())


def trailing_max(values: Array, size: int) -> Array:
    """The largest of the last ``size`` values at each position."""
    padded = np.concatenate([np.full(size - 1, -np.inf), values])
    largest: Array = np.lib.stride_tricks.sliding_window_view(padded, size).max(axis=1)
    return largest


def standard_error(forecast: Array, truth: Array, step: int) -> float:
    """The standard error of a WAPE: against a forecast without error."""
    return wape_difference(forecast, truth, truth, step).error


def relative_scores(errors: Mapping[str, Array], reference: str) -> dict[str, float]:
    """Total absolute error against that of ``reference``, each on the minutes that both have."""
    scores = {}
    for name, own in errors.items():
        shared = np.isfinite(own) & np.isfinite(errors[reference])
        total = float(errors[reference][shared].sum())
        scores[name] = float(own[shared].sum()) / total if total else math.inf
    return scores
