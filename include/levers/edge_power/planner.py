"""The day's schedule of power modes: the least energy over a forecast that never falls below the load's capacity.

All series (devices, days) are planned at once. Loads are arrays of float, [minutes, series], in QPS of one device;
schedules are arrays of uint8 of that shape with the place of a mode in the table.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from include.levers.edge_power.modes import Table

Loads = npt.NDArray[np.float32]
Schedule = npt.NDArray[np.uint8]
LACKING = 1e6  # Wh that a minute without its capacity costs a plan: no day has so many
BLOCK = 2048  # series that are planned at once: what a processor keeps near
MINUTES_PER_HOUR = 60


class Switching(NamedTuple):
    """What a change of mode costs: ``wh`` of energy each, and the least minutes in a mode before the next."""

    wh: float = 0.02  # ASSUMPTION: a few seconds at full power
    dwell_minutes: int = 5


def plan(load: Loads, need: Loads, table: Table, switching: Switching, start: int | None = None) -> Schedule:
    """The cheapest schedule by dynamic programming over minutes and modes.

    ``load`` decides the energy, ``need`` (the load with its margin) which modes have the capacity; where no mode has
    it, the largest is used. ``start`` is the mode before the first minute, free to be left; None: any.
    Raises ValueError where a forecast is no number: what is unknown is for the caller to plan for.
    """
    if not (np.isfinite(load).all() and np.isfinite(need).all()):
        raise ValueError("load or need has minutes that are no number: plan them with the largest mode's capacity")
    blocks = range(0, load.shape[1], BLOCK)
    parts = [_plan(load[:, at : at + BLOCK], need[:, at : at + BLOCK], table, switching, start) for at in blocks]
    return np.concatenate(parts, axis=1)


def complete(forecast: Loads, table: Table) -> Loads:
    """A forecast whose unknown minutes need all that the largest mode serves."""
    return np.where(np.isfinite(forecast), forecast, np.float32(table[-1].capacity_qps))


def _plan(load: Loads, need: Loads, table: Table, switching: Switching, start: int | None) -> Schedule:
    (minutes, series), dwell, modes = load.shape, switching.dwell_minutes, len(table)
    best = np.full((modes, series), 0 if start is None else np.inf, np.float32)
    if start is not None:
        best[start] = 0
    entered = np.full((dwell, modes, series), np.inf, np.float32)  # the cost of modes that may not be left yet
    # The minutes after the last let a late change of mode have its dwell time.
    came = np.zeros((minutes + dwell - 1, modes, series), bool)
    source = np.zeros((minutes + dwell - 1, series), np.uint8)
    for minute in range(minutes + dwell - 1):
        entered[minute % dwell] = _cheapest(best, source[minute]) + np.float32(switching.wh)
        if minute < minutes:
            energy = _energy(load[minute], need[minute], table)
            best += energy
            entered += energy
        done = entered[(minute + 1) % dwell]
        np.less(done, best, out=came[minute])
        np.minimum(done, best, out=best)
    return _traced(best, came, source, minutes, dwell)


def _cheapest(cost: Loads, place: Schedule) -> Loads:
    """The least cost of each series; its mode goes into ``place``. As argmin, four times as fast for a few modes."""
    least: Loads = cost[0].copy()
    for mode in range(1, len(cost)):
        np.maximum(place, (cost[mode] < least).view(np.uint8) * np.uint8(mode), out=place)
        np.minimum(least, cost[mode], out=least)
    return least


def _energy(load: Loads, need: Loads, table: Table) -> Loads:
    """Wh of one minute by mode, [modes, series], with LACKING where a larger mode has the capacity that one lacks."""
    capacity, idle, slope = columns(table)
    needed, found = np.minimum(need, capacity.max()), np.empty((len(table), len(load)), np.float32)
    for mode, wh in enumerate(found):
        np.minimum(load, capacity[mode], out=wh)
        wh *= slope[mode] / MINUTES_PER_HOUR
        wh += idle[mode] / MINUTES_PER_HOUR
        wh += (needed > capacity[mode]) * np.float32(LACKING)
    return found


@functools.cache
def columns(table: Table) -> tuple[Loads, Loads, Loads]:
    """Capacity (QPS), idle watts and joules a request of each mode."""
    rows = [(mode.capacity_qps, mode.idle_watts, mode.joules_per_request) for mode in table]
    capacity, idle, slope = np.array(rows, np.float32).T
    return capacity, idle, slope


def _traced(best: Loads, came: Any, source: Schedule, minutes: int, dwell: int) -> Schedule:
    """Back from the cheapest end, minute by minute, all series at once."""
    path = np.empty((len(source), best.shape[1]), np.uint8)
    mode, held = best.argmin(axis=0).astype(np.uint8), np.zeros(best.shape[1], np.int16)
    every = np.arange(best.shape[1])
    for minute in reversed(range(len(source))):
        held[(held == 0) & came[minute, mode, every]] = dwell
        path[minute] = mode
        mode = np.where(held == 1, source[minute], mode)
        held -= held > 0
    return path[:minutes]


# What a schedule uses and leaves unserved ----------------------------------------------------------------------------


def energy_wh(schedule: Schedule, load: Loads, table: Table, efficiency: float = 1.0) -> float:
    """Wh at the wall socket of all series together; a minute whose load is no number is left out.

    ``efficiency`` is the share of the wall socket's power that reaches the board.
    """
    capacity, idle, slope = columns(table)
    watts = idle[schedule] + slope[schedule] * np.minimum(load, capacity[schedule])
    return float(np.nansum(watts, dtype=np.float64)) / MINUTES_PER_HOUR / efficiency


def unserved(schedule: Schedule, load: Loads, table: Table) -> float:
    """Requests of all series together that came above the capacity of the mode of their minute."""
    capacity, _, _ = columns(table)
    return float(np.nansum(np.maximum(load - capacity[schedule], 0), dtype=np.float64)) * 60


def switches(schedule: Schedule) -> int:
    """Changes of mode of all series together."""
    return int((schedule[1:] != schedule[:-1]).sum())


# What devices do -----------------------------------------------------------------------------------------------------


def by_thresholds(load: Loads, bounds: Sequence[float], start: int) -> Schedule:
    """The plan's thresholds, looked at every 60 s: above ``bounds[i]`` QPS mode i + 1, below the first mode 0.

    What is chosen by a minute's load holds in the next; ``start`` holds in the first minute and while nothing is known.
    """
    chosen = np.searchsorted(np.asarray(bounds), load, side="left").astype(np.uint8)
    chosen[np.isnan(load)] = len(bounds)
    return np.concatenate([np.full_like(chosen[:1], start), chosen[:-1]])


def entries(day: Schedule, table: Table) -> list[dict[str, Any]]:
    """One day's schedule [minutes] as the agent reads it: the minute from which a mode holds, and its name."""
    starts = [0, *(np.flatnonzero(day[1:] != day[:-1]) + 1).tolist()]
    return [{"minute": minute, "mode": table[day[minute]].name} for minute in starts]
