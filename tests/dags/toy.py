"""A toy lever over a world in one JSON file, so that the engine runs end to end without clusters.

The world: ``{region: {"size": int, "label": str}}``. The lever grows a region's size step by step; the label belongs to
others. ``faults`` in the same file make a step fail on purpose, ``events`` says who did what in order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from include.estate import Estate
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.lever import Check, Difference, NotConverged, Plan, Refused, Restored, Stage, Target, Undo
from include.rollout.lock import LeaseConflictError
from include.rollout.place import Place, PlaceKind

WORLD_VARIABLE = "akidb_toy_world"
HEALTH = Gate("health", Comparison.AT_LEAST, 0.99, "ratio", 10, "toy")


class World:
    """The toy world's file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())

    def change(self, change: Callable[[dict[str, Any]], Any]) -> Any:
        world = self.read()
        result = change(world)
        self.path.write_text(json.dumps(world))
        return result

    def event(self, *words: str) -> None:
        self.change(lambda world: world["events"].append(" ".join(words)))

    def fault_once(self, name: str) -> bool:
        """Whether the fault is set; it is taken away."""
        return self.change(lambda world: world["faults"].pop(name, False))

    def sizes(self) -> dict[str, int]:
        return {region: state["size"] for region, state in self.read()["regions"].items()}

    @property
    def events(self) -> list[str]:
        return self.read()["events"]


class WorldLeases:
    """Leases of one region in the world's file, with resource versions."""

    def __init__(self, world: World, region: str) -> None:
        self.world = world
        self.region = region

    def get(self, name: str) -> Mapping[str, Any] | None:
        return self.world.read()["leases"].get(self.region)

    def create(self, body: Mapping[str, Any]) -> None:
        self._write(body, expected=None)

    def replace(self, body: Mapping[str, Any]) -> None:
        self._write(body, expected=body["metadata"]["resourceVersion"])

    def _write(self, body: Mapping[str, Any], expected: str | None) -> None:
        def change(world: dict[str, Any]) -> None:
            held = world["leases"].get(self.region)
            version = held["metadata"]["resourceVersion"] if held else None
            if version != expected:
                raise LeaseConflictError("409")
            metadata = {**body["metadata"], "resourceVersion": str(int(version or 0) + 1)}
            world["leases"][self.region] = {**body, "metadata": metadata}

        self.world.change(change)


@dataclass(frozen=True)
class ToyClients:
    world: World
    leases: WorldLeases
    kubernetes: Any = None


def clients_of(world: World) -> Callable[[Place, Estate], ToyClients]:
    return lambda place, estate: ToyClients(world, WorldLeases(world, place.name))


class ToySettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    size: Annotated[int, Field(ge=1, le=9, description="Size wanted in every region")] = 3
    converge_timeout_seconds: Annotated[int, Field(gt=0, description="How long a step may take")]


class Toy:
    name = "toy"
    slots = ("step_1", "step_2")
    settings_type = ToySettings
    needs: frozenset[str] = frozenset()
    undo_after: tuple[str, ...] = ()

    def world(self, target: Target) -> World:
        return target.clients.world

    def preflight(self, target: Target) -> list[Check]:
        broken = self.world(target).read()["faults"].get("preflight", [])
        passed = target.place.name not in broken
        return [Check("toy", passed, "the region answers" if passed else "the region is broken", "mend the region")]

    def plan(self, target: Target) -> Plan:
        size = self.world(target).read()["regions"][target.place.name]["size"]
        wanted = target.settings.size
        steps = range(size + 1, wanted + 1)
        places = zip(self.slots, steps, strict=False)
        stages = tuple(Stage(slot, f"size {step}", (HEALTH,), {"size": step}) for slot, step in places)
        found = (Difference("toy size", size, wanted),) if size != wanted else ()
        return Plan(
            self.name, target.place.name, {"size": size}, found, stages, Decimal(size * 10), Decimal(wanted * 4),
            "plan", Undo.INSTANT,
        )  # fmt: skip

    def snapshot(self, target: Target) -> dict[str, Any]:
        return {"size": self.world(target).read()["regions"][target.place.name]["size"]}

    def apply(self, target: Target, stage: Stage) -> dict[str, Any]:
        world = self.world(target)
        world.event("apply", target.place.name, stage.slot)
        if world.fault_once(f"crash {target.place.name} {stage.slot}"):
            raise ConnectionError("the process lost its connection")
        if world.fault_once(f"stuck {target.place.name} {stage.slot}"):
            raise NotConverged("size 2 of 3 after 30 s")
        target.fence()
        world.change(lambda w: w["regions"][target.place.name].update(size=stage.settings["size"]))
        return {"size": stage.settings["size"]}

    def observe(
        self, target: Target, stage: Stage, window_seconds: int, applied: Mapping[str, Any]
    ) -> dict[str, Figure | None]:
        faults = self.world(target).read()["faults"]
        key = f"{target.place.name} {stage.slot}"
        if self.world(target).fault_once(f"away once {key}"):
            raise ConnectionError("Prometheus is away")
        if key in faults.get("no data", []):
            return {"health": None}
        value = 0.5 if key in faults.get("unhealthy", []) else 1.0
        return {"health": Figure(value, "ratio", 100, "toy")}

    def evidence(self, target: Target) -> dict[str, Any]:
        return {"size": self.world(target).read()["regions"][target.place.name]["size"]}

    def rollback(self, target: Target, snapshot: Mapping[str, Any]) -> Restored:
        world = self.world(target)
        world.event("rollback", target.place.name)
        if target.place.name in world.read()["faults"].get("rollback refused", []):
            raise Refused("the region does not let go; open its door")
        if world.fault_once(f"rollback crash {target.place.name}"):
            raise ConnectionError("the process lost its connection")
        world.change(lambda w: w["regions"][target.place.name].update(size=snapshot["size"]))
        return Restored((f"size set back to {snapshot['size']}",))

    def verify_restored(self, target: Target, snapshot: Mapping[str, Any]) -> list[Difference]:
        size = self.world(target).read()["regions"][target.place.name]["size"]
        return [] if size == snapshot["size"] else [Difference("toy size", size, snapshot["size"])]


class Edge(Toy):
    """The same for the whole estate: no cluster, no connection, its world where an Airflow Variable says."""

    name = "edge"
    acts_in = PlaceKind.ESTATE

    def world(self, target: Target) -> World:
        return World(Path(target.clients.location(WORLD_VARIABLE)))
