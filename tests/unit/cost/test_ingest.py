"""Exports in S3 or in files become partitions of the table: the newest delivery, day by day, repeatable."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from include.clients.storage import Folder
from include.cost.exports import Format, SourceFile, deliveries, download
from include.cost.exports.keys import export_of, period_of
from include.cost.focus import CostError
from include.cost.ingest import ingest, ingest_exports
from include.cost.store import CostTable
from include.estate import Component, ComponentRule, Export
from tests.unit.cost.export_files import ESTATE, cur_row, focus_row, source, write_csv

EXPORT = ESTATE.cost.exports[0]
DAY = dt.date(2026, 11, 20)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="akidb-billing")
        yield client


@pytest.fixture
def table(tmp_path: Path) -> CostTable:
    return CostTable(Folder(tmp_path / "table"))


def put(s3: Any, key: str, *rows: dict[str, str], folder: Path) -> None:
    path = write_csv(folder / "upload.csv.gz", rows)
    s3.upload_file(str(path), EXPORT.bucket, f"{EXPORT.prefix}/{key}")


def found_files(s3: Any) -> list[SourceFile]:
    return [file for delivery in deliveries(EXPORT, s3) for file in delivery.files]


def keys(files: list[Any]) -> list[str]:
    return [file.key.removeprefix(f"{EXPORT.prefix}/") for file in files]


@pytest.mark.parametrize(
    ("key", "period"),
    [
        ("exports/akidb-focus/data/BILLING_PERIOD=2026-11/part-00001.csv.gz", (2026, 11)),
        ("exports/akidb-focus/data/billing_period=2026-11/2026-11-20T01-id/part-00001.snappy.parquet", (2026, 11)),
        ("cur/akidb/20261101-20261201/assembly/akidb-1.csv.gz", (2026, 11)),
        ("cur/akidb/akidb/year=2026/month=1/akidb-00001.snappy.parquet", (2026, 1)),
        ("cur/akidb/akidb/year=2026/month=11/akidb-00001.snappy.parquet", (2026, 11)),
        ("somewhere/else.parquet", None),
    ],
)
def test_the_billing_period_of_a_key(key: str, period: tuple[int, int] | None) -> None:
    assert period_of(key) == period


def test_the_parts_of_each_period(s3: Any, tmp_path: Path) -> None:
    for key in (
        "data/BILLING_PERIOD=2026-10/part-1.csv.gz",
        "data/BILLING_PERIOD=2026-11/part-2.csv.gz",
        "data/BILLING_PERIOD=2026-11/part-1.csv.gz",
        "metadata/BILLING_PERIOD=2026-11/akidb-focus.sql",
    ):
        put(s3, key, focus_row(), folder=tmp_path)
    found = deliveries(EXPORT, s3)
    assert [(one.export, one.period, keys(list(one.files))) for one in found] == [
        (EXPORT.prefix, (2026, 10), ["data/BILLING_PERIOD=2026-10/part-1.csv.gz"]),
        (EXPORT.prefix, (2026, 11), [f"data/BILLING_PERIOD=2026-11/part-{part}.csv.gz" for part in (1, 2)]),
    ]
    assert {(file.format, file.delivery, file.rank, file.received) for file in found[1].files} == {
        (Format.FOCUS, "exports/akidb-focus/data/BILLING_PERIOD=2026-11", 0, found[1].received)
    }
    assert [one.period for one in deliveries(EXPORT, s3, first=(2026, 11))] == [(2026, 11)]
    assert deliveries(EXPORT, s3, first=(2027, 1)) == []


class OneFolderLater:
    """S3 in which objects of folder ``b`` were written an hour after those of ``a``."""

    def __init__(self, keys: list[str]) -> None:
        self._keys = keys

    def get_paginator(self, operation: str) -> OneFolderLater:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, Bucket: str, Prefix: str) -> list[dict[str, Any]]:  # noqa: N803
        assert (Bucket, Prefix) == (EXPORT.bucket, f"{EXPORT.prefix}/")
        at = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
        later = dt.timedelta(hours=1)
        items = [{"Key": key, "LastModified": at + later * ("/b/" in key)} for key in self._keys]
        return [{"Contents": items[:1]}, {"Contents": items[1:]}, {}]


def test_of_the_executions_of_a_period_only_the_newest_is_taken() -> None:
    key = f"{EXPORT.prefix}/data/BILLING_PERIOD=2026-%s/%s/part-%d.parquet"
    listed = [key % parts for parts in (("11", "b", 1), ("11", "a", 1), ("11", "b", 2), ("10", "a", 1))]
    found = found_files(OneFolderLater(listed))
    assert [file.key for file in found] == [listed[3], listed[0], listed[2]]
    assert [file.received.hour for file in found] == [0, 1, 1]


def test_downloads_have_names_of_their_own(s3: Any, tmp_path: Path) -> None:
    for month in ("10", "11"):
        put(s3, f"data/BILLING_PERIOD=2026-{month}/part-1.csv.gz", focus_row(), folder=tmp_path)
    files = download(EXPORT, s3, found_files(s3), tmp_path)
    assert [file.path.name for file in files] == ["00000-part-1.csv.gz", "00001-part-1.csv.gz"]


def test_a_day_of_the_estates_exports(s3: Any, tmp_path: Path, table: CostTable) -> None:
    other = {"ChargePeriodStart": "2026-11-21T10:00:00Z", "ChargePeriodEnd": "2026-11-21T11:00:00Z"}
    put(s3, "data/BILLING_PERIOD=2026-11/part-1.csv.gz", focus_row(), focus_row(**other), folder=tmp_path)
    connections = []

    def client(connection: str) -> Any:
        connections.append(connection)
        return s3

    assert ingest_exports(ESTATE, [DAY], table, client) == []
    assert connections == ["aws_us_east_1"]
    assert table.days("aws") == [DAY]
    facts = table.facts("aws", DAY)
    assert facts is not None
    assert (facts.rows, facts.billed_usd) == (1, Decimal("0.10"))
    assert facts.inputs == ("exports/akidb-focus/data/BILLING_PERIOD=2026-11/part-1.csv.gz",)


def test_no_file_for_the_days_is_an_error_that_names_the_place(s3: Any, table: CostTable) -> None:
    with pytest.raises(CostError, match=r"no export has a file for 2026-11-20 to 2026-11-20 under s3://akidb-billing/"):
        ingest_exports(ESTATE, [DAY], table, lambda connection: s3)


def test_of_two_exports_the_first_in_the_estate_counts(s3: Any, tmp_path: Path, table: CostTable) -> None:
    second = Export(name="cur", format="cur", connection="x", bucket=EXPORT.bucket, prefix="cur")
    cost = ESTATE.cost.model_copy(update={"exports": (EXPORT, second)})
    put(s3, "data/BILLING_PERIOD=2026-11/part-1.csv.gz", focus_row(), folder=tmp_path)
    path = write_csv(tmp_path / "cur.csv", [cur_row()])
    s3.upload_file(str(path), EXPORT.bucket, "cur/akidb/20261101-20261201/akidb-1.csv")
    ingest_exports(ESTATE.model_copy(update={"cost": cost}), [DAY], table, lambda connection: s3)
    facts = table.facts("aws", DAY)
    assert facts is not None
    assert (facts.billed_usd, facts.rows_set_aside, facts.aside) == (Decimal("0.10"), 1, ())
    assert list(table.aside("aws").values()) == ["overlaps an export that counts first"]


def stored(table: CostTable) -> dict[str, bytes]:
    return {key: table.storage.read(key) for key in table.storage.keys("")}


def test_again_changes_nothing(tmp_path: Path, table: CostTable) -> None:
    path = write_csv(tmp_path / "a.csv", [cur_row(identity_line_item_id="a")] * 2 + [cur_row(line_item_unblended_cost="")])
    ingest([source(path)], ESTATE, table)
    first = stored(table)
    assert sorted(table.aside("aws").values()) == ["BilledCost missing"]
    ingest([source(path)], ESTATE, table)
    assert stored(table) == first


def test_a_later_version_replaces_the_day_and_both_stay_in_history(tmp_path: Path, table: CostTable) -> None:
    old, new = (
        write_csv(tmp_path / name, [focus_row(BilledCost=cost)]) for name, cost in (("a.csv", "1"), ("b.csv", "2"))
    )
    ingest([source(old)], ESTATE, table)
    ingest([source(new, received=dt.datetime(2026, 11, 26, tzinfo=dt.UTC))], ESTATE, table)
    facts = table.facts("aws", DAY)
    assert facts is not None
    assert facts.billed_usd == 2
    assert [past.billed_usd for past in table.history("aws", DAY)] == [1, 2]


def test_a_day_that_vanished_stands_empty(tmp_path: Path, table: CostTable) -> None:
    days = [
        {"ChargePeriodStart": f"2026-11-{d}T10:00:00Z", "ChargePeriodEnd": f"2026-11-{d}T11:00:00Z"}
        for d in (19, 20, 21)
    ]
    rows = [focus_row(**day) for day in days]
    ingest([source(write_csv(tmp_path / "a.csv", rows))], ESTATE, table)
    ingest([source(write_csv(tmp_path / "a.csv", [rows[0], rows[2]]))], ESTATE, table)
    facts = table.facts("aws", DAY)
    assert facts is not None
    assert (facts.rows, facts.billed_usd, len(table.days("aws"))) == (0, 0, 3)


def test_a_row_of_two_components_stops_before_anything_is_written(tmp_path: Path, table: CostTable) -> None:
    rule = ComponentRule(services=("Amazon Elastic Compute Cloud",))
    components = ESTATE.cost.components | {"twin": Component(book="list", baseline_usd_month=Decimal(1), rules=(rule,))}
    cost = ESTATE.cost.model_copy(update={"components": components})
    path = write_csv(tmp_path / "a.csv", [focus_row()])
    with pytest.raises(CostError, match="central_dc and twin"):
        ingest([source(path)], ESTATE.model_copy(update={"cost": cost}), table)
    assert stored(table) == {}


def test_an_unreadable_file_is_remembered(tmp_path: Path, table: CostTable) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_bytes(b"")
    made = ingest([source(bad), source(write_csv(tmp_path / "a.csv", [focus_row()]))], ESTATE, table)
    assert made.rows == 1
    assert table.aside("aws") == {
        "aside/source=aws/bad.csv-unreadable": "bad.csv is empty: fetch it again from the provider"
    }


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    ingest([source(write_csv(tmp_path / "a.csv", [focus_row()]))], ESTATE, None)
    assert os.listdir(tmp_path / "temp") == []  # noqa: PTH208
