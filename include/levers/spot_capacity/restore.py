"""Back to the snapshot: first capacity, then the pods, then what carried them. Runs again after a crash anywhere.

What is not the lever's any more stays and is reported, by the path under which plan and proof name it too. What a
snapshot of an older release does not know was absent then, where it is exactly what the lever writes now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from include.clients.kubernetes import DEPLOYMENT, NODE_POOL, POD
from include.levers.events import EventRule
from include.levers.nodes import group, group_size
from include.levers.nodes.pools import claims_of, find, left_of, nodes_of, orphans, unsettled, users
from include.levers.nodes.specs import LEFT
from include.levers.nodes.waves import cordon, cordons, uncordon
from include.levers.owned import Thing
from include.levers.pods import unready
from include.levers.spot_capacity.live import CLASS_SPEC, live_feed, pool_spec
from include.levers.spot_capacity.settings import POOLS, World
from include.levers.spot_capacity.wanted import placing
from include.levers.workloads.placing import Placing, WayBack, is_hard
from include.levers.world import Object, name_of, standing
from include.rollout.lever import Difference, Restored, kept

# What a snapshot of any release has; a part that a later one added reads as nothing of it.
ESSENTIAL = ("queue", "rules", "node_class", "node_pools", "constraints", "node_group", "nodes")


@dataclass
class SpotUndo:
    """A way back under way: the snapshot, what was done, and what is left to others."""

    world: World
    snapshot: Mapping[str, Any]
    steps: list[str] = field(default_factory=list)
    others: list[Difference] = field(default_factory=list)
    needed_by: list[str] = field(default_factory=list)  # who still needs the pools

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
        return [name for name in POOLS.names if self.snapshot["node_pools"].get(name) is None]

    @cached_property
    def group(self) -> group_size.Before:
        """The node group as it was; what an autoscaler moves now, or moved before, is not set back."""
        was, floor = self.snapshot, self.snapshot.get("floor", self.world.region.node_group.floor)
        floor = 0 if group.is_right_sized(self.world) else floor  # then its minSize of 0 is a rollout's too
        moved = group.SIZE in (was.get("moving") or group.moving(self.world.cluster.list(POD)))
        idle = frozenset(was.get("out_of_use") or ())
        return group_size.Before(was["node_group"], was["nodes"], floor, idle, moved)

    def step(self, text: str, work: Callable[[SpotUndo], str | None]) -> None:
        """Do one step under the lock; what it gives back is what was done in place of ``text``."""
        self.world.target.fence()
        self.steps.append(work(self) or text)

    def holds(self, _: Object) -> list[str]:
        """Who keeps the pools, and what feeds them, from being taken away."""
        return self.needed_by

    def feed(self) -> list[tuple[Thing, Any]]:
        """Each rule and then the queue, with what the snapshot has of it."""
        queue, wrote = live_feed(self.world)[1]
        was = self.snapshot["rules"]
        rules = [(wrote.get(name, EventRule(name)), was.get(name)) for name in dict.fromkeys([*was, *wrote])]
        return [*rules, (queue, self.snapshot["queue"])]

    def deployments(self) -> dict[str, Object]:
        """Those of the workloads whose Deployment exists."""
        return standing(self.world, self.names)

    def placing(self, name: str) -> Placing:
        """What the lever adds to a Deployment."""
        return placing(self.world.estate, name)

    def backs(self) -> dict[str, WayBack]:
        """The way back of each Deployment that exists."""
        return {name: self.placing(name).way_back(live, self.snapshot) for name, live in self.deployments().items()}


def restore(world: World, snapshot: Mapping[str, Any]) -> Restored:
    """Set back every field of the snapshot that still has the value that the lever wrote; report the others."""
    undo = SpotUndo(world, snapshot)
    undo.step("node group has room for every pod", _restore_capacity)
    undo.step("it is known who needs the pools", _look_for_users)
    undo.step(f"nodes of {' and '.join(undo.created) or 'no pool'} take no pods", _cordon_pools)
    undo.step("node pools that were there before have their old spec", _restore_pools)
    undo.step("spread constraints and tolerations set back", _restore_placing)
    undo.step("all pods ready", _wait_complete)
    undo.step("new node pools and their nodes deleted", _delete_pools)
    undo.step("node class set back", _restore_node_class)
    undo.step("event rules and queue set back", _restore_feed)
    undo.step("all pods ready on what is left", _wait_end)
    return Restored(tuple(undo.steps), tuple(undo.others))


# Capacity and who needs the pools --------------------------------------------------------------------------------


def _restore_capacity(undo: SpotUndo) -> None:
    for node in group.nodes(undo.world):
        uncordon(undo.world, node)
    undo.others += group_size.restore(undo.world, undo.group, lambda: _need(undo))


def _need(undo: SpotUndo) -> group_size.Need:
    after = {name: back.after for name, back in undo.backs().items()}
    leaving = {n: found for n, found in after.items() if not is_hard(undo.placing(n).state(found)["constraints"])}
    return group_size.need_now(undo.world, leaving, undo.group.idle, undo.created, POOLS.spread)


def _look_for_users(undo: SpotUndo) -> None:
    """Who will need the pools when the workloads are set back: then the pools stay, and what feeds them."""
    world, space = undo.world, undo.world.estate.namespace
    if any(find(world, NODE_POOL, name) for name in undo.created):
        back = {(DEPLOYMENT.name, space, name): back.after for name, back in undo.backs().items()}
        undo.needed_by = users(world, POOLS, back)


# Pods ------------------------------------------------------------------------------------------------------------


def _restore_placing(undo: SpotUndo) -> None:
    found = undo.backs()
    for name in undo.names:
        if name not in found:
            undo.others.append(Difference(f"Deployment/{name}", "there", None))
            continue
        undo.others += found[name].others
        undo.placing(name).set_back(undo.world, found[name])


def _wait_complete(undo: SpotUndo) -> None:
    undo.world.wait_for(lambda: _incomplete(undo), "getting all pods ready")


def _incomplete(undo: SpotUndo) -> list[str]:
    # Where pools stay, their nodes have to settle too; where they go, Karpenter may drop nodes as it likes.
    claims = [] if undo.created else claims_of(undo.world, POOLS.names)
    return [*unready(undo.world, undo.deployments()), *unsettled(claims)]


def _wait_end(undo: SpotUndo) -> None:
    def missing() -> list[str]:
        leaving = [] if undo.needed_by else CLASS_SPEC.leaving(undo.world, undo.snapshot["node_class"])
        return [*_incomplete(undo), *undo.group.coming(undo.world), *leaving]

    undo.world.wait_for(missing, "getting all pods ready on what is left")


# Pools and node class --------------------------------------------------------------------------------------------


def _cordon_pools(undo: SpotUndo) -> str | None:
    for node in nodes_of(undo.world, undo.created):
        if undo.needed_by:
            uncordon(undo.world, node)
        else:
            cordon(undo.world, name_of(node))
    return "nodes of the new pools still take pods" if undo.needed_by else None


def _restore_pools(undo: SpotUndo) -> None:
    for name in reversed(POOLS.names):  # on demand first: it takes domains back before spot gives them up
        if name not in undo.created:
            pool_spec(name).restore(undo.world, undo.snapshot["node_pools"][name], undo.others)


def _delete_pools(undo: SpotUndo) -> str | None:
    world = undo.world
    pools = [name for name in undo.created if find(world, NODE_POOL, name)]
    if pools and not undo.needed_by:
        undo.needed_by = users(world, POOLS)  # as it is now, with all that is ours set back
        if undo.needed_by:
            _cordon_pools(undo)
    for name in pools:
        pool_spec(name).restore(world, None, undo.others, undo.holds)
    if undo.needed_by:
        return f"new node pools stay, and what feeds them: needed by {'; '.join(undo.needed_by)}"
    if world.cluster.serves(NODE_POOL):
        world.wait_for(lambda: left_of(world, undo.created), "deleting the new nodes")
    return None


def _restore_node_class(undo: SpotUndo) -> str | None:
    done = CLASS_SPEC.restore(undo.world, undo.snapshot["node_class"], undo.others, undo.holds)
    return "node class left as it is" if done == LEFT else None


def _restore_feed(undo: SpotUndo) -> str | None:
    for thing, was in undo.feed():
        thing.restore(undo.world, was, undo.others, undo.holds)
    return "event rules and queue left to the pools that stay" if undo.needed_by else None


# Proof -----------------------------------------------------------------------------------------------------------


def verify(world: World, snapshot: Mapping[str, Any]) -> list[Difference]:
    """What would still have to be set back, from live to snapshot: fields, nodes to go, nodes that are cordoned."""
    undo = SpotUndo(world, snapshot)
    pools = {**dict.fromkeys(POOLS.names), **snapshot["node_pools"]}
    specs = [(CLASS_SPEC, snapshot["node_class"]), *((pool_spec(name), was) for name, was in pools.items())]
    return [
        *(left for thing, was in (*undo.feed(), *specs) for left in thing.unrestored(world, was)),
        *(left for name, live in undo.deployments().items() for left in undo.placing(name).unrestored(live, snapshot)),
        *undo.group.unrestored(world),
        *orphans(world, undo.created),
        *cordons(world),
    ]
