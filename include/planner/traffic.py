"""Requests that arrive, minute by minute: the estate's daily shape, or a trace. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from include.estate import Estate

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
DAYS, MINUTES = 30, 1440
# Demand moves between two hourly levels over 20 minutes around the full hour: users don't arrive in a step.
RAMP_MINUTES = 20
FIRST_WEEKDAY = 6  # a Sunday: of 30 days 21 are weekdays then, 70 %, the nearest to five of seven
SATURDAY = 5
# ASSUMPTION, for resampled months alone: whole days differ by 5 %, minutes by 2 % (as in rehearsals).
DAY_SPREAD, MINUTE_SPREAD = 0.05, 0.02


class TrafficError(ValueError):
    """A trace that can't be planned with; the message names the field, the value and the remedy."""


@dataclass(frozen=True)
class Traffic:
    """Requests a second of each region, [regions, days, 1440]: whole UTC days, ``weekend`` says which are weekend days.

    ``source`` says where they come from. No value is unknown.
    """

    regions: tuple[str, ...]
    qps: Floats
    weekend: Bools
    source: str

    def __post_init__(self) -> None:
        shape = (len(self.regions), len(self.weekend), MINUTES)
        if self.qps.shape != shape:
            raise TrafficError(f"qps has the shape {self.qps.shape}, wanted {shape}: whole days of 1,440 minutes")
        if not (np.isfinite(self.qps).all() and (self.qps >= 0).all()):
            raise TrafficError("qps has minutes that are no number or below zero: name the days and leave them out")

    @property
    def days(self) -> int:
        """How many days there are."""
        return len(self.weekend)

    def of_minutes(self) -> Floats:
        """[regions, minutes], one day after the other."""
        return self.qps.reshape(len(self.regions), -1)

    def varied(self, seed: int) -> Traffic:
        """The same days, each as it might have been: whole days and single minutes scattered, seeded."""
        random = np.random.default_rng(seed)
        whole = random.lognormal(-(DAY_SPREAD**2) / 2, DAY_SPREAD, self.qps.shape[:2])[..., None]
        minutes = 1 + MINUTE_SPREAD * random.standard_normal(self.qps.shape)
        varied = np.maximum(self.qps * whole * minutes, 0.0)
        return Traffic(self.regions, varied, self.weekend, f"{self.source}, days scattered by {DAY_SPREAD:.0%}")


def planned(estate: Estate, days: int = DAYS) -> Traffic:
    """The estate's daily shape times its demand_scale, the same in each region."""
    weekend = np.array([(FIRST_WEEKDAY + day) % 7 >= SATURDAY for day in range(days)])
    hours = np.array([[estate.traffic.planned_qps(h, weekend=bool(w)) for h in range(24)] for w in weekend]).ravel()
    minutes = _ramped(np.repeat(hours, 60)) * estate.demand_scale()
    qps = np.broadcast_to(minutes.reshape(days, MINUTES), (len(estate.regions), days, MINUTES))
    return Traffic(tuple(estate.regions), np.array(qps), weekend, f"the estate's shape x {estate.demand_scale():.2f}")


def constant(estate: Estate, qps: Mapping[str, float]) -> Traffic:
    """One day at one level in each region: a rehearsal holds the peak."""
    levels = np.array([qps[region] for region in estate.regions])
    whole = np.broadcast_to(levels[:, None, None], (len(levels), 1, MINUTES))
    return Traffic(tuple(estate.regions), np.array(whole), np.array([False]), "one level")


def peak(estate: Estate) -> Traffic:
    """The weekday peak all day."""
    level = max(estate.traffic.weekday_qps) * estate.demand_scale()
    return constant(estate, dict.fromkeys(estate.regions, level))


def recorded(series: Mapping[str, Floats], first: dt.date, source: str) -> Traffic:
    """Whole recorded days from ``first`` on, requests a second by region, one value a minute.

    Raises TrafficError for a region whose minutes are no whole days, or not as many as another's.
    """
    counts = {region: len(values) for region, values in series.items()}
    if len(set(counts.values())) != 1 or next(iter(counts.values())) % MINUTES or not next(iter(counts.values())):
        told = ", ".join(f"{region} {count}" for region, count in counts.items())
        raise TrafficError(f"minutes by region: {told}; wanted the same whole days of {MINUTES} in each")
    days = next(iter(counts.values())) // MINUTES
    weekend = np.array([(first + dt.timedelta(days=day)).weekday() >= SATURDAY for day in range(days)])
    qps = np.stack([np.asarray(values, float).reshape(days, MINUTES) for values in series.values()])
    return Traffic(tuple(series), qps, weekend, source)


def _ramped(levels: Floats) -> Floats:
    """A moving mean over the ramp; the days go round, so that the first minute has one before it."""
    half = RAMP_MINUTES // 2
    padded = np.concatenate([levels[-half:], levels, levels[: half - 1]])
    sums = np.concatenate([[0.0], np.cumsum(padded)])
    return np.asarray((sums[RAMP_MINUTES:] - sums[:-RAMP_MINUTES]) / RAMP_MINUTES)
