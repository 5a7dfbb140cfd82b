"""The spread over capacity domains, brought back before nodes are packed.

The spread decides where a new pod goes; when replicas are scaled away nothing moves one, and a domain may be left with
too many. Surplus pods are evicted by the Eviction API, of a workload one after the other, each only where the spread
gives the pod that follows it another domain: those on demand, since spot is cheaper, and with ``even_domains`` those on
spot. A domain above the others takes none of its own pods back, so that none of its nodes could be packed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from include.levers.consolidation.fleet import offered_domains
from include.levers.consolidation.settings import POOLS, World
from include.levers.node_costs import SPREAD, NodeFact, node_facts
from include.levers.nodes.scheduling import least_domains
from include.levers.pods import asks_to_stay, incomplete, is_of, is_ready, waiting, workload_pods
from include.levers.world import Object, deployments, name_of


def restore_spread(world: World, every: bool) -> dict[str, Any]:
    """Evict surplus pods until there is none: of domains on demand, or of ``every`` one; which, for the ledger.

    One of each workload at the same time: the spread of one doesn't count another's pods. Stops after
    ``most_share_evictions``, and for a workload whose pod that follows has come back to the same domain, as it may
    without a spread of its own: the gate on the spot share judges what is left.
    """
    evicted, came_back, offered = list[str](), dict[str, str](), offered_domains(world, every)
    while pods := _next(world, every, offered, world.settings.most_share_evictions - len(evicted), came_back):
        before = _standing(world)
        move_pods(world, list(pods.values()), "to the domains that have fewest")
        after = _standing(world)
        evicted += pods.values()
        came_back |= {workload: name for workload, name in pods.items() if after[workload] == before[workload]}
    made = {"evicted_for_spread": evicted, "came_back": list(came_back.values())}
    return {key: names for key, names in made.items() if names}


def _next(world: World, every: bool, offered: Collection[str], most: int, without: Collection[str]) -> dict[str, str]:
    """The pod to evict next of each workload but those ``without``, by name; at most so many."""
    found = surpluses(world.estate.workloads, workload_pods(world), node_facts(world), every, offered)
    return dict([(workload, name_of(pod)) for workload, pod in found.items() if workload not in without][:most])


def _standing(world: World) -> dict[str, Counter[str | None]]:
    """How many pods of each workload stand in each domain."""
    domains = {node.name: node.domain for node in node_facts(world)}
    pods = [pod for pod in workload_pods(world) if pod["spec"].get("nodeName") in domains]
    mine = {name: [pod for pod in pods if is_of(pod, name)] for name in world.estate.workloads}
    return {name: Counter(domains[pod["spec"]["nodeName"]] for pod in found) for name, found in mine.items()}


def has_surplus(world: World) -> bool:
    """Whether the spread would not put a pod on demand there again."""
    pods, nodes = workload_pods(world), node_facts(world)
    return bool(surpluses(world.estate.workloads, pods, nodes, offered=offered_domains(world, every=False)))


def surpluses(
    workloads: Mapping[str, Any],
    pods: Sequence[Object],
    nodes: Sequence[NodeFact],
    every: bool = False,
    offered: Collection[str] = (),
) -> dict[str, Object]:
    """The pod of each workload to evict next, the workload with most first: of the domain on demand, or of ``every``
    one, with most pods above the emptiest.

    A workload that has no domain with two more than its emptiest is left out: its pod could come back. One of the
    ``offered`` domains that has no node counts where the pods ask for so many (minDomains): the next pod waits for a
    node there.
    """
    pools = {node.name: node for node in nodes if node.node_pool in POOLS.names and node.domain}
    found = {name: one for name in workloads if (one := _surplus_of(name, pods, pools, every, offered)) is not None}
    return {name: found[name][1] for name in sorted(found, key=lambda name: found[name][0], reverse=True)}


def _surplus_of(
    workload: str, pods: Sequence[Object], nodes: Mapping[str, NodeFact], every: bool, offered: Collection[str]
) -> tuple[tuple[int, bool, str], Object] | None:
    mine = [pod for pod in pods if is_of(pod, workload) and is_ready(pod) and pod["spec"].get("nodeName") in nodes]
    domains = {pod["metadata"]["name"]: nodes[pod["spec"]["nodeName"]] for pod in mine}
    counts = Counter({str(node.domain): 0 for node in nodes.values()})
    counts.update(str(node.domain) for node in domains.values())
    asked = max((least_domains(pod["spec"], SPREAD) for pod in mine), default=1)
    is_one_to_come = len(counts) < asked and any(domain not in counts for domain in offered)
    fewest = 0 if is_one_to_come else min(counts.values(), default=0)
    able = [pod for pod in mine if not asks_to_stay(pod) and (every or _on_demand(domains[name_of(pod)]))]
    above = {name_of(pod): counts[str(domains[name_of(pod)].domain)] - fewest for pod in able}
    order = {name: (above[name], _on_demand(domains[name]), name) for name in above}
    far = max((pod for pod in able if above[name_of(pod)] >= 2), key=lambda pod: order[name_of(pod)], default=None)
    return None if far is None else ((*order[name_of(far)][:2], workload), far)


def _on_demand(node: NodeFact) -> bool:
    return node.capacity != "spot"


def move_pods(world: World, names: Sequence[str], why: str) -> None:
    """Evict pods, and wait until every pod is ready again."""
    left, evicted = list(names), list[str]()

    def missing() -> list[str]:
        for name in list(left):
            world.target.fence()
            if world.cluster.evict(name, world.estate.namespace):
                left.remove(name)
                evicted.append(name)
        if left:
            return [f"pod {name} can't be evicted yet: its disruption budget has no room" for name in left]
        if evicted:  # whoever counts the pods has to see it first
            gone = [f"pod {name} was evicted" for name in evicted]
            evicted.clear()
            return gone
        return [*incomplete(deployments(world)), *waiting(workload_pods(world))]

    world.wait_for(missing, f"moving {', '.join(names)} {why}")
