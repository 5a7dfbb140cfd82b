"""The week of a rehearsal: each day's runs, and what they are triggered with."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.clients.storage import Folder
from include.forecast.registry import Registry
from lab import world as worlds
from lab.cluster import karpenter, vpa
from lab.service.history import DAYS as HISTORY_DAYS

COST_REPORT = "cost_report"
# What has to be there before a day: recurring DAGs, in their order, which run beside the days before it.
POWER_PLAN = "edge_power"  # the devices' schedule of a day: planned once, when their rollout stands
BEFORE: dict[int, tuple[str, ...]] = {2: ("traffic_export", "forecast_retrain"), 5: (COST_REPORT,)}
# Limits of waits: a slower machine gets longer ones. So does the pace of the lab's recommender.
WAITS = ("gate_wait_seconds", "converge_timeout_seconds")


@dataclass(frozen=True)
class RehearsedRun:
    """A run of the week: its DAG, its lever, and what it is triggered with beside regions and reason.

    One of ``several`` levers is on record as a whole under its DAG's name, which is its ``lever`` here. One without a
    ``rollout`` has no verdict in the ledger: that it succeeded is Airflow's word. ``regional`` ones are given regions.
    """

    dag: str
    lever: str
    conf: Mapping[str, Any]
    several: bool = False
    rollout: bool = True
    regional: bool = True


# The rehearsal shortens windows and skips nothing. The runs of a day follow each other.
WEEK: dict[int, tuple[RehearsedRun, ...]] = {
    1: (
        RehearsedRun(
            "day1_spot",
            "spot_capacity",
            {
                "drill": True,
                # The window reaches back behind the soak: what a step broke while it was written shows in it too.
                "soak_seconds": 8,
                "gate_window_seconds": 16,
                "gate_wait_seconds": 120,
                "converge_timeout_seconds": 300,
            },
        ),
    ),
    2: (
        RehearsedRun(
            "day2_predictive_scaling",
            "predictive_scaling",
            {
                "polling_seconds": 5,
                "rate_window_seconds": 20,
                "scale_down_seconds": 15,
                "soak_seconds": 5,
                "gate_window_seconds": 15,
                "gate_wait_seconds": 120,
                "converge_timeout_seconds": 180,
            },
        ),
    ),
    3: (
        RehearsedRun(
            "day3_edge",
            "day3_edge",
            {
                # What a lever of the edge writes shows at once in the lab; gates need a sample of each source.
                "soak_seconds": 3,
                "gate_window_seconds": 10,
                "gate_wait_seconds": 60,
                "converge_timeout_seconds": 120,
            },
            several=True,
        ),
        # The lab's devices answer at once and never vary: a second for each figure is as good as a minute.
        RehearsedRun(
            "measure_devices",
            "edge_power",
            {"seconds": 2, "settle_seconds": 1, "converge_timeout_seconds": 120},
            rollout=False,
            regional=False,
        ),
        RehearsedRun(
            "edge_power_rollout",
            "edge_power",
            {
                "soak_seconds": 6,  # one step of the lab's agents
                "gate_window_seconds": 10,
                "gate_wait_seconds": 60,
                "converge_timeout_seconds": 120,
            },
            regional=False,
        ),
    ),
    4: (
        RehearsedRun(
            "day4_right_sizing",
            "right_sizing",
            {
                "recommender_interval_seconds": vpa.INTERVAL_SECONDS,
                "deferred_seconds": 20,
                "soak_seconds": 5,
                "gate_window_seconds": 15,
                "gate_wait_seconds": 120,
                "converge_timeout_seconds": 240,
            },
        ),
        RehearsedRun(
            "day4_consolidation",
            "consolidation",
            {
                "consolidate_after_seconds": 10,
                "nominated_seconds": 2 * karpenter.BATCH_MAX_SECONDS,
                "underutilized_nodes": "100%",
                "right_size_floor": True,
                "soak_seconds": 5,
                "gate_window_seconds": 15,
                "gate_wait_seconds": 120,
                "converge_timeout_seconds": 300,
            },
        ),
    ),
    5: (
        RehearsedRun(
            "day5_cost_monitoring",
            "cost_monitoring",
            {
                # Nothing that day 5 writes can show itself late: its gates read series that are there or not.
                "soak_seconds": 1,
                "gate_window_seconds": 10,
                "gate_wait_seconds": 90,
                "converge_timeout_seconds": 120,
                "validation_window_seconds": 6,
            },
        ),
    ),
}


def run_id_of(now: dt.datetime) -> str:
    """A run id of this rehearsal alone: chosen here, so that a trigger whose answer was lost can be sent again."""
    return f"rehearsal_{now:%Y%m%dT%H%M%S}_{secrets.token_hex(3)}"


def run_conf(run: RehearsedRun, regions: Sequence[str], prometheus: str, stretch: float = 1.0) -> dict[str, Any]:
    """What ``run`` is triggered with; in the lab KEDA reaches Prometheus at its URL, ``prometheus``.

    ``stretch`` multiplies the limits of waits, and neither soaks nor what gates compare with.
    """
    own = {name: round(value * stretch) if name in WAITS else value for name, value in run.conf.items()}
    found = {"dry_run": False, **own}
    if run.rollout:
        found["reason"] = "rehearsal"
    if run.regional:
        found["regions"] = list(regions)
    return found | ({"prometheus_endpoint": prometheus} if run.lever == "predictive_scaling" else {})


def beside_conf(dag: str, regions: Sequence[str]) -> dict[str, Any]:
    """What a recurring DAG that runs beside a day is given; it runs for yesterday."""
    if dag == "traffic_export":
        return {"regions": list(regions), "days": HISTORY_DAYS}
    if dag == "forecast_retrain":
        # Trees and naives: minutes of networks for each region would be the longest part of the rehearsal.
        return {"regions": list(regions), "days": HISTORY_DAYS, "profile": "none"}
    return {}


def without_champion(folder: Path, regions: Sequence[str]) -> dict[str, str]:
    """The regions whose traffic no model forecasts better than the naives, each with the newest reason."""
    found = {}
    for region in regions:
        registry = Registry(Folder(worlds.models_folder(folder)), region)
        if not registry.pointer().version:
            history = registry.history()
            found[region] = history[-1].reason if history else "nothing was trained"
    return found
