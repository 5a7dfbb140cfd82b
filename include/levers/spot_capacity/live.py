"""Reading the world: the state that the spot lever owns, and the nodes that it is paid for."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.clients.aws import Aws, AwsRefusedError
from include.clients.kubernetes import (
    DEPLOYMENT,
    EC2_NODE_CLASS,
    NODE,
    NODE_CLAIM,
    NODE_POOL,
    POD,
    Cluster,
    ConflictError,
    CredentialsError,
    ForbiddenError,
    InvalidError,
    NotServedError,
    TimedOutError,
)
from include.clients.prometheus import Prometheus
from include.estate import Estate, Region
from include.levers.spot_capacity.plan import (
    NODE_CLASS,
    POOLS,
    SPREAD,
    NodeFact,
    Object,
    SpotSettings,
    constraint_of,
    cores,
    rules,
)
from include.rollout.lever import NotConverged, Refused, Target

MANAGER = "akidb-rollout"
CORDONED = "akidb.io/cordoned-by"  # annotation: this cordon is ours to lift
NODE_GROUP_LABEL = "eks.amazonaws.com/nodegroup"
QUEUE_ATTRIBUTES = ("MessageRetentionPeriod", "VisibilityTimeout", "SqsManagedSseEnabled", "Policy")
NO_QUEUE = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}


@dataclass(frozen=True)
class World:
    """A target with its clients typed and its region looked up. ``now`` gives Unix seconds."""

    target: Target
    now: Callable[[], float] = time.time

    @property
    def cluster(self) -> Cluster:
        """The region's Kubernetes cluster."""
        cluster: Cluster = self.target.clients.kubernetes
        return cluster

    @property
    def aws(self) -> Aws:
        """The region's AWS clients."""
        aws: Aws = self.target.clients.aws
        return aws

    @property
    def prometheus(self) -> Prometheus:
        """The region's Prometheus."""
        prometheus: Prometheus = self.target.clients.prometheus
        return prometheus

    @property
    def settings(self) -> SpotSettings:
        """The lever's settings of this run."""
        settings: SpotSettings = self.target.settings
        return settings

    @property
    def estate(self) -> Estate:
        """The estate."""
        return self.target.estate

    @property
    def region(self) -> Region:
        """The target's region in the estate."""
        return self.estate.region(self.target.region)

    @property
    def timeout(self) -> float:
        """Longest wait for a step to converge, in seconds."""
        return float(self.settings.converge_timeout_seconds)

    def wait_for(self, missing: Callable[[], Sequence[str]], what: str, timeout: float | None = None) -> float:
        """Wait for the cluster; returns seconds. Raises NotConverged with ``what`` and what is missing."""
        try:
            return self.cluster.wait_for(missing, timeout or self.timeout, POD, self.estate.namespace)
        except TimedOutError as error:
            raise NotConverged(f"{self.target.region}: {what}: {error}") from error


@contextlib.contextmanager
def refusals(world: World) -> Iterator[None]:
    """Errors that no second attempt cures become Refused."""
    try:
        yield
    except (ConflictError, CredentialsError, ForbiddenError, InvalidError, NotServedError) as error:
        raise Refused(f"{world.target.region}: {error}") from error


# State that the lever owns ---------------------------------------------------------------------------------------


def read_live(world: World) -> Object:
    """Every field that the lever owns, as JSON. An object that doesn't exist is None.

    Raises Refused when a workload of the estate has no Deployment.
    """
    queue_arn, queue = read_queue(world)
    names = list(rules(world.region.cluster, queue_arn))
    node_class = world.cluster.get(EC2_NODE_CLASS, NODE_CLASS)
    pools = {name: world.cluster.get(NODE_POOL, name) for name in POOLS}
    return {
        "queue_arn": queue_arn,
        "queue": queue,
        "rules": {name: read_rule(world, name) for name in names},
        "node_class": node_class and node_class["spec"],
        "node_pools": {name: pool and pool["spec"] for name, pool in pools.items()},
        "constraints": {name: constraint_of(deployment) for name, deployment in deployments(world).items()},
        "node_group": dict(node_group(world)["scalingConfig"]),
        "nodes": count_nodes(world, node_facts(world)),
    }


def deployments(world: World) -> dict[str, Object]:
    """The Deployments of the estate's workloads, by name. Raises Refused naming one that doesn't exist."""
    found = {}
    for name in world.estate.workloads:
        deployment = world.cluster.get(DEPLOYMENT, name, world.estate.namespace)
        if deployment is None:
            raise Refused(
                f"{world.target.region}: Deployment {world.estate.namespace}/{name} does not exist: correct "
                "namespace or workloads in estate.yaml, or deploy it"
            )
        found[name] = deployment
    return found


def read_queue(world: World) -> tuple[str, dict[str, str | None] | None]:
    """The interruption queue's ARN (also of a queue that doesn't exist yet) and its attributes, None without it."""
    try:
        url = queue_url(world)
    except AwsRefusedError as error:
        if error.code not in NO_QUEUE:
            raise
        who = world.aws.call("sts", "get_caller_identity")
        partition = who["Arn"].split(":")[1]
        return f"arn:{partition}:sqs:{world.target.region}:{who['Account']}:{world.region.cluster}", None
    wanted = ["QueueArn", *QUEUE_ATTRIBUTES]
    found = world.aws.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=wanted).get("Attributes", {})
    return found["QueueArn"], {name: found.get(name) or None for name in QUEUE_ATTRIBUTES}


def queue_url(world: World) -> str:
    """The interruption queue's URL. Raises AwsRefusedError without the queue."""
    return str(world.aws.call("sqs", "get_queue_url", QueueName=world.region.cluster)["QueueUrl"])


def read_rule(world: World, name: str) -> Object | None:
    """An EventBridge rule's pattern and target ARNs, None when there is no such rule."""
    try:
        rule = world.aws.call("events", "describe_rule", Name=name)
    except AwsRefusedError as error:
        if error.code == "ResourceNotFoundException":
            return None
        raise
    targets = world.aws.pages("events", "list_targets_by_rule", "Targets", Rule=name)
    return {"pattern": json.loads(rule["EventPattern"]), "targets": sorted(target["Arn"] for target in targets)}


def node_group(world: World) -> Object:
    """The managed node group as EKS describes it."""
    answer = world.aws.call(
        "eks", "describe_nodegroup", clusterName=world.region.cluster, nodegroupName=world.region.node_group.name
    )
    group: Object = answer["nodegroup"]
    return group


# Nodes and pods --------------------------------------------------------------------------------------------------


def node_facts(world: World) -> list[NodeFact]:
    """The live nodes, by name."""
    return [node_fact(node) for node in sorted(world.cluster.list(NODE), key=lambda node: str(name_of(node)))]


def node_fact(node: Object) -> NodeFact:
    """What money and shares need of a Node."""
    labels = node["metadata"].get("labels", {})
    eks_type = labels.get("eks.amazonaws.com/capacityType", "ON_DEMAND")
    return NodeFact(
        name=name_of(node),
        instance_type=labels.get("node.kubernetes.io/instance-type", ""),
        zone=labels.get("topology.kubernetes.io/zone", ""),
        capacity=labels.get("karpenter.sh/capacity-type") or eks_type.lower().replace("_", "-"),
        vcpu=cores(str(node.get("status", {}).get("capacity", {}).get("cpu", "0"))),
        node_group=labels.get(NODE_GROUP_LABEL),
        node_pool=labels.get("karpenter.sh/nodepool"),
        domain=labels.get(SPREAD),
    )


def count_nodes(world: World, facts: Sequence[NodeFact]) -> dict[str, int]:
    """How many nodes of each type and capacity type the node group has: ``{"c7g.2xlarge on-demand": 5}``."""
    counts: dict[str, int] = {}
    for fact in facts:
        if fact.node_group == world.region.node_group.name:
            key = f"{fact.instance_type} {fact.capacity}"
            counts[key] = counts.get(key, 0) + 1
    return counts


def workload_pods(world: World) -> list[Object]:
    """AkiDB's pods, those that are ending included."""
    names = ",".join(world.estate.workloads)
    return world.cluster.list(POD, world.estate.namespace, labels=f"app in ({names})")


def our_claims(world: World) -> list[Object]:
    """NodeClaims of the two pools."""
    return world.cluster.list(NODE_CLAIM, labels=f"karpenter.sh/nodepool in ({','.join(POOLS)})")


def name_of(thing: Mapping[str, Any]) -> str:
    """The name in an object's metadata."""
    return str(thing["metadata"]["name"])


def condition(thing: Mapping[str, Any], kind: str) -> str:
    """``True``, ``False`` or ``Unknown`` of a status condition; ``Unknown`` when it is absent."""
    conditions = thing.get("status", {}).get("conditions") or []
    return next((str(c["status"]) for c in conditions if c["type"] == kind), "Unknown")


def spot_prices(world: World, types: Sequence[str]) -> dict[tuple[str, str], Decimal]:
    """The newest spot price, USD an hour, by instance type and zone."""
    if not types:
        return {}
    now = dt.datetime.fromtimestamp(world.now(), dt.UTC)
    newest: dict[tuple[str, str], tuple[Any, Decimal]] = {}
    pages = world.aws.pages(
        "ec2",
        "describe_spot_price_history",
        "SpotPriceHistory",
        InstanceTypes=sorted(set(types)),
        ProductDescriptions=["Linux/UNIX"],
        StartTime=now,  # with equal times AWS gives each pool's price at that moment
        EndTime=now,
    )
    for entry in pages:
        key = (entry["InstanceType"], entry["AvailabilityZone"])
        if key not in newest or newest[key][0] < entry["Timestamp"]:
            newest[key] = (entry["Timestamp"], Decimal(entry["SpotPrice"]))
    return {key: price for key, (_, price) in newest.items()}
