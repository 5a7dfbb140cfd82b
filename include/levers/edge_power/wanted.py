"""What each device is asked for, and the measured table that it is made of."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from include.estate import DevicePower
from include.levers import world as worlds
from include.levers.devices import fixed
from include.levers.edge_power.modes import REMEDY, Table, rows_for_agent, table_from, worth_having
from include.levers.edge_power.settings import PowerSettings
from include.rollout.lever import Json, Refused

World = worlds.World[PowerSettings]
CANARY, REST = SLOTS = ("canary", "rest")
COSTS = "akidb_costs"  # the Variable that says where measurements are kept
SCHEDULED = ("schedule", "expires_at")  # fields of a desired state that the daily planning writes
OLD_DAYS = 180
FORMAT = 1


def devices_of(power: DevicePower, slot: str) -> tuple[str, ...]:
    """The devices of a slot."""
    return power.devices[:1] if slot == CANARY else power.devices[1:]


def measurement(storage: Any, key: str) -> Mapping[str, Any]:
    """What the canary's ``measure`` found. Raises Refused with the remedy where nothing was measured."""
    try:
        found: Mapping[str, Any] = json.loads(storage.read(key))
    except FileNotFoundError:
        raise Refused(f"nothing was measured: {key} does not exist in {COSTS}; labels are no data; {REMEDY}") from None
    except ValueError as error:
        raise Refused(f"{key} in {COSTS} is damaged ({error}): {REMEDY}") from error
    return found


def measured(world: World) -> tuple[Mapping[str, Any], Table]:
    """The measurement and its table. Raises Refused."""
    found = measurement(world.target.clients.storage(COSTS), world.estate.edge.power.measured)
    return found, table_from(found)


def age_of(found: Mapping[str, Any], now: float) -> str:
    """Why a measurement is too old to be relied on without a second look; empty for a younger one."""
    try:
        measured_at = float(found.get("measured_at", 0))
        days, date = (now - measured_at) / 86400, dt.datetime.fromtimestamp(measured_at, dt.UTC).date()
    except (OSError, OverflowError, TypeError, ValueError):
        return f"the modes were measured at {found.get('measured_at')!r}, which is no moment: measure again"
    return f"the modes were measured on {date}, {days:.0f} days ago: measure again" if days > OLD_DAYS else ""


def load_region(world: World) -> str:
    """The region whose Prometheus has the devices' load."""
    return world.estate.edge.power.load_region or world.estate.canary_region


def load_url(world: World) -> str:
    """The address at which a device asks for its load."""
    return world.estate.edge.power.load_url or str(world.target.clients.of(load_region(world)).prometheus.url)


def policy(power: DevicePower, table: Table, device: str, url: str) -> dict[str, Json]:
    """How a device follows its load: the modes that are the cheapest for some load, by measured watts."""
    query = f'{power.load_metric}{{device="{device}"}}'
    return {
        "table": rows_for_agent(worth_having(table)),
        "utilisation": power.utilisation,
        "hysteresis": power.hysteresis,
        "dwell_seconds": power.dwell_seconds,
        "lost_after_seconds": power.lost_after_seconds,
        "load": {"prometheus": url, "query": query},
    }


def asked(power: DevicePower, table: Table, device: str, url: str, mode: str = "") -> dict[str, Json]:
    """A device's desired state without counters: one mode for good, or the policy by load."""
    if mode:
        return fixed(device, mode)
    head = {"format": FORMAT, "device": device, "expires_at": None, "safe_mode": power.safe_mode, "reboot": False}
    return {**head, "policy": policy(power, table, device, url)}


def scheduled(asks: Mapping[str, Json], schedule: Sequence[Mapping[str, Json]], until: float) -> dict[str, Json]:
    """The same with a schedule; ``until`` then (Unix seconds) it holds, after it the device goes to its safe mode."""
    return {**asks, "schedule": list(schedule), "expires_at": until}
