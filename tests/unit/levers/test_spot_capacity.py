"""The spot lever: what it plans and writes, on a small in-memory world."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from include.clients.kubernetes import NODE_POOL, ConflictError
from include.estate import load_estate
from include.levers.node_costs import SPREAD, total
from include.levers.nodes.packing import PoolTypes, cheapest_hosting
from include.levers.nodes.shrink import choose_surplus
from include.levers.spot_capacity.plan import predicted_usd_hour
from include.levers.spot_capacity.settings import (
    ON_DEMAND_POOL,
    SPOT_POOL,
    SpotSettings,
    balanced,
    pool_of,
    step_domains,
)
from include.levers.spot_capacity.wanted import differences, node_class, node_pools
from include.prices import PoolChoices, choose_instance_types, load_aws_book
from include.rollout.lever import Difference, NotConverged, Plan, Refused, Undo
from tests.unit.levers.spot_steps import LEVER, apply_all, stage_of, with_fence
from tests.unit.levers.spot_world import QUEUE_ARN, REGION, World, made_pod


@pytest.fixture
def world() -> World:
    return World()


# Shares --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "domains", "counts"),
    [
        ((30, 50, 70), 4, (1, 2, 3)),
        ((30, 50, 70), 10, (3, 5, 7)),
        ((1,), 4, (1,)),  # at least one
        ((99,), 4, (3,)),  # never all
        ((25, 75), 2, None),
        ((30, 35), 4, None),
        ((70, 30), 10, None),
    ],
)
def test_steps_become_whole_domains(steps: tuple[int, ...], domains: int, counts: tuple[int, ...] | None) -> None:
    if counts is None:
        with pytest.raises(ValueError, match="which must rise: use more domains, or fewer or rising steps"):
            step_domains(steps, domains)
    else:
        assert step_domains(steps, domains) == counts


def test_settings_refuse_what_cannot_be() -> None:
    with pytest.raises(ValidationError, match="give 1, 1, 1 spot domains"):
        SpotSettings(steps_percent=(30, 50, 70), domains=2, converge_timeout_seconds=1)
    with pytest.raises(ValidationError, match="dril"):
        SpotSettings.model_validate({"steps_percent": (30,), "domains": 4, "converge_timeout_seconds": 1, "dril": True})


def test_defaults_are_the_estates() -> None:
    assert SpotSettings.estate_defaults(load_estate()) == {"steps_percent": (30, 50, 70), "domains": 4}


def test_balance_and_pool_of_a_domain() -> None:
    assert balanced(15, 4) == [4, 4, 4, 3]
    assert balanced(15, 10) == [2, 2, 2, 2, 2, 1, 1, 1, 1, 1]
    assert [pool_of(f"d{n}", 3) for n in (1, 3, 4, 10)] == [SPOT_POOL, SPOT_POOL, ON_DEMAND_POOL, ON_DEMAND_POOL]


def requirement(pool: dict[str, Any], key: str) -> list[str]:
    found: list[str] = next(r["values"] for r in pool["spec"]["template"]["spec"]["requirements"] if r["key"] == key)
    return found


# Manifests -----------------------------------------------------------------------------------------------------------


def test_the_pools_differ_in_capacity_domains_and_types_only(world: World) -> None:
    pools = node_pools(world.estate, world.target.settings, 3, PoolTypes(["m6g.xlarge", "c7g.xlarge"], ["c6g.xlarge"]))
    spot, rest = pools[SPOT_POOL], pools[ON_DEMAND_POOL]
    assert requirement(spot, "karpenter.sh/capacity-type") == ["spot", "on-demand"]
    assert requirement(rest, "karpenter.sh/capacity-type") == ["on-demand"]
    assert requirement(spot, SPREAD) == ["d1", "d2", "d3"]
    assert requirement(rest, SPREAD) == ["d4"]
    assert requirement(spot, "node.kubernetes.io/instance-type") == ["c7g.xlarge", "m6g.xlarge"]
    assert requirement(rest, "node.kubernetes.io/instance-type") == ["c6g.xlarge"]
    assert requirement(spot, "kubernetes.io/arch") == ["arm64"]
    for pool in pools.values():
        assert pool["spec"]["limits"] == {"cpu": "200", "memory": "400Gi"}
        assert pool["spec"]["template"]["spec"]["expireAfter"] == "Never"
        assert pool["spec"]["disruption"]["consolidateAfter"] == "30s"
        # What is not hashed may change without replacing every node: the domains must not be template labels.
        assert "metadata" not in pool["spec"]["template"]


def test_without_fallback_the_spot_pool_is_spot_only(world: World) -> None:
    settings = world.target.settings.model_copy(update={"allow_on_demand_fallback": False})
    pools = node_pools(world.estate, settings, 1, PoolTypes(["x"], ["x"]))
    assert requirement(pools[SPOT_POOL], "karpenter.sh/capacity-type") == ["spot"]


def test_the_node_class_is_imdsv2_only_with_an_encrypted_gp3_disk(world: World) -> None:
    spec = node_class(world.estate, REGION)["spec"]
    assert spec["role"] == f"KarpenterNodeRole-akidb-{REGION}"
    assert spec["metadataOptions"]["httpTokens"] == "required"
    ebs = {"volumeType": "gp3", "volumeSize": "50Gi", "encrypted": True, "deleteOnTermination": True}
    assert spec["blockDeviceMappings"] == [{"deviceName": "/dev/xvda", "ebs": ebs}]
    assert spec["tags"] == {"CostCenter": "akidb"}
    spot = world.estate.spot.model_copy(update={"ami_family": "Bottlerocket"})
    world.with_estate(spot=spot)
    assert node_class(world.estate, REGION)["spec"]["blockDeviceMappings"][0]["deviceName"] == "/dev/xvdb"


def test_differences_name_the_field() -> None:
    live = {"node_group": {"minSize": 5, "maxSize": 8}, "node_pools": {"a": {"limits": {"cpu": "1"}, "other": 1}}}
    wanted = {"node_group": {"minSize": 2}, "node_pools": {"a": {"limits": {"cpu": "2"}}, "b": {"x": 1}}}
    assert differences(live, wanted) == [
        Difference("NodeGroup minSize", 5, 2),
        Difference("NodePool/a spec.limits.cpu", "1", "2"),
        Difference("NodePool/b spec", None, {"x": 1}),
    ]


def test_a_policy_is_compared_by_what_it_says() -> None:
    live = {"queue": {"Policy": '{"a":1,"b":2}'}}
    assert differences(live, {"queue": {"Policy": '{"b": 2, "a": 1}'}}) == []


# Money ---------------------------------------------------------------------------------------------------------------


def test_a_missing_price_is_never_zero() -> None:
    assert total([Decimal(1), Decimal(2)]) == 3
    assert total([Decimal(1), None]) is None
    assert total([]) == 0


def test_a_domain_is_hosted_on_its_cheapest_type(world: World) -> None:
    choices = choose_instance_types(load_aws_book(world.estate), "us-east-1", world.estate.spot).spot
    named = [choice for choice in choices if choice.name in ("c6g.2xlarge", "m6g.xlarge")]
    few = PoolChoices([], named)
    # Eight pods: two c6g.2xlarge (6 pods each, 0.272) or three m6g.xlarge (3 pods each, 0.154).
    assert cheapest_hosting(world.estate, few, 8, spot=False) == Decimal("0.462")
    assert cheapest_hosting(world.estate, few, 6, spot=False) == Decimal("0.272")
    assert cheapest_hosting(world.estate, few, 0, spot=False) == 0
    assert cheapest_hosting(world.estate, few, 8, spot=True) is None


def test_predicted_cost_adds_the_floor(world: World) -> None:
    book = load_aws_book(world.estate)
    every = choose_instance_types(book, "us-east-1", world.estate.spot)
    choices = [c for c in every.spot if c.name == "c6g.2xlarge"]
    # 8 + 8 + 8 spot pods and 6 on demand: 6 spot nodes, 1 on-demand node, 2 floor nodes of c7g.2xlarge.
    expected = 6 * choices[0].spot + Decimal("0.272") + 2 * Decimal("0.29")
    assert predicted_usd_hour(world.estate, "us-east-1", book, PoolChoices(choices, choices), 3, 4) == expected
    dearer = [c for c in every.on_demand if c.name == "c7g.2xlarge"]  # 0.29 for the six pods on demand
    more = predicted_usd_hour(world.estate, "us-east-1", book, PoolChoices(choices, dearer), 3, 4)
    assert more == expected + Decimal("0.29") - Decimal("0.272")


def test_each_pool_gets_its_own_types_from_plan_to_files(world: World) -> None:
    plan = LEVER.plan(world.target)
    LEVER.apply(world.target, plan.stages[0])
    live = {name: world.cluster.get(NODE_POOL, name) for name in (SPOT_POOL, ON_DEMAND_POOL)}
    files = {body["metadata"]["name"]: body for body in LEVER.export(world.target, plan).manifests}
    for pools in (live, files):
        spot, on_demand = (requirement(pools[name], "node.kubernetes.io/instance-type") for name in live)
        # Its spot is interrupted too often in this region.
        assert ("c6g.xlarge" in spot, "c6g.xlarge" in on_demand) == (False, True)
        assert set(spot) < set(on_demand)


# The plan ------------------------------------------------------------------------------------------------------------


def test_the_plan_from_the_start(world: World) -> None:
    plan = LEVER.plan(world.target)
    assert [(s.slot, s.settings["spot_domains"]) for s in plan.stages] == [
        ("step_1", 1),
        ("step_2", 2),
        ("step_3", 3),
        ("interruption_drill", 3),
        ("old_node_group", 3),
    ]
    assert plan.stages[0].title == "30 % spot: 1 of 4 domains (25%)"
    assert plan.stages[-1].title == "node group akidb-on-demand from 5 nodes to its floor of 2"
    assert plan.undo is Undo.NODE_WAVE
    assert plan.usd_month_before == 5 * Decimal("0.29") * Decimal("1.27") * Decimal("729.6")
    paths = [d.path for d in plan.differences]
    assert paths[:3] == ["Queue MessageRetentionPeriod", "Queue VisibilityTimeout", "Queue Policy"]
    assert paths[-2:] == ["NodeGroup minSize", "NodeGroup desiredSize"]
    assert [path for path in paths if path.startswith("Deployment/akidb-rest")] == [
        f"Deployment/akidb-rest spread over {SPREAD}",
        "Deployment/akidb-rest spread over topology.kubernetes.io/zone",
        "Deployment/akidb-rest tolerations",
    ]
    assert len(paths) == 19
    assert world.writes == []


def test_the_plan_says_when_nodes_end(world: World) -> None:
    assert "new nodes don't expire: they are replaced when they drift" in " ".join(LEVER.plan(world.target).notes)
    world.with_estate(spot=world.estate.spot.model_copy(update={"expire_after": "168h"}))
    (said,) = (note for note in LEVER.plan(world.target).notes if "expire" in note)
    assert said == (
        "nodes expire 168h after their birth, those of one step within the same hour: pools' budgets don't hold expiry "
        "back, only PodDisruptionBudgets do; spot.expire_after Never leaves it to drift"
    )


def test_two_plans_of_one_world_agree_and_survive_json(world: World) -> None:
    plan = LEVER.plan(world.target)
    assert plan.hash() == LEVER.plan(world.target).hash()
    assert Plan.from_json(plan.to_json()).hash() == plan.hash()
    world.aws.scaling["maxSize"] = 9
    assert LEVER.plan(world.target).hash() != plan.hash()


def test_nothing_is_planned_when_everything_is_reached(world: World) -> None:
    apply_all(world)
    plan = LEVER.plan(world.target)
    assert (plan.differences, plan.stages) == ((), ())


def test_steps_that_are_reached_are_left_out(world: World) -> None:
    for slot in ("step_1", "step_2"):
        LEVER.apply(world.target, stage_of(world, slot))
    slots = [stage.slot for stage in LEVER.plan(world.target).stages]
    assert slots == ["step_3", "interruption_drill", "old_node_group"]


def test_a_changed_field_alone_repeats_the_last_step(world: World) -> None:
    apply_all(world)
    world.with_estate(spot=world.estate.spot.model_copy(update={"volume_gib": 60}))
    plan = LEVER.plan(world.target)
    assert [d.path for d in plan.differences] == ["EC2NodeClass/akidb spec.blockDeviceMappings"]
    assert [stage.slot for stage in plan.stages] == ["step_3", "interruption_drill"]


def test_a_workload_without_deployment_is_refused(world: World) -> None:
    del world.cluster.objects["Deployment", "akidb", "akidb-grpc"]
    with pytest.raises(Refused, match="Deployment akidb/akidb-grpc does not exist: correct namespace or workloads"):
        LEVER.plan(world.target)


# Applying ------------------------------------------------------------------------------------------------------------


def test_the_first_step_writes_in_this_order(world: World) -> None:
    figures = LEVER.apply(world.target, stage_of(world, "step_1"))
    rules = [f"put rule akidb-{REGION}-{slug}" for slug in ("spot-interruption", "rebalance", "state-change", "health")]
    assert world.writes == [
        "set queue MessageRetentionPeriod,Policy,SqsManagedSseEnabled,VisibilityTimeout",
        *rules,
        f"put rule akidb-{REGION}-capacity-reservation",
        "apply EC2NodeClass/akidb",
        "apply NodePool/akidb-spot",
        "apply NodePool/akidb-on-demand",
        "apply Deployment/akidb-rest",
        "apply Deployment/akidb-grpc",
    ]
    assert world.aws.rules[f"akidb-{REGION}-health"]["targets"] == [{"Id": "target-0", "Arn": QUEUE_ARN}]
    assert figures["spot_share_pods"] == pytest.approx(8 / 30)
    assert (figures["spot_domains"], figures["domains"], figures["spot_nodes"]) == (1, 4, 2)


def test_a_second_apply_writes_nothing_in_the_cloud(world: World) -> None:
    stage = stage_of(world, "step_1")
    LEVER.apply(world.target, stage)
    world.writes.clear()
    LEVER.apply(world.target, stage)
    assert not [write for write in world.writes if not write.startswith("apply ")]


def test_shares_after_each_step(world: World) -> None:
    shares = [figures["spot_share_pods"] for figures in apply_all(world).values()]
    assert shares == pytest.approx([8 / 30, 16 / 30, 24 / 30, 24 / 30, 24 / 30])
    # Six spot nodes of 4 vCPU by eight Karpenter nodes; the floor of the node group doesn't count.
    assert LEVER.evidence(world.target)["spot_share_vcpu"] == 0.75


def test_a_missing_queue_is_created_with_its_attributes(world: World) -> None:
    world.aws.queue = None
    LEVER.apply(world.target, stage_of(world, "step_1"))
    assert world.writes[0] == "create queue"
    assert world.aws.queue is not None
    assert world.aws.queue["MessageRetentionPeriod"] == "300"
    assert f"rule/akidb-{REGION}-*" in world.aws.queue["Policy"]


def test_what_is_still_missing_is_named_when_a_step_does_not_converge(world: World) -> None:
    stage = stage_of(world, "step_1")
    world.cluster.stuck = True
    with pytest.raises(NotConverged, match=f"{REGION}: EC2NodeClass being ready: .*EC2NodeClass akidb is not ready"):
        LEVER.apply(world.target, stage)


def test_a_field_that_somebody_else_manages_is_refused(world: World) -> None:
    stage = stage_of(world, "step_1")
    world.cluster.conflict = ConflictError("NodePool: .spec.limits belongs to argocd", {".spec.limits": "argocd"})
    with pytest.raises(Refused, match=r"spec\.limits belongs to argocd"):
        LEVER.apply(world.target, stage)


def test_an_empty_spot_market_falls_back_inside_its_domains(world: World) -> None:
    LEVER.apply(world.target, stage_of(world, "step_1"))
    world.cluster.capacity = "on-demand"
    figures = LEVER.apply(world.target, stage_of(world, "step_2"))
    assert figures["spot_share_pods"] == pytest.approx(8 / 30)
    assert figures["pending_seconds_max"] == 0.0
    assert figures["fallback_nodes"] == 2
    assert LEVER.evidence(world.target)["fallback_nodes"] == 2


def test_the_fence_is_asked_before_the_first_write(world: World) -> None:
    stage = stage_of(world, "step_1")

    def closed() -> None:
        raise Refused("another run has taken the lock over")

    target = with_fence(world, closed)
    with pytest.raises(Refused, match="taken the lock over"):
        LEVER.apply(target, stage)
    assert world.writes == []


# The old node group --------------------------------------------------------------------------------------------------


def test_exactly_the_drained_nodes_go_and_system_pods_stay(world: World) -> None:
    for slot in ("step_1", "step_2", "step_3"):
        LEVER.apply(world.target, stage_of(world, slot))
    world.writes.clear()
    figures = LEVER.apply(world.target, stage_of(world, "old_node_group"))
    # coredns is on i-1 and i-2.
    cordons = [f'patch Node/i-{n} {{"unschedulable": true}}' for n in (3, 4, 5)]
    assert world.writes == [*cordons, 'resize {"minSize": 2}', *(f"terminate i-{n}" for n in (3, 4, 5))]
    assert (figures["nodes_removed"], world.aws.instances) == (3, ["i-1", "i-2"])
    assert world.aws.scaling == {"minSize": 2, "maxSize": 8, "desiredSize": 2}


def test_a_budget_without_room_is_waited_for(world: World) -> None:
    for slot in ("step_1", "step_2", "step_3"):
        LEVER.apply(world.target, stage_of(world, slot))
    for name, node in (("coredns-a", "i-4"), ("coredns-b", "i-5")):
        world.cluster.objects["Pod", "kube-system", name]["spec"]["nodeName"] = node
    world.cluster.put(made_pod("other", "other", "kube-system", "i-3"))
    world.cluster.budgets_without_room = 1
    world.aws.busy = 1
    world.writes.clear()
    LEVER.apply(world.target, stage_of(world, "old_node_group"))
    drained = [write for write in world.writes if write.startswith("evict")]
    assert drained == ["evict other blocked", "evict other"]
    assert world.aws.instances == ["i-4", "i-5"]


def test_nodes_that_are_cordoned_already_are_the_surplus() -> None:
    def node(name: str, unschedulable: bool = False) -> dict[str, Any]:
        return {"metadata": {"name": name}, "spec": {"unschedulable": unschedulable}}

    nodes = [node("a"), node("b"), node("c", unschedulable=True), node("d")]
    assert [n["metadata"]["name"] for n in choose_surplus(nodes, {"b": 2, "c": 9}, 2)] == ["c", "a"]
    assert choose_surplus(nodes, {}, 4) == []
    assert choose_surplus(nodes, {}, 7) == []
