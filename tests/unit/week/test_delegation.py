"""A day's run takes the week's approval over from the ledger, for exactly what was approved, and from nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from include.rollout import steps
from include.rollout.ledger import LedgerError
from include.rollout.steps import Run
from include.week import ending, progress
from include.week.days import Day
from include.week.delegation import Delegated, answer_for, not_covered
from tests.dags.several_levers import set_size
from tests.unit.week.conftest import DAYS, Weeks

Planned = Callable[[Run], str]


def asked(run: Run, planned: Planned) -> Delegated:
    return answer_for(run, [run], planned(run))


def begun(weeks: Weeks, day: Day = DAYS[0]) -> None:
    progress.begin_day(weeks.approved(), day)


def test_a_day_that_was_begun_is_approved_by_that_person_through_the_week(weeks: Weeks, planned: Planned) -> None:
    begun(weeks)
    run = weeks.day(1)
    shown = planned(run)
    found = answer_for(run, [run], shown)
    assert found == Delegated(
        {"approved": True, "hash": shown, "user": "platform-lead", "user_id": "platform-lead",
         "through": "week14/manual__1"}
    )  # fmt: skip
    steps.record_answer(run, dict(found.answer or {}))
    steps.lock_places(run, run.places, steps.answer_on_record(run), take_over=False)
    approval = next(r for r in run.records("estate") if r.step == "approval")
    assert approval.figures["approved_by"] == "platform-lead"
    assert approval.figures["through"] == "week14/manual__1"


def test_a_run_of_no_week_has_no_answer_and_nothing_to_say(weeks: Weeks, planned: Planned) -> None:
    begun(weeks)
    assert asked(weeks.day(1, run_id="manual__1"), planned) == Delegated()


def test_a_run_id_that_claims_a_week_that_the_ledger_does_not_know_approves_nothing(
    weeks: Weeks, planned: Planned
) -> None:
    begun(weeks)
    found = asked(weeks.day(1, run_id="week14__another"), planned)
    assert found == Delegated(reasons=("the ledger has no plan of week14/another",))


def test_a_week_in_which_each_day_asks_gives_no_answer(weeks: Weeks, planned: Planned) -> None:
    week = weeks.approved(answer={"approved": False}, approval="each day")
    progress.begin_day(week, DAYS[0])
    assert asked(weeks.day(1), planned) == Delegated()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"approved": False}, "the plan was rejected by platform-lead"),
        ({"user": None, "approved": False}, "the plan was rejected: nobody answered in time"),
        ({"user": "intern", "user_id": "intern"},
         "intern may not approve: governance.approvers in the estate are platform-lead"),
    ],
)  # fmt: skip
def test_a_week_that_was_not_approved_by_somebody_who_may_approves_no_day(
    weeks: Weeks, planned: Planned, answer: dict[str, object], reason: str
) -> None:
    weeks.approved(answer=answer)
    assert asked(weeks.day(1), planned) == Delegated(reasons=(reason,))


def test_an_approval_that_was_never_confirmed_does_not_count(weeks: Weeks, planned: Planned) -> None:
    weeks.approved(answer={})
    assert asked(weeks.day(1), planned).reasons == ("the week's approval was not confirmed",)


def test_a_day_that_the_week_has_not_begun_is_not_approved(weeks: Weeks, planned: Planned) -> None:
    begun(weeks)
    assert asked(weeks.day(2), planned).reasons == ("the week has not begun this run, or is done with it",)


def test_a_day_that_has_ended_asks_again_when_somebody_clears_it(weeks: Weeks, planned: Planned) -> None:
    begun(weeks)
    progress.end_day(weeks.week(), DAYS[0], "failed")
    assert asked(weeks.day(1), planned).reasons == ("the week has not begun this run, or is done with it",)


def test_a_week_that_has_given_its_verdict_approves_nothing_more(weeks: Weeks, planned: Planned) -> None:
    begun(weeks)
    ending.conclude(weeks.week(), [])
    assert asked(weeks.day(1), planned).reasons == ("the week has ended",)


def test_other_settings_than_the_approved_ones_ask_again(weeks: Weeks, planned: Planned) -> None:
    begun(weeks)
    assert asked(weeks.day(1, soak_seconds=5, size=3), planned).reasons == (
        "size is 3, approved was 2",
        "soak_seconds is 5, approved was 60",
        "alpha: it costs $2.00 a month more, approved was that it saves $2.00 a month (tolerance 10%)",
    )


def test_a_reason_of_the_days_own_changes_nothing(weeks: Weeks, planned: Planned) -> None:
    begun(weeks)
    assert asked(weeks.day(1, reason="because"), planned).answer is not None


def test_a_plan_that_costs_more_than_the_approved_one_by_then_asks_again(weeks: Weeks, planned: Planned) -> None:
    begun(weeks)
    set_size(weeks.locks, "alpha", "estate-wide", 0)  # 0 -> 8 in place of the approved 10 -> 8
    assert asked(weeks.day(1), planned).reasons == (
        "alpha: it costs $8.00 a month more, approved was that it saves $2.00 a month (tolerance 10%)",
    )


def test_the_week_of_another_estate_in_the_same_ledger_approves_nothing(weeks: Weeks, planned: Planned) -> None:
    begun(weeks)
    run = weeks.day(1)
    other = replace(run, estate=run.estate.model_copy(update={"name": "another"}))
    planned(other)
    reasons = answer_for(other, [other], "0123456789ab").reasons
    assert reasons == ("the week is that of the estate akidb, not of another",)


def test_a_plan_that_is_not_the_one_on_record_is_not_approved(weeks: Weeks, planned: Planned) -> None:
    begun(weeks)
    run = weeks.day(1)
    planned(run)
    assert answer_for(run, [run], "0123456789ab").reasons == ("plan 0123456789ab is not the one on record",)


def test_a_week_whose_chain_was_edited_approves_nothing(weeks: Weeks, planned: Planned) -> None:
    begun(weeks)
    path = next(p for p in (weeks.locks.path.parent / "ledger" / "week14").rglob("000001.json"))
    path.write_text(path.read_text().replace("instant", "irreversible"))
    with pytest.raises(LedgerError, match="does not follow from the record before it"):
        asked(weeks.day(1), planned)


def test_an_approver_reads_why_the_weeks_approval_does_not_hold() -> None:
    assert not_covered(["size is 3, approved was 2"]) == (
        "**The week's approval does not cover this plan:**\n\n- size is 3, approved was 2"
    )
