"""Small series for the forecast tests."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from include.forecast.traffic.series import TrafficSeries

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def daily(days: int = 12, step: int = 5, noise: float = 0.05, seed: int = 0) -> TrafficSeries:
    """A daily wave around 100 with noise that grows with the level."""
    steps = days * 1440 // step
    angle = 2 * np.pi * np.arange(steps) * step / 1440
    wave = 100 + 60 * np.sin(angle) + 20 * np.sin(3 * angle)
    return TrafficSeries("daily", MONDAY, step, wave * (1 + noise * np.random.default_rng(seed).standard_normal(steps)))


def ramp(size: int, step: int = 1) -> TrafficSeries:
    """The values 0, 1, 2 ..."""
    return TrafficSeries("ramp", MONDAY, step, np.arange(size, dtype=float))
