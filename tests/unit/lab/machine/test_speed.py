"""What a measured speed makes of the lab's time-outs, by exact values."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lab.machine import speed
from lab.machine.speed import Speed


@pytest.mark.parametrize(
    ("seconds", "stretch", "shown"),
    [
        (speed.REFERENCE_SECONDS, 1.0, "this machine: 1.00 of the reference; time-outs x 1.0"),
        (speed.REFERENCE_SECONDS * 2.4, 2.4, "this machine: 0.42 of the reference; time-outs x 2.4"),
        (speed.REFERENCE_SECONDS / 2, 1.0, "this machine: 2.00 of the reference; time-outs x 1.0"),
        (speed.REFERENCE_SECONDS * 50, 8.0, "this machine: 0.02 of the reference; time-outs x 8.0"),
    ],
)
def test_time_outs_are_stretched_by_the_slowness_never_shortened_and_not_without_end(
    seconds: float, stretch: float, shown: str
) -> None:
    assert Speed(seconds).stretch == pytest.approx(stretch)
    assert str(Speed(seconds)) == shown


def test_the_slowest_core_counts() -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", f"print({seconds})"], stdout=subprocess.PIPE, text=True)
        for seconds in (0.5, 2.5, 1.0)
    ]
    assert speed.slowest(workers) == Speed(2.5)


def test_the_slower_of_two_measurements_is_the_larger() -> None:
    assert max(Speed(1.0), Speed(3.0)) == Speed(3.0)


def test_the_work_is_done_on_every_core_of_the_reference_and_prints_its_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speed, "WORK", speed.WORK.replace("8_000_000", "80"))
    assert speed.measure().seconds > 0
