"""Shrinking a node group to its floor: which of its nodes go, whom their drain evicts, and how they are let go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from include.clients.kubernetes import NODE, POD, VOLUME, VOLUME_CLAIM
from include.levers.nodes import group
from include.levers.nodes.leaving import Evicted, evicted_by_drain, volume_terms
from include.levers.nodes.pools import Pools, pools_of_others
from include.levers.nodes.scheduling import NODE_POOL, labels_of
from include.levers.nodes.waves import cordon, drain, is_cordoned, wait_gone
from include.levers.pods import asks_to_stay, evictable, has_no_node, origin_of, pods_of_others
from include.levers.world import Object, World, name_of, readable
from include.rollout.lever import Refused


def choose_surplus(
    nodes: Sequence[Object], others: Mapping[str, int], floor: int, stuck: Mapping[str, int] | None = None
) -> list[Object]:
    """Nodes beyond the floor: those already cordoned first, then those with fewest pods of ``others``.

    Nodes with ``stuck`` pods, which a drain must not evict, are kept before all others.
    """

    def order(node: Object) -> tuple[bool, int, int, str]:
        name = name_of(node)
        return not node["spec"].get("unschedulable", False), (stuck or {}).get(name, 0), others.get(name, 0), name

    return sorted(nodes, key=order)[: max(0, len(nodes) - floor)]


def surplus_and_evicted(
    world: World, pools: Pools, floor: int, others: Sequence[Object] | None = None
) -> tuple[list[Object], list[Evicted]]:
    """The nodes of the group beyond its ``floor``, and the pods of ``others`` that their drain would evict.

    ``pools`` are for the workloads alone: pods of others find no room there.
    """
    nodes, others = world.cluster.list(NODE), pods_of_others(world) if others is None else others
    counts = _by_node(filter(evictable, others))
    stuck = _by_node(pod for pod in others if evictable(pod) and asks_to_stay(pod))
    surplus = choose_surplus(group.of_group(world, nodes), counts, floor, stuck)
    claims = readable(lambda: world.cluster.list(VOLUME_CLAIM)) or []
    volumes = volume_terms(claims, readable(lambda: world.cluster.list(VOLUME)) or []) if claims else {}
    usable = [node for node in nodes if labels_of(node).get(NODE_POOL) not in pools.names]
    going = frozenset(map(name_of, surplus))
    return surplus, evicted_by_drain(others, usable, going, volumes, pools_of_others(world, pools))


def _by_node(pods: Iterable[Object]) -> dict[str, int]:
    return Counter(pod["spec"].get("nodeName", "") for pod in pods)


def stuck_in(evicted: Iterable[Evicted]) -> list[str]:
    """A line for each pod that must not be evicted, with the reason."""
    return [f"{pod}: {pod.problem}" for pod in evicted if pod.problem]


def shrink(world: World, pools: Pools, floor: int, accept_stuck: bool) -> dict[str, Any]:
    """Drain the nodes beyond ``floor``, with respect for disruption budgets, and let exactly these go.

    The figures say which pods were evicted and who made them; ``waited_before``: how many pods of each maker had no
    node before. Raises Refused, before anything is cordoned, when the drain would evict pods that are lost by it or
    find no node, and nobody accepts that.
    """
    surplus, evicted = surplus_and_evicted(world, pools, floor)
    stuck = stuck_in(evicted)
    if stuck and not accept_stuck:
        raise Refused(
            f"{world.place}: draining {world.region.node_group.name} would evict {'; '.join(stuck)}. "
            "Move these pods or let them end, raise node_group.floor in estate.yaml, or set accept_unmovable_pods"
        )
    # A drain that was cut short has evicted pods that are on none of the nodes now: those that wait are among them.
    cut_short = any(is_cordoned(world, node) for node in surplus)
    waiting = Counter(origin_of(pod) for pod in world.cluster.list(POD) if has_no_node(pod))
    left, waited = (list(waiting), {}) if cut_short else ([], dict(waiting))
    _let_go(world, surplus, floor)
    return {
        "nodes_removed": len(surplus),
        "floor": floor,
        "evicted": list(map(str, evicted)),
        "evicted_from": sorted({*(pod.origin for pod in evicted), *left}),
        "waited_before": waited,
    }


def _let_go(world: World, surplus: Sequence[Object], floor: int) -> None:
    names = [name_of(node) for node in surplus]
    for name in names:
        world.target.fence()
        cordon(world, name)
    drain(world, names)
    world.target.fence()
    group.terminate(world, surplus, floor)
    wait_gone(world, names)
