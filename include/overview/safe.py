"""What was proved of each lever under each fault: the safety matrix for this code and the newest plan on record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from include.overview.changes import LeverState, plan_hash
from include.overview.ledger_copy import LedgerContent
from include.pages.table import Table
from include.pages.texts import words
from include.rollout.safety import Fault, Outcome, Proved, Reading, Version, known_version, matrix

Versions = Callable[[str], str | None]


def safety_table(
    content: LedgerContent, names: Sequence[str], reading: Reading, version_of: Versions = known_version
) -> Table | None:
    """Lever by fault, of the levers and faults that have a record; None without any."""
    recorded = {record.lever for record in reading.records}
    faults = [fault for fault in Fault if any(record.fault == fault for record in reading.records)]
    rows = [name for name in names if name in recorded]
    if not rows:
        return None
    cells = matrix({name: Version(version_of(name), plan_hash(content, name)) for name in rows}, reading.records)
    table = tuple((words(name), *(cells[name][fault].text for fault in faults)) for name in rows)
    return Table(("lever", *(str(fault) for fault in faults)), table)


def with_rehearsed_undo(states: Sequence[LeverState], reading: Reading) -> list[LeverState]:
    """The states; where the ledger has no undo of a lever, the newest that a rehearsal or drill has proved."""
    newest: dict[str, Proved] = {}
    for record in reading.records:  # the newest first
        if record.fault == Fault.UNDO and record.outcome == Outcome.RESTORED and record.seconds is not None:
            newest.setdefault(record.lever, record)
    return [_with(state, newest.get(state.lever)) for state in states]


def _with(state: LeverState, record: Proved | None) -> LeverState:
    if record is None or state.undo_seconds is not None:
        return state
    return replace(state, undo_seconds=record.seconds, undo_place=record.source)
