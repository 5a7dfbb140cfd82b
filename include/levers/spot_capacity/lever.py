"""The spot lever as the engine sees it; the work is in the modules beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from include.levers.common import node_facts
from include.levers.spot_capacity import apply, observe, plan, preflight, restore
from include.levers.spot_capacity.live import World, instance_types, read_live, read_snapshot, surroundings
from include.prices import TooFewInstanceTypesError, load_aws_book
from include.rollout.gates import Figure
from include.rollout.lever import Check, Difference, Json, Plan, Refused, Restored, Stage, Target
from include.rollout.place import PlaceKind


class SpotCapacity:
    """Spot share in steps, an interruption drill, then the old node group down to its floor.

    ``target.clients`` needs ``kubernetes`` (Cluster), ``prometheus`` (Prometheus) and ``aws`` (Aws). Everything that it
    writes in the cluster has the field manager ``akidb-rollout``.
    """

    name = plan.NAME
    slots = (*plan.STEPS, plan.DRILL, plan.OLD_NODE_GROUP)
    settings_type = plan.SpotSettings
    acts_in = PlaceKind.REGION
    needs = frozenset({"kubernetes", "prometheus", "aws"})
    # What moves the replicas goes before their capacity does, and the cap on a pool before the pool.
    undo_after: tuple[str, ...] = ("predictive_scaling", "cost_cap")

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now

    def preflight(self, target: Target) -> list[Check]:
        """See :class:`include.rollout.lever.Lever`."""
        return preflight.run_checks(self._world(target))

    def plan(self, target: Target) -> Plan:
        """See :class:`include.rollout.lever.Lever`."""
        world = self._world(target)
        book = load_aws_book(target.estate)
        try:
            choices = instance_types(world)
        except TooFewInstanceTypesError as error:
            raise Refused(str(error)) from error
        live, nodes = read_live(world), node_facts(world)
        around = surroundings(world)
        return plan.build_plan(target.estate, target.region, world.settings, live, nodes, book, choices, around)

    def snapshot(self, target: Target) -> dict[str, Json]:
        """See :class:`include.rollout.lever.Lever`."""
        return read_snapshot(self._world(target))

    def apply(self, target: Target, stage: Stage) -> dict[str, Json]:
        """See :class:`include.rollout.lever.Lever`."""
        return apply.apply_stage(self._world(target), stage)

    def observe(
        self, target: Target, stage: Stage, window_seconds: int, applied: Mapping[str, Json]
    ) -> dict[str, Figure | None]:
        """See :class:`include.rollout.lever.Lever`."""
        figures = observe.observe_stage(self._world(target), stage, window_seconds, applied)
        return {gate.name: figures[gate.name] for gate in stage.gates}

    def evidence(self, target: Target) -> dict[str, Any]:
        """See :class:`include.rollout.lever.Lever`."""
        return observe.evidence(self._world(target))

    def rollback(self, target: Target, snapshot: Mapping[str, Json]) -> Restored:
        """See :class:`include.rollout.lever.Lever`."""
        return restore.restore(self._world(target), snapshot)

    def verify_restored(self, target: Target, snapshot: Mapping[str, Json]) -> list[Difference]:
        """See :class:`include.rollout.lever.Lever`."""
        return restore.verify(self._world(target), snapshot)

    def _world(self, target: Target) -> World:
        return World(target, self._now)
