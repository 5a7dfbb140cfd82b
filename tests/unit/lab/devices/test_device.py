"""A device's life: power by mode and load, faults, boots, and its service."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jetson_tasks import bundle
from jetson_tasks.agent import BOOT_ID
from jetson_tasks.board import Board
from jetson_tasks.paths import AGENT, MODEL, Files
from jetson_tasks.sensors import board_watts, rails
from lab.devices.device import LabDevice
from lab.devices.exporter import page
from lab.devices.faults import DeviceFault, DeviceFaultError, DeviceFaults, parse
from lab.devices.layout import BOOTED, DOWN, UNIT_FOUND
from lab.service.devices import MODES

LOAD = 110.0


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LabDevice]:
    faults = DeviceFaults(tmp_path / "device_faults.json", {"jetson01": 1})
    found = LabDevice("jetson01", tmp_path / "jetson01", faults, lambda: LOAD, boot_seconds=0.0)
    (found.folder / AGENT.lstrip("/")).write_bytes(bundle.agent_bytes())
    yield found
    found.power_off()


def break_it(device: LabDevice, **fault: Any) -> None:
    device.faults.path.write_text(json.dumps({"jetson01": fault}), encoding="utf-8")


def set_mode(device: LabDevice, number: int) -> None:
    (device.folder / "var/lib/nvpmodel/status").write_text(f"pmode:{number:04d}\n", encoding="ascii")


def unit(device: LabDevice, verb: str) -> None:
    """systemctl, while the device goes on."""
    command = [str(device.folder / "bin/sudo"), "-n", "systemctl", verb, "akidb-power.service"]
    with subprocess.Popen(command, env=device.environment) as process:
        until(device, lambda: process.poll() is not None)
        assert process.returncode == 0


def until(device: LabDevice, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        device.step()
        time.sleep(0.05)


def state(device: LabDevice) -> str:
    found: str = json.loads((device.folder / UNIT_FOUND).read_text())["state"]
    return found


@pytest.mark.parametrize(("number", "mode"), [(0, "15W"), (1, "25W"), (2, "MAXN_SUPER"), (3, "7W")])
def test_the_sensor_shows_what_the_mode_draws_at_this_load(device: LabDevice, number: int, mode: str) -> None:
    set_mode(device, number)
    device.step()
    files = Files(str(device.folder))
    assert board_watts(files) == pytest.approx(MODES[mode].watts(LOAD), abs=0.01)
    assert list(rails(files)) == ["VDD_IN", "VDD_CPU_GPU_CV"]  # not the channel that is not connected, nor the sum
    assert device.metrics() == f'jetson_power_watts{{device="jetson01"}} {MODES[mode].watts(LOAD):.3f}\n'


def test_the_board_is_one_that_the_agent_knows_until_a_fault_says_otherwise(device: LabDevice) -> None:
    board = Board(Files(str(device.folder)))
    assert board.kind() == "orin-nano-super"
    break_it(device, board="Acme Board 9")
    device.step()
    assert board.model() == "Acme Board 9"
    device.faults.path.unlink()
    device.step()
    assert (device.folder / MODEL.lstrip("/")).read_text().endswith("Super\0")


def test_a_device_that_is_offline_has_no_series_and_boots_when_it_is_back(device: LabDevice) -> None:
    before = (device.folder / BOOT_ID.lstrip("/")).read_text()
    break_it(device, offline=True)
    device.step()
    device.step()
    assert (device.is_on, device.metrics()) == (False, "")
    device.faults.path.unlink()
    device.step()
    assert device.is_on
    assert (device.folder / BOOT_ID.lstrip("/")).read_text() != before


def test_nvpmodel_fails_just_after_a_boot(device: LabDevice) -> None:
    device.power_off()
    device.step()
    command = [str(device.folder / "bin/sudo"), "-n", "nvpmodel", "-q"]
    assert subprocess.run(command, env=device.environment, capture_output=True, check=False).returncode == 255
    (device.folder / BOOTED).write_text(json.dumps({"at": time.time() - 2}))
    assert subprocess.run(command, env=device.environment, capture_output=True, check=False).returncode == 0


def test_a_switch_can_kill_the_device_in_its_middle(device: LabDevice) -> None:
    break_it(device, dies_in_switch=True)
    command = [str(device.folder / "bin/sudo"), "-n", "nvpmodel", "-m", "0"]
    with subprocess.Popen(command, env=device.environment, start_new_session=True) as process:
        device.sessions.add(process.pid)
        until(device, lambda: not device.is_on)
        assert process.wait(30) == -9
    device.step()
    assert (device.is_on, (device.folder / DOWN).exists()) == (True, False)


def test_the_service_runs_the_agent_and_ends_with_stop(device: LabDevice) -> None:
    unit(device, "start")
    assert state(device) == "active"
    until(device, lambda: "jetson_power_updated_seconds" in device.metrics())
    first = device.service.process
    unit(device, "restart")
    assert device.service.process is not first
    unit(device, "stop")
    assert (state(device), device.service.is_running) == ("inactive", False)


def test_a_service_that_died_is_started_again(device: LabDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.devices.device.RESTART_SECONDS", 0.2)
    unit(device, "start")
    first = device.service.process
    assert first is not None
    first.kill()
    first.wait(30)
    until(device, lambda: device.service.is_running)
    assert device.service.process is not first


@pytest.mark.parametrize(("verb", "runs"), [("enable", True), ("disable", False)])
def test_after_a_boot_the_service_runs_when_it_is_enabled(device: LabDevice, verb: str, runs: bool) -> None:
    unit(device, "start")
    unit(device, verb)
    device.power_off()
    device.step()
    assert device.service.is_running is runs


def test_the_disk_of_a_running_service_fills_up_and_is_emptied(device: LabDevice) -> None:
    unit(device, "start")
    log = device.folder / "lab/service.log"
    until(device, lambda: "jetson_power_updated_seconds" in device.metrics())
    break_it(device, disk_full=True)
    unit(device, "restart")
    until(device, lambda: log.exists() and device.service.is_running)
    limit = f"/proc/{device.service.process.pid}/limits"  # type: ignore[union-attr]
    assert "Max file size             0 " in Path(limit).read_text()
    device.faults.path.unlink()
    device.step()
    assert "Max file size             unlimited" in Path(limit).read_text()


def test_faults_are_read_by_device() -> None:
    found = parse('{"jetson01": {"answers": "25W"}}', {"jetson01": 1})
    assert found == {"jetson01": DeviceFault(answers="25W")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"jetson09": {}}', "device_faults.json: device 'jetson09' is not there; use one of jetson01"),
        (
            '{"jetson01": {"on_fire": true}}',
            "with fields of offline, dies_in_switch, answers, disk_full, board, clock_skew",
        ),
        ("{", 'write {"jetson03": {"offline": true}}'),
    ],
)
def test_a_wrong_faults_file_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(DeviceFaultError) as refused:
        parse(text, {"jetson01": 1})
    assert message in str(refused.value)


def test_one_page_names_each_metric_once() -> None:
    assert page(['a{d="1"} 1\nb_total{d="1"} 2\n', "", 'a{d="2"} 3\n']) == (
        '# TYPE a gauge\na{d="1"} 1\na{d="2"} 3\n# TYPE b_total counter\nb_total{d="1"} 2\n'
    )
