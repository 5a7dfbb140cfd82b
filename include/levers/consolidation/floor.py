"""The floor right-sized: system pods on a small node group of their own, the old one without nodes; and the way back.

Capacity comes first in both directions: the small group's nodes are ready before a pod moves, and on the way back the
old group's are before one returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from include.clients.kubernetes import DEPLOYMENT, POD
from include.levers.base import CheckOf
from include.levers.consolidation import floor_pods, floor_undo
from include.levers.consolidation.floor_group import KIND, SystemNodes, is_ours, read
from include.levers.consolidation.floor_pods import absent, misled, moved, system_name
from include.levers.consolidation.floor_size import Size, max_pods
from include.levers.consolidation.settings import POOLS, ConsolidationSettings, World
from include.levers.node_costs import NodeFact, node_facts
from include.levers.nodes import group
from include.levers.nodes.evidence import stranded_figure
from include.levers.nodes.rooms import takes_pods
from include.levers.nodes.scheduling import NODE_GROUP
from include.levers.nodes.shrink import shrink
from include.levers.owned import Item, Own, Thing, identity, split
from include.levers.pods import incomplete, is_finished, pods_of_deployments, stranded
from include.levers.probes import Probe, at_once
from include.levers.world import Object, name_of
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.lever import Check, Difference, Json, Refused, Stage

undo, left = floor_undo.undo, floor_undo.left

# What is wanted --------------------------------------------------------------------------------------------------


def facts(world: World) -> dict[str, Json]:
    """What plan and snapshot keep: the old group's sizes and nodes, the Deployments' nodeSelectors, the size chosen."""
    idle = [name_of(node) for node in group.nodes(world) if not takes_pods(node)]
    specs = {key: found["spec"]["template"]["spec"] for key, found in moved(world).items()}
    size = floor_pods.size(world) if world.settings.right_size_floor else None
    return {
        "scaling": dict(group.describe(world)["scalingConfig"]),
        "nodes": group.count_nodes(world, node_facts(world)),
        "out_of_use": sorted(idle),
        "moving": group.moving(world.cluster.list(POD)),
        "selectors": {key: spec.get("nodeSelector") or {} for key, spec in specs.items()},
        "size": size and {"instance_type": size.instance_type, "count": size.count, "usd_hour": str(size.usd_hour)},
    }


def things(world: World, found: Mapping[str, Json]) -> Sequence[Thing]:
    """The small group, then the nodeSelector of each Deployment that moves to it."""
    wanted, system, size = world.settings.right_size_floor, world.region.node_group.system, found["size"]
    chosen = Size(size["instance_type"], size["count"], Decimal(size["usd_hour"])) if size else None
    selectors = {key: {**found["selectors"].get(key, {}), NODE_GROUP: system.name} for key in system.deployments}
    items = [Item(_body(key, selector), Own.FIELDS, wanted) for key, selector in selectors.items()]
    return [SystemNodes(system.name, chosen, wanted), *items]


def _body(key: str, selector: Mapping[str, str]) -> Object:
    found = identity(f"Deployment {key}")
    return {**found, "spec": {"template": {"spec": {"nodeSelector": dict(selector)}}}}


def thing(key: str, was: Json) -> Thing:
    """The owned thing of a snapshot."""
    del was
    kind, _, name = split(key)
    return SystemNodes(name) if kind == KIND else Item(identity(key), Own.FIELDS)


def is_mine(key: str) -> bool:
    """Whether a thing of a snapshot is the floor's."""
    return split(key)[0] in (KIND, DEPLOYMENT.name)


def is_floor(world: World, node: NodeFact) -> bool:
    """Whether a node is one of the small group."""
    return node.node_group == system_name(world)


def stage_needed(world: World, found: Mapping[str, Json]) -> bool:
    """Whether the floor is not of the right size yet."""
    stands = all(chosen.get(NODE_GROUP) == system_name(world) for chosen in found["selectors"].values())
    return not (stands and found["scaling"]["desiredSize"] == 0 and group.is_right_sized(world))


def title(world: World, found: Mapping[str, Json]) -> str:
    """``system pods to akidb-system (3 x t4g.medium), node group akidb-on-demand from 2 nodes to none``."""
    size, old = found["size"], world.region.node_group.name
    named = f"{size['count']} x {size['instance_type']}" if size else "no size is known"
    return f"system pods to {system_name(world)} ({named}), node group {old} from {_nodes(found)} nodes to none"


def _nodes(found: Mapping[str, Json]) -> int:
    return int(found["scaling"]["desiredSize"])


def differences(world: World, found: Mapping[str, Json]) -> Sequence[Difference]:
    """The old group's sizes, which no owned thing gives."""
    names = ("minSize", "desiredSize") if world.settings.right_size_floor else ()
    return [Difference(group.path(name), found["scaling"][name], 0) for name in names if found["scaling"][name]]


def notes(world: World, found: Mapping[str, Json]) -> Iterator[str]:
    """What an approver should know."""
    size, now = found["size"], floor_pods.usd_hour_now(world)
    if size is None:
        return
    named, cost = f"{size['count']} x {size['instance_type']}", Decimal(size["usd_hour"])
    before = "an unknown price" if now is None else f"${now:.3f}"
    yield (
        f"the floor: {named} hold the system pods with one node lost, ${cost:.3f} an hour in place of {before}; an "
        f"undo grows {world.region.node_group.name} back first"
    )
    if size["instance_type"].startswith("t"):
        yield (
            f"{size['instance_type']} is burstable: above its baseline (20 to 30 % of each vCPU) for long it costs "
            "about $0.04 to $0.05 for each vCPU and hour more, which no price book here counts"
        )
    if others := sorted({str(pod["metadata"]["name"]) for pod in floor_pods.guests(world, group.nodes(world))}):
        yield f"the drain of {world.region.node_group.name} evicts {len(others)} pods of others: {', '.join(others)}"


def usd_hour_after(world: World) -> Decimal | None:
    """USD an hour of the small group; None while no size or price is known."""
    size = floor_pods.size(world)
    return None if size is None else size.usd_hour


# A stage ---------------------------------------------------------------------------------------------------------


def before_apply(world: World, stage: Stage) -> None:
    """Raises Refused before anything is written: what preflight found may have changed since."""
    del stage
    if failed := [check for check in _preflight(world) if not check.passed]:
        raise Refused(f"{world.place}: {'; '.join(f'{check.reason}: {check.remedy}' for check in failed)}")


def settle(world: World, stage: Stage) -> dict[str, Json]:
    """Wait for the system pods on the small group, drain the old one, let its nodes go; figures for the ledger."""
    del stage
    seconds = world.wait_for(lambda: elsewhere(world), "moving the system pods to the small node group")
    gone = shrink(world, POOLS, 0, world.settings.accept_unmovable_pods)
    if group.describe(world)["scalingConfig"]["desiredSize"]:  # nodes that had not come yet
        world.target.fence()
        group.resize(world, minSize=0, desiredSize=0)
    world.wait_for(lambda: _waiting(world, gone), "having a node for every pod that the drain has evicted")
    nodes = group.nodes(world, system_name(world))
    return {**gone, "system_nodes": len(nodes), "moved_seconds": round(seconds, 1)}


def elsewhere(world: World) -> list[str]:
    """Named Deployments that aren't complete on the nodes of the small group, a line each."""
    nodes, missing = {name_of(node) for node in group.nodes(world, system_name(world))}, []
    for key, deployment in moved(world).items():
        space, _, name = key.partition("/")
        missing += incomplete({key: deployment})
        pods = pods_of_deployments(world.cluster.list(POD, space), [name])
        wrong = sum(pod["spec"].get("nodeName") not in nodes for pod in pods if not is_finished(pod))
        missing += [f"{wrong} pods of {key} are not on {system_name(world)}"] if wrong else []
    return missing


def _waiting(world: World, gone: Mapping[str, Any]) -> list[str]:
    left_over = stranded(world.cluster.list(POD), gone["evicted_from"], gone["waited_before"])
    return [f"{pod['metadata']['namespace']}/{name_of(pod)} has no node" for pod in left_over]


def probes(world: World) -> Sequence[Probe]:
    """Gates beyond the lever's own: everybody has a node, and the system pods are where they belong."""
    del world
    most, why = Comparison.AT_MOST, "every pod that the drain evicts needs a node"
    evicted = Gate("evicted_pods_pending", most, 0, "pods", 0, why)
    system = Gate("system_pods_missing", most, 0, "Deployments", 1, "system pods run on the small node group")
    return [
        Probe(evicted, lambda world, window: stranded_figure(world.cluster.list(POD), window.applied)),
        at_once(system, _missing_figure),
    ]


def _missing_figure(world: World) -> Figure:
    lines, count = elsewhere(world), len(moved(world))
    return Figure(len(lines), "Deployments", count, "pods of the system Deployments", "; ".join(lines))


# Preflight -------------------------------------------------------------------------------------------------------


def checks() -> Mapping[str, CheckOf[ConsolidationSettings]]:
    """The floor's preflight checks."""
    return {"floor": _checks}


def _checks(world: World) -> Iterator[Check]:
    if world.settings.right_size_floor:
        yield from _preflight(world)
    else:
        yield Check("floor", True, "the floor stays as it is (right_size_floor is off)")


def _preflight(world: World) -> Iterator[Check]:
    yield _of_the_deployments(world)
    yield _of_the_group(world)
    yield _of_the_pods(world)
    yield _of_the_size(world)


def _check(name: str, problems: Iterable[str], passed: str, remedy: str) -> Check:
    reason = "; ".join(problems)
    return Check(name, not reason, reason or passed, remedy if reason else "")


def _of_the_deployments(world: World) -> Check:
    found = [f"Deployment {key} does not exist" for key in absent(world)]
    found += [f"Deployment {key} asks by selector or affinity for nodes of another kind" for key in misled(world)]
    remedy = "correct node_group.system.deployments in estate.yaml, or the Deployment"
    return _check("floor: system pods", found, f"{', '.join(moved(world))} can be moved", remedy)


def _of_the_group(world: World) -> Check:
    old, live, name = group.describe(world), read(world, system_name(world)), system_name(world)
    if live and not is_ours(world, live):
        reason, remedy = f"node group {name} exists and is somebody else's", "name another in node_group.system.name"
    elif not old.get("instanceTypes"):
        reason = f"the launch template of {old['nodegroupName']} fixes the instance type, and a new group would have it"
        remedy = "take the type out of the launch template, or set right_size_floor off"
    elif len(old.get("subnets") or ()) < 2:
        reason = f"{old['nodegroupName']} has one subnet, and the small group needs two zones"
        remedy = "give the node group subnets in two zones, or set right_size_floor off"
    else:
        return Check("floor: node group", True, f"node group {name} {'stands' if live else 'can be made'}")
    return Check("floor: node group", False, reason, remedy)


def _of_the_pods(world: World) -> Check:
    old, there, stuck = world.region.node_group.name, floor_pods.workloads_there(world), floor_pods.unmovable(world)
    if there:
        reason = f"pods of {', '.join(there)} are on {old}, which would go to no nodes"
        return Check("floor: other pods", False, reason, "run spot_capacity first, or set right_size_floor off")
    if stuck and not world.settings.accept_unmovable_pods:
        remedy = "move these pods, name their Deployment in node_group.system.deployments, or set accept_unmovable_pods"
        return Check("floor: other pods", False, f"the drain of {old} would evict {'; '.join(stuck)}", remedy)
    accepted = f"accepted (accept_unmovable_pods): {'; '.join(stuck)}"
    return Check("floor: other pods", True, accepted if stuck else f"every other pod on {old} may be moved")


def _of_the_size(world: World) -> Check:
    found = floor_pods.size(world)
    if found is not None:
        held = f"{found} hold the system pods with one node lost, ${found.usd_hour:.3f} an hour"
        return Check("floor: size", True, held)
    types = floor_pods.candidates(world)
    if not types:
        unknown = [name for name in world.region.node_group.system.instance_types if max_pods(name) is None]
        reason = f"no type for {system_name(world)} has a known price, architecture and number of pods"
        named = f" ({', '.join(unknown)})" if unknown else ""
        return Check("floor: size", False, reason + named, "correct node_group.system.instance_types in estate.yaml")
    names = ", ".join(kind.name for kind in types)
    reason = f"no number of nodes up to 10 of {names} holds the system pods with one node lost"
    return Check("floor: size", False, reason, "name larger types in node_group.system.instance_types")
