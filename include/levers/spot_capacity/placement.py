"""Where the pods are and where they should be: pure functions over Kubernetes objects."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from include.levers.common import NodeFact, Object
from include.levers.spot_capacity.plan import balanced, domain_names, pool_of


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is Ready and not ending."""
    conditions = pod.get("status", {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and not is_ending(pod)


def is_ending(thing: Mapping[str, Any]) -> bool:
    """Whether an object is being deleted."""
    return bool(thing["metadata"].get("deletionTimestamp"))


def workload_of(pod: Mapping[str, Any]) -> str:
    """The workload that a pod belongs to."""
    return str(pod["metadata"].get("labels", {}).get("app", ""))


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
    """Pods outside the pool of their domain, and workloads whose pods are not evenly spread; one line each."""
    missing = []
    for name, deployment in deployments.items():
        counts: Counter[str] = Counter()
        wrong = 0
        for pod in pods:
            if workload_of(pod) != name or is_ending(pod):
                continue
            node = nodes.get(pod["spec"].get("nodeName", ""))
            if node is None or node.domain is None or node.node_pool != pool_of(node.domain, spot_domains):
                wrong += 1
            else:
                counts[node.domain] += 1
        if wrong:
            missing.append(f"{wrong} pods of {name} are not on the pool of their domain")
        found = sorted((counts[domain] for domain in domain_names(domains)), reverse=True)
        wanted = balanced(deployment["spec"].get("replicas", 1), domains)
        if not wrong and found != wanted:
            missing.append(f"{name}: {_listed(found)} pods in the {domains} domains, wanted {_listed(wanted)}")
    return missing


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


def choose_surplus(group_nodes: Sequence[Object], system_pods: Mapping[str, int], floor: int) -> list[Object]:
    """Node-group nodes beyond the floor: those already cordoned first, then those with fewest other pods."""

    def order(node: Object) -> tuple[bool, int, str]:
        name = str(node["metadata"]["name"])
        return not node["spec"].get("unschedulable", False), system_pods.get(name, 0), name

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


def _listed(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts))
