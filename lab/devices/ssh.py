"""The SSH server of one lab device: keys only, one simple command or SFTP, and gone while the device is off."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh.misc import MaybeAwait

from lab.devices.device import LabDevice, kill_group
from lab.devices.keys import CLIENT
from lab.devices.programs import words_of

HOST = "127.0.0.1"
USER = "akidb"
NOT_FOUND = 127


class DiskSftp(asyncssh.SFTPServer):
    """SFTP on the device's files alone; a full disk takes nothing."""

    def __init__(self, channel: Any, device: LabDevice) -> None:
        self._device = device
        super().__init__(channel, chroot=os.fsencode(device.folder))

    def write(self, file_obj: object, offset: int, data: bytes) -> MaybeAwait[int]:
        """Write, unless the disk is full."""
        if self._device.faults.of(self._device.name).disk_full:
            raise asyncssh.SFTPFailure("No space left on device")
        return super().write(file_obj, offset, data)


class OneUser(asyncssh.SSHServer):
    """Accepts USER alone, by key."""

    def __init__(self, server: DeviceServer) -> None:
        self._server = server
        self._connection: Any = None

    def connection_made(self, conn: Any) -> None:
        """Remember the connection, to drop it without power."""
        self._connection = conn
        self._server.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self._server.connections.discard(self._connection)

    async def begin_auth(self, username: str) -> bool:
        """Whoever is not USER gets a password prompt that nothing answers: no method is left."""
        keys = self._server.client_key if username == USER else os.devnull
        if self._connection is not None:
            self._connection.set_authorized_keys(str(keys))
        return True


class DeviceServer:
    """Listens while its device is on."""

    def __init__(self, device: LabDevice, port: int, keys: Path) -> None:
        self.device, self.port = device, port
        self.client_key = keys / f"{CLIENT}.pub"
        self.connections: set[Any] = set()
        self._host_key = keys / device.name
        self._listener: asyncssh.SSHAcceptor | None = None

    async def step(self) -> None:
        """Open or close the door, as the device is on or off."""
        await asyncio.to_thread(self.device.step)
        if self.device.is_on and self._listener is None:
            self._listener = await self._listen()
        elif not self.device.is_on and self._listener is not None:
            self._listener.close()
            self._listener = None
            for connection in list(self.connections):
                connection.abort()

    async def close(self) -> None:
        """End everything."""
        await asyncio.to_thread(self.device.power_off)
        if self._listener is not None:
            self._listener.close()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            lambda: OneUser(self),
            HOST,
            self.port,
            server_host_keys=[str(self._host_key)],
            process_factory=self._run,
            sftp_factory=lambda channel: DiskSftp(channel, self.device),
            allow_scp=False,
            encoding=None,
            agent_forwarding=False,
            x11_forwarding=False,
        )

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = self._command(process.command or "")
        if isinstance(command, str):
            process.stderr.write(f"{command}\n".encode())
            process.exit(NOT_FOUND)
            return
        child = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=self.device.environment, cwd=self.device.folder / "home/akidb", start_new_session=True,
        )  # fmt: skip
        self.device.sessions.add(child.pid)
        try:
            await self._pass_on(process, child)
        finally:
            self.device.sessions.discard(child.pid)
            kill_group(child.pid)

    async def _pass_on(self, process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        feeding = asyncio.create_task(_feed(process.stdin, child.stdin))
        try:
            output, errors = await asyncio.gather(child.stdout.read(), child.stderr.read())
            code = await child.wait()
        finally:
            feeding.cancel()
        if self.device.is_on:  # without power there is no answer
            process.stdout.write(output)
            process.stderr.write(errors)
            process.exit(code)

    def _command(self, text: str) -> list[str] | str:
        """The program and its arguments, or what the shell says instead."""
        try:
            words = words_of(text)
        except ValueError as error:
            return f"sh: {error}"
        if not words:
            return "sh: this device gives no terminal"
        path = self.device.folder / "bin" / Path(words[0]).name
        return [str(path), *words[1:]] if path.is_file() else f"sh: {words[0]}: command not found"


async def _feed(source: Any, target: asyncio.StreamWriter) -> None:
    """Pass standard input on until its end."""
    with contextlib.suppress(ConnectionError, asyncssh.Error):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()
