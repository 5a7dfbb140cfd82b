"""Does the repository of an object's owner hold what a lever wants of it? Then the owner won't take it back. Pure.

Two kinds of evidence count. The owner itself has written every wanted field, with the wanted value: the API server
says so in managedFields. Or a person has named the export's hash in the estate, for a change that is merged and not yet
synchronised; it is the hash of exactly what would be written, so that it says nothing of another change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from include.levers.fields import OWNER_MANAGERS, Object, Path, at, leaves, owners_of, projection
from include.rollout.export import fingerprint
from include.rollout.lever import Json


class Owned(NamedTuple):
    """An object that somebody manages, and what a lever wants of it (None: nothing of the object itself)."""

    owner: str
    live: Object
    body: Object | None


def held(found: Owned, wanted: Mapping[str, Object], hashes: Sequence[str]) -> str:
    """How it is known that the owner's repository holds the change; empty when it is not.

    ``wanted`` is everything that the lever writes, ``hashes`` those of the exports that repositories hold.
    """
    if found.body is None:
        return ""
    if writes_it(found):
        return "each wanted field has its value and is the owner's"
    sha256 = fingerprint(wanted.values())
    return f"export {sha256[:12]} (governance.permanent)" if sha256 in hashes else ""


def writes_it(found: Owned) -> bool:
    """Whether every field that is wanted has its value, written by the owner."""
    return all(_is_written(found, path, value) for path, value in leaves(found.body or {}))


def _is_written(found: Owned, path: Path, value: Json) -> bool:
    if projection(at(found.live, path), value) != value:
        return False
    managers = (str(owner[0]).lower() for owner in owners_of(found.live, path))
    return any(OWNER_MANAGERS.get(manager) == found.owner for manager in managers)
