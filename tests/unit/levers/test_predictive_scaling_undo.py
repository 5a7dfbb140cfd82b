"""The predictive-scaling lever's way back: what is set back in which order, and what is left to others."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from include.levers.predictive_scaling.wanted import DEPLOYMENT_NAME
from include.rollout.lever import NotConverged, Refused
from tests.unit.levers.fake_cluster import Crashed, crash_at
from tests.unit.levers.scaling_world import LEVER, World
from tests.unit.levers.spot_world import Object


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_rollback_takes_the_forecast_out_first_and_sets_everything_back(world: World) -> None:
    before, snapshot = world.cluster.state(), LEVER.snapshot(world.target)
    world.apply_all()
    world.prometheus.demand = lambda at: 4900.0
    world.cluster.settle()
    assert world.replicas() == {"akidb-rest": 18, "akidb-grpc": 18}
    fewer = world.prometheus.value
    world.prometheus.value = lambda e: 2900.0 if e.startswith("sum(rate(") else fewer(e)  # type: ignore[method-assign]
    world.writes.clear()
    restored = LEVER.rollback(world.target, snapshot)
    assert world.writes[:4] == [
        "apply ScaledObject/akidb-rest",
        "apply ScaledObject/akidb-grpc",
        "delete ScaledObject/akidb-grpc",
        "delete ScaledObject/akidb-rest",
    ]
    assert restored.steps[:4] == (
        "forecast trigger of akidb-rest taken out after 0.0 s",
        "forecast trigger of akidb-grpc taken out after 0.0 s",
        "ScaledObject akidb/akidb-grpc deleted",
        "ScaledObject akidb/akidb-rest deleted",
    )
    assert "akidb-rest from 18 back to 15 replicas" in restored.steps
    assert restored.changed_by_others == ()
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert set(world.cluster.state()) == set(before)
    assert world.replicas() == {"akidb-rest": 15, "akidb-grpc": 15}


def test_a_rollback_after_each_stage_and_a_second_one_find_everything_back(tmp_path: Path) -> None:
    for count in range(4):
        world = World(tmp_path / str(count))
        snapshot, stages = LEVER.snapshot(world.target), LEVER.plan(world.target).stages
        for stage in stages[:count]:
            LEVER.apply(world.target, stage)
        LEVER.rollback(world.target, snapshot)
        assert LEVER.verify_restored(world.target, snapshot) == []
        world.writes.clear()
        again = LEVER.rollback(world.target, snapshot)
        assert (again.steps, world.writes) == (("nothing was written, nothing is to be undone",), [])


def test_replicas_wait_until_the_hpa_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    hpa = world.cluster.objects["HorizontalPodAutoscaler", "akidb", "keda-hpa-akidb-rest"]
    world.cluster.stuck = True  # KEDA is down: its HPA stays
    with pytest.raises(NotConverged, match="KEDA's HPA of akidb-rest still exists"):
        LEVER.rollback(world.target, snapshot)
    assert hpa in world.cluster.objects.values()
    assert {d.path for d in LEVER.verify_restored(world.target, snapshot)} >= {
        "Deployment akidb/akidb-rest replicas", "HorizontalPodAutoscaler of akidb-rest",
    }  # fmt: skip
    world.cluster.stuck = False
    LEVER.rollback(world.target, snapshot)
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_what_somebody_else_has_changed_is_reported(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    changed_by = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:minReplicaCount": {}}}}
    world.cluster.objects["ScaledObject", "akidb", "akidb-rest"]["metadata"]["managedFields"].append(changed_by)
    restored = LEVER.rollback(world.target, snapshot)
    assert [str(difference) for difference in restored.changed_by_others] == [
        "ScaledObject akidb/akidb-rest content: absent -> changed by kubectl-edit"
    ]
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_a_rollback_works_without_registry_and_prometheus(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    for name in ("prometheus", "storage", "location", "aws"):
        delattr(world.clients, name)
    LEVER.rollback(world.target, snapshot)
    assert LEVER.verify_restored(world.target, snapshot) == []


def at_peak(world: World) -> Object:
    """The snapshot of 15 replicas, and then 5,600 requests a second that need 20."""
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    world.prometheus.demand = lambda at: 5600.0
    world.cluster.settle()
    assert world.replicas() == {"akidb-rest": 20, "akidb-grpc": 20}
    return snapshot


def test_a_rollback_at_the_peak_keeps_what_the_requests_need_and_says_how_to_set_it_back(world: World) -> None:
    snapshot = at_peak(world)
    restored = LEVER.rollback(world.target, snapshot)
    assert world.replicas() == {"akidb-rest": 20, "akidb-grpc": 20}
    assert (
        "akidb-rest stays at 20 replicas: 5600 requests a second need 20, the snapshot has 15; set it back when they "
        "are fewer: kubectl -n akidb scale deployment/akidb-rest --replicas=15"
    ) in restored.steps
    assert LEVER.verify_restored(world.target, snapshot) == []
    world.prometheus.demand = lambda at: 4500.0
    again = LEVER.rollback(world.target, snapshot)
    assert world.replicas() == {"akidb-rest": 17, "akidb-grpc": 17}
    assert again.steps[0].startswith("akidb-rest from 20 back to 17 replicas: 4500 requests a second need 17")
    world.prometheus.demand = lambda at: 280.0
    LEVER.rollback(world.target, snapshot)
    assert world.replicas() == {"akidb-rest": 15, "akidb-grpc": 15}


def test_while_the_requests_are_not_known_no_replica_is_taken_away(world: World) -> None:
    snapshot = at_peak(world)
    world.prometheus.lost = True
    restored = LEVER.rollback(world.target, snapshot)
    assert world.replicas() == {"akidb-rest": 20, "akidb-grpc": 20}
    assert any("how many requests come is not known" in step for step in restored.steps)
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_a_rollback_never_adds_replicas_for_requests_that_the_autoscaler_did_not_follow(world: World) -> None:
    snapshot = at_peak(world)
    world.prometheus.demand = lambda at: 56000.0  # 200 replicas; the most that it may are 20
    LEVER.rollback(world.target, snapshot)
    assert world.replicas() == {"akidb-rest": 20, "akidb-grpc": 20}


@pytest.mark.parametrize(("first", "then"), [(False, True), (True, False)])
def test_what_a_resumed_run_adds_with_other_settings_is_undone_too(world: World, first: bool, then: bool) -> None:
    before, chosen = world.cluster.state(), world.with_settings(use_forecast=first)
    snapshot = json.loads(json.dumps(LEVER.snapshot(chosen), sort_keys=True))
    world.apply_all(chosen)
    other = world.with_settings(use_forecast=then)
    world.apply_all(other)
    LEVER.rollback(other, snapshot)
    assert set(world.cluster.state()) == set(before)
    assert LEVER.verify_restored(other, snapshot) == []


def test_replicas_that_an_earlier_runs_autoscaler_moved_are_its_to_set_after_an_undo_too(world: World) -> None:
    world.apply_all()
    later = world.with_settings(max_replicas=18)
    snapshot = LEVER.snapshot(later)
    assert snapshot["replicas"] == {"akidb-rest": None, "akidb-grpc": None}
    world.apply_all(later)
    assert world.replicas() == {"akidb-rest": 11, "akidb-grpc": 11}  # the estate has 15
    restored = LEVER.rollback(later, snapshot)
    assert [step for step in restored.steps if "replicas" in step] == []
    assert world.replicas() == {"akidb-rest": 11, "akidb-grpc": 11}
    assert LEVER.verify_restored(later, snapshot) == []


def test_a_workload_that_left_the_estate_gets_its_replicas_back(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    workloads = {"akidb-rest": world.estate.workloads["akidb-rest"]}
    shrunk = replace(world.target, estate=world.estate.model_copy(update={"workloads": workloads}))
    LEVER.rollback(shrunk, snapshot)
    assert world.replicas() == {"akidb-rest": 15, "akidb-grpc": 15}
    assert LEVER.verify_restored(shrunk, snapshot) == []


def test_a_deployment_that_is_gone_does_not_stop_the_rest(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    del world.cluster.objects["Deployment", "akidb", "akidb-grpc"]
    del world.cluster.objects["ScaledObject", "akidb", "akidb-grpc"]
    LEVER.rollback(world.target, snapshot)
    assert world.cluster.objects["Deployment", "akidb", "akidb-rest"]["spec"]["replicas"] == 15
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert ("Deployment", "akidb", DEPLOYMENT_NAME) not in world.cluster.objects


def test_without_keda_and_its_definitions_the_rest_is_set_back(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    for key in [k for k in world.cluster.objects if k[0] in ("ScaledObject", "HorizontalPodAutoscaler")]:
        del world.cluster.objects[key]
    world.cluster.unserved |= {"scaledobjects"}
    restored = LEVER.rollback(world.target, snapshot)
    assert restored.changed_by_others == ()
    assert world.replicas() == {"akidb-rest": 15, "akidb-grpc": 15}
    assert ("Deployment", "akidb", DEPLOYMENT_NAME) not in world.cluster.objects
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_an_earlier_run_that_can_not_be_made_again_is_reported_and_the_rest_set_back(world: World) -> None:
    world.apply_all()
    snapshot = LEVER.snapshot(world.target)  # an earlier run's ScaledObjects
    for key in [k for k in world.cluster.objects if k[0] in ("ScaledObject", "HorizontalPodAutoscaler")]:
        del world.cluster.objects[key]
    world.cluster.unserved |= {"scaledobjects"}
    restored = LEVER.rollback(world.target, snapshot)
    assert {d.path for d in restored.changed_by_others} == {
        "ScaledObject akidb/akidb-rest", "ScaledObject akidb/akidb-grpc",
    }  # fmt: skip
    left = [d.path for d in LEVER.verify_restored(world.target, snapshot)]
    assert left
    assert all(path.startswith("ScaledObject akidb/akidb-") for path in left)


@pytest.mark.parametrize("write", range(1, 8))
def test_a_crash_after_any_write_of_apply_and_of_the_rollback_is_undone(world: World, write: int) -> None:
    snapshot = json.loads(json.dumps(LEVER.snapshot(world.target), sort_keys=True))
    before = set(world.cluster.state())
    crash_at(world.writes, write)
    with contextlib.suppress(Crashed):
        world.apply_all()
    crash_at(world.writes, write)
    with contextlib.suppress(Crashed):
        LEVER.rollback(world.target, snapshot)
    world.writes.after = None
    LEVER.rollback(world.target, snapshot)
    assert set(world.cluster.state()) == before
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_a_snapshot_of_another_release_lacks_and_has_keys(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    newer = {**snapshot, "of_a_newer_release": 1, "objects": [*snapshot["objects"], {"key": "Gizmo a/b", "was": None}]}
    restored = LEVER.rollback(world.target, newer)
    assert [str(d) for d in restored.changed_by_others] == [
        "Gizmo a/b: as before the rollout -> of a kind that this release does not know: undo it with the release that "
        "wrote it"
    ]
    assert [d.path for d in LEVER.verify_restored(world.target, newer)] == ["Gizmo a/b"]
    assert LEVER.verify_restored(world.target, snapshot) == []
    with pytest.raises(Refused, match="the snapshot has no 'objects': another release took it"):
        LEVER.rollback(world.target, {})


def test_triggers_that_others_took_over_do_not_stop_the_rollback(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    theirs = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject"}
    theirs |= {"metadata": {"name": "akidb-rest", "namespace": "akidb"}, "spec": {"triggers": [{"type": "cron"}]}}
    world.cluster.apply(theirs, "argocd-controller", force=True)
    restored = LEVER.rollback(world.target, snapshot)
    assert [str(d) for d in restored.changed_by_others] == [
        "ScaledObject akidb/akidb-rest content: absent -> changed by argocd-controller"
    ]
    assert world.replicas() == {"akidb-rest": 15, "akidb-grpc": 15}


def test_a_foreign_entry_of_env_reaches_neither_plan_nor_snapshot(world: World) -> None:
    world.apply_all()
    live = world.cluster.objects["Deployment", "akidb", DEPLOYMENT_NAME]
    (container,) = live["spec"]["template"]["spec"]["containers"]
    container["env"].insert(0, {"name": "REGISTRY_PASSWORD", "value": "hunter2-hunter2"})
    container["env"][1]["value"] = "hunter2-hunter2"  # a value of ours that somebody has replaced
    live["metadata"].setdefault("annotations", {})["team/token"] = "hunter2-hunter2"
    entry = live["metadata"]["managedFields"][0]
    fields = entry["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]
    del next(iter(fields.values()))["f:env"]  # taken over by force
    plan, snapshot = LEVER.plan(world.target), LEVER.snapshot(world.target)
    assert "hunter2" not in json.dumps(plan.to_json())
    assert "hunter2" not in json.dumps(snapshot)
    assert "set by others" in json.dumps([d.before for d in plan.differences])


OLD = json.loads((Path(__file__).parent / "old_snapshots/predictive_scaling_2026_11.json").read_text())


def as_mapping(snapshot: dict[str, Any]) -> dict[str, Any]:
    """The snapshot as releases before that kept it: objects by key, sorted by the ledger."""
    return {**snapshot, "objects": {entry["key"]: entry["was"] for entry in snapshot["objects"]}}


@pytest.mark.parametrize("older", [False, True], ids=["a list", "a mapping"])
def test_a_snapshot_of_november_2026_of_a_region_without_the_lever_is_undone(world: World, older: bool) -> None:
    before = set(world.cluster.state())
    snapshot = as_mapping(OLD["nothing rolled out"]) if older else OLD["nothing rolled out"]
    world.apply_all()
    restored = LEVER.rollback(world.target, snapshot)
    assert (restored.changed_by_others, LEVER.verify_restored(world.target, snapshot)) == ((), [])
    assert set(world.cluster.state()) == before
    assert world.replicas() == {"akidb-rest": 15, "akidb-grpc": 15}


@pytest.mark.parametrize("older", [False, True], ids=["a list", "a mapping"])
def test_a_snapshot_of_november_2026_with_autoscaling_takes_the_forecast_out_and_keeps_that(
    world: World, older: bool
) -> None:
    snapshot = as_mapping(OLD["autoscaling by requests"]) if older else OLD["autoscaling by requests"]
    world.apply_all()
    restored = LEVER.rollback(world.target, snapshot)
    assert (restored.changed_by_others, LEVER.verify_restored(world.target, snapshot)) == ((), [])
    assert [step.partition(" after ")[0] for step in restored.steps[:2]] == [
        "forecast trigger of akidb-grpc taken out" if older else "forecast trigger of akidb-rest taken out",
        "forecast trigger of akidb-rest taken out" if older else "forecast trigger of akidb-grpc taken out",
    ]
    assert {name: world.triggers(name) for name in world.estate.workloads} == {
        "akidb-rest": ["requests"],
        "akidb-grpc": ["requests"],
    }
    assert ("Deployment", "akidb", "traffic-predictor") not in world.cluster.objects
