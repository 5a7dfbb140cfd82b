"""Gradient-boosted trees (LightGBM) on lags and seasonal shapes, all relative to the recent level.

The target is the change against a recent level in units of the level of the last 15 minutes, weighted by that level:
its absolute error is then the WAPE that models are judged by. The last step has a booster of its own, the steps before
it share one that knows the step. Squared loss is left out on purpose: bursts ruin it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from include.forecast.traffic.features import Indices, TrainingWindows, tree_features
from include.forecast.traffic.series import Array

TARGET_LIMITS = (-4.0, 20.0)


@dataclass(frozen=True)
class TreeSettings:
    """How the boosters are trained; ``objective`` is ``l1`` or ``huber``."""

    objective: str = "l1"
    bases: tuple[int, ...] = (15, 5)
    # Half the rounds at twice the rate: the same error on data before the test part, half the time of a request.
    rounds: int = 150
    learning_rate: float = 0.04
    leaves: int = 31
    min_leaf: int = 200
    threads: int = 1
    seed: int = 0

    def parameters(self) -> dict[str, Any]:
        """For LightGBM; the same seed gives the same trees."""
        return {
            "objective": self.objective,
            "alpha": 0.2,
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.min_leaf,
            "feature_fraction": 0.5,
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "lambda_l2": 1.0,
            "num_threads": self.threads,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }


@dataclass(frozen=True)
class Member:
    """Two boosters (steps before the last, last step) that learn the change against the level of ``base`` minutes."""

    base: int
    early: Any
    last: Any


@dataclass
class Trees:
    """Members, averaged: one for every base level."""

    settings: TreeSettings = field(default_factory=TreeSettings)
    members: list[Member] = field(default_factory=list)
    name: ClassVar[str] = "lightgbm"

    def fit(self, train: TrainingWindows, validation: TrainingWindows) -> None:  # noqa: ARG002 - one interface for all candidates
        """Learn from the training part; the number of rounds is fixed, so ``validation`` isn't needed."""
        every, some = np.full(len(train), train.horizon), _earlier_steps(train, self.settings.seed)
        self.members = [
            Member(base, self._boost(train, some, base), self._boost(train, every, base))
            for base in self.settings.bases
        ]

    def fit_last(self, train: TrainingWindows) -> None:
        """Learn the last step alone: only ``predict_last`` can be asked then."""
        every = np.full(len(train), train.horizon)
        self.members = [Member(base, None, self._boost(train, every, base)) for base in self.settings.bases]

    def predict(self, windows: TrainingWindows) -> Array:
        """[n, horizon] values: the features of all steps are made in one pass, a request has a single window."""
        size, horizon = len(windows), windows.horizon
        rows = windows.take(np.tile(np.arange(size), horizon))
        features = matrix(rows, np.repeat(np.arange(1, horizon + 1), size))
        early = size * (horizon - 1)
        forecasts = [
            _level(rows, member.base)
            + rows.scale()
            * np.concatenate([_changes(member.early, features[:early]), _changes(member.last, features[early:])])
            for member in self.members
        ]
        mean: Array = np.maximum(np.mean(forecasts, axis=0), 0.0)
        return mean.reshape(horizon, size).T

    def predict_last(self, windows: TrainingWindows) -> Array:
        """The last step alone: [n]."""
        features = matrix(windows, np.full(len(windows), windows.horizon))
        forecasts = [
            _level(windows, member.base) + windows.scale() * _changes(member.last, features) for member in self.members
        ]
        mean: Array = np.maximum(np.mean(forecasts, axis=0), 0.0)
        return mean

    def _boost(self, train: TrainingWindows, steps: Indices, base: int) -> Any:
        import lightgbm

        scale = train.scale()
        came = np.take_along_axis(train.targets(), (steps - 1)[:, None], axis=1)[:, 0]
        known = np.isfinite(came)
        target = np.clip((came - _level(train, base)) / scale, *TARGET_LIMITS)
        data = lightgbm.Dataset(matrix(train, steps)[known], target[known], weight=(scale / scale.mean())[known])
        return lightgbm.train(self.settings.parameters(), data, self.settings.rounds)

    def save(self, folder: Path) -> None:
        """Write the boosters as LightGBM's text."""
        for number, member in enumerate(self.members):
            for part, booster in (("early", member.early), ("last", member.last)):
                path = folder / f"lightgbm_{number}_{member.base}_{part}.txt"
                path.write_text(booster.model_to_string(), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Trees:
        """What ``save`` wrote."""
        import lightgbm

        members = []
        for path in sorted(folder.glob("lightgbm_*_last.txt")):
            early, last = (
                lightgbm.Booster(model_file=path.with_name(path.name.replace("last", part)))
                for part in ("early", "last")
            )
            members.append(Member(int(path.name.split("_")[2]), early, last))
        return cls(members=members)


def matrix(windows: TrainingWindows, steps: Indices) -> Array:
    """The features of each window for its own step."""
    return np.column_stack(list(columns(windows, steps).values()))


def columns(windows: TrainingWindows, steps: Indices) -> dict[str, Array]:
    """The columns of ``matrix`` with their names."""
    return {"step": steps.astype(float), **tree_features(windows, steps)}


def _level(windows: TrainingWindows, minutes: int) -> Array:
    level = windows.past.level(windows.origins, minutes)
    return np.where(np.isfinite(level), level, windows.scale())


def _changes(booster: Any, features: Array) -> Array:
    # One thread: a request must not take every core.
    changes: Array = booster.predict(features, num_threads=1) if len(features) else np.empty(0)
    return changes


def _earlier_steps(train: TrainingWindows, seed: int) -> Indices:
    if train.horizon == 1:
        return np.ones(len(train), dtype=np.int64)
    return np.random.default_rng(seed).integers(1, train.horizon, len(train), dtype=np.int64)
