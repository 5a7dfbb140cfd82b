"""Partitions by day: equal bytes, days on their own, large batches, empty days, long charges."""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from include.cost.table.spread import spread_daily
from include.cost.table.store import facts_of
from tests.unit.cost.export_files import (
    RECEIVED,
    collected,
    cur_row,
    focus_row,
    source,
    table,
    write_csv,
    write_parquet,
)

CUR = Path(__file__).parents[3] / "../shared/data/billing/aws_cur_2018q4.parquet"


def rows_of(days: int, each: int = 3) -> list[dict[str, str]]:
    return [
        cur_row(
            line_item_usage_start_date=f"2026-11-{day + 1:02}T{hour:02}:00:00Z",
            line_item_usage_end_date=f"2026-11-{day + 1:02}T{hour + 1:02}:00:00Z",
            line_item_resource_id=f"i-{number}",
        )
        for number in range(each)
        for hour in (3, 1)
        for day in reversed(range(days))
    ]


def standing(folder: Path, *files: Path) -> list[Path]:
    """The partitions of an earlier ingest, in a folder of their own."""
    (folder / "table").mkdir(exist_ok=True)
    return collected(folder / "table", *files).paths


def digests(paths: list[Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_equal_inputs_give_equal_bytes_whole_and_by_day(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", rows_of(3))
    first, second = digests(collected(tmp_path, path).paths), digests(collected(tmp_path, path).paths)
    assert first == second
    assert list(first) == ["2026-11-01.parquet", "2026-11-02.parquet", "2026-11-03.parquet"]
    made = collected(tmp_path, path, days=[dt.date(2026, 11, 2)])
    assert digests(made.paths) == {"2026-11-02.parquet": first["2026-11-02.parquet"]}


@pytest.mark.parametrize("write_file", [write_csv, write_parquet])
def test_a_batch_that_goes_over_disk_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_file: Any
) -> None:
    path = write_file(tmp_path / "a", [*rows_of(3), cur_row(line_item_usage_start_date="?"), *rows_of(1)])
    whole = collected(tmp_path, path)
    wanted = digests(whole.paths)
    for module in ("stage", "write"):
        monkeypatch.setattr(sys.modules[f"include.cost.sources.exports.{module}"], "CHUNK_ROWS", 5)
    monkeypatch.setattr(sys.modules["include.cost.sources.exports.stage"], "SLICE_ROWS", 4)
    made = collected(tmp_path, path)
    assert digests(made.paths) == wanted
    assert (made.set_aside, made.components) == (whole.set_aside, whole.components)
    assert made.set_aside == {"line_item_usage_start_date can't be read": 1}


def test_what_the_table_keeps_is_merged_over_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = [row | {"line_item_usage_account_id": "333333333333"} for row in rows_of(4)]
    held = standing(tmp_path, write_csv(tmp_path / "old.csv", [*rows_of(2), *other]))
    path = write_csv(tmp_path / "new.csv", [row | {"line_item_unblended_cost": "2"} for row in rows_of(3)])
    whole = collected(tmp_path, path, standing=held)
    assert [(facts.day.day, facts.rows, facts.billed_usd) for facts in whole.facts] == [
        (day, 12, 6 * Decimal(2) + 6 * Decimal("0.3451")) for day in (1, 2, 3)
    ]
    wanted = digests(whole.paths)
    for module in ("stage", "write"):
        monkeypatch.setattr(sys.modules[f"include.cost.sources.exports.{module}"], "CHUNK_ROWS", 5)
    made = collected(tmp_path, path, standing=held)
    assert digests(made.paths) == wanted
    assert (made.billed_usd, made.rows) == (36, 18)


def test_a_half_delivery_leaves_nothing_over_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["include.cost.sources.exports.stage"], "CHUNK_ROWS", 5)
    cut = write_csv(tmp_path / "cut.csv.gz", rows_of(3, each=200))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    key = "data/BILLING_PERIOD=2026-11"
    parts = [source(write_csv(tmp_path / "a.csv", rows_of(3)), delivery=key, key=f"{key}/1")]
    parts.append(source(cut, delivery=key, key=f"{key}/2"))
    made = collected(tmp_path, *parts, days=[dt.date(2026, 11, 2)])
    assert (made.rows, made.facts, list(made.refused)) == (0, [], [f"{key}/2"])


def test_the_facts_stand_in_the_file(tmp_path: Path) -> None:
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", rows_of(1)))
    facts = facts_of(made.paths[0])
    assert facts == made.facts[0]
    assert (facts.rows, facts.billed_usd, facts.received) == (6, Decimal("2.0706"), RECEIVED)


def test_the_content_is_that_of_the_rows_wherever_they_stood(tmp_path: Path) -> None:
    first = collected(tmp_path, write_csv(tmp_path / "a.csv", rows_of(1))).facts[0]
    moved = collected(tmp_path, write_csv(tmp_path / "b.csv", rows_of(1)[::-1])).facts[0]
    dearer = collected(tmp_path, write_csv(tmp_path / "c.csv", [*rows_of(1)[1:], cur_row()])).facts[0]
    assert first.content == moved.content != dearer.content


def test_rows_are_ordered(tmp_path: Path) -> None:
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", rows_of(1)))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        sql = "SELECT hour(ChargePeriodStart), ResourceId FROM read_parquet(?)"
        found = connection.execute(sql, [str(made.paths[0])]).fetchall()
    assert found == [(1, "i-0"), (1, "i-1"), (1, "i-2"), (3, "i-0"), (3, "i-1"), (3, "i-2")]


def test_a_day_without_rows_that_the_table_holds_becomes_empty(tmp_path: Path) -> None:
    old = write_csv(tmp_path / "old.csv", rows_of(4))
    path = write_csv(tmp_path / "a.csv", [row for row in rows_of(3) if "-02T" not in row["line_item_usage_start_date"]])
    made = collected(tmp_path, path, standing=standing(tmp_path, old))
    assert [(facts.day.day, facts.rows) for facts in made.facts] == [(1, 6), (3, 6), (2, 0)]
    assert facts_of(made.paths[-1]).billed_usd == 0


def test_a_day_whose_rows_were_refused_is_unknown_not_empty(tmp_path: Path) -> None:
    rows = rows_of(3)
    for row in rows:
        if "-02T" in row["line_item_usage_start_date"]:
            row["line_item_currency_code"] = "EUR"
    path = write_csv(tmp_path / "a.csv", rows)
    assert [facts.day.day for facts in collected(tmp_path, path, days=[dt.date(2026, 11, 2)]).facts] == []
    held = standing(tmp_path, write_csv(tmp_path / "old.csv", rows_of(3)))
    assert [facts.day.day for facts in collected(tmp_path, path, standing=held).facts] == [1, 3]


def test_a_delivery_covers_its_period_from_the_first_day(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [cur_row()])
    file = source(path, delivery="run")
    made = collected(tmp_path, file, days=[dt.date(2026, 11, day) for day in (2, 25)])
    assert [(facts.day.day, facts.rows) for facts in made.facts] == [(2, 0)]  # the 25th has not come yet: unknown


def at(day: int, hour: int = 0) -> dt.datetime:
    return dt.datetime(2026, 11, day, hour, tzinfo=dt.UTC)


def used(day: int, hour: int, hours: int, category: str = "Usage", **more: Any) -> dict[str, Any]:
    start = at(day, hour)
    times = {"ChargePeriodStart": start.isoformat(), "ChargePeriodEnd": (start + dt.timedelta(hours=hours)).isoformat()}
    return focus_row(ChargeCategory=category, **times, **more)


@pytest.mark.parametrize(
    ("beside", "missing"),
    [
        ([used(2, 3, 1, ResourceId="late")], 0),  # a daily bill with one hourly row
        ([used(2, 3, 0, ResourceId="at once")], 0),  # or with usage at a moment
        ([used(2, hour, 1, ResourceId="i-1") for hour in (3, 4)], 0),
        ([used(2, hour, 1, ResourceId=f"i-{n}") for hour in (3, 4) for n in range(2)], 22),  # most of it is by the hour
        ([used(2, hour, 1, ResourceId="i-1") for hour in range(20)], 4),  # an hourly bill with daily rows
    ],
)
def test_the_hours_of_a_bill_by_the_day_are_not_missing(
    tmp_path: Path, beside: list[dict[str, Any]], missing: int
) -> None:
    rows = [used(day, 0, 24, ResourceId=f"bucket-{n}") for day in (1, 2, 3) for n in range(3)]
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [*rows, *beside]))
    facts = next(facts for facts in made.facts if facts.day.day == 2)
    assert (facts.rows, len(facts.missing_hours)) == (3 + len(beside), missing)


def spread(rows: list[tuple[str, str, str]]) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        values = ", ".join(
            f"(TIMESTAMPTZ '{start}', TIMESTAMPTZ '{end}', {cost}::DECIMAL(28,12), NULL::DECIMAL(28,12), "
            "0::DECIMAL(28,12), 1::DECIMAL(28,12), 'x')"
            for start, end, cost in rows
        )
        names = "ChargePeriodStart, ChargePeriodEnd, BilledCost, EffectiveCost, ListCost, ContractedCost, source"
        connection.execute(f"CREATE TABLE t AS SELECT * FROM (VALUES {values}) AS v ({names})")
        sql = f"SELECT ChargePeriodStart, ChargePeriodEnd, BilledCost, source FROM ({spread_daily('t')}) ORDER BY 1"
        return connection.execute(sql).fetchall()


def test_long_charges_are_spread_with_their_exact_sum() -> None:
    found = spread([("2026-11-01 00:00:00+00", "2026-11-04 00:00:00+00", "10")])
    third = Decimal("3.333333333333")
    assert found == [
        (at(1), at(2), third, "x"), (at(2), at(3), third, "x"), (at(3), at(4), Decimal("3.333333333334"), "x"),
    ]  # fmt: skip


def test_short_charges_stay_and_slices_keep_their_hour() -> None:
    assert spread([("2026-11-01 05:00:00+00", "2026-11-02 05:00:00+00", "1")]) == [
        (at(1, 5), at(2, 5), Decimal(1), "x")
    ]
    found = spread([("2026-11-01 12:00:00+00", "2026-11-02 18:00:00+00", "1")])
    assert [(row[0], row[1], row[2]) for row in found] == [
        (at(1, 12), at(2, 12), Decimal("0.5")), (at(2, 12), at(2, 18), Decimal("0.5")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "end", "slices"),
    [
        ("2026-10-25 00:00:00+02", "2026-10-26 00:00:00+01", 1),  # clocks go back: a day of 25 hours
        ("2026-03-29 00:00:00+01", "2026-03-30 00:00:00+02", 1),  # and forward: 23
        ("2026-10-01 00:00:00+02", "2026-11-01 00:00:00+01", 31),
        ("2026-03-01 00:00:00+01", "2026-04-01 00:00:00+02", 31),
        ("2026-11-01 00:00:00+00", "2026-12-01 00:00:00+00", 30),
        ("2028-01-01 00:00:00+00", "2029-01-01 00:00:00+00", 366),
    ],
)
def test_a_period_in_local_time_has_the_days_of_its_calendar(start: str, end: str, slices: int) -> None:
    found = spread([(start, end, "-100.01")])
    assert len(found) == slices
    assert sum(row[2] for row in found) == Decimal("-100.01")


def test_only_the_slices_of_the_days_that_are_asked_for_are_made() -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "CREATE TABLE t AS SELECT TIMESTAMPTZ '2026-01-01 06:00:00+00' AS ChargePeriodStart, "
            "TIMESTAMPTZ '9999-01-01 06:00:00+00' AS ChargePeriodEnd, 1::DECIMAL(28,12) AS BilledCost, "
            "1::DECIMAL(28,12) AS EffectiveCost, 1::DECIMAL(28,12) AS ListCost, 1::DECIMAL(28,12) AS ContractedCost"
        )
        query = spread_daily("t", dt.date(2026, 11, 17), dt.date(2026, 11, 18))
        found = connection.execute(f"SELECT ChargePeriodStart, ChargePeriodEnd FROM ({query}) ORDER BY 1").fetchall()
    assert found == [(at(17, 6), at(18, 6)), (at(18, 6), at(19, 6))]


def test_a_days_rows_only_are_read(tmp_path: Path) -> None:
    import pyarrow as pa

    times = {"ChargePeriodStart": pa.timestamp("us", "UTC"), "ChargePeriodEnd": pa.timestamp("us", "UTC")}
    rows = [focus_row(ChargePeriodStart=at(day), ChargePeriodEnd=at(day, 1)) for day in (1, 2, 3)]
    made = collected(tmp_path, write_parquet(tmp_path / "a.parquet", rows, times), days=[dt.date(2026, 11, 2)])
    assert table(made, "ChargePeriodStart") == [(at(2),)]


@pytest.mark.skipif(not CUR.exists(), reason="the shared billing data is not there (../shared/data/billing)")
def test_a_real_cur_adds_up_to_the_cent(tmp_path: Path) -> None:
    made = collected(tmp_path, CUR)
    assert (made.rows, made.rows_set_aside, len(made.facts)) == (334_911, 0, 92)
    assert round(made.billed_usd, 2) == Decimal("7978.19")
    assert {name: round(usd, 2) for name, usd in made.components.items()} == {
        "central_dc": Decimal("1837.19"), "s3": Decimal("0.93"),
    }  # fmt: skip
    assert made.billed_usd == sum(made.components.values(), made.unallocated_usd)


@pytest.mark.skipif(not CUR.exists(), reason="the shared billing data is not there (../shared/data/billing)")
def test_a_real_focus_sample(tmp_path: Path) -> None:
    made = collected(tmp_path, CUR.with_name("focus_1_0_sample_1000.csv.gz"))
    assert (made.rows, made.rows_set_aside, round(made.billed_usd, 2)) == (1000, 0, Decimal("20.52"))
