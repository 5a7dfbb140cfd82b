"""By which gates the slots are judged, and the figures of the live world for the ledger and the report."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from include.levers import service
from include.levers.consolidation import budgets, floor
from include.levers.consolidation.fleet import packing_figures
from include.levers.consolidation.settings import FLOOR, POOLS, World
from include.levers.node_costs import node_facts, usd_hour
from include.levers.nodes.evidence import node_evidence, pending_probe, spot_shares
from include.levers.nodes.requests import pod_requests
from include.levers.pods import is_finished, workload_pods
from include.levers.probes import GateWindow, Probe, over_recent, over_stage
from include.levers.utilisation import oom_kills, utilisation
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.lever import Json

WATCH, BEFORE = "budget_watch", "before"  # what ``apply`` leaves for the gates
BEFORE_SPREAD = "before_spread"  # as BEFORE, before pods were moved between domains
AT_MOST = Comparison.AT_MOST
SHARES = ("spot_share_pods", "spot_share_vcpu")


def probes(world: World, slot: str) -> list[Probe]:
    """The gates of a slot: the service, waiting pods, disruption budgets, spot share, and that nothing got dearer.

    P95 looks at the window, all others of the service and the budgets at the whole stage.
    """
    estate = world.estate
    served = (service.error_gate(estate), service.availability_gate(estate))
    made = [
        *(over_recent(found.gate, found.measure) for found in service.latency_gates(estate)),
        *(over_stage(found.gate, found.measure) for found in served),
        pending_probe(estate),
        Probe(Gate("pdb_violations", AT_MOST, 0, "violations", 0, "PodDisruptionBudgets hold"), _violated),
        Probe(
            Gate("usd_hour_ratio", AT_MOST, 1, "ratio", 1, "no dearer for the same pods, evened out, than before"),
            _usd_ratio,
        ),
    ]
    if slot == FLOOR:
        return [*made, *floor.probes(world)]
    share, source = estate.targets.spot_share, "estate targets.spot_share"
    by_share = (Gate(name, Comparison.AT_LEAST, share, "ratio", 1, source) for name in SHARES)
    nodes = Gate("nodes_ratio", AT_MOST, 1, "ratio", 1, "no more nodes for the same pods, evened out, than before")
    return [*made, *(Probe(gate, _share_of(gate.name)) for gate in by_share), Probe(nodes, _nodes_ratio)]


def _violated(world: World, window: GateWindow) -> Figure | None:
    return budgets.violation_figure(world, window.applied.get(WATCH))


def shares(world: World) -> dict[str, float | None]:
    """The spot share by the workloads' ready pods, and by the vCPU of the pools' nodes without the floor's."""
    nodes, pods = [node for node in node_facts(world) if node.node_pool in POOLS.names], workload_pods(world)
    by_pods, by_vcpu = spot_shares(nodes, pods, world.region.node_group.name, 0)
    return dict(zip(SHARES, (by_pods, by_vcpu), strict=True))


def _share_of(name: str) -> Any:
    def measure(world: World, _: GateWindow) -> Figure | None:
        share = shares(world)[name]
        return None if share is None else Figure(share, "ratio", len(workload_pods(world)), "the live nodes' capacity")

    return measure


# Before and after --------------------------------------------------------------------------------------------------


def standing(world: World) -> dict[str, Json]:
    """Nodes, dollars an hour and the CPU that the workloads' pods request, for a comparison with later."""
    nodes = node_facts(world)
    cost, _ = usd_hour(world, nodes)
    pods = [pod for pod in workload_pods(world) if not is_finished(pod)]
    requested = sum((pod_requests(pod["spec"]).get("cpu", Decimal(0)) for pod in pods), Decimal(0))
    usd = None if cost is None else float(cost)
    return {"nodes": len(nodes), "usd_hour": usd, "cpu_requested": float(requested), "pods": len(pods)}


def _nodes_ratio(world: World, window: GateWindow) -> Figure | None:
    return ratio_figure("nodes", window.applied.get(BEFORE), standing(world))


def _usd_ratio(world: World, window: GateWindow) -> Figure | None:
    return ratio_figure("usd_hour", window.applied.get(BEFORE), standing(world))


def ratio_figure(name: str, before: Mapping[str, Json] | None, now: Mapping[str, Json]) -> Figure | None:
    """A figure of now by the one before, less what more pods are worth: an autoscaler may add some meanwhile."""
    if not before or not before[name] or now[name] is None or not before["cpu_requested"]:
        return None
    grown = max(1.0, now["cpu_requested"] / before["cpu_requested"])
    ratio = round(now[name] / before[name] / grown, 4)
    more = f"; requests grew {grown:.2f} times" if grown > 1 else ""
    note = f"{name} {round(before[name], 4):g} before, {round(now[name], 4):g} now{more}"
    return Figure(ratio, "ratio", int(now["nodes"]), "nodes at the prices of now", note)


def evidence(world: World) -> dict[str, Json]:
    """Nodes, shares, cost, use of requests, the packing optimum and the service, for the before/after columns."""
    return {
        **node_evidence(world),
        **shares(world),
        **utilisation(world),
        "oom_kills": oom_kills(world),
        "pdb_violations": budgets.broken_now(world),
        **packing_figures(world),
        **service.evidence(world),
    }
