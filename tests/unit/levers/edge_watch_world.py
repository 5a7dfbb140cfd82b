"""The canary region in memory, in which the edge's rules and dashboard can be rolled out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from include.clients.prometheus import Rule, Sample
from include.estate import Estate, load_estate
from include.levers.edge_monitoring import EdgeMonitoring, WatchSettings
from include.levers.edge_monitoring.watch import groups
from include.rollout.lever import Target
from include.rollout.settings import build
from tests.unit.levers import spot_world
from tests.unit.levers.fake_cluster import Writes
from tests.unit.levers.spot_world import NOW

CANARY, US = "ap-northeast-1", "us-east-1"
LEVER = EdgeMonitoring(now=lambda: NOW)


class Prometheus:
    """The edge's series, and the lever's rules loaded."""

    url = "http://prom"

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.loaded, self.health, self.error = True, "ok", ""
        self.empty: set[str] = set()  # queries without data
        self.missing: set[str] = set()  # series without a sample

    def query(self, expression: str) -> list[Sample]:
        return [] if expression in self.empty else [Sample({}, NOW, 12.0)]

    def series_exists(self, selector: str) -> bool:
        return selector not in self.missing

    def rules(self) -> list[Rule]:
        return [
            Rule(group["name"], rule.get("record") or rule["alert"], "alerting", self.health, self.error)
            for group in (groups(self.estate) if self.loaded else [])
            for rule in group["rules"]
        ]


class World:
    def __init__(self, region: str = CANARY) -> None:
        self.estate = load_estate()
        self.writes = Writes()
        self.cluster = spot_world.FakeCluster(self.estate, self.writes, spot_world.FakeAws(self.writes))
        self.cluster.unserved = {"prometheusrules"}
        self.prometheus = Prometheus(self.estate)
        clients: Any = SimpleNamespace(kubernetes=self.cluster, prometheus=self.prometheus)
        settings = build(WatchSettings, {"converge_timeout_seconds": 60}, self.estate)
        self.target = Target(region, self.estate, "run", settings, clients)
