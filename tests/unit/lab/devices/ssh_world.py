"""Two lab devices that listen, in a thread of their own, and a client as Airflow's SSH provider makes one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paramiko

from lab.devices import keys
from lab.devices.__main__ import Loads, serve, servers
from lab.devices.ssh import DeviceServer

NAMES = ("jetson01", "jetson02")


class Devices:
    """Two devices that listen, in a thread of their own."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.folder = folder
        public = keys.make(folder / "run/devices/keys", NAMES)
        self.state: dict[str, Any] = {
            name: {"port": port, "host_key": public[name]} for name, port in zip(NAMES, ports, strict=True)
        }
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self.servers: list[DeviceServer] = servers({"devices": self.state}, folder, Loads("http://127.0.0.1:1"))
        for server in self.servers:
            server.device.boot_seconds = 0.5
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(serve(self.servers, self._stop),))

    def __enter__(self) -> Devices:
        self._thread.start()
        for name in NAMES:
            self.await_open(name)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._loop.close()

    def await_open(self, name: str, is_open: bool = True) -> None:
        end = time.monotonic() + 30
        while self.answers(name) is not is_open:
            assert time.monotonic() < end
            time.sleep(0.05)

    def answers(self, name: str) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.state[name]["port"])) == 0

    def break_it(self, **faults: Any) -> None:
        (self.folder / "device_faults.json").write_text(json.dumps(faults), encoding="utf-8")

    def host_key(self, name: str) -> paramiko.PKey:
        return paramiko.Ed25519Key(data=base64.b64decode(self.state[name]["host_key"].split()[1]))

    def connected(self, name: str, shows: str | None = None, user: str = "akidb", **more: Any) -> paramiko.SSHClient:
        """A connection that wants the host key of ``shows``."""
        client = paramiko.SSHClient()
        port = self.state[name]["port"]
        client.get_host_keys().add(f"[127.0.0.1]:{port}", "ssh-ed25519", self.host_key(shows or name))
        login = {"key_filename": str(self.folder / "run/devices/keys/client"), "allow_agent": False, **more}
        try:
            client.connect("127.0.0.1", port, user, timeout=30, look_for_keys=False, **login)
        except Exception:
            client.close()
            raise
        return client

    @contextmanager
    def client(self, name: str, **more: Any) -> Iterator[paramiko.SSHClient]:
        """The same, until the block ends."""
        with contextlib.closing(self.connected(name, **more)) as client:
            yield client

    def run(self, client: paramiko.SSHClient, command: str, text: str = "") -> tuple[int, str, str]:
        stdin, stdout, stderr = client.exec_command(command, timeout=60)
        stdin.write(text)
        stdin.channel.shutdown_write()
        output, errors = stdout.read().decode(), stderr.read().decode()
        return stdout.channel.recv_exit_status(), output, errors
