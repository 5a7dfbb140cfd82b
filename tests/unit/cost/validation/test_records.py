"""Chains of validation records: each is kept, equal ones once, and what was known stays known."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from include.cost.table.columns import CostError
from include.cost.table.record import encode
from include.cost.validation.records import keep, newest, newest_of_all, open_windows, supersedes, what_is_missing
from include.cost.validation.verdicts import Validation
from tests.unit.cost.validation.test_verdicts import MONDAY, at, day_of, result, total_of


def record(**usd: str | None) -> dict[str, Any]:
    import json

    lines = tuple(result(name, value, settling="provisional") for name, value in usd.items())
    validation = Validation(day_of(), ("us-east-1",), 1, lines, total_of(lines))
    raw: dict[str, Any] = json.loads(encode(validation.to_json()))
    return raw


NAME = "validations/20261116T000000Z-86400s/all"


def test_a_chain_keeps_every_record_and_equal_ones_once(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    first = keep(storage, NAME, record(s3="3", jetson=None))
    assert first.startswith(f"{NAME}/001-")
    assert keep(storage, NAME, record(s3="3", jetson=None)) == first
    second = keep(storage, NAME, record(s3="3.1", jetson="0.3"))
    assert second.startswith(f"{NAME}/002-")
    assert newest(storage, NAME) == (second, record(s3="3.1", jetson="0.3"))
    assert newest_of_all(storage) == {NAME: record(s3="3.1", jetson="0.3")}
    pages = [key for key in storage.keys(NAME) if key.endswith(".md")]
    assert len(pages) == 2
    assert b"| s3 | pass | 3.10 |" in storage.read(second.replace(".json", ".md"))


def test_what_was_known_stays_known(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    first = keep(storage, NAME, record(s3="3", jetson="0.3"))
    assert keep(storage, NAME, record(s3="4", jetson=None)) == first  # Prometheus has forgotten by now
    assert not supersedes(record(s3="4", jetson=None), record(s3="3", jetson="0.3"))
    assert supersedes(record(s3="4", jetson="0.3"), record(s3="3", jetson="0.3"))


def test_what_no_component_takes_stays_known_too() -> None:
    known, unknown, older = record(s3="3"), record(s3="3"), record(s3="4")
    known["total"]["unallocated_usd_month"] = "30.4"
    assert not supersedes(unknown, known)
    assert supersedes(known, unknown)
    del older["total"]["unallocated_usd_month"]  # a record from before it was in the total
    assert supersedes(known, older)


def test_a_lost_race_tries_the_next_place(tmp_path: Path) -> None:
    class Racing(Folder):
        races = 1

        def create(self, key: str, data: bytes) -> None:
            if self.races:
                self.races -= 1
                super().create(f"{NAME}/001-other.json", encode(record(s3="2")))
                raise FileExistsError(key)
            super().create(key, data)

    assert keep(Racing(tmp_path), NAME, record(s3="3")).startswith(f"{NAME}/002-")


def test_a_storage_that_always_loses_says_so(tmp_path: Path) -> None:
    class Losing(Folder):
        def create(self, key: str, data: bytes) -> None:
            raise FileExistsError(key)

    with pytest.raises(CostError, match="other runs kept adding records: run the validation again"):
        keep(Losing(tmp_path), NAME, record(s3="3"))


def test_windows_that_are_not_final_are_open_for_a_while() -> None:
    final = record(s3="3")
    final["total"]["settling"] = "final"
    records = {"open": record(s3="3"), "final": final}
    after = at(MONDAY + dt.timedelta(days=2))
    assert open_windows(records, after, 45) == ["open"]
    assert open_windows(records, after + dt.timedelta(days=60), 45) == []
    assert open_windows(records, at(MONDAY + dt.timedelta(days=1)), 45) == []  # the window itself


def test_what_is_missing_names_every_component() -> None:
    assert what_is_missing(record(s3="3", jetson=None)) == "jetson: no data"
    assert what_is_missing(record(s3="9")) == ""  # an honest fail
