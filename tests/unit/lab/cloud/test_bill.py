"""The made-up bill: what it sums to, hour by hour, and that the same seed and time give the same rows."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

import pytest

from include.estate import load_estate
from include.prices import HOURS_PER_MONTH, load_aws_book
from lab.cloud import bill

ESTATE = load_estate()
END = dt.datetime(2026, 11, 24, 19, 30, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [row for table in bill.tables(ESTATE, END).values() for row in table.to_pylist()]


def test_the_hours_are_35_full_days_and_todays_less_six() -> None:
    hours = bill.billed_hours(END)
    assert hours[0] == dt.datetime(2026, 10, 20, tzinfo=dt.UTC)
    assert hours[-1] == dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
    assert len(hours) == 35 * 24 + 13


def test_every_node_of_the_estate_is_billed_each_hour_at_its_list_price(rows: list[dict[str, Any]]) -> None:
    book, hours = load_aws_book(ESTATE), Counter[tuple[str, str]]()
    for row in rows:
        if row["ResourceType"] == "Instance":
            hours[row["RegionId"], row["ResourceId"]] += 1
            assert Decimal(str(row["BilledCost"])) == book.on_demand(row["RegionId"], "c7g.2xlarge")
            assert dict(row["SkuPriceDetails"])["InstanceType"] == "c7g.2xlarge"
            assert row["SkuMeter"].endswith("BoxUsage:c7g.2xlarge")
    assert set(hours.values()) == {853}
    assert Counter(region for region, _ in hours) == {"us-east-1": 5, "eu-central-1": 5, "ap-northeast-1": 5}


@pytest.mark.parametrize(
    ("service", "usd_month"),
    [
        ("Amazon CloudFront", 600),
        ("AWS Lambda", 420),
        ("Amazon Simple Storage Service", 150),
        ("Amazon Route 53", 100),
    ],
)
def test_a_week_of_a_service_is_the_plans_week_13(rows: list[dict[str, Any]], service: str, usd_month: int) -> None:
    first = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
    week = [
        row["BilledCost"]
        for row in rows
        if row["ServiceName"] == service and first <= row["ChargePeriodStart"] < first + dt.timedelta(days=7)
    ]
    assert sum(week) / 168 * float(HOURS_PER_MONTH) == pytest.approx(usd_month, rel=0.003)


def test_weekends_cost_less_where_traffic_pays(rows: list[dict[str, Any]]) -> None:
    days: dict[dt.date, float] = defaultdict(float)
    for row in rows:
        if row["ServiceName"] == "Amazon CloudFront":
            days[row["ChargePeriodStart"].date()] += row["BilledCost"]
    assert days[dt.date(2026, 11, 7)] < 0.7 * days[dt.date(2026, 11, 6)]  # a Saturday, a Friday


def test_a_closed_month_has_an_invoice_and_tax_the_running_one_neither(rows: list[dict[str, Any]]) -> None:
    extras = [(r["ChargeCategory"], r["BilledCost"], r["InvoiceId"] is None) for r in rows if not r["SkuId"]]
    assert sorted(category for category, _, _ in extras) == ["Credit", "Tax"]
    assert [usd for category, usd, _ in extras if category == "Credit"] == [-25.0]
    november = {r["InvoiceId"] for r in rows if r["BillingPeriodStart"].month == 11}
    october = {r["InvoiceId"] for r in rows if r["BillingPeriodStart"].month == 10}
    assert november == {None}
    assert len(october) == 1
    assert None not in october


def test_the_same_seed_and_time_give_the_same_rows_and_another_seed_does_not() -> None:
    first, again = bill.tables(ESTATE, END, days=1), bill.tables(ESTATE, END, days=1)
    assert all(first[period].equals(again[period]) for period in first)
    other = bill.tables(ESTATE, END, days=1, seed=1)
    assert not other["2026-11"].equals(first["2026-11"])


class S3:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def create_bucket(self, **given: Any) -> None:
        self.bucket = given["Bucket"]

    def put_object(self, **given: Any) -> None:
        assert self.bucket == given["Bucket"]
        self.objects[given["Key"]] = given["Body"]


def test_data_and_manifest_lie_where_aws_puts_them() -> None:
    s3 = S3()
    keys = bill.publish(s3, ESTATE.cost.exports[0], ESTATE, END)
    assert keys == [
        f"exports/akidb-focus/data/BILLING_PERIOD={period}/akidb-focus-00001.snappy.parquet"
        for period in ("2026-10", "2026-11")
    ]
    manifest = json.loads(s3.objects["exports/akidb-focus/metadata/BILLING_PERIOD=2026-11/akidb-focus-Manifest.json"])
    assert manifest["dataFiles"] == [f"s3://akidb-billing/{keys[1]}"]
    assert manifest["executionTime"] == "2026-11-24T19:30:00+00:00"
    assert s3.bucket == "akidb-billing"
