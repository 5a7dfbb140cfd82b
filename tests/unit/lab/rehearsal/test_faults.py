"""What came of a fault, and whether that was expected."""

from __future__ import annotations

from typing import Any

import pytest

from include.rollout.ledger import FIRST_LINK, Record, Step
from lab.rehearsal.faults import KINDS, Struck, judged
from lab.rehearsal.strikes import STRIKES

US, AT = "us-east-1", 1795600800.0  # 2026-11-25T10:00:00Z


def record(step: str, second: int, **figures: Any) -> Record:
    time = f"2026-11-25T10:00:{second:02d}+00:00"
    return Record("spot_capacity", US, "day1_spot", "r", 1, FIRST_LINK, step, time, figures)


UNDONE = [record(Step.UNDO, 10), record(Step.RESTORED, 51, complete=True)]


def test_every_kind_has_a_strike_and_says_what_is_expected() -> None:
    assert list(KINDS) == list(STRIKES)
    assert {name: (kind.day, kind.verdicts) for name, kind in KINDS.items()} == {
        "gate": (1, ("rolled back",)),
        "ice": (1, ("promoted",)),
        "oom": (4, ("rolled back",)),
        "spot-storm": (1, ("rolled back",)),
        "forecast-down": (2, ("promoted",)),
        "api-outage": (1, ("promoted", "rolled back")),
        "etag": (3, ("promoted",)),
    }


def test_a_day_that_is_rolled_back_and_proved_is_restored_in_the_seconds_of_its_undo() -> None:
    found = judged("gate", Struck(US, at=AT), "rolled back", True, UNDONE)
    assert (found.outcome, found.seconds, found.as_expected) == ("restored", 41.0, True)
    assert str(found).startswith("FAULT=gate in us-east-1: restored in 41 s; expected: the gate P95 fails")


def test_one_that_is_promoted_has_survived_until_the_next_gate_that_passed() -> None:
    gates = [record(Step.GATE, 0, outcome="pass"), record(Step.GATE, 20, outcome="fail")]
    gates += [record(Step.GATE, 33, outcome="pass"), record(Step.GATE, 40, outcome="pass")]
    found = judged("ice", Struck(US, at=AT + 5), "promoted", False, gates)
    assert (found.outcome, found.seconds, found.as_expected) == ("survived", 28.0, True)


@pytest.mark.parametrize(
    ("name", "struck", "verdict", "restored", "problems"),
    [
        ("gate", Struck(US), "promoted", False, ("the day ended promoted, not rolled back",)),
        ("gate", Struck(US), "rolled back", False, ("the live state differs from the start",)),
        ("ice", Struck(), "promoted", False, ("it never struck: the run ended before",)),
        ("api-outage", Struck(US), "unfinished", False, ("the day ended unfinished, not promoted or rolled back",)),
        ("etag", Struck("estate-wide", problems=("gone",)), "promoted", False, ("gone",)),
    ],
)
def test_what_is_not_as_expected_is_named(
    name: str, struck: Struck, verdict: str, restored: bool, problems: tuple[str, ...]
) -> None:
    found = judged(name, struck, verdict, restored, [])
    assert found.problems == problems
    assert not found.as_expected
    assert found.to_json()["as_expected"] is False


def test_the_lever_whose_write_was_struck_is_the_one_on_record() -> None:
    assert judged("etag", Struck("estate-wide", "lambda_edge"), "promoted", False, []).lever == "lambda_edge"
    assert judged("oom", Struck(US), "rolled back", True, []).lever == "right_sizing"
