"""Marks: empty objects beside the records, whose names say what each record says: one LIST answers what stands.

Beside ``000003.json`` stands ``000003-touch``. The record is the truth and its number is what two writers compete for;
the mark is written after it and only saves reading it. A record without a mark (a crash between the two, or a ledger
of an older release) is read in its place, so that a lost mark costs time and never a change.

A snapshot's mark holds its order among the snapshots of its lever and region, and whose change it resumes:
``000002-snapshot-n7-5f2c8e1a90b3d476-9`` is the seventh and takes over what the chain with that short name had done up
to its record 9. The mark of a restoration holds in the same way what it closes. No clock decides anything here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EVERY_RECORD = 999_999  # what an older release closed or resumed: all of the other chain
_MARK = re.compile(r"(\d{6})-([a-z]+)(?:-n(\d+))?(?:-([0-9a-f]{16})-(\d+))?")


class Step:
    """Names of the steps that the engine records; the readers of the ledger know these."""

    PREFLIGHT = "preflight"
    PLAN = "plan"  # in the estate's chain: offered for approval; in a region's: confirmed before its first write
    ANSWER = "answer"  # what an approver answered to which plan; written by the task that received the answer
    APPROVAL = "approval"  # the answer was compared with the plan, and the locks are taken
    SNAPSHOT = "snapshot"  # figures.order: its place among the snapshots of its lever and region
    TOUCH = "touch"  # written before a stage is applied
    APPLIED = "applied"
    GATE = "gate"
    STOPPED = "stopped"
    DECISION = "decision"
    PROMOTED = "promoted"
    EXPORT = "export"  # files were written for repositories instead of changes: where they lie, with their hashes
    UNDO = "undo"  # written before a rollback starts
    UNDONE = "undone"
    RESTORED = "restored"  # figures.complete says whether everything is back, figures.accepted whether that is settled
    VERDICT = "verdict"
    MEASURED = "measured"  # how the service did over some time: figures.kind is throughput or availability
    VALIDATED = "validated"  # the dollars that were validated, for the completion report
    REPORTED = "reported"  # a completion report, by its hash
    # Of a week, in its own chain alone:
    BEGUN = "begun"  # written before a day's run is triggered
    ENDED = "ended"  # how a day's run ended, from its own chain
    WATCHED = "watched"  # the figures of the week-15 gate
    OVERDUE = "overdue"  # a run missed its deadline, in a chain of its own; the estate's people were told


def short_name(path: str) -> str:
    """16 hex digits for a chain's path."""
    return hashlib.sha256(path.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Mark:
    """What the name of a mark tells of a record.

    ``order`` is a snapshot's (0: an older release gave none), ``other`` the short name of the chain that a snapshot
    resumes or a restoration closes, up to its record ``upto``, or that an undo begins to set back; "" for none.
    """

    number: int
    step: str
    order: int = 0
    other: str = ""
    upto: int = 0

    @property
    def name(self) -> str:
        """The last part of the mark's key."""
        order = f"-n{self.order}" if self.order else ""
        other = f"-{self.other}-{self.upto}" if self.other else ""
        return f"{self.number:06}-{self.step}{order}{other}"

    @classmethod
    def parse(cls, name: str) -> Mark | None:
        """The mark of that name, or None when it is no mark's."""
        found = _MARK.fullmatch(name)
        if found is None:
            return None
        number, step, order, other, upto = found.groups()
        return cls(int(number), step, int(order or 0), other or "", int(upto or 0))


def closes(step: str, figures: Mapping[str, Any]) -> bool:
    """Whether a record ends a change: everything is back, or somebody has accepted what is not."""
    return step == Step.RESTORED and bool(figures.get("complete") or figures.get("accepted"))


def mark_of(path: str, number: int, step: str, figures: Mapping[str, Any], links: Mapping[str, str]) -> Mark:
    """The mark of a record of the chain ``path``."""
    order = int(figures.get("order", 0)) if step == Step.SNAPSHOT else 0
    other = links.get("restores", path) if step == Step.UNDO or closes(step, figures) else ""
    if step == Step.SNAPSHOT:
        other = links.get("origin", "")
    if not other:
        return Mark(number, step, order)
    if step == Step.UNDO:
        return Mark(number, step, other=short_name(other))
    upto = number if other == path else int(figures.get("upto", EVERY_RECORD))
    return Mark(number, step, order, short_name(other), upto)


@dataclass(frozen=True)
class Standing:
    """A chain whose change stands, by its marks. ``snapshot`` is the number of the record to restore."""

    path: str
    order: int
    snapshot: int
    promoted: bool


def standing(chains: Mapping[str, Sequence[Mark]]) -> list[Standing]:
    """What stands of the chains of one lever and region (path -> its marks by number), in the order of the snapshots.

    A change stands from its TOUCH until a restoration closes it; a TOUCH after that stands again. A run that resumed
    an unfinished one and then wrote has taken its snapshot over and stands for both.
    """
    closed: dict[str, int] = {}
    for marks in chains.values():
        wrote = any(mark.step == Step.TOUCH for mark in marks)
        for mark in marks:
            if mark.step == Step.RESTORED or (mark.step == Step.SNAPSHOT and wrote):
                closed[mark.other] = max(closed.get(mark.other, 0), mark.upto)
    found = []
    for path, marks in chains.items():
        upto = closed.get(short_name(path), 0)
        after = {mark.step for mark in marks if mark.number > upto}
        snapshot = next((mark for mark in reversed(marks) if mark.step == Step.SNAPSHOT), None)
        if Step.TOUCH in after and snapshot is not None:
            found.append(Standing(path, snapshot.order, snapshot.number, Step.PROMOTED in after))
    return sorted(found, key=lambda change: (change.order, change.path))
