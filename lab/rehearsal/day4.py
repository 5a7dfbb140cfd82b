"""Day 4 in the report: how full the requests are, what stands on how many nodes, at which dollars. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.pages.table import aligned
from include.prices import HOURS_PER_MONTH
from include.rollout.ledger import Record, Step, last
from lab.rehearsal.occupancy import Occupancy


@dataclass(frozen=True)
class Predicted:
    """What a lever's run has said beforehand of one region; None where it has not.

    ``usd_hour`` of all nodes, by the approved plan; ``nodes`` are Karpenter's; ``packing_usd_hour`` the cheapest that
    could hold the pods as they are in the end.
    """

    usd_hour: float | None = None
    nodes: int | None = None
    packing_usd_hour: float | None = None


def predicted_of(records: Sequence[Record]) -> Predicted:
    """What a run has put on record of a region, from its chain: the plan, the figures before, and those after."""
    plan, before, after = (last(records, step) for step in (Step.PLAN, Step.SNAPSHOT, Step.PROMOTED))
    month = plan.figures["plan"]["usd_month_after"] if plan else None
    nodes = (before.figures.get("before") or {}).get("packing_optimum_nodes") if before else None
    packing = (after.figures.get("after") or {}).get("packing_optimum_usd_hour") if after else None
    return Predicted(
        usd_hour=None if month is None else round(float(month) / float(HOURS_PER_MONTH), 4),
        nodes=None if nodes is None else int(nodes),
        packing_usd_hour=None if packing is None else float(packing),
    )


@dataclass(frozen=True)
class PackedRegion:
    """Day 4 in one region. ``oom_kills`` and ``pdb_violations`` of the whole day; None where they are not known."""

    before: Occupancy
    after: Occupancy
    predicted: Predicted
    oom_kills: int | None
    pdb_violations: int | None

    @property
    def packing_ratio(self) -> float | None:
        """Dollars of Karpenter's nodes, by the lab's own reading, by the cheapest that hold the same pods."""
        return _ratio(self.after.figures.usd_hour_karpenter, self.predicted.packing_usd_hour)


def region_report(found: PackedRegion) -> dict[str, Any]:
    """One region's part of ``days.4`` in report.json; null is not known."""
    before, after = found.before.figures, found.after.figures
    return {
        "utilisation_before": found.before.utilisation,
        "utilisation_after": found.after.utilisation,
        "nodes_before": before.nodes,
        "nodes_after": after.nodes,
        "usd_hour_before": before.usd_hour,
        "usd_hour_after": after.usd_hour,
        "usd_hour_predicted": found.predicted.usd_hour,
        "packing_optimum_ratio": found.packing_ratio,
        "oom_kills": found.oom_kills,
        "pdb_violations": found.pdb_violations,
        "spot_share_pods": after.spot_share_pods,
        "spot_share_vcpu": after.spot_share_vcpu,
    }


HEAD = (
    *("region", "utilisation", "CPU used/requested", "GiB used/requested", "requests/s", "nodes", "$/hour"),
    *("predicted", "error", "x optimum", "OOM", "PDB", "spot pods", "spot vCPU"),
)


def table(regions: Mapping[str, PackedRegion]) -> str:
    """Day 4's table of all regions: before is the end of day 2."""
    return aligned([HEAD, *(_row(region, found) for region, found in regions.items())])


def _row(region: str, found: PackedRegion) -> Sequence[str]:
    before, after = found.before.figures, found.after.figures
    return (
        region,
        f"{shown(found.before.utilisation, '.0%')} -> {shown(found.after.utilisation, '.0%')}",
        f"{_cpu(found.before)} -> {_cpu(found.after)}",
        f"{_memory(found.before)} -> {_memory(found.after)}",
        f"{shown(found.before.qps, '.0f')} -> {shown(found.after.qps, '.0f')}",
        f"{before.nodes} -> {after.nodes}",
        f"{shown(before.usd_hour, '.3f')} -> {shown(after.usd_hour, '.3f')}",
        shown(found.predicted.usd_hour, ".3f"),
        shown(error(found.predicted.usd_hour, after.usd_hour), "+.1%"),
        shown(found.packing_ratio, ".3f"),
        shown(found.oom_kills, "d"),
        shown(found.pdb_violations, "d"),
        f"{after.spot_share_pods:.0%}",
        f"{after.spot_share_vcpu:.0%}",
    )


def _cpu(found: Occupancy) -> str:
    return f"{found.use.used.cores:.1f}/{found.use.requested.cores:.1f}" if found.use else "unknown"


def _memory(found: Occupancy) -> str:
    if found.use is None:
        return "unknown"
    used, requested = (amount.memory_bytes / 2**30 for amount in (found.use.used, found.use.requested))
    return f"{used:.1f}/{requested:.1f}"


def error(predicted: float | None, realised: float | None) -> float | None:
    """By which share of it the realised figure was missed: above zero, more was predicted than came."""
    ratio = _ratio(predicted, realised)
    return None if ratio is None else round(ratio - 1, 4)


def _ratio(value: float | None, whole: float | None) -> float | None:
    return round(value / whole, 4) if value is not None and whole else None


def shown(value: float | None, form: str) -> str:
    """A figure in its form, or that it is unknown."""
    return "unknown" if value is None else format(value, form)


# The week -------------------------------------------------------------------------------------------------------------

ABOUT_LEVERS = {"predictive_scaling": "predicts the mean of a week; what is realised is the rehearsed peak"}


@dataclass(frozen=True)
class Realised:
    """What a lever has predicted of a region, and what the lab has read there when its run was over."""

    lever: str
    region: str
    predicted: Predicted
    nodes: int
    karpenter_nodes: int
    usd_hour: float | None


def week_table(found: Sequence[Realised]) -> str:
    """Predicted against realised for each lever and region. Nodes of one hour are node-hours an hour."""
    head = ("lever", "region", "node-hours/h", "of Karpenter", "predicted", "error", "$/hour", "predicted", "error")
    lines = [aligned([head, *(_week_row(one) for one in found)])]
    levers = dict.fromkeys(one.lever for one in found)
    return "\n".join([*lines, *(f"{name} {ABOUT_LEVERS[name]}" for name in levers if name in ABOUT_LEVERS)])


def _week_row(one: Realised) -> Sequence[str]:
    told = one.predicted
    return (
        one.lever,
        one.region,
        str(one.nodes),
        str(one.karpenter_nodes),
        shown(told.nodes, "d"),
        shown(error(told.nodes, one.karpenter_nodes), "+.1%"),
        shown(one.usd_hour, ".3f"),
        shown(told.usd_hour, ".3f"),
        shown(error(told.usd_hour, one.usd_hour), "+.1%"),
    )
