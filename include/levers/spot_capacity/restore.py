"""Back to the snapshot: first capacity, then the pods, then what carried them. Runs again after a crash anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from include.clients.kubernetes import EC2_NODE_CLASS, NODE, NODE_POOL
from include.levers.common import SPREAD, Object, deployments, name_of, node_fact, refusals
from include.levers.spot_capacity.apply import cordon, group_nodes, ready_group_nodes, resize, uncordon, write_rule
from include.levers.spot_capacity.live import (
    CORDONED,
    MANAGER,
    World,
    node_group,
    our_claims,
    queue_url,
    read_live,
    read_queue,
    read_rule,
)
from include.levers.spot_capacity.placement import incomplete, unsettled
from include.levers.spot_capacity.plan import NODE_CLASS, POOLS, constraint_of, queue_attributes, rules, spread
from include.rollout.lever import Difference, Restored

Report = list[Difference]


def restore(world: World, snapshot: Mapping[str, Any]) -> Restored:
    """Set back every field of the snapshot that still has the value that the lever wrote; report the others."""
    steps: list[str] = []
    others: Report = []

    def step(text: str, work: Callable[[], object]) -> None:
        world.target.fence()
        work()
        steps.append(text)

    with refusals(world):
        size = snapshot["node_group"]["desiredSize"]
        step(f"node group back at {size} nodes, all ready", lambda: _restore_node_group(world, snapshot, others))
        created = [name for name in POOLS if snapshot["node_pools"][name] is None]
        step(f"nodes of {' and '.join(created) or 'no pool'} take no pods", lambda: _cordon_pools(world, created))
        step("node pools that were there before have their old spec", lambda: _restore_pools(world, snapshot, others))
        step("spread constraints set back", lambda: _restore_constraints(world, snapshot, others))
        step("all pods ready", lambda: _wait_complete(world, drained=created))
        step("new node pools and their nodes deleted", lambda: _delete_pools(world, created, others))
        step("all pods ready on what is left", lambda: _wait_complete(world, drained=created))
        step("node class set back", lambda: _restore_node_class(world, snapshot, others))
        step("event rules and queue set back", lambda: _restore_feed(world, snapshot, others))
    return Restored(tuple(steps), tuple(others))


# Capacity --------------------------------------------------------------------------------------------------------


def _restore_node_group(world: World, snapshot: Mapping[str, Any], others: Report) -> None:
    was, live = snapshot["node_group"], node_group(world)["scalingConfig"]
    for node in group_nodes(world):
        uncordon(world, node)
    wanted = {}
    floor = world.region.node_group.floor
    for field in ("minSize", "desiredSize"):
        if live[field] == was[field]:
            continue
        if floor <= live[field] < was[field]:
            wanted[field] = was[field]
        else:
            others.append(Difference(f"NodeGroup {field}", was[field], live[field]))
    if wanted:
        resize(world, **wanted)
    size = max(was["desiredSize"], live["desiredSize"])

    def missing() -> list[str]:
        ready = len(ready_group_nodes(world))
        return [] if ready >= size else [f"{ready} of {size} nodes of the node group ready"]

    world.wait_for(missing, "restoring the node group")


def _cordon_pools(world: World, pools: list[str]) -> None:
    for node in world.cluster.list(NODE, labels="karpenter.sh/nodepool"):
        if node_fact(node).node_pool in pools:
            cordon(world, name_of(node))


# Pods ------------------------------------------------------------------------------------------------------------


def _restore_constraints(world: World, snapshot: Mapping[str, Any], others: Report) -> None:
    for name, deployment in deployments(world).items():
        was, live = snapshot["constraints"].get(name), constraint_of(deployment)
        if live == was:
            continue
        ours = live is not None and live == constraint_of(spread(world.estate, name, live.get("minDomains", 0)))
        if not ours:
            others.append(Difference(f"Deployment/{name} spread over {SPREAD}", was, live))
            continue
        body = spread(world.estate, name, 0)
        body["spec"] = {"template": {"spec": {"topologySpreadConstraints": [was]}}} if was else {}
        # Applying without the field gives it up: it goes, unless another manager has claimed it too.
        world.cluster.apply(body, MANAGER)


def _wait_complete(world: World, drained: list[str]) -> None:
    def missing() -> list[str]:
        # Where pools stay, their nodes have to settle too; where they go, Karpenter may drop nodes as it likes.
        claims = [] if drained else our_claims(world)
        return [*incomplete(deployments(world)), *unsettled(claims)]

    world.wait_for(missing, "getting all pods ready")


# Pools -----------------------------------------------------------------------------------------------------------


def _restore_pools(world: World, snapshot: Mapping[str, Any], others: Report) -> None:
    for name in reversed(POOLS):  # on demand first: it takes domains back before spot gives them up
        was, pool = snapshot["node_pools"][name], world.cluster.get(NODE_POOL, name)
        if was is None or (pool and pool["spec"] == was):
            continue
        if pool and not _ours(pool):
            others.append(Difference(f"NodePool/{name} spec", was, pool["spec"]))
            continue
        world.cluster.apply(_object("karpenter.sh/v1", "NodePool", name, was), MANAGER)


def _delete_pools(world: World, pools: list[str], others: Report) -> None:
    for name in pools:
        pool = world.cluster.get(NODE_POOL, name)
        if pool is None:
            continue
        if not _ours(pool):  # the pool is ours to remove all the same: it was not there before
            others.append(Difference(f"NodePool/{name} spec", None, pool["spec"]))
        world.cluster.delete(NODE_POOL, name)

    def left() -> list[str]:
        nodes = [node_fact(node) for node in world.cluster.list(NODE, labels="karpenter.sh/nodepool")]
        return [
            *(f"NodePool {name} still exists" for name in pools if world.cluster.get(NODE_POOL, name)),
            *(f"NodeClaim {name_of(claim)} still exists" for claim in our_claims(world) if _pool_of(claim) in pools),
            *(f"node {node.name} still exists" for node in nodes if node.node_pool in pools),
        ]

    world.wait_for(left, "deleting the new nodes")


def _restore_node_class(world: World, snapshot: Mapping[str, Any], others: Report) -> None:
    was, live = snapshot["node_class"], world.cluster.get(EC2_NODE_CLASS, NODE_CLASS)
    if live is None or live["spec"] == was:
        return
    if not _ours(live):
        others.append(Difference(f"EC2NodeClass/{NODE_CLASS} spec", was, live["spec"]))
        if was is not None:
            return
    if was is not None:
        world.cluster.apply(_object("karpenter.k8s.aws/v1", "EC2NodeClass", NODE_CLASS, was), MANAGER)
        return
    world.cluster.delete(EC2_NODE_CLASS, NODE_CLASS)
    world.wait_for(
        lambda: [f"EC2NodeClass {NODE_CLASS} still exists"] if world.cluster.get(EC2_NODE_CLASS, NODE_CLASS) else [],
        "deleting the node class",
    )


def _pool_of(claim: Object) -> str:
    return str(claim["metadata"]["labels"]["karpenter.sh/nodepool"])


def _ours(thing: Object) -> bool:
    """Whether nobody but us and the controllers' status writes has set fields of the object's spec."""
    for entry in thing["metadata"].get("managedFields") or []:
        if entry["manager"] != MANAGER and "f:spec" in (entry.get("fieldsV1") or {}):
            return False
    return True


def _object(api_version: str, kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}


# Queue and rules -------------------------------------------------------------------------------------------------


def _restore_feed(world: World, snapshot: Mapping[str, Any], others: Report) -> None:
    queue_arn, queue = read_queue(world)
    for name, wrote in rules(world.region.cluster, queue_arn).items():
        was, live = snapshot["rules"][name], read_rule(world, name)
        if live == was or live is None:
            continue
        if live != wrote:
            others.append(Difference(f"Rule/{name}", was, live))
            continue
        if was is None:
            _delete_rule(world, name)
        else:
            write_rule(world, name, was)
    if queue is not None:
        _restore_queue(world, snapshot["queue"], queue, queue_attributes(queue_arn, world.region.cluster), others)


def _delete_rule(world: World, name: str) -> None:
    targets = [t["Id"] for t in world.aws.pages("events", "list_targets_by_rule", "Targets", Rule=name)]
    if targets:
        world.aws.call("events", "remove_targets", Rule=name, Ids=targets)
    world.aws.call("events", "delete_rule", Name=name)


def _restore_queue(
    world: World,
    was: Mapping[str, str | None] | None,
    live: Mapping[str, str | None],
    wrote: Mapping[str, str],
    others: Report,
) -> None:
    if was is None:
        world.aws.call("sqs", "delete_queue", QueueUrl=queue_url(world))
        return
    back: dict[str, str] = {}
    for name, value in wrote.items():
        if live[name] == was[name]:
            continue
        if live[name] == value:
            back[name] = was[name] or ""  # an empty policy is none
        else:
            others.append(Difference(f"Queue {name}", was[name], live[name]))
    if back:
        world.aws.call("sqs", "set_queue_attributes", QueueUrl=queue_url(world), Attributes=back)


# Proof -----------------------------------------------------------------------------------------------------------


def verify(world: World, snapshot: Mapping[str, Any]) -> list[Difference]:
    """What would still have to be set back, from live to snapshot: fields, nodes to go, nodes that are cordoned."""
    live = read_live(world)
    found: list[Difference] = []
    for part in ("queue", "node_class", "node_group", "nodes"):
        found += _differing(part, live[part], snapshot[part])
    for part in ("rules", "node_pools", "constraints"):
        for name, was in snapshot[part].items():
            found += _differing(f"{part}/{name}", live[part].get(name), was)
    for node in world.cluster.list(NODE):
        fact = node_fact(node)
        if fact.node_pool in POOLS and snapshot["node_pools"][fact.node_pool] is None:
            found.append(Difference(f"Node/{fact.name} of {fact.node_pool}", fact.instance_type, None))
        if CORDONED in (node["metadata"].get("annotations") or {}):
            found.append(Difference(f"Node/{fact.name} cordon", MANAGER, None))
    return found


def _differing(path: str, live: Any, was: Any) -> list[Difference]:
    if live == was:
        return []
    if not isinstance(live, dict) or not isinstance(was, dict):
        return [Difference(path, live, was)]
    keys = sorted({*live, *was})
    return [d for key in keys for d in _differing(f"{path} {key}", live.get(key), was.get(key))]
