"""Revisions: kept, moved by compare-and-set, the same bytes for the same content, and nothing half done."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from include.cost.report.revisions import ReportPointer, content_of, differences, key_of, pointer, publish
from include.cost.table.columns import CostError

DAY = dt.date(2026, 11, 18)


def files(value: str = "1", status: str = "provisional") -> dict[str, bytes]:
    row = {"section": "total", "key": "", "metric": "usd", "unit": "USD", "value": value, "status": status}
    return {"report.json": json.dumps({"figures": [row]}).encode(), "report.md": f"cost {value}".encode()}


def put(storage: Any, value: str = "1", status: str = "provisional") -> Any:
    return publish(storage, DAY, lambda _: (files(value, status), {"status": status, "as_of": None}))


def everything(storage: Folder) -> dict[str, bytes]:
    return {key: storage.read(key) for key in storage.keys("")}


def test_the_first_revision_and_its_pointer(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    done = put(storage)
    content = content_of(files())
    assert done.key == f"reports/day=2026-11-18/revision=001-{content[:12]}"
    assert (done.new, done.changes, done.status) == (True, 0, "provisional")
    assert json.loads(storage.read("reports/day=2026-11-18/current.json")) == {
        "current": done.key,
        "revisions": [{"number": 1, "content": content, "status": "provisional", "as_of": None}],
    }
    assert storage.read(f"{done.key}/report.md") == b"cost 1"


def test_equal_content_makes_no_new_revision(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    first, before = put(storage), everything(storage)
    again = put(storage)
    assert (again.key, again.new) == (first.key, False)
    assert everything(storage) == before


def test_each_revision_is_kept_with_what_has_changed(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    first, second = put(storage), put(storage, "2", "settled")
    assert (second.new, second.changes) == (True, 1)
    assert storage.read(f"{first.key}/report.md") == b"cost 1"
    assert json.loads(storage.read(f"{second.key}/changes.json")) == {
        "before": first.key,
        "changes": [
            {
                "section": "total", "key": "", "metric": "usd", "unit": "USD",
                "before": "1", "status_before": "provisional", "after": "2", "status_after": "settled",
            }
        ],
    }  # fmt: skip
    assert [one["number"] for one in pointer(storage, DAY).revisions] == [1, 2]


def test_a_deleted_file_of_the_current_revision_comes_back(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    key = f"{put(storage).key}/report.md"
    storage.delete(key)
    assert put(storage).new is False
    assert storage.read(key) == b"cost 1"


class Dies(Folder):
    """A storage whose ``k``-th write never happens."""

    def __init__(self, root: Path, k: int) -> None:
        super().__init__(root)
        self.left = k

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("killed")

    def put(self, key: str, data: bytes) -> None:
        if not key.endswith("current.json"):  # counted by create and replace
            self._count()
        super().put(key, data)

    def create(self, key: str, data: bytes) -> None:
        self._count()
        super().create(key, data)

    def replace(self, key: str, data: bytes, etag: str) -> None:
        self._count()
        super().replace(key, data, etag)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_a_run_that_is_killed_leaves_the_old_report(tmp_path: Path, k: int) -> None:
    storage = Folder(tmp_path)
    old = put(storage)
    with pytest.raises(RuntimeError, match="killed"):
        put(Dies(tmp_path, k), "2")
    current = pointer(storage, DAY).current
    assert current is not None
    assert key_of(DAY, current) == old.key
    assert storage.read(f"{old.key}/report.md") == b"cost 1"
    # The next run ends what the killed one began.
    assert put(storage, "2").new is True
    assert put(Dies(tmp_path, 5), "2").new is False


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_first_run_that_is_killed_leaves_no_report(tmp_path: Path, k: int) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        put(Dies(tmp_path, k))
    assert pointer(Folder(tmp_path), DAY) == ReportPointer(DAY)
    assert put(Folder(tmp_path)).new is True


def test_a_run_that_was_overtaken_reads_its_inputs_again(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    put(storage)
    asked = []

    def make(before: ReportPointer) -> tuple[Mapping[str, bytes], Mapping[str, Any]]:
        asked.append(len(before.revisions))
        if len(asked) == 1:
            put(storage, "2")  # another run, with newer inputs, while this one computes
            return files("old"), {"status": "provisional"}
        return files("3"), {"status": "provisional"}

    done = publish(storage, DAY, make)
    assert asked == [1, 2]
    assert storage.read(f"{done.key}/report.md") == b"cost 3"
    assert len(pointer(storage, DAY).revisions) == 3


def test_a_day_that_others_change_all_the_time_is_given_up(tmp_path: Path) -> None:
    storage, count = Folder(tmp_path), iter(range(100))

    def make(before: ReportPointer) -> tuple[Mapping[str, bytes], Mapping[str, Any]]:
        put(storage, f"other {next(count)}")
        return files("mine"), {"status": "provisional"}

    with pytest.raises(CostError, match="reports/day=2026-11-18 is changed by other runs all the time: run this day"):
        publish(storage, DAY, make)


def test_a_broken_pointer_is_named(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    storage.put("reports/day=2026-11-18/current.json", b"{")
    with pytest.raises(CostError, match=r"reports/day=2026-11-18/current.json can't be read .*: delete it and report"):
        put(storage)


def test_figures_that_come_and_go_are_changes() -> None:
    one = {"section": "s", "key": "k", "metric": "m", "unit": "USD", "value": "1", "status": "settled"}
    assert [c["status_before"] for c in differences([], [one])] == ["absent"]
    assert [(c["before"], c["status_after"]) for c in differences([one], [])] == [("1", "absent")]
    assert differences([one], [dict(one)]) == []
