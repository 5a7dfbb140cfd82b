"""From the provider's exports to the cost table: one partition a day of source ``aws``, replaced whole.

Safe to repeat and to run in parallel: a run writes only its own days, equal inputs give equal bytes.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from include.cost.exports import Collected, SourceFile, collect, discover, download
from include.cost.exports.collect import SOURCE
from include.cost.focus import CostError
from include.cost.store import CostTable
from include.estate import Estate


def ingest(
    files: Sequence[SourceFile], estate: Estate, days: Collection[dt.date] | None, table: CostTable | None
) -> Collected:
    """Bring ``files`` into ``table`` (None: only compute). The paths in the answer are gone when it is given.

    Nothing is written before every row is checked. Raises CostError when no file can be used or when the rules of two
    components match one row.
    """
    with tempfile.TemporaryDirectory(prefix="akidb-ingest-") as folder:
        standing = table.days(SOURCE) if table and days is None else []
        made = collect(files, estate, days, Path(folder), standing)
        if table:
            _keep(table, made)
        return made


def ingest_exports(
    estate: Estate, days: Collection[dt.date], table: CostTable, s3_client: Callable[[str], Any]
) -> Collected:
    """Bring ``days`` of the estate's exports into ``table``; ``s3_client`` makes a boto3 client by connection id.

    Raises CostError naming the exports when none has a file for these days, AwsError when S3 can't be read.
    """
    with tempfile.TemporaryDirectory(prefix="akidb-exports-") as folder:
        files: list[SourceFile] = []
        for rank, export in enumerate(estate.cost.exports):
            client = s3_client(export.connection)
            local = Path(folder) / str(rank)
            local.mkdir()
            files += download(export, client, discover(export, client, days, rank), local)
        if not files:
            places = ", ".join(f"s3://{export.bucket}/{export.prefix}" for export in estate.cost.exports)
            raise CostError(
                f"no export has a file for {min(days)} to {max(days)} under {places}: wait for the delivery, or "
                "correct cost.exports in the estate's file"
            )
        return ingest(files, estate, days, table)


def _keep(table: CostTable, made: Collected) -> None:
    for reason, path in made.aside_files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        table.set_aside(SOURCE, f"{reason}-{content}", reason, path)
    for key, reason in made.refused.items():
        table.set_aside(SOURCE, f"{key}-unreadable", reason)
    for path in made.paths:
        table.replace(path)
