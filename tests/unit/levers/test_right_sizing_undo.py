"""Right-sizing undone: VPA first, then every running pod where it runs, or by an eviction where that can't be."""

from __future__ import annotations

from typing import Any

import pytest

from include.clients.kubernetes import POD, InvalidError, NodeCapacityError
from include.rollout.lever import NotConverged
from tests.unit.levers.sizing_world import LEVER, NOW, OLD, World, resources_of


@pytest.fixture
def world() -> World:
    return World()


def rolled_out(world: World) -> dict[str, Any]:
    """Roll everything out; the snapshot from before."""
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    world.writes.clear()
    return snapshot


def old_sizes(world: World) -> bool:
    return all(size == OLD for size in world.cluster.sizes().values())


def test_the_vpas_go_before_any_pod_and_no_pod_is_replaced(world: World) -> None:
    snapshot = rolled_out(world)
    restored = LEVER.rollback(world.target, snapshot)
    assert restored.steps == (
        "VerticalPodAutoscaler akidb/akidb-grpc deleted",
        "VerticalPodAutoscaler akidb/akidb-rest deleted",
        "30 pods have their old requests again, where they run",
    )
    assert [write.split()[0] for write in world.writes] == ["delete"] * 2 + ["resize"] * 30
    assert (old_sizes(world), world.modes(), LEVER.verify_restored(world.target, snapshot)) == (True, {}, [])


def test_the_proof_is_read_on_the_running_pods(world: World) -> None:
    snapshot = rolled_out(world)
    LEVER.rollback(world.target, snapshot)
    resources_of(world.cluster.pods("akidb-rest")[0])["requests"] = {"cpu": "1", "memory": "1Gi"}
    left = LEVER.verify_restored(world.target, snapshot)
    assert [str(difference) for difference in left] == [
        'Pod akidb/akidb-rest-0 requests of akidb: {"cpu": "1", "memory": "1Gi"} -> {"cpu": "1", "memory": "2Gi"}'
    ]
    LEVER.rollback(world.target, snapshot)
    assert (old_sizes(world), LEVER.verify_restored(world.target, snapshot)) == (True, [])


def test_a_pod_whose_node_has_had_no_room_for_too_long_is_evicted(world: World) -> None:
    snapshot = rolled_out(world)
    world.cluster.room = False  # packed: each resize has been Deferred for 70 s, 60 s are waited for
    restored = LEVER.rollback(world.target, snapshot)
    assert restored.steps[-1] == "30 pods were evicted, since their nodes had no room: new ones follow them"
    assert (old_sizes(world), LEVER.verify_restored(world.target, snapshot)) == (True, [])


def test_pods_that_follow_evicted_ones_and_that_no_node_has_room_for_are_named(world: World) -> None:
    snapshot = rolled_out(world)
    world.cluster.room, world.cluster.full = False, True
    with pytest.raises(NotConverged) as raised:
        LEVER.rollback(world.target, snapshot)
    assert "akidb-grpc: 0 of 15 pods ready" in str(raised.value)
    assert "15 pods wait for a node (akidb-grpc-0 ...): 0/5 nodes are available: 5 Insufficient memory." in str(
        raised.value
    )


def test_a_deferred_pod_is_waited_for_before_it_is_evicted(world: World) -> None:
    snapshot = rolled_out(world)
    world.cluster.room = False
    with pytest.raises(NotConverged, match=r"akidb-grpc-0 has cpu .* of cpu 1, memory 2Gi \(Deferred\)"):
        LEVER.rollback(world.with_settings(deferred_seconds=120), snapshot)
    assert not any(write.startswith("evict") for write in world.writes)
    assert len(LEVER.verify_restored(world.target, snapshot)) == 30


def test_a_pod_that_its_node_could_never_hold_is_evicted(world: World) -> None:
    snapshot = rolled_out(world)
    world.cluster.objects["Node", "", "i-1"]["status"]["allocatable"] = {"cpu": "7910m", "memory": "1900Mi"}
    name = next(p["metadata"]["name"] for p in world.cluster.pods("akidb-rest") if p["spec"]["nodeName"] == "i-1")
    with pytest.raises(NodeCapacityError, match="node did not have enough capacity"):
        world.cluster.resize(name, "akidb", {"akidb": OLD})
    LEVER.rollback(world.target, snapshot)
    assert f"evict {name}" in world.writes
    assert (old_sizes(world), LEVER.verify_restored(world.target, snapshot)) == (True, [])


def test_a_budget_without_room_is_waited_for_and_never_passed_by(world: World) -> None:
    snapshot = rolled_out(world)
    world.cluster.room, world.cluster.budgets_without_room = False, 10**6
    with pytest.raises(
        NotConverged, match=r"can't be resized where it runs .*, and its PodDisruptionBudget holds it for now"
    ):
        LEVER.rollback(world.target, snapshot)
    assert not any(write.startswith("delete Pod") for write in world.writes)


def test_a_template_that_others_have_changed_is_theirs_and_reported(world: World) -> None:
    snapshot = rolled_out(world)
    theirs = {"cpu": "1500m", "memory": "3Gi"}
    live = world.cluster.objects["Deployment", "akidb", "akidb-rest"]
    live["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"] = dict(theirs)
    restored = LEVER.rollback(world.target, snapshot)
    assert [str(difference) for difference in restored.changed_by_others] == [
        'Deployment akidb/akidb-rest requests of akidb: {"cpu": "1", "memory": "2Gi"} -> '
        '{"cpu": "1500m", "memory": "3Gi"}'
    ]
    assert world.cluster.sizes()["akidb-rest-0"] == theirs
    assert world.cluster.sizes()["akidb-grpc-0"] == OLD


def test_a_second_runs_undo_leaves_the_sizes_to_the_vpa_that_stood_before_it(world: World) -> None:
    world.apply_all()
    snapshot, sizes = LEVER.snapshot(world.target), world.cluster.sizes()
    world.prometheus.peak = 1500.0 * 2**20
    world.apply_all()
    assert world.cluster.sizes() != sizes
    LEVER.rollback(world.target, snapshot)
    world.cluster.settle()
    assert (world.cluster.sizes(), LEVER.verify_restored(world.target, snapshot)) == (sizes, [])


def test_it_needs_no_prometheus(world: World) -> None:
    snapshot = rolled_out(world)
    world.target.clients.prometheus = None
    LEVER.rollback(world.target, snapshot)
    assert (old_sizes(world), LEVER.verify_restored(world.target, snapshot)) == (True, [])


# The fake is as the server is -----------------------------------------------------------------------------------------


def test_a_resize_that_changes_the_qos_class_or_has_no_status_is_refused(world: World) -> None:
    with pytest.raises(InvalidError, match="Pod QOS Class may not change"):
        world.cluster.resize("akidb-rest-0", "akidb", {"akidb": {"cpu": "2", "memory": "4Gi"}})
    world.cluster.objects[POD.name, "akidb", "akidb-rest-0"]["status"]["containerStatuses"] = []
    with pytest.raises(InvalidError, match="pod resize is not supported"):
        world.cluster.resize("akidb-rest-0", "akidb", {"akidb": {"cpu": "900m"}})


def test_a_dry_run_makes_no_pod(world: World) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "namespace": "akidb"},
        "spec": {"containers": []},
    }
    assert world.cluster.create(pod, dry_run=True)["metadata"]["name"] == "a"
    assert world.cluster.get(POD, "a", "akidb") is None
    assert world.writes == []
    assert world.target.settings.deferred_seconds < NOW
