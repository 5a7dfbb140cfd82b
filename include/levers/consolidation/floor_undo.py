"""The floor's way back: the old group's nodes first, then the system pods, then the small group goes.

From the snapshot alone, after a crash at any point; what others have done since stays and is reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from include.clients.kubernetes import DEPLOYMENT, POD
from include.levers.consolidation.floor_group import KIND, SystemNodes
from include.levers.consolidation.floor_pods import on_group, system_name
from include.levers.consolidation.settings import FLOOR, World
from include.levers.nodes import group, group_size
from include.levers.nodes.scheduling import NODE_GROUP
from include.levers.nodes.waves import is_cordoned, uncordon
from include.levers.owned import Item, Own, Report, identity, split
from include.levers.pods import incomplete, pods_of_deployments
from include.levers.world import Object, name_of
from include.rollout.lever import Difference, Json

SIZES = ("minSize", "desiredSize")


def undo(world: World, snapshot: Mapping[str, Json], objects: Mapping[str, Json], report: Report) -> list[str]:
    """Set the floor back; returns what was done. A snapshot without a floor is one of before it could be sized."""
    was = snapshot.get(FLOOR) or {}
    if "scaling" not in was:
        return []
    goes = [key for key, entry in objects.items() if split(key)[0] == KIND and entry is None]
    steps = _grow(world, was, [split(key)[2] for key in goes], report)
    small = [SystemNodes(split(key)[2]) for key in goes]
    for thing in small:
        thing.close(world)
    steps += _return_pods(world, objects, report)
    for thing in small:
        world.target.fence()
        done = thing.restore(world, None, report)
        steps += [f"{thing.key} {done}"] if done else []
    return steps


# The old group ---------------------------------------------------------------------------------------------------


def _grow(world: World, was: Mapping[str, Json], going: Sequence[str], report: Report) -> list[str]:
    """Nodes for everything that comes back, ready before anything moves."""
    for node in group.nodes(world):
        world.target.fence()
        uncordon(world, node)
    if not _lacking(world, was):
        return []
    before = _before(was)
    world.target.fence()
    report += group_size.restore(world, before, lambda: _need(world, going, before.idle))
    world.wait_for(lambda: before.coming(world), "having the old node group's nodes back")
    return [f"{group.PATH} {world.region.node_group.name} has {len(group.nodes(world))} nodes again"]


def _before(was: Mapping[str, Json]) -> group_size.Before:
    moved = group.SIZE in was.get("moving", ())
    return group_size.Before(was["scaling"], was["nodes"], 0, frozenset(was["out_of_use"]), moved)


def _lacking(world: World, was: Mapping[str, Json]) -> list[Difference]:
    """The sizes below those of the snapshot; what an autoscaler moves is not the snapshot's to keep."""
    live = group.describe(world)["scalingConfig"]
    names = [name for name in SIZES if not (group.path(name) in was.get("moving", ()) and live[name])]
    lower = [name for name in names if live[name] < was["scaling"][name]]
    return [Difference(group.path(name), live[name], was["scaling"][name]) for name in lower]


def _need(world: World, going: Sequence[str], idle: frozenset[str]) -> group_size.Need:
    """Nodes of the old group for the pods on the small one, which no longer ask for its nodes then."""
    nodes = [node for name in going for node in group.nodes(world, name)]
    old, pods = group.nodes(world), world.cluster.list(POD)
    coming = group_size.crowds_to_come({}, [], [_untied(pod) for pod in on_group(pods, nodes)], old)
    need = group_size.group_need(old, pods, coming, idle, group_size.typical(world))
    return need or group_size.Need(0, 0, 0)


def _untied(pod: Object) -> Object:
    selector = {k: v for k, v in (pod["spec"].get("nodeSelector") or {}).items() if k != NODE_GROUP}
    return {**pod, "spec": {**pod["spec"], "nodeSelector": selector}}


# Pods ------------------------------------------------------------------------------------------------------------


def _return_pods(world: World, objects: Mapping[str, Json], report: Report) -> list[str]:
    """The nodeSelectors as they were, and every pod of the current template ready."""
    steps, keys = [], [key for key in reversed(list(objects)) if split(key)[0] == DEPLOYMENT.name]
    for key in keys:
        world.target.fence()
        done = Item(identity(key), Own.FIELDS).restore(world, objects[key], report)
        steps += [f"{key} {done}"] if done else []
    world.wait_for(lambda: _unsettled(world, keys), "having the system pods back")
    return steps


def _unsettled(world: World, keys: Sequence[str]) -> list[str]:
    """Deployments on the small group whose pods aren't all of the current template; others are no concern here."""
    nodes, missing = {name_of(node) for node in group.nodes(world, system_name(world))}, []
    for key in keys if nodes else ():
        _, space, name = split(key)
        live = world.cluster.get(DEPLOYMENT, name, space)
        pods = pods_of_deployments(world.cluster.list(POD, space), [name])
        if live and any(pod["spec"].get("nodeName") in nodes for pod in pods):
            missing += incomplete({f"{space}/{name}": live})
    return missing


# Proof -----------------------------------------------------------------------------------------------------------


def left(world: World, snapshot: Mapping[str, Json]) -> Sequence[Difference]:
    """The old group's sizes below the snapshot's, and nodes that the lever has cordoned."""
    was = snapshot.get(FLOOR) or {}
    if "scaling" not in was:
        return []
    nodes = [*group.nodes(world), *group.nodes(world, system_name(world))]
    cordoned = [node for node in nodes if is_cordoned(world, node)]
    return [*_lacking(world, was), *(Difference(f"Node/{name_of(n)} cordon", world.manager, None) for n in cordoned)]
