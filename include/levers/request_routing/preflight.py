"""What must hold before requests are routed: a gateway, backends that can be given requests, a demand that is true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from include.clients.kubernetes import GATEWAY, HTTP_ROUTE
from include.levers import checks
from include.levers.fields import at
from include.levers.owned import read
from include.levers.request_routing.live import healths, last_service
from include.levers.request_routing.money import peak_qps
from include.levers.request_routing.record import records
from include.levers.request_routing.settings import World
from include.levers.request_routing.wanted import is_theirs, route_identity, routed_rules
from include.levers.world import condition
from include.rollout.lever import Check, Json

MOST_BEYOND = 1.2  # so many times the assumed peak may the last day's have been
LOOK_BACK = "1d:5m"


def gateway(world: World) -> Iterator[Check]:
    """Is the Gateway API served, and the Gateway programmed?"""
    if not world.cluster.serves(HTTP_ROUTE):
        remedy = f"install the CustomResourceDefinitions of Gateway API 1.2 or newer in {world.region.cluster}"
        yield Check("Gateway API", False, "httproutes.gateway.networking.k8s.io is not served", remedy)
        return
    name, space = world.estate.edge.routing.gateway, world.estate.namespace
    found = world.cluster.get(GATEWAY, name, space)
    if found is None:
        remedy = "make it with the class of your controller, or correct edge.routing.gateway in estate.yaml"
        yield Check("gateway", False, f"Gateway {space}/{name} does not exist", remedy)
    elif condition(found, "Programmed") != "True":
        remedy = "start the controller of its class, or repair what its conditions name"
        yield Check("gateway", False, f"Gateway {space}/{name} is not Programmed: nobody would follow a route", remedy)
    else:
        yield Check("gateway", True, f"Gateway {space}/{name} is Programmed")


def route(world: World) -> Iterator[Check]:
    """Is the HTTPRoute ours to make, or one with a rule that leads to the routed workload?"""
    found = read(world, route_identity(world.estate))
    name = f"HTTPRoute {world.estate.namespace}/{world.estate.edge.routing.route}"
    if found is None or not is_theirs(found):
        yield Check("route", True, f"{name} is {'absent and will be made' if found is None else 'the lever’s own'}")
    elif rules := routed_rules(world.estate, found):
        every = len(at(found, ("spec", "rules")) or [])
        yield Check("route", True, f"{name} is somebody else's: backends of {len(rules)} of its {every} rules change")
    else:
        reason = f"{name} is somebody else's, and no rule of it leads to Service {last_service(world.estate)} alone"
        yield Check("route", False, reason, "name another route in edge.routing.route in estate.yaml")


def services_well(world: World) -> Iterator[Check]:
    """Which Services can be given requests? The one that takes everything else must."""
    last = last_service(world.estate)
    for service, health in healths(world).items():
        if health.healthy:
            yield Check(f"backend {service}", True, f"{health.ready} endpoints of Service {service} are ready")
        elif service == last:
            remedy = "repair it first: it takes what nobody else can"
            yield Check(f"backend {service}", False, health.reason, remedy)
        else:
            yield Check(f"backend {service}", True, f"{health.reason}: it gets no requests")


def demand(world: World) -> Iterator[Check]:
    """Was the last day's peak what the weights are made for?"""
    assumed, metrics = world.settings.routed_qps or peak_qps(world.estate), world.estate.metrics
    rate = f"sum(rate({metrics.http_requests}{{{world.estate.matchers(world.target.region)}}}[5m]))"
    seen = world.prometheus.value(f"max_over_time({rate}[{LOOK_BACK}])")
    if seen is None:
        yield Check("demand", False, f"no rate of {metrics.http_requests} in the last day", checks.SCRAPE)
    elif seen > assumed * MOST_BEYOND:
        reason = f"the last day's peak was {seen:.0f} requests/s, the weights would be made for {assumed:.0f}"
        yield Check("demand", False, reason, f"set routed_qps to {seen:.0f} or more")
    else:
        share = world.estate.routed_share()
        reason = f"made for {assumed:.0f} requests/s ({share:.0%} of a region's); the last day's peak was {seen:.0f}"
        yield Check("demand", True, reason)


def decision(facts: Mapping[str, Json]) -> Iterator[Check]:
    """Is there a mixture within the limit?"""
    fallback = facts["fallback"]
    remedy = "repair a backend, raise latency_budget_ms, or leave the requests where they are"
    reason = fallback or "there is a mixture within the latency limit"
    yield Check("weights", not fallback, reason, remedy if fallback else "")


def record_sets(world: World) -> Iterator[Check]:
    """Has this region a weighted record set? Without one its share of all regions' requests stays. Several get one
    weight, so that they must have one.
    """
    found, where = records(world), f"{world.estate.edge.routing.record}.{world.estate.dns.hosted_zone}"
    shown = ", ".join(f"{name.split(' ', 1)[1]} weighs {weight}" for name, weight in found.items())
    absent = f"no weighted record set {where} of {world.target.region}: the regions' shares stay"
    if world.settings.weigh_region and len({*found.values()}) > 1:
        remedy = "give them one weight, or set weigh_region to false"
        yield Check("record set", False, f"{shown}: one weight would be written to all of them", remedy)
    else:
        yield Check("record set", True, shown or absent)
