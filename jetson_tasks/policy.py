"""Which mode a device should be in, by its load and by what was measured of each mode. Pure.

A mode serves a load up to its measured capacity times the policy's utilisation. Of the modes that serve the load the
one that draws the least is chosen; a mode's label ("25W") caps its clocks and says nothing of either.
"""

from __future__ import annotations

from dataclasses import dataclass

from jetson_tasks.desired import ModeFigures, Policy


@dataclass(frozen=True)
class Choice:
    """A mode, and why it was chosen."""

    mode: str
    why: str


def choose(policy: Policy, load_qps: float, current: str, base: str | None, seconds_in_mode: float) -> Choice:
    """The mode for ``load_qps`` requests/s of a device that has been in ``current`` for ``seconds_in_mode``.

    ``base`` is the mode that the schedule asks for: it is raised when it can't serve the load, never lowered; None
    leaves the choice to the load. More capacity comes at once. Less of it comes only after ``dwell_seconds``, and only
    when the smaller mode would serve ``hysteresis`` more than the load; a change that the load doesn't need waits too.
    """
    rows = {row.mode: row for row in policy.table}
    wanted = _wanted(policy, rows, load_qps, rows.get(current), base)
    here, there = rows.get(current), rows.get(wanted.mode)
    if here is None or there is None or wanted.mode == current:
        return wanted
    is_needed = not serves(policy, here, load_qps) or (base is not None and there.capacity_qps > here.capacity_qps)
    if is_needed or seconds_in_mode >= policy.dwell_seconds:
        return wanted
    left = policy.dwell_seconds - seconds_in_mode
    return Choice(current, f"dwell: {wanted.mode} in {left:.0f} s at the earliest")


def serves(policy: Policy, row: ModeFigures, load_qps: float) -> bool:
    """Whether a mode has the capacity for a load."""
    return row.capacity_qps * policy.utilisation >= load_qps


def _wanted(
    policy: Policy, rows: dict[str, ModeFigures], load_qps: float, here: ModeFigures | None, base: str | None
) -> Choice:
    able = _able(policy, load_qps, here)
    if base is not None and rows[base] in able:
        return Choice(base, "schedule")
    if not able:
        most = max(policy.table, key=lambda row: row.capacity_qps)
        return Choice(most.mode, f"policy: {load_qps:.1f} requests/s are more than any mode serves")
    least = min(able, key=lambda row: (row.watts_at(load_qps), row.capacity_qps))
    return Choice(least.mode, f"policy: {load_qps:.1f} requests/s")


def _able(policy: Policy, load_qps: float, here: ModeFigures | None) -> list[ModeFigures]:
    """The modes that serve the load; one smaller than the present one must serve ``hysteresis`` more."""
    margin = 1 + policy.hysteresis
    return [
        row
        for row in policy.table
        if serves(policy, row, load_qps * margin if here and row.capacity_qps < here.capacity_qps else load_qps)
    ]
