"""Day 1's preflight on live objects: each kind of workload and of node that it has to notice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from include.clients.kubernetes import ForbiddenError, Kind
from include.levers import checks
from include.levers.nodes.karpenter import queue_of
from include.rollout.lever import Check
from include.rollout.place import Place
from tests.unit.levers import spot_world
from tests.unit.levers.spot_preflight_page import (
    GROUP,
    LEVER,
    ZONE,
    failed,
    in_zones,
    only_failure,
    passed,
    preflight,
    put_pod,
)
from tests.unit.levers.spot_world import REGION, Object, World, owner


@pytest.fixture
def world() -> World:
    return World()


def deployment(world: World, name: str = "akidb-rest") -> Object:
    return world.cluster.objects["Deployment", "akidb", name]


def template(world: World, name: str = "akidb-rest") -> Object:
    found: Object = deployment(world, name)["spec"]["template"]
    return found


# The workloads -------------------------------------------------------------------------------------------------------


def test_a_paused_deployment_is_refused_by_name(world: World) -> None:
    deployment(world)["spec"]["paused"] = True
    check = only_failure(world)
    assert (check.name, check.reason) == (
        "rollout of akidb-rest",
        "Deployment akidb-rest is paused: a change of its template would wait for ever",
    )


def test_a_stuck_rollout_is_refused(world: World) -> None:
    deployment(world)["status"] |= {"replicas": 19, "updatedReplicas": 4}
    assert only_failure(world).reason == "Deployment akidb-rest is in the middle of a rollout (4 of 15 updated)"


def test_recreate_is_refused(world: World) -> None:
    deployment(world, "akidb-grpc")["spec"]["strategy"] = {"type": "Recreate"}
    assert only_failure(world).reason.startswith("Deployment akidb-grpc has strategy Recreate")


def test_a_statefulset_of_that_name_is_no_workload(world: World) -> None:
    del world.cluster.objects["Deployment", "akidb", "akidb-rest"]
    assert "Deployment akidb/akidb-rest does not exist" in {check.reason for check in failed(world)}
    world.cluster.put({"kind": "StatefulSet", "metadata": {"name": "akidb-rest", "namespace": "akidb"}})
    assert only_failure(world).reason == "akidb/akidb-rest is a StatefulSet: levers change Deployments only"


@pytest.mark.parametrize(("cpu", "memory"), [("6", "12Gi"), ("1", "4Gi")])
def test_requests_count_as_they_are_live(world: World, cpu: str, memory: str) -> None:
    template(world)["spec"]["containers"] = [spot_world.container(cpu, memory)]
    found = {check.name: check.reason for check in failed(world)}
    assert found["requests of akidb-rest"].startswith(
        f"Deployment akidb-rest requests cpu {cpu}, memory {memory} a pod"
    )
    assert "way back" in found


def test_pool_limits_count_with_live_requests(world: World) -> None:
    template(world)["spec"]["containers"] = [spot_world.container("13", "2Gi")]
    found = {check.name: check.reason for check in failed(world)}
    assert found["pool limits"] == "the pods request cpu 210, memory 60Gi, a pool may have 200 and 400Gi"


def test_a_template_without_requests_is_refused(world: World) -> None:
    template(world)["spec"]["containers"] = [{"name": "akidb"}]
    assert only_failure(world).reason.startswith("Deployment akidb-rest requests no cpu and no memory")


def test_node_affinity_to_the_old_group_is_refused_like_a_node_selector(world: World) -> None:
    term = {"key": GROUP, "operator": "In", "values": ["akidb-on-demand"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [term]}]}
    template(world)["spec"]["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    check = only_failure(world)
    assert check.reason == "Deployment akidb-rest is tied to node group akidb-on-demand by its node affinity"
    assert check.remedy == f"remove {GROUP} from its node affinity, or prefer it only"


def test_labels_that_the_pools_nodes_will_carry_tie_nobody(world: World) -> None:
    template(world)["spec"]["nodeSelector"] = {
        "kubernetes.io/arch": "arm64",
        "kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": "arm64",
        "karpenter.k8s.aws/instance-category": "c",
        "topology.kubernetes.io/region": REGION,
    }
    names = {check.name for check in failed(world)}
    assert "placement of akidb-rest" not in names


def test_nodes_that_name_no_zone_tie_nobody(world: World) -> None:
    for node in world.cluster.group_nodes():
        del node["metadata"]["labels"][ZONE]
    assert failed(world) == []


def test_a_budget_that_nobody_has_counted_yet_is_waited_for(world: World) -> None:
    world.cluster.objects["PodDisruptionBudget", "akidb", "akidb-rest"]["status"] = {}
    check = only_failure(world)
    assert check.reason == "akidb/akidb-rest allows no eviction now (its pods are not counted yet)"
    assert check.remedy == "wait until its controller has counted them"


def test_do_not_disrupt_is_refused_unless_accepted(world: World) -> None:
    template(world, "akidb-grpc")["metadata"]["annotations"] = {"karpenter.sh/do-not-disrupt": "true"}
    check = only_failure(world)
    assert check.remedy == "remove the annotation for the rollout, or set accept_do_not_disrupt"
    accepting = World(accept_do_not_disrupt=True)
    template(accepting, "akidb-grpc")["metadata"]["annotations"] = {"karpenter.sh/do-not-disrupt": "true"}
    assert passed(accepting, "do-not-disrupt").startswith("accepted (accept_do_not_disrupt): pods of Deployment akidb-")


def test_a_new_node_that_asks_not_to_be_disrupted_is_named(world: World) -> None:
    kept = world.cluster.put(spot_world.karpenter_node("d1-x", "d1", "akidb-spot", "spot"))
    kept["metadata"]["annotations"] = {"karpenter.sh/do-not-disrupt": "true"}
    assert only_failure(world).reason.startswith("nodes d1-x are annotated karpenter.sh/do-not-disrupt")


def test_a_workload_without_a_budget_is_refused(world: World) -> None:
    for name in world.estate.workloads:
        del world.cluster.objects["PodDisruptionBudget", "akidb", name]
    assert [check.name for check in failed(world)] == [
        "disruption budget of akidb-rest",
        "disruption budget of akidb-grpc",
    ]
    everything = spot_world.budget("all", "akidb", maxUnavailable="25%", selector={})
    world.cluster.put(everything)
    assert failed(world) == []


def test_one_replica_gets_a_remedy_that_can_be_followed(world: World) -> None:
    deployment(world, "akidb-grpc")["spec"]["replicas"] = 1
    deployment(world, "akidb-grpc")["status"] |= dict.fromkeys(
        ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1
    )
    assert only_failure(world).remedy.startswith("give it 2 replicas or more (there are at least 2 domains), or leave")


def test_pods_without_a_node_and_pods_of_others_are_told_apart(world: World) -> None:
    waiting = world.cluster.objects["Pod", "akidb", "akidb-rest-3"]
    waiting["spec"].pop("nodeName")
    assert only_failure(world).reason == "1 pods of Deployment akidb-rest are Pending: akidb-rest-3"
    waiting["metadata"]["ownerReferences"] = [owner("import", "Job")]
    assert failed(world) == []


def test_finished_pods_count_nowhere(world: World) -> None:
    for phase in ("Failed", "Succeeded"):
        pod = put_pod(world, f"akidb-rest-{phase}", "i-1", [], "akidb", containers=[spot_world.container("7", "14Gi")])
        pod["status"]["phase"] = phase
    assert failed(world) == []


def test_x86_nodes_are_refused_by_label_by_type_and_by_the_estate(world: World) -> None:
    for node in world.cluster.group_nodes():
        node["metadata"]["labels"]["kubernetes.io/arch"] = "amd64"
    (first, _) = failed(world)
    assert first.reason == (
        "Deployment akidb-rest runs on node i-1 of akidb-on-demand, which is amd64; spot.architecture is arm64"
    )
    by_type = World()
    for node in by_type.cluster.group_nodes():
        node["metadata"]["labels"]["node.kubernetes.io/instance-type"] = "m7i.2xlarge"
    assert failed(by_type)[0].reason == first.reason
    described = World()
    region = described.estate.regions[REGION]
    group = region.node_group.model_copy(update={"instance_type": "m7i.2xlarge"})
    described.with_estate(regions=described.estate.regions | {REGION: region.model_copy(update={"node_group": group})})
    assert "(m7i.2xlarge in estate.yaml), which is amd64" in failed(described)[0].reason
    confirmed = World(multi_arch_images=True)
    for node in confirmed.cluster.group_nodes():
        node["metadata"]["labels"]["kubernetes.io/arch"] = "amd64"
    assert failed(confirmed) == []


def test_a_quota_without_room_for_the_surge_is_refused(world: World) -> None:
    hard = {"pods": "36"}
    quota = {"kind": "ResourceQuota", "metadata": {"name": "team", "namespace": "akidb"}, "spec": {"hard": hard}}
    world.cluster.put(quota | {"status": {"used": {"pods": "30"}}})
    assert only_failure(world).reason == (
        "ResourceQuota team leaves 6 of pods, the 8 pods that the rollouts add for a while needs 8"
    )


def spread_hard(world: World) -> None:
    for name in world.estate.workloads:
        template(world, name)["spec"]["topologySpreadConstraints"] = [
            {
                "topologyKey": ZONE,
                "whenUnsatisfiable": "DoNotSchedule",
                "maxSkew": 1,
                "labelSelector": {"matchLabels": {"app": name}},
            }
        ]


# The way back --------------------------------------------------------------------------------------------------------


def test_the_way_back_is_counted_zone_by_zone_where_pods_are_spread_hard(world: World) -> None:
    in_zones(world, "aabbc")
    spread_hard(world)
    found = {check.name: check.reason for check in failed(world)}
    assert found["way back"] == (
        "5 nodes of the node group hold 20 of 30 pods (10 pods in each of 3 topology.kubernetes.io/zone, 6 fit in "
        "ap-northeast-1c): a rollback would not fit"
    )


def test_without_a_hard_constraint_zones_don_t_matter_on_the_way_back(world: World) -> None:
    in_zones(world, "aabbc")
    assert failed(world) == []
    assert passed(world, "way back") == "5 nodes of the node group hold the 30 pods that a rollback brings back"


def test_a_cordoned_node_does_not_count_for_the_way_back(world: World) -> None:
    world.cluster.objects["Node", "", "i-3"]["spec"]["unschedulable"] = True
    assert only_failure(world).reason == (
        "4 of 5 nodes of the node group (i-3 cordoned or not ready) hold 24 of 30 pods: a rollback would not fit"
    )
    for name in world.estate.workloads:
        deployment(world, name)["spec"]["replicas"] = 12
        deployment(world, name)["status"] |= dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 12)
    assert passed(world, "way back").startswith(
        "4 of 5 nodes of the node group (i-3 cordoned or not ready) hold the 24 pods"
    )


def test_what_daemonsets_and_others_use_is_no_room_on_the_way_back(world: World) -> None:
    for n in range(1, 6):
        daemon = [owner("agent", "DaemonSet")]
        put_pod(world, f"agent-{n}", f"i-{n}", daemon, containers=[spot_world.container("100m", "2Gi")])
    assert only_failure(world).reason == ("5 nodes of the node group hold 25 of 30 pods: a rollback would not fit")


def test_once_the_pods_are_on_the_pools_the_floor_needs_no_room_for_them(world: World) -> None:
    for stage in LEVER.plan(world.target).stages:
        LEVER.apply(world.target, stage)
    world.writes.clear()
    assert failed(world) == []
    assert passed(world, "way back").startswith("the pods are on the pools already")


def karpenter(world: World, space: str = "kube-system", **container: Any) -> None:
    world.cluster.put(
        {
            "kind": "Deployment",
            "metadata": {"name": "karpenter", "namespace": space},
            "spec": {"template": {"spec": {"containers": [{"name": "controller", **container}]}}},
        }
    )


def named(value: str) -> list[Object]:
    return [{"name": "INTERRUPTION_QUEUE", "value": value}]


# Karpenter's queue ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["kube-system", "karpenter"])
def test_a_karpenter_that_listens_to_another_queue_is_refused(world: World, space: str) -> None:
    karpenter(world, space, env=named(f"Karpenter-akidb-{REGION}"))
    check = only_failure(world)
    assert check.reason == (
        f"Karpenter listens to queue Karpenter-akidb-{REGION}, the estate names akidb-{REGION}: a notice would be lost"
    )
    assert check.remedy.startswith(
        f"set regions.{REGION}.interruption_queue to Karpenter-akidb-{REGION} in estate.yaml"
    )
    region = world.estate.regions[REGION].model_copy(update={"interruption_queue": f"Karpenter-akidb-{REGION}"})
    world.with_estate(regions=world.estate.regions | {REGION: region})
    assert failed(world) == []


def test_a_karpenter_without_a_queue_is_refused(world: World) -> None:
    karpenter(world, env=named(""))
    assert only_failure(world).reason.startswith("Karpenter listens to no interruption queue")


@pytest.mark.parametrize(
    ("container", "queue"),
    [
        ({"env": named("a")}, "a"),
        ({"args": ["--interruption-queue=b"], "env": named("a")}, "b"),
        ({"args": ["--log-level", "info", "--interruption-queue", "c"]}, "c"),
        ({"command": ["/karpenter", "-interruption-queue=d"]}, "d"),
        ({"env": [{"name": "INTERRUPTION_QUEUE", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]}, "e"),
        ({"env": [{"name": "INTERRUPTION_QUEUE", "valueFrom": {"secretKeyRef": {"name": "m", "key": "k"}}}]}, None),
        ({"envFrom": [{"configMapRef": {"name": "m"}}]}, "f"),
        ({"env": [{"name": "CLUSTER_NAME", "value": "a"}]}, "g"),
    ],
)
def test_karpenters_queue_is_found_wherever_it_is_said(container: Object, queue: str | None) -> None:
    maps = {"m": {"k": "e", "INTERRUPTION_QUEUE": "f"}, "karpenter-global-settings": {"aws.interruptionQueueName": "g"}}
    made = {"spec": {"template": {"spec": {"containers": [container]}}}}
    assert queue_of(made, lambda name: maps.get(name, {})) == queue
    if queue == "g":
        assert queue_of(made, lambda name: {}) == ""


@pytest.mark.parametrize("source", [{"configMapRef": {"name": "m"}}, {"secretRef": {"name": "m"}}])
def test_a_queue_that_may_be_said_where_nobody_may_read_is_not_known(source: Object) -> None:
    made = {"spec": {"template": {"spec": {"containers": [{"envFrom": [source]}]}}}}
    assert queue_of(made, lambda name: None if name == "m" else {}) is None
    assert queue_of({"spec": {"template": {"spec": {"containers": [{}]}}}}, lambda name: None) is None


def test_a_karpenter_that_cannot_be_read_is_said_and_passes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert passed(world, "Karpenter's queue") == ("no Deployment karpenter was found: its queue was not compared")
    real = world.cluster.get

    def get(kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        if name == "karpenter":
            raise ForbiddenError("may not get deployments")
        return real(kind, name, namespace)

    monkeypatch.setattr(world.cluster, "get", get)
    assert "can't be read" in passed(world, "Karpenter's queue")


def elsewhere(world: World) -> None:
    """The region under a name that the price book doesn't know."""
    region = world.estate.regions[REGION]
    estate = world.estate.model_copy(update={"canary_region": "eu-west-1", "regions": {"eu-west-1": region}})
    world.target = replace(world.target, place=Place.named("eu-west-1"), estate=estate)


def types_check(world: World) -> Check:
    return next(check for check in preflight(world) if check.name == "instance types")


# Prices --------------------------------------------------------------------------------------------------------------


def test_a_region_without_prices_is_planned_with_ec2s_own(world: World) -> None:
    elsewhere(world)
    found = types_check(world)
    assert found.passed
    assert "types by EC2's own prices; how often they are interrupted here is not known, cheapest first" in found.reason
    plan = LEVER.plan(world.target)
    assert plan.usd_month_after is not None
    assert any(
        note.startswith("the price book has no spot prices of eu-west-1: these are EC2's own") for note in plan.notes
    )


def test_without_any_price_the_remedy_is_to_add_them_and_not_to_widen_filters(world: World) -> None:
    elsewhere(world)
    world.aws.spot_price = ""
    found = types_check(world)
    assert not found.passed
    assert (
        "has no spot prices of eu-west-1, and EC2 quotes too few: add the columns eu-west-1_savings and" in found.reason
    )
    assert "Widen" not in found.reason


# Cost of the preflight -----------------------------------------------------------------------------------------------


def test_each_kind_is_listed_once_and_each_object_read_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[tuple[Any, ...]] = Counter()
    for verb in ("get", "list", "serves"):
        real = getattr(world.cluster, verb)

        def count(kind: Kind, *rest: Any, _real: Any = real, _verb: str = verb) -> Any:
            asked[_verb, kind.name, *rest] += 1
            return _real(kind, *rest)

        count.__name__ = verb
        monkeypatch.setattr(world.cluster, verb, count)
    assert failed(world) == []
    assert {key: times for key, times in asked.items() if times > 1} == {}
    lists = Counter(kind for verb, kind, *_ in asked if verb == "list")
    assert {kind: times for kind, times in lists.items() if times > 1} == {}


def test_a_question_is_asked_again_in_the_next_preflight(world: World) -> None:
    assert failed(world) == []
    deployment(world)["spec"]["paused"] = True
    assert only_failure(world).name == "rollout of akidb-rest"


def test_an_error_is_no_answer_to_remember() -> None:
    class Cluster:
        times = 0

        def list(self, *_: Any) -> list[Object]:
            self.times += 1
            if self.times == 1:
                raise ForbiddenError("may not")
            return []

    cluster: Any = checks._ReadOnce(Cluster())  # type: ignore[arg-type]
    kind = Kind("v1", "Pod", "pods")
    with pytest.raises(ForbiddenError):
        cluster.list(kind)
    assert cluster.list(kind) == cluster.list(kind) == []
