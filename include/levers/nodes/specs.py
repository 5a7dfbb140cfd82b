"""Karpenter's objects whose spec a lever owns whole: read, written, set back and proved to be so.

Unlike an :class:`Item` they go by what the spec says, not by who has set which field: a pool is wanted as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from include.clients.kubernetes import EC2_NODE_CLASS, Kind
from include.levers.fields import Path, applied_by, leaves, others, owners_of, without
from include.levers.node_costs import node_facts
from include.levers.nodes.pools import find
from include.levers.owned import Holds, Report
from include.levers.unmet import unmet
from include.levers.world import Object, World, condition, name_of
from include.rollout.export import Export
from include.rollout.lever import Difference, Json, Refused

READY_SECONDS = 300.0
LEFT = "left as it is"


@dataclass(frozen=True)
class Spec:
    """An object of a cluster, as :class:`include.levers.owned.Thing`; ``body`` is what is wanted of it.

    ``yields`` are the parts that another lever may take over: what it holds of them is its own until it hands it back.
    """

    kind: Kind
    name: str
    body: Object | None = None
    wanted: bool = True
    yields: tuple[Path, ...] = ()

    @property
    def key(self) -> str:
        """``NodePool/akidb-spot spec``."""
        return f"{self.kind.name}/{self.name} spec"

    def entry(self, world: World) -> Json:
        """The live spec, None without the object."""
        found = find(world, self.kind, self.name)
        return found and found["spec"]

    def unnamed(self, world: World) -> list[Json]:
        """It did not exist, if the lever has made what stands there."""
        found = find(world, self.kind, self.name)
        return [None] if found and applied_by(world.manager, found) else []

    def differences(self, entry: Json) -> Sequence[Difference]:
        """The wanted fields whose value in ``entry`` is another one."""
        return unmet(self.key, entry, (self.body or {}).get("spec"))

    def write(self, world: World, dry_run: bool = False) -> bool:
        """Write the wanted spec."""
        body = self.to_write(world)
        if not dry_run:
            world.target.fence()
        world.cluster.apply(body, world.manager, dry_run=dry_run)
        return True

    def to_write(self, world: World) -> Object:
        """What is wanted, without what another lever holds of it."""
        assert self.body is not None
        body = self.body
        for path in self.held_by_others(world):
            body = without(body, path)
        return body

    def export(self, world: World, was: Json) -> Export:
        """The object, without what another lever holds of it."""
        del was
        return Export(manifests=(self.to_write(world),))

    def held_by_others(self, world: World) -> list[Path]:
        """The fields below ``yields`` that others hold and the lever does not."""
        live = find(world, self.kind, self.name) if self.yields else None
        return [] if live is None else self._held(world.manager, live)

    def _held(self, manager: str, live: Object) -> list[Path]:
        """Those fields of a live object, by their whole paths."""
        paths = (path for path, _ in leaves(live) if any(path[: len(part)] == part for part in self.yields))
        owners = {path: owners_of(live, path) for path in paths}
        return [path for path, of in owners.items() if of and [manager, "Apply"] not in of]

    def _own(self, spec: Json, held: Iterable[Path]) -> Json:
        """A spec without the fields that others hold."""
        for path in held if spec else ():
            spec = without(spec, path[1:])
        return spec

    def _changed(self, manager: str, live: Object) -> bool:
        """Whether others have set fields that are the lever's."""
        entries = live["metadata"].get("managedFields") or []
        marks = [tuple(f"f:{key}" for key in part) for part in self.yields]
        left = [dict(entry) for entry in entries]
        for entry in left:
            for mark in marks:
                entry["fieldsV1"] = without(entry.get("fieldsV1") or {}, mark)
        return bool(others(manager, {**live, "metadata": {**live["metadata"], "managedFields": left}}))

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """Set the spec back, or delete the object that wasn't there, unless somebody holds it.

        What others have changed since is reported: it stays as it is, but for an object that the lever has made.
        """
        live = find(world, self.kind, self.name)
        yielded = self._held(world.manager, live) if live else []
        if self._own(live and live["spec"], yielded) == self._own(was, yielded):
            return None
        if live is None and not world.cluster.serves(self.kind):
            report.append(Difference(self.key, was, None))
            return None
        holds, changed = held(live) if held and live else (), bool(live and self._changed(world.manager, live))
        if live and (holds or changed):
            report.append(Difference(self.key, was, f"needed by {'; '.join(holds)}" if holds else live["spec"]))
        if holds or (changed and was is not None):
            return LEFT
        if was is None:
            world.cluster.delete(self.kind, self.name)
            return "deleted"
        body = {"apiVersion": self.kind.api_version, "kind": self.kind.name, "metadata": {"name": self.name}}
        world.cluster.apply({**body, "spec": self._own(was, yielded)}, world.manager)
        return "set back"

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """The spec, where it is not what it was."""
        now, held = self.entry(world), self.held_by_others(world)
        return [] if self._own(now, held) == self._own(was, held) else [Difference(self.key, now, was)]

    def leaving(self, world: World, was: Json) -> list[str]:
        """That the object still stands, if it is to go."""
        gone = was is not None or find(world, self.kind, self.name) is None
        return [] if gone else [f"{self.kind.name} {self.name} still exists"]


def wait_ready(world: World, specs: Iterable[Spec]) -> None:
    """Wait until Karpenter calls the objects ready."""
    wanted = list(specs)
    kinds = " and ".join(dict.fromkeys(spec.kind.name for spec in wanted))

    def missing() -> list[str]:
        found = [(spec.kind.name, world.cluster.get(spec.kind, spec.name)) for spec in wanted]
        return [
            f"{kind} {name_of(thing) if thing else ''} is not ready: {_messages(thing)}"
            for kind, thing in found
            if thing is None or condition(thing, "Ready") != "True"
        ]

    world.wait_for(missing, f"{kinds} being ready", min(READY_SECONDS, world.timeout))


def check_zones(world: World, node_class: str) -> None:
    """Refuse an EC2NodeClass whose subnets leave out a zone in which the node group has nodes."""
    live = world.cluster.get(EC2_NODE_CLASS, node_class) or {}
    offered = {subnet.get("zone") for subnet in live.get("status", {}).get("subnets") or []}
    used = {node.zone for node in node_facts(world) if node.node_group == world.region.node_group.name and node.zone}
    if offered and not used <= offered:
        raise Refused(
            f"{world.place}: no subnet in {', '.join(sorted(used - offered))} has the tag "
            f"karpenter.sh/discovery {world.region.discovery_tag}: the pods would leave the zone; tag its subnets"
        )


def _messages(thing: Object | None) -> str:
    conditions = (thing or {}).get("status", {}).get("conditions") or []
    given = [f"{c['type']} {c.get('message') or c.get('reason')}" for c in conditions if c["status"] != "True"]
    return ", ".join(given) or "no status yet"
