"""The spot lever against a real API server and a real Karpenter, as the user that Airflow gets; no Airflow here.

One rollout of the first step, disturbed and undone. The later steps run in `make rehearsal`.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from kubernetes import client
from kubernetes.dynamic import DynamicClient

from include.levers.spot_capacity import SpotCapacity
from include.levers.spot_capacity.settings import SpotSettings
from include.rollout.gates import Outcome, judge_all
from include.rollout.lever import Target
from include.rollout.settings import build
from lab import world as worlds
from tests.lab.conftest import REGION

# One worker boots one lab for all lab tests.
pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def target(world: worlds.LabWorld, region_clients: SimpleNamespace) -> Target:
    """The region as a task sees it, with the least-privilege user."""
    settings = build(SpotSettings, {"converge_timeout_seconds": 240}, world.estate)
    return Target(REGION, world.estate, "lab-test", settings, region_clients)


def _refusals(target: Target) -> dict[str, str]:
    return {check.name: check.reason for check in SpotCapacity().preflight(target) if not check.passed}


def test_preflight_passes_on_the_untouched_estate(target: Target) -> None:
    assert _refusals(target) == {}


def test_preflight_names_a_budget_that_would_block_every_drain(target: Target, dynamic: DynamicClient) -> None:
    budgets = dynamic.resources.get(api_version="policy/v1", kind="PodDisruptionBudget")
    patch = {"spec": {"maxUnavailable": 0}}
    budgets.patch(name="akidb-rest", namespace="akidb", body=patch, content_type="application/merge-patch+json")
    try:
        refused = _refusals(target)
    finally:
        patch = {"spec": {"maxUnavailable": "25%"}}
        budgets.patch(name="akidb-rest", namespace="akidb", body=patch, content_type="application/merge-patch+json")
    assert any("akidb-rest" in reason for reason in refused.values()), refused


def test_preflight_names_the_owner_of_a_deployment_that_argo_cd_manages(target: Target, core: client.CoreV1Api) -> None:
    apps = client.AppsV1Api(core.api_client)
    name = "argocd.argoproj.io/tracking-id"
    apps.patch_namespaced_deployment("akidb-grpc", "akidb", {"metadata": {"annotations": {name: "akidb:apps"}}})
    try:
        refused = _refusals(target)
    finally:
        apps.patch_namespaced_deployment("akidb-grpc", "akidb", {"metadata": {"annotations": {name: None}}})
    assert any("argocd" in reason and "akidb-grpc" in reason for reason in refused.values()), refused


def test_the_plan_is_the_same_twice_and_changes_nothing(target: Target) -> None:
    lever = SpotCapacity()
    first, second = lever.plan(target), lever.plan(target)
    assert first.hash() == second.hash()
    assert [stage.slot for stage in first.stages] == list(lever.slots)
    assert lever.verify_restored(target, lever.snapshot(target)) == []


def test_a_step_is_applied_gated_repeated_and_undone_to_the_last_field(
    target: Target, core: client.CoreV1Api, world: worlds.LabWorld
) -> None:
    lever = SpotCapacity()
    snapshot = lever.snapshot(target)
    stage = lever.plan(target).stages[0]
    first = lever.apply(target, stage)
    assert first["spot_share_pods"] == pytest.approx(0.25, abs=0.05)
    again = lever.apply(target, stage)  # what a retry after a crash does
    assert again["spot_share_pods"] == first["spot_share_pods"]

    def outcomes() -> set[Outcome]:
        results = judge_all(stage.gates, lever.observe(target, stage, 20, first))
        return {result.outcome for result in results}

    world.processes.wait_until(lambda: outcomes() == {Outcome.PASS}, "every gate of the step passing", 90)

    # Somebody else changes a field meanwhile: it is reported and left alone.
    apps = client.AppsV1Api(core.api_client)
    foreign = {"spec": {"template": {"metadata": {"annotations": {"team": "search"}}}}}
    apps.patch_namespaced_deployment("akidb-rest", "akidb", foreign)
    lever.rollback(target, snapshot)
    assert lever.verify_restored(target, snapshot) == []
    template = apps.read_namespaced_deployment("akidb-rest", "akidb").spec.template
    assert template.metadata.annotations == {"team": "search"}
    assert template.spec.topology_spread_constraints is None
    assert lever.rollback(target, snapshot).changed_by_others == ()  # safe to repeat
    nodes = core.list_node().items
    assert {n.metadata.labels.get("eks.amazonaws.com/nodegroup") for n in nodes} == {"akidb-on-demand"}
    assert len(nodes) == 5
    assert not any(n.spec.unschedulable for n in nodes)
