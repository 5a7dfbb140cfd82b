"""A small world for the predictive-scaling lever: a cluster with a KEDA of a few lines, Prometheus and a registry."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from include.clients.prometheus import Series
from include.clients.storage import Folder
from include.estate import Estate, load_estate
from include.forecast.registry import Action, ChampionDecision, Registry
from include.levers.predictive_scaling import PredictiveScaling
from include.levers.predictive_scaling.wanted import DEPLOYMENT_NAME, PredictiveSettings
from include.rollout.gates import judge_all
from include.rollout.lever import Check, Stage, Target
from include.rollout.settings import build
from tests.unit.levers import spot_world
from tests.unit.levers.fake_cluster import Writes
from tests.unit.levers.monitoring_world import Cluster
from tests.unit.levers.spot_world import NOW, Object, condition

REGION = "us-east-1"
AS_OF = "2027-01-15T00:00:00Z"
LEVER = PredictiveScaling(now=lambda: NOW)
PER_REPLICA = 280
WAPES = {"candidate": 0.05, "last_week_scaled": 0.08, "now": 0.12}


class ScalingCluster(Cluster):
    """KEDA makes an HPA of each ScaledObject and removes it with it; pods follow the replicas at once."""

    prometheus: ScalingPrometheus
    keda_works = True
    fallback = "False"

    def settle(self) -> None:
        super().settle()
        scaled = {name: o for (kind, _, name), o in self.objects.items() if kind == "ScaledObject"}
        for key in [key for key in self.objects if key[0] == "HorizontalPodAutoscaler"]:
            if key[2].removeprefix("keda-hpa-") not in scaled and key[2].startswith("keda-hpa-"):
                del self.objects[key]
        if self.keda_works:
            for name, thing in scaled.items():
                self._scale(name, thing)
        for (kind, _, name), thing in self.objects.items():
            if kind == "Deployment" and (name != DEPLOYMENT_NAME or self.becomes_ready):
                count = thing["spec"].get("replicas", 1)
                counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), count)
                seen = thing["metadata"].get("generation", 0)
                thing["status"] = counts | {"observedGeneration": seen, "conditions": [condition("Available")]}

    def _scale(self, name: str, thing: Object) -> None:
        thing["status"] = {"conditions": [condition("Ready"), condition("Fallback", self.fallback)]}
        spec, triggers = thing["spec"], thing["spec"]["triggers"]
        asked = [self.prometheus.demand(NOW), self.prometheus.added(NOW)][: len(triggers)]
        wanted = max(math.ceil(qps / PER_REPLICA) for qps in asked)
        desired = min(spec["maxReplicaCount"], max(spec["minReplicaCount"], wanted))
        self.put(autoscaler(f"keda-hpa-{name}", name, desired, len(triggers), ("ScaledObject", name)))
        self.objects["Deployment", self.estate.namespace, name]["spec"]["replicas"] = desired


def autoscaler(name: str, workload: str, desired: int, triggers: int, owner: tuple[str, str] | None = None) -> Object:
    owners = [{"kind": owner[0], "name": owner[1]}] if owner else []
    return {
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "akidb", "ownerReferences": owners, "managedFields": []},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": workload}},
        "status": {
            "desiredReplicas": desired,
            "currentMetrics": [{"type": "External", "external": {"current": {"averageValue": "1"}}}] * triggers,
            "conditions": [condition("AbleToScale"), condition("ScalingActive")],
        },
    }


class ScalingPrometheus(spot_world.FakePrometheus):
    """Each workload has 2,900 requests a second: 11 replicas. The forecast is fresh, sure and adds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.demand: Callable[[float], float] = lambda at: 2900.0  # of each workload at a time
        self.added: Callable[[float], float] = lambda at: 0.0  # the forecast's trigger
        self.lost = False  # the request counters
        self.age: float | None = 20.0
        self.sure = 1.0
        self.horizons: float | None = 15.0
        self.pods: float | None = 15.0

    def value(self, expression: str) -> float | None:
        if expression.startswith("time() - max(akidb_forecast_generated"):
            return self.age
        if expression.startswith("max(akidb_forecast_confident"):
            return None if self.age is None else self.sure
        if expression.startswith("count(count by (horizon)"):
            return self.horizons
        if expression.startswith("count(count by (pod)"):
            return self.pods
        if expression.startswith(("min_over_time(", "sum(rate(")):
            return None if self.lost else self.demand(NOW)
        return super().value(expression)

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        if expression.startswith("akidb_forecast"):
            return []  # nothing was served in the last day
        told = self.added if expression.startswith("clamp_max") else self.demand
        if expression.startswith(("clamp_max", "sum(rate(")) and "increase" not in expression:
            times = [start + n * step for n in range(round((end - start) / step) + 1)]
            lost = self.lost and told is self.demand
            return [] if lost else [Series({}, tuple((at, told(at)) for at in times))]
        return super().query_range(expression, start, end, step)


class World:
    """Everything of one region; with ``champion`` the registry has one that was promoted with ``WAPES``."""

    def __init__(self, folder: Path, champion: bool = True, estate: Estate | None = None, **chosen: Any) -> None:
        self.estate = estate or load_estate()
        self.writes = Writes()
        self.cluster = ScalingCluster(self.estate, self.writes, spot_world.FakeAws(self.writes))
        self.prometheus = self.cluster.prometheus = ScalingPrometheus()
        self.cluster.unserved = {"verticalpodautoscalers"}
        name = "v1beta1.external.metrics.k8s.io"
        available = {"conditions": [condition("Available")]}
        self.cluster.put({"kind": "APIService", "metadata": {"name": name}, "status": available})
        self.folder, self.storage = folder, Folder(folder / "models")
        self.clients = SimpleNamespace(
            kubernetes=self.cluster,
            aws=self.cluster.cloud,
            prometheus=self.prometheus,
            storage=lambda variable: {"akidb_models": self.storage}[variable],
            location=lambda variable: {"akidb_models": "s3://airflow@akidb-ml-models/traffic-predictor"}[variable],
        )
        self.fences: list[int] = []
        self.target = self.with_settings(**chosen)
        self.version = self.promote("first") if champion else ""

    def with_settings(self, **chosen: Any) -> Target:
        """The target with other settings."""
        settings = build(PredictiveSettings, {"converge_timeout_seconds": 60} | chosen, self.estate)
        return Target(REGION, self.estate, "run", settings, self.clients, lambda: self.fences.append(1))

    def promote(self, text: str, **wapes: float) -> str:
        """Make a new version the champion."""
        registry, made = Registry(self.storage, REGION), self.folder / f"made-{text}"
        made.mkdir(parents=True)
        (made / "candidate.json").write_text(text)
        window = {"first": "2026-12-16T00:00:00Z", "last": AS_OF}
        version = registry.add(made, model="blend", window=window, metrics={}, code_version="1")
        pointer = registry.pointer()
        figures = {"wape15": WAPES | wapes}
        registry.move(pointer, ChampionDecision(Action.PROMOTED, version, pointer.version, "better", AS_OF, figures))
        return version

    def apply_all(self, target: Target | None = None) -> dict[str, dict[str, Any]]:
        """Every stage of the plan, in order."""
        target = target or self.target
        return {stage.slot: LEVER.apply(target, stage) for stage in LEVER.plan(target).stages}

    def replicas(self) -> dict[str, int]:
        """Wanted replicas of each workload."""
        names = self.estate.workloads
        return {name: self.cluster.objects["Deployment", "akidb", name]["spec"]["replicas"] for name in names}

    def triggers(self, workload: str) -> list[str]:
        """The names of a workload's triggers."""
        return [t["name"] for t in self.cluster.objects["ScaledObject", "akidb", workload]["spec"]["triggers"]]


# What tests ask of it ---------------------------------------------------------------------------------------------


def settings_of(estate: Estate, **chosen: Any) -> PredictiveSettings:
    return build(PredictiveSettings, chosen, estate)


def failed(checks: list[Check]) -> dict[str, str]:
    return {check.name: f"{check.reason} -> {check.remedy}" for check in checks if not check.passed}


def stage_of(world: World, slot: str, target: Target | None = None) -> Stage:
    return next(stage for stage in LEVER.plan(target or world.target).stages if stage.slot == slot)


def judged(world: World, slot: str) -> dict[str, tuple[str, str]]:
    stage = stage_of(world, slot)
    figures = LEVER.observe(world.target, stage, 60, {"started_at": NOW - 60})
    return {result.gate.name: (result.outcome.value, result.reason) for result in judge_all(stage.gates, figures)}


def outcomes(world: World, slot: str) -> dict[str, str]:
    return {name: outcome for name, (outcome, _) in judged(world, slot).items()}
