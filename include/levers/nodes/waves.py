"""Taking nodes out of service: cordoned, drained, gone. Everything may run again after a crash at any point."""

from __future__ import annotations

from collections.abc import Sequence

from include.clients.kubernetes import NODE, POD
from include.levers.pods import evictable, is_ending
from include.levers.world import Object, World, name_of
from include.rollout.lever import Difference

CORDONED = "akidb.io/cordoned-by"  # annotation: whose this cordon is to lift


def cordon(world: World, node: str) -> None:
    """Take no more pods on the node, marked as the lever's; a cordon by somebody else keeps its owner."""
    live = world.cluster.get(NODE, node)
    if live is None or live["spec"].get("unschedulable"):
        return
    patch = {"metadata": {"annotations": {CORDONED: world.manager}}, "spec": {"unschedulable": True}}
    world.cluster.patch(NODE, node, patch, manager=world.manager)


def is_cordoned(world: World, node: Object) -> bool:
    """Whether the lever has cordoned the node."""
    return (node["metadata"].get("annotations") or {}).get(CORDONED) == world.manager


def uncordon(world: World, node: Object) -> None:
    """Lift the cordon if it is the lever's."""
    if not is_cordoned(world, node):
        return
    patch = {"metadata": {"annotations": {CORDONED: None}}, "spec": {"unschedulable": None}}
    world.cluster.patch(NODE, name_of(node), patch, manager=world.manager)


def cordons(world: World) -> list[Difference]:
    """The cordons that a lever still has to lift."""
    marked = [node for node in world.cluster.list(NODE) if CORDONED in (node["metadata"].get("annotations") or {})]
    return [Difference(f"Node/{name_of(node)} cordon", world.manager, None) for node in marked]


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
                blocked = "" if allowed else " (its disruption budget has no room)"
                left.append(f"{namespace}/{name} on {node}{blocked}")
        return left

    world.wait_for(evict_the_rest, "draining the old nodes")


def wait_gone(world: World, nodes: Sequence[str]) -> None:
    """Wait until these Nodes exist no more."""

    def there() -> list[str]:
        live = {name_of(node) for node in world.cluster.list(NODE)}
        return [f"node {name} still exists" for name in nodes if name in live]

    world.wait_for(there, "the drained nodes being gone")
