"""The spread over capacity domains, brought back before nodes are packed.

The spread decides where a new pod goes; when replicas are scaled away nothing moves one, and a domain may be left with
too many. Surplus pods are evicted by the Eviction API, one after the other, each only where the spread gives the pod
that follows it another domain: those on demand, since spot is cheaper, and with ``even_domains`` those on spot. A
domain above the others takes none of its own pods back, so that none of its nodes could be packed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from include.levers.consolidation.settings import POOLS, World
from include.levers.node_costs import NodeFact, node_facts
from include.levers.pods import asks_to_stay, incomplete, is_of, is_ready, waiting, workload_pods
from include.levers.world import Object, deployments, name_of


def restore_spread(world: World, every: bool) -> dict[str, Any]:
    """Evict surplus pods until there is none: of domains on demand, or of ``every`` one; which, for the ledger.

    Stops after ``most_share_evictions``, and where the pod that follows has come back to the same domain, as it may
    without a spread of its own: the gate on the spot share judges what is left.
    """
    evicted: list[str] = []
    while len(evicted) < world.settings.most_share_evictions and (pod := next_surplus(world, every)):
        before = _standing(world)
        move_pod(world, name_of(pod), "to the domain that has fewest")
        evicted.append(name_of(pod))
        if _standing(world) == before:
            return {"evicted_for_spread": evicted, "came_back": evicted[-1]}
    return {"evicted_for_spread": evicted} if evicted else {}


def _standing(world: World) -> dict[str, Counter[str | None]]:
    """How many pods of each workload stand in each domain."""
    domains = {node.name: node.domain for node in node_facts(world)}
    pods = [pod for pod in workload_pods(world) if pod["spec"].get("nodeName") in domains]
    mine = {name: [pod for pod in pods if is_of(pod, name)] for name in world.estate.workloads}
    return {name: Counter(domains[pod["spec"]["nodeName"]] for pod in found) for name, found in mine.items()}


def next_surplus(world: World, every: bool = False) -> Object | None:
    """The pod of the region to evict next; None without one."""
    return surplus(world.estate.workloads, workload_pods(world), node_facts(world), every)


def surplus(
    workloads: Mapping[str, Any], pods: Sequence[Object], nodes: Sequence[NodeFact], every: bool = False
) -> Object | None:
    """The pod to evict next: of the domain on demand, or of ``every`` one, with most pods above the emptiest.

    None where no domain has two more of a workload than its emptiest: the pod that follows could come back to it.
    """
    pools = {node.name: node for node in nodes if node.node_pool in POOLS.names and node.domain}
    found = [one for name in workloads if (one := _surplus_of(name, pods, pools, every)) is not None]
    return max(found, key=lambda one: one[0])[1] if found else None


def _surplus_of(
    workload: str, pods: Sequence[Object], nodes: Mapping[str, NodeFact], every: bool
) -> tuple[tuple[int, bool, str], Object] | None:
    mine = [pod for pod in pods if is_of(pod, workload) and is_ready(pod) and pod["spec"].get("nodeName") in nodes]
    domains = {pod["metadata"]["name"]: nodes[pod["spec"]["nodeName"]] for pod in mine}
    counts = Counter({str(node.domain): 0 for node in nodes.values()})
    counts.update(str(node.domain) for node in domains.values())
    fewest = min(counts.values(), default=0)
    able = [pod for pod in mine if not asks_to_stay(pod) and (every or _on_demand(domains[name_of(pod)]))]
    above = {name_of(pod): counts[str(domains[name_of(pod)].domain)] - fewest for pod in able}
    order = {name: (above[name], _on_demand(domains[name]), name) for name in above}
    far = max((pod for pod in able if above[name_of(pod)] >= 2), key=lambda pod: order[name_of(pod)], default=None)
    return None if far is None else ((*order[name_of(far)][:2], workload), far)


def _on_demand(node: NodeFact) -> bool:
    return node.capacity != "spot"


def move_pod(world: World, name: str, why: str) -> None:
    """Evict one pod, and wait until every pod is ready again."""
    done: list[bool] = []

    def missing() -> list[str]:
        if not done:
            world.target.fence()
            if not world.cluster.evict(name, world.estate.namespace):
                return [f"pod {name} can't be evicted yet: its disruption budget has no room"]
            done.append(True)
            return [f"pod {name} was evicted"]  # whoever counts the pods has to see it first
        return [*incomplete(deployments(world)), *waiting(workload_pods(world))]

    world.wait_for(missing, f"moving pod {name}, {why}")
