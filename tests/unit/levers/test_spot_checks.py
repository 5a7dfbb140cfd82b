"""The spot lever's preflight on a healthy world, and with one thing wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.levers.manifests import FOLDER
from include.rollout.lever import Check, Refused
from tests.unit.levers.spot_steps import LEVER, apply_all, observed, stage_of
from tests.unit.levers.spot_world import NOW, REGION, World, budget


@pytest.fixture
def world() -> World:
    return World()


def failed(checks: list[Check]) -> list[Check]:
    return [check for check in checks if not check.passed]


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
