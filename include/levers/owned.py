"""Owned things in a cluster: what a lever wants of an object, what a snapshot keeps of it, and how it is set back.

A lever owns an object whole, or single fields of somebody else's (:class:`Item`). Plan, rollback and proof name both
by one path: ``Deployment opencost/opencost spec.replicas``.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from include.clients.kubernetes import (
    CLUSTER_ROLE,
    KINDS,
    NAMESPACE,
    ConflictError,
    InvalidError,
    Kind,
    NotFoundError,
    NotServedError,
)
from include.levers import held_fields
from include.levers.fields import applied_by, handed_back, others, projection
from include.levers.held_fields import BEFORE, GONE
from include.levers.namespaces import in_one_line
from include.levers.world import Object, World
from include.rollout.export import Export
from include.rollout.lever import Difference, Json, Refused, differences

MADE_IN_ORDER = ("Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Deployment")
UNKNOWN_KIND = "of a kind that this release does not know: undo it with the release that wrote it"
ATTEMPTS = 10  # to hand a field back while controllers write to the same object
Report = list[Difference]
Holds = Callable[[Object], Sequence[str]]  # what keeps an object from being deleted

# Names -----------------------------------------------------------------------------------------------------------


def key_of(body: Object) -> str:
    """``Deployment opencost/opencost``: kind, namespace and name."""
    metadata = body["metadata"]
    space = f"{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"{body['kind']} {space}{metadata['name']}"


def split(key: str) -> tuple[str, str | None, str]:
    """Kind, namespace and name of ``Deployment opencost/opencost``."""
    kind, _, path = key.partition(" ")
    space, _, name = path.rpartition("/")
    return kind, space or None, name


def identity(key: str) -> Object:
    """The object with nothing but its name."""
    kind, space, name = split(key)
    metadata = {"name": name} | ({"namespace": space} if space else {})
    version = KINDS[kind].api_version if kind in KINDS else ""
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def read(world: World, body: Object) -> Object | None:
    """The live object of ``body``'s name; None when it does not exist or its kind isn't served."""
    metadata = body["metadata"]
    try:
        return world.cluster.get(KINDS[body["kind"]], metadata["name"], metadata.get("namespace"))
    except NotServedError:  # without its definition no object of it stands
        return None


def read_key(world: World, key: str) -> Object | None:
    """The live object that ``key`` names."""
    return read(world, identity(key))


# What a lever wants --------------------------------------------------------------------------------------------------


class Own(enum.StrEnum):
    """How much of an object is the lever's."""

    OBJECT = "object"
    FIELDS = "fields"


class Thing(Protocol):
    """Something that a lever owns, whatever keeps it: an object or fields in a cluster, a setting in a cloud."""

    @property
    def key(self) -> str:
        """What plan, rollback and proof call it: kind, a space, name."""

    @property
    def wanted(self) -> bool:
        """Whether this run writes it; a thing that it does not write is part of the snapshot all the same."""

    def entry(self, world: World) -> Json:
        """Its state for live state and snapshot, JSON; None when it doesn't exist."""

    def unnamed(self, world: World) -> list[Json]:
        """What a snapshot that doesn't name it would have to say, in a list; empty when this lever never wrote it."""

    def differences(self, entry: Json) -> Sequence[Difference]:
        """From the state of an entry to what is wanted."""

    def write(self, world: World, dry_run: bool = False) -> bool:
        """Write what is wanted, idempotently; a dry run only asks. False when there is nothing to write or to ask."""

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """Set it back; returns what was done. What somebody else made or changed goes into ``report`` and stays."""

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """What would still have to be set back, from live to snapshot."""

    def export(self, world: World, was: Json) -> Export:
        """What is wanted, as files instead of a write; ``was`` is its state as the plan has it. Reads only."""


@dataclass(frozen=True)
class Item:
    """A Kubernetes object that the lever owns, or fields of somebody else's.

    ``body`` holds what the lever wants and nothing else. With FIELDS it is taken over from whoever owns it, value and
    owner are remembered, and both are set back; a list is one field. ``moving`` names those of the fields that an
    autoscaler moves while it owns them (``spec.replicas``): their owner is remembered, not the value, so that a
    night's snapshot does not bring back the night's capacity at noon.
    """

    body: Object
    own: Own = Own.OBJECT
    wanted: bool = True
    moving: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """See :class:`Thing`."""
        return key_of(self.body)

    def entry(self, world: World) -> Json:
        """See :class:`Thing`: what the lever applied before (``ours``), and the live values of what it wants."""
        found = read(world, self.body)
        if self.own is Own.FIELDS:
            return held_fields.entry(self.body, found, world.manager, self.moving)
        if found is None:
            return None
        mine = applied_by(world.manager, found)
        left = {"left_alone": True} if self.body["kind"] == NAMESPACE.name and mine is None else {}
        return {"ours": mine, "fields": projection(found, self.body, mine)} | left

    def unnamed(self, world: World) -> list[Json]:
        """See :class:`Thing`."""
        found = read(world, self.body)
        if not found or not applied_by(world.manager, found):
            return []
        return [held_fields.entry(self.body, None, world.manager) if self.own is Own.FIELDS else None]

    def differences(self, entry: Json) -> Sequence[Difference]:
        """See :class:`Thing`. An object that is absent is one difference."""
        if self.own is Own.FIELDS:
            return held_fields.differences(self.key, self.body, entry)
        if entry is None:
            return [Difference(self.key, None, "created")]
        # A Namespace that others have made is left as it is.
        return [] if entry.get("left_alone") else differences(entry["fields"], self.body, self.key)

    def write(self, world: World, dry_run: bool = False) -> bool:
        """See :class:`Thing`. Raises Refused for fields of an object that doesn't exist."""
        body, is_space = self.body, self.body["kind"] == NAMESPACE.name
        if is_space and not dry_run:
            await_namespace(world, body["metadata"]["name"])
        found = read(world, body) if is_space or self.own is Own.FIELDS else None
        if is_space and found is not None and applied_by(world.manager, found) is None:
            return False
        if self.own is Own.FIELDS and found is None:
            raise Refused(f"{world.place}: {self.key} does not exist: none of its fields can be set")
        if dry_run:
            return _try(world, body, force=self.own is Own.FIELDS)
        world.target.fence()
        world.cluster.apply(body, world.manager, force=self.own is Own.FIELDS)
        return True

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """See :class:`Thing`."""
        if was is not None and was.get("own") == Own.FIELDS:
            return _restore_fields(world, self.key, was, report)
        return _restore_object(world, self.key, was, report, held)

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """See :class:`Thing`."""
        if was is not None and was.get("own") == Own.FIELDS:
            return held_fields.unrestored(self.key, was, read_key(world, self.key), world.manager)
        return _unrestored(world, self.key, was)

    def export(self, world: World, was: Json) -> Export:
        """See :class:`Thing`: the object, or a patch of others'. A Namespace that others have made stays theirs."""
        del world
        if self.own is Own.FIELDS:
            return Export(patches=(self.body,))
        return Export() if was and was.get("left_alone") else Export(manifests=(self.body,))


def await_namespace(world: World, name: str) -> None:
    """Nothing can be made in a Namespace that an earlier rollback is still deleting."""

    def missing() -> list[str]:
        found = world.cluster.get(NAMESPACE, name)
        leaving = found is not None and "deletionTimestamp" in found["metadata"]
        return [f"Namespace {name} is still being deleted"] if leaving else []

    world.await_all(missing, f"the Namespace {name}")


def _try(world: World, body: Object, force: bool) -> bool:
    """Have the API server check a body that may stand in a Namespace, or need a role, that a dry run doesn't make."""
    if body["kind"] == "ClusterRoleBinding" and world.cluster.get(CLUSTER_ROLE, body["roleRef"]["name"]) is None:
        return False
    space = body["metadata"].get("namespace")
    # AkiDB's own stands, and not every lever's role may read it.
    if space not in (None, world.estate.namespace) and world.cluster.get(NAMESPACE, space) is None:
        body = copy.deepcopy(body)
        body["metadata"]["namespace"] = world.estate.namespace
    world.cluster.apply(body, world.manager, dry_run=True, force=force)
    return True


# A snapshot's objects --------------------------------------------------------------------------------------------


def listed(objects: Mapping[str, Object | None]) -> list[Object]:
    """The objects of a snapshot as it is kept: ``{"key": ..., "was": ...}`` in the order in which they are made.

    A list, because the ledger sorts the keys of a mapping, and what is deleted first depends on that order.
    """
    return [{"key": key, "was": was} for key, was in objects.items()]


def by_key(snapshot: Sequence[Object] | Mapping[str, Object | None]) -> dict[str, Object | None]:
    """The objects of a snapshot by key, in the order in which they are made.

    A mapping is a snapshot of an older release, sorted by the ledger: it is brought into an order that is safe.
    """
    if isinstance(snapshot, Mapping):
        return {key: snapshot[key] for key in sorted(snapshot, key=_rank)}
    return {entry["key"]: entry["was"] for entry in snapshot}


def _rank(key: str) -> tuple[int, str]:
    kind = split(key)[0]
    return (MADE_IN_ORDER.index(kind) if kind in MADE_IN_ORDER else len(MADE_IN_ORDER), key)


# Back to a snapshot ----------------------------------------------------------------------------------------------


def _restore_object(
    world: World, key: str, was: Mapping[str, Any] | None, report: Report, held: Holds | None
) -> str | None:
    """Undo what the lever did to one object; returns ``deleted``, ``set back`` or None for nothing.

    ``was`` is None for an object that did not exist, else has under ``ours`` what the lever had applied before.
    """
    if split(key)[0] not in KINDS:
        report.append(Difference(key, BEFORE, UNKNOWN_KIND))
        return None
    found = read_key(world, key)
    mine = applied_by(world.manager, found) if found else None
    ours = was.get("ours") if was else None
    if was is None or (found is None and ours is None):
        return _remove(world, key, found, mine is not None, report, held)
    # Without any field of ours the object stays as its other managers want it.
    return None if mine == ours else _apply_again(world, key, ours or identity(key), report)


def _apply_again(world: World, key: str, body: Object, report: Report) -> str | None:
    try:
        world.cluster.apply(body, world.manager)
    except ConflictError as error:
        report.append(Difference(key, BEFORE, f"changed by {', '.join(error.owners.values())}"))
        return None
    except (InvalidError, NotFoundError, NotServedError) as error:  # what one object lacks now stops no other
        report.append(Difference(key, BEFORE, f"can't be made again: {error}"))
        return None
    return "set back"


def _remove(world: World, key: str, found: Object | None, mine: bool, report: Report, held: Holds | None) -> str | None:
    """Delete an object that was not there before, unless somebody else made it or keeps something in it."""
    if found is None:
        return None
    theirs = others(world.manager, found)
    if not mine:
        report.append(Difference(key, None, f"made by {', '.join(theirs) or 'somebody else'}"))
        return None
    if "deletionTimestamp" in found["metadata"]:
        return "deleted"
    if held and (holds := held(found)):
        report.append(Difference(key, None, f"holds {in_one_line(holds)}, so it stays"))
        return None
    if found["kind"] != NAMESPACE.name and theirs:
        # It was not there before, so it goes all the same.
        report.append(Difference(f"{key} content", None, f"changed by {', '.join(theirs)}"))
    kind, space, name = split(key)
    world.cluster.delete(KINDS[kind], name, space)
    return "deleted"


def await_gone(world: World, keys: Sequence[str]) -> None:
    """Wait until none of the objects exists. Raises NotConverged naming those that do."""

    def left() -> list[str]:
        return [f"{key} still exists" for key in keys if read_key(world, key)]

    if keys:
        world.await_all(left, "deleting what was made")


def _unrestored(world: World, key: str, was: Mapping[str, Any] | None) -> Sequence[Difference]:
    if split(key)[0] not in KINDS:
        return [Difference(key, "not known", UNKNOWN_KIND)]
    now = read_key(world, key)
    if was is None:
        return [] if now is None else [Difference(key, "exists", None)]
    mine = applied_by(world.manager, now) if now else None
    return [] if mine == was.get("ours") else differences(mine or {}, was.get("ours") or {}, key)


def _restore_fields(world: World, key: str, was: Mapping[str, Any], report: Report) -> str | None:
    live = read_key(world, key)
    if live is None:
        report += [Difference(key, BEFORE, GONE)] if held_fields.was_there(was) else []
        return None
    back = held_fields.way_back(key, was, live, world.manager)
    report += back.others
    if back.body is not None:
        world.target.fence()
        world.cluster.apply(back.body, world.manager, force=True)
    if back.owners:
        kind, space, name = split(key)
        hand_back(world, KINDS[kind], name, space, partial(handed_back, manager=world.manager, given=back.owners))
    return "set back" if back.body is not None or back.owners else None


# Owners ----------------------------------------------------------------------------------------------------------


def hand_back(
    world: World, kind: Kind, name: str, namespace: str | None, change: Callable[[list[Object]], list[Object]]
) -> None:
    """Give fields back to who owned them: ``change`` gives an object's managedFields as they are to be.

    No value changes and nothing restarts. Raises ConflictError when others write to the object all the time.
    """
    for left in reversed(range(ATTEMPTS)):
        live = world.cluster.get(kind, name, namespace)
        entries = live["metadata"].get("managedFields") or [] if live else []
        handed = change(entries)
        if live is None or handed == entries:
            return
        world.target.fence()
        # With its version in it a patch is refused when somebody was faster, such as a controller with the status: what
        # was written in between would lose its owner.
        version = live["metadata"].get("resourceVersion")
        try:
            body = {"metadata": {"resourceVersion": version, "managedFields": handed}}
            world.cluster.patch(kind, name, body, namespace)
        except ConflictError:
            if not left:
                raise
        else:
            return
