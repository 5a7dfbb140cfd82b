"""Karpenter packs for real: day 1's nodes for fewer pods become fewer and cheaper ones, and the fields go back."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes import client

from include.clients.kubernetes import NODE, NODE_POOL
from include.levers.consolidation import Consolidation
from include.levers.consolidation.settings import ConsolidationSettings
from include.levers.node_costs import SPREAD
from include.levers.nodes.scheduling import NODE_POOL as NODE_POOL_LABEL
from include.levers.nodes.scheduling import labels_of
from include.levers.spot_capacity import SpotCapacity
from include.levers.spot_capacity.settings import POOLS, SpotSettings, domain_names
from include.levers.world import name_of
from include.rollout.gates import Outcome, judge_all
from include.rollout.lever import Json, Stage, Target
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


def _domains(target: Target) -> Counter[str]:
    """Nodes of the pools by domain."""
    nodes = (node for node in target.clients.kubernetes.list(NODE) if labels_of(node).get(NODE_POOL_LABEL))
    return Counter(labels_of(node)[SPREAD] for node in nodes if SPREAD in labels_of(node))


def _applied(lever: Consolidation, target: Target, stage: Stage, world: worlds.LabWorld) -> dict[str, Any]:
    """What a stage has left for its gates, once all have passed."""
    applied: dict[str, Any] = dict(lever.apply(target, stage))

    def outcomes() -> set[Outcome]:
        return {r.outcome for r in judge_all(stage.gates, lever.observe(target, stage, 20, applied))}

    world.processes.wait_until(lambda: outcomes() == {Outcome.PASS}, f"every gate of {stage.slot} passing", 90)
    return applied


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
        applied = _applied(lever, packable, stage, world)
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


@pytest.fixture
def without_on_demand(packable: Target, world: worlds.LabWorld, core: client.CoreV1Api) -> str:
    """The domain on demand, which scaling down has left without a pod and Karpenter without a node."""
    apps, domain = client.AppsV1Api(core.api_client), domain_names(packable.estate.spot.domains)[-1]
    cheap = {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-100"}}}
    cluster, more = packable.clients.kubernetes, REPLICAS + 3

    def scale(name: str, count: int) -> None:
        apps.patch_namespaced_deployment_scale(name, "akidb", {"spec": {"replicas": count}})

    def is_full(name: str) -> bool:
        return apps.read_namespaced_deployment(name, "akidb").status.ready_replicas == more

    names = list(world.estate.workloads)
    for name in names:
        scale(name, more)
    assert eventually(lambda: all(map(is_full, names)), 150 * world.processes.stretch)
    here = {name_of(node) for node in cluster.list(NODE) if labels_of(node).get(SPREAD) == domain}
    for name in names:
        mine = core.list_namespaced_pod("akidb", label_selector=f"app={name}").items
        ending = [pod.metadata.name for pod in mine if pod.spec.node_name in here]
        for pod in ending:
            core.patch_namespaced_pod(pod, "akidb", cheap)
        scale(name, more - len(ending))
    assert eventually(lambda: not _domains(packable)[domain], 150 * world.processes.stretch)
    return domain


def test_a_domain_without_a_node_gets_its_pods_and_packing_is_judged_from_there(
    packable: Target, without_on_demand: str, world: worlds.LabWorld
) -> None:
    lever = Consolidation()
    snapshot = json.loads(json.dumps(lever.snapshot(packable)))
    stages = lever.plan(packable).stages
    first = _applied(lever, packable, stages[0], world)
    assert first["evicted_for_spread"]
    assert first["before"]["usd_hour"] > first["before_spread"]["usd_hour"]
    assert _domains(packable)[without_on_demand] > 0
    assert _applied(lever, packable, stages[1], world)["pdb_violations"] == 0
    assert lever.evidence(packable)["packing_ratio"] <= 1.1
    assert lever.rollback(packable, snapshot).changed_by_others == ()
    assert lever.verify_restored(packable, snapshot) == []
