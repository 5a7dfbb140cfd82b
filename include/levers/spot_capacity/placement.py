"""Where the pods are and where they should be: pure functions over Kubernetes objects."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from include.levers.common import NodeFact, Object
from include.levers.spot_capacity.plan import domain_names, pool_of
from include.levers.workloads import controller_of, is_finished


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is Ready and not ending."""
    conditions = pod.get("status", {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and not is_ending(pod)


def is_ending(thing: Mapping[str, Any]) -> bool:
    """Whether an object is being deleted."""
    return bool(thing["metadata"].get("deletionTimestamp"))


def is_of(pod: Mapping[str, Any], deployment: str) -> bool:
    """Whether a pod is a Deployment's own, whatever its labels say: one of its ReplicaSets made it."""
    maker = controller_of(pod)
    return maker is not None and maker["kind"] == "ReplicaSet" and str(maker["name"]).rpartition("-")[0] == deployment


def own_pods(pods: Iterable[Object], deployments: Iterable[str]) -> list[Object]:
    """The Deployments' own pods that run, wait or end; what is left of evicted or finished ones doesn't count."""
    names = list(deployments)
    return [pod for pod in pods if not is_finished(pod) and any(is_of(pod, name) for name in names)]


def incomplete(deployments: Mapping[str, Object]) -> list[str]:
    """Deployments whose pods aren't all of the newest revision and ready; one line each."""
    missing = []
    for name, deployment in deployments.items():
        status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
        seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        done = min(status.get("updatedReplicas", 0), status.get("readyReplicas", 0), status.get("availableReplicas", 0))
        if not seen or done < wanted or status.get("replicas", 0) > wanted:
            missing.append(f"Deployment {name}: {done if seen else 0} of {wanted} pods updated and ready")
    return missing


def misplaced(
    deployments: Mapping[str, Object],
    pods: Sequence[Object],
    nodes: Mapping[str, NodeFact],
    domains: int,
    spot_domains: int,
) -> list[str]:
    """Workloads that have pods outside the pools of the ``domains``, or on the pool of another domain; one line each.

    How even they are spread is not asked: the constraint holds when a pod is placed, and nothing moves one when others
    are scaled away.
    """
    missing = []
    for name in deployments:
        wrong = 0
        for pod in own_pods(pods, [name]):
            node = nodes.get(pod["spec"].get("nodeName", ""))
            domain = node.domain if node is not None and node.domain in domain_names(domains) else None
            if not is_ending(pod) and (
                domain is None or node is None or node.node_pool != pool_of(domain, spot_domains)
            ):
                wrong += 1
        if wrong:
            missing.append(f"{wrong} pods of {name} are not on the pool of their domain")
    return missing


def waiting(pods: Iterable[Object]) -> list[str]:
    """What the scheduler says of pods that it has no node for, one line for each thing that it says."""
    told: dict[str, list[str]] = {}
    for pod in pods:
        conditions = pod.get("status", {}).get("conditions") or []
        refused = next((c for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"), None)
        if refused is not None and refused.get("message") and not is_ending(pod):
            told.setdefault(refused["message"], []).append(pod["metadata"]["name"])
    return [
        f"{len(names)} pods wait for a node ({names[0]}{' ...' if len(names) > 1 else ''}): {message}"
        for message, names in told.items()
    ]


def pods_by_zone(pods: Iterable[Object], nodes: Iterable[NodeFact]) -> dict[str, int]:
    """How many of the pods that have a node, and aren't ending, stand in each zone; by the zone's name."""
    zones = {node.name: node.zone for node in nodes}
    placed = [zones.get(pod["spec"].get("nodeName", "")) for pod in pods if not is_ending(pod)]
    return dict(sorted(Counter(zone for zone in placed if zone).items()))


def unsettled(claims: Iterable[Object]) -> list[str]:
    """NodeClaims that are drifted, ending or not ready yet; one line each."""
    missing = []
    for claim in claims:
        conditions = {c["type"]: c["status"] for c in claim.get("status", {}).get("conditions") or []}
        name = claim["metadata"]["name"]
        if is_ending(claim):
            missing.append(f"NodeClaim {name} is ending")
        elif conditions.get("Drifted") == "True":
            missing.append(f"NodeClaim {name} has drifted and waits for its replacement")
        elif conditions.get("Ready") != "True":
            missing.append(f"NodeClaim {name} is not ready")
    return missing


def pending_seconds(pods: Iterable[Object], now: float, since: float) -> list[float]:
    """How long each pod that waited for a node after ``since`` has waited, in seconds; times are Unix seconds."""
    waits = []
    for pod in pods:
        created = unix(pod["metadata"]["creationTimestamp"])
        scheduled = next(
            (c for c in pod.get("status", {}).get("conditions") or [] if c["type"] == "PodScheduled"), None
        )
        placed = scheduled is not None and scheduled["status"] == "True"
        if not placed and pod["spec"].get("nodeName"):
            continue  # bound by hand: it never waited for the scheduler
        end = unix(scheduled["lastTransitionTime"]) if scheduled is not None and placed else now
        if end >= since:
            waits.append(max(0.0, end - created))
    return waits


def unix(timestamp: str) -> float:
    """Unix seconds of a Kubernetes timestamp."""
    return dt.datetime.fromisoformat(timestamp).timestamp()


def choose_victim(nodes: Iterable[NodeFact], pods: Sequence[Object], unusable: frozenset[str]) -> NodeFact | None:
    """The spot node with most AkiDB pods, the first by name among equals; None when there is no usable spot node."""
    counts = Counter(pod["spec"].get("nodeName", "") for pod in pods if not is_ending(pod))
    spot = [n for n in nodes if n.capacity == "spot" and n.node_pool and n.name not in unusable]
    return min(spot, key=lambda n: (-counts[n.name], n.name), default=None)


def choose_surplus(
    group_nodes: Sequence[Object], system_pods: Mapping[str, int], floor: int, stuck: Mapping[str, int] | None = None
) -> list[Object]:
    """Node-group nodes beyond the floor: those already cordoned first, then those with fewest other pods.

    Nodes with ``stuck`` pods, which a drain must not evict, are kept before all others.
    """

    def order(node: Object) -> tuple[bool, int, int, str]:
        name = str(node["metadata"]["name"])
        return not node["spec"].get("unschedulable", False), (stuck or {}).get(name, 0), system_pods.get(name, 0), name

    return sorted(group_nodes, key=order)[: max(0, len(group_nodes) - floor)]


def shares(
    nodes: Sequence[NodeFact], pods: Sequence[Object], node_group: str, floor: int
) -> tuple[float | None, float | None]:
    """Spot share by ready pods and by vCPU. The node group's floor doesn't count; None without pods or vCPUs."""
    spot = {n.name for n in nodes if n.capacity == "spot"}
    placed = [pod["spec"].get("nodeName") for pod in pods if is_ready(pod)]
    by_pods = sum(name in spot for name in placed) / len(placed) if placed else None
    group = sorted(n.vcpu for n in nodes if n.node_group == node_group)
    counted = sum(n.vcpu for n in nodes if n.node_group != node_group) + sum(group[floor:])
    return by_pods, sum(n.vcpu for n in nodes if n.name in spot) / counted if counted else None
