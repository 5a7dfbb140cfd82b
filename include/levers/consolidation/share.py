"""The spot share, brought back before nodes are packed.

The spread over capacity domains decides where a new pod goes; when replicas are scaled away nothing moves one, and the
pods on demand may be left over. They are evicted by the Eviction API, one after the other, each only where the spread
gives the pod that follows it another domain. Also where the share is reached: spot is cheaper, and while a domain has
too many pods the spread lets no other take those of a node that could go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from include.levers.consolidation.settings import POOLS, World
from include.levers.node_costs import NodeFact, node_facts
from include.levers.pods import asks_to_stay, incomplete, is_of, is_ready, waiting, workload_pods
from include.levers.world import Object, deployments, name_of


def restore_share(world: World) -> dict[str, Any]:
    """Evict surplus pods on demand until there is none; which, for the ledger.

    Stops after ``most_share_evictions``: the gate on the share judges what is left.
    """
    evicted: list[str] = []
    while len(evicted) < world.settings.most_share_evictions and (pod := next_surplus(world)):
        move_pod(world, name_of(pod), "from on demand to spot")
        evicted.append(name_of(pod))
    return {"evicted_for_spot_share": evicted} if evicted else {}


def next_surplus(world: World) -> Object | None:
    """The pod of the region to evict next; None without one."""
    return surplus(world.estate.workloads, workload_pods(world), node_facts(world))


def surplus(workloads: Mapping[str, Any], pods: Sequence[Object], nodes: Sequence[NodeFact]) -> Object | None:
    """The pod to evict next: of the workload whose domain on demand has most pods above its emptiest domain.

    None where no domain on demand has two more than the emptiest: the pod that follows could come back to it.
    """
    pools = {node.name: node for node in nodes if node.node_pool in POOLS.names and node.domain}
    found = [one for name in workloads if (one := _surplus_of(name, pods, pools)) is not None]
    return max(found, key=lambda one: one[0])[1] if found else None


def _surplus_of(
    workload: str, pods: Sequence[Object], nodes: Mapping[str, NodeFact]
) -> tuple[tuple[int, str], Object] | None:
    mine = [pod for pod in pods if is_of(pod, workload) and is_ready(pod) and pod["spec"].get("nodeName") in nodes]
    domains = {pod["metadata"]["name"]: nodes[pod["spec"]["nodeName"]] for pod in mine}
    counts = Counter({str(node.domain): 0 for node in nodes.values()})
    counts.update(str(node.domain) for node in domains.values())
    fewest = min(counts.values(), default=0)
    able = [pod for pod in mine if domains[name_of(pod)].capacity != "spot" and not asks_to_stay(pod)]
    above = {name_of(pod): counts[str(domains[name_of(pod)].domain)] - fewest for pod in able}
    far = sorted((pod for pod in able if above[name_of(pod)] >= 2), key=lambda pod: (above[name_of(pod)], name_of(pod)))
    return ((above[name_of(far[-1])], workload), far[-1]) if far else None


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
