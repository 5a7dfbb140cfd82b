"""Validations in a storage: a chain of records for each window and set of regions, every one of them kept.

validations/20261123T000000Z-86400s/all/001-1f3a9c0b7e55.json and .md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from include.clients.storage import Storage
from include.cost.table.columns import CostError
from include.cost.validation.verdicts import encode, revision_name, supersedes, to_markdown

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
        storage.put(f"{key}.md", to_markdown(plain).encode())
        try:
            storage.create(f"{key}.json", data)
        except FileExistsError:
            continue
        return f"{key}.json"
    raise CostError(f"{name}: other runs kept adding records: run the validation again")
