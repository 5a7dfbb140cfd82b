"""What a device should do now, from what it was asked and what it knows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from jetson_tasks.desired import Desired, Policy
from jetson_tasks.policy import choose

CLOCK_TOLERANCE_SECONDS = 300

# Exit codes of the commands, by what is wrong.
DONE, REFUSED, NOT_AS_ASKED, PENDING, NOT_PERSISTED, UNKNOWN_BOARD, CLOCK = 0, 2, 3, 4, 5, 6, 8
EXIT_CODES = {
    "mode_mismatch": NOT_AS_ASKED,
    "nvpmodel_failed": NOT_AS_ASKED,
    "conf_invalid": NOT_AS_ASKED,
    "state_damaged": NOT_AS_ASKED,
    "load_lost": NOT_AS_ASKED,
    "reboot_failed": NOT_AS_ASKED,
    "reboot_pending": PENDING,
    "disk_full": NOT_PERSISTED,
    "unknown_board": UNKNOWN_BOARD,
    "clock_future": CLOCK,
    "clock_expired": CLOCK,
}


@dataclass(frozen=True)
class Problem:
    """What keeps a device from being as it was asked; ``code`` is a key of EXIT_CODES."""

    code: str
    message: str

    def as_json(self) -> dict[str, str]:
        """As it stands in the status."""
        return {"code": self.code, "message": self.message}


@dataclass
class Memory:
    """What a device remembers from step to step; times are Unix seconds by its own clock.

    ``failed`` is what made ``failed_generation`` fail: that generation stays in the safe mode. ``rebooted_generation``
    has had the one reboot that it may ask for, and ``boot`` is the boot in which it asked.
    """

    since: float
    load_at: float
    mode: str | None = None
    switches: int = 0
    failed_generation: int | None = None
    failed: Problem | None = None
    rebooted_generation: int | None = None
    boot: str | None = None

    @classmethod
    def of(cls, status: Mapping[str, Any], now: float) -> Memory:
        """What a status document remembers; a moment still to come becomes now: the clock was set back."""
        failed = status.get("failed")
        return cls(
            since=min(float(status.get("since") or now), now),
            load_at=min(float(status.get("load_at") or now), now),
            mode=status.get("mode"),
            switches=int(status.get("switches") or 0),
            failed_generation=status.get("failed_generation"),
            failed=Problem(failed["code"], failed["message"]) if failed else None,
            rebooted_generation=status.get("rebooted_generation"),
            boot=status.get("boot"),
        )

    def as_json(self) -> dict[str, Any]:
        """Its part of the status document."""
        return {
            "since": self.since,
            "load_at": self.load_at,
            "switches": self.switches,
            "failed_generation": self.failed_generation,
            "failed": self.failed.as_json() if self.failed else None,
            "rebooted_generation": self.rebooted_generation,
            "boot": self.boot,
        }

    def fail(self, generation: int, problem: Problem) -> Problem:
        """Keep a generation in the safe mode from now on; returns what it failed of first."""
        if self.failed is None or self.failed_generation != generation:
            self.failed_generation, self.failed = generation, problem
        return self.failed

    def forgive(self) -> None:
        """Let a generation be tried again: somebody asks for it."""
        self.failed_generation, self.failed = None, None


@dataclass(frozen=True)
class Wanted:
    """The mode that a device should be in, why, and what is wrong when it is the safe mode."""

    mode: str | None
    why: str
    problem: Problem | None = None


def decide(desired: Desired | None, mode: str, memory: Memory, load_qps: float | None, now: float) -> Wanted:
    """The mode for a device that is in ``mode`` at ``now`` and has this load; None for a load that is unknown."""
    if desired is None:
        return Wanted(None, "no desired state")
    problem = _wrong(desired, memory, load_qps, now)
    if problem:
        return Wanted(desired.safe_mode, "safe mode: " + problem.message, problem)
    base = desired.base(now)
    if desired.policy is None:
        return Wanted(base, "schedule" if desired.schedule else "mode")
    if load_qps is None:
        return Wanted(mode, f"load unknown for {now - memory.load_at:.0f} s: the mode stays")
    choice = choose(desired.policy, load_qps, mode, base, now - memory.since)
    return Wanted(choice.mode, choice.why)


def _wrong(desired: Desired, memory: Memory, load_qps: float | None, now: float) -> Problem | None:
    if memory.failed and memory.failed_generation == desired.generation:
        return memory.failed
    return _wrong_time(desired, now) or _lost(desired.policy, memory, load_qps, now)


def _wrong_time(desired: Desired, now: float) -> Problem | None:
    if not desired.needs_clock:
        return None
    ahead = desired.issued_at - now
    if ahead > CLOCK_TOLERANCE_SECONDS:
        message = f"the desired state is {ahead:.0f} s from the future: set the clock of the device or of who wrote it"
        return Problem("clock_future", message)
    if desired.expires_at is not None and now >= desired.expires_at:
        past = now - desired.expires_at
        return Problem(
            "clock_expired", f"the desired state expired {past:.0f} s ago: write a new one, or set the clock"
        )
    return None


def _lost(policy: Policy | None, memory: Memory, load_qps: float | None, now: float) -> Problem | None:
    if policy is None or load_qps is not None or now - memory.load_at <= policy.lost_after_seconds:
        return None
    return Problem("load_lost", f"the load is unknown for {now - memory.load_at:.0f} s")
