"""The devices' power modes: the agent installed, and asked to follow the load by what was measured of each mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from include.clients.devices import DeviceError
from include.levers.base import OBJECTS, Dollars, ManifestLever
from include.levers.devices import AskedDevice, conf_of, device_named, device_of, is_offline
from include.levers.edge_power import figures, preflight
from include.levers.edge_power.modes import Mode, rows_of, table_of, worth_having
from include.levers.edge_power.settings import PowerSettings
from include.levers.edge_power.wanted import CANARY, SCHEDULED, SLOTS, World, age_of, asked, devices_of, measured
from include.levers.owned import Report, Thing, by_key
from include.levers.probes import Probe
from include.rollout.lever import Check, Json, NotConverged, Plan, Refused, Stage, Target, Undo
from include.rollout.place import PlaceKind


class EdgePower(ManifestLever[PowerSettings]):
    """The agent on every device and what it is asked for.

    ``target.clients`` needs ``devices`` (Devices), ``storage`` (the measurements) and ``of(region).prometheus``, which
    helps with dollars. The schedule of a day is written by the DAG ``edge_power`` and makes no difference here.
    """

    name, slots, settings_type = "edge_power", SLOTS, PowerSettings
    acts_in, needs, undo_class = PlaceKind.DEVICES, frozenset({"devices"}), Undo.MINUTES
    first_check = ("modes measured", preflight.has_table)

    def facts(self, world: World) -> dict[str, Json]:
        """The measured table, and the devices that answer: the others are pending, and not written to."""
        _, table = measured(world)
        names = world.estate.edge.power.devices
        answering = [name for name in names if not is_offline(device_of(world, name))]
        return {"table": rows_of(table), "devices": answering}

    def facts_for(self, world: World, stage: Stage) -> dict[str, Json]:
        """What was planned: a device that has come back since has no origin in the snapshot."""
        del world
        return {"table": stage.settings["table"], "devices": stage.settings["devices"]}

    def desired(self, world: World, slot: str, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """The devices of a slot."""
        power, mode = world.estate.edge.power, world.settings.power_mode
        table = table_of(Mode(**row) for row in facts["table"])
        return [
            AskedDevice(name, asked(power, table, name, mode), name in facts["devices"], () if mode else SCHEDULED)
            for name in devices_of(power, slot)
        ]

    def stages(self, world: World, live: Mapping[str, Json]) -> tuple[Stage, ...]:
        """Each slot that has devices, with what it was planned from."""
        chosen = {"table": live["table"], "devices": live["devices"]}
        slots = [slot for slot in self.slots if devices_of(world.estate.edge.power, slot)]
        return tuple(self.stage(world, slot, live, **chosen) for slot in slots)

    def since(self, world: World) -> Iterable[Thing]:
        """None: how a device was that no snapshot names, nobody knows."""
        del world
        return ()

    def thing(self, key: str, was: Json) -> Thing:
        """A device of a snapshot; its state from before is in the entry."""
        del was
        return AskedDevice(device_named(key))

    def title(self, world: World, slot: str, live: Mapping[str, Json]) -> str:
        """What a person reads."""
        names = [name for name in devices_of(world.estate.edge.power, slot) if name in live["devices"]]
        what = f"in mode {world.settings.power_mode}" if world.settings.power_mode else "follow their load"
        return f"{', '.join(names) or 'no device'} {what}"

    def probes(self, world: World, slot: str) -> Sequence[Probe]:
        """See figures.gates_of."""
        return figures.gates_of(world, slot, measured(world)[1])

    def dollars(self, world: World, live: Mapping[str, Json]) -> Dollars:
        """See figures.dollars."""
        return figures.dollars(world, live)

    def evidence_of(self, world: World) -> dict[str, Json]:
        """See figures.evidence."""
        return figures.evidence(world)

    def notes(self, world: World, live: Mapping[str, Json]) -> Sequence[str]:
        """Who is pending, what the modes were measured as, and what they leave out."""
        found, table = measured(world)
        pending = [name for name in world.estate.edge.power.devices if name not in live["devices"]]
        left = [mode.name for mode in table if mode not in worth_having(table)]
        lines = [f"{name} is offline: pending, this run leaves it as it is and ends red" for name in pending]
        lines += [
            f"{mode.name} was measured: {mode.idle_watts} W idle, {mode.full_watts} W full, {mode.capacity_qps:g} QPS"
            for mode in table
        ]
        lines += [f"{name} is never the cheapest: the devices leave it out" for name in left]
        return [*lines, *filter(None, [age_of(found, world.now())])]

    def checks(self) -> Mapping[str, Callable[[World], Iterator[Check]]]:
        """See preflight."""
        return preflight.CHECKS

    def plan(self, target: Target) -> Plan:
        """See :class:`include.rollout.lever.Lever`. Where a mode needs a reboot, so does the undo."""
        plan = super().plan(target)
        return replace(plan, undo=Undo.REBOOT) if self._reboots(self.world(target), plan.live) else plan

    def _reboots(self, world: World, live: Mapping[str, Json]) -> bool:
        mode, modes = world.settings.power_mode, {k: was.get("mode") for k, was in by_key(live[OBJECTS]).items() if was}
        changed = {device_named(key): was for key, was in modes.items() if mode and was not in (None, mode)}
        return any(conf_of(device_of(world, name)).needs_reboot(was, mode) for name, was in changed.items())

    def settle(self, world: World, stage: Stage) -> None:
        """The canary must be there; the others are pending while they are not."""
        names = devices_of(world.estate.edge.power, stage.slot)
        gone = [name for name in names if is_offline(device_of(world, name))]
        if gone and stage.slot == CANARY:
            raise NotConverged(f"{world.place}: the canary {', '.join(gone)} is offline")

    def applied(self, world: World, stage: Stage, facts: Mapping[str, Json]) -> dict[str, Json]:
        """Who is pending."""
        del facts
        names = devices_of(world.estate.edge.power, stage.slot)
        written = stage.settings["devices"]
        return {"pending": [n for n in names if n not in written or is_offline(device_of(world, n))]}

    def undo(
        self, world: World, snapshot: Mapping[str, Json], objects: Mapping[str, Json], report: Report
    ) -> list[str]:
        """Every device that can be reached, the last first; raises NotConverged for those that are pending."""
        del snapshot
        steps, pending = [], []
        for key in reversed(list(objects)):
            try:
                steps += self.set_back(world, {key: objects[key]}, report)
            except (NotConverged, Refused, DeviceError) as error:
                pending.append(str(error))
        if pending:
            raise NotConverged(f"{world.place}: {'; '.join(pending)}. Set back: {', '.join(steps) or 'none'}")
        return steps
