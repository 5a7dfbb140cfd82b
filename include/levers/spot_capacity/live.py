"""Reading the world: the state that the spot lever owns, and the nodes that it is paid for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.clients.aws import AwsRefusedError
from include.clients.kubernetes import (
    DAEMON_SET,
    DEPLOYMENT,
    EC2_NODE_CLASS,
    NODE,
    NODE_CLAIM,
    NODE_POOL,
    POD,
    VOLUME,
    VOLUME_CLAIM,
    Kind,
    NotServedError,
    owns,
)
from include.levers import checks, common
from include.levers.common import (
    NODE_GROUP_LABEL,
    NodeFact,
    Object,
    deployments,
    name_of,
    node_facts,
    spot_prices,
    workload_pods,
)
from include.levers.nodes import takes_pods
from include.levers.spot_capacity.dependents import Evicted, evictable, evicted_by_drain, guests, shut_out, volume_terms
from include.levers.spot_capacity.dependents import asks_to_stay as stays
from include.levers.spot_capacity.placement import choose_surplus, own_pods, pods_by_zone
from include.levers.spot_capacity.plan import (
    NODE_CLASS,
    POOL_LABEL,
    POOLS,
    SIZE,
    SpotSettings,
    Surroundings,
    constraint_of,
    rules,
    tolerations_of,
    zones_of,
)
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


def read_live(world: World, found: Mapping[str, Object] | None = None) -> Object:
    """Every field that the lever owns, as JSON. An object that doesn't exist is None.

    ``found``: the Deployments to read; without it those of the estate, and one that is missing raises Refused.
    """
    queue_arn, queue = read_queue(world)
    names = list(rules(world.region.cluster, queue_arn))
    node_class = find(world, EC2_NODE_CLASS, NODE_CLASS)
    pools = {name: find(world, NODE_POOL, name) for name in POOLS}
    found = deployments(world) if found is None else found
    return {
        "queue_arn": queue_arn,
        "queue": queue,
        "rules": {name: read_rule(world, name) for name in names},
        "node_class": node_class and node_class["spec"],
        "node_pools": {name: pool and pool["spec"] for name, pool in pools.items()},
        "constraints": {name: constraint_of(deployment) for name, deployment in found.items()},
        "zones": {name: zones_of(deployment) for name, deployment in found.items()},
        "tolerations": {name: tolerations_of(deployment) for name, deployment in found.items()},
        "node_group": dict(node_group(world)["scalingConfig"]),
        "nodes": count_nodes(world, node_facts(world)),
        "moving": moving(world.cluster.list(POD)),
    }


def read_snapshot(world: World) -> Object:
    """``read_live``, and what a way back has to know besides: the floor, nodes out of use, who owns tolerations."""
    owners = {name: toleration_owners(deployment) for name, deployment in deployments(world).items()}
    idle = [name_of(node) for node in group_nodes(world) if not takes_pods(node)]
    floor = world.region.node_group.floor
    return {**read_live(world), "floor": floor, "out_of_use": sorted(idle), "toleration_owners": owners}


def moving(pods: Iterable[Object]) -> dict[str, str]:
    """Fields that something moves while it runs, by path, with its name: their value is not the snapshot's to keep."""
    images = (c["image"] for pod in pods for c in pod["spec"].get("containers") or [] if "image" in c)
    return {SIZE: "cluster-autoscaler"} if any("cluster-autoscaler" in image for image in images) else {}


def find(world: World, kind: Kind, name: str) -> Object | None:
    """The object of a kind that may have gone with its definition."""
    try:
        return world.cluster.get(kind, name)
    except NotServedError:
        return None


def standing(world: World, names: Iterable[str]) -> dict[str, Object]:
    """Those of the Deployments that exist, by name."""
    read = {name: world.cluster.get(DEPLOYMENT, name, world.estate.namespace) for name in names}
    return {name: deployment for name, deployment in read.items() if deployment is not None}


def toleration_owners(deployment: Object) -> list[list[str]]:
    """``[manager, operation]`` of everybody but us who owns a Deployment's tolerations."""
    return [
        [entry["manager"], entry["operation"]]
        for entry in deployment["metadata"].get("managedFields") or []
        if owns_tolerations(entry) and (entry["manager"], entry["operation"]) != (MANAGER, "Apply")
    ]


TOLERATIONS = ("f:spec", "f:template", "f:spec", "f:tolerations")


def owns_tolerations(entry: Mapping[str, Any]) -> bool:
    """Whether a managedFields entry has the tolerations of a pod template."""
    return owns(entry, TOLERATIONS)


def read_queue(world: World) -> tuple[str, dict[str, str | None] | None]:
    """The interruption queue's ARN (also of a queue that doesn't exist yet) and its attributes, None without it."""
    try:
        url = queue_url(world)
    except AwsRefusedError as error:
        if error.code not in NO_QUEUE:
            raise
        who = world.aws.call("sts", "get_caller_identity")
        partition = who["Arn"].split(":")[1]
        return f"arn:{partition}:sqs:{world.target.region}:{who['Account']}:{world.region.queue}", None
    wanted = ["QueueArn", *QUEUE_ATTRIBUTES]
    found = world.aws.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=wanted).get("Attributes", {})
    return found["QueueArn"], {name: found.get(name) or None for name in QUEUE_ATTRIBUTES}


def queue_url(world: World) -> str:
    """The interruption queue's URL. Raises AwsRefusedError without the queue."""
    return str(world.aws.call("sqs", "get_queue_url", QueueName=world.region.queue)["QueueUrl"])


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
    """NodeClaims of the two pools; none when their definition is gone."""
    try:
        return world.cluster.list(NODE_CLAIM, labels=f"{POOL_LABEL} in ({','.join(POOLS)})")
    except NotServedError:
        return []


def group_nodes(world: World) -> list[Object]:
    """Nodes of the old node group."""
    return world.cluster.list(NODE, labels=f"{NODE_GROUP_LABEL}={world.region.node_group.name}")


def pods_of(world: World) -> list[Object]:
    """The pods that the workloads' Deployments have made, those that are ending included."""
    return own_pods(workload_pods(world), world.estate.workloads)


# What others have ------------------------------------------------------------------------------------------------


def surroundings(world: World) -> Surroundings:
    """What the plan says of things that the lever doesn't own."""
    zones = pods_by_zone(pods_of(world), node_facts(world))
    others = pods_of_others(world)
    _, evicted = surplus_and_evicted(world, world.region.node_group.floor, others)
    agents = checks.readable(lambda: world.cluster.list(DAEMON_SET))
    return Surroundings(
        zones=len(zones) or None,
        evicted=tuple(map(str, evicted)),
        unmovable=tuple(f"{pod}: {pod.problem}" for pod in evicted if pod.problem),
        guests=tuple(guests(others)),
        shut_out=None if agents is None else tuple(shut_out(agents)),
    )


def pods_of_others(world: World) -> list[Object]:
    """The pods of all namespaces but those that the workloads' Deployments have made."""
    pods, space = world.cluster.list(POD), world.estate.namespace
    ours = {name_of(pod) for pod in own_pods(_in_space(pods, space), list(world.estate.workloads))}
    return [pod for pod in pods if not (pod["metadata"].get("namespace") == space and name_of(pod) in ours)]


def surplus_and_evicted(
    world: World, floor: int, others: Sequence[Object] | None = None
) -> tuple[list[Object], list[Evicted]]:
    """The nodes of the group beyond its floor, and the pods of ``others`` that their drain would evict."""
    nodes, others = world.cluster.list(NODE), pods_of_others(world) if others is None else others
    group = [
        n for n in nodes if (n["metadata"].get("labels") or {}).get(NODE_GROUP_LABEL) == world.region.node_group.name
    ]
    counts, stuck = _count(filter(evictable, others)), _count(p for p in others if evictable(p) and stays(p))
    surplus = choose_surplus(group, counts, floor, stuck)
    going = frozenset(map(name_of, surplus))
    claims = checks.readable(lambda: world.cluster.list(VOLUME_CLAIM)) or []
    volumes = volume_terms(claims, checks.readable(lambda: world.cluster.list(VOLUME)) or []) if claims else {}
    return surplus, evicted_by_drain(others, nodes, going, volumes, _pools_of_others(world))


def _in_space(pods: Iterable[Object], namespace: str) -> list[Object]:
    return [pod for pod in pods if pod["metadata"].get("namespace") == namespace]


def _count(pods: Iterable[Object]) -> dict[str, int]:
    return Counter(pod["spec"].get("nodeName", "") for pod in pods)


def _pools_of_others(world: World) -> list[Object]:
    try:
        return [pool for pool in world.cluster.list(NODE_POOL) if name_of(pool) not in POOLS]
    except NotServedError:
        return []
