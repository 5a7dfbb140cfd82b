"""Owned things in a cloud: fields of documents that others write too. What can't be changed is in replaced.py.

A document (a distribution, a lifecycle, a record set) is read whole, our fields of it are changed, and it is written
with the version token that was read. Where somebody was faster it is read again and our fields are changed again.
Levers that write the same document use the same store, so that none takes back what another wrote.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from include.clients.aws import AwsRefusedError
from include.levers.fields import Object, Path, at, leaves, set_at, without
from include.levers.owned import Holds, Report
from include.levers.world import World
from include.rollout.export import Change, Export
from include.rollout.lever import Difference, Json, Refused

ATTEMPTS = 5  # to write a document while others write to it


class Store(Protocol):
    """Where documents of one kind are kept.

    ``conflicts`` are AWS's codes for a version token that is out of date; empty where there is no token.
    """

    kind: str
    conflicts: frozenset[str]

    def read(self, world: World, name: str) -> tuple[Object | None, str]:
        """The whole document with its version token (empty where there is none); None when it doesn't exist."""

    def write(self, world: World, name: str, document: Object, token: str) -> None:
        """Write the whole document; refused with one of ``conflicts`` when the token is out of date."""

    def argument(self, name: str, path: Path) -> tuple[str, str, str]:
        """Where Terraform's aws provider has a field: type of the resource, its id, the argument."""


def edit(world: World, store: Store, name: str, change: Callable[[Object], Object]) -> bool:
    """Write what ``change`` makes of a document, only our fields of it, however often others write; False for nothing.

    Without a version token it is read again after the write: somebody who read it before may have written it whole.
    Raises Refused when it doesn't exist, or when others write to it all the time.
    """
    wrote = False
    for _ in range(ATTEMPTS):
        document, token = store.read(world, name)
        if document is None:
            raise Refused(f"{world.place}: {store.kind} {name} does not exist: nothing of it can be set")
        wanted = change(copy.deepcopy(document))
        if wanted == document:
            return wrote
        world.target.fence()
        try:
            store.write(world, name, wanted, token)
        except AwsRefusedError as error:
            if error.code not in store.conflicts:
                raise
            continue
        wrote = True
        if store.conflicts:
            return True
    raise Refused(
        f"{world.place}: {store.kind} {name} was changed by others {ATTEMPTS} times in between: have them stop, then "
        "start again"
    )


@dataclass(frozen=True)
class Setting:
    """Fields of one document. Nobody signs fields there: a value that is not the lever's own is somebody else's."""

    store: Store
    name: str
    fields: Object
    wanted: bool = True

    @property
    def key(self) -> str:
        """See :class:`include.levers.owned.Thing`."""
        return f"{self.store.kind} {self.name}"

    def entry(self, world: World) -> Json:
        """See :class:`include.levers.owned.Thing`: each field's value, None where it is absent."""
        document, _ = self.store.read(world, self.name)
        if document is None:
            return None
        return {"fields": [{"path": [*path], "was": at(document, path)} for path, _ in leaves(self.fields)]}

    def unnamed(self, world: World) -> list[Json]:
        """See :class:`include.levers.owned.Thing`: what the lever wrote can't be told from what others did."""
        del world
        return []

    def differences(self, entry: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        if entry is None:
            return [Difference(self.key, None, "missing")]
        pairs = ((path, was, at(self.fields, path)) for path, was in _fields_of(entry))
        return [Difference(f"{self.key} {'.'.join(path)}", was, now) for path, was, now in pairs if was != now]

    def write(self, world: World, dry_run: bool = False) -> bool:
        """See :class:`include.levers.owned.Thing`. AWS has no dry run of it."""
        return False if dry_run else edit(world, self.store, self.name, self._set)

    def _set(self, document: Object) -> Object:
        for path, value in leaves(self.fields):
            set_at(document, path, value)
        return document

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """See :class:`include.levers.owned.Thing`."""
        del held
        document, _ = self.store.read(world, self.name)
        if was is None or document is None:
            report += [Difference(d.path, d.after, d.before) for d in self.unrestored(world, was)]
            return None
        for path, now, before in self._left(document, was):
            if now != at(self.fields, path):
                report.append(Difference(self._path(path), before, now))
        return "set back" if edit(world, self.store, self.name, lambda found: self._back(found, was)) else None

    def _back(self, document: Object, was: Json) -> Object:
        """The document with what is still ours set back: looked at anew in each version of it."""
        for path, now, before in self._left(document, was):
            if now == at(self.fields, path) and before is None:
                document = without(document, path)
            elif now == at(self.fields, path):
                set_at(document, path, before)
        return document

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        document, _ = self.store.read(world, self.name)
        if was is None or document is None:
            now, before = _there(document), _there(was)
            return [] if now == before else [Difference(self.key, now, before)]
        return [Difference(self._path(path), now, before) for path, now, before in self._left(document, was)]

    def export(self, world: World, was: Json) -> Export:
        """See :class:`include.levers.owned.Thing`: the fields to set in one's own resource.

        A resource of the whole document would claim everything that others have in it.
        """
        del world
        before = dict(_fields_of(was)) if was else {}
        pairs = [(path, before.get(path), value) for path, value in leaves(self.fields)]
        return Export(changes=tuple(self._change(path, old, new) for path, old, new in pairs if old != new))

    def _change(self, path: Path, before: Json, after: Json) -> Change:
        return Change(self._path(path), before, after, *self.store.argument(self.name, path))

    def _left(self, document: Object, was: Json) -> list[tuple[Path, Json, Json]]:
        """Path, value now and value before of the fields that differ."""
        fields = [(path, at(document, path), before) for path, before in _fields_of(was)]
        return [(path, now, before) for path, now, before in fields if now != before]

    def _path(self, path: Path) -> str:
        return f"{self.key} {'.'.join(path)}"


def _fields_of(entry: Mapping[str, Any]) -> Iterator[tuple[Path, Json]]:
    return ((tuple(raw["path"]), raw["was"]) for raw in entry["fields"])


def _there(found: Json) -> str | None:
    return None if found is None else "there"
