"""What comes of a batch of export files."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from include.cost.sources.exports import rules
from include.cost.table.store import Facts


@dataclass
class Collected:
    """What came of a batch of exports. Money in US dollars, but for what was set aside.

    ``paths`` and ``facts`` belong together, by day; they hold what the table keeps beside the files' own rows. The
    other figures are the files' own. ``set_aside`` counts rows by reason, ``aside_amounts`` what they bill by reason
    and currency (None: none can be read), ``aside_files`` holds them. ``unread`` counts values by field that can't be
    read in rows that count. ``refused`` names the files that could not be used at all, with the reason.
    """

    facts: list[Facts] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    days: dict[dt.date, int] = field(default_factory=dict)  # rows of the files that count, by day
    billed_usd: Decimal = Decimal(0)
    components: dict[str, Decimal] = field(default_factory=dict)
    unallocated_usd: Decimal = Decimal(0)
    set_aside: dict[str, int] = field(default_factory=dict)
    aside_amounts: dict[str, dict[str, Decimal | None]] = field(default_factory=dict)
    aside_files: list[tuple[str, Path]] = field(default_factory=list)
    unread: dict[str, int] = field(default_factory=dict)
    costs_unread: int = 0  # of them: what a row costs, as far as that isn't what it bills
    refused: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows that count."""
        return sum(self.days.values())

    @property
    def rows_set_aside(self) -> int:
        """Rows that don't."""
        return sum(self.set_aside.values())

    @property
    def lost(self) -> dict[str, int]:
        """Rows by reason whose dollars count nowhere."""
        return {reason: rows for reason, rows in self.set_aside.items() if reason not in rules.REPEATED}
