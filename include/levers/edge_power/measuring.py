"""Watts and capacity of each mode, measured by the agent on one device that the bench program takes out of service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from include.clients.devices import Device
from include.levers.devices import OFFLINE, device_of, install_agent, state_of
from include.levers.edge_power.modes import Table, table_from
from include.levers.edge_power.wanted import COSTS, World
from include.rollout.lever import NotConverged, Refused
from jetson_tasks import paths

MODES_AT_MOST = 8
BESIDE_SECONDS = 300  # for switches, and for a bench that ends late


class Measuring(NamedTuple):
    """What to measure: seconds of each figure, seconds after a switch, the bench program, and the modes (none: all)."""

    seconds: int
    settle_seconds: int
    bench: str
    modes: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        """The agent's command."""
        parts = ["measure", "--seconds", str(self.seconds), "--settle", str(self.settle_seconds)]
        return [*parts, "--bench", self.bench, *(["--modes", ",".join(self.modes)] if self.modes else [])]

    @property
    def longest(self) -> float:
        """Seconds that it may take without a word."""
        return MODES_AT_MOST * (2 * self.seconds + self.settle_seconds) + BESIDE_SECONDS


def measure(world: World, name: str, asked: Measuring) -> tuple[Mapping[str, Any], Table]:
    """Measure on a device and keep what was found; it ends in the mode, and with the agent, that it began with.

    Raises Refused for a device that is offline or figures that are no measurement, NotConverged where it failed.
    """
    device = device_of(world, name)
    before = state_of(device)
    if before == OFFLINE:
        raise Refused(f"{world.place}: {name} is offline: measure another device, or bring it back")
    if before["agent"] is None:
        install_agent(world, device)
    try:
        found = _measured(world, device, asked)
    finally:
        if before["agent"] is None:
            world.target.fence()
            device.remove(paths.AGENT)
    table = table_from(found)
    content = json.dumps(found, sort_keys=True, indent=1).encode()
    world.target.clients.storage(COSTS).put(world.estate.edge.power.measured, content)
    return found, table


def _measured(world: World, device: Device, asked: Measuring) -> Mapping[str, Any]:
    world.target.fence()
    ran = device.run("python3", paths.AGENT, *asked.command, seconds=asked.longest)
    try:
        found: Mapping[str, Any] = json.loads(ran.out)
    except ValueError:
        said = (ran.err or ran.out).strip()[:300]
        raise NotConverged(f"{world.place}: measuring {device.name} ended with {ran.status}: {said}") from None
    return found
