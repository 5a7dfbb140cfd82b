"""What the packing optimum is computed from: the pods on Karpenter's nodes, and the nodes that its pools may have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NamedTuple

from include.clients.kubernetes import DAEMON_SET, EC2_NODE_CLASS, NODE, NODE_POOL, POD
from include.levers.consolidation.settings import POOLS, World
from include.levers.node_costs import SPREAD, node_facts, spot_prices, usd_hour
from include.levers.nodes.optimum import Offer, Packing, Shape, optimum
from include.levers.nodes.requests import pod_requests, read_quantities
from include.levers.nodes.scheduling import NODE_POOL as POOL_LABEL
from include.levers.nodes.scheduling import ZONE, labels_of, tolerates, wants
from include.levers.pods import evictable, is_ending, origin_of
from include.levers.world import Object, name_of, readable
from include.prices import AwsBook, PriceBookError, load_aws_book

CAPACITY, TYPE = "karpenter.sh/capacity-type", "node.kubernetes.io/instance-type"


@dataclass(frozen=True)
class Fleet:
    """Pods as ``shapes`` and what nodes could hold them; ``usd_hour`` is what the live nodes cost, None unknown.

    ``on_demand`` are the domains whose pool has no spot.
    """

    shapes: Sequence[Shape]
    offers: Sequence[Offer]
    usd_hour: Decimal | None
    nodes: int
    on_demand: frozenset[str] = frozenset()

    def optimum(self) -> Packing | None:
        """The cheapest nodes for these pods."""
        return optimum(self.shapes, self.offers)

    @property
    def domains(self) -> frozenset[str]:
        """The domains that the pools have."""
        return frozenset(offer.domain for offer in self.offers)

    def reachable(self, evictions: int) -> Packing | None:
        """The cheapest nodes once odd pods on demand may have moved to spot.

        After so many ``evictions`` that even out all domains; with 0 never dearer than :meth:`optimum`.
        """
        shapes = evened(self.shapes, self.domains, evictions)
        best, moved = optimum(shapes, self.offers), odd_on_spot(shapes, self.on_demand, self.domains)
        other = optimum(moved, self.offers) if best and moved != shapes else None
        return min((p for p in (best, other) if p is not None), key=lambda p: p.usd_hour, default=None)


def fleet(world: World) -> Fleet:
    """The pods on the pools' nodes, and the offers of the pools."""
    facts = [fact for fact in node_facts(world) if fact.node_pool in POOLS.names]
    live = {name_of(node): node for node in world.cluster.list(NODE)}
    nodes = {fact.name: live[fact.name] for fact in facts if fact.name in live}
    pods = [pod for pod in world.cluster.list(POD) if pod["spec"].get("nodeName") in nodes]
    counted = [pod for pod in pods if evictable(pod) and not is_ending(pod)]
    offers = list(_offers(world, nodes.values()))
    return Fleet(shapes(counted, nodes, offers), offers, usd_hour(world, facts)[0], len(facts), _on_demand(world))


def packing_figures(world: World) -> dict[str, Any]:
    """The optimum, what there is, and their ratio, as reports name them; None where prices or types are not known."""
    found = fleet(world)
    best, live = found.optimum(), found.usd_hour
    known = best is not None and live is not None and best.usd_hour > 0
    return {
        "packing_optimum_usd_hour": None if best is None else float(best.usd_hour),
        "packing_optimum_nodes": None if best is None else len(best.nodes),
        "packing_optimum_exact": None if best is None else best.exact,
        "packing_usd_hour": None if live is None else float(live),
        "packing_nodes": found.nodes,
        "packing_ratio": float(live / best.usd_hour) if known and best and live is not None else None,
    }


# Pods --------------------------------------------------------------------------------------------------------------


def shapes(pods: Iterable[Object], nodes: Mapping[str, Object], offers: Sequence[Offer]) -> list[Shape]:
    """Equal pods of one maker in one domain as one shape: each stays in the domain that it stands in.

    The spread over zones is a wish (ScheduleAnyway) that Karpenter keeps as long as it can: here it is kept as well as
    the live pods keep it.
    """
    counts: Counter[tuple[str, int, int, str]] = Counter()
    by_maker: dict[str, list[Object]] = {}
    for pod in pods:
        requests, maker = pod_requests(pod["spec"]), origin_of(pod)
        cpu, memory = int(requests.get("cpu", Decimal(0)) * 1000), int(requests.get("memory", Decimal(0)))
        counts[maker, cpu, memory, labels_of(nodes[pod["spec"]["nodeName"]]).get(SPREAD, "")] += 1
        by_maker.setdefault(maker, []).append(pod)
    skews = {maker: _kept(mine, nodes, {offer.zone for offer in offers}) for maker, mine in by_maker.items()}
    found = sorted(counts.items())
    return [Shape(m, cpu, mem, count, domain or None, skews[m]) for (m, cpu, mem, domain), count in found]


def evened(shapes: Sequence[Shape], domains: Collection[str], most: int) -> list[Shape]:
    """The shapes with at most ``most`` pods moved, each from its workload's fullest to its emptiest domain as long as
    they differ by two: the workload that differs most goes first.

    Pods that may stand in any domain are left out of it.
    """
    counts = Counter({(replace(s, count=0, domain=None), s.domain): s.count for s in shapes})
    kinds: dict[str, list[Shape]] = {}
    for kind, domain in counts:
        if domain is not None:
            kinds.setdefault(kind.workload, []).append(kind)
    for _ in range(most):
        gaps = [_gap(counts, list(dict.fromkeys(mine)), domains) for _, mine in sorted(kinds.items()) if domains]
        far = max(gaps, key=lambda gap: gap.pods, default=None)
        if far is None or far.pods < 2:
            break
        counts[far.kind, far.full] -= 1
        counts[far.kind, far.empty] += 1
    return [replace(kind, count=count, domain=domain) for (kind, domain), count in counts.items()]


class _Gap(NamedTuple):
    """By how many pods a workload's fullest and emptiest domain differ, and which of its pods are most in the first."""

    pods: int
    full: str
    empty: str
    kind: Shape


def _gap(counts: Counter[tuple[Shape, str | None]], kinds: Sequence[Shape], domains: Collection[str]) -> _Gap:
    held = {name: sum(counts[kind, name] for kind in kinds) for name in sorted(domains)}
    full, empty = max(held, key=held.__getitem__), min(held, key=held.__getitem__)
    return _Gap(held[full] - held[empty], full, empty, max(kinds, key=lambda one: counts[one, full]))


def odd_on_spot(shapes: Sequence[Shape], on_demand: Collection[str], domains: Collection[str]) -> list[Shape]:
    """The shapes with pods moved from ``on_demand`` to spot as long as a domain on spot has fewer of the same."""
    counts = {(replace(s, count=0, domain=None), s.domain): s.count for s in shapes}
    spot = sorted(set(domains) - set(on_demand))
    for (kind, domain), _ in [entry for entry in counts.items() if entry[0][1] in on_demand and spot]:
        fewest = min(spot, key=lambda name: counts.get((kind, name), 0))
        while counts.get((kind, fewest), 0) < counts[kind, domain]:
            counts[kind, fewest] = counts.get((kind, fewest), 0) + 1
            counts[kind, domain] -= 1
            fewest = min(spot, key=lambda name: counts.get((kind, name), 0))
    return [replace(kind, count=count, domain=domain) for (kind, domain), count in counts.items()]


def _asked(pod: Object, key: str) -> int | None:
    """The skew over a label that a pod asks for, None where it asks for none."""
    constraints = pod["spec"].get("topologySpreadConstraints") or []
    return min((int(c.get("maxSkew", 1)) for c in constraints if c["topologyKey"] == key), default=None)


def _kept(pods: Sequence[Object], nodes: Mapping[str, Object], zones: Iterable[str]) -> int | None:
    """The larger of the skew over zones that the pods ask for and the one that they have."""
    asked = _asked(pods[0], ZONE)
    if asked is None:
        return None
    counts = Counter(dict.fromkeys(zones, 0))
    counts.update(labels_of(nodes[pod["spec"]["nodeName"]]).get(ZONE, "") for pod in pods)
    return max(asked, max(counts.values()) - min(counts.values()))


# Nodes -------------------------------------------------------------------------------------------------------------


def _offers(world: World, nodes: Iterable[Object]) -> Iterator[Offer]:
    pools = _pools(world)
    known = {labels_of(node).get(TYPE, ""): node for node in nodes}
    types = sorted({kind for pool in pools.values() for kind in required(pool, TYPE)})
    spot = spot_prices(world, types)
    daemons = readable(lambda: world.cluster.list(DAEMON_SET)) or []
    zones = zones_of(world) or sorted({zone for _, zone in spot})
    book = load_aws_book(world.estate)
    for name, pool in pools.items():
        taken = daemon_requests(daemons, name, pool)
        for kind in required(pool, TYPE):
            free = _free(book, kind, known.get(kind), taken)
            for zone in zones if free else ():
                price = _price(world, book, pool, kind, zone, spot)
                if free and price is not None:
                    yield from (Offer(kind, domain, zone, *free, price) for domain in required(pool, SPREAD))


def _pools(world: World) -> dict[str, Object]:
    return {name: pool for name in POOLS.names if (pool := world.cluster.get(NODE_POOL, name)) is not None}


def offered_domains(world: World, every: bool) -> frozenset[str]:
    """The domains that the pools offer: ``every`` one, or those on spot."""
    pools = (pool for pool in _pools(world).values() if every or _has_spot(pool))
    return frozenset(domain for pool in pools for domain in required(pool, SPREAD))


def _on_demand(world: World) -> frozenset[str]:
    pools = (pool for pool in _pools(world).values() if not _has_spot(pool))
    return frozenset(domain for pool in pools for domain in required(pool, SPREAD))


def _has_spot(pool: Object) -> bool:
    return "spot" in required(pool, CAPACITY)


def required(pool: Object, key: str) -> list[str]:
    """The values of a NodePool's requirement ``In``, empty without it."""
    requirements = pool["spec"]["template"]["spec"].get("requirements") or []
    return next((sorted(r.get("values") or []) for r in requirements if r["key"] == key and r["operator"] == "In"), [])


def zones_of(world: World) -> list[str]:
    """The zones of the subnets in which the pools' nodes may be."""
    found = world.cluster.list(EC2_NODE_CLASS)
    return sorted({s["zone"] for c in found for s in (c.get("status") or {}).get("subnets") or [] if s.get("zone")})


def daemon_requests(daemons: Iterable[Object], pool: str, body: Object) -> dict[str, Decimal]:
    """What the pods of DaemonSets take on each node of a pool, by resource."""
    template = body["spec"]["template"]
    labels = {POOL_LABEL: pool, "kubernetes.io/os": "linux", **(template.get("metadata") or {}).get("labels", {})}
    sums: dict[str, Decimal] = {}
    for daemon in daemons:
        spec = daemon["spec"]["template"]["spec"]
        if tolerates(spec, template["spec"].get("taints") or []) and wants(spec, labels):
            sums |= {name: sums.get(name, Decimal(0)) + value for name, value in pod_requests(spec).items()}
    return sums


def _free(book: AwsBook, kind: str, node: Object | None, taken: Mapping[str, Decimal]) -> tuple[int, int] | None:
    """Millicores and bytes that a node of a type leaves: as a live one has it, else as the price book says."""
    if node is not None:
        allocatable = read_quantities(node["status"].get("allocatable"))
        cpu, memory = allocatable.get("cpu", Decimal(0)), allocatable.get("memory", Decimal(0))
    else:
        try:
            details = book.details(kind)
        except PriceBookError:
            return None
        cpu, memory = Decimal(str(details.allocatable_cpu)), Decimal(details.allocatable_memory_mib * 2**20)
    return int((cpu - taken.get("cpu", Decimal(0))) * 1000), int(memory - taken.get("memory", Decimal(0)))


def _price(
    world: World, book: AwsBook, pool: Object, kind: str, zone: str, spot: Mapping[tuple[str, str], Decimal]
) -> Decimal | None:
    """The cheaper of the capacity types that a pool may have; None where no price is known."""
    region, prices = world.target.region, []
    if _has_spot(pool):
        prices.append(spot.get((kind, zone)) or book.spot(region, kind, zone))
    if "on-demand" in required(pool, CAPACITY):
        prices.append(book.on_demand(region, kind))
    return min((price for price in prices if price is not None), default=None)
