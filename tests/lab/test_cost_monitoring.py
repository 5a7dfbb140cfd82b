"""The cost-truth lever against a real API server, OpenCost and Prometheus, as the user that Airflow gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes import client

from include.clients.kubernetes import Cluster, ForbiddenError
from include.levers.cost_monitoring import CostMonitoring, figures
from include.levers.cost_monitoring.dashboard import panels
from include.levers.cost_monitoring.figures import World
from include.levers.cost_monitoring.wanted import MANAGER, MonitoringSettings
from include.rollout.gates import Outcome, judge_all
from include.rollout.lever import Target
from include.rollout.settings import build
from lab import world as worlds
from tests.lab.conftest import REGION

# One worker boots one lab for all lab tests.
pytestmark = pytest.mark.lab
LEVER = CostMonitoring()


@pytest.fixture(scope="module")
def target(world: worlds.LabWorld, region_clients: SimpleNamespace) -> Target:
    """The region as a task sees it; the estate has this region alone, so that its total can be known."""
    estate = world.estate.model_copy(update={"regions": {REGION: world.estate.regions[REGION]}})
    settings = build(MonitoringSettings, {"converge_timeout_seconds": 120}, estate)
    return Target(REGION, estate, "lab-test", settings, region_clients)


@pytest.fixture(scope="module")
def rolled_out(target: Target) -> Any:
    """Every stage applied once; the snapshot of before and the figures of each stage. Undone by the last test."""
    snapshot = LEVER.snapshot(target)
    return snapshot, {stage.slot: LEVER.apply(target, stage) for stage in LEVER.plan(target).stages}


def test_preflight_passes_and_the_plan_is_the_same_twice(target: Target, world: worlds.LabWorld) -> None:
    def failed() -> list[str]:
        return [f"{check.name}: {check.reason}" for check in LEVER.preflight(target) if not check.passed]

    # Series that are scraped every 5 s may not be there in the first seconds of a lab.
    world.processes.wait_until(lambda: not failed(), f"preflight, not {failed()}", 20)
    assert failed() == []
    assert LEVER.plan(target).hash() == LEVER.plan(target).hash()


def test_every_gate_passes_with_real_prices(target: Target, rolled_out: Any, world: worlds.LabWorld) -> None:
    _, applied = rolled_out

    def failures() -> list[str]:
        results = [
            result
            for stage in LEVER.plan(target).stages
            for result in judge_all(stage.gates, LEVER.observe(target, stage, 20, applied[stage.slot]))
        ]
        return [result.reason for result in results if result.outcome is not Outcome.PASS]

    world.processes.wait_until(lambda: not failures(), f"every gate passing, not {failures()}", 90)
    assert LEVER.plan(target).differences == ()
    evidence = LEVER.evidence(target)
    assert evidence["nodes_priced_by_opencost"] == evidence["nodes"] == 5
    assert evidence["usd_hour_opencost"] == pytest.approx(evidence["usd_hour"], rel=0.001)


def test_every_query_of_the_dashboard_returns_data(target: Target, rolled_out: Any) -> None:
    world = World(target)
    asked = [query for panel in panels(target.estate) for query in panel.queries]
    assert [query for _, query in figures.demanded(world)] == asked  # those of all regions too
    empty = [query.expression for query in asked if not target.clients.prometheus.query(query.expression)]
    assert empty == []


def test_applying_twice_changes_nothing(target: Target, rolled_out: Any) -> None:
    before = LEVER.snapshot(target)
    for stage in LEVER.plan(target).stages:
        LEVER.apply(target, stage)
    assert LEVER.snapshot(target) == before


def test_the_user_can_not_grant_or_make_anything_else(target: Target) -> None:
    cluster: Cluster = target.clients.kubernetes
    metadata = {"name": "somebody-else"}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": []}
    with pytest.raises(ForbiddenError):
        cluster.apply(role, MANAGER)
    with pytest.raises(ForbiddenError):
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, MANAGER)
    writes = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    with pytest.raises(ForbiddenError):
        cluster.apply({**role, "metadata": {"name": "opencost"}, "rules": writes}, MANAGER)


def test_it_is_undone_to_the_last_object_and_what_others_keep_stays(
    target: Target, rolled_out: Any, core: client.CoreV1Api
) -> None:
    snapshot, _ = rolled_out
    core.create_namespaced_config_map("kubecost", {"metadata": {"name": "theirs"}, "data": {"a": "b"}})
    restored = LEVER.rollback(target, snapshot)
    assert [str(other) for other in restored.changed_by_others] == [
        "Namespace kubecost: absent -> holds ConfigMap theirs, so it stays"
    ]
    assert [d.path for d in LEVER.verify_restored(target, snapshot)] == ["Namespace kubecost"]
    core.delete_namespaced_config_map("theirs", "kubecost")
    LEVER.rollback(target, snapshot)
    assert LEVER.verify_restored(target, snapshot) == []
    names = {namespace.metadata.name for namespace in core.list_namespace().items}
    assert not names & {"opencost", "kubecost", "monitoring"}
