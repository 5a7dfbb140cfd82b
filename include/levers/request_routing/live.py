"""Who may serve requests at this moment: health, capacity and price of each Service, read from the live region."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from include.clients.kubernetes import DEPLOYMENT, ENDPOINT_SLICE, POD, SERVICE
from include.estate import BackendName, Estate, LatencyShape
from include.levers.autoscalers import autoscalers_of
from include.levers.node_costs import NodeFact, node_facts
from include.levers.nodes.requests import pod_requests
from include.levers.request_routing.backends import Backend, Latency, joined
from include.levers.request_routing.money import CAPACITIES, usd_million_of, usd_vcpu_hours
from include.levers.request_routing.settings import World
from include.levers.workloads import replicas_of
from include.levers.world import Object, readable
from include.rollout.lever import Refused

OF_SERVICE = "kubernetes.io/service-name"  # label of a Service's EndpointSlices


@dataclass(frozen=True)
class Health:
    """Whether a Service can be given requests (None: nobody knows), why not, and how many endpoints are ready."""

    healthy: bool | None
    reason: str = ""
    ready: int = 0


def services(estate: Estate) -> dict[str, list[BackendName]]:
    """The backends behind each Service, in the estate's order."""
    found: dict[str, list[BackendName]] = {}
    for name, backend in estate.edge.routing.backends.items():
        found.setdefault(backend.service, []).append(name)
    return found


def port_of(estate: Estate, service: str) -> int:
    """The port of a Service that requests go to."""
    return next(b.port for b in estate.edge.routing.backends.values() if b.service == service)


def last_service(estate: Estate) -> str:
    """The Service that takes what nobody else can, and takes everything while nothing is routed."""
    return estate.edge.routing.backends["on_demand"].service


def health_of(world: World, service: str) -> Health:
    """Does the Service exist, and has it an endpoint that is ready?"""
    space = world.estate.namespace
    if world.cluster.get(SERVICE, service, space) is None:
        return Health(False, f"Service {space}/{service} does not exist")
    slices = readable(lambda: world.cluster.list(ENDPOINT_SLICE, space, f"{OF_SERVICE}={service}"))
    if slices is None:
        return Health(None, f"endpoints of {service} can't be read (role: list endpointslices)")
    ready = sum(_ready(endpoint) for found in slices for endpoint in found.get("endpoints") or [])
    return Health(bool(ready), "" if ready else f"Service {space}/{service} has no endpoint that is ready", ready)


def _ready(endpoint: Object) -> int:
    # Unknown is ready by the API's own rule; one that leads to several addresses is one endpoint.
    return int((endpoint.get("conditions") or {}).get("ready") is not False)


def healths(world: World) -> dict[str, Health]:
    """The health of every Service that requests may go to."""
    return {service: health_of(world, service) for service in services(world.estate)}


def most_replicas(world: World) -> int:
    """Replicas that the routed workload may have: its autoscaler's most, without one those that it has."""
    name = world.estate.edge.routing.workload
    deployment = world.cluster.get(DEPLOYMENT, name, world.estate.namespace)
    if deployment is None:
        raise Refused(
            f"{world.place}: Deployment {world.estate.namespace}/{name} does not exist: correct "
            "edge.routing.workload in estate.yaml, or deploy it"
        )
    most = [int(found["spec"]["maxReplicas"]) for found in autoscalers_of(world, name)]
    return max(most, default=replicas_of(deployment))


@dataclass(frozen=True)
class _Pods:
    """The routed workload's pods: how many on each capacity type, what one asks for, and what a vCPU costs there."""

    on: Mapping[str, int]
    cores: Decimal
    usd_vcpu_hour: Mapping[str, Decimal | None]


def _pods(world: World) -> _Pods:
    name, nodes = world.estate.edge.routing.workload, node_facts(world)
    deployment = world.cluster.get(DEPLOYMENT, name, world.estate.namespace) or {"spec": {"template": {"spec": {}}}}
    cores = pod_requests(deployment["spec"]["template"]["spec"]).get("cpu", Decimal(0))
    return _Pods(_pods_by_capacity(world, name, nodes), cores, usd_vcpu_hours(world, nodes))


def _pods_by_capacity(world: World, name: str, nodes: Sequence[NodeFact]) -> Mapping[str, int]:
    capacity = {node.name: node.capacity for node in nodes}
    pods = world.cluster.list(POD, world.estate.namespace, f"app={name}")
    return Counter(capacity.get(pod["spec"].get("nodeName", ""), "") for pod in pods)


def backends(world: World) -> tuple[list[Backend], dict[str, str]]:
    """A backend for each Service, and why those that are not used are not. Raises Refused without the workload."""
    well, pods, pod_qps = healths(world), _pods(world), most_replicas(world) * world.estate.qps_per_replica()
    found: list[Backend] = []
    unused: dict[str, str] = {}
    own = [s for s, names in services(world.estate).items() if _capacity(world, names) is None]
    every = sum(well[service].ready for service in own)
    for service, names in services(world.estate).items():
        given = _capacity(world, names)
        part = well[service].ready / every if every else 1 / max(1, len(own))
        capacity = pod_qps * part if given is None else given
        parts = list(_parts(world, names, pods))
        backend = replace(joined(service, parts, capacity), healthy=well[service].healthy)
        reason = well[service].reason
        if any(part.healthy is None for part in parts):
            backend, reason = replace(backend, healthy=None), reason or f"{service}: what a request costs is not known"
        found.append(backend)
        unused |= {} if backend.usable else {service: reason}
    return found, unused


def _capacity(world: World, names: Sequence[BackendName]) -> float | None:
    """Requests a second that a region may give to a Service whose capacity the estate tells; None: that of its pods."""
    known = [world.estate.edge.routing.backends[name].capacity_qps for name in names]
    if any(capacity is None for capacity in known):
        return None
    share = world.estate.traffic.target_utilisation / len(world.estate.regions)
    return sum(capacity for capacity in known if capacity) * share


def _parts(world: World, names: Sequence[BackendName], pods: _Pods) -> Iterator[Backend]:
    """The backends behind one Service, by price; those without any pod are left out while others have some."""
    counts = {name: pods.on.get(CAPACITIES.get(name, ""), 0) for name in names}
    for name in names:
        if len(names) > 1 and any(counts.values()) and not counts[name]:
            continue
        spec = world.estate.edge.routing.backends[name]
        usd = usd_million_of(world, name, spec, pods.usd_vcpu_hour, pods.cores)
        price = spec.plan_usd_million if usd is None else usd
        yield Backend(name, price, counts[name], (shape(spec.latency),), None if usd is None else True)


def shape(latency: LatencyShape) -> Latency:
    """The estate's description of a backend's times."""
    return Latency(latency.p50_ms, latency.p95_ms, latency.network_ms)
