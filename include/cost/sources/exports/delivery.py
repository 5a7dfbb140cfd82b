"""What an export has delivered to S3 for some days: of each billing period the newest delivery that is whole.

AWS writes a delivery's manifest when all of its parts are there: what the manifest names counts, and nothing else.
Where an export has no manifest at all (somebody copies the parts only), all of the folder that was written last counts.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from include.clients.aws import guarded
from include.cost.sources.exports.keys import export_of, period_of
from include.cost.sources.exports.source import Format, SourceFile
from include.estate import Export

_ENDINGS = (".parquet", ".csv", ".csv.gz")
_MANIFEST = "manifest.json"
_NAMING = ("dataFiles", "reportKeys")
# A part that is newer than its manifest by more is of the next delivery, which is on its way.
_SLACK = dt.timedelta(minutes=15)
_Place = tuple[str, tuple[int, int] | None]  # folder of the export, billing period


@dataclass(frozen=True)
class Delivery:
    """What counts of one export and billing period. Without a whole one ``files`` is empty, ``problem`` says why."""

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


def deliveries(export: Export, s3: Any, rank: int = 0, first: tuple[int, int] | None = None) -> list[Delivery]:
    """The deliveries under the export's prefix by folder and period, from the period ``first`` on. Raises AwsError.

    ``s3`` is a boto3 client. The files' ``path`` is where ``download`` puts them.
    """
    prefix = f"{export.prefix.strip('/')}/"
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=export.bucket, Prefix=prefix)
    listed = guarded("s3", "list_objects_v2", lambda: [item for page in pages for item in page.get("Contents", [])])
    groups: dict[_Place, dict[str, Any]] = defaultdict(dict)
    manifests: dict[_Place, list[Any]] = defaultdict(list)
    for item in sorted(listed, key=lambda item: (item["LastModified"], item["Key"]), reverse=True):
        key, period = item["Key"], period_of(item["Key"])
        if first and period and period < first:
            continue
        if key.lower().endswith(_MANIFEST):
            manifests[export_of(key), period].append(item)
        elif key.endswith(_ENDINGS):
            groups[export_of(key), period][key] = item
    found = []
    for place in sorted(groups, key=lambda place: (place[0], place[1] or (0, 0))):
        # The Athena form of a legacy CUR has its parts in a folder below that of its manifests.
        about = {at: items for at, items in manifests.items() if f"{place[0]}/".startswith(f"{at[0]}/")}
        mine = [item for at, items in about.items() if at[1] == place[1] for item in items] if about else None
        found.append(_Group(export, s3, rank, place, groups[place]).delivery(mine))
    return found


def download(export: Export, s3: Any, files: Sequence[SourceFile], folder: Path) -> list[SourceFile]:
    """Fetch the files into ``folder``; the same files with their local paths. Raises AwsError."""
    fetched = []
    for number, file in enumerate(files):
        path = folder / f"{number:05d}-{Path(file.key).name}"
        guarded("s3", "get_object", partial(s3.download_file, export.bucket, file.key, str(path)))
        fetched.append(replace(file, path=path))
    return fetched


def named_parts(manifest: bytes) -> set[str] | None:
    """The keys of the parts that a manifest names: Data Exports' ``dataFiles``, the legacy CUR's ``reportKeys``.

    Empty when it names none, None when it can't be read. The bucket that it names may be the one it was copied from.
    """
    try:
        content = json.loads(manifest)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    return {re.sub(r"^s3://[^/]+/", "", str(part)) for name in _NAMING for part in content.get(name) or ()}


class _Group:
    """The parts of one export and billing period that lie in S3, of whichever delivery."""

    def __init__(self, export: Export, s3: Any, rank: int, place: _Place, parts: Mapping[str, Any]) -> None:
        self._export, self._s3, self._rank, self._place, self._parts = export, s3, rank, place, parts

    def delivery(self, manifests: Sequence[Mapping[str, Any]] | None) -> Delivery:
        """What the newest of the ``manifests`` (the newest first) says is whole; None: the export has none at all."""
        if manifests is None:
            return Delivery(*self._place, self._written_last())
        problem = "it has no manifest yet"
        for number, manifest in enumerate(manifests):
            parts, why = self._whole(manifest)
            if not why:
                received = max(manifest["LastModified"], *(self._parts[key]["LastModified"] for key in parts))
                return Delivery(*self._place, self._files(parts, received))
            problem = problem if number else why
        where = f"s3://{self._export.bucket}/{min(self._parts).rpartition('/')[0]}"
        return Delivery(*self._place, problem=f"{where} is not whole: {problem}; wait for the export's next delivery")

    def _whole(self, manifest: Mapping[str, Any]) -> tuple[list[str], str]:
        """The parts that a manifest stands for, and why they aren't what lies there; empty when they are."""
        key, written = manifest["Key"], manifest["LastModified"]
        named = named_parts(self._read(key))
        if named is None:
            return [], f"{key} can't be read"
        if not named:  # it only says that what lies beside it is whole
            beside = _data_folder(key)
            named = {part for part in self._parts if part.rpartition("/")[0] == beside}
        if not named:
            return [], f"{key} names no part"
        missing = sorted(named - set(self._parts))
        if missing:
            return [], f"{key} names {missing[0]}, which is not there"
        late = sorted(part for part in named if self._parts[part]["LastModified"] > written + _SLACK)
        return sorted(named), f"{late[0]} is newer than {key}" if late else ""

    def _read(self, key: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="akidb-manifest-") as folder:
            path = Path(folder) / _MANIFEST
            guarded("s3", "get_object", partial(self._s3.download_file, self._export.bucket, key, str(path)))
            return path.read_bytes()

    def _written_last(self) -> tuple[SourceFile, ...]:
        folders: dict[str, list[str]] = defaultdict(list)
        for key in self._parts:
            folders[key.rpartition("/")[0]].append(key)
        written = {folder: max(self._parts[key]["LastModified"] for key in keys) for folder, keys in folders.items()}
        newest = max(folders, key=lambda folder: (written[folder], folder))
        return self._files(sorted(folders[newest]), written[newest])

    def _files(self, keys: Sequence[str], received: dt.datetime) -> tuple[SourceFile, ...]:
        delivery = min(key.rpartition("/")[0] for key in keys)
        kind = Format(self._export.format)
        return tuple(SourceFile(key, Path(key), received, kind, delivery, self._rank) for key in keys)


def _data_folder(key: str) -> str:
    """Where the parts of the manifest at ``key`` lie: beside it, or at the same place under ``data``."""
    folder, root = key.rpartition("/")[0], export_of(key)
    inside = folder.removeprefix(f"{root}/")
    return f"{root}/data/{inside.removeprefix('metadata/')}" if inside.startswith("metadata/") else folder
