"""Day 1's preflight on pods of others: whom a drain of the old nodes would move, and where to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.levers import spot_world
from tests.unit.levers.spot_preflight_page import GROUP, failed, in_zones, only_failure, passed, put_pod
from tests.unit.levers.spot_world import REGION, Object, World, owner


@pytest.fixture
def world() -> World:
    return World()


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
