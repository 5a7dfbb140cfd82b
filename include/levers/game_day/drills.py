"""The drills: what each takes away, by which interface, what it expects, and what it watches."""

from __future__ import annotations

import abc
import json
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import Path

from include.clients.kubernetes import DEPLOYMENT, NODE, POD
from include.cost.guard.cap import read_situation
from include.cost.guard.decisions import CAP, Situation, remedy
from include.levers.events import queue_arn, queue_url
from include.levers.game_day.settings import DrillName, World
from include.levers.game_day.storm import HistoryError, read_events, storm
from include.levers.game_day.things import Cordon, Outage
from include.levers.manifests import render
from include.levers.node_costs import node_facts
from include.levers.nodes.interruptions import drills, notice, remember_drill
from include.levers.owned import Item, Own, Thing, identity, read_key, split
from include.levers.pods import asks_to_stay, evictable, is_ending, workload_pods
from include.levers.spot_capacity.wanted import MANAGER as DIARY_MANAGER
from include.levers.world import name_of, unavailable
from include.rollout.lever import Check, Json
from include.rollout.safety import Fault

PREDICTOR = "traffic-predictor"
PROMETHEUS = "prometheus"
EXTRA_LOAD = 4  # CPUs that the load asks for beyond the cap


@dataclass(frozen=True)
class Strike:
    """What happens ``after`` seconds: one node gets its notice."""

    after: float
    node: str
    why: str


class Drill(abc.ABC):
    """One drill. ``facts`` are what it acts on: read for the plan, kept with the stage and the snapshot."""

    name: DrillName
    fault: Fault
    concerns: tuple[str, ...]  # levers that it proves something of, where their change stands
    needs_metrics = True  # whether the service's own figures are among its gates

    @property
    @abc.abstractmethod
    def hypothesis(self) -> str:
        """What is expected, in a sentence."""

    @abc.abstractmethod
    def facts(self, world: World) -> dict[str, Json]:
        """What it acts on, as it is now; reads only and refuses nothing."""

    @abc.abstractmethod
    def problem(self, facts: Mapping[str, Json]) -> tuple[str, str]:
        """Why it can't be done here, and the remedy; two empty texts when it can."""

    def things(self, world: World, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """What it changes, and sets back, in order."""
        del world, facts
        return ()

    def strikes(self, facts: Mapping[str, Json]) -> list[Strike]:
        """What happens in the course of it."""
        del facts
        return []

    def strike(self, world: World, strike: Strike) -> None:  # noqa: B027 - most drills have none
        """Do it, at most once."""

    def press_on(self, world: World, facts: Mapping[str, Json]) -> None:  # noqa: B027 - as above
        """What is tried at every look until it is done, such as an eviction that a budget holds back."""

    def missing(self, world: World, facts: Mapping[str, Json]) -> list[str]:
        """What keeps the service from being well besides its own pods, a line each."""
        del world, facts
        return []

    def back(self, world: World, keys: Sequence[str]) -> list[str]:
        """What is not back yet after its things were set back, a line each."""
        live = [read_key(world, key) for key in keys if split(key)[0] == DEPLOYMENT.name]
        return [line for found in live if found is not None for line in unavailable(found)]

    def measure(self, world: World, facts: Mapping[str, Json]) -> float | None:
        """A figure of its own, whose largest value of all looks is kept; None when it has none."""
        del world, facts
        return None

    def checks(self, world: World) -> Iterator[Check]:
        """Can it be done here?"""
        problem, remedy = self.problem(self.facts(world))
        yield Check(f"drill {self.name}", not problem, problem or "it can be done here", remedy)


class SpotStorm(Drill):
    """Interruption notices for many spot nodes, on the queue where AWS puts them."""

    name, fault = DrillName.SPOT_STORM, Fault.SPOT_STORM
    concerns = ("spot_capacity", "right_sizing", "consolidation", "predictive_scaling")
    hypothesis = "Karpenter replaces every node that gets a notice before it is gone, and budgets hold throughout."

    def facts(self, world: World) -> dict[str, Json]:
        """The waves, over the spot nodes that there are."""
        settings, history = world.settings, world.settings.price_history
        try:
            events = read_events(Path(history)) if history else []
        except HistoryError as error:
            return {"storm": [], "problem": str(error)}
        hits = storm(events, node_facts(world), settings.storm_share, settings.fault_seconds)
        return {"storm": [[hit.after, hit.node, hit.why] for hit in hits]}

    def problem(self, facts: Mapping[str, Json]) -> tuple[str, str]:
        """See :class:`Drill`."""
        if "problem" in facts:
            return str(facts["problem"]), "correct price_history"
        return ("", "") if facts["storm"] else ("there is no spot node of a NodePool", "roll out spot_capacity first")

    def strikes(self, facts: Mapping[str, Json]) -> list[Strike]:
        """See :class:`Drill`."""
        return [Strike(*hit) for hit in facts["storm"]]

    def strike(self, world: World, strike: Strike) -> None:
        """Put the notice on Karpenter's queue. It is written down first: one that was cut short there is not sent."""
        live = world.cluster.get(NODE, strike.node)
        drill = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{world.target.run_id}/{world.place}/{strike.node}"))
        if live is None or drill in drills(world):
            return
        record = {"at": world.now(), "of": f"{world.target.run_id} storm", **asdict(strike)}
        world.target.fence()
        # The diary is spot's: one writer, so that the notices of drills are never counted as AWS's.
        remember_drill(replace(world, manager=DIARY_MANAGER), drill, record)
        queue, instance = world.region.queue, live["spec"]["providerID"].rsplit("/", 1)[1]
        body = json.dumps(notice(drill, instance, queue_arn(world, queue), world.now()))
        world.aws.call("sqs", "send_message", QueueUrl=queue_url(world, queue), MessageBody=body)

    def missing(self, world: World, facts: Mapping[str, Json]) -> list[str]:
        """See :class:`Drill`."""
        return _still_on(world, [hit[1] for hit in facts["storm"]])


class ZoneLoss(Drill):
    """Every node of a zone cordoned and emptied by evictions, with respect for disruption budgets."""

    name, fault = DrillName.ZONE_LOSS, Fault.ZONE_LOSS
    concerns = ("spot_capacity", "right_sizing", "consolidation", "predictive_scaling")
    hypothesis = "The other zones, or new nodes, take every pod of the zone, and budgets hold throughout."

    def facts(self, world: World) -> dict[str, Json]:
        """The zone and its nodes."""
        nodes, zone = node_facts(world), world.settings.zone
        if not zone:
            placed = {pod["spec"].get("nodeName") for pod in workload_pods(world)}
            counts = sorted({n.zone for n in nodes}, key=lambda z: (-sum(n.zone == z and n.name in placed
                                                                          for n in nodes), z))  # fmt: skip
            zone = next(iter(counts), "")
        return {"zone": zone, "zones": len({n.zone for n in nodes}), "nodes": [n.name for n in nodes if n.zone == zone]}

    def problem(self, facts: Mapping[str, Json]) -> tuple[str, str]:
        """See :class:`Drill`."""
        if not facts["nodes"]:
            return f"zone {facts['zone'] or 'none'} has no node", "name a zone of the region in zone"
        if facts["zones"] < 2:
            return f"{facts['zone']} is the only zone that has nodes", "drill where there are nodes in two zones"
        return "", ""

    def things(self, world: World, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """The cordons."""
        del world
        return [Cordon(node) for node in facts["nodes"]]

    def press_on(self, world: World, facts: Mapping[str, Json]) -> None:
        """Evict what may be evicted; what a budget holds back is tried at the next look."""
        world.target.fence()
        for node in facts["nodes"]:
            for pod in world.cluster.list(POD, fields=f"spec.nodeName={node}"):
                if evictable(pod) and not is_ending(pod) and not asks_to_stay(pod):
                    world.cluster.evict(name_of(pod), pod["metadata"]["namespace"])

    def missing(self, world: World, facts: Mapping[str, Json]) -> list[str]:
        """See :class:`Drill`."""
        return _still_on(world, facts["nodes"])


def _still_on(world: World, nodes: Sequence[str]) -> list[str]:
    there = [pod["spec"].get("nodeName") for pod in workload_pods(world)]
    return [f"{there.count(node)} pods are still on {node}" for node in nodes if node in there]


class ForecastOutage(Drill):
    """The predictor's Deployment without a pod."""

    name, fault = DrillName.FORECAST_OUTAGE, Fault.FORECAST_DOWN
    concerns = ("predictive_scaling",)
    hypothesis = "Scaling goes on by requests alone, and no pod is taken away for want of a forecast."

    def facts(self, world: World) -> dict[str, Json]:
        """Whether the predictor stands."""
        key = f"{DEPLOYMENT.name} {world.estate.namespace}/{PREDICTOR}"
        return {"key": key, "stands": read_key(world, key) is not None}

    def problem(self, facts: Mapping[str, Json]) -> tuple[str, str]:
        """See :class:`Drill`."""
        return ("", "") if facts["stands"] else (f"{facts['key']} does not exist", "roll out predictive_scaling first")

    def things(self, world: World, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """Its replicas."""
        del world
        return [without_pods(facts["key"])] if facts["stands"] else []


class MetricsOutage(Drill):
    """Prometheus away: its Deployment without a pod, or through the estate's hook where it is none."""

    name, fault = DrillName.METRICS_OUTAGE, Fault.PROMETHEUS
    concerns = ("predictive_scaling", "cost_monitoring")
    hypothesis = "Without metrics nothing is scaled down, every pod stays ready, and the metrics come back."
    needs_metrics = False

    def facts(self, world: World) -> dict[str, Json]:
        """Whether the Deployment stands; through a hook its name alone."""
        if world.estate.governance.game_day_hook:
            return {"hook": PROMETHEUS}
        key = f"{DEPLOYMENT.name} {world.settings.metrics_deployment}"
        stands = bool(world.settings.metrics_deployment) and read_key(world, key) is not None
        return {"key": key, "stands": stands}

    def problem(self, facts: Mapping[str, Json]) -> tuple[str, str]:
        """See :class:`Drill`."""
        if "hook" in facts or facts["stands"]:
            return "", ""
        return (
            f"{facts['key']} does not exist",
            "name Prometheus' Deployment in metrics_deployment, or a hook's connection in governance.game_day_hook",
        )

    def things(self, world: World, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """Its replicas, or its outage."""
        del world
        if "hook" in facts:
            return [Outage(str(facts["hook"]))]
        return [without_pods(facts["key"])] if facts["stands"] else []


def without_pods(key: str) -> Item:
    """A Deployment's replicas at zero, taken over from whoever owns them."""
    return Item({**identity(key), "spec": {"replicas": 0}}, Own.FIELDS)


class CostSpike(Drill):
    """A load that asks for more nodes than the guard's cap allows: the cap is set as the guard sets it, first."""

    name, fault = DrillName.COST_SPIKE, Fault.COST_SPIKE
    concerns = ("cost_cap", "cost_monitoring", "spot_capacity")
    hypothesis = "The guard's cap holds the pool's CPU whatever is asked for, and takes nothing away that runs."

    def facts(self, world: World) -> dict[str, Json]:
        """The pool, the cap that the guard would set now, and how many pods of one CPU ask for more than that."""
        now = read_situation(world.cluster, world.target.region, world.settings.spike_pool, world.estate.namespace)
        cap = _cap(now)
        load = 0 if cap is None else max(0, math.ceil(cap - now.used_cpu)) + EXTRA_LOAD
        return {"pool": now.pool, "cap": None if cap is None else f"{cap.normalize():f}", "load": load}

    def problem(self, facts: Mapping[str, Json]) -> tuple[str, str]:
        """See :class:`Drill`."""
        if facts["cap"] is not None:
            return "", ""
        return f"the guard has no cap for {facts['pool']}", "name a NodePool that has nodes in spike_pool"

    def things(self, world: World, facts: Mapping[str, Json]) -> Sequence[Thing]:
        """The cap, then the load: set back the other way round."""
        if facts["cap"] is None:
            return []
        limit = {**identity(f"NodePool {facts['pool']}"), "spec": {"limits": {"cpu": facts["cap"]}}}
        values = {"namespace": world.estate.namespace, "replicas": facts["load"], "pool": facts["pool"]}
        return [Item(limit, Own.FIELDS), *(Item(body) for body in render("game_day/load.yaml", values))]

    def measure(self, world: World, facts: Mapping[str, Json]) -> float | None:
        """vCPU of the pool."""
        pool = str(facts["pool"])
        return float(read_situation(world.cluster, world.target.region, pool, world.estate.namespace).used_cpu)

    def back(self, world: World, keys: Sequence[str]) -> list[str]:
        """Nothing: the load is deleted, and was waited for."""
        del world, keys
        return []


def _cap(now: Situation) -> Decimal | None:
    """What the guard would cap the pool at; a limit that is no higher stays. None when there is nothing to cap."""
    found, _ = remedy(now)
    if found is None or not now.is_pool:
        return None
    return Decimal(str(found.new_cpu)) if found.kind == CAP else now.limit_cpu


DRILLS: Mapping[str, Drill] = {
    drill.name.value: drill for drill in (SpotStorm(), ZoneLoss(), ForecastOutage(), MetricsOutage(), CostSpike())
}
