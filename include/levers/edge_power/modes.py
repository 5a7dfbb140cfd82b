"""Power modes as they were measured: watts without load and at full load, and what a device serves in each.

Names of modes are caps of clocks, not watts: on one Orin NX "25W" drew 16.9 W and "40W" 27.6. So a table made of names
is refused, and a mode without a measured capacity is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from include.rollout.lever import Refused

REMEDY = "measure the canary first: trigger measure_devices"
FIGURES = ("watts_idle", "watts_full", "capacity_qps")  # of a mode, as the agent's measure writes them
_LABEL = re.compile(r"(\d+(?:\.\d+)?)W$", re.ASCII)


class Mode(NamedTuple):
    """One power mode of a device. ``idle_watts`` and ``full_watts`` at the board's input, ``capacity_qps`` a device."""

    name: str
    idle_watts: float
    full_watts: float
    capacity_qps: float

    @property
    def joules_per_request(self) -> float:
        """What one request more costs: power between idle and full load follows the load."""
        return (self.full_watts - self.idle_watts) / self.capacity_qps

    def watts(self, qps: float) -> float:
        """Watts at the board's input while ``qps`` arrive, of which no more than the capacity are served."""
        return self.idle_watts + self.joules_per_request * min(qps, self.capacity_qps)


Table = tuple[Mode, ...]  # rising capacity


def table_of(modes: Iterable[Mode]) -> Table:
    """The modes by rising capacity. Raises Refused naming a mode whose figures can't have been measured."""
    found = tuple(sorted(modes, key=lambda mode: (mode.capacity_qps, mode.full_watts)))
    if not found:
        raise Refused(f"no power mode has measured watts and capacity: {REMEDY}")
    for mode in found:
        if not 0 <= mode.idle_watts < mode.full_watts < math.inf or not 0 < mode.capacity_qps < math.inf:
            raise Refused(
                f"power mode {mode.name}: {mode.idle_watts} W idle, {mode.full_watts} W at full load and "
                f"{mode.capacity_qps} QPS are no measurement of a device that serves: {REMEDY}"
            )
    if len(found) > 1 and all(_is_label(mode) for mode in found):
        raise Refused(
            f"the watts of {', '.join(mode.name for mode in found)} are their names: names cap clocks, they measure "
            f"nothing; {REMEDY}"
        )
    return found


def _is_label(mode: Mode) -> bool:
    label = _LABEL.search(mode.name)
    return label is None or float(label[1]) == mode.full_watts


def table_from(measured: Mapping[str, Any]) -> Table:
    """The table of what the agent's ``measure`` found; modes without a bench's figures are left out.

    Raises Refused naming what is missing, with the remedy.
    """
    try:
        if error := measured.get("error"):
            raise Refused(f"the measurement of {measured.get('device')} failed: {error.get('message')}; {REMEDY}")
        known = [row for row in measured.get("modes", ()) if all(row.get(field) is not None for field in FIGURES)]
        modes = [Mode(str(row["mode"]), *(float(row[field]) for field in FIGURES)) for row in known]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise Refused(f"what was measured is not what the agent writes ({error}): {REMEDY}") from error
    return table_of(modes)


def worth_having(table: Sequence[Mode]) -> Table:
    """The modes that are the cheapest for some load: without those that another one always undercuts."""
    return tuple(mode for mode in table if not any(_beats(other, mode) for other in table if other is not mode))


def _beats(one: Mode, other: Mode) -> bool:
    """Power is linear in the load, so the two ends decide.."""
    if one.capacity_qps < other.capacity_qps:
        return False
    idle, full = one.idle_watts - other.idle_watts, one.watts(other.capacity_qps) - other.full_watts
    return max(idle, full) <= 0 and (min(idle, full) < 0 or one.capacity_qps > other.capacity_qps)


def rows_of(table: Iterable[Mode]) -> list[dict[str, Any]]:
    """The table as JSON."""
    return [mode._asdict() for mode in table]


def rows_for_agent(table: Iterable[Mode]) -> list[dict[str, Any]]:
    """The table as the device's policy reads it: measured watts, at full load and without load."""
    names = {"mode": "name", "watts": "full_watts", "watts_idle": "idle_watts", "capacity_qps": "capacity_qps"}
    return [{key: getattr(mode, name) for key, name in names.items()} for mode in table]
