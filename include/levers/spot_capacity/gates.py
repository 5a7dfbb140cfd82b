"""By which gates the stages are judged, each with its measure, and the figures for the report."""

from __future__ import annotations

from typing import Any

from include.clients.kubernetes import POD
from include.estate import Estate
from include.levers import service
from include.levers.node_costs import node_facts
from include.levers.nodes.evidence import lost_zones_figure, node_evidence, pending_probe, stranded_figure
from include.levers.nodes.interruptions import interruption_probes
from include.levers.probes import GateWindow, Probe, over_recent, over_stage
from include.levers.spot_capacity.apply import fallback_nodes
from include.levers.spot_capacity.plan import ZONES
from include.levers.spot_capacity.settings import DRILL, OLD_NODE_GROUP, World
from include.rollout.gates import Comparison, Figure, Gate


def probes(estate: Estate, slot: str) -> list[Probe]:
    """The gates of every stage; the drill adds how soon Karpenter reacts, the old node group whom its drain left.

    Latency and notices look at the window; errors, availability and waiting pods at the whole stage, so that what went
    wrong while it was applied counts too.
    """
    at_most, served = Comparison.AT_MOST, (service.error_gate(estate), service.availability_gate(estate))
    zones = Gate(ZONES, at_most, 0, "zones", 1, "the zones that the pods stood in when the plan was made")
    made = [
        *interruption_probes(estate),
        *(over_recent(found.gate, found.measure) for found in service.latency_gates(estate)),
        *(over_stage(found.gate, found.measure) for found in served),
        pending_probe(estate),
        Probe(zones, lambda world, window: lost_zones_figure(world, window.stage.settings.get(ZONES))),
    ]
    if slot == OLD_NODE_GROUP:
        gate = Gate("evicted_pods_pending", at_most, 0, "pods", 0, "every pod that the drain evicts needs a node")
        made.append(Probe(gate, lambda world, window: stranded_figure(world.cluster.list(POD), window.applied)))
    if slot == DRILL:
        limit, source = estate.targets.cordon_seconds, "estate targets.cordon_seconds"
        made.append(Probe(Gate("cordon_seconds", at_most, limit, "s", 1, source), _cordon))
    return made


def _cordon(_: World, window: GateWindow) -> Figure | None:
    applied = window.applied
    if applied.get("cordon_s") is None:
        return None
    source, note = f"watch of node {applied['node']}", f"drill {applied['drill_id']}"
    return Figure(float(applied["cordon_s"]), "s", 1, source, note)


def evidence(world: World) -> dict[str, Any]:
    """Nodes, shares, cost, latency and errors of the live world."""
    fallback = fallback_nodes(node_facts(world))
    return {**node_evidence(world), "fallback_nodes": fallback, **service.evidence(world)}
