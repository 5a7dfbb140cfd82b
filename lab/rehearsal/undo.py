"""What is left of a week after the undo of everything: the ledger's word, and the lab's own evidence beside it.

Pure functions. The ledger says what the ``rollback`` DAG has undone; that nothing remains is proved by a comparison of
the clusters with what the lab itself had read before the first day (``evidence.py``). Either can find what the
other does not, and what either finds remains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from include.pages.table import aligned
from include.rollout.ledger import WHOLE_RUN, OpenRun, Record, Step, is_complete_restoration, last
from include.rollout.lever import Difference, differences
from lab.rehearsal.evidence import COST_NAMESPACES, SYSTEM_GROUP
from lab.rehearsal.report import moment

DAG = "rollback"
EVERYTHING = "everything"
NOT_KNOWN = "unknown"  # the lever of a difference that could be any's
# The lever that writes each part of the lab's evidence; Deployments are written by several, by field.
LEVER_OF = {
    "nodes": "spot_capacity",
    "node_groups": "spot_capacity",
    "node_pools": "spot_capacity",
    "node_classes": "spot_capacity",
    "scaled_objects": "predictive_scaling",
    "vertical_autoscalers": "right_sizing",
    "pod_requests": "right_sizing",
    "system_pods": "consolidation",
    "opencost_deployments": "cost_monitoring",
    "kubecost_deployments": "cost_monitoring",
    "monitoring": "cost_monitoring",
    "functions": "lambda_edge",
    "health_checks": "dns_health_checks",
    "lifecycle": "storage_tiering",
    "devices": "edge_power",
}
LEVER_OF_RESOURCE = {
    "nodepools": "spot_capacity",
    "ec2nodeclasses": "spot_capacity",
    "scaledobjects": "predictive_scaling",
    "horizontalpodautoscalers": "predictive_scaling",
    "verticalpodautoscalers": "right_sizing",
    "httproutes": "request_routing",
}
COST_MONITORING_NAMESPACES = (*COST_NAMESPACES, "monitoring")
OF_REPLICAS, OF_PLACEMENT = ("replicas",), ("template.spec.topologySpreadConstraints", "template.spec.affinity")
Place = tuple[str, str]  # lever and region
Standing = Mapping[Place, Sequence[OpenRun]]


@dataclass(frozen=True)
class Remains:
    """One thing that is not back. ``lever`` is ``unknown`` where several could have left it."""

    region: str
    lever: str
    what: str

    def __str__(self) -> str:
        return f"{self.region} {self.lever}: {self.what}"


@dataclass(frozen=True)
class LeverUndo:
    """How one lever's changes were undone. ``seconds`` from its first undo to its last proof; None without one."""

    lever: str
    regions: tuple[str, ...]
    restored_in: tuple[str, ...]
    seconds: float | None

    @property
    def restored(self) -> bool:
        """Whether it is back wherever it stood."""
        return self.restored_in == self.regions


@dataclass(frozen=True)
class UndoResult:
    """The undo of everything. ``seconds`` from the approval to the verdict, or from the trigger if nobody was asked."""

    seconds: float
    levers: tuple[LeverUndo, ...]
    remaining: tuple[Remains, ...]

    @property
    def restored(self) -> bool:
        """Whether nothing at all remains."""
        return not self.remaining

    def to_json(self) -> dict[str, Any]:
        """The field ``undo`` of report.json."""
        return {
            "restored": self.restored,
            "seconds": round(self.seconds, 1),
            "remaining": [asdict(item) for item in self.remaining],
            "by_lever": {one.lever: {"restored": one.restored, "seconds": one.seconds} for one in self.levers},
        }

    def __str__(self) -> str:
        rows = [("lever", "regions restored", "seconds")]
        for one in self.levers:
            seconds = "unknown" if one.seconds is None else f"{one.seconds:.0f}"
            rows.append((one.lever, f"{len(one.restored_in)} of {len(one.regions)}", seconds))
        lines = [aligned(rows, right={2})] if self.levers else ["nothing stood, so nothing was undone"]
        lines.append(
            f"undo of everything: {self.seconds:.0f} s; " + ("nothing remains" if self.restored else "remains:")
        )
        return "\n".join([*lines, *(f"  {item}" for item in self.remaining)])


def conf(regions: Iterable[str]) -> dict[str, Any]:
    """What the undo is triggered with: by a person who approves it, so no emergency."""
    return {
        "lever": EVERYTHING,
        "regions": list(regions),
        "dry_run": False,
        "emergency": False,
        "reason": "rehearsal: undo of everything",
    }


def judge(
    seconds: float,
    stood: Standing,
    records: Mapping[Place, Sequence[Record]],
    still: Standing,
    evidence: Sequence[Remains],
    unfinished: str = "",
) -> UndoResult:
    """The undo of what ``stood``, by the undo's own ``records``, by what ``still`` stands and by the ``evidence``.

    ``unfinished`` is what the run said if it did not end well: it is never left without a trace.
    """
    remaining = [*of_ledger(stood, records, still), *evidence]
    if unfinished and not remaining:
        remaining = [Remains(WHOLE_RUN, EVERYTHING, unfinished)]
    places = [place for place in {**stood, **records} if stood.get(place) or records.get(place)]
    levers = [_of_lever(name, places, records, remaining) for name in dict.fromkeys(lever for lever, _ in places)]
    return UndoResult(seconds, tuple(levers), tuple(remaining))


def _of_lever(
    lever: str, places: Sequence[Place], records: Mapping[Place, Sequence[Record]], remaining: Sequence[Remains]
) -> LeverUndo:
    regions = tuple(region for name, region in places if name == lever)
    left = {item.region for item in remaining if item.lever == lever}
    own = [record for region in regions for record in records.get((lever, region), ())]
    begun = [moment(record) for record in own if record.step == Step.UNDO]
    proved = [moment(record) for record in own if record.step == Step.RESTORED]
    seconds = round((max(proved) - min(begun)).total_seconds(), 1) if begun and proved else None
    return LeverUndo(lever, regions, tuple(region for region in regions if region not in left), seconds)


def of_ledger(stood: Standing, records: Mapping[Place, Sequence[Record]], still: Standing) -> list[Remains]:
    """What the ledger says is not back: what a restoration names, why an undo stopped, and what nobody has undone."""
    found = []
    for lever, region in {**stood, **records, **still}:
        place = (lever, region)
        own, runs = records.get(place, ()), still.get(place, ())
        restored = last(own, Step.RESTORED)
        if restored is not None and not is_complete_restoration(restored):
            items = restored.figures.get("remaining") or ["not back, and the ledger does not say what"]
            found += [Remains(region, lever, str(item)) for item in items]
        elif runs:
            names = ", ".join(f"{run.chain.dag_id}/{run.chain.run_id}" for run in runs)
            stopped = last(own, Step.STOPPED)
            why = f": {stopped.figures.get('reason')}" if stopped else ""
            found.append(Remains(region, lever, f"the changes of {names} still stand{why}"))
    return found


def of_evidence(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Remains]:
    """How the regions differ from what they were before the first day, each with the lever that writes there."""
    return [
        Remains(region, lever_of(found), str(found))
        for region in before
        for found in differences(before[region], now[region])
    ]


def lever_of(found: Difference) -> str:
    """The lever that writes where the evidence differs."""
    part, _, field = found.path.partition(".")
    if field.startswith(SYSTEM_GROUP) or (part == "node_pools" and ".disruption" in field):
        return "consolidation"
    if part == "distribution":
        of_class = field == "PriceClass"
        return "cdn_price_class" if of_class else "lambda_edge" if "LambdaFunctionAssociations" in field else NOT_KNOWN
    if part == "record_sets":
        return "dns_health_checks" if ".HealthCheckId" in field else "request_routing"
    if part == "deployments":
        if field.endswith(OF_REPLICAS):
            return "predictive_scaling"
        if any(name in field for name in OF_PLACEMENT):
            return "spot_capacity"
    if part == "objects":
        resource, _, name = field.partition(" ")
        of_costs = any(namespace in name for namespace in COST_MONITORING_NAMESPACES)
        return "cost_monitoring" if of_costs else LEVER_OF_RESOURCE.get(resource, NOT_KNOWN)
    return LEVER_OF.get(part, NOT_KNOWN)
