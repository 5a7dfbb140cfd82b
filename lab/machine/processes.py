"""Processes of the lab: started in their own sessions, named when they crash, ended without a trace.

Every process is written to ``processes.json`` in the lab's folder, so that ``make lab-down`` finds them from
another shell; a pid counts only together with its start time, so that a recycled pid is never killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

# Below the range that the kernel hands to outgoing connections, so that none of them can take a chosen port.
PORTS = range(20000, 32000)
LOG_TAIL_LINES = 15
# A fault test writes this file into the lab's folder before it kills a process on purpose.
OUTAGE_MARK = "expect_outage"


class Crashed(RuntimeError):
    """A process of the lab has ended; the message names it and shows the last lines of its log."""


@dataclass(frozen=True)
class Started:
    """One running process: ``created`` is its start time as psutil gives it, the rest how to start it again."""

    name: str
    pid: int
    created: float
    log: str
    command: list[str]
    env: dict[str, str]
    cwd: str | None


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Choose ``count`` free ports and keep other labs on this machine from choosing them until the block ends."""
    marks: list[socket.socket] = []
    ports: list[int] = []
    try:
        for port in random.sample(PORTS, len(PORTS)):
            if len(ports) == count:
                break
            mark = hold_port(port)
            if mark is None:
                continue
            marks.append(mark)
            if _is_free(port):
                ports.append(port)
        if len(ports) < count:
            raise RuntimeError(f"only {len(ports)} of {count} ports between {PORTS.start} and {PORTS.stop} are free")
        yield ports
    finally:
        for mark in marks:
            mark.close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # all addresses: Karpenter binds nothing narrower  # noqa: S104
        except OSError:
            return False
    return True


def hold_port(port: int) -> socket.socket | None:
    """Keep other labs on this machine from choosing ``port`` while the returned mark is open; None: another holds it.

    A port that a world has chosen but nothing listens on yet looks free to everybody else.
    """
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mark.bind(f"\0akidb-lab-port-{port}")  # abstract: gone with the process, leaves no file
    except OSError:
        mark.close()
        return None
    return mark


class Processes:
    """The processes of one lab folder; logs go to ``logs`` (default: ``logs`` in the folder).

    ``stretch`` (``lab/machine/speed.py``) multiplies the limits of ``wait_until``.
    """

    def __init__(self, folder: Path, logs: Path | None = None, stretch: float = 1.0) -> None:
        self.folder = folder
        self.stretch = stretch
        self.logs = logs or folder / "logs"
        self._register = folder / "processes.json"
        self._lock = threading.Lock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[object], env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Started:
        """Start ``command`` with its output in ``logs/<name>.log``; ``env`` is added to this process's own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        parts = [str(part) for part in command]
        with log.open("ab") as output:
            child = subprocess.Popen(
                parts,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        try:
            created = psutil.Process(child.pid).create_time()
        except psutil.NoSuchProcess:
            created = 0.0
        started = Started(name, child.pid, created, str(log), parts, dict(env or {}), str(cwd) if cwd else None)
        with self._lock:
            self._children[name] = child
            self._write([*(s for s in self.registered() if s.name != name), started])
        return started

    def registered(self) -> list[Started]:
        """Every process that was started in this folder, running or not."""
        if not self._register.exists():
            return []
        return [Started(**entry) for entry in json.loads(self._register.read_text())]

    def _write(self, entries: Sequence[Started]) -> None:
        partial = self._register.with_suffix(".partial")
        partial.write_text(json.dumps([asdict(e) for e in entries], indent=1))
        partial.replace(self._register)

    def started(self, name: str) -> Started:
        """The registered process called ``name``. Raises KeyError."""
        return next(s for s in self.registered() if s.name == name)

    def check(self) -> None:
        """Raise Crashed when one of the processes has ended and nobody has announced that it would."""
        if (self.folder / OUTAGE_MARK).exists():
            return
        for entry in self.registered():
            if _running(entry, self._children.get(entry.name)) is None:
                raise Crashed(f"{entry.name} has ended; the last lines of its log:\n{tail(Path(entry.log))}")

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait until ``condition`` holds, while all processes live. Raises Crashed or TimeoutError naming ``what``.

        ``seconds`` is the limit on the reference machine. Only the pauses count: what the condition itself takes, and
        a machine that stands still, use nothing of it up.
        """
        pause = threading.Event()
        seconds *= self.stretch
        waited = 0.0
        while not condition():
            self.check()
            if waited >= seconds:
                raise TimeoutError(f"{what} did not happen within {seconds:.0f} s; see {self.logs}")
            pause.wait(0.1)
            waited += 0.1

    def kill(self, name: str) -> None:
        """End one process at once (SIGKILL), as a fault would; it stays registered."""
        entry = self.started(name)
        process = _running(entry, self._children.get(name))
        if process is not None:
            process.kill()
            _reap(process, self._children.get(name))

    def running(self, name: str) -> bool:
        """Whether the process called ``name`` was started here and has not ended."""
        entry = next((s for s in self.registered() if s.name == name), None)
        return entry is not None and _running(entry, self._children.get(name)) is not None

    def end(self, name: str, grace_seconds: float = 5.0) -> None:
        """End one process with its children, SIGTERM before SIGKILL, and forget it; nothing happens when it is gone."""
        with self._lock:
            entry = next((s for s in self.registered() if s.name == name), None)
            if entry is None:
                return
            process = _running(entry, self._children.get(name))
            victims = [] if process is None else [process, *_children(process)]
            _end(victims, grace_seconds)
            child = self._children.pop(name, None)
            if child is not None:
                child.poll()
            self._write([s for s in self.registered() if s.name != name])

    def restart(self, name: str) -> Started:
        """Start a killed process again as it was started before."""
        entry = self.started(name)
        return self.start(name, entry.command, entry.env, Path(entry.cwd) if entry.cwd else None)

    def restart_ended(self, prefix: str) -> list[str]:
        """Start every process of that ``prefix`` again that has ended, in the order of their start; their names."""
        mine = [s for s in self.registered() if s.name.startswith(prefix)]
        ended = [s.name for s in mine if _running(s, self._children.get(s.name)) is None]
        return [self.restart(name).name for name in ended]

    def stop_all(self, grace_seconds: float = 5.0) -> None:
        """End every process and its children: SIGTERM, then SIGKILL; last started first."""
        entries = self.registered()[::-1]
        victims: list[psutil.Process] = []
        for entry in entries:
            process = _running(entry, self._children.get(entry.name))
            if process is None:
                continue
            victims += [process, *_children(process)]
            # An API server with watchers takes a minute to end by itself: nothing of the lab is worth that wait.
            stop = signal.SIGKILL if "apiserver" in entry.name else signal.SIGTERM
            _signal(process, stop)
        _, alive = psutil.wait_procs(victims, timeout=grace_seconds)
        for process in alive:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=grace_seconds)
        for child in self._children.values():
            child.poll()
        self._register.unlink(missing_ok=True)

    def memory_bytes(self) -> dict[str, int]:
        """Resident memory of each running process with its children."""
        found = {}
        for entry in self.registered():
            process = _running(entry, self._children.get(entry.name))
            if process is not None:
                found[entry.name] = sum(p.memory_info().rss for p in [process, *_children(process)])
        return found


def _running(entry: Started, child: subprocess.Popen[bytes] | None) -> psutil.Process | None:
    if child is not None and child.pid == entry.pid and child.poll() is not None:
        return None
    try:
        process = psutil.Process(entry.pid)
        alive = abs(process.create_time() - entry.created) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if alive else None


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _end(victims: Sequence[psutil.Process], grace_seconds: float) -> None:
    for process in victims:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(victims, timeout=grace_seconds)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=grace_seconds)


def _reap(process: psutil.Process, child: subprocess.Popen[bytes] | None) -> None:
    if child is not None:
        child.wait(timeout=60)  # of a killed process: at once, unless the machine stands still
    else:
        psutil.wait_procs([process], timeout=60)


def tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last ``lines`` of a log, or a note that it is empty."""
    text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return "\n".join(f"    {line[:300]}" for line in text) or "    (the log is empty)"
