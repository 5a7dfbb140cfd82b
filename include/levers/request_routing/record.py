"""The weight of the region's record sets in Route 53. What the lever wrote is told by the HTTPRoute's annotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from include.levers import route53
from include.levers.documents import Setting
from include.levers.owned import Holds, Report, read
from include.levers.request_routing.settings import World
from include.levers.request_routing.wanted import record_weights, route_identity
from include.levers.world import World as AnyWorld
from include.rollout.export import Export
from include.rollout.lever import Json

WEIGHT, NOBODYS = "Weight", -1  # no record set has a negative weight


def records(world: World) -> dict[str, int]:
    """The weight of each of this region's weighted record sets, by zone's id, name, type and set identifier."""
    zone, routing = world.estate.dns.hosted_zone, world.estate.edge.routing
    name = f"{routing.record}.{zone.rstrip('.')}."
    return {
        key.partition(" ")[2]: int(record[WEIGHT])
        for key, record in route53.record_sets(world, zone)
        if record["Name"] == name and record.get("SetIdentifier") == world.target.region and WEIGHT in record
    }


@dataclass(frozen=True)
class RecordWeight(Setting):
    """One record set's weight. Nobody signs a record set, and a later run may have written another weight than the
    snapshot's run: the annotation says which ones are the lever's; without the route, the entry says what was intended.
    """

    def entry(self, world: AnyWorld) -> Json:
        """See :class:`include.levers.owned.Thing`."""
        found = super().entry(world)
        return found and {**found, "intended": self.fields[WEIGHT]}

    def restore(self, world: AnyWorld, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """See :class:`include.levers.owned.Thing`."""
        document, _ = self.store.read(world, self.name)
        now = (document or {}).get(WEIGHT)
        mine = now if now in self._mine(world, was) else NOBODYS
        return Setting(self.store, self.name, {WEIGHT: mine}).restore(world, was, report, held)

    def export(self, world: AnyWorld, was: Json) -> Export:
        """See :class:`include.levers.owned.Thing`: the whole record set, of which only the weight is another."""
        del was
        return route53.RECORD_SETS.export(world, self.name, self.fields)

    def _mine(self, world: AnyWorld, was: Json) -> Sequence[int]:
        route = read(world, route_identity(world.estate))
        return record_weights(route)[1:] or ([was["intended"]] if was and "intended" in was else [])


def record_weight_of(name: str, weight: int | None = None, wanted: bool = True) -> RecordWeight:
    """The weight of a record set by its name."""
    return RecordWeight(route53.RECORD_SETS, name, {WEIGHT: weight}, wanted)
