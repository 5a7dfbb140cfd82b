"""The cost guard's hands: the NodePool as it stands, the cap, and its undo."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from include.clients.kubernetes import DEPLOYMENT, NODE, NODE_POOL, POD, Cluster
from include.cost.focus import CostError
from include.cost.guard import CAP, MANAGER, Remedy, Situation, floor_of
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
    said = live.get("status", {}).get("resources", {}).get("cpu")
    # Karpenter's own count also holds nodes that are on their way; the larger of the two is never too little.
    used = max(cores(said or 0), _capacity(nodes))
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
    return [entry for entry in entries if _owns(entry) and entry["manager"] != MANAGER]


def _owns(entry: Mapping[str, Any]) -> bool:
    fields: Any = entry.get("fieldsV1") or {}
    for part in LIMIT_PATH:
        if part not in fields:
            return False
        fields = fields[part]
    return True


def prepare_cap(cluster: Cluster, remedy: Remedy, namespace: str) -> Object:
    """What :func:`apply_cap` and :func:`undo_cap` need, to be kept before the first write: old limit, its owners."""
    if remedy.kind != CAP or remedy.new_cpu is None:
        raise CostError(f"remedy {remedy.kind!r} is no cap: {remedy.text}")
    situation = read_situation(cluster, remedy.region, remedy.pool, namespace)
    return {
        "region": remedy.region,
        "pool": remedy.pool,
        "old_cpu": remedy.old_cpu,
        "new_cpu": remedy.new_cpu,
        "owners": copy.deepcopy((situation.owners or {}).get("entries", [])),
    }


def apply_cap(cluster: Cluster, record: Mapping[str, Any], namespace: str) -> None:
    """Cap the pool's CPU by server-side apply; may run twice.

    Looks again first: raises CostError when the limit was changed or the pool needs more than the cap by now.
    """
    region, pool, cap = record["region"], record["pool"], Decimal(record["new_cpu"])
    now = read_situation(cluster, region, pool, namespace)
    if now.is_pool and now.limit_cpu == cap:
        return
    if not now.is_pool or now.limit_cpu != _same(record["old_cpu"]):
        raise CostError(
            f"{region}: limits.cpu of NodePool {pool} is {now.limit_cpu} now, the approved cap was made for "
            f"{record['old_cpu']}: nothing was changed; let the guard look again"
        )
    if floor_of(now) > cap:
        raise CostError(
            f"{region}: NodePool {pool} needs {floor_of(now):.2f} vCPU by now, more than the cap of {cap:f}: "
            "nothing was changed; let the guard look again"
        )
    # Forced: the limit belongs to the rollout that built the pool, and the approval is for taking it over.
    cluster.apply(_limit(pool, record["new_cpu"]), MANAGER, force=True)


def _limit(pool: str, cpu: str | None) -> Object:
    spec = {} if cpu is None else {"limits": {"cpu": cpu}}
    return {"apiVersion": NODE_POOL.api_version, "kind": NODE_POOL.name, "metadata": {"name": pool}, "spec": spec}


def undo_cap(cluster: Cluster, record: Mapping[str, Any]) -> str:
    """Set the limit back and give the field back to who owned it; says what was done. May run twice.

    A limit that somebody else has changed since is reported and left alone.
    """
    pool, old, new = record["pool"], record["old_cpu"], record["new_cpu"]
    live = cluster.get(NODE_POOL, pool)
    if live is None:
        return f"NodePool {pool} is gone: nothing to undo"
    limit = live.get("spec", {}).get("limits", {}).get("cpu")
    now, before = _same(limit), _same(old)
    if now not in {_same(new), before}:
        return f"NodePool {pool} has limits.cpu {limit}, not the cap {new}: somebody changed it since, it is left alone"
    if now != before:
        live = cluster.apply(_limit(pool, old), MANAGER, force=True)
    handed = handed_back(live["metadata"].get("managedFields") or [], record["owners"])
    if handed != live["metadata"].get("managedFields"):
        # A stale version is refused: what was written in between would lose its owner.
        test = {"op": "test", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}
        cluster.patch(NODE_POOL, pool, [test, {"op": "replace", "path": "/metadata/managedFields", "value": handed}])
    return f"NodePool {pool} has limits.cpu {old or 'none'} again"


def _same(cpu: str | None) -> Decimal | None:
    return None if cpu is None else cores(cpu)


def handed_back(entries: Sequence[Object], owners: Sequence[Object]) -> list[Object]:
    """managedFields without the guard's entry, the CPU limit owned again by those who owned it before."""
    kept = [copy.deepcopy(entry) for entry in entries if entry["manager"] != MANAGER]
    for owner in owners:
        for entry in kept:
            if (entry["manager"], entry["operation"]) == (owner["manager"], owner["operation"]):
                limits = entry.setdefault("fieldsV1", {}).setdefault("f:spec", {}).setdefault("f:limits", {})
                limits.setdefault("f:cpu", {})
    return kept


def without_owners(situation: Situation) -> Situation:
    """The situation for a record that people read."""
    return replace(situation, owners=None)
