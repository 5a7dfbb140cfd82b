"""Which delivery of an export counts: the newest one whose manifest says that it is whole."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from include.cost.sources.exports import Delivery, deliveries
from include.cost.sources.exports.delivery import named_parts
from include.estate import Export

EXPORT = Export(name="bill", format="focus-1.2", connection="x", bucket="bucket", prefix="bill/")
MONTH = "BILLING_PERIOD=2026-11"
AT = dt.datetime(2026, 11, 20, 6, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


class Bucket:
    """Objects below ``bill/``: key -> (bytes, hours after AT)."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dt.datetime]] = {}
        self.fetched: list[str] = []

    def put(self, key: str, hours: float = 0, data: bytes = b"") -> None:
        self.objects[f"bill/{key}"] = data, AT + hours * HOUR

    def manifest(self, key: str, hours: float, *parts: str, name: str = "dataFiles", bucket: str = "bucket") -> None:
        keys = [f"s3://{bucket}/bill/{part}" if name == "dataFiles" else f"bill/{part}" for part in parts]
        self.put(key, hours, json.dumps({name: keys, "executionId": "x"}).encode())

    def get_paginator(self, operation: str) -> Bucket:
        return self

    def paginate(self, Bucket: str, Prefix: str) -> list[dict[str, Any]]:  # noqa: N803 - boto3's names
        found = [{"Key": key, "LastModified": at} for key, (_, at) in self.objects.items() if key.startswith(Prefix)]
        return [{"Contents": found}]

    def download_file(self, bucket: str, key: str, path: str) -> None:
        self.fetched.append(key)
        Path(path).write_bytes(self.objects[key][0])


def one(bucket: Bucket) -> Delivery:
    (found,) = deliveries(EXPORT, bucket)
    return found


def parts(delivery: Delivery) -> list[str]:
    return [file.key.removeprefix("bill/") for file in delivery.files]


def hours(delivery: Delivery) -> float:
    return (delivery.received - AT) / HOUR


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def test_only_what_the_manifest_names_counts(bucket: Bucket) -> None:
    for number in (1, 2, 3):
        bucket.put(f"data/{MONTH}/x-{number}.csv", number / 60)
    bucket.manifest(f"metadata/{MONTH}/x-Manifest.json", 1, f"data/{MONTH}/x-1.csv", f"data/{MONTH}/x-3.csv")
    found = one(bucket)
    assert (found.export, found.period, parts(found)) == (
        "bill", (2026, 11), [f"data/{MONTH}/x-1.csv", f"data/{MONTH}/x-3.csv"],
    )  # fmt: skip
    assert (hours(found), found.problem) == (1, "")


def test_parts_that_are_being_overwritten_are_no_delivery(bucket: Bucket) -> None:
    """The manifest is of the delivery before, whose first part is gone already."""
    names = [f"data/{MONTH}/x-{number}.csv" for number in (1, 2)]
    bucket.put(names[0], 24)
    bucket.put(names[1], 0)
    bucket.manifest(f"metadata/{MONTH}/x-Manifest.json", 0.1, *names)
    found = one(bucket)
    assert found.files == ()
    assert found.problem == (
        f"s3://bucket/bill/data/{MONTH} is not whole: bill/{names[0]} is newer than "
        f"bill/metadata/{MONTH}/x-Manifest.json; wait for the export's next delivery"
    )


def test_a_manifest_that_names_a_part_that_is_not_there(bucket: Bucket) -> None:
    bucket.put(f"data/{MONTH}/x-1.csv")
    bucket.manifest(f"metadata/{MONTH}/x-Manifest.json", 1, f"data/{MONTH}/x-1.csv", f"data/{MONTH}/x-2.csv")
    assert f"names bill/data/{MONTH}/x-2.csv, which is not there" in one(bucket).problem


@pytest.mark.parametrize("named", [True, False])
def test_an_execution_without_a_manifest_leaves_the_one_before(bucket: Bucket, named: bool) -> None:
    """A manifest that names no part says that what lies in its execution's folder is whole."""
    for run, at in (("a", 0), ("b", 24)):
        bucket.put(f"data/{MONTH}/{run}/x-1.csv", at)
    for run, at in (("a", 1), ("b", 25))[:1]:
        names = (f"data/{MONTH}/{run}/x-1.csv",) if named else ()
        bucket.manifest(f"metadata/{MONTH}/{run}/Manifest.json", at, *names)
    assert parts(one(bucket)) == [f"data/{MONTH}/a/x-1.csv"]
    bucket.manifest(f"metadata/{MONTH}/b/Manifest.json", 25, *((f"data/{MONTH}/b/x-1.csv",) if named else ()))
    found = one(bucket)
    assert (parts(found), hours(found)) == ([f"data/{MONTH}/b/x-1.csv"], 25)


def test_the_newest_manifest_is_read_and_no_other(bucket: Bucket) -> None:
    for number in range(5):
        bucket.put(f"data/{MONTH}/{number}/x-1.csv", number)
        bucket.manifest(f"metadata/{MONTH}/{number}/Manifest.json", number, f"data/{MONTH}/{number}/x-1.csv")
    assert parts(one(bucket)) == [f"data/{MONTH}/4/x-1.csv"]
    assert bucket.fetched == [f"bill/metadata/{MONTH}/4/Manifest.json"]


def test_the_first_part_of_a_new_month_is_no_delivery_yet(bucket: Bucket) -> None:
    bucket.put("data/BILLING_PERIOD=2026-10/x-1.csv")
    bucket.manifest("metadata/BILLING_PERIOD=2026-10/x-Manifest.json", 1, "data/BILLING_PERIOD=2026-10/x-1.csv")
    bucket.put(f"data/{MONTH}/x-1.csv")
    found = deliveries(EXPORT, bucket)
    assert [(delivery.period, len(delivery.files)) for delivery in found] == [((2026, 10), 1), ((2026, 11), 0)]
    assert "it has no manifest yet" in found[1].problem


def test_a_manifest_that_was_cut_short_says_nothing(bucket: Bucket) -> None:
    bucket.put(f"data/{MONTH}/x-1.csv")
    bucket.put(f"metadata/{MONTH}/x-Manifest.json", 1, b'{"dataFiles": ["s3://bu')
    assert f"bill/metadata/{MONTH}/x-Manifest.json can't be read" in one(bucket).problem


@pytest.mark.parametrize(
    ("data", "manifest"),
    [
        ("akidb/20261101-20261201/run/akidb-1.csv.gz", "akidb/20261101-20261201/akidb-Manifest.json"),
        ("akidb/20261101-20261201/run/akidb-1.csv.gz", "akidb/20261101-20261201/run/akidb-Manifest.json"),
        ("akidb/akidb/year=2026/month=11/akidb-00001.snappy.parquet", "akidb/20261101-20261201/akidb-Manifest.json"),
    ],
)
def test_the_manifests_of_a_legacy_cur(bucket: Bucket, data: str, manifest: str) -> None:
    bucket.put(data)
    bucket.put(data.replace("1.", "2."))
    bucket.manifest(manifest, 1, data, name="reportKeys")
    assert parts(one(bucket)) == [data]


def test_a_manifest_names_the_bucket_that_it_was_copied_from(bucket: Bucket) -> None:
    bucket.put(f"data/{MONTH}/x-1.csv")
    bucket.manifest(f"metadata/{MONTH}/x-Manifest.json", 1, f"data/{MONTH}/x-1.csv", bucket="payers-own")
    assert parts(one(bucket)) == [f"data/{MONTH}/x-1.csv"]


def test_without_any_manifest_the_folder_that_was_written_last_counts(bucket: Bucket) -> None:
    for run, at in (("a", 0), ("b", 24)):
        for number in (1, 2):
            bucket.put(f"data/{MONTH}/{run}/x-{number}.csv", at)
    assert parts(one(bucket)) == [f"data/{MONTH}/b/x-{number}.csv" for number in (1, 2)]


def test_two_exports_under_one_prefix_are_two(bucket: Bucket) -> None:
    for payer in ("a", "b"):
        bucket.put(f"payer-{payer}/data/{MONTH}/x-1.csv")
    bucket.manifest(f"payer-a/metadata/{MONTH}/x-Manifest.json", 1, f"payer-a/data/{MONTH}/x-1.csv")
    found = deliveries(EXPORT, bucket)
    assert [(one.export, parts(one)) for one in found] == [
        (f"bill/payer-{payer}", [f"payer-{payer}/data/{MONTH}/x-1.csv"]) for payer in ("a", "b")
    ]


@pytest.mark.parametrize(
    ("manifest", "parts"),
    [
        (b"{}", set()),
        (b'{"dataFiles": null, "reportKeys": ["a/b.csv"]}', {"a/b.csv"}),
        (b'{"dataFiles": ["s3://x/a/b.csv", "s3://x/a/c.csv"]}', {"a/b.csv", "a/c.csv"}),
        (b"[1]", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_what_a_manifest_names(manifest: bytes, parts: set[str] | None) -> None:
    assert named_parts(manifest) == parts
