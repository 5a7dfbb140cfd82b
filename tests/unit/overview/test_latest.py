from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

from include.overview.latest import Answer, Latest

NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> dt.datetime:
        return self.now

    def later(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)


def test_a_reading_that_ends_in_time_is_the_answer() -> None:
    latest = Latest[int]("the ledger", lambda told: 7, clock=Clock())
    assert latest.get(10) == Answer(7, NOON)


def test_a_slow_reading_goes_on_and_says_how_far_it_is() -> None:
    clock, gate, begun = Clock(), threading.Event(), threading.Event()

    def read(told: Callable[[str], None]) -> int:
        told("300 of 10,000 records")
        begun.set()
        gate.wait(20)
        return 7

    latest = Latest[int]("the ledger", read, clock=clock)
    assert latest.get(0).value is None
    begun.wait(20)
    clock.later(4)
    assert latest.get(0).problem == (
        "the ledger is still being read after 4 s, 300 of 10,000 records: load the page again"
    )
    gate.set()
    assert latest.get(20) == Answer(7, NOON + dt.timedelta(seconds=4))


def test_a_reading_that_fails_is_named_and_what_was_known_stays() -> None:
    clock, answers = Clock(), iter([7])
    latest = Latest[int]("the ledger", lambda told: next(answers), clock=clock)
    assert latest.get(10).value == 7
    clock.later(1)
    found = latest.get(10)
    assert (found.value, found.at) == (7, NOON)
    assert found.problem == "the ledger can't be read: StopIteration: "


def test_a_store_that_is_down_is_not_asked_again_at_once() -> None:
    clock, asked = Clock(), []

    def read(told: Callable[[str], None]) -> int:
        asked.append(1)
        raise OSError("connect timeout on s3")

    latest = Latest[int]("the ledger", read, clock=clock)
    assert latest.get(10).problem == "the ledger can't be read: OSError: connect timeout on s3"
    latest.get(10)
    assert len(asked) == 1
    clock.later(6)
    latest.get(10)
    assert len(asked) == 2


def test_a_value_is_good_for_as_long_as_it_says() -> None:
    clock, answers = Clock(), iter([1, 2])
    latest = Latest[int]("the planner", lambda told: next(answers), every=60, clock=clock)
    assert latest.get(10).value == 1
    clock.later(59)
    assert latest.get(10).value == 1
    clock.later(1)
    assert latest.get(10).value == 2
