"""How long the emulated AWS takes over a change that it carries out after its answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


class Clock:
    """The emulated AWS's own clock: Unix seconds; a test whose lever has a clock of its own puts it here."""

    def __init__(self) -> None:
        self.now: Callable[[], float] = time.time

    def reset(self) -> None:
        """The machine's again."""
        self.now = time.time


CLOCK = Clock()


@dataclass
class Pace:
    """How long changes of one kind take: so many reads still see them running, and so many seconds.

    ``hold`` is the fault "never done": what begins while it is on runs until it is off again.
    """

    reads: int = 1
    seconds: float = 0.0
    hold: bool = False

    def begin(self) -> Running:
        """A change that begins now."""
        return Running(self, CLOCK.now(), self.hold, self.reads)

    def reset(self) -> None:
        """As a fresh account is."""
        self.reads, self.seconds, self.hold = 1, 0.0, False


@dataclass
class Running:
    """One change under way. Times in seconds of CLOCK."""

    pace: Pace
    since: float
    held: bool
    left: int
    done: bool = field(default=False)

    @property
    def running(self) -> bool:
        """Is it still under way? Does not count as a read."""
        if not self.done:
            early = CLOCK.now() - self.since < self.pace.seconds
            self.done = not (self.held and self.pace.hold) and not early and self.left <= 0
        return not self.done

    def look(self) -> bool:
        """The answer to one read: is it still under way?"""
        running = self.running
        self.left -= 1
        return running
