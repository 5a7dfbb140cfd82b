"""The nodes of the old group: cordoned, drained, ended one by one, and their number."""

from __future__ import annotations

from collections.abc import Sequence

from include.clients.aws import AwsRefusedError
from include.clients.kubernetes import NODE, POD
from include.levers.common import Object, name_of
from include.levers.spot_capacity.dependents import evictable
from include.levers.spot_capacity.live import CORDONED, MANAGER, World, node_group
from include.levers.spot_capacity.placement import is_ending


def cordon(world: World, node: str) -> None:
    """Take no more pods on the node, marked as ours; a cordon by somebody else keeps its owner."""
    live = world.cluster.get(NODE, node)
    if live is None or live["spec"].get("unschedulable"):
        return
    patch = {"metadata": {"annotations": {CORDONED: MANAGER}}, "spec": {"unschedulable": True}}
    world.cluster.patch(NODE, node, patch, manager=MANAGER)


def is_ours_to_lift(node: Object) -> bool:
    """Whether the lever has cordoned the node."""
    return (node["metadata"].get("annotations") or {}).get(CORDONED) == MANAGER


def uncordon(world: World, node: Object) -> bool:
    """Lift the cordon if it is ours; whether it was."""
    if not is_ours_to_lift(node):
        return False
    patch = {"metadata": {"annotations": {CORDONED: None}}, "spec": {"unschedulable": None}}
    world.cluster.patch(NODE, name_of(node), patch, manager=MANAGER)
    return True


def drain(world: World, nodes: Sequence[str]) -> None:
    """Evict every pod from the nodes; a budget that blocks is waited for."""

    def evict_the_rest() -> list[str]:
        world.target.fence()
        left = []
        for node in nodes:
            for pod in world.cluster.list(POD, fields=f"spec.nodeName={node}"):
                if not evictable(pod):
                    continue
                name, namespace = name_of(pod), pod["metadata"]["namespace"]
                allowed = is_ending(pod) or world.cluster.evict(name, namespace)
                left.append(
                    f"{namespace}/{name} on {node}" + ("" if allowed else " (its disruption budget has no room)")
                )
        return left

    world.wait_for(evict_the_rest, "draining the old nodes")


def terminate(world: World, surplus: Sequence[Object], floor: int) -> None:
    """Let the node group shrink to ``floor`` by exactly these nodes, as the cluster autoscaler does it."""
    group = node_group(world)
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
    where = {"clusterName": world.region.cluster, "nodegroupName": world.region.node_group.name}

    def busy() -> list[str]:
        status = node_group(world)["status"]
        if status not in ("ACTIVE", "DEGRADED"):
            return [f"node group {where['nodegroupName']} is {status}"]
        try:
            world.aws.call("eks", "update_nodegroup_config", **where, scalingConfig=scaling)
        except AwsRefusedError as error:
            if error.code in ("ResourceInUseException", "ResourceInUse"):
                return [str(error)]
            raise
        return []

    world.wait_for(busy, f"resizing node group {where['nodegroupName']}")


def wait_gone(world: World, nodes: Sequence[str]) -> None:
    """Wait until these Nodes exist no more."""

    def there() -> list[str]:
        live = {name_of(node) for node in world.cluster.list(NODE)}
        return [f"node {name} still exists" for name in nodes if name in live]

    world.wait_for(there, "the drained nodes being gone")
