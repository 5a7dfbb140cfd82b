"""A weighted mean of candidates; the weights are what would have had the smallest absolute error before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from include.forecast.traffic.features import TrainingWindows
from include.forecast.traffic.series import Array

ROUNDS = 40
# A part below this weight costs time in every request and changes nothing that can be measured.
SMALLEST_WEIGHT = 0.03


class Model(Protocol):
    """What every candidate can do."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def fit(self, train: TrainingWindows, validation: TrainingWindows) -> None:
        """Learn from the training part; the validation part chooses settings and when to stop."""

    def predict(self, windows: TrainingWindows) -> Array:
        """[n, horizon] values."""


@dataclass
class Blend:
    """Parts with their weights."""

    parts: list[Model] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    name: ClassVar[str] = "blend"

    def fit(self, train: TrainingWindows, validation: TrainingWindows) -> None:  # noqa: ARG002 - one interface for all candidates
        """The weights from the validation part; the parts are fitted already."""
        forecasts = np.column_stack([part.predict(validation)[:, -1] for part in self.parts])
        self.weights = list(l1_weights(forecasts, validation.targets()[:, -1]))

    def predict(self, windows: TrainingWindows) -> Array:
        """[n, horizon] values."""
        total: Array = np.zeros((len(windows), windows.horizon))
        for part, weight in zip(self.parts, self.weights, strict=True):
            total += weight * part.predict(windows)
        return total


def l1_weights(forecasts: Array, truth: Array) -> Array:
    """Weights of the columns, none negative, one in sum, with the smallest absolute error.

    Least squares again and again, each row divided by its last error.
    """
    from scipy.optimize import nnls

    known = np.isfinite(truth) & np.isfinite(forecasts).all(axis=1)
    forecasts, truth = forecasts[known], truth[known]
    count = forecasts.shape[1]
    weights: Array = np.full(count, 1.0 / count)
    smallest = 1e-3 * float(np.abs(truth).mean()) + 1e-12
    for _ in range(ROUNDS):
        trust = 1.0 / np.sqrt(np.maximum(np.abs(truth - forecasts @ weights), smallest))
        rows, wanted = forecasts * trust[:, None], truth * trust
        # A row heavy enough to hold the sum at one.
        heavy = 1e3 * float(np.abs(rows).sum(axis=0).max()) + 1.0
        weights, _ = nnls(np.vstack([rows, np.full(count, heavy)]), np.append(wanted, heavy))
    return normalised(weights)


def normalised(weights: Array) -> Array:
    """Weights with the small ones taken out and one in sum."""
    kept = np.where(weights < SMALLEST_WEIGHT, 0.0, weights)
    total: Array = kept / kept.sum()
    return total


def mixed(weights: Mapping[str, float], name: str, share: float) -> dict[str, float]:
    """``weights`` with one more part that gets ``share``; parts without weight are left out."""
    whole = {part: weight * (1.0 - share) for part, weight in weights.items()} | {name: share}
    kept = normalised(np.array(list(whole.values())))
    return {part: float(weight) for part, weight in zip(whole, kept, strict=True) if weight > 0}
