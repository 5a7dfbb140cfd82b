"""Whether the next day may begin, and the week's verdict, word for word."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from include.rollout.decisions import Ending, Verdict
from include.week.days import Day
from include.week.endings import DayEnd, WeekFacts, may_begin, week_verdict

DAYS = [Day(1, "day1_spot", ("spot_capacity",)), Day(2, "day2_predictive_scaling", ("predictive_scaling",)),
        Day(3, "day3_edge", ("dns_health_checks", "storage_tiering"))]  # fmt: skip
NOTHING = Verdict(Ending.REFUSED, green=False, message="refused: nobody asked")


def end(number: int, verdict: Ending = Ending.PROMOTED, **more: Any) -> DayEnd:
    day = DAYS[number - 1]
    green = verdict is Ending.PROMOTED
    stands = {day.levers[0]: ["us-east-1"]} if green else {}
    given: dict[str, Any] = {"green": green, "message": f"{verdict.value}: because\nmore", "stands": stands, **more}
    return DayEnd(number, day.dag, "week14__a", verdict, seconds=61.4, **given)


def said(*ends: DayEnd | None, **more: Any) -> Verdict:
    begun = [one.dag for one in ends if one is not None]
    return week_verdict(WeekFacts(DAYS[: len(ends)], ends, NOTHING, **{"begun": begun, **more}))


def test_the_next_day_begins_when_all_before_it_are_promoted() -> None:
    assert may_begin([], "stop") is None
    assert may_begin([end(1), end(2)], "stop") is None


@pytest.mark.parametrize("verdict", [Ending.ROLLED_BACK, Ending.REJECTED, Ending.REFUSED])
def test_a_day_that_left_nothing_stops_the_week_unless_the_form_says_continue(verdict: Ending) -> None:
    assert may_begin([end(1), end(2, verdict)], "stop") == f"day 2 (day2_predictive_scaling) ended as {verdict.value}"
    assert may_begin([end(1), end(2, verdict)], "continue") is None


@pytest.mark.parametrize("verdict", [Ending.UNFINISHED, Ending.UNKNOWN])
def test_a_day_that_left_something_stops_it_in_any_case(verdict: Ending) -> None:
    wrong = end(1, verdict, stands={"spot_capacity": ["us-east-1"]})
    assert may_begin([wrong], "continue") == f"day 1 (day1_spot) ended as {verdict.value}"


def test_a_day_of_several_levers_that_was_rolled_back_in_one_and_stands_in_another_stops_it() -> None:
    wrong = end(3, Ending.ROLLED_BACK, stands={"dns_health_checks": ["estate-wide"]})
    assert may_begin([wrong], "continue") == "day 3 (day3_edge) ended as rolled back"


def test_a_day_that_has_not_ended_stops_it() -> None:
    assert may_begin([end(1), None], "continue") == "a day before it has not ended"


def test_a_week_whose_days_were_all_promoted_is_green_and_says_what_stands() -> None:
    assert said(end(1), end(2), end(3)) == Verdict(
        Ending.PROMOTED,
        green=True,
        message=(
            "day 1 (day1_spot): promoted in 61 s\n"
            "day 2 (day2_predictive_scaling): promoted in 61 s\n"
            "day 3 (day3_edge): promoted in 61 s\n"
            "Days 1, 2 and 3 stand: spot_capacity in us-east-1; predictive_scaling in us-east-1; "
            "dns_health_checks in us-east-1."
        ),
    )


def test_a_rejected_day_3_leaves_days_1_and_2_standing_and_says_so() -> None:
    found = said(end(1), end(2), end(3, Ending.REJECTED), conf={"regions": ["us-east-1"]})
    assert (found.name, found.green) == (Ending.REJECTED, False)
    assert found.message == (
        "day 1 (day1_spot): promoted in 61 s\n"
        "day 2 (day2_predictive_scaling): promoted in 61 s\n"
        "day 3 (day3_edge): rejected in 61 s: rejected: because\n"
        "Days 1 and 2 stand: spot_capacity in us-east-1; predictive_scaling in us-east-1.\n"
        "Next: remove the reason and go on: airflow dags trigger week14 --conf "
        "'{\"dry_run\": false, \"first_day\": 3, \"regions\": [\"us-east-1\"]}'\n"
        "Or undo what stands, the newest first: "
        "airflow dags trigger rollback --conf "
        "'{\"lever\": \"predictive_scaling\", \"regions\": [\"us-east-1\"], \"dry_run\": false}'; "
        "airflow dags trigger rollback --conf "
        "'{\"lever\": \"spot_capacity\", \"regions\": [\"us-east-1\"], \"dry_run\": false}'"
    )  # fmt: skip


def test_a_first_day_that_was_rolled_back_leaves_nothing() -> None:
    found = said(end(1, Ending.ROLLED_BACK), None, None)
    assert found.name is Ending.ROLLED_BACK
    assert found.message == (
        "day 1 (day1_spot): rolled back in 61 s: rolled back: because\n"
        "day 2 (day2_predictive_scaling): not begun\n"
        "day 3 (day3_edge): not begun\n"
        "Nothing of this week stands.\n"
        "Next: remove the reason and go on: airflow dags trigger week14 --conf "
        "'{\"dry_run\": false, \"first_day\": 1}'"
    )  # fmt: skip


def test_the_command_that_goes_on_is_one_for_a_shell_whatever_the_reason_says() -> None:
    reason = "it's Ada's; $(reboot) `reboot`"
    found = said(end(1, Ending.REJECTED), None, conf={"reason": reason, "on_rollback": "continue"})
    command = found.message.partition("go on: ")[2].splitlines()[0]
    *words, conf = shlex.split(command)
    assert words == ["airflow", "dags", "trigger", "week14", "--conf"]
    assert json.loads(conf) == {"reason": reason, "on_rollback": "continue", "first_day": 1, "dry_run": False}


def test_a_day_that_waits_for_people_sends_them_to_its_own_verdict() -> None:
    stands = {"spot_capacity": ["us-east-1"]}
    found = said(end(1, Ending.UNKNOWN, stands=stands, left_behind=("us-east-1: written to",)))
    assert found.name is Ending.UNKNOWN
    assert found.left_behind == ("day1_spot: us-east-1: written to",)
    assert "Day 1 stands: spot_capacity in us-east-1.\n" in found.message
    assert "Next for day 1 (day1_spot): its own verdict says what to do (run week14__a).\n" in found.message


def test_a_day_that_was_begun_and_whose_end_nobody_saw_is_no_success() -> None:
    found = said(end(1), None, begun=["day1_spot", "day2_predictive_scaling"])
    assert (found.name, found.green) == (Ending.UNFINISHED, False)
    assert "day 2 (day2_predictive_scaling): begun, and its end is not known\n" in found.message


def test_a_promoted_day_whose_run_is_red_all_the_same_makes_the_week_unfinished() -> None:
    assert (said(end(1, green=False)).name, said(end(1, green=False)).green) == (Ending.UNFINISHED, False)


def test_a_week_that_began_no_day_says_why() -> None:
    assert said(None, None, begun=[]) == NOTHING


@pytest.mark.parametrize(
    ("gate", "name", "line"),
    [
        (("pass", ["p95_ms: 20 ms is < 30 ms"]), Ending.PROMOTED, "week-15 gate: pass: p95_ms: 20 ms is < 30 ms"),
        (("fail", ["p95_ms: 40 ms is not < 30 ms"]), Ending.UNFINISHED,
         "week-15 gate: fail: p95_ms: 40 ms is not < 30 ms"),
        (("unknown", ["usd_month: no data"]), Ending.UNKNOWN, "week-15 gate: unknown: usd_month: no data"),
        (None, Ending.UNKNOWN, "week-15 gate: unknown: it was not judged; read the log of week15.judge_week15"),
    ],
)  # fmt: skip
def test_the_gate_of_week_15_decides_a_week_whose_days_stand(gate: Any, name: Ending, line: str) -> None:
    found = said(end(1), gate=gate, gate_wanted=True)
    assert (found.name, found.green) == (name, name is Ending.PROMOTED)
    assert line in found.message.splitlines()


def test_an_end_goes_through_the_ledger_unchanged() -> None:
    one = end(3, Ending.ROLLED_BACK, left_behind=("a",), predicted={"x": "-1.50"}, realised={"x": None})
    raw = {**one.__dict__, "verdict": one.verdict.value, "left_behind": list(one.left_behind), "state": "failed"}
    assert DayEnd.from_json(raw) == one
