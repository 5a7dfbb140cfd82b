"""The predictive-scaling lever as the engine sees it; the work is in the modules beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from include.levers.common import node_facts, refusals
from include.levers.predictive_scaling import apply, live, observe, plan, preflight, restore
from include.levers.predictive_scaling.live import World
from include.prices import load_aws_book
from include.rollout.gates import Figure
from include.rollout.lever import Check, Difference, Json, Plan, Restored, Stage, Target
from include.rollout.place import PlaceKind


class PredictiveScaling:
    """The predictor, then autoscaling by requests, then the forecast's trigger on top of it.

    ``target.clients`` needs ``kubernetes`` (Cluster), ``prometheus`` (Prometheus), ``aws`` (Aws, for spot prices),
    ``storage`` and ``location`` (of the Airflow Variable ``akidb_models``). Everything that it writes has the field
    manager ``akidb-predictive-scaling``.
    """

    name = plan.NAME
    slots = plan.SLOTS
    settings_type = plan.PredictiveSettings
    acts_in = PlaceKind.REGION
    needs = frozenset({"kubernetes", "prometheus", "aws"})
    undo_after: tuple[str, ...] = ()

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now

    def preflight(self, target: Target) -> list[Check]:
        """See :class:`include.rollout.lever.Lever`."""
        return preflight.run_checks(self._world(target))

    def plan(self, target: Target) -> Plan:
        """See :class:`include.rollout.lever.Lever`."""
        world = self._world(target)
        with refusals(world):
            state, nodes = live.read_live(world), node_facts(world)
            replicas = sum(live.all_replicas(world).values())
        book = load_aws_book(target.estate)
        return plan.build_plan(
            target.estate, target.region, world.chosen, state, world.models, nodes, replicas, book
        )  # fmt: skip

    def snapshot(self, target: Target) -> dict[str, Json]:
        """See :class:`include.rollout.lever.Lever`."""
        return live.read_live(self._world(target))

    def apply(self, target: Target, stage: Stage) -> dict[str, Json]:
        """See :class:`include.rollout.lever.Lever`."""
        return apply.apply_stage(self._world(target), stage)

    def observe(
        self, target: Target, stage: Stage, window_seconds: int, applied: Mapping[str, Json]
    ) -> dict[str, Figure | None]:
        """See :class:`include.rollout.lever.Lever`."""
        figures = observe.observe_slot(self._world(target), window_seconds, applied)
        return {gate.name: figures[gate.name]() for gate in stage.gates}

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
