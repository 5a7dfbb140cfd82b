"""A region in memory in which OpenCost, Kubecost, dashboard and rules can be rolled out."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from include.clients.prometheus import Rule, Sample, Series
from include.estate import Estate, load_estate
from include.levers.cost_monitoring import CostMonitoring
from include.levers.cost_monitoring.rules import Scrape, groups
from include.levers.cost_monitoring.wanted import (
    KUBECOST,
    OPENCOST,
    MonitoringSettings,
)
from include.prices import load_aws_book
from include.rollout.gates import judge_all
from include.rollout.lever import Check, Target
from include.rollout.settings import build
from lab.machine.programs import BuildError, find
from tests.unit.levers import spot_world
from tests.unit.levers.fake_cluster import Writes
from tests.unit.levers.spot_world import NOW

US, CANARY = "us-east-1", "ap-northeast-1"
LEVER = CostMonitoring(now=lambda: NOW)
SCRAPE = Scrape("opencost", {}, "")


class Cluster(spot_world.FakeCluster):
    """OpenCost's and Kubecost's Deployments become ready."""

    becomes_ready = True

    def settle(self) -> None:
        super().settle()
        for (kind, _, name), thing in self.objects.items():
            if kind == "Deployment" and name in (OPENCOST, KUBECOST) and self.becomes_ready:
                seen = thing["metadata"].get("generation", 0)
                conditions = [spot_world.condition("Available")]
                ready = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
                thing["status"] = {"observedGeneration": seen, **ready, "conditions": conditions}


class Prometheus:
    """OpenCost's prices of every node, Kubecost up, and the rules of the lever loaded."""

    url = "http://prom"

    def __init__(self, cluster: Cluster, estate: Estate, region: str) -> None:
        self.cluster, self.estate, self.region = cluster, estate, region
        self.factor = 1.0  # OpenCost's prices against the book's
        self.unpriced = 0  # so many nodes without a price
        self.regions = {region}
        self.empty: set[str] = set()  # queries without data
        self.rule_health, self.rule_error, self.loaded = "ok", "", True
        self.up: list[tuple[float, float]] = [(NOW - 15, 0.0), (NOW - 10, 1.0), (NOW - 5, 1.0)]
        self.missing: set[str] = set()

    def query(self, expression: str) -> list[Sample]:
        if expression.startswith("max by (node)"):
            names = sorted(node["metadata"]["name"] for node in self.cluster.group_nodes())
            price = float(load_aws_book(self.estate).on_demand(self.region, "c7g.2xlarge") or 0)
            return [Sample({"node": name}, NOW, price * self.factor) for name in names[self.unpriced :]]
        if expression.startswith("count by (region) (akidb:cost_usd_day:region)"):
            return [Sample({"region": name}, NOW, 1.0) for name in sorted(self.regions)]
        return [] if expression in self.empty else [Sample({"region": self.region}, NOW, 1.0)]

    def value(self, expression: str) -> float | None:
        if expression.startswith("max(up"):
            return self.up[-1][1] if self.up else None
        return 1.5

    def raw(self, selector: str, seconds: float) -> list[Series]:
        return [Series({}, tuple(p for p in self.up if p[0] >= NOW - seconds))] if self.up else []

    def series_exists(self, selector: str) -> bool:
        return selector.split("{")[0] not in self.missing

    def rules(self) -> list[Rule]:
        found = groups(self.estate, self.region, SCRAPE) if self.loaded else []
        return [
            Rule(group["name"], rule.get("record") or rule["alert"], "recording", self.rule_health, self.rule_error)
            for group in found
            for rule in group["rules"]
        ]


class World:
    def __init__(self, region: str = US, estate: Estate | None = None, **chosen: Any) -> None:
        self.estate = estate or load_estate()
        self.writes = Writes()
        self.cluster = Cluster(self.estate, self.writes, spot_world.FakeAws(self.writes))
        self.cluster.unserved = {"prometheusrules"}
        self.prometheus = Prometheus(self.cluster, self.estate, region)
        clients = SimpleNamespace(kubernetes=self.cluster, aws=self.cluster.cloud, prometheus=self.prometheus)
        settings = build(MonitoringSettings, {"converge_timeout_seconds": 60} | chosen, self.estate)
        self.fences: list[int] = []
        self.target = Target(region, self.estate, "run", settings, clients, lambda: self.fences.append(1))

    def apply_all(self) -> dict[str, dict[str, Any]]:
        return {stage.slot: LEVER.apply(self.target, stage) for stage in LEVER.plan(self.target).stages}

    def foreign(self, name: str, **labels: str) -> None:
        """A Deployment that Helm has installed."""
        labels = {"app.kubernetes.io/managed-by": "Helm", **labels}
        entry = {"manager": "helm", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
        metadata = {"name": name, "namespace": name, "labels": labels, "managedFields": [entry]}
        self.cluster.put({"kind": "Namespace", "metadata": {"name": name, "managedFields": []}})
        self.cluster.put(
            {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": 1, "template": {"spec": {}}}}
        )


def failed(checks: list[Check]) -> dict[str, str]:
    return {check.name: f"{check.reason} -> {check.remedy}" for check in checks if not check.passed}


def outcomes(world: World, slot: str) -> dict[str, str]:
    stage = next(s for s in LEVER.plan(world.target).stages if s.slot == slot)
    figures = LEVER.observe(world.target, stage, 60, {"started_at": NOW - 20})
    return {r.gate.name: r.outcome.value for r in judge_all(stage.gates, figures)}


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    try:
        program = find("promtool")
    except BuildError as error:
        pytest.skip(f"promtool is not built: {error}")
    return subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
