"""The spot lever as the engine sees it; the work is in the modules beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from include.levers.node_costs import node_facts, node_price, total
from include.levers.nodes import group
from include.levers.nodes.neighbours import surroundings
from include.levers.nodes.packing import PoolTypes, pool_choices
from include.levers.probes import measured
from include.levers.spot_capacity import apply, drill, gates, plan, preflight, restore
from include.levers.spot_capacity.live import held_paths, read_live, read_snapshot
from include.levers.spot_capacity.settings import DRILL, OLD_NODE_GROUP, POOLS, STEPS, SpotSettings, World, step_domains
from include.levers.spot_capacity.wanted import MANAGER, differences, wanted_state
from include.levers.world import refusals
from include.prices import TooFewInstanceTypesError, load_aws_book, usd_month
from include.rollout.export import Export
from include.rollout.gates import Figure
from include.rollout.lever import Check, Difference, Json, Plan, Refused, Restored, Stage, Target, Undo, within
from include.rollout.place import PlaceKind


class SpotCapacity:
    """Spot share in steps, an interruption drill, then the old node group down to its floor.

    ``target.clients`` needs ``kubernetes`` (Cluster), ``prometheus`` (Prometheus) and ``aws`` (Aws). Everything that it
    writes in the cluster has the field manager ``akidb-rollout``.
    """

    name, manager = "spot_capacity", MANAGER
    slots = (*STEPS, DRILL, OLD_NODE_GROUP)
    settings_type = SpotSettings
    acts_in = PlaceKind.REGION
    needs = frozenset({"kubernetes", "prometheus", "aws"})
    # What moves the replicas goes before their capacity does; what packs a pool's nodes, and its cap, before the pool.
    undo_after: tuple[str, ...] = ("predictive_scaling", "right_sizing", "consolidation", "cost_cap")

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now

    def preflight(self, target: Target) -> list[Check]:
        """See :class:`include.rollout.lever.Lever`."""
        return preflight.run_checks(self._world(target))

    def plan(self, target: Target) -> Plan:
        """See :class:`include.rollout.lever.Lever`."""
        world, estate, region = self._world(target), target.estate, target.region
        settings, book = world.settings, load_aws_book(target.estate)
        try:
            choices = pool_choices(world)
        except TooFewInstanceTypesError as error:
            raise Refused(str(error)) from error
        live, around, types = read_live(world), surroundings(world, POOLS), PoolTypes.named(choices)
        last = step_domains(settings.steps_percent, settings.domains)[-1]
        wanted, held = wanted_state(estate, region, settings, last, types, live), held_paths(world)
        found = [d for d in differences(live, wanted) if not within(d.path, held)]
        changes = any(not d.path.startswith(group.PATH) for d in found)
        before = total(node_price(book, region, node) for node in node_facts(world))
        after = plan.predicted_usd_hour(estate, region, book, choices, last, settings.domains)
        made = plan.stages(estate, region, settings, types, live, changes, around.zones)
        return Plan(
            lever=self.name,
            place=target.place.name,
            live=live,
            differences=tuple(found),
            stages=tuple(Stage(slot, title, _gates(world, slot), chosen) for slot, title, chosen in made),
            usd_month_before=None if before is None else usd_month(before),
            usd_month_after=None if after is None else usd_month(after),
            price_book=f"{book.name} ({book.date})",
            undo=Undo.NODE_WAVE,
            notes=tuple(plan.notes(estate, region, settings, live, around, book)),
        )

    def snapshot(self, target: Target) -> dict[str, Json]:
        """See :class:`include.rollout.lever.Lever`."""
        return read_snapshot(self._world(target))

    def apply(self, target: Target, stage: Stage) -> dict[str, Json]:
        """See :class:`include.rollout.lever.Lever`."""
        world = self._world(target)
        work = {DRILL: drill.run_drill, OLD_NODE_GROUP: apply.shrink_node_group}.get(stage.slot, apply.move_domains)
        started = world.now()
        with refusals(world):
            figures = work(world, stage)
        return {"started_at": started, "seconds": round(world.now() - started, 1), **figures}

    def observe(
        self, target: Target, stage: Stage, window_seconds: int, applied: Mapping[str, Json]
    ) -> dict[str, Figure | None]:
        """See :class:`include.rollout.lever.Lever`."""
        probes = gates.probes(target.estate, stage.slot)
        return measured(self._world(target), probes, stage, window_seconds, applied)

    def evidence(self, target: Target) -> dict[str, Any]:
        """See :class:`include.rollout.lever.Lever`."""
        return gates.evidence(self._world(target))

    def export(self, target: Target, plan: Plan) -> Export:
        """See :func:`include.rollout.export.export_of`."""
        world = self._world(target)
        types = PoolTypes.of(plan.stages[0].settings) if plan.stages else PoolTypes.named(pool_choices(world))
        return apply.exported(world, plan.live, types, plan.differences)

    def rollback(self, target: Target, snapshot: Mapping[str, Json]) -> Restored:
        """See :class:`include.rollout.lever.Lever`."""
        world = self._world(target)
        with refusals(world):
            return restore.restore(world, snapshot)

    def verify_restored(self, target: Target, snapshot: Mapping[str, Json]) -> list[Difference]:
        """See :class:`include.rollout.lever.Lever`."""
        return restore.verify(self._world(target), snapshot)

    def _world(self, target: Target) -> World:
        return World(target, self._now, MANAGER)


def _gates(world: World, slot: str) -> tuple[Any, ...]:
    return tuple(probe.gate for probe in gates.probes(world.estate, slot))
