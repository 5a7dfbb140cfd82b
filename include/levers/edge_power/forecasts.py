"""The load of tomorrow from the days before: yesterday or last week at the same time, whichever has missed by less.

Days are arrays [days, 1440] of QPS, NaN where nothing was observed. Only days that are over are looked at.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from include.levers.edge_power.planner import Loads

WEEK = 7  # days
AROUND = 7  # minutes before and after: a rush comes a little earlier or later than last time


class DayAhead(NamedTuple):
    """A day's forecast, [1440]: ``load`` is likely, ``need`` the highest near that time, for which capacity is kept.

    NaN where nothing is known. ``source`` says what it was made of.
    """

    load: Loads
    need: Loads
    source: str


def day_ahead(days: Loads) -> DayAhead:
    """The forecast of the day after the last of ``days``. Raises ValueError without any day."""
    if not len(days):
        raise ValueError("no day of load is known: nothing can be forecast")
    errors = {period: _error(days, period) for period in (1, WEEK) if len(days) >= period}
    period = min(errors, key=lambda one: (errors[one], one))
    return DayAhead(_smoothed(days[-period]), _highest(days[-period]), "yesterday" if period == 1 else "last week")


def _error(days: Loads, period: int) -> float:
    """Sum of absolute errors over load on the last day that the forecast of ``period`` days can be judged by."""
    if len(days) <= period:
        return np.inf if period > 1 else 1e9  # yesterday, while nothing can be judged
    missed, load = np.abs(days[-1] - days[-1 - period]), days[-1]
    both = np.isfinite(missed)
    total = float(load[both].sum())
    return float(missed[both].sum()) / total if total else np.inf


def _windows(day: Loads) -> Loads:
    padded = np.pad(day, AROUND, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)


def _highest(day: Loads) -> Loads:
    """The highest load within AROUND minutes; NaN where none is known."""
    windows = _windows(day)
    found = np.where(np.isnan(windows), -np.inf, windows).max(axis=-1)
    return np.where(np.isfinite(found), found, np.nan).astype(np.float32)


def _smoothed(day: Loads) -> Loads:
    windows = _windows(day)
    known = np.isfinite(windows)
    total, count = np.where(known, windows, 0).sum(axis=-1), known.sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
