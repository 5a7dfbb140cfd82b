"""The suite of exported traffic: a table with a row a day, and what it says against each day.

Coverage, gaps, range and freshness are facts of a day as a whole, so a day is a row; a day that fails is named.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from include.quality.judge import judge
from include.quality.suites import SUITES, Expectation, between, has_columns, some_rows, unique

COLUMNS = ("day", "minutes", "coverage", "longest_gap", "age", "lowest", "highest")
MINUTES = 1440


@dataclass(frozen=True)
class Limits:
    """What a day must keep. ``most_qps`` is far above any real load: beyond it the unit or the query is wrong."""

    coverage: float = 0.9  # share of the minutes that could be observed
    longest_gap: int = 120  # minutes
    age: int = 10  # minutes between the last value and the end
    most_qps: float = 1e7


class DayLike(Protocol):
    """What is judged: QPS by minute, None where not observed."""

    @property
    def day(self) -> dt.date:
        """The day."""

    @property
    def qps(self) -> Sequence[float | None]:
        """A value for each minute of the day."""

    @property
    def until(self) -> int:
        """How many minutes could be observed."""

    @property
    def observed(self) -> int:
        """How many were."""

    @property
    def longest_gap(self) -> int:
        """The longest run of minutes without a value."""

    @property
    def age(self) -> int:
        """Minutes between the last value and the last minute that could be observed."""


def traffic(facts: Mapping[str, Any]) -> list[Expectation]:
    """Exported days, a row each. Facts: ``limits`` (coverage, longest_gap, age, most_qps)."""
    limits = facts.get("limits") or {}
    kept = Limits(**limits)
    return [
        has_columns(COLUMNS, exactly=True),
        some_rows(),
        unique("day"),
        between("minutes", MINUTES, MINUTES),
        between("coverage", kept.coverage, 1),
        between("longest_gap", 0, kept.longest_gap),
        between("age", 0, kept.age),
        between("lowest", 0, kept.most_qps),
        between("highest", 0, kept.most_qps),
    ]


SUITES.setdefault("traffic", traffic)


def row_of(day: DayLike) -> dict[str, Any]:
    """A day as a row of the judged table."""
    known = [value for value in day.qps if value is not None]
    return {
        "day": str(day.day),
        "minutes": len(day.qps),
        "coverage": day.observed / day.until if day.until else 0.0,
        "longest_gap": day.longest_gap,
        "age": day.age,
        "lowest": min(known, default=None),
        "highest": max(known, default=None),
    }


def judge_days(days: Sequence[DayLike], limits: Limits | None = None) -> dict[dt.date, list[str]]:
    """The failed expectations of each day that failed, in words."""
    if not days:
        return {}
    facts = {"limits": vars(limits or Limits())}
    record = judge("traffic", [row_of(day) for day in days], **facts).record
    failed: dict[dt.date, list[str]] = {}
    for entry in (entry for entry in record["checks"] if not entry["passed"]):
        rows = entry["rows"] or range(1, len(days) + 1)  # what concerns the table concerns every day
        for day, row in ((days[number - 1], row_of(days[number - 1])) for number in rows):
            column = entry["expectation"].split(" ")[0]
            seen = f"{row[column]:g}" if isinstance(row.get(column), int | float) else entry["observed"]
            failed.setdefault(day.day, []).append(f"expected that {entry['expectation']}; seen {seen}")
    return failed
