"""Reading the world: the state that the spot lever owns, and the nodes that it is paid for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from include.clients.aws import AwsRefusedError
from include.clients.kubernetes import EC2_NODE_CLASS, NODE_CLAIM, NODE_POOL
from include.levers import common
from include.levers.common import NodeFact, Object, deployments, node_facts, spot_prices
from include.levers.spot_capacity.plan import NODE_CLASS, POOLS, SpotSettings, constraint_of, rules
from include.prices import Choice, choose_instance_types, load_aws_book

MANAGER = "akidb-rollout"
CORDONED = "akidb.io/cordoned-by"  # annotation: this cordon is ours to lift
QUEUE_ATTRIBUTES = ("MessageRetentionPeriod", "VisibilityTimeout", "SqsManagedSseEnabled", "Policy")
NO_QUEUE = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}


@dataclass(frozen=True)
class World(common.World):
    """A target with this lever's settings typed."""

    @property
    def settings(self) -> SpotSettings:
        """The lever's settings of this run."""
        settings: SpotSettings = self.target.settings
        return settings


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


def instance_types(world: World) -> list[Choice]:
    """The instance types that the pools may use, at EC2's own spot prices where the price book has none of the region.

    Raises TooFewInstanceTypesError with what each filter removed.
    """
    book, region = load_aws_book(world.estate), world.target.region
    quoted = {} if book.knows_spot(region) else spot_prices(world, book.instance_types())
    return choose_instance_types(book, region, world.estate.spot, quoted)


# Nodes and pods --------------------------------------------------------------------------------------------------


def count_nodes(world: World, facts: Sequence[NodeFact]) -> dict[str, int]:
    """How many nodes of each type and capacity type the node group has: ``{"c7g.2xlarge on-demand": 5}``."""
    counts: dict[str, int] = {}
    for fact in facts:
        if fact.node_group == world.region.node_group.name:
            key = f"{fact.instance_type} {fact.capacity}"
            counts[key] = counts.get(key, 0) + 1
    return counts


def our_claims(world: World) -> list[Object]:
    """NodeClaims of the two pools."""
    return world.cluster.list(NODE_CLAIM, labels=f"karpenter.sh/nodepool in ({','.join(POOLS)})")
