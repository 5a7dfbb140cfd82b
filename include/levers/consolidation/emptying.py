"""What Karpenter leaves, packed by the lever: spare nodes are cordoned and emptied, one at a time, pod by pod.

No node is asked for: a pod is evicted only while the others have room for all that is left on its node. Karpenter
removes the empty nodes. Everything may run again after a crash at any point.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from typing import Any

from include.clients.kubernetes import NODE, POD
from include.levers.consolidation.fleet import CAPACITY
from include.levers.consolidation.settings import POOLS, World
from include.levers.consolidation.share import move_pods
from include.levers.consolidation.spare import Place, Spare, Tenant, find_spare, is_spare, why_it_stays
from include.levers.node_costs import SPREAD, NodeFact, node_facts, node_price, spot_prices
from include.levers.nodes.pools import nodes_of
from include.levers.nodes.requests import pod_requests
from include.levers.nodes.rooms import by_node, room_of, takes_pods
from include.levers.nodes.scheduling import hard_skews, labels_of, least_domains
from include.levers.nodes.waves import cordon, is_cordoned, uncordon, wait_gone
from include.levers.pods import asks_to_be_left, asks_to_stay, evictable, is_finished, is_ready, workload_pods
from include.levers.world import Object, name_of
from include.prices import load_aws_book

MOST_KEPT = 40  # lines of the ledger about nodes that stay
ANY_SKEW = 10_000  # of a pod that is not spread over domains


class Emptying:
    """The spare nodes of a region, emptied in rounds while its nodes are at rest; ``settled`` waits after each round.

    Until none is spare, ``most_emptied_nodes`` were tried, or a round has taken ``converge_timeout_seconds``. A node
    that was given up, because the room for its pods was taken meanwhile, is tried once more in a later round.
    """

    def __init__(self, world: World, settled: Callable[[], object]) -> None:
        self._world, self._settled, self._end = world, settled, 0.0
        self._tries = Counter[str]()
        self._lines: dict[str, list[str]] = {"emptied": [], "given_up": []}

    def round(self) -> bool:
        """Empty what is spare now and wait until it is gone; whether anything was tried."""
        tried, empty = {name for name in self._tries if self._tries[name] > 1}, list[str]()
        before, self._end = self._tries.total(), self._world.now() + self._world.timeout
        try:
            while found := self._next(tried):
                tried.add(found.node)
                self._tries[found.node] += 1
                about, moved = _about(self._world, found), _empty(self._world, found.node)
                self._lines["emptied" if moved else "given_up"].append(about)
                empty += [found.node] if moved else []
            if empty:
                wait_gone(self._world, empty)
        finally:
            for node in empty:
                _lift(self._world, node)
        if self._tries.total() == before:
            return False
        self._settled()
        return True

    def figures(self) -> dict[str, Any]:
        """For the ledger: a line for each node that went, that was given up, and that stays, with the reason."""
        moved = {f"{name}_nodes": lines for name, lines in self._lines.items()} if self._tries else {}
        return {**moved, "kept_nodes": kept(self._world)}

    def _next(self, tried: Collection[str]) -> Spare | None:
        enough = self._tries.total() >= self._world.settings.most_emptied_nodes or self._world.now() >= self._end
        return None if enough else next_spare(self._world, tried)


def next_spare(world: World, tried: Collection[str] = ()) -> Spare | None:
    """The node to empty next, None without one."""
    places, tenants, stuck = _read(world)
    return find_spare(places, tenants, world.estate.targets.spot_share, {*stuck, *tried})


def kept(world: World) -> list[str]:
    """Why each of the pools' nodes stays, the dearest first; at most ``MOST_KEPT`` lines."""
    places, tenants, stuck = _read(world)
    counts, share = Counter(tenant.node for tenant in tenants), world.estate.targets.spot_share
    lines = []
    for name in sorted(places, key=lambda name: (-(places[name].usd_hour or 0), name))[:MOST_KEPT]:
        why = "it or a pod on it asks to stay, is not ready, or is another team's" if name in stuck else None
        why = why or why_it_stays(name, places, tenants, share) or "spare: not reached in time or number"
        lines.append(f"{name} (domain {places[name].domain}, {places[name].zone}, {counts[name]} pods): {why}")
    return lines


def lift_cordons(world: World) -> list[str]:
    """Lift the cordons that a run which was cut short has left on nodes of the pools; a step for each."""
    marked = [node for node in nodes_of(world, POOLS.names) if is_cordoned(world, node)]
    for node in marked:
        world.target.fence()
        uncordon(world, node)
    return [f"Node/{name_of(node)} uncordoned" for node in marked]


def cordons_left(world: World) -> list[str]:
    """The nodes of the pools that the lever has cordoned."""
    return [name_of(node) for node in nodes_of(world, POOLS.names) if is_cordoned(world, node)]


def _about(world: World, spare: Spare) -> str:
    fact = next(fact for fact in node_facts(world) if fact.name == spare.node)
    kind = f"{fact.instance_type} {fact.capacity} in {fact.zone}, domain {fact.domain}"
    return f"{spare.node} ({kind}, {spare.usd_hour:.4f} USD/h): {len(spare.pods)} pods fit on the other nodes"


def _empty(world: World, node: str) -> bool:
    """Cordon a node and move every pod away; False, and uncordoned, if the rest finds no room."""
    world.target.fence()
    cordon(world, node)
    moved = False
    try:
        for _ in _on(world, node):  # at most so many: one that tolerates a cordon would come back for ever
            places, tenants, stuck = _read(world)
            if not (pods := _on(world, node)):
                break
            if node in stuck or not is_spare(node, places, tenants, world.estate.targets.spot_share):
                return False
            move_pods(world, pods[:1], f"off node {node}")
        moved = not _on(world, node)
    finally:
        if not moved:
            _lift(world, node)
    return moved


def _lift(world: World, node: str) -> None:
    live = world.cluster.get(NODE, node)
    if live is not None:
        uncordon(world, live)


def _on(world: World, node: str) -> list[str]:
    """The workloads' pods on a node, by name."""
    pods = (pod for pod in workload_pods(world) if pod["spec"].get("nodeName") == node and not is_finished(pod))
    return sorted(map(name_of, pods))


# The region as it is ---------------------------------------------------------------------------------------------


def _read(world: World) -> tuple[dict[str, Place], list[Tenant], set[str]]:
    """The pools' nodes, the workloads' pods there, and the nodes that must not be emptied."""
    facts = {fact.name: fact for fact in node_facts(world) if fact.node_pool in POOLS.names and fact.domain}
    nodes = {name_of(node): node for node in nodes_of(world, POOLS.names) if name_of(node) in facts}
    pods = by_node(pod for pod in world.cluster.list(POD) if not is_finished(pod))
    prices, places = _prices(world, facts.values()), {}
    for name, node in nodes.items():
        room, spot = room_of(node, pods.get(name, [])), labels_of(node).get(CAPACITY) == "spot"
        places[name] = Place(room, str(facts[name].domain), spot, takes_pods(node), prices[name])
    tenants = [_tenant(pod) for pod in workload_pods(world) if pod["spec"].get("nodeName") in nodes]
    return places, tenants, set(_stuck(nodes, pods, {(t.name, t.node) for t in tenants}))


def _prices(world: World, facts: Collection[NodeFact]) -> dict[str, Decimal | None]:
    """USD an hour of each node: spot as EC2 quotes it, on demand from the price book."""
    book, region = load_aws_book(world.estate), world.target.region
    spot = spot_prices(world, [fact.instance_type for fact in facts if fact.capacity == "spot"])
    quoted = {fact.name: spot.get((fact.instance_type, fact.zone)) for fact in facts}
    return {f.name: quoted[f.name] if f.capacity == "spot" else node_price(book, region, f) for f in facts}


def _tenant(pod: Object) -> Tenant:
    spec, name = pod["spec"], name_of(pod)
    skew, asked = hard_skews(spec).get(SPREAD, ANY_SKEW), least_domains(spec, SPREAD)
    return Tenant(name, labels_of(pod).get("app", ""), spec["nodeName"], pod_requests(spec), spec, skew, asked)


def _stuck(nodes: dict[str, Object], pods: dict[str, list[Object]], ours: Collection[tuple[str, str]]) -> Iterator[str]:
    """Nodes that ask to be left, or have pods of others, pods that ask to stay, or pods that are not ready."""
    for name, node in nodes.items():
        here = [pod for pod in pods.get(name, []) if evictable(pod)]
        free = all((name_of(pod), name) in ours and is_ready(pod) and not asks_to_stay(pod) for pod in here)
        if asks_to_be_left(node) or not free:
            yield name
