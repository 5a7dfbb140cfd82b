"""Node pools that a lever keeps for the workloads: who needs them, who may run there, and how their nodes settle."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from include.clients.kubernetes import (
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    NODE,
    NODE_CLAIM,
    POD,
    REPLICA_SET,
    STATEFUL_SET,
    ForbiddenError,
    Kind,
    NotServedError,
)
from include.clients.kubernetes import NODE_POOL as NODE_POOLS
from include.levers.node_costs import node_fact
from include.levers.nodes.scheduling import NODE_GROUP, NODE_POOL, affinity_terms, labels_of, tolerates
from include.levers.pods import controller_of, evictable, is_ending, is_finished, namespace_of, origin_of
from include.levers.world import Object, World, name_of
from include.rollout.lever import Difference

# What makes pods, and who makes it in turn: only the topmost is somebody's to change.
TEMPLATES = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob")
MADE_FROM = {"ReplicaSet": ("Deployment",), "Job": ("CronJob",), "Pod": (*TEMPLATES, "Node")}
TEMPLATE_KINDS = (DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET, JOB, CRON_JOB, POD)
Key = tuple[str, str, str]  # kind, namespace, name


@dataclass(frozen=True)
class Pools:
    """NodePools by name, the key of the taint on their nodes, and the label that pods are spread over there."""

    names: tuple[str, ...]
    taint: str
    spread: str

    @property
    def taints(self) -> tuple[Mapping[str, str], ...]:
        """What every node of the pools carries."""
        return ({"key": self.taint, "effect": "NoSchedule"},)

    def needed_by(self, kind: str, spec: Mapping[str, Any]) -> str:
        """Why pods of this spec could run on the pools' nodes only; empty when they could run elsewhere.

        A DaemonSet that tolerates the taint follows the nodes that there are; anything else that names the taint was
        put on these nodes on purpose.
        """
        for constraint in spec.get("topologySpreadConstraints") or []:
            if constraint["topologyKey"] == self.spread and constraint["whenUnsatisfiable"] == "DoNotSchedule":
                return f"spreads over {self.spread}"
        for key, value in (spec.get("nodeSelector") or {}).items():
            if key == self.spread or (key == NODE_POOL and value in self.names):
                return f"nodeSelector {key}"
        terms = affinity_terms(spec)
        if terms and all(any(map(self._asked_for, term)) for term in terms):
            return "node affinity to the pools"
        near = (spec.get("affinity") or {}).get("podAffinity") or {}
        required = near.get("requiredDuringSchedulingIgnoredDuringExecution") or []
        if any(term["topologyKey"] == self.spread for term in required):
            return f"pod affinity over {self.spread}"
        named = any(toleration.get("key") == self.taint for toleration in spec.get("tolerations") or [])
        return f"tolerates {self.taint}" if named and kind != "DaemonSet" else ""

    def _asked_for(self, expression: Mapping[str, Any]) -> bool:
        key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
        if key == self.spread:
            return operator not in ("NotIn", "DoesNotExist")
        return key == NODE_POOL and operator == "In" and set(values) <= set(self.names)

    def shut_out(self, daemon_sets: Iterable[Object]) -> list[str]:
        """``namespace/name`` of the DaemonSets that will not run on the pools' nodes: they don't tolerate the taint."""
        specs = {f"{namespace_of(item)}/{name_of(item)}": item["spec"]["template"]["spec"] for item in daemon_sets}
        return sorted(name for name, spec in specs.items() if not tolerates(spec, self.taints) and not is_tied(spec))

    def guests(self, pods: Iterable[Object]) -> list[str]:
        """Whose pods (see origin_of) may run on the pools' nodes, among ``pods`` of others; DaemonSets don't count."""
        tolerant = (p for p in pods if evictable(p) and tolerates(p["spec"], self.taints) and not is_tied(p["spec"]))
        return sorted({origin_of(pod) for pod in tolerant})


def is_tied(spec: Mapping[str, Any]) -> bool:
    """Whether the spec names a node group that its pods must run on."""
    terms = affinity_terms(spec)
    by_affinity = bool(terms) and all(any(e["key"] == NODE_GROUP for e in term) for term in terms or [])
    return NODE_GROUP in (spec.get("nodeSelector") or {}) or by_affinity


# Who needs them --------------------------------------------------------------------------------------------------


def users(world: World, pools: Pools, back: Mapping[Key, Object] | None = None) -> list[str]:
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
        replaced = [(back or {}).get((item["kind"], namespace_of(item), name_of(item)), item) for item in things]
        specs = ((title, pools.needed_by(kind.name, spec)) for title, spec in pod_specs(replaced))
        found += [f"{title} ({reason})" for title, reason in specs if reason]
    return found


def pod_specs(things: Iterable[Object]) -> list[tuple[str, Object]]:
    """``("Deployment akidb/akidb-rest", pod spec)`` of everything that makes pods, and of pods that nothing known made.

    What has finished needs no node any more and is left out.
    """
    found = []
    for thing in things:
        kind, spec, maker = thing["kind"], thing["spec"], controller_of(thing)
        if (maker is not None and maker["kind"] in MADE_FROM.get(kind, ())) or _has_finished(thing):
            continue
        if kind == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        inner = spec if kind == "Pod" else spec["template"]["spec"]
        found.append((f"{kind} {namespace_of(thing)}/{name_of(thing)}", inner))
    return found


def _has_finished(thing: Object) -> bool:
    if thing["kind"] == "Pod":
        return is_finished(thing)
    conditions = (thing.get("status") or {}).get("conditions") or []
    done = any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)
    return thing["kind"] == "Job" and done


# What Karpenter has ----------------------------------------------------------------------------------------------


def find(world: World, kind: Kind, name: str) -> Object | None:
    """The object of a kind that may have gone with its definition."""
    try:
        return world.cluster.get(kind, name)
    except NotServedError:
        return None


def pools_of_others(world: World, pools: Pools) -> list[Object]:
    """The NodePools that aren't among ``pools``; none when their definition is gone."""
    try:
        return [pool for pool in world.cluster.list(NODE_POOLS) if name_of(pool) not in pools.names]
    except NotServedError:
        return []


def claims_of(world: World, names: Iterable[str]) -> list[Object]:
    """NodeClaims of these pools; none when their definition is gone."""
    try:
        return world.cluster.list(NODE_CLAIM, labels=f"{NODE_POOL} in ({','.join(names)})")
    except NotServedError:
        return []


def nodes_of(world: World, names: Collection[str]) -> list[Object]:
    """Nodes of these pools."""
    found = world.cluster.list(NODE, labels=NODE_POOL)
    return [node for node in found if labels_of(node).get(NODE_POOL) in names]


def left_of(world: World, names: Collection[str]) -> list[str]:
    """What still stands of pools that were deleted: themselves, their claims and nodes, a line each."""
    left = [f"NodePool {name}" for name in names if find(world, NODE_POOLS, name)]
    left += [f"NodeClaim {name_of(claim)}" for claim in claims_of(world, names)]
    left += [f"node {name_of(node)}" for node in nodes_of(world, names)]
    return [f"{thing} still exists" for thing in left]


def orphans(world: World, names: Collection[str]) -> list[Difference]:
    """Nodes of pools that don't stand any more: those of a pool that does are there because it stands."""
    gone = [name for name in names if find(world, NODE_POOLS, name) is None]
    facts = map(node_fact, nodes_of(world, gone) if gone else [])
    return [Difference(f"Node/{fact.name} of {fact.node_pool}", fact.instance_type, None) for fact in facts]


def unsettled(claims: Iterable[Object]) -> list[str]:
    """NodeClaims that are drifted, ending or not ready yet; one line each."""
    missing = []
    for claim in claims:
        conditions = {c["type"]: c["status"] for c in claim.get("status", {}).get("conditions") or []}
        if is_ending(claim):
            missing.append(f"NodeClaim {name_of(claim)} is ending")
        elif conditions.get("Drifted") == "True":
            missing.append(f"NodeClaim {name_of(claim)} has drifted and waits for its replacement")
        elif conditions.get("Ready") != "True":
            missing.append(f"NodeClaim {name_of(claim)} is not ready")
    return missing
