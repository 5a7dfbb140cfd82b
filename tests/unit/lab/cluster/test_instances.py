"""The bridge: instances become Nodes and dead instances take them away, on a fake cluster and a fake clock."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from include.prices import load_aws_book
from lab.cluster.instances import (
    RegionBridge,
    UnavailableError,
    _read_state,
    group_resources,
    node_name,
    node_of_claim,
    price_key,
)
from lab.cluster.polling import run

REGION = "ap-northeast-1"


def instance(number: int, group: str | None = "akidb-on-demand", state: str = "running") -> dict[str, Any]:
    tags = (
        [{"Key": "eks:nodegroup-name", "Value": group}] if group else [{"Key": "karpenter.sh/nodepool", "Value": "x"}]
    )
    return {
        "InstanceId": f"i-{number}",
        "InstanceType": "c7g.2xlarge",
        "Architecture": "arm64",
        "PrivateIpAddress": f"10.42.0.{number}",
        "Placement": {"AvailabilityZone": f"{REGION}a"},
        "State": {"Name": state},
        "Tags": tags,
    }


def claim(number: int, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"claim-{number}",
            "labels": {
                "karpenter.sh/nodepool": "akidb-spot",
                "karpenter.sh/capacity-type": "spot",
                "akidb.io/capacity-spread": "d1",
                "node.kubernetes.io/instance-type": "c7g.xlarge",
                "kubernetes.io/arch": "arm64",
            },
        },
        "spec": {
            "startupTaints": [{"key": "s", "effect": "NoSchedule"}],
            "taints": [{"key": "t", "effect": "NoExecute"}],
        },
        "status": {
            "providerID": f"aws:///{REGION}a/i-{number}",
            "capacity": {"cpu": "4"},
            "allocatable": {"cpu": "3920m"},
            **status,
        },
    }


class FakeCluster:
    def __init__(self) -> None:
        self.made: dict[str, Mapping[str, Any]] = {}
        self.claims: list[Any] = []
        self.pods: dict[str, int] = {}
        self.emptied: list[str] = []
        self.finalizers: set[str] = set()

    def nodes(self) -> list[Any]:
        return list(self.made.values())

    def node_claims(self) -> list[Any]:
        return self.claims

    def create_node(self, node: Mapping[str, Any]) -> None:
        self.made[node["metadata"]["name"]] = node

    def delete_node(self, name: str) -> None:
        if name in self.finalizers:
            node = dict(self.made[name])
            self.made[name] = {**node, "metadata": {**node["metadata"], "deletionTimestamp": "now"}}
        else:
            del self.made[name]

    def remove_pods_of(self, node: str) -> int:
        self.emptied.append(node)
        return self.pods.pop(node, 0)


class World:
    """One region with a clock of its own."""

    def __init__(self) -> None:
        self.cluster, self.instances, self.now = FakeCluster(), [instance(n) for n in (1, 2)], 100.0
        book = load_aws_book()
        self.bridge = RegionBridge(
            REGION, self.cluster, lambda: self.instances, lambda t: group_resources(book, t), 8.0, lambda: self.now
        )

    def step(self, seconds: float = 1.0) -> list[str]:
        self.now += seconds
        return self.bridge.step()


@pytest.fixture
def world() -> World:
    return World()


def test_a_node_group_instance_becomes_the_node_of_the_estate(world: World) -> None:
    world.instances = [instance(1)]
    assert world.step() == [
        "registered ip-10-42-0-1.ap-northeast-1.compute.internal (akidb-on-demand c7g.2xlarge on-demand)"
    ]
    (node,) = world.cluster.nodes()
    name = "ip-10-42-0-1.ap-northeast-1.compute.internal"
    assert node["metadata"]["name"] == name
    assert node["metadata"]["labels"] == {
        "eks.amazonaws.com/nodegroup": "akidb-on-demand",
        "eks.amazonaws.com/capacityType": "ON_DEMAND",
        "node.kubernetes.io/instance-type": "c7g.2xlarge",
        "topology.kubernetes.io/zone": "ap-northeast-1a",
        "topology.kubernetes.io/region": "ap-northeast-1",
        "kubernetes.io/arch": "arm64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": name,
    }
    assert node["spec"] == {"providerID": "aws:///ap-northeast-1a/i-1", "taints": []}
    common = {"pods": "58", "ephemeral-storage": "50Gi"}
    assert node["status"]["capacity"] == {"cpu": "8", "memory": "16384Mi", **common}
    assert node["status"]["allocatable"] == {"cpu": "7910m", "memory": "14103Mi", **common}


def test_instances_that_ran_before_the_bridge_need_no_boot_and_later_ones_do(world: World) -> None:
    assert len(world.step()) == 2
    world.instances.append(instance(3))
    assert world.step() == []
    assert world.step(7.9) == []
    assert len(world.step(0.2)) == 1
    assert len(world.cluster.made) == 3


def test_an_instance_that_is_pending_does_not_boot(world: World) -> None:
    world.instances = [instance(1, state="pending")]
    assert world.step() == []
    world.instances = [instance(1)]
    assert world.step() == []
    assert len(world.step(8)) == 1


def test_a_karpenter_instance_registers_with_its_claim(world: World) -> None:
    world.step()
    world.instances.append(instance(7, group=None))
    world.cluster.claims = [claim(7)]
    world.step()
    assert world.step(8) == ["registered ip-10-42-0-7.ap-northeast-1.compute.internal (akidb-spot c7g.xlarge spot)"]
    node = node_of_claim(claim(7), instance(7, None), REGION)
    assert world.cluster.made[node["metadata"]["name"]] == node
    assert node["metadata"]["labels"]["akidb.io/capacity-spread"] == "d1"
    assert node["spec"]["taints"] == [
        {"key": "karpenter.sh/unregistered", "effect": "NoExecute"},
        {"key": "s", "effect": "NoSchedule"},
        {"key": "t", "effect": "NoExecute"},
    ]
    assert node["status"]["capacity"] == {"cpu": "4"}
    assert node["status"]["allocatable"] == {"cpu": "3920m"}


@pytest.mark.parametrize("late", [{"capacity": None}, {"providerID": "aws:///x/i-other"}])
def test_a_claim_that_is_not_launched_registers_nothing(world: World, late: dict[str, Any]) -> None:
    world.instances = [instance(7, group=None)]
    world.cluster.claims = [claim(7, **late)]
    assert world.step() == []
    assert world.cluster.made == {}


def test_a_claim_that_is_being_deleted_registers_nothing(world: World) -> None:
    world.instances, dying = [instance(7, group=None)], claim(7)
    dying["metadata"]["deletionTimestamp"] = "now"
    world.cluster.claims = [dying]
    assert world.step() == []


@pytest.mark.parametrize("ending", ["terminated", "shutting-down", "gone"])
def test_a_dead_instance_takes_its_node_and_pods_away(world: World, ending: str) -> None:
    world.step()
    name = node_name("10.42.0.2", REGION)
    world.cluster.pods[name] = 6
    world.instances[1:] = [] if ending == "gone" else [instance(2, state=ending)]
    assert world.step() == [f"removed {name}: instance i-2 is gone", f"removed 6 pods of {name}"]
    assert list(world.cluster.made) == [node_name("10.42.0.1", REGION)]
    world.step()
    world.step()
    assert world.cluster.emptied == [name, name]  # once more, for a pod bound in the last moment; then never again


def test_a_node_with_a_finalizer_is_deleted_once_and_its_address_stays_taken(world: World) -> None:
    world.step()
    name = node_name("10.42.0.2", REGION)
    world.cluster.finalizers.add(name)
    world.instances[1] = {**instance(9), "PrivateIpAddress": "10.42.0.2"}
    assert world.step() == [f"removed {name}: instance i-2 is gone"]
    assert world.step(9) == []
    del world.cluster.made[name]
    assert len(world.step()) == 1
    assert world.cluster.made[name]["spec"]["providerID"] == f"aws:///{REGION}a/i-9"


def test_nodes_of_others_are_left_alone(world: World) -> None:
    world.cluster.made["laptop"] = {"metadata": {"name": "laptop"}, "spec": {"providerID": "kind://x"}}
    world.step()
    assert "laptop" in world.cluster.made


def test_an_outage_removes_nothing_and_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    stop, answers = threading.Event(), ["ok", "down", "down", "ok"]
    world.step()

    def instances() -> list[dict[str, Any]]:
        answer = answers.pop(0)
        if not answers:
            stop.set()
        if answer == "down":
            raise UnavailableError("the emulator can't be asked (EndpointConnectionError)")
        return world.instances

    world.bridge.instances = instances
    with caplog.at_level("INFO", logger="instances"):
        run(world.bridge, stop, poll_seconds=0)
    assert [record.message for record in caplog.records] == [
        "ap-northeast-1: lost: the emulator can't be asked (EndpointConnectionError); trying again every 0 s",
        "ap-northeast-1: back",
    ]
    assert len(world.cluster.made) == 2


def test_us_east_1_has_a_domain_of_its_own() -> None:
    assert node_name("10.40.0.4", "us-east-1") == "ip-10-40-0-4.ec2.internal"


def test_a_size_without_a_pod_limit_is_refused_by_name() -> None:
    from include.prices import AwsBook, InstanceType, PriceRow

    row = PriceRow(InstanceType("c7g.metal", "c", "metal", "arm64", 64, 131072, 63.5, 120000), 2, {})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'c7g.metal': add its size to MAX_PODS of lab/cluster/instances.py"):
        group_resources(AwsBook([row], {}), "c7g.metal")


def test_the_state_is_read_from_the_labs_folder(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"state.json can't be read .*start the lab with `make lab-up`"):
        _read_state(tmp_path)
    (tmp_path / "state.json").write_text(json.dumps({"regions": {}}))
    assert _read_state(tmp_path) == {"regions": {}}


def test_a_price_is_named_by_capacity_type_and_zone() -> None:
    labels = {"node.kubernetes.io/instance-type": "c7g.xlarge", "topology.kubernetes.io/zone": "us-east-1b"}
    assert price_key(labels) == "on-demand.c7g.xlarge"
    assert price_key({**labels, "karpenter.sh/capacity-type": "on-demand"}) == "on-demand.c7g.xlarge"
    assert price_key({**labels, "karpenter.sh/capacity-type": "spot"}) == "spot.c7g.xlarge.us-east-1b"
