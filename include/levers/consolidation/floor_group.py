"""The small managed node group for the system pods, as an owned thing: made like the old one, drained and deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.clients.aws import AwsRefusedError
from include.clients.kubernetes import POD
from include.levers import terraform
from include.levers.consolidation.floor_size import Size
from include.levers.nodes import group
from include.levers.nodes.rooms import takes_pods
from include.levers.nodes.scheduling import NODE_GROUP, ZONE, labels_of
from include.levers.nodes.waves import cordon, drain, uncordon, wait_gone
from include.levers.owned import Holds, Report
from include.levers.pods import evictable, is_ending, namespace_of
from include.levers.world import Object, World, name_of
from include.rollout.export import Export
from include.rollout.lever import Difference, Json, NotConverged, Refused

KIND = "NodeGroup"
MADE_BY = "akidb.io/made-by"  # tag: the field manager of the lever that made it
ZONES = 2  # in which its nodes stand at least
# Whose settings the new group takes over; a launch template says what its own fields say besides.
COPIED = ("subnets", "nodeRole", "labels", "capacityType")
OF_AN_IMAGE = ("amiType", "version", "releaseVersion")


def read(world: World, name: str) -> Object | None:
    """A node group as EKS describes it, None when there is none of the name."""
    try:
        return group.describe(world, name)
    except AwsRefusedError as error:
        if error.code != "ResourceNotFoundException":
            raise
        return None


def is_ours(world: World, live: Mapping[str, Any]) -> bool:
    """Whether this lever has made it."""
    return bool((live.get("tags") or {}).get(MADE_BY) == world.manager)


def request(old: Mapping[str, Any], size: Size, manager: str) -> Object:
    """What EKS is asked for, but for the names: like the group ``old``, without its taints, of another size."""
    tags = {key: value for key, value in (old.get("tags") or {}).items() if not key.startswith(("aws:", "eks:"))}
    sizes = {"minSize": size.count, "desiredSize": size.count, "maxSize": size.count + 1}
    made = {key: old[key] for key in COPIED if old.get(key)}
    made |= {"instanceTypes": [size.instance_type], "scalingConfig": sizes, "tags": {**tags, MADE_BY: manager}}
    template = old.get("launchTemplate")
    if template:
        made["launchTemplate"] = {key: template[key] for key in ("id", "version") if key in template}
    else:
        made |= {key: old[key] for key in ("remoteAccess",) if old.get(key)}
        made |= {"diskSize": int(old["diskSize"])} if old.get("diskSize") else {}
    if old.get("amiType") != "CUSTOM":
        made |= {key: old[key] for key in OF_AN_IMAGE if old.get(key)}
    return made


@dataclass(frozen=True)
class SystemNodes:
    """The small group, as :class:`include.levers.owned.Thing`; ``size`` is what it is made with."""

    name: str
    size: Size | None = None
    wanted: bool = True

    @property
    def key(self) -> str:
        """``NodeGroup akidb-system``."""
        return f"{KIND} {self.name}"

    def entry(self, world: World) -> Json:
        """Its types and whether it is the lever's; None when it doesn't exist."""
        live = read(world, self.name)
        return live and {"instance_types": live.get("instanceTypes"), "ours": is_ours(world, live)}

    def unnamed(self, world: World) -> list[Json]:
        """See :class:`include.levers.owned.Thing`."""
        live = read(world, self.name)
        return [None] if live and is_ours(world, live) else []

    def differences(self, entry: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        return [] if entry else [Difference(self.key, None, str(self.size))]

    def write(self, world: World, dry_run: bool = False) -> bool:
        """Make it, and wait until its nodes take pods. One that stands keeps its type. EKS has no dry run."""
        if dry_run:
            return False
        live = _settled(world, self.name)
        if live is None:
            live = self._make(world)
        if not is_ours(world, live):
            raise Refused(
                f"{world.place}: node group {self.name} exists and was not made by this lever: name another one in "
                "node_group.system.name of estate.yaml, or delete it"
            )
        world.wait_for(lambda: self._missing(world), f"the nodes of {self.name}")
        return True

    def _make(self, world: World) -> Object:
        if self.size is None:
            raise Refused(f"{world.place}: no size is known for node group {self.name}: preflight says why")
        asked = request(group.describe(world), self.size, world.manager)
        world.target.fence()
        answer = world.aws.call("eks", "create_nodegroup", **group.where(world, self.name), **asked)
        made: Object = answer["nodegroup"]
        return made

    def _missing(self, world: World) -> list[str]:
        live = read(world, self.name) or {"status": "gone", "scalingConfig": {}}
        if live["status"] == "CREATE_FAILED":
            raise Refused(f"{world.place}: node group {self.name} could not be made: {_issues(live)}")
        nodes = [node for node in group.nodes(world, self.name) if takes_pods(node)]
        wanted, zones = int(live["scalingConfig"].get("desiredSize", 1)), {labels_of(node).get(ZONE) for node in nodes}
        found = [] if live["status"] in ("ACTIVE", "DEGRADED") else [f"it is {live['status']}"]
        found += [f"{len(nodes)} of {wanted} nodes ready"] if len(nodes) < wanted else []
        return found or ([f"its nodes are in {len(zones)} zone, not in {ZONES}"] if len(zones) < ZONES else [])

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """See :class:`include.levers.owned.Thing`: drain it and delete it, unless it stood before or pods need it."""
        del held
        live = read(world, self.name) if was is None else None
        if live is None:
            # A rollback that was cut short may have deleted it: its nodes go a moment later.
            wait_gone(world, [name_of(node) for node in group.nodes(world, self.name)] if was is None else [])
            return None
        if not is_ours(world, live):
            report.append(Difference(self.key, None, "made by somebody else"))
            return None
        if needed := _needed_by(world, self.name):
            report.append(Difference(self.key, None, f"needed by {'; '.join(needed)}"))
            for node in group.nodes(world, self.name):
                uncordon(world, node)
            return None
        self.close(world)
        nodes = [name_of(node) for node in group.nodes(world, self.name)]
        drain(world, nodes)
        self._delete(world)
        wait_gone(world, nodes)
        return "deleted"

    def close(self, world: World) -> None:
        """Let its nodes take no more pods: what leaves them must not come back to them."""
        live = read(world, self.name)
        for node in group.nodes(world, self.name) if live and is_ours(world, live) else ():
            world.target.fence()
            cordon(world, name_of(node))

    def _delete(self, world: World) -> None:
        busy = ("CREATING", "UPDATING")
        world.await_cloud(
            lambda: [f"it is {now['status']}"] if (now := read(world, self.name)) and now["status"] in busy else [],
            f"node group {self.name} being at rest",
        )
        live = read(world, self.name)
        if live and live["status"] != "DELETING":
            world.target.fence()
            world.aws.call("eks", "delete_nodegroup", **group.where(world, self.name))
        world.await_cloud(lambda: _still(world, self.name), f"deleting node group {self.name}")

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        live = read(world, self.name) if was is None else None
        return [Difference(self.key, "exists", None)] if live and is_ours(world, live) else []

    def export(self, world: World, was: Json) -> Export:
        """See :class:`include.levers.owned.Thing`."""
        del was
        if self.size is None:
            return Export()
        asked = request(group.describe(world), self.size, world.manager)
        exists, region = read(world, self.name) is not None, world.target.region
        found = terraform.node_group(world.region.cluster, self.name, asked, region, exists=exists)
        return Export(resources=(found,))


def _settled(world: World, name: str) -> Object | None:
    """The group once an earlier rollback's deletion of it has ended."""
    world.await_cloud(
        lambda: _still(world, name) if (read(world, name) or {}).get("status") == "DELETING" else [],
        f"the deletion of node group {name}",
    )
    return read(world, name)


def _still(world: World, name: str) -> list[str]:
    live = read(world, name)
    if live and live["status"] == "DELETE_FAILED":
        raise NotConverged(f"{world.place}: node group {name} could not be deleted: {_issues(live)}")
    return [f"it is {live['status']}"] if live else []


def _issues(live: Mapping[str, Any]) -> str:
    issues = (live.get("health") or {}).get("issues") or []
    return "; ".join(f"{issue.get('code')}: {issue.get('message')}" for issue in issues) or "EKS gives no reason"


def _needed_by(world: World, name: str) -> list[str]:
    """Pods on its nodes that may run on no others."""
    nodes = {name_of(node) for node in group.nodes(world, name)}
    pods = (pod for pod in world.cluster.list(POD) if pod["spec"].get("nodeName") in nodes)
    tied = (pod for pod in pods if (pod["spec"].get("nodeSelector") or {}).get(NODE_GROUP) == name)
    return [f"{namespace_of(pod)}/{name_of(pod)}" for pod in tied if evictable(pod) and not is_ending(pod)]
