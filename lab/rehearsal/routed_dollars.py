"""What the routed requests cost a month, by whom served them just now: the lab's own arithmetic for day 3.

Shares come from the plant's counters, or from where the pods run while nothing is routed; a pod's price is that of its
node's CPUs, a device's and Lambda's the list prices of the estate.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from decimal import Decimal

from include.clients import kubernetes as k8s
from include.estate import Estate
from include.prices import HOURS_PER_MONTH, AwsBook
from include.quantities import cores
from lab.rehearsal import served
from lab.rehearsal.evidence import EvidenceReader, Node, is_running, node_of, usd_hour

SECONDS = 6.0  # of requests that are counted
CAPACITY = {"spot": "spot", "on_demand": "on-demand"}  # backends in the cluster, and the nodes that their pods are on
WEEK = [(day, hour) for day in range(7) for hour in range(24)]


def usd_month(
    lab: Mapping[str, EvidenceReader], estate: Estate, plant: str, seconds: float = SECONDS
) -> Decimal | None:
    """USD a month of the routed workload in all regions; None where a price is not known."""
    before = by_backend(served.page(plant), estate)
    threading.Event().wait(seconds)
    now = by_backend(served.page(plant), estate)
    found = [
        _of_region(reader, estate, _came(before.get(region, {}), now.get(region, {}))) for region, reader in lab.items()
    ]
    known = [usd for usd in found if usd is not None]
    return sum(known, Decimal(0)) if len(known) == len(found) else None


def by_backend(text: str, estate: Estate) -> dict[str, dict[str, float]]:
    """Requests by region and backend, by the route's series."""
    routing = estate.edge.routing
    found: dict[str, dict[str, float]] = {}
    for name, labels, value in served.samples(text):
        if name == routing.requests_metric:
            mine = found.setdefault(labels["region"], {})
            backend = labels[routing.backend_label]
            mine[backend] = mine.get(backend, 0.0) + value
    return found


def _came(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {name: count - before.get(name, 0.0) for name, count in now.items()}


def _of_region(reader: EvidenceReader, estate: Estate, came: Mapping[str, float]) -> Decimal | None:
    nodes = {node.name: node for node in map(node_of, reader.cluster.list(k8s.NODE))}
    app = estate.edge.routing.workload
    pods = [pod for pod in reader.cluster.list(k8s.POD, estate.namespace, labels=f"app={app}") if is_running(pod)]
    on = [nodes[name].capacity for pod in pods if (name := pod["spec"].get("nodeName")) in nodes]
    asked = [
        cores(c.get("resources", {}).get("requests", {}).get("cpu", 0)) for p in pods for c in p["spec"]["containers"]
    ]
    if not on:
        return None
    shares = came if sum(came.values()) > 0 else {name: on.count(kind) for name, kind in CAPACITY.items()}
    per_pod = Decimal(str(sum(asked))) / len(pods)
    prices = {name: price(name, estate, list(nodes.values()), reader.book, reader.region, per_pod) for name in shares}
    return month(shares, prices, month_millions(estate))


def price(
    backend: str, estate: Estate, nodes: list[Node], book: AwsBook, region: str, cores_per_pod: Decimal
) -> Decimal | None:
    """USD per million requests of a backend; None where it is not known."""
    listed = {str(name): one.list_usd_million for name, one in estate.edge.routing.backends.items()}
    if (usd_million := listed.get(backend)) is not None:
        return usd_million
    mine = [node for node in nodes if node.capacity == CAPACITY.get(backend)]
    usd, vcpu = usd_hour(mine, book, region), sum(node.vcpu for node in mine)
    if usd is None or not vcpu:
        return None
    hourly = Decimal(str(usd)) / Decimal(str(vcpu)) * cores_per_pod
    return hourly / (Decimal(str(estate.qps_per_replica())) * 3600 / 1_000_000)


def month_millions(estate: Estate) -> Decimal:
    """Millions of requests of the routed workload in one region and month, by the estate's week."""
    traffic, workloads = estate.traffic, estate.workloads
    share = workloads[estate.edge.routing.workload].replicas / sum(one.replicas for one in workloads.values())
    mean = sum(traffic.planned_qps(hour, weekend=day >= 5) for day, hour in WEEK) / len(WEEK)
    return Decimal(str(mean * estate.demand_scale() * share)) * 3600 * HOURS_PER_MONTH / 1_000_000


def month(shares: Mapping[str, float], prices: Mapping[str, Decimal | None], millions: Decimal) -> Decimal | None:
    """USD of a month's requests by who serves which share; None where one that serves has no price."""
    total, usd = Decimal(str(sum(shares.values()))), Decimal(0)
    for name, count in shares.items():
        one = prices[name]
        if count and one is None:
            return None
        usd += Decimal(str(count)) * (one or 0)
    return (usd / total * millions).quantize(Decimal("0.01")) if total else None
