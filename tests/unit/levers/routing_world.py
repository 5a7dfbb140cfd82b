"""A region in memory whose requests can be routed: a cluster with a Gateway's controller, Route 53, Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import boto3
from moto import mock_aws

from include.clients.access import Access
from include.clients.aws import Aws
from include.clients.prometheus import Series
from include.estate import Estate, load_estate
from include.levers.request_routing import RequestRouting
from include.levers.request_routing.settings import RoutingSettings
from include.rollout.gates import judge_all
from include.rollout.lever import Check, Stage, Target
from include.rollout.settings import build
from lab.cloud import moto_route53
from lab.cloud.dns import seed_dns
from tests.unit.levers import spot_world
from tests.unit.levers.fake_cluster import Writes
from tests.unit.levers.spot_world import NOW, REGION, Object, condition

LEVER = RequestRouting(now=lambda: NOW, sleep=lambda _: None)
ROUTE = ("HTTPRoute", "akidb", "akidb")
OUTSIDE = ("akidb-jetson", "akidb-lambda")
DEMAND = 2940.0  # requests a second of akidb-rest at the weekday peak
BACKENDS = {"akidb-jetson": ("jetson",), "akidb-rest": ("spot", "on_demand"), "akidb-lambda": ("lambda",)}


class Cluster(spot_world.FakeCluster):
    """The Gateway's controller takes every route at once, and says so."""

    takes_routes = True

    def settle(self) -> None:
        super().settle()
        for (kind, _, _), thing in self.objects.items():
            if kind == "HTTPRoute" and self.takes_routes:
                seen = {"status": "True", "observedGeneration": thing["metadata"].get("generation", 0)}
                conditions = [{"type": kind, **seen} for kind in ("Accepted", "ResolvedRefs")]
                thing["status"] = {"parents": [{"parentRef": {"name": "akidb"}, "conditions": conditions}]}

    def weights(self) -> dict[str, int]:
        """The weights that stand; everything to the pods without a route."""
        route = self.objects.get(ROUTE)
        refs = route["spec"]["rules"][0]["backendRefs"] if route else [{"name": "akidb-rest", "weight": 1}]
        return {ref["name"]: ref["weight"] for ref in refs}


class Prometheus:
    """What the plant would export: 2,940 requests a second, each backend with the share of its weight."""

    url, access = "http://prom", Access("http://prom")

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.peak = DEMAND
        self.failed = 0.0  # share of the requests
        self.slow = 0.0  # share of the requests that take a second
        self.silent: set[str] = set()  # series without samples, by a part of the expression
        self.served: Mapping[str, int] | None = None  # weights that the router really follows

    def value(self, expression: str) -> float | None:
        if any(part in expression for part in self.silent):
            return None
        if expression.startswith("max_over_time"):
            return self.peak
        if " unless " in expression:
            return None
        count = DEMAND * 20
        if found := re.search(r'backend="(\w+)"', expression):
            count *= self._share(found[1])
        return count * self.failed if '=~"5..' in expression else count

    def _share(self, backend: str) -> float:
        weights = self.served or self.cluster.weights()
        service = next(name for name, parts in BACKENDS.items() if backend in parts)
        return weights.get(service, 0) / sum(weights.values()) / len(BACKENDS[service])

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        if any(part in expression for part in self.silent):
            return []
        failed = self.failed if '=~"5..' in expression else 1.0
        times = [start + n * step for n in range(round((end - start) / step) + 1)]
        return [Series({}, tuple((at, DEMAND * failed) for at in times))]

    def series_exists(self, selector: str) -> bool:
        return not any(part in selector for part in self.silent)

    def bucket_increases(self, histogram: str, matchers: str, seconds: float) -> dict[float, float] | None:
        if any(part in histogram for part in self.silent):
            return None
        total, quick = 1000.0, 1000.0 * (1 - self.slow)
        return {0.01: 0.7 * quick, 0.025: 0.99 * quick, 0.05: quick, 1.0: total, float("inf"): total}


class RegionAws:
    """Route 53 in memory (moto, repaired), everything else as the spot lever's world has it."""

    def __init__(self, others: spot_world.FakeAws, session: Any) -> None:
        self.asked: set[str] = set()
        self._others, self._route53 = others, Aws(lambda name, config: session.client(name, config=config))

    def call(self, service: str, operation: str, **parameters: Any) -> Any:
        self.asked.add(f"{service}:{operation}")
        found = self._route53 if service == "route53" else self._others
        return found.call(service, operation, **parameters)

    def pages(self, service: str, operation: str, key: str, **parameters: Any) -> Iterator[Any]:
        self.asked.add(f"{service}:{operation}")
        found = self._route53 if service == "route53" else self._others
        yield from found.pages(service, operation, key, **parameters)


class World:
    """One region. ``close`` ends it: moto's state is the process's."""

    def __init__(self, estate: Estate | None = None, **chosen: Any) -> None:
        moto_route53.as_aws()
        self.mock = mock_aws()
        self.mock.start()
        self.estate = estate or load_estate()
        session = boto3.Session("x", "x", region_name="us-east-1")
        self.route53 = session.client("route53")
        self.zone = seed_dns(self.route53, self.estate)
        self.writes = Writes()
        cloud = spot_world.FakeAws(self.writes)
        self.cluster = Cluster(self.estate, self.writes, cloud)
        self.prometheus, self.aws = Prometheus(self.cluster), RegionAws(cloud, session)
        self._put_backends()
        clients = SimpleNamespace(kubernetes=self.cluster, aws=self.aws, prometheus=self.prometheus)
        settings = build(RoutingSettings, {"converge_timeout_seconds": 60} | chosen, self.estate)
        self.fences: list[int] = []
        self.target = Target(REGION, self.estate, "run", settings, clients, lambda: self.fences.append(1))

    def _put_backends(self) -> None:
        for service in {backend.service for backend in self.estate.edge.routing.backends.values()}:
            metadata = {"name": service, "namespace": self.estate.namespace, "managedFields": []}
            self.cluster.put({"kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 8080}]}})
            self.endpoints(service, 5 if service in OUTSIDE else 15)
        gateway = {"name": "akidb", "namespace": self.estate.namespace, "managedFields": []}
        status = {"conditions": [condition("Programmed")]}
        self.cluster.put({"kind": "Gateway", "metadata": gateway, "spec": {}, "status": status})

    def endpoints(self, service: str, ready: int, ill: int = 0) -> None:
        """So many endpoints of a Service."""
        labels = {"kubernetes.io/service-name": service}
        metadata = {"name": f"{service}-a", "namespace": self.estate.namespace, "labels": labels, "managedFields": []}
        found = [{"addresses": ["10.0.0.1"], "conditions": {"ready": n < ready}} for n in range(ready + ill)]
        self.cluster.put({"kind": "EndpointSlice", "metadata": metadata, "endpoints": found})

    def close(self) -> None:
        self.mock.stop()

    def route(self) -> Object | None:
        """The HTTPRoute that stands."""
        return self.cluster.objects.get(ROUTE)

    def records(self) -> dict[str, Object]:
        """The record sets by name and set identifier."""
        found = self.route53.list_resource_record_sets(HostedZoneId=self.zone)["ResourceRecordSets"]
        return {f"{record['Name']} {record.get('SetIdentifier', '')}".strip(): record for record in found}

    def weight(self, region: str = REGION) -> int:
        """The weight of a region's record set."""
        return int(self.records()[f"regions.akidb.example. {region}"]["Weight"])

    def set_weight(self, weight: int, region: str = REGION) -> None:
        """Somebody else's change of it."""
        record = {**self.records()[f"regions.akidb.example. {region}"], "Weight": weight}
        batch = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
        self.route53.change_resource_record_sets(HostedZoneId=self.zone, ChangeBatch=batch)

    def apply_all(self, target: Target | None = None) -> None:
        """Every stage."""
        target = target or self.target
        for stage in LEVER.plan(target).stages:
            LEVER.apply(target, stage)

    def outcomes(self, stage: Stage) -> dict[str, str]:
        """How the gates of a stage that was applied are judged."""
        figures = LEVER.observe(self.target, stage, 20, {"started_at": NOW - 20})
        return {r.gate.name: r.outcome.value for r in judge_all(stage.gates, figures)}


def failed(checks: list[Check]) -> dict[str, str]:
    """The checks that failed, with what to do."""
    return {check.name: f"{check.reason} -> {check.remedy}" for check in checks if not check.passed}
