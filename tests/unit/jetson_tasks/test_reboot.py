"""Modes that need a reboot: never by themselves, once a generation, and written down before the device goes down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jetson_tasks.agent import BOOT_ID, exit_code
from jetson_tasks.paths import MODEL, STATUS
from tests.unit.jetson_tasks.device_world import NANO, Device

FORCED = "nvpmodel -m 3 --force"


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def boot(device: Device, mode: str) -> None:
    device.write(BOOT_ID, "boot-2\n")
    device.programs.mode = mode


def test_a_mode_that_needs_a_reboot_is_pending_when_none_is_allowed(device: Device) -> None:
    status = device.apply(mode="7W")
    assert status["pending_reboot"] == {"mode": "7W", "generation": 1}
    assert status["error"] == {"code": "reboot_pending", "message": "mode 7W needs a reboot from MAXN_SUPER"}
    assert (exit_code(status), status["mode"]) == (4, "MAXN_SUPER")
    assert device.programs.calls == ["nvpmodel -q"]


def test_the_reboot_is_asked_for_once_while_the_device_goes_down(device: Device) -> None:
    assert exit_code(device.apply(mode="7W", reboot=True)) == 4
    assert device.programs.calls == ["nvpmodel -q", FORCED]
    status = device.agent.step()
    assert status["error"]["message"] == "the reboot into mode 7W is under way"
    assert device.programs.calls.count(FORCED) == 1


def test_after_the_reboot_the_device_is_as_asked(device: Device) -> None:
    device.apply(mode="7W", reboot=True)
    boot(device, "7W")
    status = device.agent.step()
    assert (status["mode"], status["error"], status["pending_reboot"], exit_code(status)) == ("7W", None, None, 0)


def test_a_generation_has_one_reboot_even_when_it_did_not_help(device: Device) -> None:
    device.apply(mode="7W", reboot=True)
    boot(device, "MAXN_SUPER")
    for status in (device.agent.step(), device.apply(mode="7W", reboot=True)):
        assert status["error"] == {
            "code": "reboot_failed",
            "message": "after its reboot the device is in mode MAXN_SUPER, not 7W",
        }
        assert exit_code(status) == 3
    assert device.programs.calls.count(FORCED) == 1
    device.apply(mode="7W", reboot=True, generation=2)
    assert device.programs.calls.count(FORCED) == 2


@pytest.mark.parametrize("wrong", ["nvpmodel fails", "the board is unknown"])
def test_a_boot_in_which_the_board_can_not_be_asked_does_not_forget_the_reboot(device: Device, wrong: str) -> None:
    device.apply(mode="7W", reboot=True)
    boot(device, "MAXN_SUPER")
    if wrong == "nvpmodel fails":
        device.programs.refuses = 5
    else:
        device.write(MODEL, "Acme Board 9")
    assert device.agent.step()["mode"] is None
    device.write(MODEL, NANO)
    assert device.agent.step()["error"]["code"] == "reboot_failed"
    assert device.programs.calls.count(FORCED) == 1


def test_the_reboot_is_written_down_before_it_is_asked_for(device: Device) -> None:
    seen = []
    run = device.programs.run

    def watched(command: list[str]) -> tuple[int, str]:
        if command[-1] == "--force":
            seen.append(json.loads(device.files.read(STATUS) or "")["rebooted_generation"])
        return run(command)

    device.programs.run = watched  # type: ignore[method-assign]
    device.apply(mode="7W", reboot=True)
    assert seen == [1]


def test_a_way_back_that_needs_a_reboot_is_a_generation_of_its_own(device: Device) -> None:
    device.programs.mode = "7W"
    device.apply(mode="15W", reboot=True)
    assert device.programs.calls[-1] == "nvpmodel -m 0 --force"


def test_the_safe_mode_is_not_reached_by_a_reboot_that_nobody_allowed(device: Device) -> None:
    device.programs.mode = "7W"
    status = device.apply(mode="7W", expires_at=device.now + 60)
    device.now += 61
    status = device.agent.step()
    assert status["mode"] == "7W"
    assert status["pending_reboot"] == {"mode": "MAXN_SUPER", "generation": 1}
    assert FORCED not in device.programs.calls


@pytest.mark.parametrize("rebooted", [False, True])
def test_a_safe_mode_out_of_reach_hides_not_why_it_is_wanted(device: Device, rebooted: bool) -> None:
    """An undo forgives a former state that has expired; the reboot that it may not ask for is no failure of its own."""
    if rebooted:
        device.apply(mode="7W", reboot=True, expires_at=device.now + 60)
        boot(device, "7W")
        device.agent.step()
    else:
        device.programs.mode = "7W"
        device.apply(mode="7W", expires_at=device.now + 60)
    device.now += 61
    status = device.agent.step()
    assert (status["error"]["code"], exit_code(status), status["mode"]) == ("clock_expired", 8, "7W")
