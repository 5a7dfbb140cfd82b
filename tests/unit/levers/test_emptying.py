"""Spare nodes are emptied one at a time, pod by pod, and no cordon outlives the lever."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from include.levers.consolidation import emptying
from include.rollout.lever import NotConverged
from tests.unit.levers.fake_cluster import Crashed, crash_at
from tests.unit.levers.packing_world import PackingCluster, World


class SpareCluster(PackingCluster):
    """Karpenter leaves two nodes in each domain whatever its policy; it removes those that are cordoned and empty."""

    packs = False
    requests: ClassVar = {"cpu": "500m", "memory": "1Gi"}


def spare_world(**chosen: Any) -> World:
    return World(vpas=False, cluster=SpareCluster, **chosen)


def cordoned(world: World) -> list[str]:
    return [n["metadata"]["name"] for n in world.cluster._karpenter_nodes() if n["spec"].get("unschedulable")]


def test_each_domain_keeps_one_node_and_every_pod_moves_by_an_eviction() -> None:
    world = spare_world()
    applied = world.apply_all()["underutilized"]
    assert [len(world.cluster.nodes_of(domain)) for domain in ("d1", "d2", "d3", "d4")] == [1, 1, 1, 1]
    assert len(applied["emptied_nodes"]) == 4
    assert applied["given_up_nodes"] == []
    # The dearest first: the one on demand.
    assert " (c6g.xlarge on-demand in " in applied["emptied_nodes"][0]
    pods = sum(int(line.split(": ")[1].split()[0]) for line in applied["emptied_nodes"])
    assert sum(line.startswith("evict") for line in world.writes) == pods
    assert applied["pdb_violations"] == 0
    assert len(applied["kept_nodes"]) == 4
    assert all("the last open node of domain d" in line for line in applied["kept_nodes"])


def test_as_many_nodes_as_the_setting_says() -> None:
    world = spare_world(most_emptied_nodes=1)
    assert len(world.apply_all()["underutilized"]["emptied_nodes"]) == 1
    world = spare_world(most_emptied_nodes=0)
    applied = world.apply_all()["underutilized"]
    assert "emptied_nodes" not in applied
    assert sum(line.endswith("spare: not reached in time or number") for line in applied["kept_nodes"]) > 0
    assert not any(line.startswith("evict") for line in world.writes)


def test_a_node_with_a_pod_that_asks_to_stay_is_left() -> None:
    world = spare_world()
    for (kind, space, _), pod in world.cluster.objects.items():
        if kind == "Pod" and space == "akidb":
            pod["metadata"]["annotations"] = {"karpenter.sh/do-not-disrupt": "true"}
    applied = world.apply_all()["underutilized"]
    assert "emptied_nodes" not in applied
    assert all("asks to stay" in line for line in applied["kept_nodes"])


def test_a_node_that_was_given_up_is_tried_once_more_after_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    world, empty, tried = spare_world(), emptying._empty, list[str]()

    def both_in_vain(live: Any, node: str) -> bool:
        tried.append(node)
        return len(tried) > 2 and empty(live, node)

    monkeypatch.setattr(emptying, "_empty", both_in_vain)
    applied = world.apply_all()["underutilized"]
    assert [line.split(" ")[0] for line in applied["given_up_nodes"]] == tried[:2]
    emptied = [line.split(" ")[0] for line in applied["emptied_nodes"]]
    assert emptied == tried[2:]
    assert emptied[-1] == tried[0], "the dearer of the two on demand, once the others had come to rest"


def test_a_node_that_karpenter_does_not_remove_is_uncordoned_again() -> None:
    world = spare_world()
    world.cluster.removes = False
    with pytest.raises(NotConverged, match="the drained nodes being gone"):
        world.apply_all()
    assert cordoned(world) == []


def test_a_run_that_is_killed_at_any_point_leaves_no_cordon_after_the_undo() -> None:
    left = 0
    for count in range(1, 9):
        world = spare_world()
        snapshot = json.loads(json.dumps(world.lever.snapshot(world.target)))
        stage = world.stage("underutilized")
        crash_at(world.writes, count + 2)  # after the two pools
        with pytest.raises(Crashed):
            world.lever.apply(world.target, stage)
        left += len(cordoned(world))
        world.lever.rollback(world.target, snapshot)
        assert cordoned(world) == []
        assert world.lever.verify_restored(world.target, snapshot) == []
    assert left > 0  # else nothing was proved
