"""Notices word for word: what happened, what was left behind, the next command."""

from __future__ import annotations

import pytest

from include import notices
from include.estate import EstateError, Notice, load_estate
from include.rollout.decisions import Ending, Verdict

ROLLED_BACK = Verdict(
    Ending.UNFINISHED,
    green=False,
    message="unfinished: us: gate failed\nLeft behind:\nus: written to\n"
    "Next: airflow dags trigger rollback --conf '{}'",
    left_behind=("us: written to",),
)


def test_an_approval_that_is_wanted() -> None:
    found = notices.approval_wanted("day1_spot", "manual__1", "day1_spot: approve plan 89a7?", "Plan 89a7\n\nsaves $5")
    assert found.subject == "Approval wanted: day1_spot: approve plan 89a7?"
    assert found.message == (
        "Plan 89a7\n\nsaves $5\n\nLeft behind: nothing was changed\n"
        "Next: answer in Airflow under Required Actions (day1_spot, run manual__1); no answer in time counts as Reject"
    )


def test_a_run_that_left_something_behind_says_what_and_the_next_command() -> None:
    found = notices.rolled_back("day1_spot", "manual__1", ROLLED_BACK)
    assert found is not None
    assert (found.event, found.subject) == ("rolled_back", "day1_spot is unfinished")
    assert (found.left, found.next_step) == ("us: written to", "airflow dags trigger rollback --conf '{}'")
    assert found.happened == f"day1_spot (run manual__1) is unfinished.\n{ROLLED_BACK.message}"


@pytest.mark.parametrize("name", [Ending.PROMOTED, Ending.DRY_RUN, Ending.REJECTED, Ending.REFUSED, Ending.NOTHING])
def test_nobody_is_told_of_an_end_that_undid_nothing(name: Ending) -> None:
    assert notices.rolled_back("day1_spot", "manual__1", Verdict(name, green=False, message="")) is None


def test_a_run_that_was_restored_left_nothing() -> None:
    found = notices.rolled_back("d", "r", Verdict(Ending.ROLLED_BACK, green=False, message="rolled back: gate"))
    assert found is not None
    assert (found.subject, found.left) == ("d was rolled back", "nothing")
    assert found.next_step == "read the task verdict of d, run r"


def test_a_budget_that_was_passed_a_champion_that_was_demoted_and_a_deadline() -> None:
    assert notices.budget_passed("r", "spike: x", "Capped: pool.").message == (
        "spike: x\n\nLeft behind: Capped: pool.\nNext: follow the remedy above; the run is cost_guard, r"
    )
    assert notices.champion_demoted("r", "us: demoted: worse").message == (
        "us: demoted: worse\n\nLeft behind: scaling goes on with the alternative, and on requests alone where there is "
        "none\nNext: read docs/how-to/forecast_operations.md; the run is forecast_watch, r"
    )
    assert notices.deadline_missed("day1_spot", "r", "2026-11-29T10:00:00+00:00", "still going").message == (
        "day1_spot (run r) was due at 2026-11-29T10:00:00+00:00 and is still going.\n\n"
        "Left behind: the run goes on; what it has written stands until its gates have judged it\n"
        "Next: look at the run; an answer may be wanted. To stop and undo it: airflow dags trigger rollback --conf "
        '\'{"lever": "everything", "dry_run": false}\''
    )


def test_a_long_message_is_cut_and_says_so() -> None:
    found = notices.budget_passed("r", "x" * 4001, "nothing")
    assert found.message.startswith("x" * 4000 + " ... (cut)\n")


def test_texts_are_filled_in_at_any_depth_and_nothing_else_is() -> None:
    notice = notices.Notice("rolled_back", "S", "a <b> {{ x }}", "nothing", "go")
    arguments = {"to": ["a@b.c"], "subject": "[akidb] {subject}", "json": {"text": "{message}", "n": 1}, "x": "{other}"}
    assert notices.fill(arguments, notice) == {
        "to": ["a@b.c"],
        "subject": "[akidb] S",
        "json": {"text": "a <b> {{ x }}\n\nLeft behind: nothing\nNext: go", "n": 1},
        "x": "{other}",
    }
    assert notices.fill({"html_content": "{html}"}, notice)["html_content"].startswith("<pre>a &lt;b&gt; {{ x }}\n")


def test_a_notifier_is_told_of_the_events_that_it_names_or_of_all() -> None:
    some = Notice(notifier="a.B", events=("rolled_back",))
    assert (some.wants("rolled_back"), some.wants("approval_wanted")) == (True, False)
    assert Notice(notifier="a.B").wants("approval_wanted")


@pytest.mark.parametrize(
    ("notice", "field"),
    [
        ('{notifier: "not a path"}', "notices.0.notifier"),
        ("{notifier: a.B, events: [rolled_bakc]}", "notices.0.events.0"),
        ("{notifier: a.B, event: rolled_back}", "notices.0.event is not a known setting"),
    ],
)
def test_a_wrong_notice_is_refused_by_its_field_when_the_estate_is_read(
    tmp_path: object, notice: str, field: str
) -> None:
    from pathlib import Path

    from include.estate import ESTATE_FILE

    wrong = Path(str(tmp_path)) / "estate.yaml"
    wrong.write_text(ESTATE_FILE.read_text(encoding="utf-8").replace("notices: []", f"notices: [{notice}]"))
    with pytest.raises(EstateError, match=field):
        load_estate(wrong)
