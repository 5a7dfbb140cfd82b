"""A disk that takes nothing: no file is half-written, the status is said, and the exit code isn't 0."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from jetson_tasks import paths
from jetson_tasks.agent import exit_code
from jetson_tasks.paths import DESIRED, METRICS, STATUS, NotWritten
from tests.unit.jetson_tasks.device_world import Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fills the disk: half of a text is written, and then there is no space."""

    def write(path: Path, text: str) -> None:
        path.write_text(text[: len(text) // 2], encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")

    return lambda: monkeypatch.setattr(paths, "_write_through", write)


def files(device: Device) -> dict[str, str]:
    folder = device.files.path(paths.HOME)
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_state_that_can_not_be_kept_is_not_applied(device: Device, fill: Any) -> None:
    device.apply()
    before = files(device)
    device.programs.calls.clear()
    fill()
    status = device.apply(generation=2, mode="25W")
    assert status["error"] == {
        "code": "disk_full",
        "message": f"{DESIRED} can't be written: No space left on device",
    }
    assert (exit_code(status), status["persisted"], status["mode"]) == (5, False, "15W")
    assert files(device) == before
    assert device.programs.calls == ["nvpmodel -q"]


def test_the_loop_goes_on_with_its_status_in_memory(device: Device, fill: Any) -> None:
    device.apply(mode=None, policy={**POLICY_15W, "dwell_seconds": 0})
    before = files(device)
    fill()
    agent, device.load = device.agent, "200"
    status = agent.step()
    assert (status["mode"], status["persisted"], status["error"]["code"]) == ("25W", False, "disk_full")
    assert exit_code(status) == 5
    assert agent.step()["switches"] == 2  # remembered, though it stands in no file
    assert files(device) == before


def test_no_reboot_is_asked_for_that_can_not_be_written_down(device: Device, fill: Any) -> None:
    device.apply(mode="7W")
    agent = device.agent
    device.write(DESIRED, json.dumps({**json.loads(device.files.read(DESIRED) or ""), "reboot": True}))
    fill()
    agent.step()
    assert not [call for call in device.programs.calls if call.endswith("--force")]


def test_a_file_is_replaced_whole_or_not_at_all(device: Device, fill: Any) -> None:
    device.files.replace(STATUS, "old")
    fill()
    with pytest.raises(NotWritten, match=f"^{STATUS} can't be written: No space left on device$"):
        device.files.replace(STATUS, "new")
    assert device.files.read(STATUS) == "old"
    assert [path.name for path in device.files.path(paths.HOME).iterdir()] == ["status.json"]


def test_metrics_that_can_not_be_written_are_an_error_too(device: Device) -> None:
    device.files.path(METRICS).mkdir(parents=True)  # a folder stands where the file should be
    status = device.apply()
    assert (status["persisted"], exit_code(status)) == (False, 5)


POLICY_15W = {
    "table": [{"mode": "15W", "watts": 12, "capacity_qps": 200}, {"mode": "25W", "watts": 17, "capacity_qps": 300}],
    "utilisation": 0.8,
    "hysteresis": 0.1,
    "dwell_seconds": 300,
    "lost_after_seconds": 180,
    "load": {"prometheus": "http://prometheus:9090", "query": "load"},
}
