"""The spot lever among zones, pods and daemons of others, and pools of its own."""

from __future__ import annotations

from typing import Any

import pytest

from include.levers.node_costs import NodeFact
from include.levers.nodes.evidence import misplaced, pods_by_zone
from include.levers.pods import pods_of_deployments, waiting
from include.levers.spot_capacity.settings import ON_DEMAND_POOL, SPOT_POOL, TAINT, pools_by_domain
from include.rollout.gates import Figure
from include.rollout.lever import NotConverged, Refused
from tests.unit.levers.spot_steps import LEVER, apply_all, observed, stage_of
from tests.unit.levers.spot_world import NOW, REGION, World, deployment, made_pod, owner


@pytest.fixture
def world() -> World:
    return World()


def facts(**zones: str) -> dict[str, NodeFact]:
    """Nodes d1 .. d4 of four domains, three of them spot."""
    pools = {f"d{n}": SPOT_POOL if n < 4 else ON_DEMAND_POOL for n in (1, 2, 3, 4)}
    return {d: NodeFact(d, "c6g.xlarge", zones.get(d, "a"), "spot", 4, None, pool, d) for d, pool in pools.items()}


def spread_as(name: str, *counts: int) -> list[dict[str, Any]]:
    return [made_pod(f"{name}-{n}-{i}", name, "akidb", f"d{n}") for n, c in enumerate(counts, 1) for i in range(c)]


@pytest.mark.parametrize("counts", [(4, 3, 2, 2), (4, 4, 2, 2), (12, 0, 0, 0), (3, 3, 3, 2)])
def test_what_a_scale_down_leaves_is_settled_however_uneven(counts: tuple[int, ...]) -> None:
    found = {"a": deployment("a", "akidb", sum(counts))}
    assert misplaced(found, spread_as("a", *counts), facts().values(), pools_by_domain(4, 3)) == []


def test_a_pod_on_the_pool_of_another_domain_or_on_an_old_node_is_misplaced() -> None:
    found, nodes = {"a": deployment("a", "akidb", 4)}, facts()
    assert misplaced(found, spread_as("a", 1, 1, 1, 1), nodes.values(), pools_by_domain(4, 2)) == [
        "1 pods of a are not on the pool of their domain"
    ]
    assert misplaced(found, spread_as("a", 1, 1, 1, 1), nodes.values(), pools_by_domain(3, 3)) == [
        "1 pods of a are not on the pool of their domain"
    ]
    elsewhere = [
        *spread_as("a", 1, 1, 1),
        made_pod("a-x", "a", "akidb", "i-1"),
        made_pod("a-y", "a", "akidb", ""),
    ]
    assert misplaced(found, elsewhere, nodes.values(), pools_by_domain(4, 3)) == [
        "2 pods of a are not on the pool of their domain"
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"status": {"phase": "Failed", "reason": "Evicted"}},
        {"status": {"phase": "Succeeded"}},
        {"metadata": {"name": "x", "namespace": "akidb", "labels": {"app": "akidb-rest"}}},  # nobody's
        {"metadata": {"name": "x", "labels": {"app": "akidb-rest"}, "ownerReferences": [owner("nightly", "Job")]}},
        {"metadata": {"name": "x", "ownerReferences": [owner("akidb-rest-canary-5d7b9")]}},  # another Deployment's
        {"metadata": {"name": "x", "ownerReferences": [owner("akidb-rest-5d7b9") | {"controller": False}]}},
    ],
)
def test_pods_that_are_over_or_not_the_workloads_own_hold_no_step_up(world: World, change: dict[str, Any]) -> None:
    pod = {**made_pod("left-over", "akidb-rest", "akidb", "i-1"), **change}
    world.cluster.objects["Pod", "akidb", "left-over"] = pod
    assert pods_of_deployments([pod], ["akidb-rest"]) == []
    assert LEVER.apply(world.target, stage_of(world, "step_1"))["spot_share_pods"] == pytest.approx(8 / 30)


def test_what_the_scheduler_says_is_told_once_for_all_pods_that_it_is_said_of() -> None:
    pods = [made_pod(f"p{n}", "a", "akidb", "" if n else "i-1") for n in range(3)]
    for pod in pods[1:]:
        pod["status"]["conditions"][0]["message"] = "0/5 nodes are available: 5 Insufficient cpu."
    told = "2 pods wait for a node (p1 ...): 0/5 nodes are available: 5 Insufficient cpu."
    assert waiting(pods) == [told]


def test_pods_by_zone_counts_pods_that_stay_on_nodes_that_say_their_zone() -> None:
    nodes = facts(d1="a", d2="b", d3="b", d4="").values()
    pods = [*spread_as("a", 2, 1, 3, 4), made_pod("w", "a", "akidb", "")]
    pods[0]["metadata"]["deletionTimestamp"] = "now"
    assert pods_by_zone(pods, nodes) == {"a": 1, "b": 4}


def in_zones(world: World, *zones: str) -> None:
    """The nodes of the old group stand in these zones, one after the other."""
    for n, zone in enumerate(zones, 1):
        world.cluster.objects["Node", "", f"i-{n}"]["metadata"]["labels"]["topology.kubernetes.io/zone"] = zone


def test_pods_that_end_in_fewer_zones_fail_the_gate(world: World) -> None:
    in_zones(world, "a", "a", "b", "b", "c")  # the new nodes of this world are all in one
    stage = stage_of(world, "step_1")
    assert stage.settings["zones"] == 3
    assert LEVER.evidence(world.target)["pods_by_zone"] == {"a": 12, "b": 12, "c": 6}
    LEVER.apply(world.target, stage)
    figure = LEVER.observe(world.target, stage, 20, {"started_at": NOW - 60})["zones"]
    assert figure == Figure(2, "zones", 30, "nodes of the pods", f"pods in 1 of 3 zones: {REGION}a 30")
    assert LEVER.evidence(world.target)["pods_by_zone"] == {f"{REGION}a": 30}


def test_zones_that_no_node_tells_are_not_known(world: World) -> None:
    in_zones(world, *[""] * 5)
    stage = stage_of(world, "step_1")
    assert stage.settings["zones"] is None
    assert observed(world)["zones"] is None


def test_a_node_class_without_a_subnet_in_a_used_zone_is_refused_before_any_pod_moves(world: World) -> None:
    stage, settle = stage_of(world, "step_1"), world.cluster.settle

    def with_subnets() -> None:
        settle()
        if found := world.cluster.objects.get(("EC2NodeClass", "", "akidb")):
            found["status"]["subnets"] = [{"id": "subnet-1", "zone": f"{REGION}c"}]

    world.cluster.settle = with_subnets  # type: ignore[method-assign]
    with pytest.raises(Refused, match=f"no subnet in {REGION}a has the tag karpenter.sh/discovery akidb-{REGION}"):
        LEVER.apply(world.target, stage)
    assert not any(write.startswith("apply NodePool") for write in world.writes)


def test_pools_are_akidbs_alone(world: World) -> None:
    LEVER.apply(world.target, stage_of(world, "step_1"))
    for name in (SPOT_POOL, ON_DEMAND_POOL):
        spec = world.cluster.objects["NodePool", "", name]["spec"]["template"]["spec"]
        assert spec["taints"] == [{"key": TAINT, "effect": "NoSchedule"}]
    template = world.cluster.objects["Deployment", "akidb", "akidb-rest"]["spec"]["template"]["spec"]
    assert template["tolerations"] == [{"key": TAINT, "operator": "Exists", "effect": "NoSchedule"}]


def test_pools_without_taint_are_planned_to_get_it_and_the_plan_says_what_that_costs(world: World) -> None:
    apply_all(world)
    for name in (SPOT_POOL, ON_DEMAND_POOL):
        del world.cluster.objects["NodePool", "", name]["spec"]["template"]["spec"]["taints"]
    plan = LEVER.plan(world.target)
    assert [d.path for d in plan.differences] == [
        f"NodePool/{name} spec.template.spec.taints" for name in (SPOT_POOL, ON_DEMAND_POOL)
    ]
    assert [stage.slot for stage in plan.stages] == ["step_3", "interruption_drill"]
    assert any("akidb-spot and akidb-on-demand had no taint: all their nodes drift" in note for note in plan.notes)


def daemon_set(name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "logging"}
    return {"kind": "DaemonSet", "metadata": metadata, "spec": {"template": {"spec": {"containers": [], **spec}}}}


def test_daemon_sets_that_the_taint_shuts_out_are_named_in_the_plan(world: World) -> None:
    group = {"eks.amazonaws.com/nodegroup": "akidb-on-demand"}
    world.cluster.put(daemon_set("agent"))
    world.cluster.put(daemon_set("everywhere", tolerations=[{"operator": "Exists"}]))
    world.cluster.put(daemon_set("of-the-group", nodeSelector=group))
    (note,) = (note for note in LEVER.plan(world.target).notes if "DaemonSets" in note)
    assert note == (
        f"not on the pools' nodes, for they don't tolerate {TAINT}: the pods of DaemonSets logging/agent; add the "
        "toleration to those that AkiDB's nodes need"
    )


def test_a_queue_of_another_name_is_the_only_one(world: World) -> None:
    name = f"Karpenter-akidb-{REGION}"
    region = world.estate.region(REGION).model_copy(update={"interruption_queue": name})
    world.with_estate(regions={**world.estate.regions, REGION: region})
    world.aws.queue = None
    asked: list[str] = []
    call = world.aws.call

    def record(service: str, operation: str, **given: Any) -> Any:
        asked.append(given.get("QueueName", ""))
        return call(service, operation, **given)

    world.aws.call = record  # type: ignore[method-assign]
    LEVER.apply(world.target, stage_of(world, "step_1"))
    assert set(asked) == {"", name}
    world.cluster.reacts = False
    LEVER.apply(world.target, stage_of(world, "step_2"))
    LEVER.apply(world.target, stage_of(world, "step_3"))
    with pytest.raises(NotConverged, match=f"is Karpenter's setting interruptionQueue {name}"):
        LEVER.apply(world.target, stage_of(world, "interruption_drill"))
