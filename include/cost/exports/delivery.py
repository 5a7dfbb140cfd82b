"""What an export has delivered to S3 for some days: of each billing period the newest delivery that is whole.

AWS writes a delivery's manifest when all of its parts are there: what the manifest names counts, and nothing else. Where
an export has no manifest at all (somebody copies the parts only), the folder that was written last is the delivery.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from include.clients.aws import guarded
from include.cost.exports.keys import export_of, period_of
from include.cost.exports.source import Format, SourceFile
from include.estate import Export

_ENDINGS = (".parquet", ".csv", ".csv.gz")
_MANIFEST = "manifest.json"
# A part that is newer than its manifest by more is of the next delivery, which is on its way.
_SLACK = dt.timedelta(minutes=15)


@dataclass(frozen=True)
class Delivery:
    """What counts of one export and billing period. Without a whole delivery ``files`` is empty, ``problem`` says why."""

    export: str  # its folder
    period: tuple[int, int] | None  # year and month; None where the keys name none
    files: tuple[SourceFile, ...] = ()
    problem: str = ""

    @property
    def received(self) -> dt.datetime:
        """When its last part, or its manifest, was written. Only of a whole one."""
        return self.files[0].received

    def owns(self, day: dt.date) -> bool:
        """Whether the day's charges are in this delivery, but for later corrections."""
        return self.period in {None, (day.year, day.month)}


@dataclass(frozen=True)
class _Manifest:
    key: str
    written: dt.datetime
    parts: frozenset[str]


def discover(export: Export, s3: Any, days: Collection[dt.date] | None, rank: int = 0) -> list[SourceFile]:
    """The files of ``export`` for ``days`` (all when None), by key; their ``path`` is where ``download`` puts them.

    ``s3`` is a boto3 client. An object without a billing period in its key is taken for any day. Raises AwsError.
    """
    wanted = None if days is None else {(day.year, day.month) for day in days}
    found = deliveries(export, s3, rank)
    return [
        file
        for delivery in found
        if wanted is None or delivery.period is None or delivery.period in wanted
        for file in delivery.files
    ]


def deliveries(export: Export, s3: Any, rank: int = 0, first: tuple[int, int] | None = None) -> list[Delivery]:
    """The deliveries under the export's prefix by folder and period, from the period ``first`` on. Raises AwsError."""
    prefix = f"{export.prefix.strip('/')}/"
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=export.bucket, Prefix=prefix)
    listed = guarded("s3", "list_objects_v2", lambda: [item for page in pages for item in page.get("Contents", [])])
    items = {item["Key"]: item for item in listed if first is None or (period_of(item["Key"]) or first) >= first}
    manifests = [_manifest(export, s3, item, items) for key, item in items.items() if _is_manifest(key)]
    with_manifest = {export_of(key) for key in items if _is_manifest(key)}
    with_manifest |= {export_of(key) for one in manifests for key in one.parts}
    groups: dict[tuple[str, tuple[int, int] | None], dict[str, Any]] = defaultdict(dict)
    for key, item in items.items():
        if key.endswith(_ENDINGS):
            groups[export_of(key), period_of(key)][key] = item
    return [
        _delivery(export, rank, place, groups[place], manifests, place[0] in with_manifest)
        for place in sorted(groups, key=lambda place: (place[0], place[1] or (0, 0)))
    ]


def download(export: Export, s3: Any, files: Sequence[SourceFile], folder: Path) -> list[SourceFile]:
    """Fetch the files into ``folder``; the same files with their local paths. Raises AwsError."""
    fetched = []
    for number, file in enumerate(files):
        path = folder / f"{number:05d}-{Path(file.key).name}"
        guarded("s3", "get_object", partial(s3.download_file, export.bucket, file.key, str(path)))
        fetched.append(replace(file, path=path))
    return fetched


def _is_manifest(key: str) -> bool:
    return key.lower().endswith(_MANIFEST)


def _manifest(export: Export, s3: Any, item: Mapping[str, Any], items: Mapping[str, Any]) -> _Manifest:
    with tempfile.TemporaryDirectory(prefix="akidb-manifest-") as folder:
        path = Path(folder) / _MANIFEST
        guarded("s3", "get_object", partial(s3.download_file, export.bucket, item["Key"], str(path)))
        named = named_parts(path.read_bytes(), export.bucket)
    if not named:  # it only says that what lies beside it is whole
        beside = _data_folder(item["Key"])
        named = {key for key in items if key.endswith(_ENDINGS) and key.rpartition("/")[0] == beside}
    return _Manifest(item["Key"], item["LastModified"], frozenset(named))


def named_parts(manifest: bytes, bucket: str) -> set[str]:
    """The keys of the parts that a manifest names: Data Exports' ``dataFiles``, the legacy CUR's ``reportKeys``."""
    try:
        said = json.loads(manifest)
    except ValueError:
        return set()
    parts = [*said.get("dataFiles", ()), *said.get("reportKeys", ())] if isinstance(said, dict) else []
    return {str(part).removeprefix(f"s3://{bucket}/") for part in parts}


def _data_folder(key: str) -> str:
    """Where the parts of the manifest at ``key`` lie: beside it, or at the same place under ``data``."""
    folder, root = key.rpartition("/")[0], export_of(key)
    inside = folder.removeprefix(f"{root}/")
    return f"{root}/data/{inside.removeprefix('metadata/')}" if inside.startswith("metadata/") else folder


def _delivery(
    export: Export,
    rank: int,
    place: tuple[str, tuple[int, int] | None],
    parts: Mapping[str, Any],
    manifests: Iterable[_Manifest],
    has_manifests: bool,
) -> Delivery:
    if not has_manifests:
        return Delivery(*place, _without_manifest(export, rank, parts))
    mine = sorted((one for one in manifests if one.parts & set(parts)), key=lambda one: (one.written, one.key))
    why = "it has no manifest yet"
    for one in reversed(mine):
        problem = _problem(one, parts)
        if not problem:
            received = max(one.written, *(parts[key]["LastModified"] for key in one.parts))
            return Delivery(*place, _files(export, rank, sorted(one.parts), received))
        why = problem if one is mine[-1] else why
    where = f"s3://{export.bucket}/{min(parts).rpartition('/')[0]}"
    return Delivery(*place, problem=f"the delivery under {where} is not whole: {why}; wait for the export's next delivery")


def _problem(manifest: _Manifest, parts: Mapping[str, Any]) -> str:
    """Why what a manifest names isn't what lies there; empty when it is."""
    missing = sorted(manifest.parts - set(parts))
    if missing:
        return f"{manifest.key} names {missing[0]}, which is not there"
    late = sorted(key for key in manifest.parts if parts[key]["LastModified"] > manifest.written + _SLACK)
    return f"{late[0]} is newer than {manifest.key}" if late else ""


def _without_manifest(export: Export, rank: int, parts: Mapping[str, Any]) -> tuple[SourceFile, ...]:
    """The folder that was written last, all of it."""
    folders: dict[str, list[str]] = defaultdict(list)
    for key in parts:
        folders[key.rpartition("/")[0]].append(key)
    received = {folder: max(parts[key]["LastModified"] for key in keys) for folder, keys in folders.items()}
    newest = max(folders, key=lambda folder: (received[folder], folder))
    return _files(export, rank, sorted(folders[newest]), received[newest])


def _files(export: Export, rank: int, keys: Sequence[str], received: dt.datetime) -> tuple[SourceFile, ...]:
    delivery = min(key.rpartition("/")[0] for key in keys)
    return tuple(SourceFile(key, Path(key), received, Format(export.format), delivery, rank) for key in keys)
