"""Devices over SSH: run one command, read a file, replace a file whole. Nothing here knows what runs on a device.

``connect`` gives a connected paramiko client: in a task that of Airflow's SSHHook, which checks host keys; in a test
that of a server of its own. A device that can't be reached is :class:`OfflineError`: what was asked of it is pending.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

COMMAND_SECONDS = 60.0  # longest silence of a command
SOCKET_CLOSED = "Socket is closed"  # paramiko's own words
UNKNOWN_STATUS = -1  # paramiko's, when the connection ended before the command did
REMEDY_KEY = "compare it on the device (ssh-keygen -lf), then set host_key in the connection's extra"
Connect = Callable[[], Any]


class DeviceError(RuntimeError):
    """A device did not do what it was asked; the message names it and the remedy."""


class OfflineError(DeviceError):
    """A device can't be reached now; what it was asked is pending."""


class HostKeyError(DeviceError):
    """A device shows another host key than the connection has, or the connection has none."""


@dataclass(frozen=True)
class Ran:
    """What a command left: exit status, standard output and standard error."""

    status: int
    out: str
    err: str


class Device:
    """One device, connected when it is first asked something."""

    def __init__(self, name: str, connect: Connect, seconds: float = COMMAND_SECONDS) -> None:
        self.name = name
        self._connect, self._seconds = connect, seconds
        self._client: Any = None

    def run(self, *command: str, stdin: str = "", seconds: float | None = None) -> Ran:
        """Run one command, its arguments quoted for the device's shell, and wait for its end.

        ``seconds`` is its longest silence. Raises OfflineError when the connection fails or ends before the command.
        """
        text, limit = shlex.join(command), seconds or self._seconds
        with self._reached():
            written, out, err = self._open().exec_command(text, timeout=limit)
            written.write(stdin)
            written.channel.shutdown_write()
            read = out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace")
            if not out.channel.status_event.wait(limit):
                raise TimeoutError(f"{text} has not ended after {limit:.0f} s")
            status = out.channel.recv_exit_status()
        if status == UNKNOWN_STATUS:
            self._drop()
            raise OfflineError(f"{self.name} went away while it ran {text}: pending until it is back")
        return Ran(status, *read)

    def read(self, path: str) -> bytes | None:
        """The content of a file; None when it doesn't exist."""
        with self._files() as files:
            try:
                with files.open(path, "rb") as file:
                    content: bytes = file.read()
                    return content
            except FileNotFoundError:
                return None

    def put(self, path: str, content: bytes) -> None:
        """Replace a file: whoever reads it sees the old content or the new one. Raises DeviceError on a full disk."""
        beside = f"{path}.new"
        with self._files() as files:
            with files.open(beside, "wb") as file:
                file.write(content)
            files.posix_rename(beside, path)

    def remove(self, path: str) -> None:
        """Delete a file; what is gone is deleted."""
        with self._files() as files, contextlib.suppress(FileNotFoundError):
            files.remove(path)

    def close(self) -> None:
        """End the connection; the next request makes another."""
        self._drop()

    @contextlib.contextmanager
    def _files(self) -> Iterator[Any]:
        with self._reached():
            files = self._open().open_sftp()
            files.get_channel().settimeout(self._seconds)
            try:
                yield files
            finally:
                files.close()

    def _open(self) -> Any:
        """The connection; a former one that has ended is made anew."""
        transport = self._client.get_transport() if self._client else None
        if transport is None or not transport.is_active():
            self._drop()
            self._client = self._connect()
        return self._client

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """What keeps a device from being reached, as this module's errors."""
        from paramiko.ssh_exception import AuthenticationException, BadHostKeyException, SSHException

        try:
            yield
        except BadHostKeyException as error:
            raise HostKeyError(f"{self.name} shows another host key than its connection has: {REMEDY_KEY}") from error
        except AuthenticationException as error:
            raise DeviceError(f"{self.name} refuses the login of its connection: correct user and key") from error
        except SSHException as error:
            self._drop()
            if "not found in known_hosts" in str(error):
                raise HostKeyError(f"the connection of {self.name} has no host key: {REMEDY_KEY}") from error
            raise OfflineError(f"{self.name} can't be reached ({error}): pending until it is back") from error
        except (OSError, EOFError) as error:
            self._drop()
            if isinstance(error, OSError) and _is_of_file(error):
                raise DeviceError(f"{self.name}: a file can't be written or read: {error}") from error
            raise OfflineError(
                f"{self.name} can't be reached ({str(error) or 'it hung up'}): pending until it is back"
            ) from error


def _is_of_file(error: OSError) -> bool:
    """Whether SFTP answered so: paramiko gives OSError itself, without a number for what it calls a failure."""
    numbered = error.errno in (errno.ENOENT, errno.EACCES, errno.ENOSPC)
    return numbered or (type(error) is OSError and error.errno is None and str(error) != SOCKET_CLOSED)


class Devices(Mapping[str, Device]):
    """Devices by name, each connected when it is first asked something."""

    def __init__(self, connects: Mapping[str, Connect], seconds: float = COMMAND_SECONDS) -> None:
        self._connects, self._seconds = connects, seconds

    @functools.cached_property
    def _known(self) -> dict[str, Device]:
        return {name: Device(name, connect, self._seconds) for name, connect in self._connects.items()}

    def __getitem__(self, name: str) -> Device:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
