"""What is measured of the devices: gates, evidence, and what their modes cost."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from include.clients.prometheus import PrometheusError
from include.estate import DevicePower
from include.levers.base import Dollars
from include.levers.devices import device_of, status_of
from include.levers.edge_power.modes import Mode, Table, table_of
from include.levers.edge_power.wanted import World, devices_of
from include.levers.fields import Object
from include.levers.probes import GateWindow, Probe, at_once
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.lever import Json

HOURS_MONTH = Decimal("730.5")
WATTS_ABOVE = 1.25  # of what the table says of a mode at its load: beyond it the table is another board's
LEAST_MINUTES = 60  # of load, for dollars


def statuses(world: World, names: Iterable[str]) -> dict[str, Object | None]:
    """What the agent of each device says; None for one that is offline or has none."""
    return {name: status_of(device_of(world, name)) for name in names}


def gates_of(world: World, slot: str, table: Table) -> list[Probe]:
    """The gates of a slot: requests above capacity, devices as asked, none pending, watts as measured.

    Each device is asked once for all of them.
    """
    names = devices_of(world.estate.edge.power, slot)
    look = functools.cache(lambda: statuses(world, names))
    most = Comparison.AT_MOST
    served = Gate("unserved_qps", most, 0, "QPS", 1, "every request must find capacity", safety=True)
    asked = Gate("devices_not_as_asked", most, 0, "devices", 1, "every device must be as asked", safety=True)
    pending = Gate("devices_pending", most, 0, "devices", 1, "an offline device is pending")
    watts = Gate("watts_to_measured", most, WATTS_ABOVE, "ratio", 1, "the measured table must be this board's")
    return [
        at_once(served, lambda _: unserved(_answering(look()), table)),
        at_once(asked, lambda _: not_as_asked(_answering(look()))),
        Probe(pending, lambda _, window: _none_pending(look(), window)),
        at_once(watts, lambda _: watts_ratio(_answering(look()), table)),
    ]


def _answering(found: Mapping[str, Object | None]) -> list[Object]:
    return [status for status in found.values() if status is not None]


def _none_pending(found: Mapping[str, Object | None], window: GateWindow) -> Figure | None:
    """Unknown, not a failure, while a device is offline or was not written to: the others need no undo for that."""
    written = window.stage.settings.get("devices", found)
    ready = [name for name, status in found.items() if name in written and status is not None]
    return Figure(0, "devices", len(found), "agents' status") if len(ready) == len(found) else None


def unserved(found: Sequence[Object], table: Table) -> Figure | None:
    """QPS above the measured capacity of the mode that each device is in; None while a load is unknown."""
    if not found or any(status["load_qps"] is None for status in found):
        return None
    capacity = {mode.name: mode.capacity_qps for mode in table}
    lacking = {s["device"]: max(0.0, s["load_qps"] - capacity.get(s["mode"], 0.0)) for s in found}
    note = ", ".join(f"{name} lacks {qps:.0f}" for name, qps in lacking.items() if qps)
    return Figure(sum(lacking.values()), "QPS", len(found), "agents' status and measured capacity", note)


def not_as_asked(found: Sequence[Object]) -> Figure | None:
    """Devices with an error, or in another mode than the agent wants."""
    if not found:
        return None
    wrong = {s["device"]: s["error"]["message"] for s in found if s["error"]}
    wrong |= {
        s["device"]: f"in {s['mode']}, wants {s['wanted']}"
        for s in found
        if not s["error"] and s["wanted"] not in (None, s["mode"])
    }
    note = "; ".join(f"{name}: {text}" for name, text in wrong.items())
    return Figure(len(wrong), "devices", len(found), "agents' status", note)


def watts_ratio(found: Sequence[Object], table: Table) -> Figure | None:
    """The worst device's watts by what was measured of its mode at its load; None while either is unknown."""
    modes = {mode.name: mode for mode in table}
    known = [s for s in found if s["watts"] is not None and s["load_qps"] is not None and s["mode"] in modes]
    if not known or len(known) < len(found):
        return None
    ratios = [s["watts"] / modes[s["mode"]].watts(s["load_qps"]) for s in known]
    return Figure(round(max(ratios), 3), "ratio", len(known), "INA3221 (VDD_IN) and the measured table")


# Money ---------------------------------------------------------------------------------------------------------------


def usd_month(watts: float, devices: int, efficiency: float, usd_kwh: Decimal) -> Decimal:
    """USD a month of devices that draw ``watts`` each at the board, paid at the wall socket."""
    wall = Decimal(repr(watts)) * devices / Decimal(repr(efficiency))
    return (wall / 1000 * HOURS_MONTH * usd_kwh).quantize(Decimal("0.01"))


def cheapest_watts(load: float, table: Table, utilisation: float) -> float:
    """Watts of the cheapest mode that serves a load, of the largest where none does."""
    able = [mode for mode in table if mode.capacity_qps * utilisation >= load] or [table[-1]]
    return min(mode.watts(load) for mode in able)


def dollars(world: World, live: Mapping[str, Json]) -> Dollars:
    """The modes of now against the cheapest by load; unknown without load, or in a mode that nobody measured."""
    power, money = world.estate.edge.power, world.estate.cost.devices
    book = f"measured watts at the wall socket, {money.usd_kwh} USD/kWh ({money.source})"
    table = table_of(Mode(**row) for row in live["table"])
    loads, modes = recent_loads(world), [entry["was"].get("mode") for entry in live["objects"]]
    by_name = {mode.name: mode for mode in table}
    if len(loads) < LEAST_MINUTES or any(mode not in by_name for mode in modes):
        return Dollars(None, None, book)

    def mean(watts: Iterable[float]) -> float:
        return sum(watts) / len(loads)

    before = sum((_usd(mean(by_name[m].watts(q) for q in loads), 1, power, money) for m in modes), Decimal(0))
    wanted = by_name.get(world.settings.power_mode)
    after = mean(wanted.watts(q) if wanted else cheapest_watts(q, table, power.utilisation) for q in loads)
    return Dollars(before, _usd(after, len(modes), power, money), book)


def _usd(watts: float, devices: int, power: DevicePower, money: Any) -> Decimal:
    return usd_month(watts, devices, power.supply_efficiency, money.usd_kwh)


def recent_loads(world: World, days: int = 1) -> list[float]:
    """Requests/s of a device in each minute of the last days that Prometheus has, the mean of all devices."""
    power = world.estate.edge.power
    region = power.load_region or world.estate.canary_region
    try:
        now = world.now()
        series = world.target.clients.of(region).prometheus.query_range(
            f"avg({power.load_metric})", now - days * 86400, now, 60
        )
    except PrometheusError:
        return []
    return [value for one in series for _, value in one.points if value == value]


def evidence(world: World) -> dict[str, Json]:
    """Modes, watts at the board and at the wall socket, and who is pending."""
    power = world.estate.edge.power
    found = statuses(world, power.devices)
    known = {name: status for name, status in found.items() if status is not None}
    watts = [status["watts"] for status in known.values() if status["watts"] is not None]
    return {
        "modes": {name: status["mode"] for name, status in known.items()},
        "watts": round(sum(watts), 1) if watts else None,
        "watts_wall": round(sum(watts) / power.supply_efficiency, 1) if watts else None,
        "devices_measured": len(watts),
        "without_answer": sorted(set(found) - set(known)),
    }
