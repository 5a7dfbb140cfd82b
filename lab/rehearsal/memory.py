"""The peak of what lab and Airflow take together: proportional set size of all their processes, looked at all the time.

Shared pages count once (PSS), since Airflow forks; where the kernel doesn't tell it, resident memory stands in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import psutil

EVERY_SECONDS = 10.0
LIMIT_MIB = 8 * 1024
MIB = 2**20


def bytes_of(process: psutil.Process) -> int:
    """What a process takes; 0 for one that has gone."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return _resident(process)
    except psutil.Error:
        return 0


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def family(pids: Iterable[int]) -> Iterator[psutil.Process]:
    """Processes with everything that they have started, each once."""
    seen: set[int] = set()
    for pid in pids:
        try:
            root = psutil.Process(pid)
            members = [root, *root.children(recursive=True)]
        except psutil.Error:
            continue
        yield from (one for one in members if one.pid not in seen)
        seen |= {one.pid for one in members}


def mib_of(pids: Iterable[int]) -> int:
    """MiB of processes and all that they have started."""
    return sum(bytes_of(process) for process in family(pids)) // MIB


@dataclass
class PeakMemory:
    """The largest sum so far, in MiB, with its parts at that moment; ``parts`` give the pids of each part."""

    parts: Callable[[], dict[str, list[int]]]
    peak: dict[str, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def look(self) -> None:
        """Take one sample."""
        found = {name: mib_of(pids) for name, pids in self.parts().items()}
        if sum(found.values()) > sum(self.peak.values()):
            self.peak = found

    def start(self, every_seconds: float = EVERY_SECONDS) -> None:
        """Look now and then, in a thread of its own."""

        def follow() -> None:
            while not self._stop.wait(every_seconds):
                self.look()

        self._thread = threading.Thread(target=follow, name="memory", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(EVERY_SECONDS)

    def to_json(self) -> dict[str, int | bool]:
        """``memory_mib`` of report.json; nothing before the first look."""
        if not self.peak:
            return {}
        total = sum(self.peak.values())
        return {**self.peak, "total": total, "limit": LIMIT_MIB, "within_limit": total <= LIMIT_MIB}
