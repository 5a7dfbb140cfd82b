"""What the components outside the clusters cost with and without their lever, at list prices, by the levers' own
arithmetic on the usage of usage.yaml. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.estate import Estate
from include.levers.cdn_price_class import decide as cdn
from include.levers.cdn_price_class import prices as cdn_prices
from include.levers.dns_health_checks import PRICES as DNS_PRICES
from include.levers.dns_health_checks import DnsSettings, cheapest, usd_month
from include.levers.edge_power.figures import cheapest_watts
from include.levers.edge_power.figures import usd_month as power_usd
from include.levers.lambda_edge import choose
from include.levers.lambda_edge.money import load_book
from include.levers.manifests import filled
from include.levers.price_tables import price_table
from include.levers.storage_tiering import decide as storage
from include.levers.storage_tiering.settings import StorageSettings
from include.planner.order import (
    CDN,
    CLOUDFRONT,
    COST_PLATFORM,
    DNS,
    FUNCTIONS,
    JETSON,
    LAMBDA_EDGE,
    MONITORING,
    POWER,
    ROUTE_53,
    ROUTING,
    S3,
    STORAGE,
    WATCH,
)
from include.planner.traffic import Floats
from include.planner.usage import Usage
from include.prices import HOURS_PER_MONTH, PlanBook

ZERO, MILLION = Decimal(0), Decimal(1_000_000)


@dataclass(frozen=True)
class EdgePart:
    """One component, USD a month before; ``saved`` by each of its levers; ``grows``: with the requests of a month."""

    component: str
    before_usd: Decimal
    saved: Mapping[str, Decimal]
    grows: bool = False
    binding: Mapping[str, tuple[str, ...]] | None = None


def parts(estate: Estate, usage: Usage, routed: float) -> list[EdgePart]:
    """Every component but the clusters'. ``routed``: requests a second of all regions that go to the devices."""
    return [
        _cloudfront(estate, usage),
        _functions(estate, usage),
        _devices(estate, usage, routed),
        _models(usage),
        _checks(estate, usage),
        EdgePart(MONITORING, _contract(estate, "monitoring", MONITORING), {}),
        EdgePart(COST_PLATFORM, ZERO, {WATCH: -_contract(estate, "cost-platform", COST_PLATFORM)}),
    ]


def _cloudfront(estate: Estate, usage: Usage) -> EdgePart:
    found = cdn.judge(cdn.Situation(usage.viewers(), cdn_prices.load(), estate.edge.latency))
    notes = [f"{one.name}: {one.refused}" for one in found.candidates if one.refused and not one.is_plan]
    if found.offer is not None:
        saving = found.saving(found.offer)
        notes.append(f"the flat-rate plan {found.offer.name} would save {saving:.0f}, but takes no Lambda@Edge")
    saved = found.saving(found.chosen)
    return EdgePart(CLOUDFRONT, found.now.usd_month, {CDN: saved}, grows=True, binding={CDN: tuple(notes)})


def _functions(estate: Estate, usage: Usage) -> EdgePart:
    raw, sizes = usage.raw["lambda_edge"], usage.durations(estate)
    rates = load_book().edge_rates(raw["architecture"])
    requests = Decimal(usage.raw["cloudfront"]["requests_month"]) * Decimal(str(raw["miss_share"]))
    limits = choose.Limits(Decimal(str(estate.edge.functions.p95_limit_ms)))
    chosen = choose.choose(sizes, choose.Aim.CHEAPEST, limits, rates)
    by_size = {size.memory_mb: choose.usd_of(size, rates, requests) for size in sizes} if rates else {}
    before = by_size[raw["memory_mb"]]
    ready = _provisioned(estate, raw["regional"])
    saved = before - by_size[chosen.memory_mb or raw["memory_mb"]] - ready
    units = estate.edge.functions.provisioned_units
    note = f"{chosen.reason}; provisioned concurrency of {units} units a region costs {ready:.2f}"
    return EdgePart(LAMBDA_EDGE, before, {FUNCTIONS: saved}, grows=True, binding={FUNCTIONS: (note,)})


def _provisioned(estate: Estate, regional: Mapping[str, Any]) -> Decimal:
    """USD a month of the units that the lever keeps ready in each region; one without a known price is left out."""
    units, book = estate.edge.functions.provisioned_units, load_book()
    kind, size = regional["architecture"], regional["memory_mb"]
    parts = (book.units_usd_month(name, kind, size, units) for name in estate.regions)
    return sum((part for part in parts if part is not None), ZERO)


def _models(usage: Usage) -> EdgePart:
    raw, settings = usage.raw["s3"], StorageSettings.model_validate({})
    prices = storage.prices_of(price_table("aws_s3.csv"), raw["region"])
    one = [(int(size), 1) for size in raw["object_bytes"]]
    terms = storage.Terms(settings.models_remaining_days, settings.models_retrieved_share_month)
    best = storage.offers(one, prices, terms, settings.models_longest_restore_hours)[0]
    before = storage.storage_month(one, prices[storage.STANDARD], prices[storage.STANDARD]) * raw["versions"]
    gain = max(ZERO, best.before_month - best.after_month) if best.saved > 0 else ZERO
    note = f"{raw['old_versions']} of {raw['versions']} versions may move; {best.storage_class} pays best"
    return EdgePart(S3, before, {STORAGE: gain * raw["old_versions"]}, binding={STORAGE: (note,)})


def _checks(estate: Estate, usage: Usage) -> EdgePart:
    settings = DnsSettings.model_validate(DnsSettings.estate_defaults(estate))
    prices = filled(DNS_PRICES, {})
    before = _checks_of(estate, usage.raw["route_53"])
    after = [cheapest(check, settings) for check in before]
    usd = [usd_month(checks, settings, prices) for checks in (before, after)]
    note = "text matching and HTTPS stay: without them a check is cheaper still"
    return EdgePart(ROUTE_53, usd[0], {DNS: usd[0] - usd[1]}, binding={DNS: (note,)})


def _checks_of(estate: Estate, raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    name = raw["region_check"]["FullyQualifiedDomainName"]
    hosts = [name.format(region=region, zone=estate.dns.hosted_zone) for region in estate.regions]
    return [{**raw["region_check"], "FullyQualifiedDomainName": host} for host in hosts] + [dict(raw["device_check"])]


def _devices(estate: Estate, usage: Usage, routed: float) -> EdgePart:
    """The largest mode all day, against the cheapest by load; what is routed there costs its list price."""
    table, power, money = usage.modes(), estate.edge.power, estate.cost.devices
    loads = device_loads(estate, usage)
    watts = [sum(table[-1].watts(q) for q in loads), sum(cheapest_watts(q, table, power.utilisation) for q in loads)]
    before, after = (
        power_usd(each / len(loads), money.count, power.supply_efficiency, money.usd_kwh) for each in watts
    )
    backend = estate.edge.routing.backends.get("jetson")
    price = backend.list_usd_million if backend and backend.list_usd_million is not None else ZERO
    taken = Decimal(str(routed)) * 3600 * HOURS_PER_MONTH / MILLION * price
    note = "of the devices' cost power alone is known; idle watts stay in every mode"
    return EdgePart(JETSON, before, {ROUTING: -taken, POWER: before - after}, binding={POWER: (note,)})


def device_loads(estate: Estate, usage: Usage) -> list[float]:
    """Requests a second of one device in each hour of a week, by the estate's shape."""
    traffic = estate.traffic
    hours = [traffic.planned_qps(hour, weekend=day >= 5) for day in range(7) for hour in range(24)]
    highest = usage.modes()[-1].capacity_qps * usage.raw["jetson"]["peak_share"]
    return [qps / max(traffic.weekday_qps) * highest for qps in hours]


def _contract(estate: Estate, name: str, component: str) -> Decimal:
    """The estate's contract of that name, else the plan's figure."""
    found = next((one.usd_month for one in estate.cost.contracts if one.name == name), None)
    return PlanBook().component(component).week_14 if found is None else found


def routed_share(estate: Estate, qps: Floats) -> float:
    """The share of the routed workload's requests that a route's weights send to the devices, for the highest minute.

    Weights of a route are fixed: what the devices can take at the peak decides them. 0 where the devices don't keep the
    latency budget, or have no capacity. Raises EstateError where the estate has no such workload.
    """
    mine, routing = estate.routed_share(), estate.edge.routing
    backend = routing.backends.get("jetson")
    if backend is None or not backend.capacity_qps:
        return 0.0
    from include.levers.request_routing.backends import Latency

    shape = backend.latency
    within = Latency(shape.p50_ms, shape.p95_ms, shape.network_ms).share_within(routing.budget_ms)
    highest = float(qps.max()) * mine
    return min(1.0, backend.capacity_qps / highest) if within >= routing.share_within and highest else 0.0
