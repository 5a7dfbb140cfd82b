"""Checks and plan of all days, a day's turn, and what its own records say of its end."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest

from include.rollout import steps
from include.rollout.decisions import Ending
from include.rollout.lever import Check, Refused
from include.rollout.steps import NotWanted, Run
from include.week import ending, planning, progress
from include.week.endings import DayEnd
from tests.dags.several_levers import set_fault
from tests.dags.toy_dags import AP
from tests.unit.rollout.toy_runs import APPROVED
from tests.unit.week.conftest import DAYS, Weeks

CHILD = "week14__manual__1"


def carry_out(run: Run, weeks: Weeks) -> None:
    """A day's run from its plan to its promotion."""
    plan = steps.make_plan(run)
    steps.record_answer(run, {**APPROVED, "hash": plan["hash"]})
    steps.lock_places(run, run.places, steps.answer_on_record(run), take_over=False)
    steps.confirm_unchanged(run)
    for place in run.places:
        steps.take_snapshot(run, place)
        steps.apply_stage(run, place, "step_1")
        weeks.clock.move(61)
        steps.judge_gates(run, place, "step_1")
    steps.decide(run)
    steps.promote(run)
    steps.release_locks(run)
    steps.conclude(run, steps.answer_on_record(run), [])


def test_a_later_days_failed_check_is_on_record_and_made_again_that_day(weeks: Weeks) -> None:
    set_fault(weeks.locks, "gamma", "preflight", [AP])
    week = weeks.week()
    planning.check_preflight(week)
    found = week.records[0].figures["checks"]
    assert found[f"toy_day3: {AP}: gamma"] == [
        "toy: passed: not yet, and made again before toy_day3: the region is broken"
    ]


def test_the_first_days_failed_check_and_a_wrong_notifier_refuse_the_week(weeks: Weeks) -> None:
    set_fault(weeks.locks, "alpha", "preflight", ["estate-wide"])
    own = [Check("notices", passed=False, reason="notices.0.notifier (value 'a.B'): no such module", remedy="mend it")]
    with pytest.raises(Refused) as caught:
        planning.check_preflight(weeks.week(), own)
    assert str(caught.value) == (
        "preflight refused, 2 check(s) failed and nothing was changed:\n"
        "estate: notices: notices.0.notifier (value 'a.B'): no such module -> mend it\n"
        "toy_day1: estate-wide: alpha: toy: the region is broken -> mend the region"
    )


def test_the_plan_names_each_days_levers_with_dollars_undo_and_what_is_covered(weeks: Weeks) -> None:
    week = weeks.week(reason="why", days=[1, 3], on_rollback="continue")
    planned = {"alpha": -1.5, "gamma": None}
    found = planning.make_plan(
        week, {"text": "the waterfall"}, lambda lever: planning.Decimal(str(planned[lever])) if planned[lever] else None
    )
    plan, proved, waterfall = found["text"].partition("\n\n| lever and code |")
    assert "| alpha `no version` | nothing | nothing | undo, gate, kill," in proved + waterfall
    assert waterfall.endswith("|\n\nthe waterfall")
    assert plan == (
        "**Reason:** why\n\n"
        "**In this order:** toy_day1 -> toy_day3.\n\n"
        "### Day 1: toy_day1\n\n"
        "- alpha: saves $2.00 a month on today's state (plan), saves $1.50 a month by the planner; undo: instant\n\n"
        "### Day 3: toy_day3\n\n"
        "- gamma: saves $2.00 a month on today's state (plan); undo: instant\n\n"
        "This approval is for all days: for the levers, settings, undo and dollars above. A day that saves more than "
        "10% less, has a harder undo, another lever or other settings asks again itself.\n"
        "A day that was rolled back, rejected or refused is passed over; one that left something behind stops the week."
    )
    figures = week.records[-1].figures
    assert (figures["hash"], figures["waterfall"]) == (found["hash"], {"text": "the waterfall"})
    assert figures["days"][0]["run_id"] == CHILD


def test_a_lever_that_cannot_be_planned_before_its_day_is_said_to_ask_for_itself(
    weeks: Weeks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise Refused("no NodePool yet")

    monkeypatch.setattr("tests.dags.several_levers.Beta.plan", refuse)
    found = planning.make_plan(weeks.week(), {}, lambda _: None)
    assert (
        "- beta: can't be planned before its day (Refused: no NodePool yet); it will ask for its own approval"
        in found["text"].splitlines()
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"days": [2, 3]}, "day 1 (toy_day1) is not chosen"),
        ({"dry_run": True}, "a dry run carries out no day"),
    ],
)
def test_a_day_that_is_not_wanted_is_not_begun(weeks: Weeks, params: dict[str, Any], message: str) -> None:
    with pytest.raises(NotWanted, match=re.escape(message)):
        progress.begin_day(weeks.approved(**params) if "dry_run" not in params else weeks.week(**params), DAYS[0])


def test_no_day_is_begun_without_the_weeks_approval_whatever_a_task_says(weeks: Weeks) -> None:
    week = weeks.week()
    planning.make_plan(week, {}, lambda _: None)
    with pytest.raises(Refused, match="no approver's answer is on record"):
        progress.begin_day(week, DAYS[0])
    assert not progress.has_begun(week, DAYS[0])


def test_a_plan_that_is_made_again_voids_the_approval(weeks: Weeks) -> None:
    week = weeks.approved()
    planning.make_plan(weeks.week(settings={}), {}, lambda _: None)
    with pytest.raises(Refused, match=r"approved plan \w{12}, but the plan on record is \w{12}"):
        progress.begin_day(week, DAYS[0])


def test_a_promoted_day_has_its_verdict_seconds_and_dollars_from_its_own_chains(weeks: Weeks) -> None:
    week = weeks.approved()
    assert progress.begin_day(week, DAYS[0]) == {"dry_run": False, "reason": "", "soak_seconds": 60, "size": 2}
    carry_out(weeks.day(1), weeks)
    end = progress.end_day(week, DAYS[0], "success")
    assert (end.verdict, end.green, end.stands) == (Ending.PROMOTED, True, {"alpha": ["estate-wide"]})
    assert end.seconds == 61.0
    assert (end.predicted, end.realised) == ({"alpha": "-2"}, {"alpha": None})  # its evidence knows no dollars
    assert progress.day_end(week, DAYS[0]) == end
    progress.begin_day(week, DAYS[1])


def test_realised_dollars_compare_the_evidence_at_the_snapshot_and_after_the_promotion(
    weeks: Weeks, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([{"usd_month": 100.5}, {"usd_hour": 0.1}])
    monkeypatch.setattr("tests.dags.several_levers.Alpha.evidence", lambda *_: next(figures))
    week = weeks.approved()
    progress.begin_day(week, DAYS[0])
    carry_out(weeks.day(1), weeks)
    # 0.1 an hour are 72.96 in a month of 30.4 days.
    assert progress.end_day(week, DAYS[0], "success").realised == {"alpha": "-27.54"}


def test_a_promoted_day_whose_run_failed_later_is_red_and_stands(weeks: Weeks) -> None:
    week = weeks.approved()
    progress.begin_day(week, DAYS[0])
    carry_out(weeks.day(1), weeks)
    end = progress.end_day(week, DAYS[0], "failed")
    assert (end.verdict, end.green) == (Ending.PROMOTED, False)
    assert end.message.startswith("a task after the promotion failed, see the log of toy_day1\npromoted in estate-wide")


def test_a_run_that_left_no_verdict_is_unfinished(weeks: Weeks) -> None:
    week = weeks.approved()
    progress.begin_day(week, DAYS[0])
    assert progress.end_day(week, DAYS[0], "failed") == DayEnd(
        1, "toy_day1", CHILD, Ending.UNFINISHED, False,
        "the run ended as failed and left no verdict in the ledger; read the log of toy_day1",
        predicted={"alpha": None}, realised={"alpha": None},
    )  # fmt: skip


def test_the_weeks_verdict_joins_the_days_chains_and_names_the_way_on(weeks: Weeks) -> None:
    week = weeks.approved()
    progress.begin_day(week, DAYS[0])
    carry_out(weeks.day(1), weeks)
    progress.end_day(week, DAYS[0], "success")
    found = ending.conclude(week, [])
    assert (found.name, found.green) == (Ending.UNFINISHED, False)
    assert "day 2 (toy_day2): not begun" in found.message
    assert '"first_day": 2' in found.message
    verdict = week.records[-1]
    assert verdict.links["head alpha estate"] == week.whole.ledger.head(DAYS[0].chain(CHILD))


def test_what_is_undone_in_the_window_is_found_by_its_time(weeks: Weeks) -> None:
    run = weeks.day(1)
    carry_out(run, weeks)
    before = weeks.clock()
    assert weeks.ledger.undone_since(before) == []
    snapshot = weeks.ledger.snapshot(run.chain("estate-wide"))
    assert snapshot is not None
    steps.undo_changes(run, "estate-wide", snapshot)
    assert [record.place for record in weeks.ledger.undone_since(before)] == ["estate-wide"]
    assert weeks.ledger.undone_since(weeks.clock() + dt.timedelta(seconds=1)) == []
