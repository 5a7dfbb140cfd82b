"""Real SSH to a lab device, by the client that Airflow's SSH provider uses: keys, host keys, commands, files, power."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import paramiko
import pytest
from airflow.providers.ssh.hooks.ssh import SSHHook

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


def install(devices: Devices, client: paramiko.SSHClient) -> None:
    with client.open_sftp() as sftp:
        sftp.putfo(io.BytesIO(bundle.agent_bytes()), f"{AGENT}.new")
        sftp.posix_rename(f"{AGENT}.new", AGENT)


def document(**changes: Any) -> str:
    base = {"format": 1, "device": "jetson01", "generation": 1, "issued_at": time.time(), "expires_at": None}
    return json.dumps({**base, "safe_mode": "MAXN_SUPER", "mode": "15W", **changes})


def test_the_agent_is_installed_over_sftp_and_applies_over_ssh(devices: Devices) -> None:
    with devices.client("jetson01") as client:
        install(devices, client)
        code, output, errors = devices.run(client, f"python3 {AGENT} apply", document())
        assert (code, errors) == (0, "")
        status = json.loads(output)
        assert (status["mode"], status["agent"]) == ("15W", bundle.version())
        assert devices.run(client, "sudo -n nvpmodel -q") == (0, "NV Power Mode: 15W\n0\n", "")


def test_each_device_has_files_of_its_own(devices: Devices) -> None:
    with devices.client("jetson02") as client:
        assert devices.run(client, "cat /etc/hostname") == (0, "jetson02\n", "")
        with client.open_sftp() as sftp, sftp.open("/etc/hostname") as file:
            assert file.read() == b"jetson02\n"
        with client.open_sftp() as sftp, pytest.raises(FileNotFoundError):
            sftp.stat("/etc/passwd")  # of the machine that the lab runs on
        with client.open_sftp() as sftp, pytest.raises(FileNotFoundError):
            sftp.stat("/../../keys/client")


def test_a_host_key_that_is_not_the_device_s_ends_the_connection(devices: Devices) -> None:
    with pytest.raises(paramiko.BadHostKeyException), devices.client("jetson01", shows="jetson02"):
        pass


@pytest.mark.parametrize(
    "more",
    [
        {"user": "root"},
        {"key_filename": None, "password": "akidb"},
        {"key_filename": None, "pkey": paramiko.ECDSAKey.generate()},
    ],
    ids=["another user", "a password", "another key"],
)
def test_nobody_else_comes_in(devices: Devices, more: dict[str, Any]) -> None:
    with pytest.raises(paramiko.SSHException), devices.client("jetson01", **more):
        pass


def test_what_the_device_does_not_have_is_not_found(devices: Devices) -> None:
    with devices.client("jetson01") as client:
        assert devices.run(client, "rm -rf /") == (127, "", "sh: rm: command not found\n")
        code, _, errors = devices.run(client, "cat /etc/hostname; cat /etc/passwd")
        assert (code, errors) == (127, "sh: the shell of a lab device runs one simple command\n")


def test_a_device_that_is_offline_refuses_connections_and_comes_back(devices: Devices) -> None:
    with devices.client("jetson01") as client:
        devices.break_it(jetson01={"offline": True})
        devices.await_open("jetson01", is_open=False)
        with pytest.raises((paramiko.SSHException, EOFError, OSError)):
            devices.run(client, "cat /etc/hostname")
    assert devices.answers("jetson02")


def test_a_device_that_dies_in_a_switch_gives_no_answer_and_the_state_stands(devices: Devices) -> None:
    with devices.client("jetson01") as client:
        install(devices, client)
        held = devices.run(client, f"python3 {AGENT} status")[1]
        generation = (json.loads(held)["generation"] or 0) + 1
        devices.break_it(jetson01={"dies_in_switch": True})
        text = document(generation=generation, mode="25W")
        try:
            code = devices.run(client, f"python3 {AGENT} apply", text)[0]
        except (paramiko.SSHException, EOFError, OSError):
            code = -1
        assert code == -1  # no exit status
    (devices.folder / "device_faults.json").unlink()
    devices.await_open("jetson01")
    time.sleep(1)
    with devices.client("jetson01") as client:
        code, output, _ = devices.run(client, f"python3 {AGENT} apply", text)  # the same again: idempotent
        assert (code, json.loads(output)["mode"]) == (0, "25W")


def test_a_full_disk_takes_neither_a_file_nor_a_state(devices: Devices) -> None:
    with devices.client("jetson02") as client:
        install(devices, client)
        devices.break_it(jetson02={"disk_full": True})
        with client.open_sftp() as sftp, pytest.raises(OSError, match=r"^size mismatch in put!  0 != 1$"):
            sftp.putfo(io.BytesIO(b"x"), f"{AGENT}.new")
        code, output, _ = devices.run(client, f"python3 {AGENT} apply", document(device="jetson02"))
        assert (code, json.loads(output)["error"]["code"], json.loads(output)["mode"]) == (5, "disk_full", "MAXN_SUPER")


def test_an_unknown_board_and_a_wrong_clock_are_named(devices: Devices) -> None:
    with devices.client("jetson02") as client:
        install(devices, client)
        devices.break_it(jetson02={"board": "Acme Board 9"})
        time.sleep(0.5)
        code, output, _ = devices.run(client, f"python3 {AGENT} status")
        assert (code, json.loads(output)["model"]) == (6, "Acme Board 9")
        devices.break_it(jetson02={"clock_skew_seconds": 90000})
        time.sleep(0.5)
        late = document(device="jetson02", expires_at=time.time() + 3600)
        code, output, _ = devices.run(client, f"python3 {AGENT} apply", late)
        assert (code, json.loads(output)["error"]["code"]) == (8, "clock_expired")


def hook(monkeypatch: pytest.MonkeyPatch, devices: Devices, shows: str) -> SSHHook:
    """The provider's hook on the connection that airflow_settings.yaml makes of state.json."""
    extra = {"key_file": str(devices.folder / "run/devices/keys/client"), "no_host_key_check": "false"}
    extra |= {"host_key": devices.state[shows]["host_key"], "look_for_keys": "false"}
    where = {"conn_type": "ssh", "host": "127.0.0.1", "login": "akidb", "port": devices.state["jetson01"]["port"]}
    monkeypatch.setenv("AIRFLOW_CONN_SSH_JETSON01", json.dumps({**where, "extra": extra}))
    return SSHHook(ssh_conn_id="ssh_jetson01", cmd_timeout=30)


def test_airflow_s_hook_reaches_a_device_whose_host_key_the_connection_names(
    monkeypatch: pytest.MonkeyPatch, devices: Devices
) -> None:
    with hook(monkeypatch, devices, shows="jetson01").get_conn() as client:
        assert devices.run(client, "hostname") == (0, "jetson01\n", "")


def test_airflow_s_hook_refuses_a_device_with_another_host_key(
    monkeypatch: pytest.MonkeyPatch, devices: Devices
) -> None:
    with pytest.raises(paramiko.BadHostKeyException):
        hook(monkeypatch, devices, shows="jetson02").get_conn()
