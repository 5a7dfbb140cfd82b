from __future__ import annotations

import datetime as dt
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from include import levers
from include.clients.storage import Folder
from include.estate import load_estate
from include.overview.approvals import Approval, Pending, pending_of
from include.overview.costs import CostCopy, Costs
from include.overview.latest import Answer
from include.overview.ledger_copy import LedgerContent, LedgerCopy
from include.overview.runs import Search, runs_of
from include.overview.score import Evidence, read_evidence
from include.overview.view import Overview, Problem, Sources, headline, problems_of, view_of
from include.rollout.safety import Fault, Outcome, Proved, Reading
from tests.unit.overview.sample_week import write_costs, write_week

NOW = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)
NAMES = list(levers.LEVERS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("week")
    write_week(root / "ledger")
    write_costs(root / "costs", 5)
    return root


@pytest.fixture(scope="module")
def content(folder: Path) -> LedgerContent:
    return LedgerCopy(Folder(folder / "ledger")).refresh()


@pytest.fixture(scope="module")
def costs(folder: Path) -> tuple[Costs, Evidence]:
    storage = Folder(folder / "costs")
    return CostCopy(storage).refresh(), read_evidence(storage)


@pytest.fixture(scope="module")
def view(content: LedgerContent, costs: tuple[Costs, Evidence]) -> Overview:
    return view_of(load_estate(), NAMES, Sources(Answer(content, NOW), Answer(costs, NOW)))


def test_every_lever_has_its_state_in_every_place_that_it_has_touched(view: Overview) -> None:
    found = {(state.lever, state.place): state.state for state in view.states}
    assert found == {
        **{("spot_capacity", region): "promoted" for region in ("ap-northeast-1", "us-east-1", "eu-central-1")},
        **{("predictive_scaling", region): "promoted" for region in ("ap-northeast-1", "us-east-1", "eu-central-1")},
        ("right_sizing", "ap-northeast-1"): "unfinished",
        ("dns_health_checks", "estate-wide"): "promoted",
        ("cdn_price_class", "estate-wide"): "rolled back",
        ("storage_tiering", "estate-wide"): "promoted",
    }


def test_the_canary_comes_first_and_what_was_never_rolled_out_is_named(view: Overview) -> None:
    assert [state.place for state in view.states][:3] == ["ap-northeast-1", "us-east-1", "eu-central-1"]
    touched = {"spot_capacity", "predictive_scaling", "right_sizing", "dns_health_checks", "cdn_price_class",
               "storage_tiering"}  # fmt: skip
    assert view.untouched == tuple(name for name in NAMES if name not in touched | {"cost_cap", "game_day"})


def test_the_undo_of_a_lever_has_its_class_and_the_seconds_of_the_last_one(view: Overview) -> None:
    spot = {state.place: state for state in view.states if state.lever == "spot_capacity"}
    assert spot["us-east-1"].prediction.undo == "node wave"
    assert (spot["us-east-1"].undo_seconds, spot["us-east-1"].undo_place) == (41.3, "ap-northeast-1")
    assert spot["us-east-1"].prediction.usd_month == Decimal("310.00")


def test_an_undo_that_was_only_rehearsed_stands_in_for_one_on_record(content: LedgerContent) -> None:
    proved = Proved(
        "predictive_scaling", Fault.UNDO, Outcome.RESTORED, 12.0, "0123456789ab", "", "2026-11-20T10:00:00+00:00",
        "rehearsal",
    )  # fmt: skip
    sources = Sources(Answer(content, NOW), safety=Answer(Reading((proved,), {}), NOW))
    view = view_of(load_estate(), NAMES, sources)
    found = {state.lever: (state.undo_seconds, state.undo_place) for state in view.states}
    assert found["predictive_scaling"] == (12.0, "rehearsal")
    assert found["spot_capacity"] == (41.3, "ap-northeast-1")
    assert view.safety is not None
    assert view.safety.headers == ("lever", "undo")


def test_savings_are_predicted_by_plans_measured_by_rollouts_and_billed_by_reports(view: Overview) -> None:
    spot = next(row for row in view.money if row.lever == "spot_capacity")
    assert spot.predicted == Decimal("930.00")
    assert spot.measured == 3 * (Decimal("1.8415") - Decimal("1.4202")) * Decimal("729.6")
    assert view.predicted is None
    assert (view.predicted_known, view.unpriced) == (Decimal("1390.70"), 1)
    assert view.billed is not None
    assert view.components[-1].component == "total"


def test_the_headline_says_where_the_week_stands(view: Overview) -> None:
    assert headline(view, Pending()) == (
        "2 of 5 days are promoted; day 3 was rolled back; day 4 is unfinished. Saving predicted 1,390.70 USD a month "
        "(aws (2026-07-20)) and 1 unknown, measured 922.14, billed "
        f"{view.billed:,.2f} on 2026-11-26."
    )


def test_a_day_whose_dag_asks_for_an_approval_waits(view: Overview) -> None:
    one = Approval("day5_cost_monitoring", "r", "await_approval", -1, "Approve?", "", ())
    assert "day 5 waits for an approval" in headline(view, Pending((one,)))


def test_a_ledger_that_was_not_read_is_never_an_empty_one() -> None:
    broken = Sources(Answer(problem="the ledger can't be read: ConnectTimeoutError: s3"))
    view = view_of(load_estate(), NAMES, broken)
    assert headline(view, Pending()) == "The ledger has not been read yet: nothing below is known."
    assert view.problems == (Problem("ledger", "the ledger can't be read: ConnectTimeoutError: s3"),)


def test_without_any_record_nothing_is_promoted_and_nothing_passes() -> None:
    view = view_of(load_estate(), NAMES, Sources(Answer(LedgerContent({}), NOW)))
    assert headline(view, Pending()) == "0 of 5 days are promoted. No plan is on record yet."
    assert {score.verdict for score in view.scores} == {"unknown"}
    assert [priority.verdict for priority in view.priorities] == ["unknown"] * 3


def test_a_broken_chain_is_named_and_its_lever_is_unknown_there(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "ledger", tmp_path / "ledger")
    (chain,) = (tmp_path / "ledger/spot_capacity/us-east-1").iterdir()
    (chain / "000002.json").unlink()
    content = LedgerCopy(Folder(tmp_path / "ledger")).refresh()
    view = view_of(load_estate(), NAMES, Sources(Answer(content, NOW)))
    state = next(s for s in view.states if (s.lever, s.place) == ("spot_capacity", "us-east-1"))
    assert (state.state, state.stands) == ("unknown", False)
    assert [p.where for p in view.problems] == [f"ledger, spot_capacity/us-east-1/{chain.name}"]


def test_a_report_that_cannot_be_read_is_named_by_its_day(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "costs", tmp_path / "costs")
    next((tmp_path / "costs/reports/day=2026-11-24").glob("revision=*/report.json")).unlink()
    costs = CostCopy(Folder(tmp_path / "costs")).refresh()
    (problem,) = problems_of(Sources(costs=Answer((costs, Evidence()), NOW)))
    assert problem.where == "cost report of 2026-11-24"
    assert problem.text.endswith("is missing: run cost_report for 2026-11-24 again")


@pytest.mark.parametrize(
    "text", ["[]", '{"figures": []}', '{"figures": [{"section": "total", "key": "", "metric": "usd", "value": "abc"}]}']
)
def test_a_report_of_another_shape_spoils_its_own_day_alone(folder: Path, tmp_path: Path, text: str) -> None:
    shutil.copytree(folder / "costs", tmp_path / "costs")
    next((tmp_path / "costs/reports/day=2026-11-26").glob("revision=*/report.json")).write_text(text)
    costs = CostCopy(Folder(tmp_path / "costs")).refresh()
    assert [str(day.day) for day in costs.days] == ["2026-11-22", "2026-11-23", "2026-11-24", "2026-11-25"]
    assert [(day, told.endswith("run cost_report for 2026-11-26 again")) for day, told in costs.bad.items()] == [
        ("2026-11-26", True)
    ]


def test_a_folder_of_reports_that_is_no_day_is_named_and_hides_none(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "costs", tmp_path / "costs")
    (tmp_path / "costs/reports/day=backup").mkdir()
    (tmp_path / "costs/reports/day=backup/x.json").write_text("{}")
    costs = CostCopy(Folder(tmp_path / "costs")).refresh()
    assert (len(costs.days), costs.bad) == (5, {"backup": "reports/day=backup is no day: take it away"})


# --- Runs and approvals -----------------------------------------------------------------------------------------------


def test_runs_are_found_by_every_word_in_their_records(content: LedgerContent) -> None:
    search = Search()
    found = search.runs(content, "CDN_price_class restored")
    assert [(row.name, row.found) for row in found] == [("day3_edge/manual__day3", 1)]
    assert search.runs(content, "nonsense") == []
    assert len(search.runs(content, "")) == len(runs_of(content)) == 5


def test_a_run_without_a_verdict_is_open(content: LedgerContent) -> None:
    outcomes = {row.dag_id: row.outcome for row in runs_of(content)}
    assert outcomes["day4_right_sizing"] == "open"
    assert outcomes["day3_edge"] == "rolled back"


def test_what_airflow_lists_becomes_links_to_its_own_page() -> None:
    task = {"dag_id": "day1_spot", "dag_run_id": "manual__1+00:00", "task_id": "await_approval", "map_index": -1,
            "state": "awaiting_input"}  # fmt: skip
    answered = {"response_received": True, "subject": "old", "task_instance": task}
    ended = {"response_received": False, "subject": "late", "task_instance": task | {"state": "failed"}}
    waits = {"response_received": False, "subject": "Approve?", "created_at": "2026-11-24T10:00:00Z",
             "task_instance": task, "assigned_users": [{"id": "1", "name": "platform-lead"}]}  # fmt: skip
    pending = pending_of({"hitl_details": [answered, ended, waits]})
    assert [one.path for one in pending.approvals] == [
        "/dags/day1_spot/runs/manual__1%2B00%3A00/tasks/await_approval/required_actions"
    ]
    assert pending.by_dag() == {"day1_spot": 1}


def test_an_answer_of_another_form_is_a_problem_and_never_nothing() -> None:
    assert pending_of({"items": []}).problem == (
        "Airflow's list of required actions has another form than 3.3's: KeyError('hitl_details') is missing"
    )
