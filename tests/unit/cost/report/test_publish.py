"""Reports as they are published: equal bytes in any order, restored when deleted, revised when the bill settles."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from include.cost.report.compute import compute_report
from include.cost.report.files import files_of
from include.cost.report.publish import due_again, fingerprint, report_day
from include.cost.report.revisions import pointer, publish
from include.cost.sources.requests import RegionRequests, Requests, key_of
from include.cost.table.columns import CostError
from include.cost.table.partition import day_start
from include.cost.table.store import CostTable
from include.estate import load_estate
from tests.unit.cost.cost_world import DAY, aws_rows, put, received, table_in

ESTATE = load_estate()
DAYS = [DAY - dt.timedelta(days=n) for n in (2, 1, 0)]


@pytest.fixture
def table(tmp_path: Path) -> CostTable:
    return table_in(tmp_path / "costs", 3)


def reports(table: CostTable) -> dict[str, bytes]:
    return {key: table.storage.read(key) for key in table.storage.keys("reports/")}


def test_a_day_reported_twice_gives_the_same_bytes_and_one_revision(table: CostTable) -> None:
    first = report_day(table, DAY, ESTATE)
    before = reports(table)
    again = report_day(table, DAY, ESTATE)
    assert (first.new, again.new, again.key) == (True, False, first.key)
    assert reports(table) == before
    assert sorted(key.rpartition("/")[2] for key in before) == [
        "current.json", "report.html", "report.json", "report.md", "report.parquet",
    ]  # fmt: skip


def test_a_page_that_is_drawn_differently_by_now_is_no_new_revision(table: CostTable) -> None:
    made = files_of(compute_report(table, DAY, ESTATE, None))
    about = {"status": "provisional", "as_of": None, "inputs": "of an older version"}
    older = publish(table.storage, DAY, lambda _: (made | {"report.html": b"an older drawing"}, about))
    again = report_day(table, DAY, ESTATE)
    assert (again.new, again.key, again.changes) == (False, older.key, 0)
    assert table.storage.read(f"{older.key}/report.html") == b"an older drawing"
    assert len(pointer(table.storage, DAY).revisions) == 1


def test_deleting_the_output_and_reporting_again_in_another_order_restores_every_byte(table: CostTable) -> None:
    for day in DAYS:
        report_day(table, day, ESTATE)
    before = reports(table)
    shutil.rmtree(table.storage.root / "reports")  # type: ignore[attr-defined]
    for day in reversed(DAYS):
        report_day(table, day, ESTATE)
    assert reports(table) == before


def test_a_report_is_revised_when_the_bill_settles_and_the_old_one_is_kept(table: CostTable) -> None:
    first = report_day(table, DAY, ESTATE)
    put(table, "aws", DAY, aws_rows(DAY), received=received(DAY, 100))
    assert due_again(table, DAY + dt.timedelta(days=4), ESTATE) == [DAY]
    second = report_day(table, DAY, ESTATE)
    assert (first.status, second.status, second.new) == ("provisional", "settled", True)
    assert [one["status"] for one in pointer(table.storage, DAY).revisions] == ["provisional", "settled"]
    assert table.storage.read(f"{first.key}/report.md")
    changes = json.loads(table.storage.read(f"{second.key}/changes.json"))["changes"]
    assert all(change["before"] == change["after"] for change in changes)  # only their status is another
    assert due_again(table, DAY + dt.timedelta(days=4), ESTATE) == []


def test_a_late_correction_is_a_revision_that_says_what_changed(table: CostTable) -> None:
    report_day(table, DAY, ESTATE)
    put(table, "aws", DAY, aws_rows(DAY, i_1="25"), received=received(DAY, 50))
    second = report_day(table, DAY, ESTATE)
    changes = json.loads(table.storage.read(f"{second.key}/changes.json"))["changes"]
    total = next(one for one in changes if (one["section"], one["metric"]) == ("total", "usd"))
    assert (Decimal(total["before"]), Decimal(total["after"])) == (Decimal("88.50"), Decimal("93.50"))


def test_only_provisional_days_that_have_a_report_and_new_inputs_are_due_again(table: CostTable) -> None:
    for day in DAYS:
        report_day(table, day, ESTATE)
    next_day = DAY + dt.timedelta(days=1)
    assert due_again(table, next_day, ESTATE) == []
    put(table, "aws", DAYS[1], aws_rows(DAYS[1], i_1="25"), received=received(DAYS[1], 60))
    put(table, "aws", DAY - dt.timedelta(days=3), aws_rows(DAY - dt.timedelta(days=3), i_1="9"), received=received(DAY))
    # The first day has no report; both others look back at a day that has changed.
    assert due_again(table, next_day, ESTATE) == DAYS


def test_a_late_count_of_requests_is_a_new_input(table: CostTable) -> None:
    before = fingerprint(table, DAY, ESTATE)
    requests = Requests(DAY, {name: RegionRequests(Decimal(5), Decimal(1)) for name in ESTATE.regions})
    table.storage.put(key_of(DAY), requests.to_json())
    assert fingerprint(table, DAY, ESTATE) != before
    done = report_day(table, DAY, ESTATE)
    figures = json.loads(table.storage.read(f"{done.key}/report.json"))["figures"]
    found = next(
        one for one in figures if (one["section"], one["key"], one["metric"]) == ("requests", "total", "requests")
    )
    assert found["value"] == "15.000000000000"


def test_wrong_input_leaves_the_old_report(table: CostTable) -> None:
    done = report_day(table, DAY, ESTATE)
    before = reports(table)
    with pytest.raises(CostError, match=r"as_of .* is before what the table holds"):
        report_day(table, DAY, ESTATE, day_start(DAY))
    assert reports(table) == before
    assert done.new


def test_a_corrected_subscription_of_january_is_a_new_input_of_novembers_report(table: CostTable) -> None:
    january = dt.date(2026, 1, 1)

    def subscription(usd: str) -> dict[str, object]:
        year = {"ChargePeriodStart": day_start(january), "ChargePeriodEnd": day_start(dt.date(2027, 1, 1))}
        return aws_rows(january)[-1] | year | {"BilledCost": Decimal(usd), "EffectiveCost": Decimal(usd)}

    put(table, "aws", january, [subscription("3650")])
    first = report_day(table, DAY, ESTATE)
    put(table, "aws", january, [subscription("365")])
    assert due_again(table, DAY + dt.timedelta(days=1), ESTATE) == [DAY]
    second = report_day(table, DAY, ESTATE)
    changes = json.loads(table.storage.read(f"{second.key}/changes.json"))["changes"]
    total = next(one for one in changes if (one["section"], one["metric"]) == ("total", "usd"))
    assert first.new
    assert (Decimal(total["before"]), Decimal(total["after"])) == (Decimal("98.50"), Decimal("89.50"))
