"""Node groups of the emulated EKS: what one that is made, resized and deleted looks like from outside."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from include.clients.aws import Aws
from include.estate import load_estate
from lab.cloud.emulator import wait_until_ready
from lab.cloud.node_groups import scaling_problem
from lab.cloud.seed import CloudClients, seed

REPOSITORY = Path(__file__).parents[4]
REGION, SMALL = "ap-northeast-1", "akidb-system"
CLUSTER = load_estate().region(REGION).cluster
WHERE = {"clusterName": CLUSTER, "nodegroupName": SMALL}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudClients]:
    """One emulator with one region."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "lab.cloud.emulator",
        "--port",
        str(port),
        "--folder",
        tmp_path_factory.mktemp("c"),
    ]
    with subprocess.Popen(command, cwd=REPOSITORY) as process:
        try:
            endpoint = f"http://127.0.0.1:{port}"
            wait_until_ready(endpoint, 60)
            seed(endpoint, load_estate(), [REGION])
            yield CloudClients(endpoint, REGION)
        finally:
            process.terminate()


def members(aws: CloudClients) -> list[dict[str, Any]]:
    filters = [
        {"Name": "instance-state-name", "Values": ["running"]},
        {"Name": "tag:eks:nodegroup-name", "Values": [SMALL]},
    ]
    answer = aws.ec2.describe_instances(Filters=filters)
    return [i for r in answer["Reservations"] for i in r["Instances"]]


def status(aws: CloudClients) -> str:
    return str(aws.eks.describe_nodegroup(**WHERE)["nodegroup"]["status"])


def await_status(aws: CloudClients, wanted: str) -> None:
    end = time.monotonic() + 20
    while status(aws) != wanted:
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_group_comes_with_its_instances_follows_its_size_and_goes_with_them(aws: CloudClients) -> None:
    old = aws.eks.describe_nodegroup(clusterName=CLUSTER, nodegroupName="akidb-on-demand")["nodegroup"]
    made = aws.eks.create_nodegroup(
        **WHERE,
        subnets=old["subnets"],
        nodeRole=old["nodeRole"],
        amiType=old["amiType"],
        instanceTypes=["t4g.medium"],
        scalingConfig={"minSize": 2, "maxSize": 3, "desiredSize": 2},
        tags={"akidb.io/made-by": "x"},
    )["nodegroup"]
    assert made["status"] == "CREATING"
    found = members(aws)
    assert [(i["InstanceType"], i["Architecture"]) for i in found] == [("t4g.medium", "arm64")] * 2
    assert len({i["Placement"]["AvailabilityZone"] for i in found}) == 2
    with pytest.raises(ClientError, match=r"ResourceInUseException.*is CREATING"):
        aws.eks.delete_nodegroup(**WHERE)
    await_status(aws, "ACTIVE")
    aws.eks.update_nodegroup_config(**WHERE, scalingConfig={"desiredSize": 3})
    assert len(members(aws)) == 3
    assert aws.eks.describe_nodegroup(**WHERE)["nodegroup"]["tags"] == {"akidb.io/made-by": "x"}
    with pytest.raises(ClientError, match="ResourceInUseException"):
        aws.eks.create_nodegroup(**WHERE, subnets=old["subnets"], nodeRole=old["nodeRole"])
    assert aws.eks.delete_nodegroup(**WHERE)["nodegroup"]["status"] == "DELETING"
    assert members(aws) == []
    assert status(aws) == "DELETING"
    time.sleep(3.2)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        status(aws)
    assert aws.eks.list_nodegroups(clusterName=CLUSTER)["nodegroups"] == ["akidb-on-demand"]
    # It may come again under the same name.
    aws.eks.create_nodegroup(
        **WHERE, subnets=old["subnets"], nodeRole=old["nodeRole"], amiType=old["amiType"], instanceTypes=["t4g.large"]
    )
    assert len(members(aws)) == 2


def test_a_size_that_eks_refuses_makes_no_group(aws: CloudClients) -> None:
    assert scaling_problem({"minSize": 0, "desiredSize": 0, "maxSize": 8}) is None
    sizes = {"minSize": 3, "maxSize": 3, "desiredSize": 2}
    where = {"clusterName": CLUSTER, "nodegroupName": "wrong"}
    with pytest.raises(ClientError, match=r"InvalidParameterException.*Minimum capacity 3"):
        aws.eks.create_nodegroup(**where, subnets=["a"], nodeRole="arn:aws:iam::1:role/x", scalingConfig=sizes)
    client = Aws(lambda service, config: getattr(aws, service))
    assert client.call("eks", "list_nodegroups", clusterName=CLUSTER)["nodegroups"] != ["wrong"]
