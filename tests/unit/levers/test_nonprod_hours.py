"""A staging namespace to zero and back: fields, owners, autoscalers, and what others do meanwhile."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from include.levers.nonprod_hours.wanted import MANAGER, PAUSED
from include.rollout.lever import NotConverged, Refused, within
from tests.unit.levers.nonprod_world import ASLEEP, AWAKE, STAGING, TEAM, World, namespace


def wake(world: World, snapshot: dict[str, Any]) -> Any:
    """Rolled back and proved; returns what rollback said."""
    restored = world.lever.rollback(world.target, snapshot)
    paths = [difference.path for difference in restored.changed_by_others]
    left = world.lever.verify_restored(world.target, snapshot)
    assert [str(difference) for difference in left if not within(difference.path, paths)] == []
    return restored


def test_everything_goes_to_zero_and_comes_back_with_its_owners() -> None:
    world = World()
    before = world.cluster.state("HorizontalPodAutoscaler")
    assert world.sizes() == AWAKE
    snapshot, _ = world.sleep()
    assert world.sizes() == ASLEEP
    wake(world, snapshot)
    assert world.sizes() == AWAKE
    world.cluster.settle()
    assert world.cluster.state("HorizontalPodAutoscaler") == before


def test_new_jobs_end_first_then_the_scaling_and_then_the_pods() -> None:
    world = World()
    world.sleep()
    first = [write for write in world.writes if "CronJob" in write or "ScaledObject" in write or "Deployment" in write]
    assert "ScaledObject" in first[0]
    assert world.lever.plan(world.target).differences == ()


def test_the_nodes_that_had_the_pods_are_gone_and_have_a_price() -> None:
    world = World()
    _, figures = world.sleep()
    assert (figures["nodes_gone"], figures["nodes_left"]) == (["staging-1", "staging-2"], [])
    assert figures["usd_hour_gone"] == "0.2900"


def test_without_keda_nothing_is_scaled_down() -> None:
    world = World()
    world.cluster.keda_works = False
    with pytest.raises(NotConverged, match=f"ScaledObject {STAGING}/web is not paused by KEDA yet"):
        world.sleep()
    assert {name: size for name, size in world.sizes().items() if name != "pause of web"} == {
        name: size for name, size in AWAKE.items() if name != "pause of web"
    }


def test_what_somebody_scaled_up_at_night_is_left_and_named() -> None:
    world = World()
    snapshot, _ = world.sleep()
    world.apply({**base("Deployment", "docs"), "spec": {"replicas": 4}}, "kubectl")
    restored = wake(world, snapshot)
    assert [str(other) for other in restored.changed_by_others] == [f"Deployment {STAGING}/docs spec.replicas: 1 -> 4"]
    assert world.sizes() == AWAKE | {"docs": 4}


def test_what_is_at_rest_already_is_not_the_levers() -> None:
    world = World()
    world.apply({**base("Deployment", "docs"), "spec": {"replicas": 0}})
    snapshot, figures = world.sleep()
    assert f"Deployment {STAGING}/docs" not in figures["asleep"]
    wake(world, snapshot)
    assert world.sizes()["docs"] == 0


def test_a_labelled_workload_stays_and_so_does_what_scales_it() -> None:
    world = World()
    world.thing("Deployment", "web")["metadata"]["labels"] = {"akidb.io/nonprod-hours": "off"}
    world.sleep()
    assert world.sizes() == ASLEEP | {"web": 3, "pause of web": None}
    notes = world.lever.plan(world.target).notes
    assert notes[:2] == (
        f"Deployment {STAGING}/web is left as it is: its label akidb.io/nonprod-hours is off",
        f"ScaledObject {STAGING}/web is left as it is: Deployment {STAGING}/web, which it scales, is left",
    )


@pytest.mark.parametrize("value", ["Off", "false", "disabled"])
def test_a_workload_whose_label_is_spelled_differently_stays_too_and_is_named(value: str) -> None:
    world = World()
    world.thing("Deployment", "web")["metadata"]["labels"] = {"akidb.io/nonprod-hours": value}
    world.sleep()
    assert world.sizes() == ASLEEP | {"web": 3, "pause of web": None}
    assert world.lever.plan(world.target).notes[0].endswith(f"its label akidb.io/nonprod-hours is {value}")


def test_a_pause_of_somebody_else_is_left_with_its_workload() -> None:
    world = World()
    world.apply(
        {**base("ScaledObject", "web"), "metadata": {"name": "web", "namespace": STAGING, **paused()}}, "kubectl"
    )
    world.sleep()
    assert world.sizes() == ASLEEP | {"web": 3}


def paused() -> dict[str, Any]:
    return {"annotations": {PAUSED: "true"}}


def test_what_an_operator_manages_is_left_and_named() -> None:
    world = World()
    owner = {"kind": "Prometheus", "name": "main", "controller": True}
    world.thing("StatefulSet", "store")["metadata"]["ownerReferences"] = [owner]
    world.sleep()
    assert world.sizes() == ASLEEP | {"store": 2}
    assert f"StatefulSet {STAGING}/store is left as it is: Prometheus main manages it and would set it back" in (
        world.lever.plan(world.target).notes
    )


def test_a_workload_that_an_hpa_scales_wakes_with_the_replicas_that_it_had_and_may_be_moved_at_once() -> None:
    world = World()
    snapshot, _ = world.sleep()
    world.lever.rollback(world.target, snapshot)
    assert world.sizes()["api"] == 2
    world.thing("Deployment", "api")["spec"]["replicas"] = 5
    assert world.lever.verify_restored(world.target, snapshot) == []


def test_a_workload_that_was_not_ready_before_is_not_waited_for() -> None:
    world = World()
    world.cluster.broken = frozenset({"docs"})
    world.cluster.settle()
    snapshot, _ = world.sleep()
    restored = wake(world, snapshot)
    assert f"Deployment {STAGING}/docs was not ready before its sleep: not waited for" in restored.steps


def test_a_wake_whose_pods_do_not_get_ready_fails_with_their_names() -> None:
    world = World()
    snapshot, _ = world.sleep()
    world.cluster.broken = frozenset({"store"})
    with pytest.raises(NotConverged, match=f"StatefulSet {STAGING}/store: 0 of 2 pods ready"):
        world.lever.rollback(world.target, snapshot)


def test_what_was_deployed_after_the_plan_stays_awake() -> None:
    world = World()
    snapshot = world.lever.snapshot(world.target)
    (stage,) = world.lever.plan(world.target).stages
    late = copy.deepcopy(world.thing("Deployment", "docs"))
    late["metadata"]["name"] = "late"
    world.cluster.put(late)
    world.lever.apply(world.target, stage)
    assert world.sizes()["late"] == 1
    wake(world, snapshot)


@pytest.mark.parametrize(("space", "what"), [("akidb", "production"), ("kube-system", "the cluster's own")])
def test_production_and_the_clusters_own_namespace_never_sleep(space: str, what: str) -> None:
    world = World(namespace=space)
    world.cluster.put(namespace(space))
    reason = f"us-east-1: namespace {space} is {what}: it never sleeps; take it out of nonprod.namespaces"
    assert [c.reason for c in world.lever.preflight(world.target) if not c.passed] == [reason]
    with pytest.raises(Refused, match="it never sleeps"):
        world.lever.apply(world.target, stage_of(World()))


def stage_of(world: World) -> Any:
    (stage,) = world.lever.plan(world.target).stages
    return stage


def test_what_flux_manages_is_refused_with_its_name_and_the_remedy() -> None:
    world = World()
    labels = {"kustomize.toolkit.fluxcd.io/name": "staging"}
    world.thing("Deployment", "docs")["metadata"]["labels"] = labels
    (failed,) = [check for check in world.lever.preflight(world.target) if not check.passed]
    assert failed.reason == (
        f"Deployment {STAGING}/docs is managed by flux, which would set it back while its namespace sleeps"
    )
    assert failed.remedy == (
        "have flux ignore spec.replicas, spec.suspend and KEDA's annotation there, then add flux to "
        "governance.may_change_objects_of in estate.yaml"
    )


def test_preflight_says_that_budgets_hold_nothing_back() -> None:
    world = World()
    found = {check.name: check.reason for check in world.lever.preflight(world.target)}
    assert found["disruption budgets"] == "0 found: they hold evictions back, not a scale-down"


def base(kind: str, name: str) -> dict[str, Any]:
    api = {"Deployment": "apps/v1", "ScaledObject": "keda.sh/v1alpha1"}[kind]
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": STAGING}}


def test_the_fields_belong_to_the_lever_while_it_sleeps_and_to_the_team_again() -> None:
    world = World()
    snapshot, _ = world.sleep()
    assert replica_owners(world) == [MANAGER]
    wake(world, snapshot)
    assert replica_owners(world) == [TEAM]


def replica_owners(world: World) -> list[str]:
    entries = world.thing("Deployment", "docs")["metadata"]["managedFields"]
    return [entry["manager"] for entry in entries if "f:replicas" in entry["fieldsV1"].get("f:spec", {})]
