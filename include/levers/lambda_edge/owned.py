"""What the lever owns: the size of $LATEST, the associations' versions, and each region's provisioned units.

Nobody signs fields there, and two runs may have written different values. So an entry lists the values that are the
lever's, and the versions that it has published say so themselves: any other value is somebody else's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from include.levers import terraform
from include.levers.documents import Setting, Store, edit
from include.levers.fields import Object, Path, at, set_at
from include.levers.lambda_edge.associations import ASSOCIATIONS, version_of
from include.levers.lambda_edge.functions import FUNCTIONS, PROVISIONED_UNITS, UNITS, is_ours, published, versions
from include.levers.owned import Holds, Report
from include.levers.world import World
from include.rollout.export import Export
from include.rollout.lever import Json, Refused

THEIRS = "set by others"  # stands for a value that is not the lever's


@dataclass(frozen=True)
class Signed(Setting):
    """Fields of a document, of which ``ours`` are the values that the lever may have given them."""

    ours: tuple[Json, ...] = ()

    def entry(self, world: World) -> Json:
        """See :class:`include.levers.owned.Thing`; with ``ours``, so that an undo knows them."""
        found = super().entry(world)
        return found if found is None else {**found, "ours": list(self.ours)}

    def known(self, world: World) -> Sequence[Json]:
        """More values that are the lever's, as they can be told from the world itself."""
        del world
        return ()

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """See :class:`include.levers.owned.Thing`: what is the lever's is set back, anything else reported."""
        document, _ = self.store.read(world, self.name)
        mine = [*was.get("ours", []), *self.known(world)] if was else []
        fields: Object = {}
        for raw in was["fields"] if was else []:
            path: Path = tuple(raw["path"])
            now = at(document or {}, path)
            set_at(fields, path, now if now in mine else THEIRS)
        return Setting(self.store, self.name, fields).restore(world, was, report, held)


@dataclass(frozen=True)
class Latest(Signed):
    """The size of $LATEST of the function at the edge."""

    def known(self, world: World) -> Sequence[Json]:
        """The sizes of the versions that the lever has published."""
        return [version["MemorySize"] for version in versions(world, self.name) if is_ours(version)]


@dataclass(frozen=True)
class Units(Signed):
    """The provisioned units of an alias in one region."""

    def known(self, world: World) -> Sequence[Json]:
        """Those of the run that is undone, which may have resumed another one."""
        return [world.settings.provisioned_units]

    def export(self, world: World, was: Json) -> Export:
        """See :class:`include.levers.owned.Thing`: a resource of its own, which claims nothing else of the alias."""
        del was
        exists = bool(self.store.read(world, self.name)[0])
        region, function, alias = self.name.split(" ")
        found = terraform.provisioned_units(region, function, alias, self.fields[UNITS], exists=exists)
        return Export(resources=(found,))


@dataclass(frozen=True)
class Associated(Signed):
    """The associations of a distribution with the function; ``fields`` has for each the ARN of its version to be."""

    memory_mb: int = 0
    like: str = ""  # the version whose code and settings are wanted

    @property
    def function(self) -> str:
        """The function's name."""
        return self.name.partition(" ")[2]

    def known(self, world: World) -> Sequence[Json]:
        """The versions that the lever has published."""
        return [version["FunctionArn"] for version in versions(world, self.function) if is_ours(version)]

    def write(self, world: World, dry_run: bool = False) -> bool:
        """See :class:`include.levers.owned.Thing`: a version at the size is found or published, then switched to.

        Raises Refused when an association has gone to another version in the meantime.
        """
        if dry_run:
            return False
        arn = published(world, self.function, self.memory_mb, self.like)

        def switch(document: Object) -> Object:
            for name in self.fields:
                now = document.get(name)
                if now != arn and version_of(now or "") != self.like:
                    raise Refused(
                        f"{world.place}: {self.key} {name} is {now or 'gone'} by now, not version {self.like}: it was "
                        "left alone; start again"
                    )
            return {**document, **dict.fromkeys(self.fields, arn)}

        return edit(world, self.store, self.name, switch)


def latest(function: str, memory_mb: int, ours: Sequence[int], wanted: bool) -> Latest:
    """The size of a function's $LATEST."""
    return Latest(FUNCTIONS, function, {"MemorySize": memory_mb}, wanted, tuple(ours))


def associated(edge: Mapping[str, Json], function: str, memory_mb: int, target: str, wanted: bool) -> Associated:
    """The associations that stand in the facts ``edge``; ``target`` is the version's ARN, or what a plan says of it."""
    fields, ours = dict.fromkeys(edge["associations"], target), tuple(edge["alike"])
    name = f"{edge['distribution']} {function}"
    return Associated(ASSOCIATIONS, name, fields, wanted, ours, memory_mb, edge["version"])


def units_of(region: str, function: str, alias: str, units: int, wanted: bool) -> Units:
    """The provisioned units of an alias in a region."""
    return Units(PROVISIONED_UNITS, f"{region} {function} {alias}", {UNITS: units}, wanted, (units,) if units else ())


KINDS: Mapping[str, type[Signed]] = {
    FUNCTIONS.kind: Latest,
    PROVISIONED_UNITS.kind: Units,
    ASSOCIATIONS.kind: Associated,
}
STORES: Mapping[str, Store] = {store.kind: store for store in (FUNCTIONS, PROVISIONED_UNITS, ASSOCIATIONS)}


def thing_of(key: str) -> Signed:
    """The owned thing that a snapshot calls ``key``. Raises Refused for a kind that this release doesn't know."""
    kind, _, name = key.partition(" ")
    if kind not in KINDS:
        raise Refused(f"the snapshot names {key}, of a kind that this release does not know: undo it with that release")
    return KINDS[kind](STORES[kind], name, {})
