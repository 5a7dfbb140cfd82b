"""The managed node group of a region: as EKS describes it, its nodes, and its size; and the small one beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from include.clients.aws import AwsRefusedError
from include.clients.kubernetes import NODE
from include.levers.node_costs import NodeFact
from include.levers.nodes.scheduling import NODE_GROUP, labels_of
from include.levers.world import Object, World
from include.rollout.export import Change, Export
from include.rollout.lever import Difference

PATH = "NodeGroup"  # under which plans, rollbacks and proofs name it
SIZE = f"{PATH} desiredSize"


def path(size: str) -> str:
    """The path of one of its sizes."""
    return f"{PATH} {size}"


def describe(world: World, name: str = "") -> Object:
    """A managed node group as EKS describes it; without a name the estate's."""
    found: Object = world.aws.call("eks", "describe_nodegroup", **where(world, name))["nodegroup"]
    return found


def where(world: World, name: str = "") -> dict[str, str]:
    """How EKS's requests name a node group; without a name the estate's."""
    return {"clusterName": world.region.cluster, "nodegroupName": name or world.region.node_group.name}


def nodes(world: World, name: str = "") -> list[Object]:
    """Nodes of a node group; without a name the estate's."""
    return world.cluster.list(NODE, labels=f"{NODE_GROUP}={name or world.region.node_group.name}")


def export(world: World, differences: Iterable[Difference]) -> Export:
    """The sizes among a plan's differences: to be set in one's own resource, which holds the rest of the group."""
    arguments = {path("minSize"): "min_size", SIZE: "desired_size"}
    group_id = ":".join(where(world).values())
    told = (
        Change(d.path, d.before, d.after, "aws_eks_node_group", group_id, f"scaling_config.{arguments[d.path]}")
        for d in differences
        if d.path in arguments
    )
    return Export(changes=tuple(told))


def is_right_sized(world: World) -> bool:
    """Whether the system pods have a small node group of their own, so that this one may have no nodes at all."""
    return bool(nodes(world, world.region.node_group.system.name))


def of_group(world: World, found: Iterable[Object]) -> list[Object]:
    """Those of the nodes that are the node group's."""
    return [node for node in found if labels_of(node).get(NODE_GROUP) == world.region.node_group.name]


def count_nodes(world: World, facts: Sequence[NodeFact]) -> dict[str, int]:
    """How many nodes of each type and capacity type the node group has: ``{"c7g.2xlarge on-demand": 5}``."""
    mine = (fact for fact in facts if fact.node_group == world.region.node_group.name)
    return dict(Counter(f"{fact.instance_type} {fact.capacity}" for fact in mine))


def moving(pods: Iterable[Object]) -> dict[str, str]:
    """Fields that something moves while it runs, by path, with its name: their value is not a snapshot's to keep."""
    images = (c["image"] for pod in pods for c in pod["spec"].get("containers") or [] if "image" in c)
    return {SIZE: "cluster-autoscaler"} if any("cluster-autoscaler" in image for image in images) else {}


def terminate(world: World, surplus: Sequence[Object], floor: int) -> None:
    """Let the node group shrink to ``floor`` by exactly these nodes, as the cluster autoscaler does it."""
    group = describe(world)
    if group["scalingConfig"]["minSize"] > floor:
        resize(world, minSize=floor)
    scaling_group = group["resources"]["autoScalingGroups"][0]["name"]
    answer = world.aws.call("autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[scaling_group])
    members = {i["InstanceId"] for i in answer["AutoScalingGroups"][0]["Instances"]}
    for node in surplus:
        instance = node["spec"]["providerID"].rsplit("/", 1)[1]
        if instance in members:
            world.target.fence()
            world.aws.call(
                "autoscaling",
                "terminate_instance_in_auto_scaling_group",
                InstanceId=instance,
                ShouldDecrementDesiredCapacity=True,
            )


def resize(world: World, **scaling: int) -> None:
    """Change the node group's ``minSize`` or ``desiredSize`` once no other update of it is under way."""
    names = where(world)

    def busy() -> list[str]:
        status = describe(world)["status"]
        if status not in ("ACTIVE", "DEGRADED"):
            return [f"node group {names['nodegroupName']} is {status}"]
        try:
            world.aws.call("eks", "update_nodegroup_config", **names, scalingConfig=scaling)
        except AwsRefusedError as error:
            if error.code in ("ResourceInUseException", "ResourceInUse"):
                return [str(error)]
            raise
        return []

    world.wait_for(busy, f"resizing node group {names['nodegroupName']}")
