"""P50 and P90 of what each lever saves: months drawn anew from the days, with as many interruptions as chance gives.

Days are drawn with replacement, weekdays from weekdays and weekend days from weekend days, the same ones in every
region. Interruptions of a month are Poisson numbers around what the bands say. Seeded. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from include.planner.simulation import HOURS_MONTH, Simulated, daily_parts
from include.planner.traffic import Bools, Traffic

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Months:
    """Resampled months: Shapley parts of the clusters' saving in USD a month [months, players], and requests by those
    of the planned month [months]."""

    parts: Floats
    requests: Floats


def resample(found: Simulated, traffic: Traffic, months: int, seed: int) -> Months:
    """``months`` months out of the days of a simulation of all coalitions."""
    random = np.random.default_rng(seed)
    counts = drawn(traffic.weekend, months, random)
    usd, risk = daily_parts(found)
    parts = np.einsum("md,rdp->mp", counts, usd) / traffic.days * HOURS_MONTH
    risks = np.einsum("md,rdp->mrp", counts, risk) / traffic.days * HOURS_MONTH
    expected = np.einsum("md,rd->mr", counts, found.interruptions[-1]) / traffic.days
    luck = random.poisson(expected) / np.maximum(expected, 1e-9)
    parts += np.einsum("mrp,mr->mp", risks, luck - 1.0)
    requests = traffic.qps.mean(axis=(0, 2))
    return Months(parts, counts @ requests / requests.sum() if requests.sum() else np.ones(months))


def drawn(weekend: Bools, months: int, random: np.random.Generator) -> Floats:
    """How often each day is in each month, [months, days]."""
    counts = np.zeros((months, len(weekend)))
    for kind in (False, True):
        days = np.flatnonzero(weekend == kind)
        if len(days):
            chosen = random.integers(0, len(days), (months, len(days)))
            np.add.at(counts, (np.arange(months)[:, None], days[chosen]), 1.0)
    return counts


def percentiles(values: Floats) -> tuple[float, float, float]:
    """P10, P50 and P90."""
    low, middle, high = np.percentile(values, (10, 50, 90))
    return float(low), float(middle), float(high)
