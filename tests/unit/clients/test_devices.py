"""Devices over real SSH (the lab's servers): commands, files, host keys, a device that goes away, a full disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import paramiko
import pytest

from include.clients.devices import Device, DeviceError, Devices, HostKeyError, OfflineError
from include.levers.devices import OFFLINE, state_of, status_of
from jetson_tasks import bundle, paths
from lab.machine.processes import reserved_ports
from tests.unit.lab.devices.test_ssh import Devices as LabDevices


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabDevices]:
    with reserved_ports(2) as ports, LabDevices(tmp_path_factory.mktemp("devices"), ports) as found:
        yield found


@pytest.fixture(autouse=True)
def _healed(lab: LabDevices) -> Iterator[None]:
    yield
    (lab.folder / "device_faults.json").unlink(missing_ok=True)
    lab.await_open("jetson01")


def client(lab: LabDevices, shows: str | None = "jetson01", name: str = "jetson01", **more: Any) -> Any:
    """A client connected to ``name`` that wants the host key of ``shows``; None: it knows no key."""
    found, port = paramiko.SSHClient(), lab.state[name]["port"]
    if shows:
        found.get_host_keys().add(f"[127.0.0.1]:{port}", "ssh-ed25519", lab.host_key(shows))
    key = {"key_filename": str(lab.folder / "run/devices/keys/client"), "username": "akidb"} | more
    found.connect("127.0.0.1", port, timeout=10, look_for_keys=False, allow_agent=False, **key)
    return found


@pytest.fixture
def device(lab: LabDevices) -> Iterator[Device]:
    found = Device("jetson01", lambda: client(lab))
    yield found
    found.close()


def test_a_command_has_its_arguments_quoted_its_input_and_its_status(device: Device) -> None:
    assert device.run("cat", paths.HOSTNAME).out == "jetson01\n"
    ran = device.run("cat", "/no such file; reboot")
    assert ran.status == 1
    assert "/no such file; reboot" in ran.err
    assert device.run("systemctl", "is-active", paths.UNIT_NAME).out.strip() == "inactive"


def test_a_file_is_replaced_whole_read_and_removed(device: Device) -> None:
    assert device.read(paths.AGENT) is None
    device.put(paths.AGENT, bundle.agent_bytes())
    assert device.read(paths.AGENT) == bundle.agent_bytes()
    device.put(paths.AGENT, b"other")
    assert (device.read(paths.AGENT), device.read(f"{paths.AGENT}.new")) == (b"other", None)
    device.remove(paths.AGENT)
    device.remove(paths.AGENT)
    assert device.read(paths.AGENT) is None


def test_the_state_and_the_status_are_those_of_the_agent_on_it(device: Device) -> None:
    assert state_of(device) == {
        "mode": "MAXN_SUPER", "agent": None, "content": None, "desired": None, "active": False, "enabled": False,
    }  # fmt: skip
    device.put(paths.AGENT, bundle.agent_bytes())
    status = status_of(device)
    assert status is not None
    assert (status["device"], status["mode"], status["agent"]) == ("jetson01", "MAXN_SUPER", bundle.version())
    device.remove(paths.AGENT)


def test_another_host_key_or_none_is_refused_with_the_remedy(lab: LabDevices) -> None:
    with pytest.raises(HostKeyError, match=r"^jetson01 shows another host key than its connection has: compare it on"):
        Device("jetson01", lambda: client(lab, "jetson02")).run("hostname")
    with pytest.raises(HostKeyError, match=r"^the connection of jetson01 has no host key: compare it on the device"):
        Device("jetson01", lambda: client(lab, None)).run("hostname")


def test_another_user_is_refused(lab: LabDevices) -> None:
    with pytest.raises(DeviceError, match=r"^jetson01 refuses the login of its connection: correct user and key$"):
        Device("jetson01", lambda: client(lab, username="root")).run("hostname")


def test_a_device_that_goes_away_is_offline_and_reached_again_once_it_is_back(lab: LabDevices, device: Device) -> None:
    assert device.run("hostname").status == 0
    lab.break_it(jetson01={"offline": True})
    lab.await_open("jetson01", is_open=False)
    with pytest.raises(OfflineError, match=r"^jetson01 can't be reached .*: pending until it is back$"):
        device.run("hostname")
    assert state_of(device) == OFFLINE
    lab.break_it()
    lab.await_open("jetson01")
    assert device.run("hostname").out == "jetson01\n"


def test_a_full_disk_is_no_offline_device_and_keeps_the_old_file(lab: LabDevices, device: Device) -> None:
    device.put(paths.AGENT, b"old")
    lab.break_it(jetson01={"disk_full": True})
    with pytest.raises(DeviceError, match="a file can't be written or read: No space left on device"):
        device.put(paths.AGENT, b"new")
    lab.break_it()
    assert device.read(paths.AGENT) == b"old"
    device.remove(paths.AGENT)


def test_devices_are_connected_when_they_are_asked(lab: LabDevices) -> None:
    made: list[str] = []

    def connect() -> Any:
        made.append("jetson01")
        return client(lab)

    devices = Devices({"jetson01": connect, "jetson02": lambda: json.loads("no")})
    assert (list(devices), len(devices), made) == (["jetson01", "jetson02"], 2, [])
    assert devices["jetson01"].run("hostname").out == "jetson01\n"
    devices["jetson01"].run("hostname")
    assert made == ["jetson01"]
    devices["jetson01"].close()
