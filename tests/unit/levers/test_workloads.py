"""What live objects say against a rollout: each kind with what passes, what is refused, and the remedy."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from include.estate import Resources
from include.levers import workloads
from include.levers.workloads import Finding
from tests.unit.levers import spot_world
from tests.unit.levers.spot_world import Object
from tests.unit.levers.workload_objects import deployment, only, templated, term

ESTATE = Resources(cpu="1", memory="2Gi")


def pod(name: str = "akidb-rest-5d7b9-1", **metadata: Any) -> Object:
    made = spot_world.made_pod(name, "akidb-rest", "akidb", "i-1")
    made["metadata"] |= {"ownerReferences": [spot_world.owner("akidb-rest-5d7b9")], **metadata}
    return made


SETS = [spot_world.replica_set("akidb-rest", "akidb"), spot_world.replica_set("akidb-grpc", "akidb")]


# Whose pods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owners", "mine"),
    [
        ([spot_world.owner("akidb-rest-5d7b9")], True),
        ([spot_world.owner("akidb-grpc-5d7b9")], False),
        ([spot_world.owner("akidb-rest-5d7b9", "Job")], False),
        ([spot_world.owner("akidb-rest", "StatefulSet")], False),
        ([{**spot_world.owner("akidb-rest-5d7b9"), "controller": False}], False),
        ([], False),
    ],
)
def test_a_pod_is_a_workloads_own_by_its_owners_and_not_by_its_labels(owners: list[Object], mine: bool) -> None:
    found = workloads.own_pods(deployment(), SETS, [pod(ownerReferences=owners)])
    assert bool(found) is mine


def test_a_pod_of_another_namespace_or_one_that_has_ended_is_not_counted() -> None:
    ended = [pod() | {"status": {"phase": phase}} for phase in ("Failed", "Succeeded")]
    assert workloads.own_pods(deployment(), SETS, [*ended, pod(namespace="akidb-staging")]) == []


def test_owners_are_told_apart_by_uid_where_both_sides_have_one() -> None:
    made, old = spot_world.replica_set("akidb-rest", "akidb"), deployment()
    old["metadata"]["uid"], made["metadata"]["uid"] = "d-2", "rs-1"
    owner = {**spot_world.owner("akidb-rest", "Deployment"), "uid": "d-1"}  # of the same name, deleted since
    made["metadata"]["ownerReferences"] = [owner]
    mine = pod(ownerReferences=[{**spot_world.owner("akidb-rest-5d7b9"), "uid": "rs-1"}])
    assert workloads.own_pods(old, [made], [mine]) == []
    owner["uid"] = "d-2"
    assert workloads.own_pods(old, [made], [mine]) == [mine]


# State ---------------------------------------------------------------------------------------------------------------


def test_a_deployment_at_rest_has_nothing_against_it() -> None:
    made = deployment()
    for find in (workloads.rollout_findings, workloads.strategy_findings):
        assert list(find(made)) == []
    assert list(workloads.rollout_findings(deployment(0))) == []


def test_a_paused_deployment_is_named_and_nothing_else_is_said_of_it() -> None:
    made = deployment(paused=True)
    made["status"] = {}
    assert only(workloads.rollout_findings(made)) == Finding(
        "akidb-rest",
        "Deployment akidb-rest is paused: a change of its template would wait for ever",
        "resume it: kubectl -n akidb rollout resume deployment akidb-rest",
    )


STUCK = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}


QUOTA = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}


RUNNING = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (
            {"replicas": 19, "updatedReplicas": 4, "conditions": [STUCK]},
            "is in the middle of a rollout (4 of 15 updated, ProgressDeadlineExceeded)",
        ),
        ({"replicas": 19, "updatedReplicas": 4}, "is in the middle of a rollout (4 of 15 updated)"),
        ({"replicas": 18}, "is in the middle of a rollout (3 old pods have to go)"),
        ({"observedGeneration": 0}, "is in the middle of a rollout (its controller has seen generation 0 of 1)"),
        ({"conditions": [STUCK]}, "is in the middle of a rollout (ProgressDeadlineExceeded)"),
        ({"conditions": [QUOTA]}, "is in the middle of a rollout (FailedCreate)"),
        ({"replicas": 12, "updatedReplicas": 12, "availableReplicas": 12}, "has 12 of 15 pods available"),
        ({"availableReplicas": 14, "conditions": [RUNNING]}, "has 14 of 15 pods available"),
        ({"availableReplicas": None}, "has 0 of 15 pods available"),
    ],
)
def test_a_deployment_that_is_not_at_rest_says_how_far_it_is(status: Object, told: str) -> None:
    made = deployment()
    made["status"] |= status
    assert only(workloads.rollout_findings(made)).reason == f"Deployment akidb-rest {told}"


@pytest.mark.parametrize(
    ("replicas", "strategy", "told"),
    [
        (15, {"type": "Recreate"}, "has strategy Recreate: the spread constraint would end all of its pods at once"),
        (15, {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}}, "has maxUnavailable 100%, that"),
        (
            15,
            {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 15}},
            "has maxUnavailable 15, that is 15 of",
        ),
        (3, {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 5}}, "has maxUnavailable 5, that is 5 of 3"),
        (1, {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}, "has maxUnavailable 0, that is 1 of 1 pods"),
        (1, {"rollingUpdate": {"maxUnavailable": "50%", "maxSurge": "0%"}}, "has maxUnavailable 50%, that is 1 of 1"),
    ],
)
def test_a_strategy_that_ends_every_pod_at_once_is_refused(replicas: int, strategy: Object, told: str) -> None:
    found = only(workloads.strategy_findings(deployment(replicas, strategy=strategy), "the spread constraint"))
    assert found.reason.startswith(f"Deployment akidb-rest {told}")
    assert found.remedy == "set its strategy to RollingUpdate with maxUnavailable 25%"


@pytest.mark.parametrize(
    ("replicas", "rolling", "unavailable", "surge"),
    [
        (15, {}, 3, 4),  # Kubernetes' defaults are 25 % each: unavailable rounds down, surge up
        (1, {}, 0, 1),
        (3, {"maxUnavailable": "99%"}, 2, 1),
        (15, {"maxUnavailable": "0%", "maxSurge": 3}, 0, 3),
        (15, {"maxUnavailable": "0%", "maxSurge": "0%"}, 1, 0),
    ],
)
def test_percentages_of_a_strategy_round_as_kubernetes_rounds_them(
    replicas: int, rolling: Object, unavailable: int, surge: int
) -> None:
    made = deployment(replicas, strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    assert (workloads.max_unavailable(made), workloads.max_surge(made)) == (unavailable, surge)
    assert list(workloads.strategy_findings(made)) == []


def test_a_pod_that_ends_or_becomes_ready_too_slowly_is_named() -> None:
    slow = templated(terminationGracePeriodSeconds=3600)
    slow["spec"]["minReadySeconds"] = 1801
    grace, ready = workloads.slow_findings(slow, 1800)
    assert grace.reason.startswith("Deployment akidb-rest has terminationGracePeriodSeconds 3600: one pod may take")
    assert ready.remedy == "lower it, or raise converge_timeout_seconds (now 1800) above it"
    assert list(workloads.slow_findings(templated(terminationGracePeriodSeconds=1800), 1800)) == []


def test_pods_without_a_node_are_counted_and_named() -> None:
    waiting = [pod(f"p{n}") for n in range(7)]
    for item in waiting:
        item["spec"] = {}
    leaving = pod("p8", deletionTimestamp="2027-01-15T07:59:50Z") | {"spec": {}}
    found = only(workloads.pending_findings(deployment(), [*waiting, leaving, pod("p9")]))
    assert found.reason == "7 pods of Deployment akidb-rest are Pending: p0, p1, p2, p3, p4 and 2 more"


def asking(*containers: Object, **spec: Any) -> Object:
    return templated(containers=[*containers], **spec)


# Requests ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "pods"),
    [
        (asking(spot_world.container()), []),
        (asking(spot_world.container("1000m", "2097152Ki")), []),
        (asking(spot_world.container("800m", "1Gi"), spot_world.container("0.2", "1024Mi")), []),
        (asking({"resources": {"limits": {"cpu": 1, "memory": "2Gi"}}}), []),
        # A VerticalPodAutoscaler may have lowered what runs: new pods begin with the template's.
        (asking(spot_world.container()), [pod() | {"spec": {"containers": [spot_world.container("600m", "1Gi")]}}]),
    ],
)
def test_requests_of_all_containers_that_come_to_the_estates_pass(made: Object, pods: list[Object]) -> None:
    assert list(workloads.request_findings(made, pods, ESTATE)) == []


@pytest.mark.parametrize(
    ("containers", "reason", "remedy"),
    [
        (
            [{"name": "akidb"}],
            "requests no cpu and no memory: Karpenter would pack all of its pods on one node a domain",
            "set requests in its template, such as cpu 1, memory 2Gi",
        ),
        ([{"resources": {"requests": {"cpu": "1"}}}], "requests no memory: Karpenter would pack", "set requests in"),
        (
            [spot_world.container("6", "12Gi")],
            "requests cpu 6, memory 12Gi a pod with all of its containers, estate.yaml says cpu 1, memory 2Gi",
            'set workloads.akidb-rest.requests to {cpu: "6", memory: 12Gi} in estate.yaml, or correct the Deployment',
        ),
        (
            [spot_world.container(), spot_world.container("100m", "128M")],
            "requests cpu 1100m, memory 2222152Ki a pod",
            'set workloads.akidb-rest.requests to {cpu: "1100m", memory: 2222152Ki} in estate.yaml',
        ),
        ([spot_world.container("1", "2G")], "requests cpu 1, memory 2G a pod with", "set workloads."),
    ],
)
def test_requests_that_are_missing_or_others_are_refused(containers: list[Object], reason: str, remedy: str) -> None:
    found = only(workloads.request_findings(asking(*containers), [], ESTATE))
    assert found.reason.startswith(f"Deployment akidb-rest {reason}")
    assert found.remedy.startswith(remedy)


def test_what_a_webhook_adds_to_the_pods_counts() -> None:
    plain, more = ({"spec": {"containers": [spot_world.container(cpu)]}} for cpu in ("1", "1100m"))
    live = workloads.live_requests(deployment(), [plain, more])
    assert live == {"cpu": Decimal("1.1"), "memory": Decimal(2 * 2**30)}
    assert (
        "requests cpu 1100m, memory 2Gi a pod"
        in only(workloads.request_findings(deployment(), [plain, more], ESTATE)).reason
    )
    estate = Resources(cpu="1100m", memory="2Gi")
    assert list(workloads.request_findings(deployment(), [plain, more], estate)) == []


def test_a_template_without_requests_is_refused_whatever_its_pods_have() -> None:
    found = only(
        workloads.request_findings(asking({"name": "a"}), [{"spec": {"containers": [spot_world.container()]}}], ESTATE)
    )
    assert found.reason.startswith("Deployment akidb-rest requests no cpu and no memory")


# Disruption ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["true", "True", "30m", "1h30m", "100s"])
def test_pods_that_ask_not_to_be_disrupted_are_named(value: str) -> None:
    marked = pod("p1", annotations={"karpenter.sh/do-not-disrupt": value})
    found = only(workloads.disruption_findings(deployment(), [pod("p0"), marked]))
    assert found.reason.startswith("pods of Deployment akidb-rest are annotated karpenter.sh/do-not-disrupt (p1)")
    made = deployment()
    made["spec"]["template"]["metadata"]["annotations"] = {"karpenter.sh/do-not-disrupt": value}
    assert "(its template)" in only(workloads.disruption_findings(made, [])).reason


@pytest.mark.parametrize("value", ["false", "0s", "yes", ""])
def test_an_annotation_that_is_false_or_absent_asks_for_nothing(value: str) -> None:
    lifted = pod("p1", annotations={"karpenter.sh/do-not-disrupt": value})
    assert list(workloads.disruption_findings(deployment(), [lifted, pod("p2", annotations=None)])) == []


@pytest.mark.parametrize(
    ("replicas", "remedy"),
    [
        (0, "give it 2 replicas or more (there are at least 2 domains), or leave it out of workloads in estate.yaml"),
        (1, "give it 2 replicas or more (there are at least 2 domains), or leave it out of workloads in estate.yaml"),
        (2, "set domains to 2 or fewer, or add replicas"),
        (3, "set domains to 3 or fewer, or add replicas"),
    ],
)
def test_the_remedy_for_too_few_replicas_can_be_followed(replicas: int, remedy: str) -> None:
    found = only(workloads.replica_findings(deployment(replicas), 4, 2))
    assert found.reason == f"akidb-rest has {replicas} replicas for 4 domains: some would host none of its pods"
    assert found.remedy == remedy
    assert list(workloads.replica_findings(deployment(4), 4, 2)) == []
    assert only(workloads.replica_findings(deployment(None), 4, 2)).reason.startswith("akidb-rest has 1 replicas")


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({"matchLabels": {"app": "akidb-rest"}}, True),
        ({"matchLabels": {"app.kubernetes.io/name": "rest"}}, True),
        ({"matchExpressions": [term("app", "In", "x", "akidb-rest")]}, True),
        ({"matchExpressions": [term("app", "Exists"), term("tier", "DoesNotExist")]}, True),
        ({"matchExpressions": [term("tier", "NotIn", "batch")]}, True),
        ({}, True),
        (None, False),
        ({"matchLabels": {"app": "akidb-grpc"}}, False),
        ({"matchLabels": {"app": "akidb-rest", "tier": "x"}}, False),
        ({"matchExpressions": [term("app", "NotIn", "akidb-rest")]}, False),
    ],
)
def test_a_budget_counts_by_what_it_selects(selector: Object | None, selected: bool) -> None:
    made, one = deployment(), spot_world.budget("one", "akidb")
    made["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] = "rest"
    one["spec"]["selector"] = selector
    found = list(workloads.unbudgeted_findings(made, [one]))
    assert bool(found) is not selected
    one["metadata"]["namespace"] = "akidb-staging"
    assert only(workloads.unbudgeted_findings(made, [one])).remedy == (
        "make one for it with maxUnavailable 25% in namespace akidb"
    )


def test_a_budget_that_is_used_up_by_healthy_pods_will_not_change_by_waiting() -> None:
    full = spot_world.budget("akidb-rest", "akidb", selector={}, minAvailable=15)
    full["status"]["disruptionsAllowed"] = 0
    found = only(workloads.budget_findings([full], [pod()]))
    assert found == Finding(
        "akidb/akidb-rest",
        "akidb/akidb-rest allows no eviction now (15 of 15 pods healthy)",
        "allow at least one pod to be unavailable, or add replicas",
    )


def quota(hard: Object, used: Object, **spec: Any) -> Object:
    return {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}, "status": {"used": used}}


NEEDS = workloads.quota_needs(
    4, {"containers": [spot_world.container()]}, {"cpu": Decimal(1), "memory": Decimal(2**31)}
)


# Quotas --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (quota({"pods": "32"}, {"pods": "30"}), "ResourceQuota q leaves 2 of pods, the surge needs 4"),
        (quota({"cpu": "33"}, {"cpu": "30"}), "ResourceQuota q leaves 3 of cpu, the surge needs 4"),
        (quota({"requests.memory": "60Gi"}, {"requests.memory": "56Gi"}), "leaves 4Gi of requests.memory, the surge"),
        (quota({"count/pods": "30"}, {"count/pods": "30"}), "leaves none of count/pods, the surge needs 4"),
    ],
)
def test_a_quota_that_would_refuse_the_surge_is_named(made: Object, reason: str) -> None:
    assert reason in only(workloads.quota_findings([made], NEEDS, "the surge")).reason


@pytest.mark.parametrize(
    "made",
    [
        quota({"pods": "34", "requests.cpu": "34"}, {"pods": "30", "requests.cpu": "30"}),
        quota({"services": "0"}, {}),
        quota({"pods": "0"}, {}, scopes=["BestEffort"]),
        quota({"pods": "0"}, {}, scopeSelector={"matchExpressions": []}),
    ],
)
def test_a_quota_with_room_or_for_other_pods_is_none_of_ours(made: Object) -> None:
    assert list(workloads.quota_findings([made], NEEDS, "the surge")) == []
