"""Exports in S3 or in files become partitions of the table: the newest delivery, day by day, repeatable."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
from moto import mock_aws

from include.clients.storage import Folder
from include.cost.sources.exports import Format, Relation, SourceFile, deliveries, download
from include.cost.sources.exports.keys import export_of, period_of
from include.cost.sources.ingest import ingest, ingest_exports
from include.cost.table.columns import CostError
from include.cost.table.store import CostTable
from include.estate import Component, ComponentRule, Export
from tests.unit.cost.export_files import ESTATE, RECEIVED, cur_row, focus_row, source, write_csv

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


@pytest.mark.parametrize(
    ("key", "export"),
    [
        ("exports/akidb-focus/data/BILLING_PERIOD=2026-11/part-00001.csv.gz", "exports/akidb-focus"),
        ("exports/akidb-focus/metadata/BILLING_PERIOD=2026-11/run/x-Manifest.json", "exports/akidb-focus"),
        ("cur/akidb/20261101-20261201/assembly/akidb-1.csv.gz", "cur/akidb"),
        ("cur/akidb/akidb/year=2026/month=1/akidb-00001.snappy.parquet", "cur/akidb/akidb"),
        ("somewhere/else.parquet", "somewhere"),
    ],
)
def test_the_export_of_a_key(key: str, export: str) -> None:
    assert export_of(key) == export


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
    path = write_csv(
        tmp_path / "a.csv", [cur_row(identity_line_item_id="a")] * 2 + [cur_row(line_item_unblended_cost="")]
    )
    ingest([source(path)], ESTATE, table)
    first = stored(table)
    assert sorted(table.aside("aws").values()) == ["BilledCost missing", "duplicate"]
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


def test_nothing_is_kept_when_a_file_cant_be_read_and_the_reason_is(tmp_path: Path, table: CostTable) -> None:
    """It may be a part of what the others are: the table would be smaller than the bill."""
    bad = tmp_path / "bad.csv"
    bad.write_bytes(b"")
    made = ingest([source(bad), source(write_csv(tmp_path / "a.csv", [focus_row()]))], ESTATE, table)
    assert (made.rows, table.days("aws")) == (1, [])
    assert table.aside("aws") == {
        "aside/source=aws/bad.csv-unreadable": "bad.csv is empty: fetch it again from the provider"
    }


# --- What one ingest leaves of another --------------------------------------------------------------------------------


def into(table: CostTable, folder: Path, name: str, *rows: dict[str, str], **options: Any) -> Any:
    return ingest([source(write_csv(folder / name, rows))], ESTATE, table, **options)


def held(table: CostTable) -> dict[str, Decimal]:
    facts = {day: table.facts("aws", day) for day in table.days("aws")}
    return {str(day): one.billed_usd for day, one in facts.items() if one}


def of_day(day: int, month: int = 11, **changed: str) -> dict[str, str]:
    start = f"2026-{month:02d}-{day:02d}T10:00:00Z"
    times = {"ChargePeriodStart": start, "ChargePeriodEnd": start.replace("T10", "T11")}
    return focus_row(**times, BilledCost="1", ChargeClass="") | changed


@pytest.mark.parametrize(
    "other",
    [
        {"SubAccountId": "999999999999"},
        {"BillingAccountId": "888888888888", "SubAccountId": "777777777777"},
        {"ProviderName": "Microsoft"},
        {"BillingPeriodStart": "2026-12-01T00:00:00Z"},  # a correction that is billed later
    ],
)
def test_another_account_provider_or_period_stays(tmp_path: Path, table: CostTable, other: dict[str, str]) -> None:
    first = [of_day(day, ProviderName="AWS") for day in range(1, 11)]
    second = [of_day(day, ProviderName="AWS", BilledCost="-0.5") | other for day in (1, 10)]
    into(table, tmp_path, "a.csv", *first)
    made = into(table, tmp_path, "b.csv", *second)
    assert (made.billed_usd, made.rows, sorted(made.days)) == (-1, 2, [DAY.replace(day=1), DAY.replace(day=10)])
    assert sum(held(table).values()) == 9
    assert held(table)["2026-11-10"] == Decimal("0.5")
    # The order makes no difference, and again changes nothing.
    turned = CostTable(Folder(tmp_path / "turned"))
    into(turned, tmp_path, "b.csv", *second)
    into(turned, tmp_path, "a.csv", *first)
    assert held(turned) == held(table)
    before = stored(table)
    into(table, tmp_path, "b.csv", *second)
    assert stored(table) == before


def test_a_later_download_replaces_the_days_that_it_speaks_of_and_no_others(tmp_path: Path, table: CostTable) -> None:
    into(table, tmp_path, "a.csv", *map(of_day, range(1, 11)))
    into(table, tmp_path, "b.csv", *(of_day(day, BilledCost="3") for day in (8, 10, 11)))
    wanted = {f"2026-11-{day:02d}": 1 for day in range(1, 8)} | {"2026-11-08": 3, "2026-11-09": 0}
    assert held(table) == wanted | {"2026-11-10": 3, "2026-11-11": 3}


def test_two_halves_of_a_month_one_after_the_other_are_the_month(tmp_path: Path, table: CostTable) -> None:
    into(table, tmp_path, "first.csv", *map(of_day, range(1, 16)))
    into(table, tmp_path, "second.csv", *map(of_day, range(16, 31)))
    assert sum(held(table).values()) == 30


def test_a_part_that_is_given_again_takes_no_other_parts_place(tmp_path: Path, table: CostTable) -> None:
    disks = [of_day(day) for day in range(1, 11)]
    functions = [of_day(day, ServiceName="AWS Lambda", ResourceId="f", SkuMeter="Request") for day in range(1, 11)]
    into(table, tmp_path, "disks.csv", *disks)
    into(table, tmp_path, "functions.csv", *functions)
    assert sum(held(table).values()) == 20
    with pytest.raises(
        CostError, match=r"functions\.csv and the table hold the same .* and 10 of 20 charges are in both"
    ):
        into(table, tmp_path, "functions.csv", *functions)
    assert sum(held(table).values()) == 20
    both = [source(write_csv(tmp_path / f"{n}.csv", rows)) for n, rows in (("disks", disks), ("functions", functions))]
    ingest(both, ESTATE, table)
    assert sum(held(table).values()) == 20


def test_a_correction_in_the_next_bill_reaches_its_day_and_leaves_the_rest(tmp_path: Path, table: CostTable) -> None:
    november = {"BillingPeriodStart": "2026-11-01T00:00:00Z"}
    october = {"BillingPeriodStart": "2026-10-01T00:00:00Z"}
    into(table, tmp_path, "october.csv", *(of_day(day, 10, **october) for day in range(1, 32)))
    fix = of_day(20, 10, BilledCost="-0.25", ChargeClass="Correction", **november)
    into(table, tmp_path, "november.csv", *map(of_day, range(1, 10)), fix)
    assert (held(table)["2026-10-20"], sum(held(table).values())) == (Decimal("0.75"), Decimal("39.75"))
    # The next download of November has another one, and not this.
    fix = of_day(21, 10, BilledCost="-0.5", ChargeClass="Correction", **november)
    into(table, tmp_path, "november.csv", *map(of_day, range(1, 11)), fix)
    assert (held(table)["2026-10-20"], held(table)["2026-10-21"]) == (1, Decimal("0.5"))
    assert sum(held(table).values()) == Decimal("40.5")


def test_a_file_of_the_same_name_is_told_apart_in_the_trace(tmp_path: Path, table: CostTable) -> None:
    into(table, tmp_path, "bill.csv", focus_row())
    into(table, tmp_path, "bill.csv", focus_row(SubAccountId="999999999999"))
    with table.files([DAY], ["aws"]) as (path,):
        names = pq.read_table(path)["x_SourceFile"].to_pylist()
        rows = pq.read_table(path)["x_SourceRow"].to_pylist()
    assert sorted(zip(names, rows, strict=True)) == [("bill.csv", 1), (f"bill.csv@{RECEIVED:%Y%m%dT%H%M%SZ}", 1)]


def test_what_stands_aside_goes_with_the_download_that_replaces_it(tmp_path: Path, table: CostTable) -> None:
    into(table, tmp_path, "a.csv", focus_row(), focus_row(ResourceId="i-2", BillingCurrency="EUR"))
    into(table, tmp_path, "b.csv", focus_row(SubAccountId="999999999999"))
    facts = table.facts("aws", DAY)
    assert facts is not None
    assert [one.reason for one in facts.aside] == ["currency EUR"]
    into(table, tmp_path, "a.csv", focus_row(), focus_row(ResourceId="i-2"))
    facts = table.facts("aws", DAY)
    assert facts is not None
    assert (facts.rows, facts.aside) == (3, ())


def test_what_cant_be_told_from_a_part_is_refused_and_nothing_changes(tmp_path: Path, table: CostTable) -> None:
    into(table, tmp_path, "a.csv", *(focus_row(ResourceId=f"i-{number}") for number in range(10)))
    before = stored(table)
    rows = [focus_row(ResourceId=f"i-{number}", BilledCost="9") for number in range(5, 15)]
    with pytest.raises(CostError, match=r"b\.csv and the table hold the same account.* 5 of 10 charges .*--later if b"):
        into(table, tmp_path, "b.csv", *rows)
    assert stored(table) == before
    into(table, tmp_path, "b.csv", *rows, stated=Relation.LATER)
    assert held(table) == {str(DAY): 90}


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    ingest([source(write_csv(tmp_path / "a.csv", [focus_row()]))], ESTATE, None)
    assert os.listdir(tmp_path / "temp") == []  # noqa: PTH208
