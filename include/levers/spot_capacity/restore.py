"""Back to the snapshot: first capacity, then the pods, then what carried them. Runs again after a crash anywhere.

What is not the lever's any more stays and is reported, by the path under which plan and proof name it too. What a
snapshot of an older release does not know was absent then, where it is exactly what the lever writes now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from include.clients.kubernetes import (
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    EC2_NODE_CLASS,
    JOB,
    NODE,
    NODE_POOL,
    POD,
    REPLICA_SET,
    STATEFUL_SET,
    ForbiddenError,
    Kind,
)
from include.levers.common import Object, name_of, node_fact, refusals
from include.levers.nodes import takes_pods
from include.levers.objects import hand_back
from include.levers.spot_capacity.apply import write_rule
from include.levers.spot_capacity.capacity import Need, need_now
from include.levers.spot_capacity.dependents import needs_pools, pod_specs
from include.levers.spot_capacity.live import (
    CORDONED,
    MANAGER,
    World,
    find,
    group_nodes,
    moving,
    node_group,
    our_claims,
    queue_url,
    read_live,
    read_queue,
    read_rule,
    standing,
)
from include.levers.spot_capacity.node_group import cordon, resize, uncordon
from include.levers.spot_capacity.placement import incomplete, own_pods, unsettled, waiting
from include.levers.spot_capacity.plan import (
    NAMED,
    NODE_CLASS,
    POOL_LABEL,
    POOLS,
    SIZE,
    TITLES,
    constraint_of,
    queue_attributes,
    rules,
)
from include.levers.spot_capacity.way_back import PARTS, handed_back, is_hard, value_before, way_back
from include.rollout.lever import Difference, NotConverged, Restored, kept

Report = list[Difference]
# What a snapshot of any release has; a part that a later one added reads as nothing of it.
ESSENTIAL = ("queue", "rules", "node_class", "node_pools", "constraints", "node_group", "nodes")
TEMPLATE_KINDS = (DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET, JOB, CRON_JOB, POD)


@dataclass
class Undo:
    """A way back under way: the snapshot, what was done, and what is left to others."""

    world: World
    snapshot: Mapping[str, Any]
    steps: list[str] = field(default_factory=list)
    others: Report = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # who still needs the pools

    def __post_init__(self) -> None:
        for part in ESSENTIAL:
            kept(self.snapshot, part)

    @property
    def names(self) -> list[str]:
        """The workloads: those that the snapshot knows, and the estate's."""
        return list(dict.fromkeys([*self.snapshot["constraints"], *self.world.estate.workloads]))

    @property
    def created(self) -> list[str]:
        """The pools that weren't there before."""
        return [name for name in POOLS if self.snapshot["node_pools"].get(name) is None]

    @property
    def idle(self) -> frozenset[str]:
        """Names of the nodes that were out of use before."""
        return frozenset(self.snapshot.get("out_of_use") or ())

    @cached_property
    def moved(self) -> Mapping[str, str]:
        """What an autoscaler moves, or moved before."""
        return self.snapshot.get("moving") or moving(self.world.cluster.list(POD))

    def step(self, text: str, work: Callable[[Undo], str | None]) -> None:
        """Do one step under the lock; what it gives back is what was done in place of ``text``."""
        self.world.target.fence()
        self.steps.append(work(self) or text)

    def report(self, path: str, was: Any, now: Any) -> None:
        """Leave a field alone and say so."""
        self.others.append(Difference(path, was, now))

    def deployments(self) -> dict[str, Object]:
        """Those of the workloads whose Deployment exists."""
        return standing(self.world, self.names)

    def after(self) -> dict[str, Object]:
        """The Deployments as they are once what is the lever's in them is set back."""
        estate, found = self.world.estate, self.deployments()
        return {name: way_back(estate, name, live, self.snapshot).after for name, live in found.items()}


def restore(world: World, snapshot: Mapping[str, Any]) -> Restored:
    """Set back every field of the snapshot that still has the value that the lever wrote; report the others."""
    undo = Undo(world, snapshot)
    with refusals(world):
        undo.step("node group has room for every pod", _restore_capacity)
        undo.step("it is known who needs the pools", _look_for_dependents)
        pools = " and ".join(undo.created) or "no pool"
        undo.step(f"nodes of {pools} take no pods", _cordon_pools)
        undo.step("node pools that were there before have their old spec", _restore_pools)
        undo.step("spread constraints and tolerations set back", _restore_placement)
        undo.step("all pods ready", _wait_complete)
        undo.step("new node pools and their nodes deleted", _delete_pools)
        undo.step("node class set back", _restore_node_class)
        undo.step("event rules and queue set back", _restore_feed)
        undo.step("all pods ready on what is left", _wait_end)
    return Restored(tuple(undo.steps), tuple(undo.others))


# Capacity --------------------------------------------------------------------------------------------------------


def _restore_capacity(undo: Undo) -> None:
    world, was = undo.world, undo.snapshot["node_group"]
    for node in group_nodes(world):
        uncordon(world, node)
    live = node_group(world)["scalingConfig"]
    need = _need(undo)
    wanted, reported = _sizes(undo, was, live, need)
    if need.more and need.size > live["maxSize"]:
        raise NotConverged(
            f"{world.target.region}: the pods need {need.size} nodes of {world.region.node_group.name}, its maxSize is "
            f"{live['maxSize']}: raise it or lower the replicas, then roll back again; nothing was moved"
        )
    if wanted:
        resize(world, **wanted)
    undo.others += reported
    world.wait_for(lambda: _lacking(undo), "having room on the node group for every pod")


def _need(undo: Undo) -> Need:
    after = undo.after()
    leaving = {name: deployment for name, deployment in after.items() if not is_hard(constraint_of(deployment))}
    return need_now(undo.world, leaving, undo.idle, undo.created)


def _lacking(undo: Undo) -> list[str]:
    need = _need(undo)
    if not need.more:
        return []
    return [f"{need.more} more nodes of the node group must be ready: {need.ready} are, {need.idle} take no pods"]


def _sizes(undo: Undo, was: Mapping[str, int], live: Mapping[str, int], need: Need) -> tuple[dict[str, int], Report]:
    """The sizes to set, and those that are left to others: capacity is the snapshot's or the need's, never less."""
    wanted: dict[str, int] = {}
    reported = []
    floor = undo.snapshot.get("floor", undo.world.region.node_group.floor)
    if live["minSize"] != was["minSize"]:
        if floor <= live["minSize"] < was["minSize"] <= live["maxSize"]:
            wanted["minSize"] = was["minSize"]
        else:
            reported.append(Difference(_path("node_group", "minSize"), was["minSize"], live["minSize"]))
    if live["maxSize"] != was["maxSize"]:
        reported.append(Difference(_path("node_group", "maxSize"), was["maxSize"], live["maxSize"]))
    # An autoscaler's night must not be set back at noon: it has moved the size since, and the need decides.
    before = wanted.get("minSize", 0) if SIZE in undo.moved else was["desiredSize"]
    size = max(live["desiredSize"], need.size, min(before, live["maxSize"]), wanted.get("minSize", 0))
    if size > live["desiredSize"]:
        wanted["desiredSize"] = size
    if size != was["desiredSize"] and SIZE not in undo.moved:
        reported.append(Difference(SIZE, was["desiredSize"], size))
    return wanted, reported


# Who needs the pools ---------------------------------------------------------------------------------------------


def _look_for_dependents(undo: Undo) -> None:
    """Who will need the pools when the workloads are set back: then the pools stay, and what feeds them."""
    world = undo.world
    if any(find(world, NODE_POOL, name) for name in undo.created):
        space = world.estate.namespace
        undo.kept = dependents(world, {(DEPLOYMENT.name, space, name): after for name, after in undo.after().items()})


def dependents(world: World, back: Mapping[tuple[str, str, str], Object] | None = None) -> list[str]:
    """Every pod template of the cluster that needs the pools, with the reason; ``back`` replaces live objects.

    What can't be read may need them: it is named as well.
    """
    found = []
    for kind in TEMPLATE_KINDS:
        try:
            things = world.cluster.list(kind)
        except ForbiddenError as error:
            found.append(f"{kind.plural} that can't be looked at ({error})")
            continue
        replaced = [_replaced(thing, back or {}) for thing in things]
        specs = ((title, needs_pools(kind.name, spec)) for title, spec in pod_specs(replaced))
        found += [f"{title} ({reason})" for title, reason in specs if reason]
    return found


def _replaced(thing: Object, back: Mapping[tuple[str, str, str], Object]) -> Object:
    return back.get((thing["kind"], thing["metadata"].get("namespace", ""), name_of(thing)), thing)


# Pods ------------------------------------------------------------------------------------------------------------


def _restore_placement(undo: Undo) -> None:
    world, found = undo.world, undo.deployments()
    for name in undo.names:
        if name not in found:
            undo.report(f"Deployment/{name}", "there", None)
            continue
        back = way_back(world.estate, name, found[name], undo.snapshot)
        undo.others += back.others
        if back.body is not None:
            world.target.fence()
            world.cluster.apply(back.body, MANAGER, force=back.owners is not None)
        if back.owners is not None:
            give = partial(handed_back, owners=back.owners)
            hand_back(world, DEPLOYMENT, name, world.estate.namespace, give)


def _wait_complete(undo: Undo) -> None:
    undo.world.wait_for(lambda: _incomplete(undo), "getting all pods ready")


def _incomplete(undo: Undo) -> list[str]:
    # Where pools stay, their nodes have to settle too; where they go, Karpenter may drop nodes as it likes.
    claims = [] if undo.created else our_claims(undo.world)
    found = undo.deployments()
    pods = own_pods(undo.world.cluster.list(POD, undo.world.estate.namespace), found)
    return [*incomplete(found), *waiting(pods), *unsettled(claims)]


def _wait_end(undo: Undo) -> None:
    def missing() -> list[str]:
        leaving = [] if undo.kept else _left_of_node_class(undo)
        return [*_incomplete(undo), *_smaller(undo), *leaving]

    undo.world.wait_for(missing, "getting all pods ready on what is left")


def _smaller(undo: Undo) -> list[str]:
    """The group's nodes that are still on their way; an autoscaler's come and go, and nodes out of use stay so."""
    if SIZE in undo.moved:
        return []
    wanted, group = node_group(undo.world)["scalingConfig"]["desiredSize"], group_nodes(undo.world)
    coming = [
        n for n in group if not takes_pods(n) and not n["spec"].get("unschedulable") and name_of(n) not in undo.idle
    ]
    there = len(group) - len(coming)
    return [] if there >= wanted else [f"{there} of {wanted} nodes of the node group ready"]


# Pools -----------------------------------------------------------------------------------------------------------


def _cordon_pools(undo: Undo) -> str | None:
    for node in _pool_nodes(undo):
        if undo.kept:
            uncordon(undo.world, node)
        else:
            cordon(undo.world, name_of(node))
    return "nodes of the new pools still take pods" if undo.kept else None


def _pool_nodes(undo: Undo) -> list[Object]:
    found = undo.world.cluster.list(NODE, labels=POOL_LABEL)
    return [node for node in found if node_fact(node).node_pool in undo.created]


def _restore_pools(undo: Undo) -> None:
    world = undo.world
    for name in reversed(POOLS):  # on demand first: it takes domains back before spot gives them up
        was, pool = undo.snapshot["node_pools"].get(name), find(world, NODE_POOL, name)
        if was is None or (pool and pool["spec"] == was):
            continue
        if not world.cluster.serves(NODE_POOL):
            undo.report(_path("node_pools", name), was, None)
        elif pool and not _ours(pool):
            undo.report(_path("node_pools", name), was, pool["spec"])
        else:
            world.cluster.apply(_object(NODE_POOL, name, was), MANAGER)


def _delete_pools(undo: Undo) -> str | None:
    world = undo.world
    pools = {name: find(world, NODE_POOL, name) for name in undo.created}
    there = {name: pool for name, pool in pools.items() if pool is not None}
    if there and not undo.kept:
        undo.kept = dependents(world)  # as it is now, with all that is ours set back
        if undo.kept:
            _cordon_pools(undo)
    for name, pool in there.items():
        if undo.kept:
            undo.report(_path("node_pools", name), None, f"needed by {'; '.join(undo.kept)}")
            continue
        if not _ours(pool):  # the pool is ours to remove all the same: it was not there before
            undo.report(_path("node_pools", name), None, pool["spec"])
        world.cluster.delete(NODE_POOL, name)
    if undo.kept:
        return f"new node pools stay, and what feeds them: needed by {'; '.join(undo.kept)}"
    if world.cluster.serves(NODE_POOL):
        world.wait_for(lambda: _left_of_pools(undo), "deleting the new nodes")
    return None


def _left_of_pools(undo: Undo) -> list[str]:
    world, pools = undo.world, undo.created
    return [
        *(f"NodePool {name} still exists" for name in pools if find(world, NODE_POOL, name)),
        *(f"NodeClaim {name_of(claim)} still exists" for claim in our_claims(world) if _pool_of(claim) in pools),
        *(f"node {name_of(node)} still exists" for node in _pool_nodes(undo)),
    ]


def _restore_node_class(undo: Undo) -> str | None:
    was, live = undo.snapshot["node_class"], find(undo.world, EC2_NODE_CLASS, NODE_CLASS)
    if live is None or live["spec"] == was:
        return None
    if undo.kept or not _ours(live):
        undo.report(_path("node_class"), was, live["spec"])
        if undo.kept or was is not None:
            return "node class left as it is"
    if was is not None:
        undo.world.cluster.apply(_object(EC2_NODE_CLASS, NODE_CLASS, was), MANAGER)
    else:
        undo.world.cluster.delete(EC2_NODE_CLASS, NODE_CLASS)
    return None


def _left_of_node_class(undo: Undo) -> list[str]:
    gone = undo.snapshot["node_class"] is not None or find(undo.world, EC2_NODE_CLASS, NODE_CLASS) is None
    return [] if gone else [f"EC2NodeClass {NODE_CLASS} still exists"]


def _pool_of(claim: Object) -> str:
    return str(claim["metadata"]["labels"][POOL_LABEL])


def _ours(thing: Object) -> bool:
    """Whether nobody but us and the controllers' status writes has set fields of the object's spec."""
    for entry in thing["metadata"].get("managedFields") or []:
        if entry["manager"] != MANAGER and "f:spec" in (entry.get("fieldsV1") or {}):
            return False
    return True


def _object(kind: Kind, name: str, spec: Object) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name}, "spec": spec}


# Queue and rules -------------------------------------------------------------------------------------------------


def _restore_feed(undo: Undo) -> str | None:
    queue_arn, queue = read_queue(undo.world)
    wrote = rules(undo.world.region.cluster, queue_arn)
    for name in dict.fromkeys([*undo.snapshot["rules"], *wrote]):
        _restore_rule(undo, name, wrote.get(name))
    _restore_queue(undo, queue, queue_attributes(queue_arn, undo.world.region.cluster))
    return "event rules and queue left to the pools that stay" if undo.kept else None


def _restore_rule(undo: Undo, name: str, wrote: Object | None) -> None:
    was, live = undo.snapshot["rules"].get(name), read_rule(undo.world, name)
    if live == was:
        return
    if live is None or not _is_written(live, wrote) or undo.kept:
        undo.report(_path("rules", name), was, live)
    elif was is None:
        _delete_rule(undo.world, name)
    else:
        write_rule(undo.world, name, was)


def _is_written(live: Object, wrote: Object | None) -> bool:
    """Whether a rule is as the lever writes it, its targets perhaps not yet or no more: they are written apart."""
    return wrote is not None and live["pattern"] == wrote["pattern"] and set(live["targets"]) <= set(wrote["targets"])


def _delete_rule(world: World, name: str) -> None:
    targets = [t["Id"] for t in world.aws.pages("events", "list_targets_by_rule", "Targets", Rule=name)]
    if targets:
        world.aws.call("events", "remove_targets", Rule=name, Ids=targets)
    world.aws.call("events", "delete_rule", Name=name)


def _restore_queue(undo: Undo, live: Mapping[str, str | None] | None, wrote: Mapping[str, str]) -> None:
    world, was = undo.world, undo.snapshot["queue"]
    if live is None or was is None:
        if live is None and was is not None:
            undo.report(_path("queue"), was, None)
        elif live is not None and undo.kept:
            undo.report(_path("queue"), None, dict(live))
        elif live is not None:
            world.aws.call("sqs", "delete_queue", QueueUrl=queue_url(world))
        return
    back: dict[str, str] = {}
    for name, value in wrote.items():
        if name in was and live.get(name) == was[name]:
            continue
        if name in was and live.get(name) == value and not undo.kept:
            back[name] = was[name] or ""  # an empty policy is none
        else:
            undo.report(_path("queue", name), was.get(name, "not in the snapshot"), live.get(name))
    if back:
        world.aws.call("sqs", "set_queue_attributes", QueueUrl=queue_url(world), Attributes=back)


# Proof -----------------------------------------------------------------------------------------------------------


def verify(world: World, snapshot: Mapping[str, Any]) -> list[Difference]:
    """What would still have to be set back, from live to snapshot: fields, nodes to go, nodes that are cordoned."""
    undo = Undo(world, snapshot)
    found = undo.deployments()
    live = read_live(world, found)
    return [
        *_fields(undo, live, found),
        *_node_group(undo, live),
        *_nodes(undo),
    ]


def _fields(undo: Undo, live: Mapping[str, Any], found: Mapping[str, Object]) -> Iterator[Difference]:
    was = undo.snapshot
    if live["queue"] is None or was["queue"] is None:
        yield from _differing(_path("queue"), live["queue"], was["queue"])
    else:
        for name, value in was["queue"].items():
            yield from _differing(_path("queue", name), live["queue"].get(name), value)
    yield from _differing(_path("node_class"), live["node_class"], was["node_class"])
    for part in ("rules", "node_pools"):
        for name in dict.fromkeys([*was[part], *live[part]]):
            now = read_rule(undo.world, name) if part == "rules" else live[part].get(name)
            yield from _differing(_path(part, name), now, was[part].get(name))
    for part in PARTS:
        for name in found:
            before = value_before(undo.world.estate, name, part, live[part][name], was)
            yield from _differing(_path(part, name), live[part][name], before)


def _node_group(undo: Undo, live: Mapping[str, Any]) -> Iterator[Difference]:
    was = undo.snapshot["node_group"]
    for size in ("minSize", "maxSize"):
        yield from _differing(_path("node_group", size), live["node_group"][size], was[size])
    if SIZE in undo.moved:
        return
    yield from _differing(SIZE, live["node_group"]["desiredSize"], was["desiredSize"])
    if live["node_group"]["desiredSize"] == was["desiredSize"]:
        yield from _differing(_path("node_group", "nodes"), live["nodes"], undo.snapshot["nodes"])


def _nodes(undo: Undo) -> Iterator[Difference]:
    for node in undo.world.cluster.list(NODE):
        fact = node_fact(node)
        # Nodes of a pool that still stands are there because it stands.
        if fact.node_pool in undo.created and find(undo.world, NODE_POOL, str(fact.node_pool)) is None:
            yield Difference(f"Node/{fact.name} of {fact.node_pool}", fact.instance_type, None)
        if CORDONED in (node["metadata"].get("annotations") or {}):
            yield Difference(f"Node/{fact.name} cordon", MANAGER, None)


def _differing(path: str, live: Any, was: Any) -> list[Difference]:
    return [] if live == was else [Difference(path, live, was)]


def _path(part: str, name: str = "") -> str:
    """The path under which plan, rollback and proof name a field."""
    return TITLES[part].format(name) if part in NAMED else f"{TITLES[part]} {name}".rstrip()
