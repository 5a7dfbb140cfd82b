"""The faults of a rehearsal: when each strikes, when it is lifted, what is expected of the rollout, and what came.

A fault strikes once, in the run of its own lever, by what that run's ledger says; how is in ``strikes.py``. What is
expected is the rule of the estate and of the engine, and decides over the exit status.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from include.rollout.ledger import Record, Step

PROMOTED, ROLLED_BACK = "promoted", "rolled back"
SURVIVED, RESTORED = "survived", "restored"


@dataclass(frozen=True)
class Kind:
    """One fault. It strikes in a run of ``lever`` on ``day``, whose verdict must be one of ``verdicts``.

    ``does`` ends the sentence "FAULT=gate ..." of a fault that needs a second region; ``expected`` is for people.
    """

    day: int
    lever: str
    verdicts: tuple[str, ...]
    expected: str
    does: str = ""


KINDS: Mapping[str, Kind] = {
    "gate": Kind(
        *(1, "spot_capacity", (ROLLED_BACK,)),
        "the gate P95 fails in the second region, and every touched region is rolled back",
        "fails a gate",
    ),
    "ice": Kind(
        *(1, "spot_capacity", (PROMOTED,)),
        "pods of the second step get on-demand nodes in their own domains, and spot ones once there are any",
    ),
    "oom": Kind(
        *(4, "right_sizing", (ROLLED_BACK,)),
        "the kills are counted, the gate fails, and the old requests come back on every pod",
        "makes memory leak",
    ),
    "spot-storm": Kind(
        *(1, "spot_capacity", (ROLLED_BACK,)),
        "more notices than the estate allows stop the rollout, and the region is rolled back to on-demand nodes",
    ),
    "forecast-down": Kind(
        *(2, "predictive_scaling", (PROMOTED,)),
        "scaling goes on by requests alone with no request lost, and the gates wait until the forecast is back",
    ),
    "api-outage": Kind(
        *(1, "spot_capacity", (PROMOTED, ROLLED_BACK)),
        "the write goes on when the API server is back; a region that it took too long for is rolled back",
    ),
    "etag": Kind(
        *(3, "day3_edge", (PROMOTED,)),
        "the refused write is made again on what stands now, and what somebody else has changed stays",
    ),
}
DAY_OF = {name: kind.day for name, kind in KINDS.items()}
LEVER_OF = {name: kind.lever for name, kind in KINDS.items()}
AFTER_THE_CANARY = {name: kind.does for name, kind in KINDS.items() if kind.does}  # they need a second region


@dataclass(frozen=True)
class Struck:
    """Where and when a fault struck (Unix seconds), when it was lifted, and what its own checks found wrong.

    ``lever`` is whose change it struck; ``place`` is empty where it never struck.
    """

    place: str = ""
    lever: str = ""
    at: float = 0.0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class FaultResult:
    """What came of a fault. ``outcome`` is survived, restored or empty; ``seconds`` None where nothing tells them."""

    fault: str
    lever: str
    place: str
    expected: str
    verdict: str
    outcome: str
    seconds: float | None
    problems: tuple[str, ...]

    @property
    def as_expected(self) -> bool:
        """Whether all came as it must."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """``fault`` of report.json."""
        return {**asdict(self), "problems": list(self.problems), "as_expected": self.as_expected}

    def __str__(self) -> str:
        took = "" if self.seconds is None else f" in {self.seconds:.0f} s"
        came = f"{self.outcome}{took}" if self.outcome else self.verdict
        lines = [f"FAULT={self.fault} in {self.place or 'no place'}: {came}; expected: {self.expected}"]
        return "\n".join([*lines, *(f"  not as expected: {problem}" for problem in self.problems)])


def judged(name: str, struck: Struck, verdict: str, restored: bool, records: Sequence[Record]) -> FaultResult:
    """What came of the fault ``name``, by the day's ``verdict`` and by the ``records`` of the place where it struck.

    ``restored`` is whether the live world equals the day's beginning, by the lab's own evidence.
    """
    kind = KINDS[name]
    outcome = SURVIVED if verdict == PROMOTED else RESTORED if verdict == ROLLED_BACK and restored else ""
    problems = [*struck.problems]
    if not struck.place:
        problems.insert(0, "it never struck: the run ended before")
    if verdict not in kind.verdicts:
        problems.append(f"the day ended {verdict}, not {' or '.join(kind.verdicts)}")
    elif verdict == ROLLED_BACK and not restored:
        problems.append("the live state differs from the start")
    seconds = seconds_of(outcome, struck.at, records)
    lever = struck.lever or kind.lever
    return FaultResult(name, lever, struck.place, kind.expected, verdict, outcome, seconds, tuple(problems))


def seconds_of(outcome: str, struck_at: float, records: Sequence[Record]) -> float | None:
    """From the undo's beginning to its proof; of what survived, from the strike to the next gate that passed."""
    if outcome == RESTORED:
        begun = [_moment(record) for record in records if record.step == Step.UNDO]
        proved = [_moment(record) for record in records if record.step == Step.RESTORED]
        return round(max(proved) - min(begun), 1) if begun and proved else None
    passed = [_moment(r) for r in records if r.step == Step.GATE and r.figures.get("outcome") == "pass"]
    later = [at for at in passed if at > struck_at]
    return round(min(later) - struck_at, 1) if outcome == SURVIVED and later else None


def _moment(record: Record) -> float:
    return dt.datetime.fromisoformat(record.time).timestamp()
