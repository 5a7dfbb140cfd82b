"""The spot lever: what it plans, writes, measures and undoes, on a small in-memory world."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from include.clients.kubernetes import ConflictError
from include.clients.prometheus import Series
from include.estate import load_estate
from include.levers.manifests import FOLDER
from include.levers.node_costs import SPREAD, NodeFact, total
from include.levers.nodes.evidence import misplaced, pods_by_zone
from include.levers.nodes.packing import cheapest_hosting
from include.levers.nodes.shrink import choose_surplus
from include.levers.pods import pending_seconds, pods_of_deployments, unix, waiting
from include.levers.spot_capacity import SpotCapacity
from include.levers.spot_capacity.plan import predicted_usd_hour
from include.levers.spot_capacity.settings import (
    ON_DEMAND_POOL,
    SPOT_POOL,
    TAINT,
    SpotSettings,
    balanced,
    pool_of,
    pools_by_domain,
    step_domains,
)
from include.levers.spot_capacity.wanted import differences, node_class, node_pools
from include.prices import choose_instance_types, load_aws_book
from include.rollout.gates import Figure, Outcome, judge_all
from include.rollout.lever import Check, Difference, NotConverged, Plan, Refused, Stage, Undo
from tests.unit.levers.fake_cluster import Crashed, crash_at
from tests.unit.levers.spot_world import (
    NOW,
    QUEUE_ARN,
    REGION,
    World,
    budget,
    deployment,
    made_pod,
    owner,
    system_pod,
)

LEVER = SpotCapacity(now=lambda: NOW)


@pytest.fixture
def world() -> World:
    return World()


def stage_of(world: World, slot: str) -> Stage:
    return next(stage for stage in LEVER.plan(world.target).stages if stage.slot == slot)


def apply_all(world: World) -> dict[str, dict[str, Any]]:
    return {stage.slot: LEVER.apply(world.target, stage) for stage in LEVER.plan(world.target).stages}


def failed(checks: list[Check]) -> list[Check]:
    return [check for check in checks if not check.passed]


# Shares ----------------------------------------------------------------------------------------------------------


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


# Manifests -------------------------------------------------------------------------------------------------------


def requirement(pool: dict[str, Any], key: str) -> list[str]:
    found: list[str] = next(r["values"] for r in pool["spec"]["template"]["spec"]["requirements"] if r["key"] == key)
    return found


def test_the_pools_differ_in_capacity_and_domains_only(world: World) -> None:
    pools = node_pools(world.estate, world.target.settings, 3, ["m6g.xlarge", "c7g.xlarge"])
    spot, rest = pools[SPOT_POOL], pools[ON_DEMAND_POOL]
    assert requirement(spot, "karpenter.sh/capacity-type") == ["spot", "on-demand"]
    assert requirement(rest, "karpenter.sh/capacity-type") == ["on-demand"]
    assert requirement(spot, SPREAD) == ["d1", "d2", "d3"]
    assert requirement(rest, SPREAD) == ["d4"]
    assert requirement(spot, "node.kubernetes.io/instance-type") == ["c7g.xlarge", "m6g.xlarge"]
    assert requirement(spot, "kubernetes.io/arch") == ["arm64"]
    for pool in pools.values():
        assert pool["spec"]["limits"] == {"cpu": "200", "memory": "400Gi"}
        assert pool["spec"]["template"]["spec"]["expireAfter"] == "Never"
        assert pool["spec"]["disruption"]["consolidateAfter"] == "30s"
        # What is not hashed may change without replacing every node: the domains must not be template labels.
        assert "metadata" not in pool["spec"]["template"]


def test_without_fallback_the_spot_pool_is_spot_only(world: World) -> None:
    settings = world.target.settings.model_copy(update={"allow_on_demand_fallback": False})
    assert requirement(node_pools(world.estate, settings, 1, ["x"])[SPOT_POOL], "karpenter.sh/capacity-type") == [
        "spot"
    ]


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


# Money -----------------------------------------------------------------------------------------------------------


def test_a_missing_price_is_never_zero() -> None:
    assert total([Decimal(1), Decimal(2)]) == 3
    assert total([Decimal(1), None]) is None
    assert total([]) == 0


def test_a_domain_is_hosted_on_its_cheapest_type(world: World) -> None:
    choices = choose_instance_types(load_aws_book(world.estate), "us-east-1", world.estate.spot)
    few = [choice for choice in choices if choice.name in ("c6g.2xlarge", "m6g.xlarge")]
    # Eight pods: two c6g.2xlarge (6 pods each, 0.272) or three m6g.xlarge (3 pods each, 0.154).
    assert cheapest_hosting(world.estate, few, 8, spot=False) == Decimal("0.462")
    assert cheapest_hosting(world.estate, few, 6, spot=False) == Decimal("0.272")
    assert cheapest_hosting(world.estate, few, 0, spot=False) == 0
    assert cheapest_hosting(world.estate, [], 8, spot=True) is None


def test_predicted_cost_adds_the_floor(world: World) -> None:
    book = load_aws_book(world.estate)
    choices = [c for c in choose_instance_types(book, "us-east-1", world.estate.spot) if c.name == "c6g.2xlarge"]
    # 8 + 8 + 8 spot pods and 6 on demand: 6 spot nodes, 1 on-demand node, 2 floor nodes of c7g.2xlarge.
    expected = 6 * choices[0].spot + Decimal("0.272") + 2 * Decimal("0.29")
    assert predicted_usd_hour(world.estate, "us-east-1", book, choices, 3, 4) == expected


# The plan --------------------------------------------------------------------------------------------------------


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


# Applying --------------------------------------------------------------------------------------------------------


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


def with_fence(world: World, fence: Callable[[], None]) -> Any:
    return replace(world.target, fence=fence)


# The drill -------------------------------------------------------------------------------------------------------


def test_the_drill_sends_one_notice_and_remembers_it(world: World) -> None:
    for slot in ("step_1", "step_2", "step_3"):
        LEVER.apply(world.target, stage_of(world, slot))
    figures = LEVER.apply(world.target, stage_of(world, "interruption_drill"))
    assert (figures["node"], figures["pods_on_node"], figures["cordon_s"]) == ("d1-akidb-spot-1", 4, 0.0)
    (notice,) = world.aws.notices
    assert notice["detail-type"] == "EC2 Spot Instance Interruption Warning"
    assert notice["detail"] == {"instance-id": "d1-akidb-spot-1", "instance-action": "terminate"}
    assert (notice["id"], notice["time"]) == (figures["drill_id"], "2027-01-15T08:00:00Z")
    record = world.cluster.objects["ConfigMap", "akidb", "akidb-interruption-drills"]["data"]
    assert record == {figures["drill_id"]: str(NOW)}


def test_a_karpenter_that_does_not_react_is_named(world: World) -> None:
    LEVER.apply(world.target, stage_of(world, "step_1"))
    stage = stage_of(world, "interruption_drill")
    world.cluster.reacts = False
    LEVER.apply(world.target, stage_of(world, "step_2"))
    LEVER.apply(world.target, stage_of(world, "step_3"))
    with pytest.raises(NotConverged, match="is Karpenter's setting interruptionQueue akidb-ap-northeast-1"):
        LEVER.apply(world.target, stage)


def test_no_drill_without_a_spot_node(world: World) -> None:
    world.cluster.capacity = "on-demand"
    for slot in ("step_1", "step_2", "step_3"):
        LEVER.apply(world.target, stage_of(world, slot))
    with pytest.raises(Refused, match="no spot node to drill on: all of them fell back to on demand"):
        LEVER.apply(world.target, stage_of(world, "interruption_drill"))


# The old node group ----------------------------------------------------------------------------------------------


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


# Back ------------------------------------------------------------------------------------------------------------


def test_a_rollback_restores_everything_capacity_first(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    apply_all(world)
    to_set_back = [str(difference) for difference in LEVER.verify_restored(world.target, snapshot)]
    assert len(to_set_back) > 10
    assert "NodeGroup desiredSize: 2 -> 5" in to_set_back  # from live to snapshot, as an approver reads it
    world.writes.clear()
    restored = LEVER.rollback(world.target, snapshot)
    assert restored.changed_by_others == ()
    order = [w for w in world.writes if not w.startswith("patch Node")]
    assert order == [
        'resize {"desiredSize": 5, "minSize": 5}',
        "apply Deployment/akidb-rest",
        "apply Deployment/akidb-grpc",
        "delete NodePool/akidb-spot",
        "delete NodePool/akidb-on-demand",
        "delete EC2NodeClass/akidb",
        *(
            f"delete rule akidb-{REGION}-{slug}"
            for slug in ("spot-interruption", "rebalance", "state-change", "health", "capacity-reservation")
        ),
        "set queue MessageRetentionPeriod,Policy,VisibilityTimeout",
    ]
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert LEVER.snapshot(world.target) == snapshot


def test_a_rollback_may_run_twice_and_before_anything_was_written(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    LEVER.rollback(world.target, snapshot)
    assert world.writes == []
    apply_all(world)
    LEVER.rollback(world.target, snapshot)
    world.writes.clear()
    LEVER.rollback(world.target, snapshot)
    assert world.writes == []
    assert LEVER.verify_restored(world.target, snapshot) == []


class Killed(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("write", range(1, 31))
def test_a_crash_after_any_write_is_undone_completely(world: World, write: int) -> None:
    snapshot = LEVER.snapshot(world.target)
    crash_at(world.writes, write)
    with pytest.raises(Crashed):
        apply_all(world)
    LEVER.rollback(world.target, snapshot)
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_a_crash_of_the_rollback_is_made_good_by_the_next(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    apply_all(world)
    for step in range(9):
        left = iter(range(step, -1, -1))

        def fence(left: Iterator[int] = left) -> None:
            if next(left) == 0:
                raise Killed

        with pytest.raises(Killed):
            LEVER.rollback(with_fence(world, fence), snapshot)
    LEVER.rollback(world.target, snapshot)
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_what_others_changed_is_reported_and_left_alone(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    apply_all(world)
    theirs = {"topologyKey": SPREAD, "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 3}
    spec = world.cluster.objects["Deployment", "akidb", "akidb-rest"]["spec"]["template"]["spec"]
    spec["topologySpreadConstraints"] = [theirs]
    assert world.aws.queue is not None
    world.aws.queue["VisibilityTimeout"] = "90"
    world.aws.scaling["minSize"] = 1
    rule = f"akidb-{REGION}-health"
    world.aws.rules[rule]["pattern"] = '{"source": ["theirs"]}'
    world.cluster.put(made_pod("akidb-rest-0", "akidb-rest", "akidb", "i-1"))
    others = {d.path: (d.before, d.after) for d in LEVER.rollback(world.target, snapshot).changed_by_others}
    assert others == {
        "NodeGroup minSize": (5, 1),
        f"Deployment/akidb-rest spread over {SPREAD}": (None, theirs),
        f"Rule/{rule}": (None, {"pattern": {"source": ["theirs"]}, "targets": [QUEUE_ARN]}),
        "Queue VisibilityTimeout": ("30", "90"),
    }
    assert spec["topologySpreadConstraints"] == [theirs]
    assert world.aws.queue["VisibilityTimeout"] == "90"
    # Under the same paths: what is others' can be told from what is still to be set back.
    assert {difference.path for difference in LEVER.verify_restored(world.target, snapshot)} == set(others)


def test_pools_that_were_there_before_get_their_spec_back(world: World) -> None:
    for slot in ("step_1", "step_2"):
        LEVER.apply(world.target, stage_of(world, slot))
    snapshot = LEVER.snapshot(world.target)
    apply_all(world)
    world.writes.clear()
    LEVER.rollback(world.target, snapshot)
    # On demand first: it takes the domain back before spot gives it up.
    applied = [write for write in world.writes if write.startswith(("apply", "delete"))]
    assert applied == ["apply NodePool/akidb-on-demand", "apply NodePool/akidb-spot"]
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_a_queue_that_the_lever_created_is_deleted(world: World) -> None:
    world.aws.queue = None
    snapshot = LEVER.snapshot(world.target)
    apply_all(world)
    LEVER.rollback(world.target, snapshot)
    assert world.writes[-1] == "delete queue"
    assert LEVER.verify_restored(world.target, snapshot) == []


# Evidence --------------------------------------------------------------------------------------------------------


def observed(world: World, slot: str = "step_1", **applied: Any) -> dict[str, Figure | None]:
    return LEVER.observe(world.target, stage_of(world, slot), 20, {"started_at": NOW - 60, **applied})


def test_every_gate_of_every_stage_has_its_figure(world: World) -> None:
    world.prometheus.spot_nodes_of_the_day = ("n1", "n2")
    drill = {"cordon_s": 0.3, "node": "n1", "drill_id": "x", "evicted_from": []}
    for stage in LEVER.plan(world.target).stages:
        results = judge_all(stage.gates, LEVER.observe(world.target, stage, 20, {"started_at": NOW - 60, **drill}))
        assert [r.outcome for r in results] == [Outcome.PASS] * len(stage.gates)
    assert {gate.name for gate in stage_of(world, "interruption_drill").gates} - {
        gate.name for gate in stage_of(world, "step_1").gates
    } == {"cordon_seconds"}


def test_no_data_is_no_figure(world: World) -> None:
    world.prometheus.up = ()
    world.prometheus.requests = None
    world.prometheus.buckets = None
    figures = observed(world, "interruption_drill")
    absent = {name for name, figure in figures.items() if figure is None}
    assert absent == set(figures) - {"pods_pending_too_long", "zones"}  # those are read from the API server


def test_a_spot_share_of_nothing_has_no_interruption_rate(world: World) -> None:
    assert observed(world)["interruption_rate_24h"] is None


def test_the_first_notice_of_all_counts(world: World) -> None:
    world.prometheus.notices = ((NOW - 10, 1.0), (NOW, 1.0))
    world.prometheus.spot_nodes_of_the_day = tuple(f"n{n}" for n in range(10))
    figures = observed(world)
    assert figures["unplanned_notices"] == Figure(
        1, "notices", 3, "karpenter_interruption_received_messages_total", "1 unplanned", coverage=1.0
    )
    rate = figures["interruption_rate_24h"]
    assert rate is not None
    assert (rate.value, rate.samples) == (0.1, 10)


def test_a_drill_is_shown_and_not_counted(world: World) -> None:
    for slot in ("step_1", "step_2", "step_3", "interruption_drill"):
        LEVER.apply(world.target, stage_of(world, slot))
    world.prometheus.notices = ((NOW - 20, 3.0), (NOW, 5.0))
    notices = observed(world, "old_node_group")["unplanned_notices"]
    assert notices is not None
    assert (notices.value, notices.note) == (1, "1 unplanned, 1 drill notice not counted")


def test_errors_and_availability(world: World) -> None:
    world.prometheus.errors = 4.0
    world.prometheus.failing_slots = {NOW - 6: 4.0, NOW: 10.0}
    figures = observed(world)
    errors, availability = figures["error_ratio"], figures["availability"]
    assert errors == Figure(0.004, "ratio", 2000, "requests by status", "8 of 2000 requests in 60 s", coverage=1.0)
    # Ten slots of six seconds with 100 requests each; ten errors are a tenth of the last one.
    assert availability is not None
    assert (availability.value, availability.samples) == (0.9, 10)
    assert availability.note == "1 of 10 slots of 6 s with 5% errors or more"


@pytest.mark.parametrize(("minutes", "share", "outcome"), [(3, 0.1, "unknown"), (26, 26 / 30, "unknown"),
                                                           (27, 0.9, "pass"), (30, 1.0, "pass")])  # fmt: skip
def test_a_window_without_samples_for_most_of_it_is_unknown(
    world: World, minutes: int, share: float, outcome: str
) -> None:
    """Prometheus was away for the rest of the half hour; what it has seen since is spotless."""
    whole = world.prometheus.query_range

    def seen_since(expression: str, start: float, end: float, step: float) -> list[Series]:
        series = whole(expression, start, end, step)
        return [Series(s.labels, tuple(p for p in s.points if p[0] > NOW - minutes * 60)) for s in series]

    world.prometheus.query_range = seen_since  # type: ignore[method-assign]
    world.prometheus.up = tuple((NOW - n * 30, 1.0) for n in range(2 * minutes - 2, -1, -1))
    world.prometheus.spot_nodes_of_the_day = ("n1", "n2")
    stage = stage_of(world, "step_1")
    figures = LEVER.observe(world.target, stage, 1800, {"started_at": NOW - 1800})
    results = {r.gate.name: r for r in judge_all(stage.gates, figures)}
    coverage = {name: f.coverage for name, f in figures.items() if f is not None and f.coverage is not None}
    over_time = {"unplanned_notices", "interruption_rate_24h", "p95_ms", "p95_ms_grpc", "error_ratio", "availability"}
    assert coverage == {name: pytest.approx(share) for name in over_time}
    assert {results[name].outcome.value for name in coverage} == {outcome}


def test_the_time_before_the_first_write_thins_nothing_out(world: World) -> None:
    """A window longer than the stage begins where the stage begins; the whole stage counts for the errors."""
    asked: list[str] = []
    value = world.prometheus.value
    world.prometheus.value = lambda expression: (asked.append(expression), value(expression))[1]  # type: ignore[method-assign]
    LEVER.observe(world.target, stage_of(world, "step_1"), 1800, {"started_at": NOW - 60})
    assert {part.split("s]")[0] for expression in asked for part in expression.split("[")[1:]} == {"60"}
    asked.clear()
    LEVER.observe(world.target, stage_of(world, "step_1"), 60, {"started_at": NOW - 1800})
    assert {part.split("s]")[0] for expression in asked for part in expression.split("[")[1:]} == {"1800"}


def test_latency_says_how_sure_it_is(world: World) -> None:
    world.prometheus.buckets = {0.025: 900.0, 0.05: 1000.0, math.inf: 1000.0}
    figure = observed(world)["p95_ms"]
    assert figure is not None
    assert (round(figure.value, 2), figure.samples) == (37.5, 1000)
    assert figure.note == "interpolated between 25 and 50 ms: there is no edge at 30 ms"


def test_pods_that_waited_too_long_count_also_when_they_run_now(world: World) -> None:
    late = made_pod("late", "akidb-rest", "akidb", "i-1", created="2027-01-15T07:58:40Z")  # 70 s, as STAMP says
    world.cluster.put(late)
    figure = observed(world)["pods_pending_too_long"]
    assert figure == Figure(1, "pods", 31, "conditions of the pods", "longest wait for a node 70 s")


def test_pending_seconds_of_waiting_placed_and_old_pods() -> None:
    now = unix("2027-01-15T08:00:00Z")
    waiting = made_pod("w", "a", "n", "", created="2027-01-15T07:59:00Z")
    placed = made_pod("p", "a", "n", "x", created="2027-01-15T07:59:20Z")
    assert pending_seconds([waiting, placed], now, now - 60) == [60.0, 30.0]
    assert pending_seconds([placed], now, now - 5) == []


def test_evidence_before_and_after(world: World) -> None:
    before = LEVER.evidence(world.target)
    assert before["nodes_by_kind"] == {"group akidb-on-demand: c7g.2xlarge on-demand": 5}
    assert (before["nodes"], before["spot_share_pods"], before["spot_share_vcpu"]) == (5, 0.0, 0.0)
    assert before["usd_hour"] == pytest.approx(5 * 0.29 * 1.27)
    assert (before["error_ratio"], before["p95_ms"]) == (0.0, pytest.approx(23.78, abs=0.01))
    apply_all(world)
    after = LEVER.evidence(world.target)
    assert after["nodes_by_kind"] == {
        "group akidb-on-demand: c7g.2xlarge on-demand": 2,
        "pool akidb-on-demand: c6g.xlarge on-demand": 2,
        "pool akidb-spot: c6g.xlarge spot": 6,
    }
    assert after["usd_hour"] == pytest.approx(2 * 0.29 * 1.27 + 2 * 0.136 * 1.27 + 6 * 0.1)


def test_a_node_without_a_price_leaves_the_cost_unknown(world: World) -> None:
    LEVER.apply(world.target, stage_of(world, "step_1"))
    world.aws.spot_price = ""
    evidence = LEVER.evidence(world.target)
    assert evidence["usd_hour"] is None
    assert evidence["usd_hour_unknown"] == [f"d1-akidb-spot-{n} (c6g.xlarge spot in {REGION}a)" for n in (1, 2)]


# Preflight -------------------------------------------------------------------------------------------------------


def test_a_wrong_status_label_is_refused_and_never_reads_as_no_errors(world: World) -> None:
    world.prometheus.labelled = False
    refused = {check.name: check.remedy for check in failed(LEVER.preflight(world.target))}
    assert list(refused) == ["metric http_status_label", "metric grpc_status_label"]
    assert refused["metric http_status_label"].startswith(
        "correct metrics.http_status_label or metrics.matchers in estate.yaml"
    )
    assert observed(world)["error_ratio"] is None


def test_a_healthy_world_passes_every_check_and_nothing_is_written(world: World) -> None:
    checks = LEVER.preflight(world.target)
    assert failed(checks) == []
    assert len(checks) == 36
    assert world.writes == []


def only_failure(world: World) -> Check:
    (check,) = failed(LEVER.preflight(world.target))
    return check


def test_a_missing_definition_is_named(world: World) -> None:
    world.cluster.unserved = {"nodepools"}
    check = only_failure(world)
    assert check.reason == "nodepools.karpenter.sh/v1 is not served"
    assert "install Karpenter 1.x" in check.remedy


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        ({"labels": {"argocd.argoproj.io/instance": "akidb"}}, "argocd"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}, "argocd"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}}, "flux"),
        ({"annotations": {"meta.helm.sh/release-name": "x"}}, "helm"),
        ({"labels": {"app.kubernetes.io/managed-by": "Terraform"}}, "terraform"),
        ({"managedFields": [{"manager": "Terraform"}]}, "terraform"),
        ({"managedFields": [{"manager": "argocd-controller"}]}, "argocd"),
    ],
)
def test_an_owned_deployment_is_refused_unless_the_estate_allows_it(
    world: World, metadata: dict[str, Any], owner: str
) -> None:
    world.cluster.objects["Deployment", "akidb", "akidb-rest"]["metadata"] |= metadata
    check = only_failure(world)
    assert check.reason == f"Deployment akidb-rest is managed by {owner}, which would undo the change"
    assert f"add {owner} to governance.may_change_objects_of" in check.remedy
    governance = world.estate.governance.model_copy(update={"may_change_objects_of": (owner,)})
    world.with_estate(governance=governance)
    assert failed(LEVER.preflight(world.target)) == []


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"maxUnavailable": 0}, "akidb/akidb-rest never allows an eviction"),
        ({"maxUnavailable": "0%"}, "akidb/akidb-rest never allows an eviction"),
        ({"minAvailable": "100%"}, "akidb/akidb-rest never allows an eviction"),
    ],
)
def test_a_budget_that_blocks_for_good_is_named(world: World, spec: dict[str, Any], reason: str) -> None:
    selector = {"selector": {"matchLabels": {"app": "akidb-rest"}}}
    world.cluster.put(budget("akidb-rest", "akidb", **selector, **spec))
    assert only_failure(world).reason == reason


def test_a_budget_without_room_now_is_named(world: World) -> None:
    live = world.cluster.objects["PodDisruptionBudget", "akidb", "akidb-grpc"]
    live["status"] |= {"disruptionsAllowed": 0, "currentHealthy": 11}
    assert only_failure(world).reason == "akidb/akidb-grpc allows no eviction now (11 of 15 pods healthy)"


def test_two_budgets_on_one_pod_are_named(world: World) -> None:
    expressions = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["akidb-rest"]}]}
    world.cluster.put(budget("second", "akidb", selector=expressions, maxUnavailable=1))
    check = only_failure(world)
    assert check.reason.startswith("akidb/akidb-rest and akidb/second select the same pods")


def test_stranded_commitments_fail_unless_accepted() -> None:
    for accepted in (False, True):
        world = World(accept_stranded_commitments=accepted)
        world.aws.reserved = [
            {"InstanceType": "c7g.xlarge", "InstanceCount": 4, "End": "2027-06-01"},
            {"InstanceType": "r6g.large", "InstanceCount": 1, "End": "2027-06-01"},
        ]
        world.aws.savings_plans = [
            {"savingsPlanId": "sp-1", "savingsPlanType": "Compute", "commitment": "0.5"},
            {
                "savingsPlanId": "sp-2",
                "savingsPlanType": "EC2Instance",
                "commitment": "1",
                "ec2InstanceFamily": "c7g",
                "region": "eu-central-1",
            },
        ]
        check = next(c for c in LEVER.preflight(world.target) if c.name == "commitments")
        assert check.passed is accepted
        named = "4 Reserved Instances c7g.xlarge until 2027-06-01; Savings Plan sp-1 (Compute, 0.5 USD/h)"
        assert check.reason.endswith(named)


def test_too_few_instance_types_are_refused_with_the_filter(world: World) -> None:
    world.with_estate(spot=world.estate.spot.model_copy(update={"min_instance_types": 40}))
    assert "17 of 192 instance types are left, spot.min_instance_types asks for 40" in only_failure(world).reason
    with pytest.raises(Refused, match="interruption band 11"):
        LEVER.plan(world.target)


def test_a_workload_with_fewer_replicas_than_domains_is_refused() -> None:
    world = World(domains=20, steps_percent=(50,))
    checks = failed(LEVER.preflight(world.target))
    assert [check.reason for check in checks] == [
        f"{name} has 15 replicas for 20 domains: some would host none of its pods" for name in world.estate.workloads
    ]


def test_a_missing_metric_names_the_setting(world: World) -> None:
    world.prometheus.missing = {"akidb_grpc_request_duration_seconds_bucket"}
    check = only_failure(world)
    assert f'akidb_grpc_request_duration_seconds_bucket{{region="{REGION}",namespace="akidb"}}' in check.reason
    assert "correct metrics.grpc_duration or metrics.matchers in estate.yaml" in check.remedy


@pytest.mark.parametrize(("up", "state"), [((), "has no sample"), (((NOW, 0.0),), "is 0")])
def test_a_karpenter_that_is_not_scraped_is_named(world: World, up: Any, state: str) -> None:
    world.prometheus.up = up
    assert only_failure(world).reason == f'up{{job="karpenter",region="{REGION}"}} {state}'


def test_a_deployment_tied_to_the_node_group_is_refused(world: World) -> None:
    spec = world.cluster.objects["Deployment", "akidb", "akidb-rest"]["spec"]["template"]["spec"]
    spec["nodeSelector"] = {"eks.amazonaws.com/nodegroup": "akidb-on-demand"}
    assert only_failure(world).reason == (
        "Deployment akidb-rest is tied to node group akidb-on-demand by its nodeSelector"
    )


def test_a_node_group_that_could_not_carry_a_rollback_is_refused(world: World) -> None:
    world.cluster.objects["Node", "", "i-1"]["status"]["allocatable"]["memory"] = "10Gi"
    assert only_failure(world).reason == ("5 nodes of the node group hold 29 of 30 pods: a rollback would not fit")


def test_the_iam_policy_allows_exactly_what_the_lever_asks_for(world: World) -> None:
    world.aws.queue = None
    snapshot = LEVER.snapshot(world.target)
    LEVER.preflight(world.target)
    apply_all(world)
    LEVER.evidence(world.target)
    world.aws.queue = {**(world.aws.queue or {}), "VisibilityTimeout": "31"}
    LEVER.apply(world.target, stage_of(world, "step_3"))
    LEVER.rollback(world.target, snapshot)
    asked = {f"{service}:{operation.title().replace('_', '')}" for service, operation in world.aws.asked}
    policy = json.loads((FOLDER / "spot_capacity" / "iam_policy.json").read_text())
    allowed = [
        action
        for s in policy["Statement"]
        for action in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    ]
    # Creating a queue with tags needs the right to tag it.
    assert sorted(allowed) == sorted(asked | {"sqs:TagQueue"})


# Zones, others' pods, more or fewer pods of one's own ------------------------------------------------------------


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


# What a drain would lose -----------------------------------------------------------------------------------------


def spread_out(world: World) -> None:
    for slot in ("step_1", "step_2", "step_3"):
        LEVER.apply(world.target, stage_of(world, slot))


def keep_two(world: World) -> None:
    """Have most pods of others on i-1 and i-2, so that these are the floor."""
    for n in range(4):
        world.cluster.put(system_pod(f"more-{n}", f"i-{1 + n % 2}"))


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


def drained(world: World, *pods: dict[str, Any]) -> tuple[Stage, dict[str, Any]]:
    spread_out(world)
    keep_two(world)
    for pod in pods:
        world.cluster.put(pod)
    stage = stage_of(world, "old_node_group")
    return stage, LEVER.apply(world.target, stage)


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


# The drill's record ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before it is sent", "after it was sent", "before it is measured"])
def test_a_drill_that_was_cut_short_sends_one_notice_and_is_no_interruption(world: World, moment: str) -> None:
    spread_out(world)
    stage, call = stage_of(world, "interruption_drill"), world.aws.call

    def dies(service: str, operation: str, **given: Any) -> Any:
        if operation == "send_message" and moment == "before it is sent":
            raise Killed
        answer = call(service, operation, **given)
        if operation == "send_message" and moment == "after it was sent":
            raise Killed
        return answer

    world.aws.call = dies  # type: ignore[method-assign]
    if moment == "before it is measured":
        crash_at(world.writes, 3)  # the record, the notice, the record with its figure
    with pytest.raises((Killed, Crashed)):
        LEVER.apply(world.target, stage)
    record = world.cluster.objects["ConfigMap", "akidb", "akidb-interruption-drills"]["data"]
    assert len(record) == 1  # on record before it was sent
    world.aws.call = call  # type: ignore[method-assign]
    figures = LEVER.apply(world.target, stage)
    assert len(world.aws.notices) == 1
    assert list(world.cluster.objects["ConfigMap", "akidb", "akidb-interruption-drills"]["data"]) == [
        figures["drill_id"]
    ]
    # A moment that nobody has watched is not known, and no guess.
    assert figures["cordon_s"] == (None if moment == "after it was sent" else 0.0)


def test_another_run_has_a_drill_of_its_own(world: World) -> None:
    spread_out(world)
    stage = stage_of(world, "interruption_drill")
    first = LEVER.apply(world.target, stage)
    assert LEVER.apply(world.target, stage)["drill_id"] == first["drill_id"]
    world.cluster.settle()
    other = LEVER.apply(replace(world.target, run_id="another"), stage)
    assert other["drill_id"] != first["drill_id"]
    assert len(world.aws.notices) == 2


def test_a_node_that_has_gone_while_nobody_looked_got_its_notice(world: World) -> None:
    spread_out(world)
    stage, call = stage_of(world, "interruption_drill"), world.aws.call

    def dies(service: str, operation: str, **given: Any) -> Any:
        call(service, operation, **given)
        raise Killed

    world.aws.call = lambda s, o, **g: (dies if o == "send_message" else call)(s, o, **g)  # type: ignore[method-assign]
    with pytest.raises(Killed):
        LEVER.apply(world.target, stage)
    world.aws.call = call  # type: ignore[method-assign]
    (gone,) = (notice["detail"]["instance-id"] for notice in world.aws.notices)
    world.cluster.objects["Node", "", gone]["spec"]["taints"] = [{"key": "karpenter.sh/disrupted"}]
    world.cluster.settle()
    assert ("Node", "", gone) not in world.cluster.objects
    figures = LEVER.apply(world.target, stage)
    assert (figures["node"], figures["cordon_s"], len(world.aws.notices)) == (gone, None, 1)
