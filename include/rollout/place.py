"""Places: where a lever acts. Each has a name, an order (the canary first), a lock, and a chain in the ledger."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from include.estate import Estate

ESTATE_WIDE = "estate-wide"  # "estate" itself names, in the ledger, the chain of a run as a whole
DEVICES = "devices"


class PlaceKind(enum.StrEnum):
    """What a place is, and with it where its lock lies: in a region's cluster, or in the ledger's store."""

    REGION = "region"
    ESTATE = "estate"
    DEVICES = "devices"


@dataclass(frozen=True, order=True)
class Place:
    """One place. No two have the same name, so that the ledger and the forms need the name alone."""

    kind: PlaceKind
    name: str

    @classmethod
    def named(cls, name: str) -> Place:
        """The place of that name: whatever is not reserved is a region."""
        return _RESERVED.get(name) or cls(PlaceKind.REGION, name)

    def __str__(self) -> str:
        return self.name


_RESERVED = {
    ESTATE_WIDE: Place(PlaceKind.ESTATE, ESTATE_WIDE),
    DEVICES: Place(PlaceKind.DEVICES, DEVICES),
}


def places_of(kind: PlaceKind, estate: Estate) -> list[str]:
    """The names of all places of a kind in the estate, the canary first."""
    if kind is PlaceKind.REGION:
        return estate.ordered_regions()
    return [place.name for place in _RESERVED.values() if place.kind is kind]


def estate_for(estate: Estate, name: str) -> Estate:
    """What a snapshot keeps of the estate to undo a change in a place: one region, or all of it; nobody's addresses."""
    kept = estate.slice(name) if Place.named(name).kind is PlaceKind.REGION else estate
    return kept.model_copy(update={"notices": ()})
