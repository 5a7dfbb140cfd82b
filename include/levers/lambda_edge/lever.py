"""Memory of the function at the edge by what production measured, then provisioned concurrency in the regions.

A smaller size is published as a version of its own and the distribution's associations are switched to it; the old
version stays. Provisioned concurrency exists for aliases of regional functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from include.clients.aws import AwsError
from include.levers import cloudfront
from include.levers.base import Dollars, ManifestLever
from include.levers.lambda_edge import checks, dollars, gates, live
from include.levers.lambda_edge.associations import ASSOCIATIONS, version_of
from include.levers.lambda_edge.functions import not_ready
from include.levers.lambda_edge.owned import associated, latest, thing_of, units_of
from include.levers.lambda_edge.settings import MEMORY, SLOTS, LambdaSettings, World
from include.levers.owned import Report, Thing
from include.levers.probes import Probe
from include.rollout.lever import Check, Difference, Json, Stage, Undo
from include.rollout.place import PlaceKind


class LambdaEdge(ManifestLever[LambdaSettings]):
    """The function at the edge and the regional ones.

    ``target.clients`` needs ``aws`` (Aws, us-east-1), ``of(region).aws`` and, while probes are a gate, ``probes``.
    """

    name, slots, settings_type = "lambda_edge", SLOTS, LambdaSettings
    acts_in, needs, undo_class = PlaceKind.ESTATE, frozenset({"aws"}), Undo.MINUTES
    first_check = ("CloudFront and Lambda reachable", checks.reachable)

    def facts(self, world: World) -> dict[str, Json]:
        """The function as CloudFront runs it, and the size that its measured durations speak for."""
        edge = live.look(world)
        return {"edge": edge.facts(), "wanted_mb": live.decide(world, edge)[0].memory_mb}

    def facts_for(self, world: World, stage: Stage) -> dict[str, Json]:
        """With the size that was approved, whatever the durations say by now."""
        return {"edge": live.look(world).facts(), "wanted_mb": stage.settings.get("memory_mb")}

    def desired(self, world: World, slot: str, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """$LATEST and the associations; then the units of each region."""
        chosen, edge = world.settings, facts["edge"]
        if slot != MEMORY:
            named, units = (chosen.regional_function, chosen.regional_alias), chosen.provisioned_units
            return [units_of(region, *named, units, units > 0) for region in world.estate.regions]
        wanted, size = live.is_wanted(facts), facts["wanted_mb"] or edge["memory_mb"]
        sizes = sorted({*edge["alike"].values(), size})
        function = chosen.edge_function
        target = live.target_of(facts)
        return [latest(function, size, sizes, wanted), associated(edge, function, size, target, wanted)]

    def thing(self, key: str, was: Json) -> Thing:
        """What a snapshot names; the values that are the lever's are in the entry."""
        del was
        return thing_of(key)

    def since(self, world: World) -> Iterable[Thing]:
        """Nothing: every function, association and region of the estate is named in each snapshot."""
        del world
        return ()

    def stages(self, world: World, live_state: Mapping[str, Json]) -> tuple[Stage, ...]:
        """The slots in which something is to be done; none where the size stays and no units are asked for."""
        found = []
        if live.is_wanted(live_state):
            size = {"memory_mb": live_state["wanted_mb"], "distribution": live_state["edge"]["distribution"]}
            found.append(self.stage(world, MEMORY, live_state, **size))
        if world.settings.provisioned_units:
            found.append(self.stage(world, SLOTS[1], live_state))
        return tuple(found)

    def title(self, world: World, slot: str, live_state: Mapping[str, Json]) -> str:
        """What a person reads."""
        chosen = world.settings
        if slot != MEMORY:
            where = f"{len(world.estate.regions)} regions"
            named = f"{chosen.regional_function}:{chosen.regional_alias}"
            return f"{chosen.provisioned_units} units of provisioned concurrency for {named} in each of {where}"
        now, wanted, target = live_state["edge"]["memory_mb"], live_state["wanted_mb"], live.target_of(live_state)
        version = f"version {version_of(target)}" if version_of(target) else target
        change = f"stays at {now} MB" if now == wanted else f"from {now} to {wanted} MB"
        return f"{chosen.edge_function} {change}: {version} associated"

    def probes(self, world: World, slot: str) -> Sequence[Probe]:
        """See :mod:`include.levers.lambda_edge.gates`."""
        return gates.probes(world, slot)

    def dollars(self, world: World, live_state: Mapping[str, Json]) -> Dollars:
        """See :func:`dollars.of_plan`."""
        return dollars.of_plan(world, live_state)

    def notes(self, world: World, live_state: Mapping[str, Json]) -> Sequence[str]:
        """See :func:`dollars.notes`."""
        return dollars.notes(world, live_state)

    def checks(self) -> Mapping[str, Callable[[World], Iterator[Check]]]:
        """See :mod:`include.levers.lambda_edge.checks`."""
        return checks.checks()

    def settle(self, world: World, stage: Stage) -> None:
        """Wait for every edge location, or for the units of every region."""
        if stage.slot == MEMORY:
            cloudfront.await_deployed(world, stage.settings["distribution"])
            return
        chosen, regions = world.settings, list(world.estate.regions)
        named = (chosen.regional_function, chosen.regional_alias)
        world.await_cloud(lambda: not_ready(world, regions, *named), "provisioned concurrency ready")

    def applied(self, world: World, stage: Stage, facts: Mapping[str, Json]) -> dict[str, Json]:
        """The version whose figures the gates look at, or the units."""
        del facts
        if stage.slot != MEMORY:
            return {"units": world.settings.provisioned_units}
        running = live.look(world).current
        return {"version": running["Version"], "memory_mb": running["MemorySize"]}

    def evidence_of(self, world: World) -> dict[str, Json]:
        """See :func:`dollars.evidence`."""
        return dollars.evidence(world)

    # Undo ------------------------------------------------------------------------------------------------------------

    def undo(
        self, world: World, snapshot: Mapping[str, Json], objects: Mapping[str, Json], report: Report
    ) -> list[str]:
        """Units, associations and $LATEST, then wait for every edge location.

        A region that can't be reached keeps neither the others nor the edge from going back. Raises its AwsError.
        """
        del snapshot
        steps, problems = list[str](), list[AwsError]()
        for key in reversed(list(objects)):
            try:
                steps += self.set_back(world, {key: objects[key]}, report)
            except AwsError as error:
                problems.append(AwsError(f"{key}: {error}"))
        if problems:
            raise AwsError("; ".join(map(str, problems)))
        late = [cloudfront.deployed_after_undo(world, name) for name in _distributions(objects)]
        return [*steps, *filter(None, late)]

    def left(self, world: World, snapshot: Mapping[str, Json]) -> Sequence[Difference]:
        """What has not reached every edge location."""
        names = _distributions(self.to_restore(world, snapshot))
        return [difference for name in names for difference in cloudfront.undeployed(world, name)]


def _distributions(objects: Iterable[str]) -> list[str]:
    """The ids of the distributions whose associations a snapshot names."""
    return [key.split(" ")[1] for key in objects if key.startswith(f"{ASSOCIATIONS.kind} ")]
