"""Day 4 in the report and the week's table, by exact values."""

from __future__ import annotations

import re
from typing import Any

from include.rollout.ledger import FIRST_LINK, Record, Step
from lab.rehearsal import day4
from lab.rehearsal.day4 import PackedRegion, Predicted, Realised
from lab.rehearsal.evidence import EvidenceFigures
from lab.rehearsal.occupancy import Amount, Occupancy, Use

GIB = 2.0**30
BEFORE = Occupancy(
    EvidenceFigures(11, 22, 0.64, 0.71, 1.61, 21.0, 0.0, karpenter_nodes=9, usd_hour_karpenter=0.88),
    Use(Amount(18.5, 26 * GIB), Amount(22.0, 44 * GIB)),
    6167.0,
)
AFTER = Occupancy(
    EvidenceFigures(8, 22, 0.73, 0.72, 1.0, 22.0, 0.0, karpenter_nodes=6, usd_hour_karpenter=0.84),
    Use(Amount(18.6, 26 * GIB), Amount(21.0, 30 * GIB)),
    6180.0,
)
UNKNOWN = Occupancy(EvidenceFigures(8, 22, 0.73, 0.72, None, None, None), None, None)


def record(step: str, **figures: Any) -> Record:
    time = "2026-11-29T10:00:00+00:00"
    return Record("consolidation", "us-east-1", "day4_consolidation", "r", 1, FIRST_LINK, step, time, figures)


CHAIN = [
    record(Step.PLAN, plan={"usd_month_after": "744.192"}),
    record(Step.SNAPSHOT, before={"packing_optimum_nodes": 6}),
    record(Step.PROMOTED, after={"packing_optimum_usd_hour": 0.8}),
]


def test_what_a_run_has_predicted_is_on_record_in_its_plan_and_its_figures() -> None:
    assert day4.predicted_of(CHAIN) == Predicted(1.02, 6, 0.8)
    assert day4.predicted_of([]) == Predicted()
    unknown = [record(Step.PLAN, plan={"usd_month_after": None}), record(Step.SNAPSHOT), record(Step.PROMOTED)]
    assert day4.predicted_of(unknown) == Predicted()


def test_a_region_of_day_4_has_exactly_the_agreed_fields() -> None:
    found = PackedRegion(BEFORE, AFTER, day4.predicted_of(CHAIN), 0, 0)
    assert day4.region_report(found) == {
        "utilisation_before": 0.8409,
        "utilisation_after": 0.8857,
        "nodes_before": 11,
        "nodes_after": 8,
        "usd_hour_before": 1.61,
        "usd_hour_after": 1.0,
        "usd_hour_predicted": 1.02,
        "packing_optimum_ratio": 1.05,
        "oom_kills": 0,
        "pdb_violations": 0,
        "spot_share_pods": 0.73,
        "spot_share_vcpu": 0.72,
    }


def test_what_is_not_known_of_day_4_is_null_and_reads_unknown() -> None:
    found = PackedRegion(BEFORE, UNKNOWN, Predicted(), None, None)
    report = day4.region_report(found)
    assert [name for name, value in report.items() if value is None] == [
        "utilisation_after",
        "usd_hour_after",
        "usd_hour_predicted",
        "packing_optimum_ratio",
        "oom_kills",
        "pdb_violations",
    ]
    assert "84% -> unknown" in day4.table({"us-east-1": found})


def test_the_table_of_day_4() -> None:
    found = PackedRegion(BEFORE, AFTER, day4.predicted_of(CHAIN), 0, 1)
    rows = [re.split("  +", line.strip()) for line in day4.table({"us-east-1": found}).splitlines()]
    assert dict(zip(rows[0], rows[2], strict=True)) == {
        "region": "us-east-1",
        "utilisation": "84% -> 89%",
        "CPU used/requested": "18.5/22.0 -> 18.6/21.0",
        "GiB used/requested": "26.0/44.0 -> 26.0/30.0",
        "requests/s": "6167 -> 6180",
        "nodes": "11 -> 8",
        "$/hour": "1.610 -> 1.000",
        "predicted": "1.020",
        "error": "+2.0%",
        "x optimum": "1.050",
        "OOM": "0",
        "PDB": "1",
        "spot pods": "73%",
        "spot vCPU": "72%",
    }


def test_the_error_is_above_zero_where_more_was_predicted_than_came() -> None:
    assert day4.error(1.1, 1.0) == 0.1
    assert day4.error(0.9, 1.0) == -0.1
    assert day4.error(None, 1.0) is None
    assert day4.error(1.0, None) is None
    assert day4.error(1.0, 0.0) is None


def test_the_weeks_table_has_predicted_and_realised_of_each_lever_with_the_error() -> None:
    rows = [
        Realised("predictive_scaling", "us-east-1", Predicted(1.21), 11, 9, 1.61),
        Realised("consolidation", "us-east-1", Predicted(1.02, 6), 8, 6, 1.0),
        Realised("consolidation", "eu-central-1", Predicted(1.02, 6), 9, 8, None),
    ]
    assert day4.week_table(rows).splitlines() == [
        "lever               region        node-hours/h  of Karpenter  predicted  error    $/hour   predicted  error",
        "------------------  ------------  ------------  ------------  ---------  -------  -------  ---------  -------",
        "predictive_scaling  us-east-1     11            9             unknown    unknown  1.610    1.210      -24.8%",
        "consolidation       us-east-1     8             6             6          +0.0%    1.000    1.020      +2.0%",
        "consolidation       eu-central-1  9             8             6          -25.0%   unknown  1.020      unknown",
        "predictive_scaling predicts the mean of a week; what is realised is the rehearsed peak",
    ]
