"""Karpenter packs for real: day 1's nodes for fewer pods become fewer and cheaper ones, and the fields go back."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes import client

from include.clients.kubernetes import NODE_POOL
from include.levers.consolidation import Consolidation
from include.levers.consolidation.settings import ConsolidationSettings
from include.levers.spot_capacity import SpotCapacity
from include.levers.spot_capacity.settings import POOLS, SpotSettings
from include.rollout.gates import Outcome, judge_all
from include.rollout.lever import Json, Target
from include.rollout.settings import build
from lab import world as worlds
from tests.lab.conftest import REGION
from tests.lab.test_use import eventually

# One worker boots one lab for all lab tests.
pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(1800)]
REPLICAS = 11
WAIT = {"converge_timeout_seconds": 300}


@pytest.fixture(scope="module")
def spot(world: worlds.LabWorld, region_clients: SimpleNamespace) -> Target:
    """Day 1 without its drill, as the user that Airflow gets."""
    settings = build(SpotSettings, {"drill": False, **WAIT}, world.estate)
    return Target(REGION, world.estate, "lab-test", settings, region_clients)


@pytest.fixture(scope="module")
def packable(spot: Target, world: worlds.LabWorld, core: client.CoreV1Api) -> Any:
    """Every step of day 1, then a third of the pods scaled away; undone afterwards."""
    lever, apps = SpotCapacity(), client.AppsV1Api(core.api_client)
    snapshot = json.loads(json.dumps(lever.snapshot(spot)))
    replicas = {name: workload.replicas for name, workload in world.estate.workloads.items()}
    for stage in lever.plan(spot).stages:
        lever.apply(spot, stage)
    try:
        for name in replicas:
            apps.patch_namespaced_deployment_scale(name, "akidb", {"spec": {"replicas": REPLICAS}})
        settings = build(ConsolidationSettings, {"consolidate_after_seconds": 10, **WAIT}, world.estate)
        yield replace(spot, settings=settings)
    finally:
        for name, count in replicas.items():
            apps.patch_namespaced_deployment_scale(name, "akidb", {"spec": {"replicas": count}})
        lever.rollback(spot, snapshot)


def _disruption(target: Target) -> dict[str, Json]:
    pools = {name: target.clients.kubernetes.get(NODE_POOL, name) for name in POOLS.names}
    return {name: pool["spec"]["disruption"] for name, pool in pools.items()}


def test_nodes_fall_the_budgets_hold_and_the_fields_go_back(packable: Target, world: worlds.LabWorld) -> None:
    lever = Consolidation()

    def refused() -> list[str]:
        return [f"{check.name}: {check.reason}" for check in lever.preflight(packable) if not check.passed]

    # The tests before have moved system pods: their disruption budgets have room once all are ready again.
    assert eventually(lambda: not refused(), 120 * world.processes.stretch), refused()
    before, start = _disruption(packable), lever.evidence(packable)
    snapshot = json.loads(json.dumps(lever.snapshot(packable)))
    plan = lever.plan(packable)
    assert [stage.slot for stage in plan.stages] == ["balanced", "underutilized"]
    for stage in plan.stages:
        applied = lever.apply(packable, stage)

        def outcomes(stage: Any = stage, applied: Any = applied) -> set[Outcome]:
            return {r.outcome for r in judge_all(stage.gates, lever.observe(packable, stage, 20, applied))}

        world.processes.wait_until(lambda: outcomes() == {Outcome.PASS}, f"every gate of {stage.slot} passing", 90)
        assert applied["pdb_violations"] == 0
    end = lever.evidence(packable)
    assert lever.plan(packable).differences == ()
    assert end["nodes"] < start["nodes"]
    assert end["usd_hour"] < start["usd_hour"]
    assert end["packing_optimum_usd_hour"] <= end["packing_usd_hour"]
    assert end["packing_ratio"] <= 1.1, end["nodes_by_kind"]
    predicted = float(plan.usd_month_after) / 730
    assert abs(end["usd_hour"] / predicted - 1) <= 0.1, f"{predicted} USD/h predicted, {end['usd_hour']} realised"
    print({key: (start[key], end[key]) for key in ("nodes_by_kind", "usd_hour", "packing_ratio", "spot_share_pods")})
    print(predicted, applied.get("emptied_nodes"), applied.get("given_up_nodes"), applied["pdb_violations"])
    assert sum(applied["decisions_counted"].values()) + len(applied["why_not"]) > 0

    assert lever.rollback(packable, snapshot).changed_by_others == ()
    assert lever.verify_restored(packable, snapshot) == []
    assert _disruption(packable) == before
