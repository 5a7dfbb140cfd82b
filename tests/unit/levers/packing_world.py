"""A region after day 1 in which Karpenter packs: two nodes a domain, and one where its policy lets it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

from include.clients.prometheus import Sample
from include.estate import Estate
from include.levers.consolidation import Consolidation
from include.levers.consolidation.settings import ConsolidationSettings
from include.levers.node_costs import SPREAD
from include.levers.spot_capacity import SpotCapacity
from include.levers.spot_capacity.wanted import placing
from include.rollout.gates import judge_all
from include.rollout.lever import Stage, Target
from include.rollout.settings import build
from tests.unit.levers import spot_world
from tests.unit.levers.spot_world import NOW, REGION, Object, condition

SPOT = SpotCapacity(now=lambda: NOW)
KEEPS = {"WhenEmpty": 2, "Balanced": 2, "WhenEmptyOrUnderutilized": 1}
BOUNDS = {"containerName": "akidb", "minAllowed": {"cpu": "250m"}, "maxAllowed": {"cpu": "2"}}
TARGET = {"cpu": "860m", "memory": "1413Mi"}


class PackingCluster(spot_world.FakeCluster):
    """Each domain keeps as many nodes as the policy of its pool lets it; pods ask for 1 CPU and 2 Gi.

    A pod stays where it is until it is evicted or its node goes; a cordoned node takes none, and goes once it is empty.
    """

    packs, removes = True, True
    requests: ClassVar = {"cpu": "1", "memory": "2Gi"}
    templates: ClassVar[dict[str, Object]] = {}

    def nodes_of(self, domain: str) -> list[str]:
        """The domain's nodes that take pods."""
        nodes = self._karpenter_nodes(domain)
        return sorted(n["metadata"]["name"] for n in nodes if not n["spec"].get("unschedulable"))

    def _launch(self, domain: str, pool: str) -> None:
        if (domain, pool) not in self.launched:
            super()._launch(domain, pool)
        used = {o["spec"].get("nodeName") for (kind, *_), o in self.objects.items() if kind == "Pod"}
        for node in [n["metadata"]["name"] for n in self._karpenter_nodes(domain)]:
            if self.removes and node not in used and node not in self.nodes_of(domain):
                del self.objects["Node", "", node], self.objects["NodeClaim", "", node]
        policy = (
            self.objects["NodePool", "", pool]["spec"].get("disruption", {}).get("consolidationPolicy", "WhenEmpty")
        )
        for name in self.nodes_of(domain)[KEEPS[policy] if self.packs else 2 :]:
            del self.objects["Node", "", name], self.objects["NodeClaim", "", name]

    def _place(self, live: Object, domains: list[str], slots: list[str]) -> None:
        name, replicas = live["metadata"]["name"], live["spec"]["replicas"]
        if not domains:
            super()._place(live, domains, slots)
            return
        self._remove_beyond(name, replicas)
        for n in range(replicas):
            nodes = self.nodes_of(domains[n % len(domains)])
            self._pod(f"{name}-{n}", name, nodes[(n // len(domains)) % len(nodes)])
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
        live["status"] |= counts

    def _pod(self, pod: str, app: str, node: str) -> None:
        there: Object = self.objects.get(("Pod", self.estate.namespace, pod), {"spec": {}})
        if "containers" in there["spec"] and ("Node", "", there["spec"].get("nodeName")) in self.objects:
            return
        made = spot_world.own_pod(pod, app, self.estate.namespace, node)
        if app not in self.templates:
            self.templates[app] = placing(self.estate, app, 4).body["spec"]["template"]["spec"]
        template = self.templates[app]
        container = {"name": "akidb", "image": "akidb/akidb:1", "resources": {"requests": dict(self.requests)}}
        made["spec"] |= {"containers": [container], **template}
        self.put(made)

    def _evicted(self, key: Any) -> None:
        del self.objects[key]


class Prometheus(spot_world.FakePrometheus):
    """A healthy service whose pods use 0.75 CPU and 1 GiB each."""

    def __init__(self, cluster: PackingCluster) -> None:
        super().__init__()
        self.cluster = cluster
        self.missing = {"kube_poddisruptionbudget_status_current_healthy"}

    def query(self, expression: str) -> list[Any]:
        used = 0.75 if "cpu_usage" in expression else float(2**30)
        pods = [name for (kind, space, name) in self.cluster.objects if (kind, space) == ("Pod", "akidb")]
        return [Sample({"pod": name}, NOW, used) for name in pods]

    def value(self, expression: str) -> float | None:
        return 0.0 if "oom_events" in expression else super().value(expression)


class World:
    """The region, the lever with a clock that goes on while something waits, and the target."""

    def __init__(self, vpas: bool = True, cluster: type[PackingCluster] = PackingCluster, **chosen: Any) -> None:
        self.spot = spot_world.World()
        self.estate: Estate = self.spot.estate
        self.writes = self.spot.writes
        self.cluster = cluster(self.estate, self.writes, self.spot.aws)
        self.prometheus = Prometheus(self.cluster)
        self.clients = SimpleNamespace(kubernetes=self.cluster, aws=self.spot.aws, prometheus=self.prometheus)
        self.lever = Consolidation(now=lambda: NOW + self.cluster.seconds)
        self._roll_out()
        if vpas:
            for name in self.estate.workloads:
                self.put_autoscaler(name)
        self.target = self.with_settings(**chosen)
        self.writes.clear()

    def _roll_out(self) -> None:
        spot = Target(REGION, self.estate, "run", self.spot.target.settings, self.clients)
        for stage in [stage for stage in SPOT.plan(spot).stages if stage.slot.startswith("step_")][-1:]:
            SPOT.apply(spot, stage)

    def with_settings(self, **chosen: Any) -> Target:
        """The target with other settings."""
        settings = build(ConsolidationSettings, {"converge_timeout_seconds": 300} | chosen, self.estate)
        return Target(REGION, self.estate, "run", settings, self.clients)

    def put_autoscaler(self, name: str, target: Object | None = None) -> None:
        """A VerticalPodAutoscaler as right-sizing makes it, with a recommendation."""
        body = {
            "apiVersion": "autoscaling.k8s.io/v1",
            "kind": "VerticalPodAutoscaler",
            "metadata": {"name": name, "namespace": "akidb"},
            "spec": {"resourcePolicy": {"containerPolicies": [dict(BOUNDS)]}},
        }
        self.cluster.apply(body, "akidb-right-sizing")
        recommended = [{"containerName": "akidb", "target": dict(target or TARGET)}]
        self.autoscaler(name)["status"] = {"recommendation": {"containerRecommendations": recommended}}

    def autoscaler(self, name: str) -> Object:
        found: Object = self.cluster.objects["VerticalPodAutoscaler", "akidb", name]
        return found

    def pool(self, name: str = "akidb-spot") -> Object:
        found: Object = self.cluster.objects["NodePool", "", name]
        return found

    def apply_all(self) -> dict[str, dict[str, Any]]:
        """Every stage of the plan, in order."""
        return {stage.slot: self.lever.apply(self.target, stage) for stage in self.lever.plan(self.target).stages}

    def stage(self, slot: str) -> Stage:
        return next(stage for stage in self.lever.plan(self.target).stages if stage.slot == slot)

    def judged(self, slot: str, applied: dict[str, Any]) -> dict[str, tuple[str, str]]:
        """Outcome and reason of each gate."""
        stage = self.stage(slot)
        figures = self.lever.observe(self.target, stage, 60, applied)
        return {result.gate.name: (result.outcome.value, result.reason) for result in judge_all(stage.gates, figures)}


def event(reason: str, about: str, message: str, at: str = "2027-01-15T08:00:30Z", count: int = 1) -> Object:
    """One of Karpenter's events, as the API server keeps it."""
    kind, _, name = about.partition(" ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{kind}.{name}.{reason}.{at}", "namespace": "default", "creationTimestamp": at},
        "involvedObject": {"kind": kind, "name": name},
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
        "count": count,
    }


__all__ = ["NOW", "REGION", "SPREAD", "World", "condition", "event"]
