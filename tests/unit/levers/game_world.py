"""A region that is not production in memory, with a predictor, Prometheus and a hook, for drills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from include.estate import Estate, load_estate
from include.levers.game_day import GameDay
from include.levers.game_day.settings import GameDaySettings
from include.rollout.lever import Target
from include.rollout.settings import build
from tests.unit.levers import spot_world
from tests.unit.levers.fake_cluster import Writes
from tests.unit.levers.spot_world import NOW, REGION, Object, condition

ZONE_B = "ap-northeast-1b"
ALONE = (("akidb", "traffic-predictor"), ("monitoring", "prometheus-server"), ("akidb", "akidb-game-day-load"))


def estate(**governance: Any) -> Estate:
    """The estate, in which game days are allowed."""
    raw = load_estate().model_dump(mode="json")
    raw["governance"] |= {"game_days": "allowed", **governance}
    return Estate.model_validate(raw)


class Cluster(spot_world.FakeCluster):
    """The spot world, in which other Deployments have the pods that they ask for."""

    def settle(self) -> None:
        super().settle()
        for space, name in ALONE:
            if live := self.objects.get(("Deployment", space, name)):
                counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
                seen = {"observedGeneration": live["metadata"].get("generation", 0)}
                live["status"] = seen | dict.fromkeys(counts, live["spec"].get("replicas", 1))


class Hook:
    """The hook of an estate whose Prometheus is no Deployment."""

    def __init__(self) -> None:
        self.out: set[str] = set()
        self.asked: list[str] = []

    def is_out(self, name: str) -> bool:
        return name in self.out

    def begin(self, name: str) -> None:
        self.asked.append(f"begin {name}")
        self.out.add(name)

    def end(self, name: str) -> None:
        self.asked.append(f"end {name}")
        self.out.discard(name)


class World:
    """The region and a target with these settings."""

    def __init__(self, governance: dict[str, Any] | None = None, **chosen: Any) -> None:
        self.estate, self.writes, self.hook = estate(**(governance or {})), Writes(), Hook()
        self.aws = spot_world.FakeAws(self.writes)
        self.cluster = Cluster(self.estate, self.writes, self.aws)
        for space, name in ALONE[:2]:
            self.cluster.put(spot_world.deployment(name, space, 2))
        self.lever = GameDay(now=lambda: NOW + self.cluster.seconds, sleep=self.cluster.pass_time)
        self.clients = SimpleNamespace(
            kubernetes=self.cluster, aws=self.aws, prometheus=spot_world.FakePrometheus(), outages=self.hook
        )
        self.target = Target(REGION, self.estate, "manual__1", self.settings(**chosen), self.clients)  # type: ignore[arg-type]
        self.cluster.settle()
        self.writes.clear()

    def settings(self, **chosen: Any) -> GameDaySettings:
        given = {"fault_seconds": 60, "recover_seconds": 120, "converge_timeout_seconds": 60} | chosen
        return build(GameDaySettings, given, self.estate)

    def choose(self, **chosen: Any) -> Target:
        self.target = replace(self.target, settings=self.settings(**chosen))
        return self.target

    def replicas(self, name: str, space: str = "akidb") -> Any:
        return self.cluster.objects["Deployment", space, name]["spec"].get("replicas")

    def drill(self) -> tuple[dict[str, Any], Object]:
        """Snapshot and apply; what the ledger would keep of both."""
        snapshot = self.lever.snapshot(self.target)
        (stage,) = self.lever.plan(self.target).stages
        return self.lever.apply(self.target, stage), snapshot

    def judged(self, figures: dict[str, Any]) -> dict[str, float | None]:
        """The values of the gates."""
        (stage,) = self.lever.plan(self.target).stages
        found = self.lever.observe(self.target, stage, 60, figures)
        return {name: None if figure is None else figure.value for name, figure in found.items()}

    def with_zones(self, nodes: int = 2) -> None:
        """So many nodes of the group stand in another zone, and the others have room for all pods."""
        for node in self.cluster.group_nodes()[-nodes:]:
            node["metadata"]["labels"]["topology.kubernetes.io/zone"] = ZONE_B
        for name in self.estate.workloads:
            self.cluster.objects["Deployment", "akidb", name]["spec"]["replicas"] = 9
        self.cluster.settle()


def pool(world: World, cpu: str | None = "200", nodes: int = 3) -> None:
    """A NodePool of 4 vCPU nodes that follows what its limit allows."""
    limits = {} if cpu is None else {"limits": {"cpu": cpu, "memory": "400Gi"}}
    body = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "akidb-spot"}}
    requirements = [{"key": spot_world.SPREAD, "operator": "In", "values": []}]
    world.cluster.apply(
        {**body, "spec": limits | {"template": {"spec": {"requirements": requirements}}}}, "akidb-rollout"
    )
    settle: Callable[[], None] = world.cluster.settle

    def grow() -> None:
        # The spot world's own Karpenter knows other nodes than these.
        for key in [key for key in world.cluster.objects if key[0] == "Node" and key[2].startswith("pool-")]:
            del world.cluster.objects[key]
        settle()
        live = world.cluster.objects["NodePool", "", "akidb-spot"]
        load = world.cluster.objects.get(("Deployment", "akidb", "akidb-game-day-load"))
        most = int(live["spec"].get("limits", {}).get("cpu", 1000)) // 4
        wanted = min(most, nodes + (0 if load is None else load["spec"]["replicas"]))
        for number in range(wanted):
            world.cluster.put(spot_world.karpenter_node(f"pool-{number}", "d0", "akidb-spot", "spot"))
        live["status"] = {"conditions": [condition("Ready")], "resources": {"cpu": str(4 * wanted)}}

    world.cluster.settle = grow  # type: ignore[method-assign]
    grow()
    world.writes.clear()
