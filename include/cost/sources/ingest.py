"""From the provider's exports to the cost table: one partition a day of source ``aws``.

Safe to repeat and to run in parallel: a run writes only its own days, equal inputs give equal bytes.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from include.cost.sources.bill import collect_bill
from include.cost.sources.exports import Collected, Relation, SourceFile, collect
from include.cost.sources.exports.batch import SOURCE
from include.cost.table.store import CostTable
from include.estate import Estate


def ingest(
    files: Sequence[SourceFile], estate: Estate, table: CostTable | None, stated: Relation | None = None
) -> Collected:
    """Bring ``files`` into ``table`` (None: only compute). The paths in the answer are gone when it is given.

    Rows of other accounts, billing periods and days stay. Nothing is written before every row is checked, nor when a
    file can't be read: it may be a part of what the others are. Raises CostError as ``collect`` does.
    """
    with tempfile.TemporaryDirectory(prefix="akidb-ingest-") as folder, ExitStack() as stack:
        standing = stack.enter_context(table.files(table.days(SOURCE), [SOURCE])) if table else []
        made = collect(files, estate, None, Path(folder), standing, stated)
        if table:
            keep_aside(table, made)
            for path in () if made.refused else made.paths:
                table.replace(path)
        return made


def keep_aside(table: CostTable, made: Collected, run: str = "") -> None:
    """Keep what was set aside with its reason; ``run`` begins the names."""
    for reason, path in made.aside_files:
        # Several files of one run may share a reason: their content tells them apart.
        content = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        table.set_aside(SOURCE, "-".join(filter(None, (run, reason, content))), reason, path)
    for key, reason in made.refused.items():
        table.set_aside(SOURCE, f"{key}-unreadable", reason)


def ingest_exports(
    estate: Estate, days: Collection[dt.date], table: CostTable, s3_client: Callable[[str], Any]
) -> list[str]:
    """Bring ``days`` of the estate's exports into ``table``; returns what is waited for. Raises as ``collect_bill``."""
    with tempfile.TemporaryDirectory(prefix="akidb-exports-") as folder:
        bill = collect_bill(table, estate, days, s3_client, Path(folder))
        if bill.made:
            keep_aside(table, bill.made)
            for path in bill.made.paths:
                table.replace(path)
        return bill.problems
