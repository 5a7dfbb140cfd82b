"""The lab's router: it follows the real HTTPRoute of a region, as a gateway's controller would, and counts by backend.

A real gateway can't reach the plant: EndpointSlices refuse loopback addresses. So the plant gives each backend its
share itself. Without a route everything goes to the pods. A share whose Service does not exist is answered with 500, as
Gateway API asks for; pods behind one Service get theirs by their number.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from include.estate import Estate, RoutingBackend
from lab.service.counters import FAULT, OK, REFUSED, Counters

Object = Mapping[str, Any]
CONTROLLER = "akidb.lab/plant"
NOBODY = "invalid"  # the backend label of requests whose backend does not exist
Z95 = 1.6448536269514722


class Routes:
    """The HTTPRoutes and Services of one region's namespace; methods may be called from several threads."""

    def __init__(
        self, estate: Estate, accept: Callable[[str, list[Object]], None] = lambda _name, _parents: None
    ) -> None:
        self._estate, self._accept = estate, accept
        self._lock = threading.Lock()
        self._routes: dict[str, Object] = {}
        self._services: set[str] = set()
        self._told: dict[str, list[Object]] = {}  # what was written last: twice the same would go round in circles

    def replace_routes(self, items: Iterable[Object]) -> None:
        """Take over a complete list."""
        with self._lock:
            self._routes = {item["metadata"]["name"]: item for item in items}
        self._tell()

    def route_event(self, kind: str, item: Object) -> None:
        """Take over an ADDED, MODIFIED or DELETED event of an HTTPRoute."""
        with self._lock:
            self._routes.pop(item["metadata"]["name"], None)
            if kind in ("ADDED", "DELETED"):
                self._told.pop(item["metadata"]["name"], None)
            if kind != "DELETED":
                self._routes[item["metadata"]["name"]] = item
        self._tell()

    def replace_services(self, items: Iterable[Object]) -> None:
        """Take over a complete list."""
        with self._lock:
            self._services = {item["metadata"]["name"] for item in items}
        self._tell()

    def service_event(self, kind: str, item: Object) -> None:
        """Take over an ADDED, MODIFIED or DELETED event of a Service."""
        with self._lock:
            (self._services.discard if kind == "DELETED" else self._services.add)(item["metadata"]["name"])
        self._tell()

    def shares(self) -> dict[str, float]:
        """Share (0..1) of the routed workload's requests by Service; ``invalid`` for those that nobody would get.

        Empty without a route of the estate's Gateway.
        """
        with self._lock:
            route = self._routes.get(self._estate.edge.routing.route)
            if route is None or "deletionTimestamp" in route["metadata"] or not self._is_ours(route):
                return {}
            weights = self._weights(route)
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items()} if total else {NOBODY: 1.0}

    def _is_ours(self, route: Object) -> bool:
        parents = route["spec"].get("parentRefs") or []
        return any(parent["name"] == self._estate.edge.routing.gateway for parent in parents)

    def _weights(self, route: Object) -> dict[str, int]:
        """Of the last rule, which takes what no other one matches: the plant's requests carry nothing to be told by."""
        rules = route["spec"].get("rules") or []
        found: dict[str, int] = {}
        for ref in rules[-1].get("backendRefs") or [] if rules else []:
            name = ref["name"] if ref["name"] in self._services else NOBODY
            found[name] = found.get(name, 0) + int(ref.get("weight", 1))
        return found

    def _tell(self) -> None:
        """Say of each route what a gateway would, where it does not stand there yet."""
        with self._lock:
            states = [
                (name, route, self._parents(route)) for name, route in self._routes.items() if self._is_ours(route)
            ]
        for name, route, parents in states:
            now = [_without_time(parent) for parent in route.get("status", {}).get("parents") or []]
            if now != parents and self._told.get(name) != parents:
                self._accept(name, parents)
                self._told[name] = parents

    def _parents(self, route: Object) -> list[Object]:
        refs = [ref for rule in route["spec"].get("rules") or [] for ref in rule.get("backendRefs") or []]
        lost = sorted({ref["name"] for ref in refs} - self._services)
        generation = int(route["metadata"].get("generation", 1))
        resolved = (
            ("False", "BackendNotFound", f"no Service {', '.join(lost)}") if lost else ("True", "ResolvedRefs", "")
        )
        states = {"Accepted": ("True", "Accepted", ""), "ResolvedRefs": resolved}
        conditions = [
            {"type": kind, "status": state, "reason": reason, "message": text, "observedGeneration": generation}
            for kind, (state, reason, text) in states.items()
        ]
        return [
            {"parentRef": ref, "controllerName": CONTROLLER, "conditions": conditions}
            for ref in route["spec"]["parentRefs"]
            if ref["name"] == self._estate.edge.routing.gateway
        ]


def _without_time(parent: Object) -> Object:
    conditions = [{k: v for k, v in c.items() if k != "lastTransitionTime"} for c in parent.get("conditions") or []]
    return {**parent, "conditions": conditions}


@dataclass
class Backends:
    """Who serves the routed requests of one region, and what has been counted of each."""

    estate: Estate
    edges: tuple[float, ...]
    routes: Routes
    counters: dict[str, Counters] = field(default_factory=dict)
    is_routed: bool = False  # whether there was a route at the last look

    def left(self, seconds: float, offered_qps: float) -> float:
        """Serve ``seconds`` of what goes elsewhere; the requests a second that are left for the pods."""
        shares, routing = self.routes.shares(), self.estate.edge.routing
        self.is_routed = bool(shares)
        if not shares:
            return offered_qps
        for name, backend in routing.backends.items():
            if backend.capacity_qps is not None:
                self._modelled(name, backend, seconds, offered_qps * shares.get(backend.service, 0.0))
        if NOBODY in shares:
            self._of(NOBODY).requests[FAULT] += offered_qps * shares[NOBODY] * seconds
        own = {backend.service for backend in routing.backends.values() if backend.capacity_qps is None}
        return offered_qps * sum(shares.get(service, 0.0) for service in own)

    def _modelled(self, name: str, backend: RoutingBackend, seconds: float, qps: float) -> None:
        """What is not in the cluster: log-normal times, and no more than its capacity."""
        found, most = self._of(name), backend.capacity_qps or 0.0
        answered = min(qps, most) * seconds
        found.requests[OK] += answered
        found.requests[REFUSED] += max(0.0, qps - most) * seconds
        for n, edge in enumerate(self.edges):
            found.buckets[n] += answered * share_within(backend, edge * 1000)
        found.duration_count += answered
        found.duration_sum += answered * mean_seconds(backend)

    def credit(self, before: Counters, after: Counters, spot_share: float) -> None:
        """Count what the pods have served between two states of their counters, by the capacity that they run on."""
        if self.is_routed:
            self._of("spot").add(before, after, spot_share)
            self._of("on_demand").add(before, after, 1 - spot_share)

    def _of(self, name: str) -> Counters:
        return self.counters.setdefault(name, Counters(self.edges))

    def requests(self, labels: str) -> Iterator[str]:
        """Requests by backend and status in Prometheus' text format; nothing before the first routed one."""
        routing = self.estate.edge.routing
        for name, found in self.counters.items():
            for status, count in found.requests.items():
                mine = f'{labels},{routing.backend_label}="{name}",status="{status}"'
                yield f"{routing.requests_metric}{{{mine}}} {count:.6f}"

    def durations(self, labels: str) -> Iterator[str]:
        """Their times by backend."""
        routing = self.estate.edge.routing
        for name, found in self.counters.items():
            yield from found.histogram(routing.duration_metric, f'{labels},{routing.backend_label}="{name}"')


def series(found: Mapping[str, Backends], labels: Callable[[str], str]) -> list[str]:
    """The series of all regions; none before the first routed request."""
    parts = {"requests_metric": Backends.requests, "duration_metric": Backends.durations}
    kinds = {"requests_metric": "counter", "duration_metric": "histogram"}
    lines: list[str] = []
    for metric, of in parts.items():
        mine = [line for region, backends in found.items() for line in of(backends, labels(region))]
        routing = next(iter(found.values())).estate.edge.routing if found else None
        lines += [f"# TYPE {getattr(routing, metric)} {kinds[metric]}", *mine] if mine else []
    return lines


def share_within(backend: RoutingBackend, milliseconds: float) -> float:
    """Share of a modelled backend's requests that take at most so long. The network to the user is not in it."""
    times = math.log(milliseconds / backend.latency.p50_ms) / _spread(backend)
    return 0.5 * math.erfc(-times / math.sqrt(2))


def mean_seconds(backend: RoutingBackend) -> float:
    """Mean time of a modelled backend's requests."""
    return backend.latency.p50_ms / 1000 * math.exp(_spread(backend) ** 2 / 2)


def _spread(backend: RoutingBackend) -> float:
    return math.log(backend.latency.p95_ms / backend.latency.p50_ms) / Z95
