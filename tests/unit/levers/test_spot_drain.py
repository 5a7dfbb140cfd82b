"""What the drain of the old node group would lose, and what it has left without a node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from include.rollout.gates import Figure, Outcome, judge_all
from include.rollout.lever import Refused
from tests.unit.levers.spot_steps import LEVER, drained, spread_out, stage_of
from tests.unit.levers.spot_world import World, made_pod


@pytest.fixture
def world() -> World:
    return World()


def bare_pod(name: str, node: str) -> dict[str, Any]:
    pod = made_pod(name, "import", "data", node)
    del pod["metadata"]["ownerReferences"]
    return pod


def test_everything_that_the_drain_evicts_is_named_in_the_plan_with_its_maker(world: World) -> None:
    for n in range(4):  # most of what must not be evicted is on i-1 and i-2: these stay
        world.cluster.put(bare_pod(f"kept-{n}", f"i-{1 + n % 2}"))
    world.cluster.put(made_pod("batch-x", "batch", "data", "i-3"))
    world.cluster.put(bare_pod("import-once", "i-4"))
    notes = LEVER.plan(world.target).notes
    told = "data/batch-x (ReplicaSet batch-5d7b9), data/import-once (no controller)"
    assert f"old_node_group evicts 2 pods of others: {told}" in notes
    assert (
        "old_node_group refuses as long as these are on its nodes, unless accept_unmovable_pods is set: "
        "data/import-once (no controller): nothing recreates it"
    ) in notes


def test_the_plan_names_others_that_tolerate_every_taint(world: World) -> None:
    for name, tolerations in {
        "payments": [{"operator": "Exists"}],
        "batch": [{"key": "batch", "operator": "Exists"}],
    }.items():
        world.cluster.put(made_pod(f"{name}-1", name, "platform", "i-1"))["spec"]["tolerations"] = tolerations
    assert (
        "pods of others may be put on the pools' nodes, spot among them, for they tolerate akidb.io/dedicated: "
        "platform/ReplicaSet payments-5d7b9; give their tolerations the keys that they are meant for"
    ) in LEVER.plan(world.target).notes


def test_the_stage_refuses_before_its_first_cordon_to_end_a_pod_for_good(world: World) -> None:
    spread_out(world)
    for n in (1, 2, 3, 4, 5):
        world.cluster.put(bare_pod(f"import-{n}", f"i-{n}"))
    world.writes.clear()
    stage = stage_of(world, "old_node_group")
    with pytest.raises(
        Refused, match=r"data/import-5 \(no controller\): nothing recreates it.*or set accept_unmovable_pods"
    ):
        LEVER.apply(world.target, stage)
    assert world.writes == []
    accepted = world.target.settings.model_copy(update={"accept_unmovable_pods": True})
    LEVER.apply(replace(world.target, settings=accepted), stage)
    assert len(world.aws.instances) == 2


def test_a_pod_that_the_drain_has_left_without_a_node_fails_its_gate(world: World) -> None:
    stage, applied = drained(world, made_pod("zookeeper-2", "zookeeper", "data", "i-5"))
    assert applied["evicted"] == ["data/zookeeper-2 (ReplicaSet zookeeper-5d7b9)"]
    assert applied["evicted_from"] == ["data/ReplicaSet zookeeper-5d7b9"]
    (gate,) = (gate for gate in stage.gates if gate.name == "evicted_pods_pending")
    good = LEVER.observe(world.target, stage, 20, applied)
    assert judge_all([gate], good)[0].outcome is Outcome.PASS
    world.cluster.put(made_pod("zookeeper-3", "zookeeper", "data", ""))
    world.cluster.put(made_pod("another-teams", "other", "data", ""))  # waits for reasons of its own
    figure = LEVER.observe(world.target, stage, 20, applied)["evicted_pods_pending"]
    note = "without a node: data/zookeeper-3"
    assert figure == Figure(1, "pods", 1, "pods of others that the drain evicted", note)
    assert judge_all([gate], {gate.name: figure})[0].outcome is Outcome.FAIL


def test_a_pod_that_waited_before_the_drain_is_none_of_its_gates(world: World) -> None:
    waits = made_pod("zookeeper-1", "zookeeper", "data", "", created="2027-01-15T07:00:00Z")
    stage, applied = drained(world, waits, made_pod("zookeeper-2", "zookeeper", "data", "i-5"))
    assert applied["waited_before"] == {"data/ReplicaSet zookeeper-5d7b9": 1}
    seen = LEVER.observe(world.target, stage, 20, applied)["evicted_pods_pending"]
    assert seen is not None
    assert seen.value == 0
    world.cluster.put(made_pod("zookeeper-3", "zookeeper", "data", ""))
    seen = LEVER.observe(world.target, stage, 20, applied)["evicted_pods_pending"]
    assert seen is not None
    assert (seen.value, seen.note) == (1, "without a node: data/zookeeper-3")


def test_a_drain_that_was_cut_short_still_answers_for_whom_it_evicted(world: World) -> None:
    spread_out(world)
    world.cluster.objects["Node", "", "i-5"]["spec"]["unschedulable"] = True
    world.cluster.objects["Node", "", "i-5"]["metadata"]["annotations"] = {"akidb.io/cordoned-by": "akidb-rollout"}
    world.cluster.put(made_pod("zookeeper-3", "zookeeper", "data", ""))
    applied = LEVER.apply(world.target, stage_of(world, "old_node_group"))
    assert applied["evicted_from"] == ["data/ReplicaSet zookeeper-5d7b9"]
