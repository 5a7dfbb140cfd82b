"""What stands in the cloud before the rehearsal: network, roles, cluster entry, images, node group and queue.

Everything is made through the public APIs, region by region.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

from include.estate import Estate, Region
from lab.cloud.cdn import seed_distribution, seed_logs
from lab.cloud.dns import seed_dns
from lab.cloud.emulator import AMI_DATES, AMI_OWNER
from lab.cloud.functions import EDGE_REGION, seed_functions
from lab.cloud.storage import seed_models

KUBERNETES_VERSION = "1.36"
ANY_KEY = "lab"
SERVICE_CIDR = "10.0.0.0/24"
DISCOVERY_TAG = "karpenter.sh/discovery"
AMI_TYPES = {"arm64": "AL2023_ARM_64_STANDARD", "x86_64": "AL2023_x86_64_STANDARD"}


@dataclass(frozen=True)
class SeededRegion:
    """Ids of what was made in one region; ``subnets`` by zone, ``images`` (the newest) by architecture."""

    vpc: str
    subnets: dict[str, str]
    security_group: str
    queue_url: str
    images: dict[str, str]
    auto_scaling_group: str
    launch_template: str


def lab_session() -> boto3.Session:
    """A session for the emulator, which checks no credentials; those of this machine are never looked up."""
    return boto3.Session(aws_access_key_id=ANY_KEY, aws_secret_access_key=ANY_KEY, region_name="us-east-1")


class CloudClients:
    """Clients of one region of the emulator, made when first used: ``Clients(...).ec2``."""

    def __init__(self, endpoint: str, region: str, session: boto3.Session | None = None) -> None:
        self._session = session or lab_session()
        self._endpoint, self.region = endpoint, region
        self._made: dict[str, Any] = {}

    def __getattr__(self, service: str) -> Any:
        if service.startswith("_"):
            raise AttributeError(service)
        if service not in self._made:
            self._made[service] = self._session.client(
                service,
                region_name=self.region,
                endpoint_url=self._endpoint,
                config=Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 2}),
            )
        return self._made[service]


def seed(endpoint: str, estate: Estate, regions: Iterable[str]) -> dict[str, SeededRegion]:
    """Make the estate's cloud in ``regions`` of the fresh emulator at ``endpoint``, and its DNS.

    Raises botocore's ClientError when something stands there already: a lab starts from an empty emulator.
    """
    session, order = lab_session(), list(estate.regions)
    seed_dns(CloudClients(endpoint, estate.canary_region, session).route53, estate)
    return {
        region: _seed_region(
            CloudClients(endpoint, region, session), estate, estate.region(region), order.index(region)
        )
        for region in regions
    }


def seed_edge(endpoint: str, estate: Estate, days: int = 7) -> None:
    """Make functions, distribution with its logs of so many ``days``, and models in the emulator at ``endpoint``."""
    now, session = dt.datetime.now(dt.UTC), lab_session()
    clouds = {region: CloudClients(endpoint, region, session) for region in {EDGE_REGION, *estate.regions}}
    aws = clouds[EDGE_REGION]
    lambdas = {region: getattr(cloud, "lambda") for region, cloud in clouds.items()}
    version = seed_functions(aws.iam, lambdas, estate)
    seed_logs(aws.s3, estate, seed_distribution(aws.cloudfront, estate, version), now, days)
    seed_models(aws.s3, estate, now)


def _seed_region(aws: CloudClients, estate: Estate, region: Region, number: int) -> SeededRegion:
    vpc, subnets, group = _network(aws, region, number)
    cluster_role = _role(aws, f"{region.cluster}-control-plane", "eks.amazonaws.com")
    node_role = _role(aws, region.node_role, "ec2.amazonaws.com")
    aws.eks.create_cluster(
        name=region.cluster,
        version=KUBERNETES_VERSION,
        roleArn=cluster_role,
        resourcesVpcConfig={"subnetIds": list(subnets.values()), "securityGroupIds": [group]},
        kubernetesNetworkConfig={"serviceIpv4Cidr": SERVICE_CIDR},
    )
    images = _publish_images(aws)
    ami_type = AMI_TYPES[estate.spot.architecture]
    asg, template = _node_group(aws, region, list(subnets.values()), node_role, ami_type)
    queue_url = aws.sqs.create_queue(QueueName=region.queue)["QueueUrl"]
    return SeededRegion(vpc, subnets, group, queue_url, images, asg, template)


def _tags(kind: str, region: Region) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": DISCOVERY_TAG, "Value": region.discovery_tag}]}]


def _network(aws: CloudClients, region: Region, number: int) -> tuple[str, dict[str, str], str]:
    """VPC 10.<40 + number>.0.0/16 with a subnet in each of the first three zones that offer the node group's type."""
    prefix = f"10.{40 + number}"
    vpc = aws.ec2.create_vpc(CidrBlock=f"{prefix}.0.0/16", TagSpecifications=_tags("vpc", region))["Vpc"]["VpcId"]
    offers = aws.ec2.describe_instance_type_offerings(
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": [region.node_group.instance_type]}],
    )["InstanceTypeOfferings"]
    zones = sorted(offer["Location"] for offer in offers)[:3]
    if len(zones) < 3:
        raise ValueError(
            f"{aws.region}: node_group.instance_type {region.node_group.instance_type!r} is offered in "
            f"{len(zones)} zones and the lab needs 3: choose a type that the emulator's catalogue has"
        )
    subnets = {}
    for index, zone in enumerate(zones):
        subnet = aws.ec2.create_subnet(
            VpcId=vpc,
            CidrBlock=f"{prefix}.{index * 64}.0/18",
            AvailabilityZone=zone,
            TagSpecifications=_tags("subnet", region),
        )
        subnets[zone] = subnet["Subnet"]["SubnetId"]
    group = aws.ec2.create_security_group(
        GroupName=f"{region.cluster}-nodes",
        Description="nodes",
        VpcId=vpc,
        TagSpecifications=_tags("security-group", region),
    )
    return vpc, subnets, group["GroupId"]


def _role(aws: CloudClients, name: str, service: str) -> str:
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
    }
    return str(aws.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"])


def _publish_images(aws: CloudClients) -> dict[str, str]:
    """Write the SSM parameters behind AMI aliases; returns the newest image of each architecture."""
    newest = {}
    for image in aws.ec2.describe_images(Owners=[AMI_OWNER])["Images"]:
        architecture = image["Architecture"]
        folder = f"/aws/service/eks/optimized-ami/{KUBERNETES_VERSION}/amazon-linux-2023/{architecture}/standard"
        names = [image["Name"]]
        if image["Name"].endswith(f"-v{AMI_DATES[-1]}"):
            newest[architecture] = image["ImageId"]
            names.append("recommended")
        for name in names:
            aws.ssm.put_parameter(Name=f"{folder}/{name}/image_id", Value=image["ImageId"], Type="String")
    return newest


def _node_group(
    aws: CloudClients,
    region: Region,
    subnets: list[str],
    node_role: str,
    ami_type: str,
) -> tuple[str, str]:
    """The managed node group; returns the name of its Auto Scaling group and its launch template's id."""
    group = region.node_group
    made = aws.eks.create_nodegroup(
        clusterName=region.cluster,
        nodegroupName=group.name,
        scalingConfig={"minSize": group.size, "maxSize": group.max_size, "desiredSize": group.size},
        instanceTypes=[group.instance_type],
        amiType=ami_type,
        capacityType="ON_DEMAND",
        subnets=subnets,
        nodeRole=node_role,
        version=KUBERNETES_VERSION,
    )["nodegroup"]
    asg = str(made["resources"]["autoScalingGroups"][0]["name"])
    found = aws.ec2.describe_launch_templates(LaunchTemplateNames=[asg])["LaunchTemplates"]
    return asg, str(found[0]["LaunchTemplateId"])
