"""The completion report: facts of the ledger, unknown where there is none, equal bytes."""

from __future__ import annotations

import json
from pathlib import Path

from include.clients.storage import Folder
from include.completion import page as completion_page
from include.completion.again import write
from include.completion.history import outcome_of, reasons_of
from include.completion.report import encode
from include.completion.store import from_ledger, keep, put_report, put_validated, render
from include.estate import load_estate
from include.rollout.ledger import Chain, Step, digest
from tests.unit.completion.completion_world import AP, SPOT, US, Book, cost_run, result, spot_run, validation
from tests.unit.rollout.signed_world import signer
from tools import verify_ledger


def test_without_any_record_everything_is_unknown(book: Book) -> None:
    report = book.report(AP)
    assert {score["verdict"] for score in report["scorecard"]} == {"unknown"}
    assert report["summary"] == [
        "Cost: UNKNOWN. unknown USD a month against unknown; no settling state.",
        "Rollouts by place: none.",
        "P0: UNKNOWN. 0 of 8 pass, 0 fail, 8 unknown; wanted: all of them.",
        "P1: UNKNOWN. 0 of 5 pass, 0 fail, 5 unknown; wanted: 80 %.",
        "P2: UNKNOWN. 0 of 3 pass, 0 fail, 3 unknown; wanted: 50 %.",
    ]
    assert {row["reason"] for row in report["breakdown"]} == {"no validation"}
    assert report["as_of"] == ""


def test_a_run_that_undid_itself_after_its_promotion_proves_nothing_any_more(book: Book) -> None:
    spot_run(book, US)
    book.add(SPOT, US, "r1", Step.RESTORED, complete=True, remaining=[])
    history = book.inputs(US).history
    assert [run.outcome for run in history.region_runs()] == ["rolled back"]
    assert history.standing(SPOT, US) is None


def test_an_unknown_total_is_named_with_what_is_known_alone(book: Book) -> None:
    book.validated(validation(None, "unknown"))
    report = book.report(AP)
    assert report["summary"][0] == (
        "Cost: UNKNOWN. unknown USD a month against 2,970.00; provisional. Unknown: cloudfront; the known ones alone "
        "are 2,500.00."
    )
    record = "completion/estate/day5_cost_monitoring--r5/000001.json"
    measured = {"point": "measured", "book": "components", "usd_month": None, "source": "", "record": record}
    assert report["savings"][-1] == measured
    cloudfront = report["breakdown"][1]
    assert (cloudfront["measured_usd"], cloudfront["verdict"], cloudfront["reason"]) == (None, "unknown", "no bill day")
    assert cloudfront["record"] == "completion/estate/day5_cost_monitoring--r5/000001.json"


def test_savings_name_the_book_of_each_point_and_go_back_to_week_8(book: Book) -> None:
    book.validated(validation())
    report = book.report(AP)
    assert [(p["point"], p["book"], p["usd_month"]) for p in report["savings"]] == [
        ("week 8", "plan", "8000"),
        ("week 13", "plan", "3470"),
        ("week 14, target", "plan", "2970"),
        ("week 13", "components", "800"),
        ("target", "components", "2970"),
        ("measured", "components", "3000.10"),
    ]
    assert report["summary"][1] == "Since week 8 (8,000.00 USD a month in the plan): 4,999.90 less, 62.5%."


def test_lessons_are_failed_gates_stops_and_foreign_changes(book: Book) -> None:
    book.add(SPOT, AP, "r0", Step.TOUCH, slot="step_1", title="30 %")
    bad = [result("p95_ms", 40.0, "fail", "p95_ms: 40 ms is not <= 30 ms"), result("error_ratio", 0.0)]
    book.add(SPOT, AP, "r0", Step.GATE, slot="step_1", title="30 %", outcome="fail", results=bad)
    book.add(SPOT, AP, "r0", Step.STOPPED, where="apply", reason="no capacity")
    book.add(SPOT, AP, "r0", Step.UNDONE, changed_by_others=["Rule/x: a -> b"])
    records = book.ledger.records(Chain(SPOT, AP, "day1_spot", "r0"))
    assert outcome_of(records) == "unfinished"
    assert reasons_of(records) == (
        "p95_ms: 40 ms is not <= 30 ms",
        "apply: no capacity",
        "changed by others and left alone: Rule/x: a -> b",
    )
    assert book.report(AP)["lessons"][0] == {
        "text": f"2026-11-23 {SPOT} {AP}: p95_ms: 40 ms is not <= 30 ms",
        "source": f"{SPOT}/{AP}/day1_spot--r0/000004.json",
    }


def test_every_day_has_its_levers_also_one_that_had_nothing_to_do(book: Book) -> None:
    spot_run(book, AP)
    for lever, place in {"dns_health_checks": "estate-wide", "right_sizing": AP}.items():
        dag = "day3_edge" if place == "estate-wide" else "day4_right_sizing"
        book.ledger.append(Chain(lever, place, dag, "r3"), Step.TOUCH, {"slot": "s"})
        book.ledger.append(Chain(lever, place, dag, "r3"), Step.PROMOTED, {"after": {}})
    verdict = {"verdict": "nothing to do", "message": "", "left_behind": []}
    book.ledger.append(Chain("cdn_price_class", "estate", "day3_edge", "r3"), Step.VERDICT, verdict)
    rows = [(row["day"], row["lever"], row["region"], row["outcome"]) for row in book.report(AP)["days"]]
    assert rows == [
        ("1", SPOT, AP, "promoted"),
        ("3", "dns_health_checks", "estate-wide", "promoted"),
        ("4", "right_sizing", AP, "promoted"),
        ("3", "cdn_price_class", "estate", "nothing to do"),
    ]


def test_a_chain_that_does_not_add_up_is_named_and_the_rest_is_reported(book: Book) -> None:
    for region in (AP, US):
        spot_run(book, region)
    broken = book.folder / SPOT / AP / "day1_spot--r1"
    (broken / "000003.json").write_bytes(b"{}")
    (book.folder / SPOT / US / "day1_spot--r2").mkdir()
    (book.folder / SPOT / US / "day1_spot--r2" / "000001.json").write_bytes(b"half")
    report = book.report(AP, US)
    assert sorted(report["ledger"]["bad"]) == [f"{SPOT}/{AP}/day1_spot--r1", f"{SPOT}/{US}/day1_spot--r2"]
    assert report["summary"][-2].startswith(
        f"The ledger does not add up, what follows is without it: {SPOT}/{AP}/day1_spot--r1/000003.json is not a record"
    )
    assert [row["region"] for row in report["days"]] == [US]
    assert "Not in this report" in completion_page.to_markdown(report)
    assert {s["verdict"] for s in report["scorecard"] if s["item"] == "spot share"} == {"unknown"}


def test_latency_is_before_the_first_change_and_after_the_last(book: Book) -> None:
    spot_run(book, AP)
    book.add("consolidation", AP, "r4", Step.SNAPSHOT, before={"p95_ms": 12.5})
    book.add("consolidation", AP, "r4", Step.TOUCH)
    book.add("consolidation", AP, "r4", Step.PROMOTED, after={"p95_ms": 11.0, "nodes": 3})
    (row,) = book.report(AP)["latency"]
    assert (row["p95_ms_before"], row["p95_ms_after"], row["error_ratio_before"]) == (10.0, 11.0, None)
    assert (row["nodes_before"], row["nodes_after"], row["spot_share_pods_after"]) == (5, 3, 0.75)
    assert row["sources"]["nodes_after"] == "consolidation/ap-northeast-1/day--r4/000003.json"
    page = completion_page.to_markdown(book.report(AP))
    assert "10.0 -> 11.0" in page
    assert "unknown -> 0.0000%" in page


def test_the_planned_savings_of_the_week_are_drawn_by_book(book: Book) -> None:
    levers = [{"lever": SPOT, "in_order_usd": "650.00"}, {"lever": "cost_monitoring", "in_order_usd": "-620.00"}]
    plan = {"waterfall": {"books": {"plan": {"levers": levers}}}}
    book.ledger.append(Chain("week14", "estate", "week14", "w"), Step.PLAN, plan)
    report = book.report(AP)
    assert report["waterfall"]["rows"][1] == {"book": "plan", "lever": "cost_monitoring", "usd_month": "-620.00"}
    assert report["waterfall"]["source"] == "week14/estate/week14--w/000001.json"
    assert "Planned saving by lever, book plan" in completion_page.to_html(report)


def test_equal_inputs_give_equal_bytes_and_pages_need_nothing_from_elsewhere(book: Book) -> None:
    spot_run(book, AP)
    book.validated(validation())
    first, again = (book.report(AP) for _ in range(2))
    assert encode(first) == encode(again)
    page = completion_page.to_html(first)
    assert page == completion_page.to_html(again)
    assert "http" not in page
    assert '<td class="fail">fail</td>' in page
    assert page.count("<svg") == 3
    assert "@media print" in page


def test_each_record_has_one_number_which_the_last_section_resolves(book: Book) -> None:
    spot_run(book, AP)
    page = completion_page.to_markdown(book.report(AP))
    assert f"| spot share | P0 | 70% of the pods | pass | {AP} 75% | [1] |" in page
    assert f"| [1] | {SPOT}/{AP}/day1_spot--r1/000007.json |" in page
    assert (
        f"| {AP} | 10.0 -> 12.0 | unknown -> 0.0000% | 5 -> 6 | unknown -> 75% | 1.4500 -> 0.9000 | [4] [1] |" in page
    )


def test_texts_of_others_are_escaped(book: Book) -> None:
    book.add(SPOT, AP, "r0", Step.STOPPED, where="apply", reason="<b>| bold\nlines")
    report = book.report(AP)
    assert "&lt;b&gt;" in completion_page.to_html(report)
    assert f"- 2026-11-23 {SPOT} {AP}: apply: &lt;b>| bold lines [1]" in completion_page.to_markdown(report)


def test_what_was_validated_is_put_on_record_and_the_report_is_kept(book: Book, tmp_path: Path) -> None:
    spot_run(book, AP)
    storage, run = (
        Folder(tmp_path / "costs"),
        Chain("", "", "day5_cost_monitoring", "manual__2026-11-24T10:00:00+00:00"),
    )
    storage.put("validations/w/all/001-a.json", json.dumps(validation()).encode())
    storage.put("commitments/2026-11-22.json", b"{}")
    revision = {"number": 2, "content": "f" * 64, "status": "provisional", "as_of": ""}
    storage.put("reports/day=2026-11-22/current.json", json.dumps({"revisions": [revision]}).encode())
    storage.put("reports/day=2026-11-23/revision=001-x/report.json", b"{}")  # killed before its pointer was written
    put_validated(book.ledger, storage, run, "validations/w/all/001-a.json")
    found = from_ledger(book.ledger, load_estate(), [US, AP], [SPOT])
    assert found.regions == (AP, US)  # the canary first
    assert found.validation is not None
    assert {name: found.validation[name] for name in ("total", "lines")} == validation()
    assert found.report_key == "reports/day=2026-11-22/revision=002-ffffffffffff"
    assert found.commitments_key == "commitments/2026-11-22.json"
    key = keep(storage, f"{run.dag_id}/{run.run_id}", {"report.json": b"{}", "report.html": b"x", "report.md": b"y"})
    assert key.startswith("completion/day5_cost_monitoring--manual__2026-11-24T10-00-00-00-00-")
    assert storage.read(key) == b"{}"
    put_validated(book.ledger, storage, run, "")
    assert from_ledger(book.ledger, load_estate(), [AP], [SPOT]).validation is None


def verified(folder: Path) -> dict[str, str]:
    """What the verifier says of each chain and report, without what follows the state."""
    ledger = verify_ledger.Ledger(folder, [])
    names = [
        "index",
        *sorted({*ledger.files, *ledger.heads}),
        *[f"reports/{p.name}" for p in sorted(folder.glob("reports/*"))],
    ]
    return dict(zip(names, ledger.verify("0:"), strict=True))


def test_the_verifier_computes_the_figures_of_the_report_again(tmp_path: Path) -> None:
    book = Book(tmp_path / "ledger", signer())
    for region in (AP, US):
        spot_run(book, region)
        cost_run(book, region)
        book.counted(region, 1_000_003, 999_950)
        book.measured(region, kind="throughput", served_qps=6500.5)
    book.validated(validation())
    run = Chain("", "", "day5_cost_monitoring", "r5")
    data = render(book.inputs(AP, US))["report.json"]
    record = put_report(book.ledger, run, data)
    assert record.figures == {"report": "reports/day5_cost_monitoring--r5.json", "sha256": digest(data)}
    figures = {figure["figure"]: figure["value"] for figure in json.loads(data)["figures"]}
    assert len(figures) == 35
    assert (figures["gates: pass"], figures["stages applied"], figures["promotions"]) == (8, 2, 4)
    assert (figures["availability"], figures["throughput"]) == ("0.999947000", 6500.5)
    assert (figures["total usd_month"], figures["cloudfront verdict"]) == ("3000.10", "fail")
    assert set(verified(book.folder).values()) == {"valid"}

    wrong = json.loads(data)
    wrong["figures"][0]["value"] = 9  # a report with another figure, on record like the right one
    put_report(book.ledger, run, encode(wrong))
    assert verified(book.folder)["reports/day5_cost_monitoring--r5.json"] == "broken"
    (book.folder / record.figures["report"]).write_bytes(data + b" ")  # one that nobody put on record
    assert verified(book.folder)["reports/day5_cost_monitoring--r5.json"] == "broken"
    (book.folder / record.figures["report"]).write_bytes(data)
    assert verified(book.folder)["reports/day5_cost_monitoring--r5.json"] == "valid"


def test_the_report_can_be_made_again_from_the_ledger_alone(book: Book, tmp_path: Path) -> None:
    spot_run(book, AP)
    book.validated(validation())
    files = write(book.ledger, load_estate(), tmp_path / "out", [AP])
    assert [path.name for path in files] == ["report.json", "report.md", "report.html"]
    assert files[0].read_bytes() == encode(book.report(AP))
    assert not (book.folder / "reports").exists()
