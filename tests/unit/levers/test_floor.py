"""The floor right-sized: what is planned, refused, written in which order, and how all of it comes back."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from include.clients.kubernetes import DEPLOYMENT
from include.levers.consolidation import floor, floor_group
from include.levers.consolidation.floor_size import Size
from include.levers.consolidation.settings import FLOOR, MANAGER
from include.levers.node_costs import node_facts
from include.levers.nodes.evidence import spot_shares
from include.levers.nodes.scheduling import NODE_GROUP
from include.rollout.gates import Outcome, judge_all
from include.rollout.lever import NotConverged, Refused
from tests.unit.levers.fake_cluster import Crashed, crash_at
from tests.unit.levers.floor_lever import lever_of
from tests.unit.levers.floor_world import OLD, REGION, SMALL, World, deployment, pod_of

APPS = ("coredns", "karpenter", "traffic-predictor")


@pytest.fixture
def world() -> World:
    return World()


def roll_out(world: World) -> dict[str, Any]:
    """Apply the one stage; what the ledger keeps of it."""
    lever, target = lever_of(world), world.target
    applied: dict[str, Any] = lever.apply(target, lever.plan(target).stages[0])
    return applied


def kept(world: World) -> Any:
    """The snapshot as the ledger gives it back: sorted JSON."""
    return json.loads(json.dumps(lever_of(world).snapshot(world.target), sort_keys=True))


def where(world: World) -> dict[str, list[str]]:
    return {app: world.cluster.pods(app) for app in APPS}


def templates(world: World) -> dict[Any, Any]:
    """What everybody wants, and who owns it; how far the controllers are is left out."""
    return {key: {k: v for k, v in o.items() if k != "status"} for key, o in world.cluster.state().items()}


def failed(world: World) -> dict[str, tuple[str, str]]:
    found = floor.checks()["floor"](lever_of(world).world(world.target))
    return {check.name: (check.reason, check.remedy) for check in found if not check.passed}


# Plan ------------------------------------------------------------------------------------------------------------


def test_the_plan_names_the_group_its_size_what_it_costs_and_whom_the_drain_moves(world: World) -> None:
    lever, target = lever_of(world), world.target
    plan = lever.plan(target)
    assert plan.stages[0].title == (
        "system pods to akidb-system (3 x t4g.medium), node group akidb-on-demand from 2 nodes to none"
    )
    assert [(d.path, d.before, d.after) for d in plan.differences] == [
        ("NodeGroup akidb-system", None, "3 x t4g.medium"),
        ("Deployment kube-system/coredns spec.template.spec.nodeSelector", {NODE_GROUP: OLD}, {NODE_GROUP: SMALL}),
        ("Deployment karpenter/karpenter spec.template.spec.nodeSelector", None, {NODE_GROUP: SMALL}),
    ]
    seen = lever.world(target)
    assert [(d.path, d.before, d.after) for d in floor.differences(seen, plan.live[FLOOR])] == [
        ("NodeGroup minSize", 2, 0),
        ("NodeGroup desiredSize", 2, 0),
    ]
    assert list(floor.notes(seen, plan.live[FLOOR])) == [
        "the floor: 3 x t4g.medium hold the system pods with one node lost, $0.128 an hour in place of $0.737; an undo "
        "grows akidb-on-demand back first",
        "t4g.medium is burstable: above its baseline (20 to 30 % of each vCPU) for long it costs about $0.04 to $0.05 "
        "for each vCPU and hour more, which no price book here counts",
        "the drain of akidb-on-demand evicts 2 pods of others: traffic-predictor-0, traffic-predictor-1",
    ]
    assert str(floor.usd_hour_after(seen)) == "0.128016"


def test_a_plan_made_twice_is_the_same_and_one_made_afterwards_has_nothing_left(world: World) -> None:
    lever = lever_of(world)
    assert lever.plan(world.target) == lever.plan(world.target)
    roll_out(world)
    plan = lever.plan(world.target)
    assert plan.differences == ()
    assert floor.differences(lever.world(world.target), plan.live[FLOOR]) == []
    assert not floor.stage_needed(lever.world(world.target), plan.live[FLOOR])


def test_a_run_without_the_setting_wants_nothing_and_its_snapshot_knows_everything(world: World) -> None:
    world.settings["right_size_floor"] = False
    lever = lever_of(world)
    assert lever.plan(world.target).differences == ()
    assert [check.reason for check in floor.checks()["floor"](lever.world(world.target))] == [
        "the floor stays as it is (right_size_floor is off)"
    ]
    before, was = templates(world), kept(world)
    world.settings["right_size_floor"] = True
    roll_out(world)
    lever.rollback(world.target, was)
    assert lever.verify_restored(world.target, was) == []
    assert templates(world) == before


def test_a_new_group_is_like_the_old_one_without_its_taints_and_its_template_s_own_fields() -> None:
    old = {
        "subnets": ["a", "b"],
        "nodeRole": "role",
        "labels": {},
        "taints": [{"key": "x", "effect": "NO_SCHEDULE"}],
        "amiType": "CUSTOM",
        "version": "1.36",
        "diskSize": 20,
        "launchTemplate": {"id": "lt-1", "name": "nodes", "version": "3"},
        "tags": {"CostCenter": "akidb", "aws:x": "y"},
    }
    assert floor_group.request(old, Size("t4g.medium", 3, Decimal("0.1")), MANAGER) == {
        "subnets": ["a", "b"],
        "nodeRole": "role",
        "instanceTypes": ["t4g.medium"],
        "scalingConfig": {"minSize": 3, "desiredSize": 3, "maxSize": 4},
        "tags": {"CostCenter": "akidb", "akidb.io/made-by": MANAGER},
        "launchTemplate": {"id": "lt-1", "version": "3"},
    }


# Apply -----------------------------------------------------------------------------------------------------------


def test_the_small_group_comes_first_then_the_pods_then_the_old_nodes_go(world: World) -> None:
    applied = roll_out(world)
    kinds = [w for w in world.writes if not w.startswith(("evict", "patch"))]
    assert kinds == [
        "create akidb-system 3 t4g.medium",
        "apply Deployment/coredns",
        "apply Deployment/karpenter",
        'size akidb-on-demand {"minSize": 0}',
        "terminate i-1",
        "terminate i-2",
    ]
    assert world.aws.groups[OLD]["scalingConfig"] == {"minSize": 0, "maxSize": 8, "desiredSize": 0}
    assert where(world) == {app: [SMALL, SMALL] for app in APPS}
    assert (applied["nodes_removed"], applied["system_nodes"], applied["floor"]) == (2, 3, 0)
    assert applied["evicted_from"] == ["akidb/ReplicaSet traffic-predictor-5d7b9"]
    assert {pod.rpartition("-")[0] for pod, whole in world.cluster.moved if whole} == {"coredns", "karpenter"}
    assert all(whole for _, whole in world.cluster.moved)
    made = world.aws.groups[SMALL]
    assert (made["labels"], made["taints"], made["nodeRole"][-10:]) == ({"team": "search"}, [], "role/akidb")
    assert made["tags"] == {"CostCenter": "akidb", "akidb.io/made-by": MANAGER}


def test_the_gates_pass_when_everybody_has_a_node_and_fail_when_a_system_pod_is_elsewhere(world: World) -> None:
    lever, applied = lever_of(world), roll_out(world)
    stage = lever.plan(world.target).stages[0]
    figures = lever.observe(world.target, stage, 60, applied)
    assert {v.gate.name: v.outcome for v in judge_all(stage.gates, figures)} == {
        "evicted_pods_pending": Outcome.PASS,
        "system_pods_missing": Outcome.PASS,
    }
    world.cluster.objects["Pod", "kube-system", "coredns-9"] = stray = pod_of(
        world.cluster.objects["Deployment", "kube-system", "coredns"], 9
    )
    assert stray["spec"].get("nodeName") is None
    figure = lever.observe(world.target, stage, 60, applied)["system_pods_missing"]
    assert figure is not None
    assert (figure.value, figure.note) == (1, "1 pods of kube-system/coredns are not on akidb-system")


def test_the_small_group_counts_in_no_spot_share(world: World) -> None:
    roll_out(world)
    facts = node_facts(lever_of(world).world(world.target))
    assert {fact.node_group for fact in facts} == {SMALL}
    assert spot_shares(facts, [], OLD, 2, SMALL) == (None, None)


def test_nodes_that_come_slowly_are_waited_for_before_a_pod_moves(world: World) -> None:
    world.aws.slow = 3
    roll_out(world)
    assert where(world) == {app: [SMALL, SMALL] for app in APPS}


def test_the_policy_in_the_repository_allows_every_request_and_nothing_more(world: World) -> None:
    from include.levers.manifests import FOLDER

    was = kept(world)
    roll_out(world)
    lever_of(world).rollback(world.target, was)
    policy = json.loads((FOLDER / "consolidation" / "iam_policy.json").read_text())
    allowed = {
        action for statement in policy["Statement"] for action in [statement["Action"]] if isinstance(action, str)
    }
    allowed |= {a for s in policy["Statement"] if isinstance(s["Action"], list) for a in s["Action"]}
    asked = {f"{service}:{''.join(map(str.capitalize, name.split('_')))}" for service, name in world.aws.asked}
    # What EKS itself asks for in the caller's name when it makes a group, and the prices of spot nodes.
    indirect = {"eks:TagResource", "iam:GetRole", "iam:PassRole", "ec2:DescribeSubnets", "ec2:DescribeSpotPriceHistory"}
    assert asked | indirect == allowed


# Refused ---------------------------------------------------------------------------------------------------------


def test_everything_is_right_in_this_world(world: World) -> None:
    assert failed(world) == {}


def test_somebody_else_s_pod_that_is_tied_to_the_old_group_is_refused_by_name(world: World) -> None:
    live = world.cluster.put(deployment("legacy", "shop", 1, "100m", "64Mi", {NODE_GROUP: OLD}))
    world.cluster.settle()
    reason = (
        "the drain of akidb-on-demand would evict shop/legacy-0 (ReplicaSet legacy-5d7b9): its nodeSelector or affinity "
        "ties it to akidb-on-demand"
    )
    remedy = "move these pods, name their Deployment in node_group.system.deployments, or set accept_unmovable_pods"
    assert failed(world)["floor: other pods"] == (reason, remedy)
    with pytest.raises(Refused, match="shop/legacy-0"):
        roll_out(world)
    assert world.writes == []
    live["spec"]["template"]["spec"]["nodeSelector"] = {}


def test_pods_that_nothing_recreates_or_that_hold_a_volume_are_refused(world: World) -> None:
    live = deployment("data", "shop", 1, "100m", "64Mi")
    for name, change in (("bare", {}), ("disk", {"volumes": [{"persistentVolumeClaim": {"claimName": "d"}}]})):
        pod = pod_of(live, 0)
        pod["metadata"]["name"], pod["spec"] = name, {**pod["spec"], **change, "nodeName": "i-1"}
        if name == "bare":
            del pod["metadata"]["ownerReferences"]
        world.cluster.put(pod)
    reason, _ = failed(world)["floor: other pods"]
    assert "shop/bare (no controller): nothing recreates it" in reason
    assert "shop/disk (ReplicaSet data-5d7b9): its volume may be in a zone where the small group has no node" in reason


def test_the_workloads_own_pods_on_the_old_group_are_refused(world: World) -> None:
    world.cluster.put(deployment("akidb-rest", "akidb", 1, "1", "2Gi"))
    world.cluster.settle()
    reason = "pods of akidb-rest are on akidb-on-demand, which would go to no nodes"
    assert failed(world)["floor: other pods"] == (reason, "run spot_capacity first, or set right_size_floor off")


def test_a_named_deployment_that_is_absent_or_asks_for_other_nodes_is_refused(world: World) -> None:
    del world.cluster.objects["Deployment", "karpenter", "karpenter"]
    dns = world.cluster.objects["Deployment", "kube-system", "coredns"]["spec"]["template"]["spec"]
    dns["nodeSelector"] = {"node.kubernetes.io/instance-type": "c7g.2xlarge"}
    assert failed(world)["floor: system pods"] == (
        "Deployment karpenter/karpenter does not exist; Deployment kube-system/coredns asks by selector or affinity for "
        "nodes of another kind",
        "correct node_group.system.deployments in estate.yaml, or the Deployment",
    )


def test_a_group_of_that_name_that_is_somebody_else_s_is_neither_used_nor_deleted(world: World) -> None:
    was = kept(world)
    world.aws.put(**{**world.aws.groups[OLD], "nodegroupName": SMALL, "tags": {}})
    assert failed(world)["floor: node group"] == (
        "node group akidb-system exists and is somebody else's",
        "name another in node_group.system.name",
    )
    lever_of(world).rollback(world.target, was)
    assert world.writes == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"instanceTypes": []}, "the launch template of akidb-on-demand fixes the instance type"),
        ({"subnets": ["subnet-a"]}, "akidb-on-demand has one subnet, and the small group needs two zones"),
    ],
)
def test_an_old_group_that_can_t_be_copied_is_refused(world: World, change: dict[str, Any], reason: str) -> None:
    world.aws.groups[OLD] |= change
    assert failed(world)["floor: node group"][0].startswith(reason)


def test_an_unknown_price_is_refused(world: World) -> None:
    group = world.estate.region(REGION).node_group
    system = group.system.model_copy(update={"instance_types": ("x9.medium",)})
    region = world.estate.region(REGION).model_copy(update={"node_group": group.model_copy(update={"system": system})})
    world.estate = world.estate.model_copy(update={"regions": {**world.estate.regions, REGION: region}})
    reason = "no type for akidb-system has a known price, architecture and number of pods (x9.medium)"
    assert failed(world)["floor: size"] == (reason, "correct node_group.system.instance_types in estate.yaml")


def test_pods_that_no_small_node_holds_are_refused(world: World) -> None:
    world.cluster.put(deployment("search", "shop", 1, "4", "64Mi"))
    world.cluster.settle()
    reason, remedy = failed(world)["floor: size"]
    assert reason.startswith("no number of nodes up to 10 of t4g.medium, t4g.large, c7g.medium")
    assert remedy == "name larger types in node_group.system.instance_types"


def test_a_group_that_could_not_be_made_says_why(world: World) -> None:
    lever, stage = lever_of(world), lever_of(world).plan(world.target).stages[0]
    world.aws.put(
        **{
            **world.aws.groups[OLD],
            "nodegroupName": SMALL,
            "tags": {floor_group.MADE_BY: MANAGER},
            "status": "CREATE_FAILED",
            "health": {"issues": [{"code": "AsgInstanceLaunchFailures", "message": "no capacity"}]},
        }
    )
    with pytest.raises(Refused, match="akidb-system could not be made: AsgInstanceLaunchFailures: no capacity"):
        lever.apply(world.target, stage)
    assert world.cluster.get(DEPLOYMENT, "coredns", "kube-system")["spec"]["template"]["spec"]["nodeSelector"] == {  # type: ignore[index]
        NODE_GROUP: OLD
    }


# Back ------------------------------------------------------------------------------------------------------------


def test_the_way_back_grows_the_old_group_first_and_deletes_the_small_one_last(world: World) -> None:
    was, before = kept(world), templates(world)
    roll_out(world)
    del world.writes[:]
    steps = lever_of(world).rollback(world.target, was)
    assert steps.steps == (
        "NodeGroup akidb-on-demand has 2 nodes again",
        "Deployment karpenter/karpenter set back",
        "Deployment kube-system/coredns set back",
        "NodeGroup akidb-system deleted",
    )
    assert steps.changed_by_others == ()
    kinds = [w for w in world.writes if not w.startswith(("evict", "patch"))]
    assert kinds == [
        'size akidb-on-demand {"desiredSize": 2, "minSize": 2}',
        "apply Deployment/karpenter",
        "apply Deployment/coredns",
        "delete akidb-system",
    ]
    assert where(world) == {app: [OLD, OLD] for app in APPS}
    assert templates(world) == before  # values and owners
    assert list(world.aws.groups) == [OLD]
    assert lever_of(world).verify_restored(world.target, was) == []


def test_a_second_rollback_finds_nothing_to_do(world: World) -> None:
    was = kept(world)
    roll_out(world)
    lever_of(world).rollback(world.target, was)
    del world.writes[:]
    assert lever_of(world).rollback(world.target, was).steps == ("nothing was written, nothing is to be undone",)
    assert world.writes == []


def test_before_the_rollback_the_proof_names_everything_that_is_still_to_do(world: World) -> None:
    was = kept(world)
    roll_out(world)
    found = lever_of(world).verify_restored(world.target, was)
    assert sorted(d.path for d in found) == [
        "Deployment karpenter/karpenter spec.template.spec.nodeSelector",
        "Deployment kube-system/coredns spec.template.spec.nodeSelector",
        "NodeGroup akidb-system",
        "NodeGroup desiredSize",
        "NodeGroup minSize",
    ]


@pytest.mark.parametrize("count", range(1, 14))
def test_a_rollout_that_ends_at_any_write_is_undone_or_goes_on(count: int) -> None:
    for go_on in (False, True):
        world = World()
        was, before = kept(world), templates(world)
        lever, target = lever_of(world), world.target
        stage = lever.plan(target).stages[0]
        crash_at(world.writes, count)
        try:
            lever.apply(target, stage)
        except Crashed:
            if go_on:
                lever.apply(target, stage)
                assert where(world) == {app: [SMALL, SMALL] for app in APPS}
        world.writes.after = None
        lever.rollback(target, was)
        assert lever.verify_restored(target, was) == []
        assert where(world) == {app: [OLD, OLD] for app in APPS}
        assert templates(world) == before


@pytest.mark.parametrize("count", range(1, 16))
def test_a_rollback_that_ends_at_any_write_is_taken_up_again(world: World, count: int) -> None:
    was, before = kept(world), templates(world)
    roll_out(world)
    crash_at(world.writes, count)
    try:
        lever_of(world).rollback(world.target, was)
    except Crashed:
        world.writes.after = None
        lever_of(world).rollback(world.target, was)
    world.writes.after = None
    assert lever_of(world).verify_restored(world.target, was) == []
    assert where(world) == {app: [OLD, OLD] for app in APPS}
    assert templates(world) == before


def test_what_others_tied_to_the_small_group_keeps_it_and_is_reported(world: World) -> None:
    was = kept(world)
    roll_out(world)
    world.cluster.put(deployment("newcomer", "shop", 1, "100m", "64Mi", {NODE_GROUP: SMALL}))
    world.cluster.settle()
    restored = lever_of(world).rollback(world.target, was)
    assert [(d.path, d.after) for d in restored.changed_by_others] == [
        ("NodeGroup akidb-system", "needed by shop/newcomer-0")
    ]
    assert SMALL in world.aws.groups
    assert not any(node["spec"].get("unschedulable") for node in world.cluster.nodes(SMALL))
    assert [d.path for d in lever_of(world).verify_restored(world.target, was)] == ["NodeGroup akidb-system"]


def test_a_selector_that_somebody_has_changed_since_stays_and_is_reported(world: World) -> None:
    was = kept(world)
    roll_out(world)
    live = world.cluster.objects["Deployment", "karpenter", "karpenter"]
    world.cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "karpenter", "namespace": "karpenter"},
            "spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/os": "linux"}}}},
        },
        "helm",
        force=True,
    )
    restored = lever_of(world).rollback(world.target, was)
    assert [(d.path, d.before, d.after) for d in restored.changed_by_others] == [
        ("Deployment karpenter/karpenter spec.template.spec.nodeSelector", None, {"kubernetes.io/os": "linux"})
    ]
    assert live["spec"]["template"]["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert list(world.aws.groups) == [OLD]


def test_an_old_group_that_has_grown_since_is_left_as_it_is(world: World) -> None:
    was = kept(world)
    roll_out(world)
    # Spot was undone alone: the group has the size of before day 1.
    world.aws._update_nodegroup_config("c", OLD, {"minSize": 5, "desiredSize": 5})
    del world.writes[:]
    restored = lever_of(world).rollback(world.target, was)
    assert not any(w.startswith("size") for w in world.writes)
    assert restored.changed_by_others == ()
    assert world.aws.groups[OLD]["scalingConfig"] == {"minSize": 5, "maxSize": 8, "desiredSize": 5}
    assert lever_of(world).verify_restored(world.target, was) == []


def test_more_pods_than_the_old_size_holds_let_it_grow_further(world: World) -> None:
    was = kept(world)
    roll_out(world)
    world.cluster.put(deployment("late", "shop", 5, "1", "6Gi"))
    world.aws._update_nodegroup_config("c", SMALL, {"maxSize": 9, "desiredSize": 9})
    for number in range(5):  # so large that two of them fill a node of the old group
        pod = pod_of(world.cluster.objects["Deployment", "shop", "late"], number)
        pod["spec"]["nodeName"] = (
            world.cluster.nodes(SMALL)[0]["metadata"]["name"] if world.cluster.nodes(SMALL) else ""
        )
        pod["status"]["phase"] = "Running"
        world.cluster.put(pod)
    lever_of(world).rollback(world.target, was)
    assert world.aws.groups[OLD]["scalingConfig"]["desiredSize"] == 3


def test_a_snapshot_of_before_the_floor_could_be_sized_undoes_nothing(world: World) -> None:
    seen = lever_of(world).world(world.target)
    assert floor.undo(seen, {}, {}, []) == []
    assert list(floor.left(seen, {})) == []


def test_an_old_group_that_does_not_come_back_moves_nothing(world: World) -> None:
    was = kept(world)
    roll_out(world)
    del world.writes[:]
    world.aws._scale = lambda name: None  # type: ignore[method-assign]
    with pytest.raises(NotConverged, match="nodes of the node group"):
        lever_of(world).rollback(world.target, was)
    assert where(world) == {app: [SMALL, SMALL] for app in APPS}
