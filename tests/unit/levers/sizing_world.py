"""A small world for right-sizing: VPA's three programs and kubelets in a few lines, and a week of use in Prometheus.

Each pod uses 0.6 CPU and 1,229 MiB for a week, so that our own figure and the fake recommender's are one computation.
"""

from __future__ import annotations

import copy
import datetime as dt
from types import SimpleNamespace
from typing import Any

import numpy as np

from include.clients.prometheus import Sample, Series
from include.estate import Estate, load_estate
from include.levers.nodes.requests import read_quantities
from include.levers.right_sizing.lever import RightSizing
from include.levers.right_sizing.recommendation import ContainerUse, Samples, recommend
from include.levers.right_sizing.wanted import PREDICTOR, RightSizingSettings
from include.rollout.gates import judge_all
from include.rollout.lever import Check, Stage, Target
from include.rollout.place import Place
from include.rollout.settings import build
from tests.unit.levers import spot_world
from tests.unit.levers.fake_cluster import Writes
from tests.unit.levers.spot_world import NOW, Object, condition, hashed

REGION = "us-east-1"
LEVER = RightSizing(now=lambda: NOW)
CONTAINER, SPACE = "akidb", "akidb"
OLD = {"cpu": "1", "memory": "2Gi"}
LIMITS = {"cpu": "2", "memory": "4Gi"}
CORES, BYTES = 0.6, 1229.0 * 2**20
DAYS, STEP = 8, 300.0
NOW_TEXT = dt.datetime.fromtimestamp(NOW, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
Key = tuple[str, str, str]


class SizingCluster(spot_world.FakeCluster):
    """Recommender, updater and webhook on what ``prometheus`` knows; kubelets resize while there is room."""

    recommends = webhook_answers = updates = True
    recommender_scale = 1.0  # of the target that it should give
    recommender_days = 8.0  # of the history that it has read
    room = True  # on the nodes, for a pod that grows
    full = False  # no node takes another pod

    def __init__(self, estate: Estate, writes: Writes, cloud: spot_world.FakeAws) -> None:
        self.deferred: set[str] = set()
        super().__init__(estate, writes, cloud)
        self.api.admit = self._admit  # type: ignore[method-assign]
        for name in estate.workloads:
            self.start(name)
        self.settle()

    def start(self, name: str, replicas: int | None = None) -> None:
        """Let a Deployment be there with limits, and a ReplicaSet with its template."""
        if replicas is not None:
            self.put(spot_world.deployment(name, SPACE, replicas))
            self.put(spot_world.replica_set(name, SPACE))
            self.put(spot_world.budget(name, SPACE))
            self.hosted.append(name)
        live = self.objects["Deployment", SPACE, name]
        live["metadata"]["uid"] = f"deployment-{name}"
        (container,) = live["spec"]["template"]["spec"]["containers"]
        container["resources"]["limits"] = dict(LIMITS)
        made = self.objects["ReplicaSet", SPACE, hashed(name)]
        made["spec"]["template"] = live["spec"]["template"]
        made["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "1"}
        for key in [k for k in self.objects if k[0] == "Pod" and spot_world.is_numbered(k[2], name)]:
            del self.objects[key]

    # Pods --------------------------------------------------------------------------------------------------------

    def _place(self, live: Object, domains: list[str], slots: list[str]) -> None:
        name, replicas = live["metadata"]["name"], live["spec"]["replicas"]
        self._remove_beyond(name, replicas)
        for n in range(replicas):
            where = "" if self.full else slots.pop(0) if slots else "i-1"
            key = ("Pod", SPACE, f"{name}-{n}")
            if key not in self.objects:
                self.put(self._made(key, name, live, where))
        ready = dict.fromkeys(("readyReplicas", "availableReplicas"), replicas)
        live["status"] |= {"replicas": replicas, "updatedReplicas": replicas} | ready

    def _made(self, key: Key, app: str, live: Object, where: str) -> Object:
        pod = spot_world.own_pod(key[2], app, SPACE, where)
        pod["spec"] |= copy.deepcopy(live["spec"]["template"]["spec"])
        pod["metadata"]["managedFields"] = []
        self._admit(key, pod)
        if where:
            pod["status"]["containerStatuses"] = [{"name": CONTAINER, "resources": copy.deepcopy(resources_of(pod))}]
        return pod

    def _evicted(self, key: Key) -> None:
        del self.objects[key]  # the ReplicaSet makes another

    def _admit(self, key: Key, body: Object) -> None:
        owners = body["metadata"].get("ownerReferences") or [{}]
        name = owners[0].get("name", "").rpartition("-")[0]
        vpa = self.objects.get(("VerticalPodAutoscaler", SPACE, name))
        if key[0] != "Pod" or vpa is None or not self.webhook_answers or mode_of(vpa) == "Off":
            return
        found = target_of(vpa)
        if found:
            resources_of(body)["requests"] = dict(found)

    # VPA and kubelets --------------------------------------------------------------------------------------------

    def settle(self) -> None:
        super().settle()
        for key in [key for key in self.objects if key[0] == "VerticalPodAutoscaler"]:
            self._recommend(key)
            if self.updates and mode_of(self.objects[key]) == "InPlaceOrRecreate" and target_of(self.objects[key]):
                self._update(key[2], target_of(self.objects[key]))
        for key, pod in self.objects.items():
            if key[0] == "Pod" and key[1] == SPACE and "containerStatuses" in pod["status"]:
                self._carry_out(pod)

    def _recommend(self, key: Key) -> None:
        vpa = self.objects[key]
        if not self.recommends:
            return
        policy = vpa["spec"]["resourcePolicy"]["containerPolicies"][0]
        known = history(NOW - self.recommender_days * 86_400)
        use = (ContainerUse(*(Samples.of(points) for points in known)),)
        own, low, high = recommend(use, NOW), policy["minAllowed"], policy["maxAllowed"]
        uncapped = self._scaled(own.uncapped)
        parts = {
            "target": uncapped,
            "uncappedTarget": uncapped,
            "lowerBound": self._scaled(own.lower),
            "upperBound": self._scaled(own.upper),
        }
        capped = {name: part if name == "uncappedTarget" else cap(part, low, high) for name, part in parts.items()}
        found = {"containerRecommendations": [{"containerName": policy["containerName"], **capped}]}
        vpa["status"] = {"recommendation": found, "conditions": [condition("RecommendationProvided")]}

    def _scaled(self, one: Any) -> dict[str, str]:
        scale = self.recommender_scale
        return {"cpu": f"{round(one.cpu_millicores * scale)}m", "memory": str(round(one.memory_bytes * scale))}

    def _update(self, name: str, target: Object) -> None:
        for pod in self.pods(name):
            if read_quantities(resources_of(pod)["requests"]) != read_quantities(target):
                resources_of(pod)["requests"] = dict(target)

    def _carry_out(self, pod: Object) -> None:
        status = pod["status"]["containerStatuses"][0]
        rest = [c for c in pod["status"]["conditions"] if c["type"] != "PodResizePending"]
        grows = (
            read_quantities(resources_of(pod)["requests"])["memory"]
            > read_quantities(status["resources"]["requests"])["memory"]
        )
        if grows and not self.room:
            waits = {"type": "PodResizePending", "status": "True", "reason": "Deferred", "message": "no room"}
            rest.append({**waits, "lastTransitionTime": "2027-01-15T07:58:50Z"})  # 70 s ago
        else:
            status["resources"] = copy.deepcopy(resources_of(pod))
        pod["status"]["conditions"] = rest

    # What tests ask of it ----------------------------------------------------------------------------------------

    def pods(self, name: str) -> list[Object]:
        """The pods of a Deployment."""
        return [o for (kind, _, n), o in self.objects.items() if kind == "Pod" and spot_world.is_numbered(n, name)]

    def sizes(self) -> dict[str, Object]:
        """What the pods of the service request, by name."""
        names = [*self.estate.workloads, PREDICTOR]
        return {p["metadata"]["name"]: dict(resources_of(p)["requests"]) for n in names for p in self.pods(n)}

    def vpa(self, name: str) -> Object:
        """A Deployment's VerticalPodAutoscaler."""
        return self.objects["VerticalPodAutoscaler", SPACE, name]


def resources_of(pod: Object) -> Object:
    resources: Object = pod["spec"]["containers"][0]["resources"]
    return resources


def mode_of(vpa: Object) -> str:
    return str(vpa["spec"]["updatePolicy"]["updateMode"])


def target_of(vpa: Object) -> Object:
    found = vpa.get("status", {}).get("recommendation", {}).get("containerRecommendations") or [{"target": {}}]
    target: Object = found[0]["target"]
    return target


def cap(part: Object, low: Object, high: Object) -> Object:
    """The amounts within the bounds, in the bounds' own words where these decide."""
    found = {}
    for name, text in part.items():
        value, least, most = (read_quantities({name: one[name]})[name] for one in (part, low, high))
        found[name] = high[name] if value > most else low[name] if value < least else text
    return found


def history(first: float = NOW - DAYS * 86_400) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """CPU and memory of one pod at each step up to now."""
    times = [float(at) for at in np.arange(first, NOW + 1, STEP)]
    return [(at, CORES) for at in times], [(at, BYTES) for at in times]


class SizingPrometheus(spot_world.FakePrometheus):
    """A week of use of one pod a Deployment, 196 requests a second each; nothing killed, nothing throttled."""

    def __init__(self, estate: Estate) -> None:
        super().__init__()
        self.estate = estate
        self.qps: float | None = 196.0
        self.peak: float | None = BYTES
        self.kills = 0
        self.counted: float | None = 0.0
        self.throttled: float | None = 0.0
        self.gap: tuple[float, float] = (0.0, 0.0)  # without samples
        self.old_predictor = False
        self.cpu_used, self.memory_used = 0.6, BYTES
        self.apps = [*estate.workloads]
        self.labels: dict[str, str] = {}  # of every pod's kube_pod_labels, beside label_app

    def value(self, expression: str, at: float | None = None) -> float | None:
        if expression.startswith("max(max_over_time(container_memory"):
            return self.peak
        if "container_cpu_cfs_throttled" in expression:
            return self.throttled
        if expression.startswith("count(container_memory"):
            return 2.0 if self.old_predictor else None
        if "container_oom_events_total" in expression:
            return self.counted
        return super().value(expression)

    def query(self, expression: str, at: float | None = None) -> list[Any]:
        if expression.startswith("max by (pod, label_app)"):
            return [Sample({"pod": f"{app}-0", "label_app": app}, NOW, 1.0) for app in self.apps if app in expression]
        if expression.startswith("kube_pod_labels{"):
            shown = [app for app in self.apps if f'label_app="{app}"' in expression]
            return [
                Sample({"pod": f"{a}-{n}", "label_app": a, **self.labels}, NOW, 1.0) for a in shown for n in range(9)
            ]
        if expression.startswith("sum by (pod)"):
            used = self.cpu_used if "cpu" in expression else self.memory_used
            return [Sample({"pod": f"{a}-{n}"}, NOW, used) for a in self.estate.workloads for n in range(15)]
        return super().query(expression)

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        if expression.startswith("container_oom_events_total"):
            points = tuple((NOW - 60.0 * n, float(self.kills - n)) for n in range(self.kills, -1, -1))
            return [Series({"pod": "akidb-rest-0", "container": CONTAINER}, points)] if self.kills else []
        if "container_" in expression and expression.startswith(("rate(", "irate(", "container_memory")):
            use = history()[1 if expression.startswith("container_memory") else 0]
            kept = tuple(p for p in use if start <= p[0] <= end and not self.gap[0] <= p[0] < self.gap[1])
            return [Series({"pod": f"{app}-0", "container": CONTAINER}, kept) for app in self.apps] if kept else []
        if expression.startswith("sum(rate("):
            times = [start + n * step for n in range(round((end - start) / step) + 1)]
            value = CORES if "container_cpu" in expression else self.qps
            return [] if value is None else [Series({}, tuple((at, value) for at in times))]
        return super().query_range(expression, start, end, step)


class World:
    """Everything of one region."""

    def __init__(self, estate: Estate | None = None, **chosen: Any) -> None:
        self.estate = estate or load_estate()
        self.writes = Writes()
        self.cluster = SizingCluster(self.estate, self.writes, spot_world.FakeAws(self.writes))
        self.prometheus = SizingPrometheus(self.estate)
        self.cluster.put(
            {
                "kind": "APIService",
                "metadata": {"name": "v1beta1.metrics.k8s.io"},
                "status": {"conditions": [condition("Available")]},
            }
        )
        self.cluster.put({"kind": "MutatingWebhookConfiguration", "metadata": {"name": "vpa-webhook-config"}})
        for name in ("vpa-recommender-lease", "vpa-updater", "vpa-admission-controller"):
            self.lease(name)
        self.clients = SimpleNamespace(kubernetes=self.cluster, aws=self.cluster.cloud, prometheus=self.prometheus)
        self.fences: list[int] = []
        self.target = self.with_settings(**chosen)

    def lease(self, name: str, renewed: str = NOW_TEXT) -> None:
        """Let one of VPA's programs have renewed its lease at a time."""
        metadata = {"name": name, "namespace": "kube-system", "managedFields": []}
        spec = {"renewTime": renewed, "acquireTime": NOW_TEXT}
        self.cluster.put({"kind": "Lease", "metadata": metadata, "spec": spec})

    def with_settings(self, **chosen: Any) -> Target:
        """The target with other settings."""
        settings = build(RightSizingSettings, {"converge_timeout_seconds": 60} | chosen, self.estate)
        return Target(Place.named(REGION), self.estate, "run", settings, self.clients, lambda: self.fences.append(1))

    def apply_all(self, target: Target | None = None) -> dict[str, dict[str, Any]]:
        """Every stage of the plan, in order."""
        target = target or self.target
        return {stage.slot: LEVER.apply(target, stage) for stage in LEVER.plan(target).stages}

    def scale_by_requests(self, name: str, **trigger: Any) -> None:
        """Let a ScaledObject scale a Deployment."""
        metadata = {"name": name, "namespace": SPACE, "managedFields": []}
        spec = {"scaleTargetRef": {"name": name}, "triggers": [{"type": "prometheus", **trigger}]}
        self.cluster.put({"kind": "ScaledObject", "metadata": metadata, "spec": spec})

    def modes(self) -> dict[str, str]:
        """The update mode of each VerticalPodAutoscaler."""
        return {k[2]: mode_of(o) for k, o in self.cluster.objects.items() if k[0] == "VerticalPodAutoscaler"}


# What tests ask of it ---------------------------------------------------------------------------------------------


def failed(checks: list[Check]) -> dict[str, str]:
    return {check.name: f"{check.reason} -> {check.remedy}" for check in checks if not check.passed}


def stage_of(world: World, slot: str, target: Target | None = None) -> Stage:
    return next(stage for stage in LEVER.plan(target or world.target).stages if stage.slot == slot)


def judged(world: World, stage: Stage) -> dict[str, tuple[str, str]]:
    figures = LEVER.observe(world.target, stage, 60, {"started_at": NOW - 60})
    return {result.gate.name: (result.outcome.value, result.reason) for result in judge_all(stage.gates, figures)}
