"""What the rehearsal prints and writes, by exact values."""

from __future__ import annotations

from typing import Any

from include.rollout.ledger import FIRST_LINK, Record, Step
from lab.rehearsal import report
from lab.rehearsal.evidence import EvidenceFigures
from lab.rehearsal.report import Drill

BEFORE = EvidenceFigures(
    nodes=5, pods=30, spot_share_pods=0.0, spot_share_vcpu=0.0, usd_hour=1.45, p95_ms=18.25, error_ratio=0.0
)
AFTER = EvidenceFigures(
    nodes=7, pods=22, spot_share_pods=0.75, spot_share_vcpu=0.71, usd_hour=0.9312, p95_ms=19.0, error_ratio=0.0000123
)
NO_DATA = EvidenceFigures(
    nodes=2, pods=0, spot_share_pods=0.0, spot_share_vcpu=0.0, usd_hour=None, p95_ms=None, error_ratio=None
)
DRILL = Drill(cordon_s=0.4, replaced_s=12.5, error_ratio=0.0001)


def record(step: str, sequence: int = 1, second: int = 0, **figures: Any) -> Record:
    return Record(
        lever="spot_capacity",
        place="us-east-1",
        dag_id="day1_spot",
        run_id="manual",
        sequence=sequence,
        previous=FIRST_LINK,
        step=step,
        time=f"2026-11-24T10:00:{second:02}+00:00",
        figures=figures,
    )


def test_table() -> None:
    drills = {"us-east-1": DRILL, "eu-central-1": Drill()}
    table = report.table(
        {"us-east-1": BEFORE, "eu-central-1": BEFORE}, {"us-east-1": AFTER, "eu-central-1": NO_DATA}, drills
    )
    assert table.splitlines() == [
        "region        nodes   pods      spot pods  spot vCPU  $/hour            P95 ms           errors   cordon s"
        "  replaced s",
        "------------  ------  --------  ---------  ---------  ----------------  ---------------  -------  --------"
        "  ----------",
        "us-east-1     5 -> 7  30 -> 22  0% -> 75%  0% -> 71%  1.450 -> 0.931    18.2 -> 19.0     0.0012%  0.40    "
        "  12",
        "eu-central-1  5 -> 2  30 -> 0   0% -> 0%   0% -> 0%   1.450 -> unknown  18.2 -> unknown  unknown  unknown "
        "  unknown",
    ]


def gate(sequence: int, second: int, slot: str, **values: float | None) -> Record:
    results = [{"gate": name, **({} if value is None else {"value": value})} for name, value in values.items()]
    return record(Step.GATE, sequence, second, slot=slot, outcome="pass", results=results)


def test_scaling_of_day_2_is_the_newest_value_of_each_gate() -> None:
    chain = [
        record(Step.TOUCH, 1, 0, slot="predictor"),
        record(Step.APPLIED, 2, 12, slot="predictor"),
        gate(3, 15, "predictor", forecast_age=31.0, forecast_accuracy=0.982, forecast_against_naive=0.79),
        record(Step.TOUCH, 4, 20, slot="predictive"),
        record(Step.APPLIED, 5, 28, slot="predictive"),
        gate(6, 40, "predictive", forecast_age=44.0, false_scale_ups=None),
    ]
    found = report.scaling_of(chain)
    assert found == report.Scaling(0.982, 0.79, 44.0, None, {"predictor": 12.0, "predictive": 8.0})
    assert report.scaling_table({"us-east-1": found, "eu-central-1": report.Scaling()}).splitlines() == [
        "region        accuracy 15 min  error / best naive  forecast age s  false scale-ups  predictor s  predictive s",
        "------------  ---------------  ------------------  --------------  ---------------  -----------  ------------",
        "us-east-1     98.2%            0.79                44              unknown          12           8",
        "eu-central-1  unknown          unknown             unknown         unknown          unknown      unknown",
    ]


def test_report_has_exactly_the_agreed_fields() -> None:
    regions = {"us-east-1": report.region_report(BEFORE, AFTER, DRILL)}
    assert report.full_report("promoted", False, 512.34, regions, {"1": {"verdict": "promoted"}}) == {
        "verdict": "promoted",
        "restored": False,
        "seconds": 512.3,
        "regions": {
            "us-east-1": {
                "nodes_before": 5,
                "nodes_after": 7,
                "pods_before": 30,
                "pods_after": 22,
                "spot_share_pods": 0.75,
                "spot_share_vcpu": 0.71,
                "usd_hour_before": 1.45,
                "usd_hour_after": 0.9312,
                "p95_ms": 19.0,
                "error_ratio": 0.0000123,
                "drill": {"cordon_s": 0.4, "replaced_s": 12.5, "error_ratio": 0.0001},
            }
        },
        "days": {"1": {"verdict": "promoted"}},
    }


LINE = {"component": "s3", "source": "aws", "usd_24h": "4.93", "usd_month": "150.02", "target_usd_month": "120"}
COSTS = {
    "validation": {
        "window": {"seconds": 30, "start": "10:00", "end": "10:30"},
        "lines": [
            {**LINE, "verdict": "fail"},
            {
                **LINE,
                "component": "jetson",
                "source": "jetson",
                "usd_24h": None,
                "usd_month": None,
                "verdict": "unknown",
            },
        ],
        "total": {
            "usd_24h": None,
            "usd_month": None,
            "target_usd_month": "2970.5",
            "verdict": "unknown",
            "settling": "provisional",
        },
    },
    "completion": "/lab/costs/completion/report.json",
}


def test_dollars_of_day_5_show_what_is_unknown_as_unknown() -> None:
    assert report.costs_text(COSTS).splitlines() == [
        "costs of 30 s, 10:00 to 10:30: provisional",
        "component  source  USD/day  USD/month    target  verdict",
        "---------  ------  -------  ---------  --------  -------",
        "s3         aws        4.93     150.02    120.00  FAIL",
        "jetson     jetson  unknown    unknown    120.00  UNKNOWN",
        "total              unknown    unknown  2,970.50  UNKNOWN",
        "completion report: /lab/costs/completion/report.json",
    ]
    assert report.costs_text(None) == "nothing was validated: the run ended before"


def test_a_day_in_the_report() -> None:
    assert report.day_report("promoted", 61.5, None) == {"verdict": "promoted", "seconds": 61.5}
    found = report.day_report("promoted", 61.5, COSTS)
    assert found["components"]["s3"] == {name: LINE[name] for name in LINE if name != "component"} | {"verdict": "fail"}
    assert found["completion"] == "/lab/costs/completion/report.json"


GATE = {
    "slot": "step_1",
    "title": "30 % spot",
    "outcome": "pass",
    "results": [
        {"gate": "p95_ms", "outcome": "pass", "reason": "p95_ms: 18 ms", "value": 18.2512, "unit": "ms"},
        {"gate": "error_ratio", "outcome": "pass", "reason": "r", "value": 0.0, "unit": "ratio"},
        {"gate": "availability", "outcome": "unknown", "reason": "availability: no data", "unit": "ratio"},
    ],
}


def test_a_passed_gate_shows_its_figures() -> None:
    assert report.line_of(record(Step.GATE, **GATE), 65.4, 21.0) == (
        "[    65 s] us-east-1       gate PASS    30 % spot: p95_ms 18.25 ms, error_ratio 0, availability no data"
        "  (21 s)"
    )


def test_a_failed_gate_shows_only_why() -> None:
    figures = {**GATE, "outcome": "unknown"}
    assert report.line_of(record(Step.GATE, **figures), 65.4) == (
        "[    65 s] us-east-1       gate UNKNOWN 30 % spot: availability: no data"
    )


def test_an_applied_stage_shows_scalars_without_bookkeeping() -> None:
    figures = {"nodes": 7, "started_at": 1.8e9, "share": 0.33333, "pods": {"spot": 8}, "names": ["a"], "long": "x" * 50}
    line = report.line_of(
        record(Step.APPLIED, slot="step_1", title="30 % spot", seconds=40.0, soak_until="2026", figures=figures), 9
    )
    assert line == "[     9 s] us-east-1       applied   30 % spot: nodes 7, share 0.3333, pods.spot 8"


def test_a_stop_and_a_restoration_say_what_happened() -> None:
    assert report.line_of(record(Step.STOPPED, where="apply_stage", reason="no room"), 1) == (
        "[     1 s] us-east-1       STOPPED   apply_stage: no room"
    )
    assert report.line_of(record(Step.RESTORED, complete=True), 1, 30.2) == (
        "[     1 s] us-east-1       RESTORED: live equals the snapshot  (30 s)"
    )
    assert report.line_of(record(Step.RESTORED, complete=False, remaining=["a: 1 -> 2"]), 1) == (
        "[     1 s] us-east-1       NOT restored: a: 1 -> 2"
    )


def test_plans_and_decisions_print_no_line() -> None:
    assert report.line_of(record(Step.PLAN, plan={}), 1) is None
    assert report.line_of(record(Step.DECISION, promote=True), 1) is None


CHAIN = [
    record(Step.TOUCH, 1, 0, slot="interruption_drill"),
    record(
        Step.APPLIED, 2, 20, slot="interruption_drill", figures={"cordon_s": 0.42, "replaced_s": 13.1, "node": "n1"}
    ),
    record(Step.GATE, 3, 45, **{**GATE, "slot": "interruption_drill"}),
]


def test_seconds_of_a_step_count_from_its_beginning() -> None:
    assert [report.seconds_of(r, CHAIN[: r.sequence - 1]) for r in CHAIN] == [None, 20.0, 25.0]
    assert report.step_seconds(CHAIN) == {"applied interruption_drill": 20.0, "gate interruption_drill": 25.0}


def test_the_drill_comes_from_its_records() -> None:
    assert report.drill_of(CHAIN) == Drill(cordon_s=0.42, replaced_s=13.1, error_ratio=0.0)
    assert report.drill_of([]) == Drill()
