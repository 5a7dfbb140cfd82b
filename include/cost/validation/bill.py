"""The bill's days that a validation needs and nobody has brought into the cost table yet."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from include.clients.storage import Folder
from include.cost.table.bill import AWS
from include.cost.table.columns import CostError
from include.cost.table.days import Window
from include.cost.table.store import CostTable
from include.estate import Estate

BEFORE_DAYS = 14  # before the window: enough to tell weekdays from weekends, and mostly in the same file


def missing_days(table: CostTable, window: Window) -> list[dt.date]:
    """Days of the window and of the two weeks before it that have no partition of the bill."""
    return _missing(table, window.days[0] - dt.timedelta(days=BEFORE_DAYS), window.days[-1])


def missing_month(table: CostTable, window: Window) -> list[dt.date]:
    """Earlier days of the window's month without a partition: a fee for the month lies on the day that it begins."""
    before = window.days[0] - dt.timedelta(days=BEFORE_DAYS + 1)
    return _missing(table, window.days[0].replace(day=1), before)


def _missing(table: CostTable, first: dt.date, last: dt.date) -> list[dt.date]:
    there = set(table.days(AWS))
    days = (first + dt.timedelta(days=n) for n in range((last - first).days + 1))
    return [day for day in days if day not in there]


def bring_bill(table: CostTable, estate: Estate, window: Window, s3_client: Callable[[str], Any]) -> dict[str, str]:
    """Ingest the missing days, judge each by its suite, put those that pass into the table.

    Returns source -> why it is still out of date. A new version of a day that is there is the report's to notice.
    Raises CostError when a partition fails its suite.
    """
    for days in (missing_days(table, window), missing_month(table, window)):
        if days and estate.cost.exports and (problems := _bring(table, estate, days, s3_client)):
            return problems
    return {}


def _bring(
    table: CostTable, estate: Estate, days: Sequence[dt.date], s3_client: Callable[[str], Any]
) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="akidb-validation-") as folder:
        made = CostTable(Folder(Path(folder)))
        try:
            from include.cost.sources.ingest import ingest_exports

            problems = ingest_exports(estate, days, made, s3_client)
        except CostError as error:
            return {AWS: str(error)}
        except RuntimeError as error:  # S3 or the connection: the other sources may still do
            return {AWS: " ".join(str(error).split())[:500]}
        _admit(made, table, estate)
    return {AWS: "; ".join(problems)} if problems else {}


def _admit(made: CostTable, table: CostTable, estate: Estate) -> None:
    from include.cost.sources.refresh import judged

    for key in made.storage.keys("aside/"):
        with made.storage.local(key) as path:
            table.storage.put_file(key, path)
    days = made.days(AWS)
    with made.files(days, [AWS]) as paths:
        # Together first: one judgement is much quicker than fifteen.
        together = bool(paths) and not judged(paths, AWS, estate)
        for day, path in zip(days, paths, strict=True):
            problem = "" if together else judged([path], AWS, estate, day)
            if problem:
                key = table.set_aside(AWS, f"validation-{day}", problem, path)
                raise CostError(f"the bill of {day} is refused and kept as {key}: {problem}")
            table.replace(path)
