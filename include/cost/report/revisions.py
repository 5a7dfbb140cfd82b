"""The published reports of a day: every revision is kept, and one pointer says which counts.

    reports/day=2026-11-23/revision=001-<content>/report.parquet, .json, .md, .html
    reports/day=2026-11-23/revision=002-<content>/...         and changes.json: what is different from the one before
    reports/day=2026-11-23/current.json                       which revision counts, and all that ever did

The pointer moves last and by compare-and-set: a run that is killed leaves the old report, and two runs at once can't
overwrite each other. Equal figures make no new revision, however the page is drawn by now.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from include.clients.storage import StaleError, Storage
from include.cost.table.columns import CostError

FACTS_FILE = "report.json"
ATTEMPTS = 5


@dataclass(frozen=True)
class ReportPointer:
    """Which revision of a day counts. ``etag`` is None where there is no pointer yet."""

    day: dt.date
    revisions: tuple[Mapping[str, Any], ...] = ()
    etag: str | None = None

    @property
    def current(self) -> Mapping[str, Any] | None:
        """number, content, status and as_of of the revision that counts, or None."""
        return self.revisions[-1] if self.revisions else None


@dataclass(frozen=True)
class Published:
    """What publishing came to. ``key`` is the folder of the revision that counts; ``new`` whether this made it."""

    day: dt.date
    key: str
    status: str
    new: bool
    changes: int  # figures that differ from the revision before


def folder(day: dt.date) -> str:
    """Where the reports of a day lie."""
    return f"reports/day={day}"


def pointer(storage: Storage, day: dt.date) -> ReportPointer:
    """The day's pointer. Raises CostError when it can't be read."""
    key = f"{folder(day)}/current.json"
    try:
        data, etag = storage.read_with_etag(key)
    except FileNotFoundError:
        return ReportPointer(day)
    try:
        return ReportPointer(day, tuple(json.loads(data)["revisions"]), etag)
    except (ValueError, KeyError, TypeError) as error:
        raise CostError(f"{key} can't be read ({error}): delete it and report the day again") from error


def key_of(day: dt.date, revision: Mapping[str, Any]) -> str:
    """The folder of a revision."""
    return f"{folder(day)}/revision={revision['number']:03d}-{revision['content'][:12]}"


def content_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and bytes of the files."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\n{len(files[name])}\n".encode() + files[name])
    return whole.hexdigest()


def publish(
    storage: Storage, day: dt.date, make: Callable[[ReportPointer], tuple[Mapping[str, bytes], Mapping[str, Any]]]
) -> Published:
    """Publish what ``make`` returns: the files, and ``status`` and ``as_of`` for the pointer.

    ``make`` gets the pointer as it was before it reads its inputs; when another run moves it meanwhile, it is asked
    again, so that a report of older inputs never takes the place of a newer one. Raises CostError when that goes on.
    """
    for _ in range(ATTEMPTS):
        before = pointer(storage, day)
        files, about = make(before)
        with contextlib.suppress(StaleError, FileExistsError):
            return _publish(storage, before, files, about)
    raise CostError(f"{folder(day)} is changed by other runs all the time: run this day again when they have ended")


def _publish(
    storage: Storage, before: ReportPointer, files: Mapping[str, bytes], about: Mapping[str, Any]
) -> Published:
    content, old = content_of(files), before.current
    if old is not None and (old["content"] == content or _has_same_figures(storage, before, files)):
        _restore(storage, key_of(before.day, old), files)
        return Published(before.day, key_of(before.day, old), old["status"], False, 0)
    revision = {"number": old["number"] + 1 if old else 1, "content": content, **about}
    key = key_of(before.day, revision)
    changes = _changes(storage, before, files)
    for name in sorted(files):
        storage.put(f"{key}/{name}", files[name])
    if old is not None:
        storage.put(f"{key}/changes.json", _json({"before": key_of(before.day, old), "changes": changes}))
    _move(storage, before, _json({"current": key, "revisions": [*before.revisions, revision]}))
    return Published(before.day, key, revision["status"], True, len(changes))


def _has_same_figures(storage: Storage, before: ReportPointer, files: Mapping[str, bytes]) -> bool:
    """Whether the revision that counts says the same: a page that is drawn differently is no other report."""
    facts = _facts_of(storage, before)
    return facts is not None and facts == json.loads(files[FACTS_FILE])


def _facts_of(storage: Storage, before: ReportPointer) -> dict[str, Any] | None:
    if before.current is None:
        return None
    try:
        facts: dict[str, Any] = json.loads(storage.read(f"{key_of(before.day, before.current)}/{FACTS_FILE}"))
    except FileNotFoundError:
        return None
    return facts


def _restore(storage: Storage, key: str, files: Mapping[str, bytes]) -> None:
    """Put back files of a published revision that somebody has deleted."""
    there = set(storage.keys(f"{key}/"))
    for name in sorted(files):
        if f"{key}/{name}" not in there:
            storage.put(f"{key}/{name}", files[name])


def _move(storage: Storage, before: ReportPointer, data: bytes) -> None:
    key = f"{folder(before.day)}/current.json"
    if before.etag is None:
        storage.create(key, data)
    else:
        storage.replace(key, data, before.etag)


def _changes(storage: Storage, before: ReportPointer, files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    facts = _facts_of(storage, before)
    if facts is None:
        return []
    return differences(facts["figures"], json.loads(files[FACTS_FILE])["figures"])


def differences(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The figures whose value or status is another, with both, in the order of the new report; what went comes last."""
    named = {_name(row): row for row in old}
    found = []
    for row in new:
        was = named.pop(_name(row), None)
        if was is None or (was["value"], was["status"]) != (row["value"], row["status"]):
            found.append(_change(row, was, row))
    return found + [_change(row, row, None) for row in named.values()]


def _name(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["section"], row["key"], row["metric"]


def _change(row: Mapping[str, Any], was: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("section", "key", "metric", "unit")},
        "before": was["value"] if was else None,
        "status_before": was["status"] if was else "absent",
        "after": now["value"] if now else None,
        "status_after": now["status"] if now else "absent",
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1).encode()
