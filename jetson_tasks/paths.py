"""Where everything lies on a device, and files that are replaced whole or not at all."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

HOME = "/var/lib/akidb-power"
AGENT = HOME + "/agent.pyz"
DESIRED = HOME + "/desired.json"
STATUS = HOME + "/status.json"
METRICS = HOME + "/metrics/akidb_power.prom"
UNIT_NAME = "akidb-power.service"
UNIT = "/etc/systemd/system/" + UNIT_NAME
SUDOERS = "/etc/sudoers.d/akidb-power"
CONF = "/etc/nvpmodel.conf"
HOSTNAME = "/etc/hostname"
MODEL = "/proc/device-tree/model"
ROOT_VARIABLE = "JETSON_TASKS_ROOT"


class NotWritten(OSError):  # noqa: N818 - as the other refusals of this project are named
    """A file could not be replaced: the old one is as it was; the message names the file and says why."""


class Files:
    """The files of a device below ``root``; every path is given as the device knows it, from "/" on."""

    def __init__(self, root: str | None = None) -> None:
        self.root = Path(root or os.environ.get(ROOT_VARIABLE) or "/")

    def path(self, name: str) -> Path:
        """Where ``name`` really lies."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """The text of a file without the zero bytes that the device tree ends its texts with; None without the file."""
        try:
            return self.path(name).read_text(encoding="utf-8", errors="replace").replace("\0", "")
        except OSError:
            return None

    def replace(self, name: str, text: str) -> None:
        """Write a file whole: who reads it sees the old text or the new one, also after a crash. Raises NotWritten."""
        path = self.path(name)
        beside = path.with_name(path.name + ".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_through(beside, text)
            Path(str(beside)).replace(str(path))
        except OSError as error:
            _forget(beside)
            raise NotWritten(f"{name} can't be written: {error.strerror or error}") from error

    def remove(self, name: str) -> bool:
        """Delete a file; False when it isn't there. Raises OSError."""
        try:
            self.path(name).unlink()
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other commands of the agent waiting. The folder itself is the lock: a full disk can't forbid it."""
        handle = os.open(str(self.path(HOME)), os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _write_through(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _forget(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        return
