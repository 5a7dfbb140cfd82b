"""The newest result of a reading that may be slow or fail: asked for within a patience, read on in the background."""

from __future__ import annotations

import datetime as dt
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Value = TypeVar("Value")
RETRY_SECONDS = 5.0  # a reading that failed is not tried again before
FRESH_SECONDS = 60.0  # what was read since then is shown while a newer reading goes on, without a word
SHORT_PATIENCE = 0.3  # with something fresh at hand
log = logging.getLogger(__name__)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class Answer(Generic[Value]):
    """What is known. ``at`` is when the value was read; ``problem`` why there is none, or none that is newer."""

    value: Value | None = None
    at: dt.datetime | None = None
    problem: str = ""


@dataclass
class Latest(Generic[Value]):
    """One reading at a time, in a thread of its own, however many ask. ``name`` says what is read, and where from.

    ``read`` gets a function to which it may tell how far it has come. ``every`` is for how many seconds a value is good
    enough to be shown without reading again.
    """

    name: str
    read: Callable[[Callable[[str], None]], Value]
    every: float = 0.0
    clock: Callable[[], dt.datetime] = _now
    _known: Answer[Value] = field(default_factory=Answer)
    _began: dt.datetime | None = None
    _failed: dt.datetime | None = None
    _progress: str = ""
    _done: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, patience: float) -> Answer[Value]:
        """The newest value that a reading brings within ``patience`` seconds; else what is known, and why."""
        with self._lock:
            if self._began is None and not self._waits():
                self._start()
            done, fresh = self._done, self._age() < FRESH_SECONDS and not self._known.problem
        done.wait(min(patience, SHORT_PATIENCE) if fresh else patience)
        with self._lock:
            if self._began is None or fresh:
                return self._known
            since = (self.clock() - self._began).total_seconds()
            progress = f", {self._progress}" if self._progress else ""
            problem = f"{self.name} is still being read after {since:.0f} s{progress}: load the page again"
            return Answer(self._known.value, self._known.at, self._known.problem or problem)

    def _age(self) -> float:
        """Seconds since the value was read."""
        return (self.clock() - self._known.at).total_seconds() if self._known.at else math.inf

    def _waits(self) -> bool:
        """Whether it is too early for another reading."""
        failed = self._failed is not None and (self.clock() - self._failed).total_seconds() < RETRY_SECONDS
        return failed or (self._age() < self.every and not self._known.problem)

    def _start(self) -> None:
        self._began, self._progress, self._done = self.clock(), "", threading.Event()
        threading.Thread(target=self._run, name=f"page: {self.name}", daemon=True).start()

    def _run(self) -> None:
        try:
            answer, failed = Answer(self.read(self._tell), self.clock()), None
        except Exception as error:  # noqa: BLE001 - the page says what is wrong, whatever it is
            log.warning("%s can't be read: %s: %s", self.name, type(error).__name__, error)
            problem = f"{self.name} can't be read: {type(error).__name__}: {error}"
            answer, failed = Answer(self._known.value, self._known.at, problem), self.clock()
        with self._lock:
            self._known, self._failed, self._began = answer, failed, None
            self._done.set()

    def _tell(self, progress: str) -> None:
        self._progress = progress
