"""How long charges last: which earlier partitions a report has to read beside its own days, by one listing."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from include.clients.storage import Folder
from include.cost.table.columns import CostError
from include.cost.table.store import CostTable
from tests.unit.cost.validation_world import DAY, Table, at, row

JANUARY, NOVEMBER = dt.date(2026, 1, 1), dt.date(2026, 11, 1)


class Counting(Folder):
    """A folder that remembers which partitions were opened."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: list[str] = []

    def local(self, key: str):  # type: ignore[no-untyped-def]
        self.opened.append(key)
        return super().local(key)


def put_subscription(world: Table, day: dt.date, until: dt.datetime, usd: str = "3650") -> None:
    world.put(day, [row("A product", usd, at(day), (until - at(day)).total_seconds() / 3600)])


def test_a_partition_whose_charge_lasts_into_the_days_is_read_with_them(tmp_path: Path) -> None:
    world = Table(tmp_path)
    put_subscription(world, JANUARY, at(dt.date(2027, 1, 1)))
    put_subscription(world, dt.date(2026, 3, 1), at(dt.date(2026, 4, 1)))
    assert world.table.with_lasting("aws", [NOVEMBER]) == [JANUARY, NOVEMBER]
    assert world.table.with_lasting("aws", [dt.date(2026, 3, 31)])[:-1] == [JANUARY, dt.date(2026, 3, 1)]
    assert world.table.with_lasting("jetson", [NOVEMBER]) == [NOVEMBER]


@pytest.mark.parametrize(("end", "reaches"), [(0, False), (1, True)])
def test_a_period_that_ends_at_midnight_does_not_reach_the_next_day(tmp_path: Path, end: int, reaches: bool) -> None:
    world = Table(tmp_path)
    put_subscription(world, JANUARY, at(NOVEMBER) + dt.timedelta(seconds=end))
    assert (JANUARY in world.table.with_lasting("aws", [NOVEMBER])) is reaches


def test_a_day_like_any_other_and_a_purchase_at_midnight_leave_no_mark(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(JANUARY, [row("A product", "1", at(JANUARY), 24), row("A product", "1", at(JANUARY), 0)])
    world.put(JANUARY + DAY, [])
    assert world.storage.keys("lasting/") == []


def test_one_listing_tells_and_no_partition_is_opened(tmp_path: Path) -> None:
    world = Table(tmp_path)
    for n in range(20):
        world.put(NOVEMBER - n * DAY, [row("A product", "1", at(NOVEMBER - n * DAY), 24)])
    table = CostTable(Counting(world.storage.root))
    table.with_lasting("aws", [NOVEMBER])  # the first time of all
    table.storage.opened.clear()  # type: ignore[attr-defined]
    assert table.with_lasting("aws", [NOVEMBER]) == [NOVEMBER]
    assert table.storage.opened == []  # type: ignore[attr-defined]


def test_partitions_from_before_there_were_marks_are_looked_at_once(tmp_path: Path) -> None:
    world = Table(tmp_path)
    put_subscription(world, JANUARY, at(dt.date(2027, 1, 1)))
    for key in world.storage.keys("lasting/"):
        world.storage.delete(key)
    table = CostTable(Counting(world.storage.root))
    assert table.with_lasting("aws", [NOVEMBER]) == [JANUARY, NOVEMBER]
    assert len(table.storage.opened) == 1  # type: ignore[attr-defined]
    assert table.with_lasting("aws", [NOVEMBER]) == [JANUARY, NOVEMBER]
    assert len(table.storage.opened) == 1  # type: ignore[attr-defined]


def test_a_replaced_partition_reaches_as_far_as_its_newest_rows_at_least(tmp_path: Path) -> None:
    world = Table(tmp_path)
    put_subscription(world, JANUARY, at(dt.date(2026, 2, 1)))
    put_subscription(world, JANUARY, at(dt.date(2027, 1, 1)))
    assert world.table.with_lasting("aws", [NOVEMBER]) == [JANUARY, NOVEMBER]


def test_a_partition_that_cannot_be_read_is_named_with_the_remedy(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.storage.put(f"focus/source=aws/day={JANUARY}.parquet", b"half a file")
    with pytest.raises(CostError, match=r"day=2026-01-01\.parquet is no partition .* ingest its day again"):
        world.table.with_lasting("aws", [NOVEMBER])
