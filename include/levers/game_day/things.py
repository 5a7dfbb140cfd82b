"""What a drill holds besides objects: cordons of nodes, and outages through a hook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from include.clients.kubernetes import NODE
from include.clients.outages import OutageHook
from include.levers.nodes.waves import cordon, is_cordoned, uncordon
from include.levers.owned import Holds, Report
from include.levers.world import Object, World
from include.rollout.export import Export
from include.rollout.lever import Difference, Json

OURS, THEIRS, OPEN = "ours", "somebody else's", "none"


@dataclass(frozen=True)
class Cordon:
    """The cordon of one node, marked with the lever's name so that only it is lifted."""

    node: str
    wanted: bool = True

    @property
    def key(self) -> str:
        """See :class:`include.levers.owned.Thing`."""
        return f"Node {self.node}"

    def entry(self, world: World) -> Json:
        """Whose cordon stands; None for a node that is gone."""
        live = self._live(world)
        return None if live is None else {"cordon": _whose(world, live)}

    def unnamed(self, world: World) -> list[Json]:
        """See :class:`include.levers.owned.Thing`."""
        live = self._live(world)
        return [{"cordon": OPEN}] if live is not None and is_cordoned(world, live) else []

    def differences(self, entry: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        cordoned = entry is None or entry["cordon"] != OPEN
        return [] if cordoned else [Difference(f"{self.key} cordon", OPEN, OURS)]

    def write(self, world: World, dry_run: bool = False) -> bool:
        """Cordon the node; a dry run can't ask for a patch."""
        if dry_run:
            return False
        world.target.fence()
        cordon(world, self.node)
        return True

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """Lift the cordon if it is the lever's. A node that is gone needs nothing: others stand in its place."""
        del was, report, held
        live = self._live(world)
        if live is None or not is_cordoned(world, live):
            return None
        uncordon(world, live)
        return "takes pods again"

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        del was
        live = self._live(world)
        cordoned = live is not None and is_cordoned(world, live)
        return [Difference(f"{self.key} cordon", OURS, OPEN)] if cordoned else []

    def export(self, world: World, was: Json) -> Export:
        """Nothing: a drill is no wanted state."""
        del world, was
        return Export()

    def _live(self, world: World) -> Object | None:
        return world.cluster.get(NODE, self.node)


def _whose(world: World, node: Object) -> str:
    if not node["spec"].get("unschedulable"):
        return OPEN
    return OURS if is_cordoned(world, node) else THEIRS


@dataclass(frozen=True)
class Outage:
    """The outage of a program that is no Deployment, through the estate's hook."""

    name: str
    wanted: bool = True

    @property
    def key(self) -> str:
        """See :class:`include.levers.owned.Thing`."""
        return f"Outage {self.name}"

    def entry(self, world: World) -> Json:
        """Whether it is out already."""
        return {"out": self._hook(world).is_out(self.name)}

    def unnamed(self, world: World) -> list[Json]:
        """Nothing: an outage that no snapshot names is somebody else's."""
        del world
        return []

    def differences(self, entry: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        return [] if entry["out"] else [Difference(self.key, "up", "out")]

    def write(self, world: World, dry_run: bool = False) -> bool:
        """Begin the outage; a dry run asks nothing."""
        if not dry_run:
            world.target.fence()
            self._hook(world).begin(self.name)
        return not dry_run

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """End the outage, unless it lasted before."""
        del report, held
        if was["out"] or not self._hook(world).is_out(self.name):
            return None
        self._hook(world).end(self.name)
        return "is back"

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        out = self._hook(world).is_out(self.name)
        return [Difference(self.key, "out", "up")] if out and not was["out"] else []

    def export(self, world: World, was: Json) -> Export:
        """Nothing: a drill is no wanted state."""
        del world, was
        return Export()

    def _hook(self, world: World) -> OutageHook:
        hook: OutageHook = world.target.clients.outages
        return hook
