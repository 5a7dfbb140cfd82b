"""Fields of somebody else's object while a lever holds them: what they were, whose, and how they go back. Pure.

Giving up a field in server-side apply brings back neither its old value nor its owner: both are remembered here.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.levers.fields import Object, Owner, Path, applied_by, at, leaves, owners_of, set_at, without
from include.rollout.lever import Difference, Json

BEFORE = "as before the rollout"
GONE = "gone"
NOT_IN_SNAPSHOT = "not in the snapshot"


class FieldState(enum.StrEnum):
    """What is known of a field from before."""

    SET = "set"
    ABSENT = "absent"
    MOVING = "moving"  # an autoscaler owned it: its value is not the snapshot's to keep
    UNKNOWN = "unknown"  # the object, or the wish for the field, came after the snapshot


@dataclass(frozen=True)
class Field:
    """One field as it was. ``owners`` are those of that time."""

    path: Path
    state: FieldState
    was: Json
    owners: Sequence[Owner]

    @property
    def name(self) -> str:
        """``spec.limits.cpu``."""
        return ".".join(self.path)

    def held(self, live: Object, manager: str) -> bool:
        """Whether the lever owns it now."""
        return [manager, "Apply"] in owners_of(live, self.path)

    def to_give(self, live: Object, manager: str) -> bool:
        """Whether the lever owns it now and did not before."""
        known = self.state is not FieldState.UNKNOWN
        return known and self.held(live, manager) and [manager, "Apply"] not in [list(o) for o in self.owners]

    def differs(self, live: Object) -> bool:
        """Whether its value is known and another one now."""
        return self.state in (FieldState.SET, FieldState.ABSENT) and at(live, self.path) != self.was


def entry(body: Object, live: Object | None, manager: str, moving: Sequence[str] = ()) -> dict[str, Json]:
    """What a snapshot keeps of the fields of ``body``, read from ``live``."""
    fields = [_read(path, live, manager, moving) for path, _ in leaves(body)]
    raw = [{"path": [*f.path], "state": f.state.value, "was": f.was, "owners": [*f.owners]} for f in fields]
    return {"own": "fields", "fields": raw}


def _read(path: Path, live: Object | None, manager: str, moving: Sequence[str]) -> Field:
    if live is None:
        return Field(path, FieldState.UNKNOWN, None, ())
    value, owners = at(live, path), owners_of(live, path)
    if ".".join(path) in moving and owners and [manager, "Apply"] not in owners:
        return Field(path, FieldState.MOVING, None, owners)
    return Field(path, FieldState.ABSENT if value is None else FieldState.SET, value, owners)


def fields_of(was: Mapping[str, Json]) -> list[Field]:
    """The fields of a snapshot's entry."""
    return [Field(tuple(raw["path"]), FieldState(raw["state"]), raw["was"], raw["owners"]) for raw in was["fields"]]


def was_there(was: Mapping[str, Json]) -> bool:
    """Whether the object stood when the entry was made: one that did not, and does not, has nothing to go back to."""
    return any(field.state is not FieldState.UNKNOWN for field in fields_of(was))


def differences(key: str, body: Object, was: Mapping[str, Json]) -> list[Difference]:
    """From the fields of an entry to what ``body`` wants of them."""
    found = []
    for field in fields_of(was):
        wanted = at(body, field.path)
        before = f"moved by {field.owners[0][0]}" if field.state is FieldState.MOVING else field.was
        if before != wanted:
            found.append(Difference(f"{key} {field.name}", before, wanted))
    return found


@dataclass(frozen=True)
class Back:
    """The way back of one object: what to apply (None for nothing), whom to give which field, and what stays."""

    body: Object | None
    owners: Mapping[Path, Sequence[Owner]]
    others: tuple[Difference, ...]


def way_back(key: str, was: Mapping[str, Json], live: Object, manager: str) -> Back:
    """How the fields that the lever holds are set back; what others have changed since stays."""
    fields = fields_of(was)
    held = [field for field in fields if field.held(live, manager)]
    body: Object | None = None
    if any(field.differs(live) for field in held):
        body = applied_by(manager, live) or {}
        for field in held:
            if field.state is FieldState.ABSENT:
                body = without(body, field.path)
            elif field.state is FieldState.SET:
                set_at(body, field.path, field.was)
    give = {f.path: f.owners for f in held if f.state is not FieldState.ABSENT and f.to_give(live, manager)}
    return Back(body, give, tuple(_left(key, fields, live, manager)))


def _left(key: str, fields: Sequence[Field], live: Object, manager: str) -> Iterator[Difference]:
    for field in fields:
        held, now = field.held(live, manager), at(live, field.path)
        if field.state is FieldState.UNKNOWN and held:
            yield Difference(f"{key} {field.name}", NOT_IN_SNAPSHOT, now)
        elif not held and field.differs(live):
            yield Difference(f"{key} {field.name}", field.was, now)


def unrestored(key: str, was: Mapping[str, Any], live: Object | None, manager: str) -> list[Difference]:
    """What would still have to be set back, from live to snapshot: values, and who owns them."""
    if live is None:
        return [Difference(key, GONE, BEFORE)] if was_there(was) else []
    found = []
    for field in fields_of(was):
        now, path = at(live, field.path), f"{key} {field.name}"
        if field.differs(live):
            found.append(Difference(path, now, field.was))
        elif field.state is FieldState.UNKNOWN and field.held(live, manager):
            found.append(Difference(path, now, NOT_IN_SNAPSHOT))
        elif field.to_give(live, manager):
            found.append(Difference(f"{path} owner", manager, None))
    return found
