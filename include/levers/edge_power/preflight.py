"""What is looked at before anything is written to a device."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from include.clients.devices import Device, DeviceError, OfflineError
from include.levers.devices import conf_of, device_of, mode_of, refuse_other
from include.levers.edge_power.modes import Table, worth_having
from include.levers.edge_power.wanted import World, age_of, asked, load_url, measured
from include.rollout.lever import Check, Refused
from jetson_tasks import bundle, paths
from jetson_tasks.desired import RefusedState, parse

UNIT = "have an administrator install jetson_tasks/files/akidb-power.service as it is, then `systemctl daemon-reload`"


def has_table(world: World) -> Iterator[Check]:
    """Were watts and capacity measured? Without them nothing else is worth a look."""
    try:
        found, table = measured(world)
    except Refused as error:
        yield Check("modes measured", False, str(error), "trigger measure_devices, then start again")
        return
    names = ", ".join(mode.name for mode in table)
    yield Check("modes measured", True, age_of(found, world.now()) or f"{names} on {found.get('device')}")


def answers(world: World) -> Iterator[Check]:
    """Does each device answer? The canary has to; another one that doesn't is pending."""
    power = world.estate.edge.power
    for name in power.devices:
        try:
            refuse_other(device_of(world, name))
        except OfflineError as error:
            is_canary = name == power.devices[0]
            remedy = "bring it back: nothing is tried on the others before the canary" if is_canary else ""
            yield Check(f"device {name}", not is_canary, f"{error}; the run leaves it as it is and ends red", remedy)
        except (DeviceError, Refused) as error:
            yield Check(f"device {name}", False, str(error), "mend what the message names, then start again")
        else:
            yield Check(f"device {name}", True, "answers by its own name")


def provisioned(world: World) -> Iterator[Check]:
    """Did an administrator install unit and sudo rights, and has the board the measured modes?"""
    _, table = measured(world)
    for name in world.estate.edge.power.devices:
        try:
            yield from _device(world, device_of(world, name), table)
        except OfflineError:
            continue  # said already
        except (DeviceError, Refused) as error:
            yield Check(f"board of {name}", False, str(error), "mend what the message names, then start again")


def _device(world: World, device: Device, table: Table) -> Iterator[Check]:
    unit = device.read(paths.UNIT)
    same = unit is not None and unit.decode("utf-8", "replace") == bundle.unit_text()
    reason = "is this release's" if same else f"{paths.UNIT} {'differs from this release' if unit else 'is missing'}"
    yield Check(f"unit of {device.name}", same, reason, "" if same else UNIT)
    mode, conf = mode_of(device), conf_of(device)
    asks = [world.settings.power_mode] if world.settings.power_mode else [m.name for m in worth_having(table)]
    unknown = [one for one in [*asks, world.estate.edge.power.safe_mode] if one not in conf.modes]
    if unknown:
        reason = f"has no mode {', '.join(unknown)}: it has {', '.join(conf.modes)}"
        yield Check(f"modes of {device.name}", False, reason, "correct edge.power in estate.yaml, or measure its board")
        return
    far = [] if world.settings.power_mode else [one for one in asks if conf.needs_reboot(mode, one)]
    reason = f"{', '.join(far)} need a reboot from {mode}" if far else f"{', '.join(asks)} without a reboot from {mode}"
    yield Check(f"modes of {device.name}", not far, reason, "set a mode without it first: power_mode" if far else "")


def acceptable(world: World) -> Iterator[Check]:
    """Would the agent accept what is asked? Its own validation, on this side."""
    power, (_, table) = world.estate.edge.power, measured(world)
    url = load_url(world)
    for name in power.devices:
        counters = {"generation": 1, "issued_at": world.now()}
        try:
            parse(json.dumps({**asked(power, table, name, url, world.settings.power_mode), **counters}))
        except RefusedState as error:
            yield Check(f"desired state of {name}", False, str(error), "correct edge.power in estate.yaml")
            return
    yield Check("desired states", True, f"{len(power.devices)} devices would accept theirs")


CHECKS: Mapping[str, Callable[[World], Iterator[Check]]] = {
    "devices": answers,
    "devices provisioned": provisioned,
    "desired states": acceptable,
}
