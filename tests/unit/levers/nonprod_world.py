"""A region with a staging namespace in memory: controllers of a few lines that make and take pods, and a KEDA."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from include.estate import Estate, load_estate
from include.levers.nonprod_hours import NonprodHours
from include.levers.nonprod_hours.wanted import PAUSED, PAUSES, NonprodSettings
from include.rollout.lever import Target
from include.rollout.settings import build
from tests.unit.levers import monitoring_world
from tests.unit.levers.fake_cluster import FakeCluster
from tests.unit.levers.spot_world import NOW, Object, condition

STAGING, REGION = "akidb-staging", "us-east-1"
TEAM = "team-search"
LEVER = NonprodHours(now=lambda: NOW)
CALENDAR = {"timezone": "Asia/Tokyo", "asleep": ["Mon-Thu 20:00 to 08:00", "Fri 20:00 to Mon 08:00"], "holidays": "JP"}
REPLICAS = ("Deployment", "StatefulSet")


def estate(**nonprod: Any) -> Estate:
    """The estate with a staging namespace."""
    raw = load_estate().model_dump(mode="json")
    raw["nonprod"] = {"calendars": {"tokyo": CALENDAR}, "namespaces": {STAGING: "tokyo"}} | nonprod
    return Estate.model_validate(raw)


class StagingCluster(monitoring_world.Cluster):
    """What Kubernetes, KEDA and Karpenter do in the staging namespace."""

    keda_works = True
    broken: frozenset[str] = frozenset()  # workloads that never get ready

    def settle(self) -> None:
        FakeCluster.settle(self)  # the spot world's own nodes and pods rest
        for key in [key for key in self.objects if key[1] == STAGING]:
            thing = self.objects.get(key)
            if thing is None:
                continue
            if key[0] == "ScaledObject" and self.keda_works:
                self._scale(thing)
            if key[0] in REPLICAS:
                self._run(thing)
        self._empty_nodes()

    def _scale(self, thing: Object) -> None:
        name = thing["metadata"]["name"]
        paused = any(pause in (thing["metadata"].get("annotations") or {}) for pause in PAUSES)
        thing["status"] = {"conditions": [condition("Paused", "True" if paused else "False")]}
        key = ("HorizontalPodAutoscaler", STAGING, f"keda-hpa-{name}")
        if paused:
            self.objects.pop(key, None)
            return
        scaled = thing["spec"].get("scaleTargetRef", {}).get("name", "")
        self.put(autoscaler(key[2], scaled, owner=name))
        target = self.objects.get(("Deployment", STAGING, scaled))
        if target and target["spec"].get("replicas") == 0:  # KEDA's executor lifts it to the minimum at once
            target["spec"]["replicas"] = 1

    def _run(self, thing: Object) -> None:
        kind, name, spec = thing["kind"], thing["metadata"]["name"], thing["spec"]
        count = spec.get("replicas", 1)
        ready = 0 if name in self.broken else count
        counts = {"replicas": count, "readyReplicas": ready, "updatedReplicas": ready, "availableReplicas": ready}
        seen = thing["metadata"].get("generation", 0)
        thing["status"] = counts | {"observedGeneration": seen, "conditions": [condition("Available")]}
        for key in [k for k in self.objects if k[0] == "Pod" and k[1] == STAGING and k[2].startswith(f"{name}-")]:
            if int(key[2].rpartition("-")[2]) >= count:
                del self.objects[key]
        for number in range(count):
            if ("Pod", STAGING, f"{name}-{number}") not in self.objects:
                self.put(pod(kind, name, number))

    def _empty_nodes(self) -> None:
        used = {o["spec"].get("nodeName") for (kind, *_), o in self.objects.items() if kind == "Pod"}
        for name in ("staging-1", "staging-2"):
            key = ("Node", "", name)
            if name in used and key not in self.objects:
                self.put(node(name))
            elif name not in used:
                self.objects.pop(key, None)


class World:
    """A region: staging with one workload of each kind, ``web`` scaled by KEDA and ``api`` by an HPA."""

    def __init__(self, **chosen: Any) -> None:
        made = monitoring_world.World()
        self.writes = made.writes
        self.estate = estate()
        self.cluster = StagingCluster(self.estate, self.writes, made.cluster.cloud)
        self.cluster.unserved = {"prometheusrules"}
        for thing in made.cluster.objects.values():
            self.cluster.put(copy.deepcopy(thing))
        clients = made.target.clients
        clients.kubernetes = self.cluster
        given = {"namespace": STAGING, "converge_timeout_seconds": 60, "nodes_wait_seconds": 10} | chosen
        settings = build(NonprodSettings, given, self.estate)
        self.target: Target = replace(made.target, estate=self.estate, settings=settings)
        self._build()
        self.cluster.settle()
        self.lever = NonprodHours(now=lambda: NOW + self.cluster.seconds, sleep=self.cluster.pass_time)
        self.writes.clear()

    def _build(self) -> None:
        self.cluster.put(namespace())
        for name, replicas in (("web", 3), ("api", 2), ("docs", 1)):
            self.apply(workload("Deployment", name, replicas))
            self.cluster.put(replica_set(name))
        self.apply(workload("StatefulSet", "store", 2))
        self.apply(cron_job("nightly"))
        self.apply(scaled_object("web"))
        self.cluster.put(autoscaler("api", "api"))

    def apply(self, body: Object, manager: str = TEAM) -> None:
        self.cluster.apply(body, manager, force=True)

    def thing(self, kind: str, name: str) -> Object:
        return self.cluster.objects[kind, STAGING, name]

    def sizes(self) -> dict[str, Any]:
        """Replicas, suspension and pause of everything."""
        found: dict[str, Any] = {}
        for (kind, space, name), thing in self.cluster.objects.items():
            if space == STAGING and kind in (*REPLICAS, "CronJob", "ScaledObject"):
                spec, notes = thing["spec"], thing["metadata"].get("annotations") or {}
                found[name if kind != "ScaledObject" else f"pause of {name}"] = (
                    spec.get("replicas") if kind in REPLICAS else spec.get("suspend", notes.get(PAUSED))
                )
        return found

    def sleep(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Snapshot, and the figures of the sleep."""
        snapshot = self.lever.snapshot(self.target)
        (stage,) = self.lever.plan(self.target).stages
        return snapshot, self.lever.apply(self.target, stage)


AWAKE = {"web": 3, "api": 2, "docs": 1, "store": 2, "nightly": False, "pause of web": None}
ASLEEP = {"web": 0, "api": 0, "docs": 0, "store": 0, "nightly": True, "pause of web": "true"}


def _named(api: str, kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": STAGING}, "spec": spec}


def namespace(name: str = STAGING) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "managedFields": []}}


def workload(kind: str, name: str, replicas: int) -> Object:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": name, "image": name}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return _named("apps/v1", kind, name, spec)


def cron_job(name: str) -> Object:
    return _named("batch/v1", "CronJob", name, {"schedule": "0 3 * * *", "suspend": False})


def scaled_object(name: str) -> Object:
    spec = {"scaleTargetRef": {"name": name}, "minReplicaCount": 1, "triggers": [{"type": "cron"}]}
    return _named("keda.sh/v1alpha1", "ScaledObject", name, spec)


def autoscaler(name: str, target: str, owner: str = "") -> Object:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": target}, "minReplicas": 1, "maxReplicas": 5}
    made = _named("autoscaling/v2", "HorizontalPodAutoscaler", name, spec)
    if owner:
        made["metadata"]["ownerReferences"] = [{"kind": "ScaledObject", "name": owner, "controller": True}]
    return made


def replica_set(name: str) -> Object:
    made = _named("apps/v1", "ReplicaSet", f"{name}-1", {})
    made["metadata"]["ownerReferences"] = [{"kind": "Deployment", "name": name, "controller": True}]
    return made


def pod(kind: str, name: str, number: int) -> Object:
    owner = {"kind": "ReplicaSet", "name": f"{name}-1"} if kind == "Deployment" else {"kind": kind, "name": name}
    metadata = {"name": f"{name}-{number}", "namespace": STAGING, "labels": {"app": name}}
    metadata["ownerReferences"] = [{**owner, "controller": True}]
    spec = {"nodeName": f"staging-{1 + number % 2}", "containers": []}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Running"}}


def node(name: str) -> Object:
    labels = {
        "karpenter.sh/nodepool": "staging",
        "karpenter.sh/capacity-type": "on-demand",
        "node.kubernetes.io/instance-type": "c7g.xlarge",
        "topology.kubernetes.io/zone": "us-east-1a",
    }
    status = {"capacity": {"cpu": "4", "memory": "8Gi"}, "allocatable": {"cpu": "3800m", "memory": "7000Mi"}}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": status}
