"""The cost guard's eyes: the NodePool as it stands. The cap itself is the lever ``cost_cap``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from include.clients.kubernetes import DEPLOYMENT, NODE, NODE_POOL, POD, Cluster, owns
from include.cost.guard.decisions import MANAGER, Situation
from include.quantities import cores, mebibytes

POOL_LABEL = "karpenter.sh/nodepool"
LIMIT_PATH = ("f:spec", "f:limits", "f:cpu")
Object = dict[str, Any]


def read_situation(cluster: Cluster, region: str, pool: str, namespace: str) -> Situation:
    """The NodePool ``pool``, and what the replicas of ``namespace`` still wait for."""
    live = cluster.get(NODE_POOL, pool) if pool else None
    nodes = [node for node in cluster.list(NODE) if node["metadata"].get("labels", {}).get(POOL_LABEL) == pool]
    if live is None:
        return Situation(region, pool, False, None, _capacity(nodes), Decimal(0), _largest(nodes))
    limit = live.get("spec", {}).get("limits", {}).get("cpu")
    reported = live.get("status", {}).get("resources", {}).get("cpu")
    # Karpenter's own count also holds nodes that are on their way; the larger of the two is never too little.
    used = max(cores(reported or 0), _capacity(nodes))
    waiting = waiting_cpu(cluster.list(DEPLOYMENT, namespace), cluster.list(POD, namespace), nodes)
    owners = {"entries": limit_owners(live)}
    limit_cpu = None if limit is None else cores(limit)
    return Situation(region, pool, True, limit_cpu, used, waiting, _largest(nodes), owners)


def _capacity(nodes: Sequence[Object]) -> Decimal:
    return sum((cores(node["status"]["capacity"]["cpu"]) for node in nodes), Decimal(0))


def _largest(nodes: Sequence[Object]) -> Decimal:
    return max((cores(node["status"]["capacity"]["cpu"]) for node in nodes), default=Decimal(0))


def waiting_cpu(deployments: Sequence[Object], pods: Sequence[Object], nodes: Sequence[Object]) -> Decimal:
    """vCPU of node capacity that replicas without a node need, at the mix of CPU and memory of the pool's nodes."""
    cpu = memory = Decimal(0)
    for deployment in deployments:
        spec = deployment["spec"]
        labels = spec["selector"].get("matchLabels", {})
        mine = [pod for pod in pods if labels.items() <= pod["metadata"].get("labels", {}).items()]
        placed = sum(1 for pod in mine if pod["spec"].get("nodeName") and not pod["metadata"].get("deletionTimestamp"))
        missing = max(0, spec.get("replicas", 1) - placed)
        requests = [c.get("resources", {}).get("requests", {}) for c in spec["template"]["spec"]["containers"]]
        cpu += missing * sum((cores(r.get("cpu", 0)) for r in requests), Decimal(0))
        memory += missing * sum((mebibytes(r.get("memory", 0)) for r in requests), Decimal(0))
    if not cpu and not memory:
        return Decimal(0)
    return max(cpu * _per(nodes, cores, "cpu"), memory * _per(nodes, mebibytes, "memory"))


def _per(nodes: Sequence[Object], unit: Any, resource: str) -> Decimal:
    """vCPU of capacity that come with one allocatable unit of the resource on these nodes."""
    allocatable = sum((unit(node["status"]["allocatable"][resource]) for node in nodes), Decimal(0))
    if not allocatable:
        # Without a node nothing is known of the mix: a CPU needs a CPU, and 2 GiB come with one on c types.
        return Decimal(1) if resource == "cpu" else Decimal(1) / 2048
    return _capacity(nodes) / allocatable


def limit_owners(live: Object) -> list[Object]:
    """managedFields entries that own ``spec.limits.cpu``, without the guard's own."""
    entries = live["metadata"].get("managedFields") or []
    return [entry for entry in entries if owns(entry, LIMIT_PATH) and entry["manager"] != MANAGER]


def without_owners(situation: Situation) -> Situation:
    """The situation for a record that people read."""
    return replace(situation, owners=None)
