"""The agent's step on a device in a folder: switches, verifies, falls back to the safe mode, and remembers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jetson_tasks.agent import exit_code
from jetson_tasks.desired import RefusedState
from jetson_tasks.paths import AGENT, DESIRED, METRICS, STATUS
from tests.unit.jetson_tasks.device_world import NOW, POLICY, Device, document

FOLLOWS = {"mode": None, "policy": POLICY}


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def kept(device: Device) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(device.files.read(STATUS) or "")
    return found


def test_a_fixed_mode_is_applied_and_verified(device: Device) -> None:
    status = device.apply()
    assert device.programs.calls == ["nvpmodel -q", "nvpmodel -m 0", "nvpmodel -q"]
    wanted = {"board": "orin-nano-super", "generation": 1, "mode": "15W", "wanted": "15W", "why": "mode"}
    wanted |= {"modes": ["15W", "25W", "MAXN_SUPER", "7W"], "reboot_modes": ["7W"], "switches": 1, "since": NOW}
    wanted |= {"error": None, "pending_reboot": None, "persisted": True, "desired": document()}
    assert {name: status[name] for name in wanted} == wanted
    assert exit_code(status) == 0
    assert kept(device) == status
    assert json.loads(device.files.read(DESIRED) or "") == document()


def test_a_mode_that_stands_already_is_not_switched_to(device: Device) -> None:
    device.programs.mode = "15W"
    assert device.apply()["switches"] == 0
    assert device.programs.calls == ["nvpmodel -q"]


def test_the_same_state_again_changes_nothing(device: Device) -> None:
    device.apply()
    device.programs.calls.clear()
    assert device.apply()["switches"] == 1
    assert device.programs.calls == ["nvpmodel -q"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "jetson02"}, "device is jetson02, but this is jetson01: correct the connection"),
        ({"mode": "40W"}, "mode 40W is not one of this device: 15W, 25W, MAXN_SUPER, 7W"),
        ({"generation": 4}, "generation is 4, and 5 was accepted"),
        ({"generation": 5, "mode": "25W"}, "generation 5 was accepted with another content: take the next one"),
        (
            {"generation": 6, "mode": None, "schedule": [{"minute": 0, "mode": "7W"}]},
            "mode 7W needs a reboot from 15W (CPU_ONLINE CORE_4 1 -> 0, CPU_ONLINE CORE_5 1 -> 0): "
            "leave it out of schedule and policy",
        ),
    ],
)
def test_what_this_device_can_not_do_is_refused_and_nothing_is_written(
    device: Device, changes: dict[str, Any], message: str
) -> None:
    device.apply(generation=5)
    before = (device.files.read(DESIRED), device.files.read(STATUS))
    with pytest.raises(RefusedState) as refused:
        device.apply(**changes)
    assert str(refused.value) == message
    assert (device.files.read(DESIRED), device.files.read(STATUS)) == before


def test_a_device_that_answers_another_mode_goes_to_its_safe_mode_and_stays_there(device: Device) -> None:
    device.programs.mode, device.programs.answers = "15W", "15W"
    status = device.apply(mode="25W")
    assert status["error"] == {
        "code": "mode_mismatch",
        "message": "mode 25W was asked for and the device answers 15W",
    }
    assert (exit_code(status), status["wanted"], status["mode"]) == (3, "MAXN_SUPER", "15W")
    device.programs.answers = None
    device.programs.calls.clear()
    later = device.agent.step()
    assert device.programs.calls == ["nvpmodel -q", "nvpmodel -m 2", "nvpmodel -q"]  # the safe mode, not 25W again
    assert (later["mode"], later["error"]["code"]) == ("MAXN_SUPER", "mode_mismatch")
    assert device.apply(mode="25W")["error"] is None  # asked again, by a person or a rollout


def test_a_switch_that_fails_leads_to_the_safe_mode(device: Device) -> None:
    device.programs.switch_fails = True
    status = device.apply()
    assert status["error"] == {
        "code": "nvpmodel_failed",
        "message": "nvpmodel -m 0 ended with status 1: NVPM ERROR: no",
    }
    assert (status["mode"], exit_code(status)) == ("MAXN_SUPER", 3)


def test_a_switch_that_fails_after_it_has_switched_is_said_as_the_board_answers(device: Device) -> None:
    device.write("/sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq", "1")
    device.write("/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "1")
    run = device.programs.run

    def without_clocks(command: list[str]) -> tuple[int, str]:
        return (1, "no space") if command[2:] == ["jetson_clocks"] else run(command)

    device.programs.run = without_clocks  # type: ignore[method-assign]
    status = device.apply(safe_mode="15W", mode="15W")
    assert (status["mode"], status["switches"]) == ("15W", 1)
    assert status["error"]["message"] == "jetson_clocks ended with status 1: no space"


def test_a_query_that_fails_early_in_boot_is_asked_again(device: Device) -> None:
    device.programs.refuses = 3
    assert device.apply()["error"] is None
    assert device.slept == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("answer", ["", "NVPM WARN: power mode is not set!", "NV Power Mode:\n"])
def test_an_answer_without_a_mode_is_asked_for_again_whatever_its_status_says(device: Device, answer: str) -> None:
    device.programs.mode, device.programs.refuses, device.programs.failure = "15W", 2, (0, answer)
    assert device.apply()["error"] is None
    assert device.slept == [0.5, 1.0]
    device.programs.refuses = 99
    assert device.agent.step()["error"] == {
        "code": "conf_invalid",
        "message": f"nvpmodel -q answered {answer.strip()!r}, which names no power mode",
    }


def test_a_query_that_goes_on_failing_is_an_error_and_nothing_is_written(device: Device) -> None:
    device.programs.refuses = 99
    status = device.apply()
    assert (status["error"]["code"], exit_code(status), status["mode"]) == ("nvpmodel_failed", 3, None)
    assert status["error"]["message"].startswith("nvpmodel -q failed 5 times: NVPM ERROR")
    assert device.files.read(DESIRED) is None


def test_an_unknown_board_is_refused_by_name(tmp_path: Path) -> None:
    status = Device(tmp_path, model="Acme Board 9").apply()
    assert status["error"] == {
        "code": "unknown_board",
        "message": "the board is 'Acme Board 9': this agent knows Orin Nano, Orin NX, AGX Orin, Thor",
    }
    assert exit_code(status) == 6
    assert not (tmp_path / "var/lib/akidb-power/desired.json").exists()


def test_jetson_clocks_is_off_during_a_switch_and_on_after_it(device: Device) -> None:
    for core in range(6):
        folder = f"/sys/devices/system/cpu/cpu{core}/cpufreq/"
        device.write(folder + "scaling_min_freq", "1728000\n")
        device.write(folder + "scaling_max_freq", "1728000\n")
    device.apply()
    assert device.programs.calls == [
        "nvpmodel -q", "jetson_clocks --restore", "nvpmodel -m 0", "nvpmodel -q", "jetson_clocks",
    ]  # fmt: skip


def test_the_mode_follows_the_load(device: Device) -> None:
    device.programs.mode = "15W"
    device.load = "200"
    status = device.apply(**FOLLOWS)
    assert (status["mode"], status["load_qps"], status["why"]) == ("25W", 200.0, "policy: 200.0 requests/s")
    device.load, device.now = "50", NOW + 60
    assert device.agent.step()["why"] == "dwell: 15W in 240 s at the earliest"
    device.now = NOW + 300
    assert device.agent.step()["mode"] == "15W"


def test_a_load_that_is_lost_leaves_the_mode_and_then_leads_to_the_safe_one_until_it_is_back(device: Device) -> None:
    device.programs.mode = "15W"
    device.apply(**FOLLOWS)
    device.load, device.now = "", NOW + 180
    status = device.agent.step()
    assert (status["mode"], status["why"]) == ("15W", "load unknown for 180 s: the mode stays")
    device.now = NOW + 181
    status = device.agent.step()
    assert (status["mode"], status["error"]["code"], exit_code(status)) == ("MAXN_SUPER", "load_lost", 3)
    device.load, device.now = "100", NOW + 1000
    assert (device.agent.step()["mode"], device.agent.step()["error"]) == ("15W", None)


def test_a_lost_load_whose_safe_mode_is_not_taken_is_a_failed_switch(device: Device) -> None:
    device.programs.mode = "15W"
    device.apply(**FOLLOWS)
    device.load, device.now, device.programs.answers = "", NOW + 181, "15W"
    message = "mode MAXN_SUPER was asked for and the device answers 15W"
    assert device.agent.step()["error"] == {"code": "mode_mismatch", "message": message}
    device.load, device.now = "100", NOW + 240  # the load is back, and still nobody knows what the board does
    assert device.agent.step()["error"] == {"code": "mode_mismatch", "message": message}


def test_a_new_generation_does_not_count_the_time_before_it_as_lost(device: Device) -> None:
    device.programs.mode = "15W"
    device.apply(**FOLLOWS)
    device.load, device.now = "", NOW + 9000
    assert device.apply(**FOLLOWS, generation=2)["error"] is None


@pytest.mark.parametrize(
    ("clock", "code", "message"),
    [
        (
            -301,
            "clock_future",
            "the desired state is 301 s from the future: set the clock of the device or of who wrote it",
        ),
        (3600, "clock_expired", "the desired state expired 0 s ago: write a new one, or set the clock"),
    ],
)
def test_a_wrong_clock_leads_to_the_safe_mode_and_is_named(device: Device, clock: int, code: str, message: str) -> None:
    device.programs.mode = "15W"
    device.now = NOW + clock
    status = device.apply(mode="25W", expires_at=NOW + 3600)
    assert status["error"] == {"code": code, "message": message}
    assert (status["mode"], exit_code(status)) == ("MAXN_SUPER", 8)
    device.now = NOW + 60
    assert device.agent.step()["mode"] == "25W"  # the clock is right again


def test_a_fixed_mode_without_expiry_is_applied_whatever_the_clock_says(device: Device) -> None:
    device.now = 0.0
    assert device.apply()["error"] is None


def test_a_clock_that_is_set_back_does_not_hold_the_device_in_its_mode(device: Device) -> None:
    device.programs.mode = "25W"
    device.apply(**FOLLOWS)
    device.now = NOW - 86400
    assert device.agent.step()["why"] == "dwell: 15W in 300 s at the earliest"


def test_the_agent_s_version_is_the_hash_of_its_file(device: Device) -> None:
    assert device.apply()["agent"] is None
    device.write(AGENT, "x")
    assert device.agent.status()["agent"] == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


def test_status_asks_the_board_and_changes_nothing(device: Device) -> None:
    device.apply()
    before = {path: path.read_bytes() for path in device.folder.rglob("*") if path.is_file()}
    device.programs.mode = "25W"  # somebody else has switched
    device.programs.calls.clear()
    status = device.agent.status()
    assert (status["mode"], status["wanted"], status["generation"]) == ("25W", "15W", 1)
    assert device.programs.calls == ["nvpmodel -q"]
    assert {path: path.read_bytes() for path in device.folder.rglob("*") if path.is_file()} == before


def test_a_device_without_a_desired_state_is_only_looked_at(device: Device) -> None:
    status = device.agent.step()
    assert (status["mode"], status["generation"], status["why"]) == ("MAXN_SUPER", None, "no desired state")
    assert device.programs.calls == ["nvpmodel -q"]


def test_what_somebody_else_switched_is_set_back(device: Device) -> None:
    device.apply()
    device.programs.mode = "25W"
    assert device.agent.step()["mode"] == "15W"


def test_a_damaged_desired_state_is_named_and_the_mode_stays(device: Device) -> None:
    device.apply()
    device.write(DESIRED, "{")
    status = device.agent.step()
    assert status["error"]["code"] == "state_damaged"
    assert device.programs.mode == "15W"


def test_a_failing_board_does_not_forget_what_was_accepted(device: Device) -> None:
    device.apply(generation=5)
    device.programs.refuses = 5
    status = device.agent.step()
    assert (status["error"]["code"], status["generation"], status["desired"]) == (
        "nvpmodel_failed", 5, document(generation=5),
    )  # fmt: skip
    with pytest.raises(RefusedState, match=r"^generation is 4, and 5 was accepted$"):
        device.apply(generation=4)


def test_a_crash_before_the_status_was_written_does_not_let_an_older_generation_in(device: Device) -> None:
    device.apply(generation=5)
    device.files.remove(STATUS)
    with pytest.raises(RefusedState, match=r"^generation is 4, and 5 was accepted$"):
        device.apply(generation=4)


def test_a_damaged_desired_state_is_repaired_by_the_next_one_and_no_older(device: Device) -> None:
    device.apply(generation=5)
    device.write(DESIRED, "{")
    device.agent.step()
    with pytest.raises(RefusedState, match=r"^generation is 4, and 5 was accepted$"):
        device.apply(generation=4)
    assert device.apply(generation=6, mode="25W")["mode"] == "25W"


@pytest.mark.parametrize(
    "status",
    [
        *({name: "?"} for name in ("since", "load_at", "switches", "failed")),
        {"failed": {"code": "mode_mismatch"}},
        {"since": [1]},
        {"switches": 1e999},
        [],
        5,
    ],
)
def test_a_status_of_another_shape_is_forgotten_and_stops_nobody(device: Device, status: Any) -> None:
    """Such as another release's, which lies there after the agent was changed."""
    device.apply()
    device.programs.mode = "25W"
    device.write(STATUS, json.dumps(status))
    assert device.agent.status()["mode"] == "25W"
    assert device.agent.step()["mode"] == "15W"
    device.write(STATUS, json.dumps(status))
    assert device.apply(generation=2, mode="25W")["mode"] == "25W"


def test_remove_forgets_the_desired_state_and_leaves_the_mode(device: Device) -> None:
    device.apply()
    device.agent.remove()
    device.agent.remove()  # again: nothing is there
    assert [device.files.read(name) for name in (DESIRED, STATUS, METRICS)] == [None, None, None]
    assert device.programs.mode == "15W"
    assert device.apply(generation=1, mode="25W")["mode"] == "25W"  # an earlier generation counts no more
