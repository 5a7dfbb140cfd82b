"""The floor's functions as a lever of their own: what the consolidation lever does with them, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from include.levers.base import Dollars, ManifestLever
from include.levers.consolidation import floor
from include.levers.consolidation.settings import FLOOR, MANAGER, ConsolidationSettings, World
from include.levers.owned import Report, Thing
from include.levers.probes import Probe
from include.rollout.lever import Difference, Json, Stage
from tests.unit.levers import floor_world


class FloorLever(ManifestLever[ConsolidationSettings]):
    """One slot: the floor."""

    name, manager, slots, settings_type = "floor_alone", MANAGER, (FLOOR,), ConsolidationSettings

    def facts(self, world: World) -> dict[str, Json]:
        return {FLOOR: floor.facts(world)}

    def desired(self, world: World, slot: str, facts: Mapping[str, Json]) -> Sequence[Thing]:
        return floor.things(world, facts[FLOOR])

    def thing(self, key: str, was: Json) -> Thing:
        return floor.thing(key, was)

    def probes(self, world: World, slot: str) -> Sequence[Probe]:
        return floor.probes(world)

    def title(self, world: World, slot: str, live: Mapping[str, Json]) -> str:
        return floor.title(world, live[FLOOR])

    def dollars(self, world: World, live: Mapping[str, Json]) -> Dollars:
        return Dollars(None, floor.usd_hour_after(world), "aws")

    def evidence_of(self, world: World) -> dict[str, Json]:
        return {}

    def before_apply(self, world: World, stage: Stage) -> None:
        floor.before_apply(world, stage)

    def applied(self, world: World, stage: Stage, facts: Mapping[str, Json]) -> dict[str, Json]:
        return floor.settle(world, stage)

    def undo(
        self, world: World, snapshot: Mapping[str, Json], objects: Mapping[str, Json], report: Report
    ) -> list[str]:
        return floor.undo(world, snapshot, objects, report)

    def left(self, world: World, snapshot: Mapping[str, Json]) -> Sequence[Difference]:
        return floor.left(world, snapshot)


def lever_of(world: floor_world.World) -> FloorLever:
    """The lever, whose time is that of the world."""
    return FloorLever(world.now, world.cluster.pass_time)
