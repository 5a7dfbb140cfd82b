"""The rollout's client of devices on real SSH servers: files, commands, and what pending looks like."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from include.clients.devices import Device, DeviceError, HostKeyError, OfflineError
from jetson_tasks import bundle
from jetson_tasks.paths import AGENT
from lab.machine.processes import reserved_ports
from tests.unit.lab.devices.ssh_world import NAMES, Devices


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devices]:
    with reserved_ports(2) as ports, Devices(tmp_path_factory.mktemp("devices"), ports) as found:
        yield found


@pytest.fixture(autouse=True)
def _healed(devices: Devices) -> Iterator[None]:
    yield
    (devices.folder / "device_faults.json").unlink(missing_ok=True)
    for name in NAMES:
        devices.await_open(name)


def device(devices: Devices, name: str = "jetson01", shows: str | None = None) -> Device:
    return Device(name, lambda: devices.connected(name, shows))


def state(**changes: Any) -> str:
    base = {"format": 1, "device": "jetson01", "generation": 1, "issued_at": time.time(), "expires_at": None}
    return json.dumps({**base, "safe_mode": "MAXN_SUPER", "mode": "25W", **changes})


def test_the_agent_is_put_read_and_removed(devices: Devices) -> None:
    one = device(devices)
    assert one.read(AGENT) is None
    one.put(AGENT, bundle.agent_bytes())
    assert one.read(AGENT) == bundle.agent_bytes()
    ran = one.run("python3", AGENT, "apply", stdin=state())
    assert (ran.status, json.loads(ran.out)["mode"], ran.err) == (0, "25W", "")
    one.remove(AGENT)
    assert one.read(AGENT) is None
    assert one.run("python3", AGENT, "status").status == 2


def test_a_full_disk_is_the_device_s_error_and_leaves_the_old_file(devices: Devices) -> None:
    one = device(devices)
    one.put(AGENT, b"old")
    devices.break_it(jetson01={"disk_full": True})
    with pytest.raises(DeviceError, match=r"^jetson01: a file can't be written or read: ") as error:
        one.put(AGENT, b"new")
    assert not isinstance(error.value, OfflineError)
    assert one.read(AGENT) == b"old"


def test_an_offline_device_is_pending_and_answers_again_later(devices: Devices) -> None:
    one = device(devices)
    assert one.run("hostname").out == "jetson01\n"
    devices.break_it(jetson01={"offline": True})
    devices.await_open("jetson01", is_open=False)
    with pytest.raises(OfflineError, match=r"^jetson01 .*pending until it is back$"):
        one.run("hostname")
    (devices.folder / "device_faults.json").unlink()
    devices.await_open("jetson01")
    assert one.run("hostname").out == "jetson01\n"


def test_a_device_that_dies_in_a_switch_is_pending(devices: Devices) -> None:
    one = device(devices)
    one.put(AGENT, bundle.agent_bytes())
    held = json.loads(one.run("python3", AGENT, "status").out)["generation"] or 0
    devices.break_it(jetson01={"dies_in_switch": True})
    with pytest.raises(OfflineError):
        one.run("python3", AGENT, "apply", stdin=state(generation=held + 1, mode="15W"))


def test_another_host_key_is_refused_before_anything_is_sent(devices: Devices) -> None:
    with pytest.raises(HostKeyError, match=r"^jetson01 shows another host key than its connection has: "):
        device(devices, shows="jetson02").run("hostname")


def test_the_service_is_started_enabled_and_stopped_with_sudo(devices: Devices) -> None:
    one = device(devices, "jetson02")
    one.put(AGENT, bundle.agent_bytes())
    unit = "akidb-power.service"
    assert one.run("systemctl", "is-active", unit).out == "inactive\n"
    assert one.run("sudo", "-n", "systemctl", "enable", unit).status == 0
    assert one.run("sudo", "-n", "systemctl", "restart", unit).status == 0
    assert (one.run("systemctl", "is-active", unit).out, one.run("systemctl", "is-enabled", unit).out) == (
        "active\n",
        "enabled\n",
    )
    assert one.run("sudo", "-n", "systemctl", "stop", unit).status == 0
    assert one.run("systemctl", "is-active", unit).out == "inactive\n"
    assert one.run("sudo", "-n", "systemctl", "restart", "sshd.service").err == "sudo: a password is required\n"
