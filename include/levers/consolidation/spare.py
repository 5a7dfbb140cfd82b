"""Spare nodes: all their pods fit on the others. Pure.

Karpenter has been seen to leave such nodes, perhaps because it counts the spread over zones as required (not isolated);
the scheduler treats it as the wish that it is. What decides here is what the scheduler will do with each pod once its
node is cordoned.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.levers.nodes.requests import Requests
from include.levers.nodes.rooms import Room
from include.levers.nodes.scheduling import ZONE, tolerates, wants

MOST_IN_A_ZONE = 0.5  # of a workload's pods, unless a zone has more already


@dataclass(frozen=True, slots=True)
class Place:
    """A node of the pools. ``is_open``: it takes pods. ``usd_hour`` is None where its price is not known."""

    room: Room
    domain: str
    is_spot: bool
    is_open: bool
    usd_hour: Decimal | None

    @property
    def zone(self) -> str:
        """The zone's name."""
        return self.room.labels.get(ZONE, "")


@dataclass(frozen=True, slots=True)
class Tenant:
    """A pod of a workload on a node; ``skew``: by how many the workload's pods in two domains may differ.

    ``domains``: how many the pod asks for; with nodes in fewer of them, one without pods counts.
    """

    name: str
    workload: str
    node: str
    requests: Requests
    spec: Mapping[str, Any]
    skew: int
    domains: int = 1


@dataclass(frozen=True, slots=True)
class Spare:
    """A node that can be emptied, what it costs an hour (USD), and the pods that move."""

    node: str
    usd_hour: Decimal
    pods: tuple[str, ...]


Places = Mapping[str, Place]  # by the node's name
Where = Mapping[str, str]  # each pod's node


def find_spare(
    places: Places, tenants: Sequence[Tenant], spot_share: float, stuck: Collection[str] = ()
) -> Spare | None:
    """The dearest spare node that is not among ``stuck``, among equal ones that with fewest pods; None without one."""
    counts = Counter(tenant.node for tenant in tenants)
    priced = {name: place.usd_hour for name, place in places.items() if place.usd_hour is not None and place.is_open}
    order = sorted(priced, key=lambda name: (-priced[name], counts[name], name))
    able = (name for name in order if counts[name] and name not in stuck)
    found = next((name for name in able if is_spare(name, places, tenants, spot_share)), None)
    if found is None:
        return None
    return Spare(found, priced[found], tuple(sorted(t.name for t in tenants if t.node == found)))


def is_spare(node: str, places: Places, tenants: Sequence[Tenant], spot_share: float) -> bool:
    """Whether all pods of ``node`` find a place, its domain keeps a node, and no workload stands less safely."""
    return why_it_stays(node, places, tenants, spot_share) is None


def why_it_stays(node: str, places: Places, tenants: Sequence[Tenant], spot_share: float) -> str | None:
    """What speaks against emptying ``node``, None when nothing does: it is spare."""
    others = {name: place for name, place in places.items() if place.is_open and name != node}
    if not any(place.domain == places[node].domain for place in others.values()):
        return f"the last open node of domain {places[node].domain}, which the spread would no longer see"
    before = {tenant.name: tenant.node for tenant in tenants}
    after = _moved(node, places, others, tenants)
    if isinstance(after, str):
        return f"no other node takes pod {after}"
    return _less_safe(places, tenants, (before, after), spot_share)


def _moved(node: str, places: Places, others: Places, tenants: Sequence[Tenant]) -> dict[str, str] | str:
    """Where each pod is once those of ``node`` have moved, one after the other; or the pod that finds no place."""
    rooms = {name: copy.deepcopy(place.room) for name, place in others.items()}
    where = {tenant.name: tenant.node for tenant in tenants}
    for tenant in sorted((t for t in tenants if t.node == node), key=lambda t: t.name):
        del where[tenant.name]
        domains, zones = _counts(tenant.workload, places, tenants, where)
        able = [n for n, place in others.items() if _takes(place, rooms[n], tenant, domains)]
        if not able:
            return tenant.name
        chosen = min(able, key=lambda n: (zones[others[n].zone], -rooms[n].free.get("cpu", Decimal(0)), n))
        rooms[chosen].take(tenant.requests)
        where[tenant.name] = chosen
    return where


def _counts(
    workload: str, places: Places, tenants: Iterable[Tenant], where: Where
) -> tuple[Counter[str], Counter[str]]:
    """A workload's pods in each domain and in each zone; every domain that has a node counts."""
    nodes = [where[t.name] for t in tenants if t.workload == workload and t.name in where]
    domains = Counter({place.domain: 0 for place in places.values()})
    domains.update(places[node].domain for node in nodes)
    return domains, Counter(places[node].zone for node in nodes)


def _takes(place: Place, room: Room, tenant: Tenant, domains: Mapping[str, int]) -> bool:
    fits = room.fits(tenant.requests) and wants(tenant.spec, room.labels) and tolerates(tenant.spec, room.taints)
    fewest = min(domains.values()) if len(domains) >= tenant.domains else 0
    return fits and domains[place.domain] + 1 - fewest <= tenant.skew


def _less_safe(places: Places, tenants: Sequence[Tenant], moved: tuple[Where, Where], spot_share: float) -> str | None:
    """What would be less safe: the spot share, or a workload in fewer zones or with too many pods in one."""
    shares = [sum(places[n].is_spot for n in where.values()) / len(tenants) for where in moved]
    if shares[1] < min(shares[0], spot_share):
        return f"{shares[1]:.0%} of the pods would be on spot"
    for workload in sorted({tenant.workload for tenant in tenants}):
        before, after = (_counts(workload, places, tenants, where)[1] for where in moved)
        most = max(max(before.values()), MOST_IN_A_ZONE * before.total())
        if len(after) < len(before):
            return f"{workload} would leave a zone"
        if max(after.values()) > most:
            return f"{workload} would have {max(after.values())} of {after.total()} pods in one zone"
    return None
