"""The plant: a stand-in for the AkiDB service of all regions, in one process.

    python -m lab.service.akidb_service --state .lab --port 20001 [--start peak|now|UNIX] [--begins UNIX]
        [--time-scale 1] [--open-at N] [--edge-30ms] [--trace FILE]

Twice a second it takes each region's demand (``traffic.py``), lays it on the pods that are ready at that moment
(``endpoints.py``) through a queue (``queueing.py``), and moves the counters that AkiDB exports by what is
expected: no dice, so two runs agree. REST and gRPC clients don't switch protocol: each Deployment keeps its share of
the demand, the share of its replicas in the estate.

``--start peak``, the default, begins at 10:00 UTC of the last weekday, whatever the clock says, so that every
rehearsal faces the weekday peak; ``--start now`` follows the clock. ``--time-scale`` makes plant time pass faster:
the day's pattern moves faster, a request per second stays one. ``--begins`` is the moment of the clock at which plant
time is at its start; before it nobody is served. Without it that moment is now.

A region opens for requests when all its start replicas have been ready once, or ``--open-at`` of each Deployment:
nobody calls a service that is still being set up. Before that it has no series. ``GET /metrics`` is Prometheus text,
and so is ``GET /cadvisor``: the use of each running pod, of all namespaces, under the names that kubelets use; KWOK is
told the same (``kubelet.py``). ``GET /health`` is JSON: 200 once every region is open.
What viewers in ten regions of the world wait for is made up as well (``lab/service/viewers.py``): ``GET /probes`` is
JSON. The plant is also the gateway: it follows the region's HTTPRoute (``routing.py``); without one all goes to the
pods. ``GET /devices`` is JSON: the requests/s of each edge device, which is also a series.
``plant_faults.json`` in the state folder, re-read when it changes, breaks the service on purpose:
``{"us-east-1": {"extra_latency_ms": 80, "error_ratio": 0.01, "leak": {"app": "akidb-grpc", "mib": 4000}}}``; a
``load_factor`` multiplies the demand.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from include.estate import Estate, load_estate
from lab.service import cadvisor, devices, gateway, kubelet, routing
from lab.service.consumption import Consumption
from lab.service.endpoints import Census, Endpoints, watch_region
from lab.service.faults import FAULTS_FILE, Fault, ServiceFaults
from lab.service.kubelet import Kubelet
from lab.service.pods import Pod
from lab.service.routing import Backends, Routes
from lab.service.serving import EDGES, AkidbService, service_of
from lab.service.traffic import Demand, TraceError, demand_of, plant_start
from lab.service.usage import MIB, PROTOCOLS, Use, constant_use, serving_use
from lab.service.viewers import Distribution, Viewers

TICK_SECONDS = 0.5
LONGEST_TICK_SECONDS = 5.0  # after a stopped machine: no burst of hours of requests


@dataclass
class RegionPlant:
    """One region: who serves there, its services by Deployment, and what all its pods use.

    ``kubelet`` tells the cluster about use and kills; None: nobody does. ``leaking`` is the uid of the pod that leaks.
    ``backends`` serve what an HTTPRoute sends elsewhere; None: nobody follows one.
    """

    endpoints: Endpoints
    services: dict[str, AkidbService]
    is_open: bool = False
    memory_bytes: float = 0.0
    offered_qps: float = 0.0
    pods: dict[str, Census] = field(default_factory=dict)
    usage: Consumption = field(default_factory=Consumption)
    kubelet: Kubelet | None = None
    leaking: str = ""
    backends: Backends | None = None


class Plant:
    """All regions. ``tick`` moves the counters; ``metrics`` and ``health`` read them."""

    def __init__(
        self,
        estate: Estate,
        regions: Mapping[str, Endpoints],
        demand: Demand,
        faults: ServiceFaults,
        edge_30ms: bool = False,
        open_at: int | None = None,
        kubelets: Mapping[str, Kubelet] | None = None,
        viewers: Viewers | None = None,
        routes: Mapping[str, Routes] | None = None,
    ) -> None:
        self._estate, self.viewers = estate, viewers
        self._open_at = {name: w.replicas if open_at is None else open_at for name, w in estate.workloads.items()}
        self._demand = demand
        self._faults = faults
        self._lock = threading.Lock()
        self._plant_time: float | None = None
        workloads = {name: w for name, w in estate.workloads.items() if name in PROTOCOLS}
        replicas = sum(workload.replicas for workload in workloads.values())
        self._shares = {name: workload.replicas / replicas for name, workload in workloads.items()}
        self._regions = {
            region: RegionPlant(endpoints, {name: service_of(PROTOCOLS[name], edge_30ms) for name in workloads})
            for region, endpoints in regions.items()
        }
        for name, found in (kubelets or {}).items():
            self._regions[name].kubelet = found
        edges = service_of(PROTOCOLS.get(estate.edge.routing.workload, "http"), edge_30ms).edges
        for name, routed in (routes or {}).items():
            self._regions[name].backends = Backends(estate, edges, routed)

    def tick(self, seconds: float, plant_time: float) -> None:
        """Serve ``seconds`` (of the clock) of the demand at ``plant_time`` in the regions that are open."""
        self._faults.refresh()
        with self._lock:
            self._plant_time = plant_time
            for name, region in self._regions.items():
                if region.endpoints.complete:
                    self._serve(name, region, seconds, plant_time)

    def _serve(self, name: str, region: RegionPlant, seconds: float, plant_time: float) -> None:
        region.pods = region.endpoints.take_census()
        if not region.is_open:
            serving = {app: region.pods.get(app, Census()).serving for app in region.services}
            region.is_open = all(count >= self._open_at[app] for app, count in serving.items())
            return
        region.offered_qps = self._demand.qps(name, plant_time) * self._faults.of(name).load_factor
        for app, service in region.services.items():
            census = region.pods.get(app, Census())
            before, backends = service.state(), self._router(region, app)
            offered = region.offered_qps * self._shares[app]
            offered = backends.left(seconds, offered) if backends else offered
            service.advance(seconds, offered, census, self._estate.traffic.replica_qps, self._faults.of(name))
            if backends:
                backends.credit(before, service.state(), region.endpoints.spot_share(app))
        self._use(region, seconds, self._faults.of(name))

    def _router(self, region: RegionPlant, app: str) -> Backends | None:
        return region.backends if app == self._estate.edge.routing.workload else None

    def _use(self, region: RegionPlant, seconds: float, fault: Fault) -> None:
        """Move the use of all pods on, and let those die that use too much memory."""
        serving, pods = region.endpoints.serving(), region.endpoints.running_pods()
        ours = [pod for pod in pods if pod.uid in serving and pod.app in region.services]
        uses = {app: self._use_of(app, service) for app, service in region.services.items()}
        idle = {app: self._use_of(app, None) for app in region.services}

        def use_of(pod: Pod) -> Use:
            if pod.app not in region.services or pod.namespace not in ("", self._estate.namespace):
                return constant_use(pod.workload)
            return uses[pod.app] if pod.uid in serving else idle[pod.app]

        leaks = _leaks(region, fault, serving, pods)
        kills = region.usage.advance(seconds, pods, use_of, leaks, region.endpoints.memory_of_nodes())
        for kill in kills:
            region.endpoints.lose(kill.pod.uid)
        region.memory_bytes = region.usage.memory_bytes({pod.uid for pod in ours})
        if region.kubelet:
            region.kubelet.killed(kills)
            region.kubelet.show(region.usage)

    def _use_of(self, app: str, service: AkidbService | None) -> Use:
        utilisation = service.load.utilisation if service and service.load else 0.0
        return serving_use(self._estate.traffic, self._estate.workloads[app].use_at_peak, utilisation)

    def metrics(self) -> str:
        """All series in Prometheus' text format."""
        with self._lock:
            lines = [line for protocol in EDGES for line in self._series(protocol)]
            lines.append("# TYPE akidb_memory_usage_bytes gauge")
            for name, region in self._regions.items():
                if region.is_open:
                    lines.append(f"akidb_memory_usage_bytes{{{self._labels(name)}}} {region.memory_bytes:.0f}")
            routed = {name: region.backends for name, region in self._regions.items() if region.backends}
            lines += routing.series(routed, self._labels)
            if self._plant_time is not None:
                lines += devices.series(self._estate, self._plant_time)
        lines += self.viewers.series() if self.viewers else ()
        return "\n".join(lines) + "\n"

    def devices(self) -> dict[str, float]:
        """Requests/s by edge device; none before the first tick."""
        with self._lock:
            return {} if self._plant_time is None else devices.loads(self._estate, self._plant_time)

    def cadvisor(self) -> str:
        """The use of each running pod of the regions that are open, named and labelled as kubelets do."""
        with self._lock:
            return cadvisor.page({name: region.usage for name, region in self._regions.items()})

    def _labels(self, region: str) -> str:
        return f'region="{region}",namespace="{self._estate.namespace}"'

    def _series(self, protocol: str) -> Iterator[str]:
        services = [
            (name, service)
            for name, region in self._regions.items()
            for service in region.services.values()
            if service.protocol == protocol and region.is_open
        ]
        yield f"# TYPE akidb_{protocol}_requests_total counter"
        for name, service in services:
            for status, count in service.requests.items():
                yield f'akidb_{protocol}_requests_total{{{self._labels(name)},status="{status}"}} {count:.6f}'
        duration = f"akidb_{protocol}_request_duration_seconds"
        yield f"# TYPE {duration} histogram"
        for name, service in services:
            for edge, count in zip(service.edges, service.buckets, strict=True):
                yield f'{duration}_bucket{{{self._labels(name)},le="{edge:g}"}} {count:.6f}'
            yield f'{duration}_bucket{{{self._labels(name)},le="+Inf"}} {service.duration_count:.6f}'
            yield f"{duration}_sum{{{self._labels(name)}}} {service.duration_sum:.6f}"
            yield f"{duration}_count{{{self._labels(name)}}} {service.duration_count:.6f}"

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether every region is open, and the state of each region."""
        with self._lock:
            regions = {name: _state(region) for name, region in self._regions.items()}
            every = all(region.is_open for region in self._regions.values())
            return every, {"plant_time": self._plant_time, "regions": regions}


def _leaks(region: RegionPlant, fault: Fault, serving: Collection[str], pods: Sequence[Pod]) -> dict[str, float]:
    """Bytes that leak, by uid: in the first serving pod by name, and in that one until it is gone."""
    if fault.leak is None:
        region.leaking = ""
        return {}
    if region.leaking not in {pod.uid for pod in pods}:
        candidates = sorted((pod.name, pod.uid) for pod in pods if pod.app == fault.leak.app and pod.uid in serving)
        region.leaking = candidates[0][1] if candidates else ""
    return {region.leaking: fault.leak.mib * MIB} if region.leaking else {}


def _state(region: RegionPlant) -> dict[str, Any]:
    services = {}
    for app, service in region.services.items():
        census, load = region.pods.get(app, Census()), service.load
        p95 = load.quantile_seconds(0.95) * 1000 if load and load.servers else None
        services[app] = {
            "serving": census.serving,
            "dead": census.dead,
            "utilisation": round(load.utilisation, 3) if load else None,
            "p95_ms": None if p95 is None else round(p95, 1),
        }
    state = {"open": region.is_open, "offered_qps": round(region.offered_qps, 1), "services": services}
    if region.backends and region.backends.is_routed:
        state["routed"] = {name: round(share, 4) for name, share in region.backends.routes.shares().items()}
    return state if region.kubelet is None else {**state, "kubelet_calls": region.kubelet.calls}


def run_clock(plant: Plant, start: float, time_scale: float, stop: threading.Event, wait: float = 0.0) -> None:
    """Tick until ``stop`` is set. It is ``start`` after ``wait`` seconds, and nothing is served before; then plant time
    passes ``time_scale`` times as fast as the clock.
    """
    begun = last = time.monotonic() + wait
    while not stop.wait(TICK_SECONDS):
        now = time.monotonic()
        if now > begun:
            plant.tick(min(now - last, LONGEST_TICK_SECONDS), start + (now - begun) * time_scale)
            last = now


def start_mode(text: str) -> str | float:
    """``peak``, ``now``, or a number. Raises ValueError for another text."""
    return text if text in ("peak", "now") else float(text)


def server(plant: Plant, port: int) -> ThreadingHTTPServer:
    """An HTTP server on loopback for /metrics and /health; port 0 takes a free one."""

    class ServiceHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, "text/plain; version=0.0.4; charset=utf-8", plant.metrics())
            elif self.path == "/cadvisor":
                self._answer(200, "text/plain; version=0.0.4; charset=utf-8", plant.cadvisor())
            elif self.path == "/probes" and plant.viewers:
                self._answer(200, "application/json", json.dumps(plant.viewers.results()))
            elif self.path == "/devices":
                self._answer(200, "application/json", json.dumps(plant.devices()))
            elif self.path == "/health":
                every, state = plant.health()
                self._answer(200 if every else 503, "application/json", json.dumps(state))
            else:
                self._answer(404, "text/plain", "only /metrics, /cadvisor, /probes, /devices and /health are here\n")

        def _answer(self, status: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            """A scrape every two seconds is not worth a line."""

    return ThreadingHTTPServer(("127.0.0.1", port), ServiceHandler)


def main() -> None:
    """Run the plant until it is ended by a signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="the lab's folder, with state.json")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--start", type=start_mode, default="peak", help="peak, now, or plant time in Unix seconds")
    parser.add_argument("--begins", type=float, help="Unix seconds at which plant time is at its start (default: now)")
    parser.add_argument("--open-at", type=int, help="replicas of each Deployment that open a region (default: all)")
    parser.add_argument("--time-scale", type=float, default=1.0)
    parser.add_argument("--edge-30ms", action="store_true", help="a histogram edge at 30 ms, which AkiDB does not have")
    parser.add_argument("--trace", type=Path, help="CSV of traffic instead of the estate's pattern")
    arguments = parser.parse_args()
    estate = load_estate()
    try:
        demand = demand_of(estate, arguments.trace)
        state = json.loads((arguments.state / "state.json").read_text(encoding="utf-8"))
    except (OSError, TraceError) as error:
        sys.exit(f"plant: {error}")
    regions = {name: Endpoints(estate.namespace) for name in state["regions"]}
    kubeconfigs = {name: Path(region["kubeconfig"]) for name, region in state["regions"].items()}
    kubelets = {name: Kubelet(kubelet.ClusterReports(path)) for name, path in kubeconfigs.items()}
    faults = ServiceFaults(arguments.state / FAULTS_FILE, regions)
    viewers = Viewers(estate, Distribution(estate, state["aws_endpoint"]))
    viewers.follow()
    routes = {name: gateway.watch_routes(path, estate, name) for name, path in kubeconfigs.items()}
    plant = Plant(estate, regions, demand, faults, arguments.edge_30ms, arguments.open_at, kubelets, viewers, routes)
    for name, endpoints in regions.items():
        watch_region(kubeconfigs[name], endpoints, name)
        kubelet.keep_reporting(kubelets[name], name)
    now = time.time()
    begins = now if arguments.begins is None else arguments.begins
    start = plant_start(arguments.start, begins)
    clock = threading.Thread(
        target=run_clock, args=(plant, start, arguments.time_scale, threading.Event(), begins - now), daemon=True
    )
    clock.start()
    server(plant, arguments.port).serve_forever()


if __name__ == "__main__":
    main()
