"""The rehearsal's bill in S3 becomes the validation's figures, without anybody having run the report before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from include.cost.table.columns import CostError
from include.cost.table.days import Window
from include.cost.table.inputs import read_cost_inputs
from include.cost.validation.bill import bring_bill, missing_days, missing_month
from include.cost.validation.readings import validate
from include.estate import load_estate
from include.prices import load_aws_book
from lab.cloud import bill
from lab.cloud.edge_costs import EdgeState, usd_of
from tests.unit.cost.validation_world import DAY, Table, at, estate_day, live_nodes

ESTATE = load_estate()
BOOK = load_aws_book()
EXPORT = ESTATE.cost.exports[0]
TUESDAY = dt.date(2026, 11, 17)
NOW = at(TUESDAY, 9)
WINDOW = Window(NOW - dt.timedelta(seconds=60), NOW)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=EXPORT.bucket)
        yield client


def test_the_days_that_are_missing_near_the_window(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(TUESDAY - 2 * DAY, estate_day(TUESDAY - 2 * DAY, hours=range(2)))
    missing = missing_days(world.table, WINDOW)
    assert (len(missing), missing[0], missing[-1]) == (14, TUESDAY - 14 * DAY, TUESDAY)
    assert TUESDAY - 2 * DAY not in missing


@pytest.mark.parametrize(
    ("day", "first", "last"),
    [(dt.date(2026, 10, 31), 1, 16), (dt.date(2026, 11, 16), 1, 1), (dt.date(2026, 11, 15), 0, 0)],
)
def test_the_windows_month_is_missing_from_its_first_day(tmp_path: Path, day: dt.date, first: int, last: int) -> None:
    table, window = Table(tmp_path).table, Window(at(day), at(day + DAY))
    assert [one.day for one in missing_month(table, window)] == list(range(first, last + 1)) * bool(first)
    assert missing_days(table, window)[0] == day - 14 * DAY


def test_a_months_fee_is_brought_with_the_day_that_it_begins_on(tmp_path: Path, s3: Any) -> None:
    bill.publish(s3, EXPORT, ESTATE, NOW)
    world = Table(tmp_path)
    assert bring_bill(world.table, ESTATE, WINDOW, lambda _: s3) == {}
    assert set(world.table.days("aws")) >= {dt.date(2026, 11, 1), dt.date(2026, 11, 2)}


def test_the_rehearsals_bill_and_live_nodes_make_a_whole_total(tmp_path: Path, s3: Any) -> None:
    bill.publish(s3, EXPORT, ESTATE, NOW)
    world = Table(tmp_path)
    assert bring_bill(world.table, ESTATE, WINDOW, lambda _: s3) == {}
    assert set(world.table.days("aws")) >= {TUESDAY - DAY, TUESDAY - 2 * DAY, TUESDAY - 3 * DAY}
    of_region = dict.fromkeys(ESTATE.regions, live_nodes(3))
    validation = validate(read_cost_inputs(world.table, ESTATE, BOOK, WINDOW, tuple(ESTATE.regions), of_region))  # type: ignore[arg-type]
    assert validation.total.unknown == ()
    lines = {line.component: line for line in validation.lines}
    assert lines["central_dc"].usd_24h == 24 * 3 * Decimal("1.0034")
    assert lines["central_dc"].beside_usd_month is not None
    assert lines["central_dc"].beside_usd_month > 0
    assert lines["s3"].source == f"bill (aws) of {TUESDAY - DAY}"
    # The plan's week 13 by construction, but for a seeded noise: a Monday is above the mean of its week.
    month = lines["cloudfront"].usd_month
    assert month is not None
    assert 590 < month < 610
    assert "(weekend 0." in lines["cloudfront"].projection
    assert bring_bill(world.table, ESTATE, WINDOW, lambda _: s3) == {}


def test_the_bill_written_again_shows_what_the_edge_costs_after_its_change(tmp_path: Path, s3: Any) -> None:
    gigabytes = {region: Decimal(1) for region in ESTATE.regions}
    after = EdgeState("PriceClass_100", 384, gigabytes, {"GLACIER_IR": Decimal(1)}, Decimal("8.75"))
    bill.publish(s3, EXPORT, ESTATE, NOW)
    bill.refresh(s3, EXPORT, ESTATE, NOW, after)
    world = Table(tmp_path)
    assert bring_bill(world.table, ESTATE, WINDOW, lambda _: s3) == {}
    of_region = dict.fromkeys(ESTATE.regions, live_nodes(3))
    validation = validate(read_cost_inputs(world.table, ESTATE, BOOK, WINDOW, tuple(ESTATE.regions), of_region))  # type: ignore[arg-type]
    assert validation.total.unknown == ()
    months = {line.component: line.usd_month for line in validation.lines}
    for name, usd in usd_of(after).items():  # a Monday, projected with the weekends of the bill before the change
        assert float(months[name] or 0) == pytest.approx(float(usd), rel=0.06)


def test_without_an_export_the_reason_is_told(tmp_path: Path, s3: Any) -> None:
    world = Table(tmp_path)
    problems = bring_bill(world.table, ESTATE, WINDOW, lambda _: s3)
    assert problems["aws"].startswith("no export has a file for 2026-11-03 to 2026-11-17 under s3://akidb-billing")
    validation = validate(read_cost_inputs(world.table, ESTATE, BOOK, WINDOW, ("us-east-1",), {}, problems))
    s3_line = next(line for line in validation.lines if line.component == "s3")
    assert "(no export has a file for 2026-11-03" in s3_line.reason


def test_a_connection_that_is_missing_is_told_too(tmp_path: Path) -> None:
    def refuse(conn_id: str) -> Any:
        raise RuntimeError(f"Airflow connection {conn_id!r} does not exist")

    problems = bring_bill(Table(tmp_path).table, ESTATE, WINDOW, refuse)
    assert problems == {"aws": "Airflow connection 'aws_us_east_1' does not exist"}


def test_a_bill_that_fails_its_suite_is_kept_aside(tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bill.publish(s3, EXPORT, ESTATE, NOW)
    monkeypatch.setattr("include.cost.sources.refresh.judged", lambda *_: "expected that ServiceName is never empty")
    world = Table(tmp_path)
    with pytest.raises(CostError, match="the bill of 2026-11-03 is refused and kept as aside/source=aws/validation-"):
        bring_bill(world.table, ESTATE, WINDOW, lambda _: s3)
    assert world.table.days("aws") == []
    assert list(world.table.aside("aws").values()) == ["expected that ServiceName is never empty"]
