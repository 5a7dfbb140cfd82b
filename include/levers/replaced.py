"""Owned things that can't be changed once made: another is made, verified and switched to, the old one deleted.

The old one stays beside the new until it is deleted, as the last stage: an undo before that is a switch back, one after
it makes the old one anew, under another name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from include.levers.fields import Object
from include.levers.owned import Holds, Report
from include.levers.world import World
from include.rollout.export import Export
from include.rollout.lever import Difference, Json, Refused, differences


class Replaceable(Protocol):
    """A kind of thing whose settings can't be changed: another is made, verified, switched to, and the old one deleted.

    What the lever has made says itself of which one it is the successor, so that no record of it can be lost.
    """

    kind: str

    def settings(self, world: World, name: str) -> Object | None:
        """What it was made with; None when it doesn't exist."""

    def chain(self, world: World, name: str) -> list[str]:
        """What it was made in place of, and what that one was, newest first; empty for one that no lever made."""

    def successors(self, world: World, old: str) -> list[str]:
        """Names of what was made in place of ``old``, or of one that was."""

    def make(self, world: World, chain: Sequence[str], settings: Object) -> str:
        """Make one in place of the first of ``chain``; its name. Asked again in one run it gives the same one."""

    def missing(self, world: World, name: str) -> list[str]:
        """What keeps it from being used, for a wait."""

    def users(self, world: World, names: Sequence[str]) -> dict[str, str]:
        """Who uses one of ``names``, and which: what would be hurt by its deletion."""

    def used_by(self, world: World, user: str) -> str | None:
        """What a user uses now; None when it uses none, or is gone."""

    def switch(self, world: World, user: str, old: str, new: str) -> None:
        """Have a user use ``new`` in place of ``old``. Raises Refused when it uses another one by now."""

    def delete(self, world: World, name: str) -> None:
        """Delete it; what is gone is deleted."""

    def export(self, world: World, name: str, settings: Object, was: Mapping[str, Json]) -> Export:
        """What replaces it, with its users switched, as files; ``was`` is its entry. It is named as ``removed``."""


@dataclass(frozen=True)
class Replaced:
    """One thing that a lever has replaced, or will. The old one stays beside the new until it is deleted: an undo that
    comes before is a switch back, one that comes after makes the old one anew, under another name.
    """

    of: Replaceable
    name: str
    settings: Object
    wanted: bool = True
    known: Json = None  # its entry, where it was read with those of the others

    @property
    def key(self) -> str:
        """See :class:`include.levers.owned.Thing`."""
        return f"{self.of.kind} {self.name}"

    def entry(self, world: World) -> Json:
        """See :class:`include.levers.owned.Thing`: what it was made with, who used it, what had replaced it."""
        settings = None if self.known else self.of.settings(world, self.name)
        if settings is None:
            return self.known
        users, chain = sorted(self.of.users(world, [self.name])), self.of.chain(world, self.name)
        made = sorted(self.of.successors(world, self.name))
        return {"settings": settings, "users": users, "replaces": chain, "successors": made}

    def unnamed(self, world: World) -> list[Json]:
        """See :class:`include.levers.owned.Thing`."""
        made = self.of.successors(world, self.name)
        settings = self.of.settings(world, self.name) if made else None
        users, chain = sorted(self.of.users(world, made)), self.of.chain(world, self.name)
        return [{"settings": settings, "users": users, "replaces": chain}] if settings else []

    def differences(self, entry: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        return differences(entry["settings"], self.settings, self.key)

    def write(self, world: World, dry_run: bool = False) -> bool:
        """See :class:`include.levers.owned.Thing`: make, verify, switch. The old one stays."""
        there = self.of.settings(world, self.name)
        if dry_run or there in (None, self.settings):
            return False
        made = self.of.successors(world, self.name)
        new = next((name for name in made if self.of.settings(world, name) == self.settings), None)
        new = new or self._make(world, self.of.chain(world, self.name), self.settings)
        world.await_cloud(lambda: self.of.missing(world, new), f"{self.of.kind} {new}, which replaces {self.name}")
        if self.of.settings(world, self.name) != there:  # what others change of it now, its successor would not have
            raise Refused(f"{world.place}: {self.key} was changed while its successor was made: start again")
        self._switch(world, self.of.users(world, [self.name, *made]), new)
        stay = (new, *self.of.chain(world, new))  # an old one goes last, also one that was new once
        self._delete(world, [name for name in made if name not in stay])
        return True

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """See :class:`include.levers.owned.Thing`: switch back; where the old one is gone, to one that is made anew."""
        del held
        made = self.of.successors(world, self.name)
        there = self.of.settings(world, self.name)
        if there is not None:  # whatever others have changed of it since
            report += [Difference(d.path, d.after, d.before) for d in differences(there, was["settings"], self.key)]
        again = next((name for name in made if self.of.settings(world, name) == was["settings"]), None)
        back = again if there is None else self.name
        users = {user: self.of.used_by(world, user) for user in was["users"]}
        ours = {user: name for user, name in users.items() if name in made and name != back}
        report += [
            Difference(f"{user} {self.of.kind}", self.name, name)
            for user, name in users.items()
            if name not in (self.name, *made)
        ]
        gone = [name for name in self._since(world, made, was) if name != back]
        if not ours and not gone:
            return None
        if back is None:
            back = self._make(world, was["replaces"], was["settings"])
            world.await_cloud(lambda: self.of.missing(world, back), f"{self.of.kind} {back}, again {self.name}")
        # Users that came since go along: what they use is about to go.
        self._switch(world, {**self.of.users(world, gone), **ours}, back)
        self._delete(world, gone)
        return "switched back" if back == self.name else f"made anew as {back}"

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`: who uses one with other settings, and what of ours is left."""
        found: list[Difference] = []
        for user in was["users"]:
            name = self.of.used_by(world, user)
            now = self.of.settings(world, name) if name else None
            if now is None:
                found.append(Difference(f"{user} {self.of.kind}", name, self.name))
            else:
                found += differences(now, was["settings"], self.key if name == self.name else f"{user} {self.of.kind}")
        since = self._since(world, self.of.successors(world, self.name), was)
        made = {name: self.of.settings(world, name) for name in since}
        left = [name for name, settings in made.items() if settings != was["settings"]]
        return [*found, *(Difference(f"{self.of.kind} {name}", f"made in place of {self.name}", None) for name in left)]

    def export(self, world: World, was: Json) -> Export:
        """See :class:`include.levers.owned.Thing`."""
        is_as_wanted = was is None or was["settings"] == self.settings
        return Export() if is_as_wanted else self.of.export(world, self.name, self.settings, was)

    def _since(self, world: World, made: Sequence[str], was: Json) -> Sequence[str]:
        """Those of ``made`` that came after the snapshot, and not in place of one that stood there then."""
        before = {*was.get("successors", ())}
        return [name for name in made if not before & {name, *self.of.chain(world, name)}] if before else made

    def _make(self, world: World, chain: Sequence[str], settings: Object) -> str:
        world.target.fence()
        return self.of.make(world, [self.name, *chain], settings)

    def _switch(self, world: World, users: Mapping[str, str], new: str) -> None:
        for user, old in users.items():
            if old != new:
                world.target.fence()
                self.of.switch(world, user, old, new)

    def _delete(self, world: World, names: Sequence[str]) -> None:
        for name in names:
            delete_unused(world, self.of, name)


def delete_unused(world: World, kind: Replaceable, name: str) -> None:
    """Delete a thing that nobody uses. Raises Refused naming those that do."""
    users = sorted(kind.users(world, [name]))
    if users:
        raise Refused(f"{world.place}: {kind.kind} {name} is still used by {', '.join(users)}: it was not deleted")
    world.target.fence()
    kind.delete(world, name)


@dataclass(frozen=True)
class Outdated(Replaced):
    """What has a successor in use: deleted last, once the change is known to be good."""

    settings: Object = field(default_factory=dict)

    def differences(self, entry: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        return [Difference(self.key, "replaced, not used any more", None)] if entry else []

    def write(self, world: World, dry_run: bool = False) -> bool:
        """See :class:`include.levers.owned.Thing`."""
        if dry_run or self.of.settings(world, self.name) is None:
            return False
        delete_unused(world, self.of, self.name)
        return True

    def export(self, world: World, was: Json) -> Export:
        """See :class:`include.levers.owned.Thing`."""
        del world
        return Export(removed=(self.key,)) if was else Export()
