"""The completion report: facts of the ledger and the validation, unknown where there is none, equal bytes."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from include.completion import page as completion_page
from include.completion import report as completion
from include.completion.report import History, Inputs, Score, build, outcome_of, reasons_of, worst
from include.completion.store import keep, read_inputs
from include.estate import load_estate
from include.rollout.ledger import Chain, Ledger, Step

US, AP = "us-east-1", "ap-northeast-1"
SPOT, COST = "spot_capacity", "cost_monitoring"


class Book:
    """A ledger whose clock moves a minute with each record."""

    def __init__(self, folder: Path) -> None:
        self.now = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)
        self.ledger = Ledger(Folder(folder), self._tick)

    def _tick(self) -> dt.datetime:
        self.now += dt.timedelta(minutes=1)
        return self.now

    def add(self, lever: str, region: str, run_id: str, step: str, **figures: Any) -> None:
        self.ledger.append(Chain(lever, region, "day", run_id), step, figures)


def result(gate: str, value: float | None, outcome: str = "pass", reason: str = "") -> dict[str, Any]:
    return {"gate": gate, "outcome": outcome, "reason": reason or f"{gate}: {value}", "value": value}


def spot_run(book: Book, region: str, run: str = "r1", share: float = 0.75, p95: float = 12.0) -> None:
    types = [f"c{n}.xlarge" for n in range(12)]
    plan = {"stages": [{"settings": {"instance_types": types}}]}
    book.add(SPOT, region, run, Step.PLAN, hash="h", plan=plan)
    book.add(
        SPOT,
        region,
        run,
        Step.SNAPSHOT,
        snapshot={},
        settings={},
        before={"p95_ms": 10.0, "nodes": 5, "usd_hour": 1.45},
    )
    book.add(SPOT, region, run, Step.TOUCH, slot="step_3", title="70 % spot")
    book.add(SPOT, region, run, Step.APPLIED, slot="step_3", title="70 % spot")
    results = [result("availability", 1.0)]
    book.add(SPOT, region, run, Step.GATE, slot="step_3", title="70 % spot", outcome="pass", results=results)
    drill = [result("availability", 0.99995), result("cordon_seconds", 1.5)]
    book.add(SPOT, region, run, Step.GATE, slot="interruption_drill", title="drill", outcome="pass", results=drill)
    after = {"p95_ms": p95, "spot_share_pods": share, "nodes": 6, "usd_hour": 0.9, "error_ratio": 0.0}
    book.add(SPOT, region, run, Step.PROMOTED, after=after)


def cost_run(book: Book, region: str) -> None:
    book.add(COST, region, "r5", Step.PLAN, hash="h", plan={"stages": []})
    book.add(COST, region, "r5", Step.SNAPSHOT, snapshot={}, settings={}, before={})
    book.add(COST, region, "r5", Step.TOUCH, slot="kubecost", title="kubecost")
    for slot, gates in {
        "kubecost": ("kubecost_up",),
        "dashboard_and_alerts": ("dashboard_queries_without_data", "rules_not_loaded", "rules_with_errors"),
    }.items():
        results = [result(gate, 0.0) for gate in gates]
        book.add(COST, region, "r5", Step.GATE, slot=slot, title=slot, outcome="pass", results=results)
    book.add(COST, region, "r5", Step.PROMOTED, after={})


def line(component: str, usd: str | None, target: str, verdict: str, reason: str = "") -> dict[str, Any]:
    return {
        "component": component,
        "baseline_usd_month": "100",
        "target_usd_month": target,
        "usd_month": usd,
        "book": "plan",
        "verdict": verdict,
        "source": "bill",
        "reason": reason,
    }


def validation(usd_month: str | None = "3000.10", verdict: str = "fail") -> dict[str, Any]:
    lines = [line(c.name, "42.5", str(c.week_14), "pass") for c in completion.PlanBook.components]
    lines[1] = line("cloudfront", usd_month and "500", "420", verdict, "" if usd_month else "no bill day")
    total = {
        "usd_month": usd_month,
        "known_usd_month": "2500.00",
        "target_usd_month": "2970",
        "verdict": verdict,
        "settling": "provisional",
        "unknown": [] if usd_month else ["cloudfront"],
    }
    return {"lines": lines, "total": total}


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "ledger")


def inputs_of(book: Book, found: dict[str, Any] | None, *regions: str, commitments: str = "") -> Inputs:
    history = History.read(book.ledger, [SPOT, COST], regions)
    return Inputs(load_estate(), regions, history, found, "validations/x.json", "reports/y", commitments)


def verdicts(inputs: Inputs) -> dict[str, str]:
    return {score.item: score.verdict for score in completion.scorecard(inputs)}


def test_worst_of_some_verdicts() -> None:
    assert [worst(v) for v in (["pass"], ["pass", "unknown"], ["unknown", "fail"], [])] == [
        "pass", "unknown", "fail", "unknown",
    ]  # fmt: skip


def test_the_scorecard_judges_what_is_on_record(book: Book) -> None:
    for region in (AP, US):
        spot_run(book, region)
        cost_run(book, region)
    assert verdicts(inputs_of(book, validation(), AP, US, commitments="commitments/a.json")) == {
        "cost": "fail",
        "central_dc": "pass",
        "cloudfront": "fail",
        "spot share": "pass",
        "P95 latency": "pass",
        "availability": "pass",
        "throughput": "unknown",
        "forecast accuracy": "unknown",
        "Kubecost": "pass",
        "dashboard": "pass",
        "VPA everywhere": "unknown",
        "consolidation": "unknown",
        "Jetson": "pass",
        "instance types": "pass",
        "chaos": "pass",
        "commitments": "pass",
    }


def test_without_any_record_everything_is_unknown(book: Book) -> None:
    report = build(inputs_of(book, None, AP))
    assert {score["verdict"] for score in report["scorecard"]} == {"unknown"}
    assert report["summary"] == [
        "Cost: UNKNOWN. unknown USD a month against unknown; no settling state.",
        "Rollouts by region: none.",
        "P0: 0 of 8 pass, 0 fail, 8 unknown.",
        "P1: 0 of 5 pass, 0 fail, 5 unknown.",
        "P2: 0 of 3 pass, 0 fail, 3 unknown.",
    ]
    assert {row["reason"] for row in report["breakdown"]} == {"no validation"}
    assert report["as_of"] == ""


def test_one_region_without_a_figure_makes_the_item_unknown_and_one_that_misses_fails_it(book: Book) -> None:
    spot_run(book, AP)
    assert verdicts(inputs_of(book, None, AP, US))["spot share"] == "unknown"
    spot_run(book, US, share=0.5)
    score = next(s for s in completion.scorecard(inputs_of(book, None, AP, US)) if s.item == "spot share")
    assert score == Score("P0", "spot share", "70% of the pods", "fail", f"{AP} 75%, {US} 50%")


def test_an_undone_rollout_proves_nothing_any_more(book: Book) -> None:
    spot_run(book, AP)
    book.add(SPOT, AP, "undo", Step.UNDO, run="day/r1")
    book.add(SPOT, AP, "undo", Step.RESTORED, complete=True, remaining=[])
    inputs = inputs_of(book, None, AP)
    assert verdicts(inputs)["spot share"] == "unknown"
    assert [run.outcome for run in inputs.history.region_runs()] == ["promoted", "rolled back"]


def test_a_run_that_undid_itself_after_its_promotion_proves_nothing_any_more(book: Book) -> None:
    spot_run(book, US)
    book.add(SPOT, US, "r1", Step.RESTORED, complete=True, remaining=[])
    inputs = inputs_of(book, None, US)
    assert [run.outcome for run in inputs.history.region_runs()] == ["rolled back"]
    assert inputs.history.standing(SPOT, US) is None


def test_an_unknown_total_is_named_with_what_is_known_alone(book: Book) -> None:
    report = build(inputs_of(book, validation(None, "unknown"), AP))
    assert report["summary"][0] == (
        "Cost: UNKNOWN. unknown USD a month against 2,970.00; provisional. Unknown: cloudfront; the known ones alone "
        "are 2,500.00."
    )
    assert report["savings"][-1] == {"point": "measured", "book": "components", "usd_month": None}
    cloudfront = report["breakdown"][1]
    assert (cloudfront["measured_usd"], cloudfront["verdict"], cloudfront["reason"]) == (None, "unknown", "no bill day")


def test_savings_name_the_book_of_each_point(book: Book) -> None:
    report = build(inputs_of(book, validation(), AP))
    assert [(p["point"], p["book"], p["usd_month"]) for p in report["savings"]] == [
        ("week 8", "plan", "8000"),
        ("week 13", "plan", "3470"),
        ("week 14, target", "plan", "2970"),
        ("week 13", "components", "800"),
        ("target", "components", "2970"),
        ("measured", "components", "3000.10"),
    ]


def test_lessons_are_failed_gates_stops_and_foreign_changes(book: Book) -> None:
    book.add(SPOT, AP, "r0", Step.TOUCH, slot="step_1", title="30 %")
    bad = [result("p95_ms", 40.0, "fail", "p95_ms: 40 ms is not <= 30 ms"), result("error_ratio", 0.0)]
    book.add(SPOT, AP, "r0", Step.GATE, slot="step_1", title="30 %", outcome="fail", results=bad)
    book.add(SPOT, AP, "r0", Step.STOPPED, where="apply", reason="no capacity")
    book.add(SPOT, AP, "r0", Step.UNDONE, changed_by_others=["Rule/x: a -> b"])
    records = book.ledger.records(Chain(SPOT, AP, "day", "r0"))
    assert outcome_of(records) == "unfinished"
    assert reasons_of(records) == (
        "p95_ms: 40 ms is not <= 30 ms",
        "apply: no capacity",
        "changed by others and left alone: Rule/x: a -> b",
    )
    assert build(inputs_of(book, None, AP))["lessons"][0] == f"2026-11-23 {SPOT} {AP}: p95_ms: 40 ms is not <= 30 ms"


def test_latency_is_before_and_after(book: Book) -> None:
    spot_run(book, AP)
    (row,) = build(inputs_of(book, None, AP))["latency"]
    assert (row["p95_ms_before"], row["p95_ms_after"], row["error_ratio_before"]) == (10.0, 12.0, None)
    assert "10.0 -> 12.0" in completion_page.to_markdown(build(inputs_of(book, None, AP)))
    assert "unknown -> 0.0000%" in completion_page.to_markdown(build(inputs_of(book, None, AP)))


def test_equal_inputs_give_equal_bytes_and_pages_need_nothing_from_elsewhere(book: Book) -> None:
    spot_run(book, AP)
    first, again = (build(inputs_of(book, validation(), AP)) for _ in range(2))
    assert completion.encode(first) == completion.encode(again)
    page = completion_page.to_html(first)
    assert page == completion_page.to_html(again)
    assert "http" not in page
    assert '<td class="fail">fail</td>' in page
    assert page.count("<table>") == 6


def test_texts_of_others_are_escaped(book: Book) -> None:
    book.add(SPOT, AP, "r0", Step.STOPPED, where="apply", reason="<b>| bold\nlines")
    report = build(inputs_of(book, None, AP))
    assert "&lt;b&gt;" in completion_page.to_html(report)
    assert f"- 2026-11-23 {SPOT} {AP}: apply: <b>| bold lines" in completion_page.to_markdown(report)


def test_inputs_are_found_in_the_storage_and_the_report_is_kept(book: Book, tmp_path: Path) -> None:
    spot_run(book, AP)
    storage = Folder(tmp_path / "costs")
    storage.put("validations/w/all/001-a.json", json.dumps(validation()).encode())
    storage.put("commitments/2026-11-22.json", b"{}")
    revision = {"number": 2, "content": "f" * 64, "status": "provisional", "as_of": ""}
    storage.put("reports/day=2026-11-22/current.json", json.dumps({"revisions": [revision]}).encode())
    storage.put("reports/day=2026-11-23/revision=001-x/report.json", b"{}")  # killed before its pointer was written
    found = read_inputs(book.ledger, storage, load_estate(), [US, AP], [SPOT], "validations/w/all/001-a.json")
    assert found.regions == (AP, US)  # the canary first
    assert found.validation == validation()
    assert found.report_key == "reports/day=2026-11-22/revision=002-ffffffffffff"
    assert found.commitments_key == "commitments/2026-11-22.json"
    pages = {"report.json": b"{}", "report.html": b"x", "report.md": b"y"}
    key = keep(storage, "day5_cost_monitoring/manual__2026-11-24T10:00:00+00:00", pages)
    assert key.startswith("completion/day5_cost_monitoring--manual__2026-11-24T10-00-00-00-00-")
    assert storage.read(key) == b"{}"
    assert read_inputs(book.ledger, storage, load_estate(), [AP], [SPOT], "").validation is None
