"""The partition file: types, order, facts and the same bytes for the same rows."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.cost.table.columns import COLUMNS, CostError
from include.cost.table.partition import billing_period, money, tags, write_partition
from include.cost.table.store import Facts, facts_of

DAY = dt.date(2026, 11, 23)
START = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
RECEIVED = dt.datetime(2026, 11, 24, 6, tzinfo=dt.UTC)


def facts() -> Facts:
    return Facts("contracts", DAY, 0, Decimal(0), 0, RECEIVED, ("estate.yaml",), missing_hours=(3,))


def row(place: int, **fields: Any) -> dict[str, Any]:
    made = {"ChargePeriodStart": START, "BilledCost": Decimal("1.5"), "x_SourceFile": "a", "x_SourceRow": place}
    return made | fields


def test_the_file_has_the_tables_columns_types_and_facts(tmp_path: Path) -> None:
    path = tmp_path / "it's.parquet"
    written = write_partition([row(1), row(2, BilledCost=Decimal("-0.25"))], facts(), path)
    assert (written.rows, written.billed_usd, written.missing_hours) == (2, Decimal("1.25"), (3,))
    assert facts_of(path) == written
    schema = pq.read_schema(path)
    assert schema.names == list(COLUMNS)
    assert str(schema.field("BilledCost").type) == "decimal128(28, 12)"
    assert str(schema.field("ConsumedQuantity").type) == "decimal128(28, 10)"
    assert str(schema.field("ChargePeriodStart").type) == "timestamp[us, tz=UTC]"
    table = pq.read_table(path)
    assert table["BilledCost"].to_pylist() == [Decimal("1.500000000000"), Decimal("-0.250000000000")]
    assert table["ListCost"].null_count == 2


def test_rows_are_ordered_and_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    rows = [row(1, ResourceId="b"), row(2, ResourceId="a"), row(3, ResourceId=None)]
    first = write_partition(rows, facts(), tmp_path / "1.parquet")
    second = write_partition(rows[::-1], facts(), tmp_path / "2.parquet")
    assert first == second
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert pq.read_table(tmp_path / "1.parquet")["ResourceId"].to_pylist() == [None, "a", "b"]


def test_the_content_is_that_of_the_rows_without_their_trace(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    content = write_partition([row(1)], facts(), path).content
    assert write_partition([row(7, x_SourceFile="other")], facts(), path).content == content
    assert write_partition([row(1, BilledCost=Decimal("1.6"))], facts(), path).content != content


def test_amounts_are_rounded_half_to_even(tmp_path: Path) -> None:
    assert money(Decimal("0.0000000000005")) == Decimal("0E-12")
    assert money(Decimal("0.0000000000015")) == Decimal("2E-12")
    written = write_partition([row(1, BilledCost=Decimal(50) / Decimal("30.4"))], facts(), tmp_path / "a.parquet")
    assert written.billed_usd == Decimal("1.644736842105")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"Billed": 1}, "column 'Billed' is not in the cost table"),
        ({"BilledCost": 1.5}, "BilledCost is 1.5: give a finite Decimal"),
        ({"BilledCost": Decimal("NaN")}, r"BilledCost is Decimal\('NaN'\): give a finite Decimal"),
        ({"ChargePeriodEnd": START.replace(tzinfo=None)}, "ChargePeriodEnd is .*: give an aware datetime"),
        ({"ChargePeriodStart": START - dt.timedelta(seconds=1)}, "is not on 2026-11-23: split by day"),
        ({"ChargePeriodStart": None}, "is not on 2026-11-23: split by day"),
        ({"x_SourceRow": None}, "must name one source row each"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_and_nothing_written(
    tmp_path: Path, fields: dict[str, Any], text: str
) -> None:
    with pytest.raises(CostError, match=text):
        write_partition([row(1, **fields)], facts(), tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_the_same_source_row_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CostError, match=r"contracts row \('a', 1\): x_SourceFile and x_SourceRow must name one"):
        write_partition([row(1), row(1)], facts(), tmp_path / "a.parquet")


def test_the_billing_period_is_the_calendar_month() -> None:
    assert billing_period(dt.date(2026, 12, 31)) == {
        "BillingPeriodStart": dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
        "BillingPeriodEnd": dt.datetime(2027, 1, 1, tzinfo=dt.UTC),
    }


def test_tags_are_sorted_json_or_nothing() -> None:
    assert tags(b="2", a="1", c=None) == '{"a":"1","b":"2"}'
    assert tags(a=None) is None
