"""The agent on a lab device as the rollout's client asks it: its service under sudo, and what it measures."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from include.clients.devices import Device
from jetson_tasks import bundle
from jetson_tasks.paths import AGENT
from lab.machine.processes import reserved_ports
from lab.service.devices import MODES
from tests.unit.lab.devices.ssh_world import Devices


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devices]:
    with reserved_ports(2) as ports, Devices(tmp_path_factory.mktemp("devices"), ports) as found:
        yield found


MEASURE = ("measure", "--seconds", "3", "--settle", "0", "--bench", "akidb-bench", "--modes", "15W,25W,7W")


def device(devices: Devices, name: str = "jetson01") -> Device:
    return Device(name, lambda: devices.connected(name))


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


def test_measure_finds_what_each_mode_draws_and_serves(devices: Devices) -> None:
    one = device(devices)
    one.put(AGENT, bundle.agent_bytes())
    ran = one.run("python3", AGENT, *MEASURE, seconds=280)
    found = json.loads(ran.out)
    assert (ran.status, found["error"], [row["mode"] for row in found["skipped"]]) == (0, None, ["7W"])
    assert [row["mode"] for row in found["modes"]] == ["15W", "25W"]
    for row in found["modes"]:
        truth = MODES[row["mode"]]
        assert row["capacity_qps"] == truth.capacity_qps
        assert row["watts_idle"] == pytest.approx(truth.idle_watts, abs=0.01)
        assert row["watts_full"] == pytest.approx(truth.full_watts, abs=0.01)
    assert json.loads(one.run("python3", AGENT, "status").out)["mode"] == found["from_mode"]
