"""Interruptions of spot instances as figures for gates: drills are shown, never counted."""

from __future__ import annotations

from include.rollout.gates import Figure


def interruption_rate(notices: int, drills: int, instances: int, source: str) -> Figure | None:
    """Unplanned notices divided by the spot instances that ran in the last 24 h (a ratio); None without instances.

    ``notices`` counts all of them, ``drills`` those that a drill sent: drills are shown in the note, never counted.
    """
    if instances <= 0:
        return None
    unplanned = _unplanned(notices, drills)
    note = f"{unplanned} notices on {instances} spot instances in 24 h{_drill_note(drills)}"
    return Figure(unplanned / instances, "ratio", instances, source, note)


def unplanned_notices(notices: int, drills: int, samples: int, source: str) -> Figure:
    """Unplanned notices as a count; ``samples`` is how often the source was read, so that "none" needs evidence."""
    unplanned = _unplanned(notices, drills)
    return Figure(unplanned, "notices", samples, source, f"{unplanned} unplanned{_drill_note(drills)}")


def _unplanned(notices: int, drills: int) -> int:
    if not 0 <= drills <= notices:
        raise ValueError(f"needs 0 <= drills <= notices, not {drills} drills of {notices} notices")
    return notices - drills


def _drill_note(drills: int) -> str:
    return f", {drills} drill notice{'s' if drills != 1 else ''} not counted" if drills else ""
