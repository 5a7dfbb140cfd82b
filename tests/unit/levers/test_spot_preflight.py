"""Day 1's preflight on live objects: each kind of workload, of node and of neighbour that it has to notice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from include.clients.kubernetes import ForbiddenError, Kind
from include.levers import checks
from include.levers.nodes.karpenter import queue_of
from include.levers.spot_capacity import SpotCapacity
from include.rollout.lever import Check
from include.rollout.place import Place
from tests.unit.levers import spot_world
from tests.unit.levers.spot_world import NOW, REGION, Object, World, made_pod, owner

LEVER = SpotCapacity(now=lambda: NOW)
GROUP = "eks.amazonaws.com/nodegroup"
ZONE = "topology.kubernetes.io/zone"


@pytest.fixture
def world() -> World:
    return World()


def preflight(world: World) -> list[Check]:
    """Every check; whatever it says, nothing was written."""
    found = LEVER.preflight(world.target)
    assert world.writes == []
    return found


def failed(world: World) -> list[Check]:
    return [check for check in preflight(world) if not check.passed]


def only_failure(world: World) -> Check:
    (check,) = failed(world)
    return check


def passed(world: World, name: str) -> str:
    return next(check.reason for check in preflight(world) if check.name == name and check.passed)


def deployment(world: World, name: str = "akidb-rest") -> Object:
    return world.cluster.objects["Deployment", "akidb", name]


def template(world: World, name: str = "akidb-rest") -> Object:
    found: Object = deployment(world, name)["spec"]["template"]
    return found


def put_pod(world: World, name: str, node: str, owners: list[Object], space: str = "data", **spec: Any) -> Object:
    pod = made_pod(name, "x", space, node)
    pod["metadata"]["ownerReferences"] = owners
    pod["spec"] |= spec
    return world.cluster.put(pod)


# The workloads ---------------------------------------------------------------------------------------------------


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


# The way back ----------------------------------------------------------------------------------------------------


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


def in_zones(world: World, zones: str) -> None:
    for node, zone in zip(world.cluster.group_nodes(), zones, strict=True):
        node["metadata"]["labels"][ZONE] = f"{REGION}{zone}"


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


# The drain -------------------------------------------------------------------------------------------------------


def test_pods_without_a_controller_are_named_unless_they_are_accepted(world: World) -> None:
    for n in range(1, 6):
        put_pod(world, f"bare-{n}", f"i-{n}", [], "team-b", volumes=[{"name": "work", "emptyDir": {}}])
    check = only_failure(world)
    assert check.name == "evictions"
    assert check.reason == "draining akidb-on-demand would evict " + "; ".join(
        f"team-b/bare-{n} (no controller): nothing recreates it" for n in (3, 4, 5)
    )
    assert check.remedy == ("move these pods or let them end, raise node_group.floor, or set accept_unmovable_pods")
    accepting = World(accept_unmovable_pods=True)
    for n in range(1, 6):
        put_pod(accepting, f"bare-{n}", f"i-{n}", [], "team-b")
    assert failed(accepting) == []
    assert passed(accepting, "evictions").startswith("accepted (accept_unmovable_pods): team-b/bare-3 (no controller)")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("karpenter.sh/do-not-disrupt", "true"),
        ("karpenter.sh/do-not-disrupt", "4h"),
        ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
    ],
)
def test_pods_that_ask_to_stay_are_named(world: World, annotation: str, value: str) -> None:
    for n in range(1, 6):
        pod = put_pod(world, f"import-{n}", f"i-{n}", [owner("import", "Job")])
        pod["metadata"]["annotations"] = {annotation: value}
    assert f"data/import-3 (Job import): {annotation} is {value}" in only_failure(world).reason


@pytest.mark.parametrize(
    ("owners", "more"),
    [
        ([owner("agent", "DaemonSet")], {}),
        ([], {"annotations": {"kubernetes.io/config.mirror": "x"}}),
    ],
)
def test_daemonsets_and_mirror_pods_are_not_evicted(world: World, owners: list[Object], more: Object) -> None:
    put_pod(world, "static", "i-1", owners)["metadata"] |= more
    assert failed(world) == []


def test_a_pod_that_has_ended_or_is_ending_is_nobodys_loss(world: World) -> None:
    for n in range(1, 6):
        put_pod(world, f"done-{n}", f"i-{n}", [])["status"]["phase"] = "Succeeded"
        put_pod(world, f"ending-{n}", f"i-{n}", [])["metadata"]["deletionTimestamp"] = spot_world.STAMP
    assert failed(world) == []
    assert passed(world, "evictions") == "the drain of akidb-on-demand evicts 0 pods; each finds another node"


def staying(world: World, *nodes: str) -> None:
    """These nodes have most pods of others, so that they are the floor."""
    for node in nodes:
        for n in range(3):
            put_pod(world, f"busy-{node}-{n}", node, [owner("busy-1")], "kube-system")


def zookeeper(world: World, n: int, node: str, **spec: Any) -> Object:
    """A member with a volume of its own, tied to the node group."""
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": f"data-{n}"}}
    selector = {GROUP: "akidb-on-demand"}
    spec = {"volumes": [volume], "nodeSelector": selector, "containers": [spot_world.container("100m", "1Gi")]} | spec
    return put_pod(world, f"zookeeper-{n}", node, [owner("zookeeper", "StatefulSet")], **spec)


def test_a_member_whose_zone_the_floor_does_not_cover_is_named(world: World) -> None:
    in_zones(world, "abccc")  # i-1 and i-2 stay: they have most pods of others
    for n, node in enumerate(("i-1", "i-2", "i-3")):
        zookeeper(world, n, node)
    assert only_failure(world).reason == (
        "draining akidb-on-demand would evict data/zookeeper-2 (StatefulSet zookeeper): it is tied to its volume, and "
        "no node that stays is one of those"
    )


def test_a_volume_that_may_be_used_everywhere_ties_nobody(world: World) -> None:
    in_zones(world, "abccc")
    for n, node in enumerate(("i-1", "i-2", "i-3")):
        zookeeper(world, n, node)
        claim = {"metadata": {"name": f"data-{n}", "namespace": "data"}, "spec": {"volumeName": f"pv-{n}"}}
        world.cluster.put({"kind": "PersistentVolumeClaim", **claim})
        world.cluster.put({"kind": "PersistentVolume", "metadata": {"name": f"pv-{n}"}, "spec": {}})
    assert failed(world) == []


def test_a_volumes_own_zone_is_read_whatever_its_driver_calls_it(world: World) -> None:
    in_zones(world, "abccc")
    staying(world, "i-1", "i-2")
    zookeeper(world, 0, "i-3")
    claim = {"metadata": {"name": "data-0", "namespace": "data"}, "spec": {"volumeName": "pv-0"}}
    world.cluster.put({"kind": "PersistentVolumeClaim", **claim})
    term = {"key": "topology.ebs.csi.aws.com/zone", "operator": "In", "values": [f"{REGION}d"]}
    required = {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}}
    world.cluster.put({"kind": "PersistentVolume", "metadata": {"name": "pv-0"}, "spec": {"nodeAffinity": required}})
    assert "data/zookeeper-0 (StatefulSet zookeeper): it is tied to its volume" in only_failure(world).reason


def test_members_that_keep_apart_need_as_many_nodes(world: World) -> None:
    apart = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    for n in range(3):
        zookeeper(world, n, f"i-{n + 1}", volumes=[], affinity=affinity)
    assert "data/zookeeper-2 (StatefulSet zookeeper): it is tied to the node group" in only_failure(world).reason
    del world.cluster.objects["Pod", "data", "zookeeper-2"]  # two nodes stay for two members
    assert failed(world) == []


def payments(world: World, count: int) -> None:
    for n in range(count):
        node = f"i-{n % 5 + 1}"
        put_pod(
            world, f"pay-{n}", node, [owner("payments-1")], "platform", containers=[spot_world.container("3", "1Gi")]
        )


def pool(name: str, **spec: Any) -> Object:
    return {"kind": "NodePool", "metadata": {"name": name}, "spec": {"template": {"metadata": {}, "spec": spec}}}


ARM = {"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]}


def homeless(world: World) -> bool:
    return "evictions" in {check.name for check in failed(world)}


def test_pods_of_others_need_room_on_the_floor_or_a_pool_of_others(world: World) -> None:
    payments(world, 4)  # 3 CPU each: two nodes of 7.91 CPU take four
    assert not homeless(world)
    payments(world, 5)
    assert homeless(world)
    world.cluster.put(pool("akidb-spot"))  # ours is for the workloads
    assert homeless(world)
    tainted = world.cluster.put(pool("gpu", taints=[{"key": "gpu", "effect": "NoSchedule"}]))
    assert homeless(world)
    del tainted["spec"]["template"]["spec"]["taints"]
    assert not homeless(world)


@pytest.mark.parametrize(
    ("selector", "without_home"),
    [
        ({"kubernetes.io/arch": "arm64"}, False),
        ({"kubernetes.io/arch": "amd64"}, True),
        ({"karpenter.sh/nodepool": "default"}, False),
        ({"kubernetes.io/hostname": "i-3"}, True),
        ({GROUP: "other"}, True),
    ],
)
def test_a_pool_of_others_counts_for_the_pods_that_it_could_take(
    world: World, selector: dict[str, str], without_home: bool
) -> None:
    world.cluster.put(pool("default", requirements=[ARM]))
    staying(world, "i-1", "i-2")
    pod = put_pod(world, "pay", "i-3", [owner("payments-1")], nodeSelector=selector)
    pod["spec"]["containers"] = [spot_world.container("9", "1Gi")]  # no node that is there takes it
    assert homeless(world) is without_home


def test_nodes_of_others_count_with_what_is_free_on_them(world: World) -> None:
    payments(world, 5)
    world.cluster.put(spot_world.node("general-1", {"karpenter.sh/nodepool": "default"}))
    assert not homeless(world)
    put_pod(world, "full", "general-1", [owner("full-1")], containers=[spot_world.container("7", "1Gi")])
    assert homeless(world)


# Karpenter's queue -----------------------------------------------------------------------------------------------


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


# Prices ----------------------------------------------------------------------------------------------------------


def elsewhere(world: World) -> None:
    """The region under a name that the price book doesn't know."""
    region = world.estate.regions[REGION]
    estate = world.estate.model_copy(update={"canary_region": "eu-west-1", "regions": {"eu-west-1": region}})
    world.target = replace(world.target, place=Place.named("eu-west-1"), estate=estate)


def types_check(world: World) -> Check:
    return next(check for check in preflight(world) if check.name == "instance types")


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


# Cost of the preflight -------------------------------------------------------------------------------------------


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
