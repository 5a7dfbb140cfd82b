"""The dated price tables of include/price_book: their rows, with the source and the date of the figures."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from include.prices import PriceBookError

FOLDER = Path(__file__).parents[1] / "price_book"
OLD_AFTER = dt.timedelta(days=365)


@dataclass(frozen=True)
class PriceTable:
    """The rows of a table as text, by column; ``date`` is the day on which its source was read."""

    name: str
    date: dt.date
    source: str
    rows: tuple[Mapping[str, str], ...]

    @property
    def book(self) -> str:
        """What a report calls it."""
        return f"{self.name} ({self.date})"

    def warning(self, now: float) -> str | None:
        """What an approver must know of prices that are older than a year; ``now`` in Unix seconds."""
        return too_old(self.name, self.date, self.source, now)


def too_old(name: str, date: dt.date, source: str, now: float) -> str | None:
    """What an approver must know of prices of that day, where they are older than a year."""
    age = dt.datetime.fromtimestamp(now, dt.UTC).date() - date
    if age <= OLD_AFTER:
        return None
    return f"the prices of {name} are {age.days} days old ({date}): read {source} again"


@lru_cache(maxsize=16)
def price_table(file: str) -> PriceTable:
    """The table in ``include/price_book/<file>``. Raises PriceBookError naming what is wrong with it."""
    try:
        text = (FOLDER / file).read_text(encoding="utf-8")
    except OSError as error:
        raise PriceBookError(f"{file} can't be read ({error.strerror}): restore it from the repository") from error
    return parse_table(file, text)


def parse_table(file: str, text: str) -> PriceTable:
    """A table from its text: ``# date:`` and ``# source:``, then comma-separated rows under their header."""
    lines = text.splitlines()
    said = dict(line[1:].strip().split(": ", 1) for line in lines if line.startswith("#") and ": " in line)
    rows = tuple(csv.DictReader(line for line in lines if line and not line.startswith("#")))
    try:
        date = dt.date.fromisoformat(said["date"])
    except (KeyError, ValueError):
        raise PriceBookError(f"{file}: no line '# date: YYYY-MM-DD' that can be read: add it") from None
    if not said.get("source") or not rows:
        raise PriceBookError(f"{file}: no line '# source: ...', or no row: restore it from the repository")
    return PriceTable(Path(file).stem, date, said["source"], rows)
