"""What a million requests cost at each backend: the plan's figures, or live nodes and list prices."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache

from include.estate import Estate, RoutingBackend
from include.levers.node_costs import NodeFact, node_price, spot_prices, total
from include.levers.request_routing.backends import ON_DEMAND, SPOT
from include.levers.request_routing.settings import World
from include.prices import HOURS_PER_MONTH, load_aws_book

PLAN = "plan"
MILLION = Decimal(1_000_000)
CAPACITIES = {SPOT: "spot", ON_DEMAND: "on-demand"}
WEEKDAYS, DAYS = 5, 7


def peak_qps(estate: Estate) -> float:
    """Requests a second of the routed workload in one region at the weekday peak."""
    return max(estate.traffic.weekday_qps) * estate.demand_scale() * estate.routed_share()


def month_millions(estate: Estate) -> Decimal:
    """Millions of requests of the routed workload in one region and month, by the estate's shape of a week."""
    traffic = estate.traffic
    hours = [traffic.planned_qps(hour, weekend=day >= WEEKDAYS) for day in range(DAYS) for hour in range(24)]
    qps = sum(hours) / len(hours) * estate.demand_scale() * estate.routed_share()
    return Decimal(str(qps)) * 3600 * HOURS_PER_MONTH / MILLION


def pod_usd_million(usd_vcpu_hour: Decimal | None, cores: Decimal, qps: float) -> Decimal | None:
    """A pod's part of its node over the requests that it serves at target utilisation; None without a price."""
    return None if usd_vcpu_hour is None else usd_vcpu_hour * cores / (Decimal(str(qps)) * 3600 / MILLION)


def usd_vcpu_hours(world: World, nodes: list[NodeFact]) -> Mapping[str, Decimal | None]:
    """USD an hour of one vCPU by capacity type (``spot``, ``on-demand``) on the live nodes; None where not known."""
    book = load_aws_book(world.estate)
    live = spot_prices(world, [node.instance_type for node in nodes if node.capacity == "spot"])

    @cache
    def of(capacity: str) -> Decimal | None:
        mine = [node for node in nodes if node.capacity == capacity]
        prices = [
            live.get((n.instance_type, n.zone)) if capacity == "spot" else node_price(book, world.target.region, n)
            for n in mine
        ]
        usd, vcpu = total(prices), sum(node.vcpu for node in mine)
        return usd / Decimal(str(vcpu)) if usd is not None and vcpu else None

    return {capacity: of(capacity) for capacity in CAPACITIES.values()}


def usd_million_of(
    world: World, name: str, backend: RoutingBackend, vcpu_hours: Mapping[str, Decimal | None], cores: Decimal
) -> Decimal | None:
    """USD per million requests of one backend in the chosen book; None where it is not known."""
    if world.settings.routing_prices == PLAN:
        return backend.plan_usd_million
    if backend.list_usd_million is not None:
        return backend.list_usd_million
    return pod_usd_million(vcpu_hours.get(CAPACITIES.get(name, "")), cores, world.estate.qps_per_replica())
