"""The programs of a lab device: sudo's limits, nvpmodel's answers, and the bench."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jetson_tasks import bundle
from jetson_tasks.paths import AGENT, UNIT, Files
from jetson_tasks.sensors import board_watts
from lab.devices.device import LabDevice
from lab.devices.faults import DeviceFaults
from lab.devices.layout import BENCH_SHOWN, DOWN, mode_of
from lab.devices.programs import words_of

Answer = tuple[int, str, str]


@pytest.fixture
def device(tmp_path: Path) -> LabDevice:
    found = LabDevice("jetson01", tmp_path / "jetson01", DeviceFaults(tmp_path / "device_faults.json", {"jetson01": 1}))
    (found.folder / AGENT.lstrip("/")).write_bytes(bundle.agent_bytes())
    return found


def run(device: LabDevice, *words: str, text: str = "") -> Answer:
    command = [str(device.folder / "bin" / words[0]), *words[1:]]
    done = subprocess.run(
        command, env=device.environment, input=text, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def break_it(device: LabDevice, **fault: Any) -> None:
    device.faults.path.write_text(json.dumps({"jetson01": fault}), encoding="utf-8")


def test_sudo_lets_the_three_programs_through_as_the_sudoers_file_has_them(device: LabDevice) -> None:
    assert run(device, "sudo", "-n", "nvpmodel", "-q") == (0, "NV Power Mode: MAXN_SUPER\n2\n", "")
    assert run(device, "sudo", "-n", "nvpmodel", "-m", "0") == (0, "", "")
    assert run(device, "sudo", "-n", "jetson_clocks") == (0, "", "")
    assert run(device, "sudo", "-n", "jetson_clocks", "--restore") == (0, "", "")
    assert run(device, "sudo", "-n", "systemctl", "enable", "akidb-power.service") == (0, "", "")
    assert mode_of(device.folder) == "15W"


@pytest.mark.parametrize(
    "words",
    [
        ("nvpmodel", "-q"),  # without -n
        ("-n", "cat", "/etc/shadow"),
        ("-n", "sh"),
        ("-n",),
        ("-n", "nvpmodel", "-m", "0", "--clock"),
        ("-n", "nvpmodel", "-f", "/tmp/mine.conf"),
        ("-n", "jetson_clocks", "--fan"),
        ("-n", "systemctl", "restart", "sshd.service"),
        ("-n", "systemctl", "link", "/tmp/mine.service"),
        ("-n", "systemctl", "reboot"),
    ],
)
def test_sudo_refuses_all_else(device: LabDevice, words: tuple[str, ...]) -> None:
    assert run(device, "sudo", *words) == (1, "", "sudo: a password is required\n")


def test_without_sudo_the_mode_can_not_be_touched(device: LabDevice) -> None:
    assert run(device, "nvpmodel", "-m", "0") == (1, "", "Permission denied: run it as root\n")
    assert run(device, "systemctl", "start", "akidb-power.service")[0] == 4


def test_a_mode_with_fewer_cores_asks_for_a_reboot_and_takes_it_with_force(device: LabDevice) -> None:
    code, output, _ = run(device, "sudo", "-n", "nvpmodel", "-m", "3")
    assert (code, output.splitlines()[0]) == (0, "NVPM WARN: Reboot required for changing to this power mode: 3")
    assert (mode_of(device.folder), (device.folder / DOWN).exists()) == ("MAXN_SUPER", False)
    assert run(device, "sudo", "-n", "nvpmodel", "-m", "3", "--force")[0] == 0
    assert (mode_of(device.folder), (device.folder / DOWN).exists()) == ("7W", True)


def test_a_mode_that_is_not_defined_is_refused(device: LabDevice) -> None:
    assert run(device, "sudo", "-n", "nvpmodel", "-m", "9") == (255, "", "NVPM ERROR: power model 9 is not defined\n")


def test_a_device_can_take_another_mode_than_it_is_asked_for(device: LabDevice) -> None:
    break_it(device, answers="25W")
    run(device, "sudo", "-n", "nvpmodel", "-m", "0")
    assert mode_of(device.folder) == "25W"


def test_jetson_clocks_pins_every_core(device: LabDevice) -> None:
    folder = device.folder / "sys/devices/system/cpu/cpu5/cpufreq"
    run(device, "sudo", "-n", "jetson_clocks")
    assert int((folder / "scaling_min_freq").read_text()) == int((folder / "scaling_max_freq").read_text())
    run(device, "sudo", "-n", "jetson_clocks", "--restore")
    assert (folder / "scaling_min_freq").read_text() == "729600\n"


def test_a_unit_that_nobody_installed_can_not_be_started(device: LabDevice) -> None:
    (device.folder / UNIT.lstrip("/")).unlink()
    code, _, errors = run(device, "sudo", "-n", "systemctl", "start", "akidb-power.service")
    assert (code, errors) == (5, "Failed to start akidb-power.service: Unit akidb-power.service not found.\n")
    assert run(device, "systemctl", "is-enabled", "akidb-power.service") == (4, "not-found\n", "")


@pytest.mark.parametrize(("load", "served", "watts"), [("0", "0.0", 6.2), ("1", "330.0", 22.4)])
def test_the_bench_says_when_its_load_stands_and_ends_with_what_it_served(
    device: LabDevice, load: str, served: str, watts: float
) -> None:
    command = [str(device.folder / "bin/akidb-bench"), "--load", load, "--seconds", "0.5"]
    with subprocess.Popen(command, env=device.environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not (device.folder / BENCH_SHOWN).exists():
            device.step()
        assert process.stdout.readline() == f"load {load} for 0.5 s\n"
        shown = board_watts(Files(str(device.folder)))
        assert process.stdout.read() == f"{served}\n"
    device.step()
    assert shown == pytest.approx(watts, abs=0.01)
    assert device.watts() == pytest.approx(6.2)  # nobody asks anything of it any more


def test_the_device_s_clock_can_be_wrong(device: LabDevice) -> None:
    right = json.loads(run(device, "python3", AGENT, "status")[1])["at"]
    break_it(device, clock_skew_seconds=90000)
    assert json.loads(run(device, "python3", AGENT, "status")[1])["at"] == pytest.approx(right + 90000, abs=30)


def test_programs_see_the_device_s_files_by_the_device_s_names(device: LabDevice) -> None:
    assert run(device, "cat", "/etc/hostname") == (0, "jetson01\n", "")
    assert run(device, "hostname") == (0, "jetson01\n", "")
    assert run(device, "cat", "/etc/passwd") == (1, "", "cat: /etc/passwd: No such file or directory\n")
    assert run(device, "python3", "/var/none.pyz")[0] == 2


def test_a_command_is_split_as_a_shell_does() -> None:
    assert words_of("python3 /var/lib/a.pyz measure --modes '15W,25W'") == [
        "python3", "/var/lib/a.pyz", "measure", "--modes", "15W,25W",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["cat /etc/hostname; rm x", "cat a | sh", "cat a > b", "cat a && sh", "(cat a)"])
def test_more_than_one_simple_command_is_refused(command: str) -> None:
    with pytest.raises(ValueError, match=r"^the shell of a lab device runs one simple command$"):
        words_of(command)
