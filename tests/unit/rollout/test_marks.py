"""Marks: what their names tell, and what stands by them."""

from __future__ import annotations

import pytest

from include.rollout.marks import EVERY_RECORD, Mark, Standing, Step, mark_of, short_name, standing

ONE, TWO = "toy/us-east-1/day--one", "toy/us-east-1/day--two"


@pytest.mark.parametrize(
    ("mark", "name"),
    [
        (Mark(3, "touch"), "000003-touch"),
        (Mark(2, "snapshot", order=7), "000002-snapshot-n7"),
        (Mark(2, "snapshot", 7, "0123456789abcdef", 9), "000002-snapshot-n7-0123456789abcdef-9"),
        (Mark(8, "restored", 0, "1234567890123456", 8), "000008-restored-1234567890123456-8"),
        (Mark(8, "restored"), "000008-restored"),
        (Mark(6, "undo", other="1234567890123456"), "000006-undo-1234567890123456-0"),
    ],
)
def test_a_marks_name_tells_all_of_it(mark: Mark, name: str) -> None:
    assert mark.name == name
    assert Mark.parse(name) == mark


@pytest.mark.parametrize("name", ["000003.json", "3-touch", "000003-", "000003-touch.json", "000003-touch-n", "x"])
def test_what_is_no_mark_is_none(name: str) -> None:
    assert Mark.parse(name) is None


def test_marks_of_records() -> None:
    assert mark_of(ONE, 3, Step.TOUCH, {"order": 5}, {"origin": TWO}) == Mark(3, "touch")
    assert mark_of(ONE, 2, Step.SNAPSHOT, {"order": 5}, {}) == Mark(2, "snapshot", 5)
    resumed = mark_of(ONE, 2, Step.SNAPSHOT, {"order": 5, "upto": 4}, {"origin": TWO})
    assert resumed == Mark(2, "snapshot", 5, short_name(TWO), 4)
    own = mark_of(ONE, 9, Step.RESTORED, {"complete": True}, {"restores": ONE})
    assert own == mark_of(ONE, 9, Step.RESTORED, {"complete": False, "accepted": True}, {})
    assert own == Mark(9, "restored", 0, short_name(ONE), 9)
    assert mark_of(ONE, 9, Step.RESTORED, {"complete": False}, {"restores": TWO}) == Mark(9, "restored")
    old = mark_of(ONE, 9, Step.RESTORED, {"complete": True}, {"restores": TWO})
    assert old == Mark(9, "restored", 0, short_name(TWO), EVERY_RECORD)


def test_a_resumed_run_stands_for_the_one_that_it_resumed_once_it_has_written() -> None:
    first = [Mark(1, "snapshot", 1), Mark(2, "touch")]
    resumes = Mark(1, "snapshot", 2, short_name(ONE), 2)
    assert standing({ONE: first, TWO: [resumes]}) == [Standing(ONE, 1, 1, promoted=False)]
    assert standing({ONE: first, TWO: [resumes, Mark(2, "touch")]}) == [Standing(TWO, 2, 1, promoted=False)]
    again = [*first, Mark(3, "touch")]
    assert len(standing({ONE: again, TWO: [resumes, Mark(2, "touch")]})) == 2
