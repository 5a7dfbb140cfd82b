"""The week end to end on three toy days: order, approvals, stop, resume and the gate of week 15."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from include.rollout.gates import Figure
from include.rollout.ledger import Ledger
from tests.dags import several_levers as toys
from tests.dags.conftest import clear, run_once
from tests.dags.week_of_toys import DAYS, ONCE, QUICK, REAL, Weeks, day_dag, make_weeks, pause, runs_of, week_dag

NOBODY_IS_ASKED = {day.dag: "Reject" for day in DAYS}


@pytest.fixture
def weeks(airflow_database: None, tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Weeks:
    return make_weeks(tmp_path, ledger, monkeypatch)


def test_one_approval_goes_into_each_days_chain_and_a_cleared_day_adopts_its_run(weeks: Weeks) -> None:
    weeks.answers = NOBODY_IS_ASKED
    run = weeks(ONCE)
    assert run.state == "success", run.verdict
    assert weeks.sizes() == [2, 2, 2]
    assert weeks.steps(run) == [
        "preflight", "plan", "answer", "approval",
        "begun", "ended", "begun", "ended", "begun", "ended", "verdict",
    ]  # fmt: skip
    for number in (1, 2, 3):
        answer = next(record for record in weeks.of_day(run, number) if record.step == "answer")
        assert answer.figures["user"] == "platform-lead"
        assert answer.figures["through"] == f"week14/{run.run_id}"
    assert run.verdict["verdict"] == "promoted"
    ended = [record.figures for record in weeks.records(run) if record.step == "ended"]
    assert [(end["day"], end["verdict"], end["predicted"]) for end in ended] == [
        (1, "promoted", {"alpha": "-2"}), (2, "promoted", {"beta": "-2"}), (3, "promoted", {"gamma": "-2"}),
    ]  # fmt: skip
    # As after a scheduler that was killed in the middle of day 2: its tasks run again.
    cleared = clear("week14", {
        "dag_run_id": run.run_id, "task_ids": ["toy_day2.start"], "include_downstream": True, "only_failed": False,
        "dry_run": False,
    })  # fmt: skip
    assert "toy_day3.await_end" in cleared
    days = len(weeks.runs)
    again = weeks({}, goes_on=run.run_id)
    assert again.state == "success", again.verdict
    assert runs_of("toy_day2").count(f"week14__{run.run_id}") == 1
    assert len(weeks.runs) == days  # nothing was carried out a second time


def test_a_rejected_day_3_leaves_days_1_and_2_standing_and_a_new_week_goes_on_from_it(weeks: Weeks) -> None:
    weeks.answers = {"toy_day3": "Reject"}
    run = weeks(REAL)
    assert run.state == "failed"
    assert weeks.sizes() == [2, 2, 1]
    assert run.verdict["verdict"] == "rejected"
    assert "Days 1 and 2 stand: alpha in estate-wide; beta in estate-wide." in run.verdict["message"]
    assert "answer" not in weeks.steps(run)  # each day was asked for by itself
    weeks.answers = {}
    again = weeks({**REAL, "first_day": 3})
    assert again.state == "success", again.verdict
    assert weeks.sizes() == [2, 2, 2]
    assert [record.figures["day"] for record in weeks.records(again) if record.step == "begun"] == [3]


def test_a_day_that_saves_less_by_its_turn_asks_again_itself(weeks: Weeks) -> None:
    weeks.answers = {"toy_day1": "Reject", "toy_day2": "Reject", "toy_day3": "Approve"}
    weeks.before_day = lambda dag: toys.set_fault(weeks.locks, "gamma", "dearer", 1) if dag == "toy_day3" else None
    run = weeks(ONCE)
    assert run.state == "success", run.verdict
    answers = [record for record in weeks.of_day(run, 3) if record.step == "answer"]
    assert [("through" in answer.figures, answer.figures["user"]) for answer in answers] == [(False, "platform-lead")]


def test_a_rejected_week_begins_no_day(weeks: Weeks) -> None:
    run = weeks(ONCE, answer="Reject")
    assert run.state == "failed"
    assert run.verdict["verdict"] == "rejected"
    assert weeks.steps(run) == ["preflight", "plan", "answer", "verdict"]
    assert weeks.sizes() == [1, 1, 1]


def test_a_dry_run_shows_all_days_and_triggers_none(weeks: Weeks) -> None:
    run = weeks({"days": [1, 2, 3], "settings": {day.dag: QUICK for day in DAYS}})
    assert (run.state, run.verdict["verdict"]) == ("success", "dry run")
    assert weeks.steps(run) == ["preflight", "plan", "verdict"]
    plan = next(record for record in weeks.records(run) if record.step == "plan")
    assert [day["dag"] for day in plan.figures["days"]] == ["toy_day1", "toy_day2", "toy_day3"]
    assert plan.figures["waterfall"]["text"]
    assert weeks.runs == []


def test_a_rolled_back_day_is_passed_over_where_the_form_says_continue(weeks: Weeks) -> None:
    toys.set_fault(weeks.locks, "alpha", "unhealthy", ["estate-wide step_1"])
    run = weeks({**REAL, "days": [1, 2], "on_rollback": "continue"})
    assert run.state == "failed"
    assert run.verdict["verdict"] == "rolled back"
    assert weeks.sizes() == [1, 2, 1]
    assert "Day 2 stands: beta in estate-wide." in run.verdict["message"]


def test_a_paused_day_is_refused_by_name_before_anything_is_triggered(weeks: Weeks) -> None:
    dag = week_dag(weeks.locks)
    weeks.register()
    pause("toy_day2")
    run = run_once(dag, REAL)
    assert run.state == "failed"
    assert (
        "toy_day2: the DAG is paused: its run would never start -> airflow dags unpause toy_day2"
        in (run.verdict["message"])
    )
    assert weeks.runs == []


def test_a_conf_that_claims_an_approval_is_refused(weeks: Weeks) -> None:
    claims = {**QUICK, "dry_run": False, "approved": True, "through": "week14/manual__1"}
    run = run_once(day_dag(DAYS[0], weeks.locks), claims)
    assert run.state == "failed"
    assert "approved: no such parameter" in run.verdict["message"]
    assert weeks.sizes() == [1, 1, 1]


def test_the_gate_of_week_15_follows_the_last_day_and_unknown_is_no_pass(weeks: Weeks) -> None:
    measures: dict[str, Any] = {
        "usd_month": lambda *_: None,
        "p95_ms": lambda *_: Figure(20.0, "ms", 1000, "toy", coverage=1.0),
        "incidents": lambda *_: Figure(0.0, "", 1, "toy"),
        "availability": lambda *_: Figure(1.0, "ratio", 1000, "toy", coverage=1.0),
    }
    conf = {**REAL, "days": [1], "week15_gate": True, "week15_window_seconds": 1}
    run = weeks(conf, dag=week_dag(weeks.locks, measures=measures))
    assert run.state == "failed"
    assert run.verdict["verdict"] == "unknown"
    assert "week-15 gate: unknown: usd_month: no data; p95_ms: 20 ms is < 30 ms" in run.verdict["message"]
    assert weeks.sizes() == [2, 1, 1]  # what the week has done stands
