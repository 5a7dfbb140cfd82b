"""The measure command: watts and capacity of each mode, and back to the mode that it began in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jetson_tasks.board import Board, BoardError
from jetson_tasks.measure import Measurement, Plan, Running
from tests.unit.jetson_tasks.device_world import NOW, Device

SENSOR = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/"
WATTS = {"15W": (5.0, 11.8), "25W": (5.6, 16.9), "MAXN_SUPER": (6.2, 22.4)}
QPS = {"15W": 220.0, "25W": 310.0, "MAXN_SUPER": 330.0}


class FakeRun(Running):
    """A bench program that prints what it is told."""

    def __init__(self, output: str) -> None:
        self.output, self.looks = output, 0

    def await_steady(self, seconds: float) -> None:
        assert seconds == 30

    def is_running(self) -> bool:
        """Until the fifth look."""
        self.looks += 1
        return self.looks < 5

    def result(self, seconds: float) -> str:
        assert seconds == 3
        return self.output


def measured(
    device: Device, modes: tuple[str, ...] = (), bench: str | None = "bench", says: str = ""
) -> dict[str, Any]:
    device.write(SENSOR + "in1_label", "VDD_IN\n")
    device.write(SENSOR + "in1_input", "5000\n")

    def start(program: str, load: int, seconds: float) -> Running:
        assert (program, seconds) == ("bench", 3)
        device.write(SENSOR + "curr1_input", f"{WATTS[device.programs.mode][load] * 200:.0f}\n")
        return FakeRun(says or f"warming up\n{QPS[device.programs.mode]}\n")

    board = Board(device.files, device.programs.run, device.slept.append)
    return Measurement(device.files, board, Plan(3, 7, modes, bench), device.slept.append, start).run(
        device.agent.look()
    )


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_every_mode_without_a_reboot_is_measured_and_the_device_returns(device: Device) -> None:
    found = measured(device)
    assert found == {
        "format": 1,
        "device": "jetson01",
        "board": "orin-nano-super",
        "measured_at": NOW,
        "seconds": 3,
        "from_mode": "MAXN_SUPER",
        "modes": [
            {"mode": mode, "watts_idle": idle, "watts_full": full, "capacity_qps": QPS[mode], "samples": 4}
            for mode, (idle, full) in WATTS.items()
        ],
        "skipped": [
            {"mode": "7W", "why": "needs a reboot: CPU_ONLINE CORE_4 1 -> 0, CPU_ONLINE CORE_5 1 -> 0"},
        ],
        "error": None,
    }
    assert device.programs.mode == "MAXN_SUPER"
    assert device.slept == pytest.approx([7, *[0.5] * 8] * 3)


def test_without_a_bench_program_watts_and_capacity_are_unknown(device: Device) -> None:
    (row,) = measured(device, ("15W",), bench=None)["modes"]
    assert row == {"mode": "15W", "watts_idle": None, "watts_full": None, "capacity_qps": None, "samples": 0}


def test_a_bench_program_that_says_no_figure_is_an_error_and_the_device_returns(device: Device) -> None:
    found = measured(device, ("15W",), says="out of memory")
    assert found["error"]["message"] == "the bench program's last line is 'out of memory', not the requests/s served"
    assert (found["modes"], device.programs.mode) == ([], "MAXN_SUPER")


def test_a_mode_that_is_not_taken_is_an_error(device: Device) -> None:
    device.programs.answers = "25W"
    found = measured(device, ("15W",))
    assert found["error"] == {
        "code": "mode_mismatch",
        "message": "mode MAXN_SUPER was asked for and the device answers 25W",
    }


def test_a_real_bench_program_is_waited_for() -> None:
    running = Running(["/bin/sh", "-c", "echo steady; sleep 0.2; echo 12.5"])
    running.await_steady(10)
    assert running.is_running()
    assert running.result(1) == "steady\n12.5\n"
    assert not running.is_running()
    with pytest.raises(BoardError, match=r"^the bench program ended with status 1: "):
        Running(["/bin/false"]).result(1)


def test_a_bench_program_whose_load_never_stands_is_an_error() -> None:
    with pytest.raises(BoardError, match=r"^the bench program printed no line in 0.1 s$"):
        Running(["/bin/sleep", "60"]).await_steady(0.1)
