"""Which earlier partitions a day still costs something of: a long charge lies where it begins and counts on each day.

    lasting/source=aws/day=2026-01-01/until=2026-12-31  a charge of that partition lasts until that day
    lasting/source=aws/looked                           partitions older than these marks have been looked at

A mark is written before its partition, and stays when the partition is replaced: it may name a partition too many,
never one too few. So one LIST says what a report has to read beside its own days.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

from include.clients.storage import Storage
from include.cost.table.columns import CostError

_MARK = re.compile(r"day=(\d{4}-\d{2}-\d{2})/until=(\d{4}-\d{2}-\d{2})$")


def mark(storage: Storage, source: str, day: dt.date, path: Path) -> None:
    """Put on record how long the charges of the partition in ``path`` last; nothing when none outlasts ``day``."""
    until = last_day(path)
    if until is not None and until > day:
        storage.put(f"{_root(source)}day={day}/until={until}", b"")


def days_into(storage: Storage, source: str, first: dt.date) -> list[dt.date] | None:
    """The days before ``first`` whose partition has a charge that lasts until ``first`` or longer, in order.

    None while the partitions that are older than these marks have not been looked at: see :func:`set_looked`.
    """
    keys = storage.keys(_root(source))
    if f"{_root(source)}looked" not in keys:
        return None
    marks = ((dt.date.fromisoformat(found[1]), found[2]) for key in keys if (found := _MARK.search(key)))
    return sorted({day for day, until in marks if day < first <= dt.date.fromisoformat(until)})


def set_looked(storage: Storage, source: str) -> None:
    """Put on record that the partitions that are older than these marks have been looked at."""
    storage.put(f"{_root(source)}looked", b"")


def last_day(path: Path) -> dt.date | None:
    """The last day (UTC) that a charge of the partition costs on; None for a partition without rows.

    Raises CostError for a file that can't be read.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        with pq.ParquetFile(path) as file:
            end = pc.max(file.read(["ChargePeriodEnd"]).column("ChargePeriodEnd")).as_py()
    except (ArrowException, OSError, KeyError) as error:
        raise CostError(f"{path.name} is no partition of the cost table ({error}): ingest its day again") from error
    # A period ends before its end: midnight belongs to the day before.
    return None if end is None else (end.astimezone(dt.UTC) - dt.timedelta(microseconds=1)).date()


def _root(source: str) -> str:
    return f"lasting/source={source}/"
