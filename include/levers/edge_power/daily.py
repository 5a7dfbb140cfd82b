"""The schedule of a day for each device, from the days before, and how it is written: the canary first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from include.clients.prometheus import Prometheus
from include.estate import DevicePower
from include.levers.devices import OFFLINE, PAST, ask, content_of, device_of, state_of
from include.levers.edge_power import figures
from include.levers.edge_power.forecasts import day_ahead
from include.levers.edge_power.modes import Table, worth_having
from include.levers.edge_power.planner import (
    MINUTES_PER_HOUR,
    Loads,
    Schedule,
    Switching,
    complete,
    energy_wh,
    entries,
    plan,
)
from include.levers.edge_power.wanted import World, scheduled
from include.rollout.gates import Figure
from include.rollout.lever import Json, NotConverged, Refused

DAY = 1440
VALID = dt.timedelta(hours=48)  # one planning may fail; after two the devices go to their safe mode
KEPT = ("schedule", "expires_at")


@dataclass(frozen=True)
class DayPlan:
    """What a device is to do in a day. No entries: nothing is known of its load, and its policy alone decides."""

    device: str
    entries: list[dict[str, Any]]
    source: str
    wh_wall: float | None  # expected, at the wall socket

    def to_json(self) -> dict[str, Json]:
        """As it is kept, and handed from task to task."""
        return asdict(self)


def load_days(prometheus: Prometheus, power: DevicePower, day: dt.date) -> dict[str, Loads]:
    """The load of each device on the days before ``day`` (UTC), [days, 1440] in QPS; NaN where there is no sample."""
    begin = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp() - power.history_days * 86400
    found = {name: np.full((power.history_days, DAY), np.nan, np.float32) for name in power.devices}
    end = begin + power.history_days * 86400 - 60
    for series in prometheus.query_range(power.load_metric, begin, end, 60):
        days = found.get(series.labels.get("device", ""))
        if days is None:
            continue
        for at, value in series.points:
            days.flat[round((at - begin) / 60)] = value if value >= 0 else np.nan
    return found


def plan_day(days: Mapping[str, Loads], table: Table, power: DevicePower) -> list[DayPlan]:
    """The schedule of the day after ``days`` for each device; all devices are planned at once."""
    useful, ahead = worth_having(table), {}
    for name, load in days.items():
        known = load[np.isfinite(load).any(axis=1)]
        if len(known):
            ahead[name] = day_ahead(load[np.isfinite(load).any(axis=1).argmax() :])
    if not ahead:
        return [_unplanned(name) for name in days]
    likely, need = (
        complete(np.stack([getattr(a, part) for a in ahead.values()]).T, useful) for part in ("load", "need")
    )
    done = plan(
        likely, need / np.float32(power.utilisation), useful, Switching(dwell_minutes=power.dwell_seconds // 60)
    )
    planned = {name: _planned(name, done[:, [n]], likely[:, [n]], a.source, useful, power)
               for n, (name, a) in enumerate(ahead.items())}  # fmt: skip
    return [planned.get(name) or _unplanned(name) for name in days]


def _planned(name: str, day: Schedule, load: Loads, source: str, table: Table, power: DevicePower) -> DayPlan:
    return DayPlan(
        name, entries(day[:, 0], table), source, round(energy_wh(day, load, table, power.supply_efficiency), 1)
    )


def _unplanned(name: str) -> DayPlan:
    return DayPlan(name, [], "no load is known", None)


def write_schedule(world: World, planned: Mapping[str, Json], table: Table) -> str:
    """Write a device's schedule under the next generation; one line about it.

    Nothing is written to a device that no rollout has asked to follow its load, nor without entries. Raises
    NotConverged or Refused with the former desired state written again.
    """
    name, power = planned["device"], world.estate.edge.power
    device = device_of(world, name)
    held = state_of(device)
    if held == OFFLINE:
        return f"{name}: PENDING, it is offline"
    if not held["desired"] or "policy" not in held["desired"]:
        return f"{name}: left alone, no rollout has asked it to follow its load"
    if not planned["entries"]:
        return f"{name}: left alone, {planned['source']}: its policy alone decides"
    wanted = scheduled(power, table, name, planned["entries"], world.now() + VALID.total_seconds())
    if _same(held["desired"], wanted):
        return f"{name}: has it already"
    try:
        ask(world, device, wanted)
        refuse_unserved(world, name, table)
    except NotConverged:
        ask(world, device, held["desired"], forgiven=[PAST])
        raise
    return f"{name}: {len(planned['entries'])} modes in the day, from {planned['source']}, {planned['wh_wall']} Wh"


def _same(held: Mapping[str, Json], wanted: Mapping[str, Json]) -> bool:
    """Whether the device follows that schedule, and for at least another day."""
    until = (held.get("expires_at") or 0) + 86400 >= wanted["expires_at"]
    return until and content_of(held, ["expires_at"]) == content_of(wanted, ["expires_at"])


def refuse_unserved(world: World, name: str, table: Table) -> None:
    """Raise NotConverged unless the device is as asked and its mode serves its load; unknown is no pass."""
    found = [status for status in figures.statuses(world, [name]).values() if status is not None]
    for what, figure in (("unserved", figures.unserved(found, table)), ("not as asked", figures.not_as_asked(found))):
        if figure is None or figure.value:
            raise NotConverged(f"{name}: {what} is {_said(figure)}: its former schedule was written again")


def _said(figure: Figure | None) -> str:
    return "unknown" if figure is None else f"{figure.value:g} {figure.unit} ({figure.note})"


def is_pending(line: str) -> bool:
    """Whether a line of :func:`write_schedule` says that a device is pending."""
    return "PENDING" in line


def text_of(plans: Sequence[Mapping[str, Json]], day: dt.date) -> str:
    """The plans as a person reads them."""
    lines = [f"{p['device']}: {', '.join(_entry(e) for e in p['entries']) or p['source']}" for p in plans]
    return "\n".join([f"power modes on {day}", *lines])


def _entry(entry: Mapping[str, Json]) -> str:
    hours, minutes = divmod(entry["minute"], MINUTES_PER_HOUR)
    return f"{hours:02d}:{minutes:02d} {entry['mode']}"


def refuse_offline_canary(lines: Sequence[str]) -> None:
    """Raise Refused when the canary could not be written to: nothing is tried on the others before it."""
    if any(is_pending(line) for line in lines):
        raise Refused(f"{lines[0]}: nothing is written to the others before the canary; bring it back")
