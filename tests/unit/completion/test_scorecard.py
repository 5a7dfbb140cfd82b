"""P0, P1 and P2 by rule, from the ledger alone; what has no record is unknown, and unknown is never a pass."""

from __future__ import annotations

import pytest

from include.completion.scorecard import Inputs, Score, priority_verdict, scorecard, worst
from include.estate import load_estate
from include.rollout.ledger import Step
from tests.unit.completion.completion_world import AP, SPOT, US, Book, cost_run, spot_run, validation


def verdicts(inputs: Inputs) -> dict[str, str]:
    return {score.item: score.verdict for score in scorecard(inputs)}


def item(inputs: Inputs, name: str) -> Score:
    return next(score for score in scorecard(inputs) if score.item == name)


def test_worst_of_some_verdicts() -> None:
    assert [worst(v) for v in (["pass"], ["pass", "unknown"], ["unknown", "fail"], [])] == [
        "pass", "unknown", "fail", "unknown",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("priority", "passed", "failed", "unknown", "verdict"),
    [
        ("P0", 8, 0, 0, "pass"),
        ("P0", 7, 1, 0, "fail"),
        ("P0", 7, 0, 1, "unknown"),
        ("P0", 0, 0, 8, "unknown"),
        ("P1", 4, 1, 0, "pass"),  # 80 % of 5 are 4
        ("P1", 4, 0, 1, "pass"),
        ("P1", 3, 1, 1, "unknown"),
        ("P1", 3, 2, 0, "fail"),
        ("P2", 2, 1, 0, "pass"),  # half of 3 needs 2
        ("P2", 1, 1, 1, "unknown"),
        ("P2", 1, 2, 0, "fail"),
    ],
)
def test_a_priority_passes_by_its_share(priority: str, passed: int, failed: int, unknown: int, verdict: str) -> None:
    assert priority_verdict(["pass"] * passed + ["fail"] * failed + ["unknown"] * unknown, priority) == verdict


def test_a_priority_without_items_is_not_passed() -> None:
    assert priority_verdict([], "P0") == "unknown"


def test_the_scorecard_judges_what_is_on_record(book: Book) -> None:
    for region in (AP, US):
        spot_run(book, region)
        cost_run(book, region)
        book.counted(region, 1_000_000, 999_950)
        book.measured(region, kind="throughput", served_qps=6500.0)
        book.add("predictive_scaling", region, "r2", Step.TOUCH)
        book.add("predictive_scaling", region, "r2", Step.PROMOTED, after={"forecast_accuracy": 0.91})
    book.validated(validation(), commitments="commitments/a.json")
    assert verdicts(book.inputs(AP, US)) == {
        "cost": "fail",
        "central_dc": "pass",
        "cloudfront": "fail",
        "spot share": "pass",
        "P95 latency": "pass",
        "availability": "pass",
        "throughput": "pass",
        "forecast accuracy": "pass",
        "Kubecost": "pass",
        "dashboard": "pass",
        "VPA everywhere": "unknown",
        "consolidation": "unknown",
        "Jetson": "pass",
        "instance types": "pass",
        "chaos": "pass",
        "commitments": "pass",
    }


def test_each_figure_names_the_record_that_it_comes_from(book: Book) -> None:
    spot_run(book, AP)
    book.counted(AP, 100, 100, "days", "drills", "undo")
    inputs = book.inputs(AP)
    assert item(inputs, "spot share").sources == (f"{SPOT}/{AP}/day1_spot--r1/000007.json",)
    assert item(inputs, "chaos").sources == (f"{SPOT}/{AP}/day1_spot--r1/000006.json",)
    assert item(inputs, "availability") == Score(
        "P0",
        "availability",
        "99.99% of the requests of all days, drills and undo included",
        "pass",
        "100.0000%, 2026-11-23T09:00:00 to 2026-11-27T18:00:00, days, drills, undo included",
        (f"service/{AP}/rehearsal--r/000001.json",),
    )


def test_one_region_without_a_figure_makes_the_item_unknown_and_one_that_misses_fails_it(book: Book) -> None:
    spot_run(book, AP)
    assert verdicts(book.inputs(AP, US))["spot share"] == "unknown"
    spot_run(book, US, share=0.5)
    score = item(book.inputs(AP, US), "spot share")
    assert (score.wanted, score.verdict, score.measured) == ("70% of the pods", "fail", f"{AP} 75%, {US} 50%")


def test_an_undone_rollout_proves_nothing_any_more(book: Book) -> None:
    spot_run(book, AP)
    book.add(SPOT, AP, "undo", Step.UNDO, run="day/r1")
    book.add(SPOT, AP, "undo", Step.RESTORED, complete=True, remaining=[])
    inputs = book.inputs(AP)
    assert verdicts(inputs)["spot share"] == "unknown"
    assert [run.outcome for run in inputs.history.region_runs()] == ["promoted", "rolled back"]


def test_availability_is_served_by_asked_over_all_regions(book: Book) -> None:
    book.counted(AP, 1000, 1000)
    assert verdicts(book.inputs(AP, US))["availability"] == "unknown"  # one region was not counted
    book.counted(US, 9000, 8998)
    score = item(book.inputs(AP, US), "availability")
    assert (score.verdict, score.measured[:8]) == ("fail", "99.9800%")
    book.counted(US, 90_000, 89_999)  # counted again, with the undo
    assert item(book.inputs(AP, US), "availability").verdict == "pass"


def test_throughput_is_that_of_the_weakest_region_above_600_qps_by_the_demand_scale(book: Book) -> None:
    limit = 600 * load_estate().demand_scale()
    book.measured(AP, kind="throughput", served_qps=limit + 200)
    assert verdicts(book.inputs(AP, US))["throughput"] == "unknown"
    book.measured(US, kind="throughput", served_qps=limit)  # "more than" is more
    score = item(book.inputs(AP, US), "throughput")
    assert (score.verdict, score.measured) == ("fail", "6,415 QPS served in the weakest region")
    book.measured(US, kind="throughput", served_qps=limit + 1)
    assert item(book.inputs(AP, US), "throughput").verdict == "pass"


def test_an_accuracy_of_85_percent_is_not_more_than_85_percent(book: Book) -> None:
    book.add("predictive_scaling", AP, "r2", Step.TOUCH)
    book.add("predictive_scaling", AP, "r2", Step.PROMOTED, after={"forecast_accuracy": 0.85})
    score = item(book.inputs(AP), "forecast accuracy")
    assert (score.verdict, score.measured) == ("fail", f"{AP} 85.0%")


def test_the_latency_is_that_after_the_last_change(book: Book) -> None:
    spot_run(book, AP)
    book.add("consolidation", AP, "r4", Step.TOUCH)
    book.add("consolidation", AP, "r4", Step.PROMOTED, after={"p95_ms": 31.5})
    score = item(book.inputs(AP), "P95 latency")
    assert (score.verdict, score.measured) == ("fail", f"{AP} 31.5")
