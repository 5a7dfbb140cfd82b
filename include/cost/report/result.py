"""A day's report: figures with their unit, their status and the partitions that they come from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

from include.cost.sources.requests import Requests
from include.cost.table.store import Facts
from include.cost.targets import Goal

TOTAL = "total"
GIVEN = "given"  # the status of a figure that somebody set, such as a target


@dataclass(frozen=True)
class Row:
    """One figure. ``value`` None is unknown. ``status``: provisional, settled, final, given, unknown, or a verdict.

    ``sources`` are the partitions it was made of: ``source/day#content``.
    """

    section: str
    key: str
    metric: str
    value: Decimal | None
    unit: str
    status: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """A day's report. ``unknown`` is component -> why; ``history`` component -> day -> cost, for the pictures."""

    day: dt.date
    as_of: dt.datetime | None
    status: str
    since: dt.datetime | None  # when the provider first sent what the figures are made of
    rows: tuple[Row, ...]
    unknown: Mapping[str, str]
    inputs: tuple[Facts, ...]
    requests: Requests | None
    goals: Mapping[str, Goal]
    history: Mapping[str, Mapping[dt.date, Decimal | None]] = field(default_factory=dict)

    @cached_property
    def _index(self) -> dict[tuple[str, str, str], Row]:
        return {(row.section, row.key, row.metric): row for row in self.rows}

    def row(self, section: str, key: str, metric: str) -> Row | None:
        """The row of this name, or None when the report has none."""
        return self._index.get((section, key, metric))

    def value(self, section: str, key: str, metric: str) -> Decimal | None:
        """The figure of this name; None when it is unknown or there is none."""
        row = self.row(section, key, metric)
        return row.value if row else None

    def section(self, name: str) -> list[Row]:
        """The rows of a section, in order."""
        return [row for row in self.rows if row.section == name]
