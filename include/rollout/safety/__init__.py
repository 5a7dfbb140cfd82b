"""What was proved of each lever under each fault, for which code and plan: the records beside the ledger, the matrix.

Written by game days, by the rehearsal and by the levers' conformance; read by the approval, the page and the completion
report.
"""

from __future__ import annotations

import datetime as dt

from include.rollout.safety.matrix import NOT_REHEARSED, Cell, State, Version, ended, matrix
from include.rollout.safety.records import FOLDER, MOST, Fault, Outcome, Proved, Reading, SafetyError, SafetyRecords
from include.rollout.safety.version import code_version, deciding_files, known_version

__all__ = [
    "FOLDER",
    "MOST",
    "NOT_REHEARSED",
    "Cell",
    "Fault",
    "Outcome",
    "Proved",
    "Reading",
    "SafetyError",
    "SafetyRecords",
    "State",
    "Version",
    "code_version",
    "deciding_files",
    "ended",
    "known_version",
    "matrix",
    "proved",
]


def proved(
    lever: str,
    fault: Fault,
    outcome: Outcome,
    seconds: float | None,
    *,
    source: str,
    plan_hash: str = "",
    place: str = "",
    when: str | None = None,
) -> Proved:
    """A record of the code as it is now; ``when`` is now unless it is given. Raises SafetyError for a wrong field."""
    moment = when or dt.datetime.now(dt.UTC).isoformat()
    return Proved(lever, fault, outcome, seconds, code_version(lever), plan_hash, moment, source, place)
