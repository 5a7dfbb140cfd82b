"""What an export has delivered to S3 for some days: of each billing period the newest delivery, all its parts.

Layouts: Data Exports ``<name>/data/BILLING_PERIOD=2026-11/[<execution>/]part``, legacy CUR
``<name>/20261101-20261201/[<assembly>/]part`` and its Athena form ``<name>/year=2026/month=11/part``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from include.clients.aws import guarded
from include.cost.exports.source import Format, SourceFile
from include.estate import Export

_ENDINGS = (".parquet", ".csv", ".csv.gz")
_PERIODS = (
    re.compile(r"billing_period=(\d{4})-(\d{2})", re.IGNORECASE),
    re.compile(r"year=(\d{4})/month=(\d{1,2})(?!\d)"),
    re.compile(r"(?:^|/)(\d{4})(\d{2})01-\d{8}(?:/|$)"),
)


def discover(export: Export, s3: Any, days: Collection[dt.date] | None, rank: int = 0) -> list[SourceFile]:
    """The files of ``export`` for ``days`` (all when None), by key; their ``path`` is where ``download`` puts them.

    ``s3`` is a boto3 client. An object without a billing period in its key is taken for any day. Raises AwsError.
    """
    prefix = f"{export.prefix.strip('/')}/"
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=export.bucket, Prefix=prefix)
    listed = guarded("s3", "list_objects_v2", lambda: [item for page in pages for item in page.get("Contents", [])])
    wanted = None if days is None else {(day.year, day.month) for day in days}
    folders: dict[str, list[Any]] = defaultdict(list)
    for item in listed:
        period = period_of(item["Key"])
        if item["Key"].endswith(_ENDINGS) and (wanted is None or period is None or period in wanted):
            folders[item["Key"].rpartition("/")[0]].append(item)
    newest = _newest(folders)
    return [
        SourceFile(item["Key"], Path(item["Key"]), received, Format(export.format), folder, rank)
        for folder, received in sorted(newest.items())
        for item in sorted(folders[folder], key=lambda item: str(item["Key"]))
    ]


def download(export: Export, s3: Any, files: Sequence[SourceFile], folder: Path) -> list[SourceFile]:
    """Fetch the files into ``folder``; the same files with their local paths. Raises AwsError."""
    fetched = []
    for number, file in enumerate(files):
        path = folder / f"{number:05d}-{Path(file.key).name}"
        guarded("s3", "get_object", partial(s3.download_file, export.bucket, file.key, str(path)))
        fetched.append(replace(file, path=path))
    return fetched


def period_of(key: str) -> tuple[int, int] | None:
    """Year and month of the billing period that the key names; None when it names none."""
    for pattern in _PERIODS:
        if match := pattern.search(key):
            return int(match[1]), int(match[2])
    return None


def _newest(folders: dict[str, list[Any]]) -> dict[str, dt.datetime]:
    """The folder of the newest delivery of each period with the time of its last part; all that name no period."""
    received = {folder: max(item["LastModified"] for item in items) for folder, items in folders.items()}
    newest: dict[object, str] = {}
    for folder in sorted(folders, key=lambda folder: (received[folder], folder)):
        newest[period_of(f"{folder}/") or folder] = folder
    return {folder: received[folder] for folder in newest.values()}
