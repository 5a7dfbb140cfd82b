"""How large the old node group becomes on the way back: room for every pod, never less than before."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from include.levers.nodes.group import SIZE
from include.levers.nodes.group_size import Need, group_need
from include.levers.nodes.requests import pod_requests
from include.levers.nodes.rooms import Crowd, Room, crowd_of
from include.levers.spot_capacity.settings import POOLS
from include.rollout.lever import Difference, NotConverged
from tests.unit.levers import spot_world
from tests.unit.levers.spot_rolled_out import (
    LEVER,
    ZONE,
    Object,
    assert_all_back,
    deployment,
    pod_spec,
    pools,
    rolled_out,
)
from tests.unit.levers.spot_world import World, container, made_pod, owner


def test_a_max_size_that_its_owner_raised_is_reported_under_the_path_of_the_proof() -> None:
    world, snapshot = rolled_out()
    world.aws.scaling["maxSize"] = 12
    restored = assert_all_back(world, snapshot)
    assert restored.changed_by_others == (Difference("NodeGroup maxSize", 8, 12),)
    assert [str(d) for d in LEVER.verify_restored(world.target, snapshot)] == ["NodeGroup maxSize: 12 -> 8"]


def test_replicas_that_an_autoscaler_has_added_find_room_before_anything_moves() -> None:
    world, snapshot = rolled_out()
    for name in world.estate.workloads:
        deployment(world, name)["spec"]["replicas"] = 20
    world.writes.clear()
    restored = assert_all_back(world, snapshot)
    # Forty pods of 2 Gi, six to a node.
    assert world.writes[0] == 'resize {"desiredSize": 7, "minSize": 5}'
    assert restored.changed_by_others == (Difference(SIZE, 5, 7),)
    world.writes.clear()
    assert LEVER.rollback(world.target, snapshot).changed_by_others == (Difference(SIZE, 5, 7),)
    assert world.writes == []


def test_the_group_grows_back_from_no_nodes_while_the_system_pods_have_their_own() -> None:
    world, snapshot = rolled_out()
    small = spot_world.node("small-1", {"eks.amazonaws.com/nodegroup": "akidb-system"}, "2")
    world.cluster.put(small)
    world.aws.instances.clear()
    world.aws.scaling |= {"minSize": 0, "desiredSize": 0}  # consolidation has right-sized the floor
    world.cluster.settle()
    world.writes.clear()
    restored = LEVER.rollback(world.target, snapshot)
    assert world.writes[0] == 'resize {"desiredSize": 5, "minSize": 5}'
    assert restored.changed_by_others == ()
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_more_pods_than_the_group_may_ever_hold_stop_the_undo_before_its_first_write() -> None:
    world, snapshot = rolled_out()
    deployment(world)["spec"]["replicas"] = 60
    world.writes.clear()
    with pytest.raises(NotConverged, match="the pods need 13 nodes of akidb-on-demand, its maxSize is 8: raise it or"):
        LEVER.rollback(world.target, snapshot)
    assert world.writes == []


def test_a_pod_that_no_node_of_the_group_holds_is_said_so() -> None:
    world, snapshot = rolled_out()
    pod_spec(world)["containers"] = [container(cpu="16")]
    with pytest.raises(NotConverged, match="no number of nodes of akidb-on-demand would take every pod back"):
        LEVER.rollback(world.target, snapshot)


def test_larger_requests_of_today_count_and_not_those_of_the_estate() -> None:
    world, snapshot = rolled_out()
    for name in world.estate.workloads:
        pod_spec(world, name)["containers"] = [container(memory="2700Mi")]  # five to a node
    LEVER.rollback(world.target, snapshot)
    assert world.aws.scaling["desiredSize"] == 6


def booting(name: str, zone: str) -> Object:
    node = spot_world.group_node(name)
    node["metadata"]["labels"][ZONE] = zone
    node["spec"]["taints"] = [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
    node["status"] = {"conditions": [spot_world.condition("Ready", "False")]}
    return node


def standing(name: str, zone: str) -> Object:
    node = spot_world.group_node(name)
    node["metadata"]["labels"][ZONE] = zone
    return node


ROOM = Room("typical", {}, (), {"cpu": Decimal(8), "memory": Decimal(12 * 2**30)})


def crowd(count: int, **spec: Any) -> Crowd:
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container()], **spec}}
    return crowd_of("a", count, pod_requests(template["spec"]), template)


def test_nodes_that_still_boot_are_on_their_way_and_hold_nothing_yet() -> None:
    group = [standing("n1", "a"), booting("n2", "b"), booting("n3", "c")]
    assert group_need(group, [], [crowd(18)], frozenset(), ROOM) == Need(ready=1, idle=0, more=2)
    assert group_need(group[1:], [], [crowd(18)], frozenset(), ROOM) == Need(ready=0, idle=0, more=3)
    assert group_need(group, [], [crowd(18)], frozenset({"n3"}), ROOM) == Need(ready=1, idle=1, more=2)
    assert group_need([], [], [crowd(13)], frozenset(), ROOM) == Need(ready=0, idle=0, more=3)


def test_pods_that_stand_on_a_node_take_their_room_and_daemons_that_of_new_ones_too() -> None:
    group = [standing("n1", "a")]
    big = {"containers": [container(memory="6Gi")], "nodeName": "n1"}
    daemon = made_pod("agent", "agent", "logging", "n1")
    daemon["metadata"]["ownerReferences"] = [owner("agent", "DaemonSet")]
    daemon["spec"] |= {"containers": [container(memory="1Gi")]}
    other = made_pod("other", "other", "data", "n1") | {"spec": big}
    assert group_need(group, [other, daemon], [crowd(9)], frozenset(), ROOM) == Need(ready=1, idle=0, more=1)
    over = other | {"status": {"phase": "Succeeded"}}
    assert group_need(group, [over, daemon], [crowd(6)], frozenset(), ROOM) == Need(ready=1, idle=0, more=0)


def test_a_hard_spread_over_zones_needs_room_in_the_smallest() -> None:
    group = [standing(f"n{n}", zone) for n, zone in enumerate("aabbc")]
    hard = {"topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "maxSkew": 1}
    crowds = [crowd(30, topologySpreadConstraints=[hard])]
    assert group_need(group, [], crowds, frozenset(), ROOM) == Need(ready=5, idle=0, more=1)
    assert group_need(group, [], [crowd(30)], frozenset(), ROOM) == Need(ready=5, idle=0, more=0)


def test_pods_that_may_not_run_on_the_group_are_not_counted_for_it() -> None:
    group = [standing("n1", "a")]
    elsewhere = crowd(30, nodeSelector={"team": "search"})
    assert group_need(group, [], [elsewhere], frozenset(), ROOM) == Need(ready=1, idle=0, more=0)


def autoscaler_pod() -> Object:
    pod = made_pod("cluster-autoscaler-1", "cluster-autoscaler", "kube-system", "i-1")
    pod["spec"]["containers"] = [{"image": "registry.k8s.io/autoscaling/cluster-autoscaler:v1.36.0", "resources": {}}]
    return pod


def test_the_night_of_a_group_that_an_autoscaler_moves_is_not_set_back_at_noon() -> None:
    world, snapshot = rolled_out(lambda world: world.cluster.put(autoscaler_pod()))
    assert snapshot["moving"] == {SIZE: "cluster-autoscaler"}
    snapshot["node_group"] |= {"minSize": 2, "desiredSize": 2}  # taken at night
    restored = assert_all_back(world, snapshot)
    assert world.aws.scaling["desiredSize"] == 5  # what thirty pods need
    assert restored.changed_by_others == ()


def test_a_group_that_its_autoscaler_has_grown_again_is_no_difference_to_the_plan() -> None:
    world, _ = rolled_out(lambda world: world.cluster.put(autoscaler_pod()))
    world.aws.scaling["desiredSize"] = 3
    plan = LEVER.plan(world.target)
    assert (plan.differences, plan.stages) == ((), ())


def test_a_node_that_a_person_had_cordoned_is_not_waited_for_and_stays_so() -> None:
    def cordon(world: World) -> None:
        world.cluster.objects["Node", "", "i-3"]["spec"]["unschedulable"] = True
        for name in world.estate.workloads:
            world.cluster.objects["Deployment", "akidb", name]["spec"]["replicas"] = 12

    world, snapshot = rolled_out(cordon, slots=1)
    assert assert_all_back(world, snapshot).changed_by_others == ()
    assert world.cluster.objects["Node", "", "i-3"]["spec"]["unschedulable"] is True
    assert world.aws.scaling["desiredSize"] == 5
    assert pools(world) == []


def test_nodes_that_take_no_pods_are_made_up_for() -> None:
    world, snapshot = rolled_out(slots=1)
    world.cluster.objects["Node", "", "i-3"]["spec"]["unschedulable"] = True
    assert assert_all_back(world, snapshot).changed_by_others == (Difference(SIZE, 5, 6),)


def test_what_the_scheduler_says_of_pods_without_a_node_is_in_the_message() -> None:
    world, snapshot = rolled_out(slots=1)
    spot_world.PODS_PER_NODE, before = 5, spot_world.PODS_PER_NODE  # their own rules hold pods off
    try:
        with pytest.raises(NotConverged, match=r"5 pods wait for a node \(akidb-grpc-10 \.\.\.\): 0/5 nodes are avail"):
            LEVER.rollback(world.target, snapshot)
    finally:
        spot_world.PODS_PER_NODE = before
    assert pools(world) == list(POOLS.names)  # nothing is taken away while pods wait
