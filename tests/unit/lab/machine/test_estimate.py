"""How long the rest of a build takes: the pace is learned from what is built."""

from __future__ import annotations

import pytest

from lab.machine.estimate import pace, to_go

REFERENCE = {"apiserver": 200.0, "kubectl": 20.0, "karpenter": 100.0, "keda": 80.0}


def test_before_anything_is_built_the_reference_counts() -> None:
    assert pace(REFERENCE, {}) == 1.0
    assert to_go(REFERENCE, {}, [], at_once=2) == 200.0


def test_the_first_program_tells_the_pace_of_the_rest() -> None:
    assert pace(REFERENCE, {"apiserver": 600.0}) == 3.0
    # 200 s of the reference are left, at a third of its speed, two at a time.
    assert to_go(REFERENCE, {"apiserver": 600.0}, [], at_once=2) == 300.0


def test_what_is_under_way_has_had_its_time() -> None:
    assert to_go(REFERENCE, {"apiserver": 200.0}, [30.0, 10.0], at_once=2) == 80.0


def test_the_last_one_has_the_machine_for_itself() -> None:
    assert to_go(REFERENCE, {"apiserver": 200.0, "kubectl": 20.0, "karpenter": 100.0}, [20.0], at_once=2) == 60.0


@pytest.mark.parametrize("running", [80.0, 500.0])
def test_one_that_takes_longer_than_expected_is_not_over(running: float) -> None:
    taken = {"apiserver": 200.0, "kubectl": 20.0, "karpenter": 100.0}
    assert to_go(REFERENCE, taken, [running], at_once=2) == 8.0


def test_what_was_compiled_before_tells_nothing_about_the_rest() -> None:
    assert pace(REFERENCE, {"apiserver": 2.0}) == 0.25
    assert to_go(REFERENCE, {"apiserver": 2.0}, [], at_once=2) == 25.0


def test_nothing_left_takes_no_time() -> None:
    assert to_go(REFERENCE, REFERENCE, [], at_once=2) == 0.0
