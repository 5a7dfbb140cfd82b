"""Validations in a storage: a chain of records for each window and set of regions, every one of them kept.

validations/20261123T000000Z-86400s/all/001-1f3a9c0b7e55.json, .md and .html
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from include.clients.storage import Storage
from include.cost.table.columns import CostError
from include.cost.table.components import UNALLOCATED
from include.cost.table.record import encode
from include.cost.table.settling import FINAL
from include.cost.targets import UNKNOWN
from include.cost.validation.page import document
from include.pages.document import to_html, to_markdown

ROOT = "validations/"
ATTEMPTS = 5  # two runs may add to the same chain at once


def newest(storage: Storage, name: str) -> tuple[str, dict[str, Any]] | None:
    """Key and content of the newest record of a window, None without one."""
    keys = [key for key in storage.keys(f"{name}/") if key.endswith(".json")]
    return (keys[-1], json.loads(storage.read(keys[-1]))) if keys else None


def newest_of_all(storage: Storage) -> dict[str, dict[str, Any]]:
    """The newest record of every window, by the name of its folder."""
    keys = {key.rpartition("/")[0]: key for key in storage.keys(ROOT) if key.endswith(".json")}
    return {name: json.loads(storage.read(key)) for name, key in keys.items()}


def keep(storage: Storage, name: str, record: Mapping[str, Any]) -> str:
    """Add ``record`` to the chain of ``name`` unless the newest one says as much; returns the key that stands."""
    data = encode(record)
    plain = json.loads(data)
    for _ in range(ATTEMPTS):
        last = newest(storage, name)
        if last and not supersedes(plain, last[1]):
            return last[0]
        place = int(last[0].rpartition("/")[2].partition("-")[0]) + 1 if last else 1
        key = f"{name}/{revision_name(place, data)}"
        # The page first: a record that can be found has its page.
        page = document(plain)
        storage.put(f"{key}.html", to_html(page).encode())
        storage.put(f"{key}.md", to_markdown(page).encode())
        try:
            storage.create(f"{key}.json", data)
        except FileExistsError:
            continue
        return f"{key}.json"
    raise CostError(f"{name}: other runs kept adding records: run the validation again")


def revision_name(place: int, data: bytes) -> str:
    """Such as ``002-1f3a9c0b7e55``: the place in the chain of a window's records, and the record's hash."""
    return f"{place:03d}-{hashlib.sha256(data).hexdigest()[:12]}"


def supersedes(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a later record of the same window says more: it differs, and knows at least every component of the old.

    A source may be gone by then (Prometheus keeps its samples for some days only); what was known stays known.
    """
    return new != old and _known_in(old) <= _known_in(new)


def _known_in(record: Mapping[str, Any]) -> set[str]:
    known = {line["component"] for line in record["lines"] if line["usd_month"] is not None}
    # Older records don't have it.
    return known | ({UNALLOCATED} if record["total"].get("unallocated_usd_month") is not None else set())


def open_windows(records: Mapping[str, Mapping[str, Any]], end: dt.datetime, days: int) -> list[str]:
    """Names of the windows to validate again: not final yet, and ended up to ``days`` before ``end``.

    ``records``: the newest record by the name of its folder.
    """
    found = []
    for name, record in records.items():
        ended = dt.datetime.fromisoformat(record["window"]["end"])
        if record["total"]["settling"] != FINAL and end - dt.timedelta(days=days) <= ended < end:
            found.append(name)
    return sorted(found)


def what_is_missing(record: Mapping[str, Any]) -> str:
    """Why the total is unknown, component by component; "" when it is known or honestly failed."""
    if record["total"]["verdict"] != UNKNOWN:
        return ""
    lines = {line["component"]: line for line in record["lines"]}
    unknown = [name for name in record["total"]["unknown"] if name != UNALLOCATED]
    reasons = [f"{name}: {lines[name]['reason'] or 'its rest is unknown'}" for name in unknown]
    if len(unknown) < len(record["total"]["unknown"]):
        reasons += [f"{UNALLOCATED}: {text}" for text in record["unallocated"].values()]
    reasons += [
        f"{name}: {line['reason']}"
        for name, line in lines.items()
        if line["verdict"] == UNKNOWN and name not in record["total"]["unknown"]
    ]
    return "\n".join(reasons) or "what is missing within the coverage could lift the total above its target"
