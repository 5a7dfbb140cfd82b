"""Gathering: what is missing or outdated is staged, a source that is away is on record, what fails is kept aside."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from include.clients.opencost import Allocation, AllocationSet, OpenCostError
from include.clients.prometheus import PrometheusError, Series
from include.clients.storage import Folder
from include.cost.report.compute import compute_report
from include.cost.sources.refresh import Gathered, SourceClients, admit, end_of, gather, trailing
from include.cost.table.columns import CostError
from include.cost.table.days import days_read
from include.cost.table.partition import day_start
from include.cost.table.store import CostTable
from include.estate import Estate, load_estate
from tests.unit.cost.cost_world import DAY, aws_rows, put

FULL = load_estate()
# Contracts give a partition for each of the 49 days that a report reads: only their own test has them.
ESTATE = FULL.model_copy(update={"cost": FULL.cost.model_copy(update={"contracts": ()})})
NOW = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
FIELDS = (
    "BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory",
    "ChargePeriodEnd", "ChargePeriodStart", "EffectiveCost", "RegionId", "ResourceId", "ServiceName", "SkuMeter",
)  # fmt: skip


def export_of(days: list[dt.date], period: str = "", **changed: str) -> bytes:
    """A FOCUS export (CSV) of the days; ``period`` is the first day of the billing period, if it isn't the day's."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, restval="", extrasaction="ignore")
    writer.writeheader()
    for day in days:
        for row in aws_rows(day, **changed):
            times = {name: value.isoformat() for name, value in row.items() if isinstance(value, dt.datetime)}
            billed = {"BillingPeriodStart": period, "BillingPeriodEnd": ""} if period else {}
            writer.writerow(row | times | billed | {"BillingAccountId": "111122223333"})
    return text.getvalue().encode()


class S3:
    """Objects of a bucket: key -> (bytes, time of writing)."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dt.datetime]] = {}
        self.fetched: list[str] = []

    def write(self, month: str, data: bytes, at: dt.datetime, name: str = "part.csv") -> None:
        self.objects[f"exports/akidb-focus/data/BILLING_PERIOD={month}/{name}"] = data, at

    def get_paginator(self, operation: str) -> S3:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, Bucket: str, Prefix: str) -> list[dict[str, Any]]:  # noqa: N803 - boto3's names
        found = [
            {"Key": key, "LastModified": at, "Size": len(data)}
            for key, (data, at) in sorted(self.objects.items())
            if key.startswith(Prefix)
        ]
        return [{"Contents": found}]

    def download_file(self, bucket: str, key: str, path: str) -> None:
        self.fetched.append(key)
        Path(path).write_bytes(self.objects[key][0])


class Power:
    """A Prometheus with a constant 7 W a device on some days."""

    def __init__(self, *days: dt.date, away: bool = False, share: float = 1.0) -> None:
        self.days, self.away, self.share = days, away, share

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        if self.away:
            raise PrometheusError("http://prometheus can't be reached")
        day = dt.datetime.fromtimestamp(start, dt.UTC).date()
        if day not in self.days:
            return []
        points = tuple((start + n * 60, 7.0) for n in range(int(1440 * self.share)))
        return [Series({"device": f"jetson0{n}"}, points) for n in range(1, 6)]


class Allocator:
    """An OpenCost that knows one workload."""

    flavour = "opencost"

    def __init__(self, away: bool = False) -> None:
        self.away = away

    def allocations(self, start: dt.datetime, end: dt.datetime) -> list[AllocationSet]:
        if self.away:
            raise OpenCostError("http://opencost can't be reached")
        costs = {"cpu": Decimal(3)}
        one = Allocation(
            "akidb/akidb-rest", start, end, Decimal(1440), Decimal(3), Decimal(24), costs, namespace="akidb"
        )
        return [AllocationSet(start, end, (one,))]


def clients(
    s3: S3 | None = None, power: Power | None = None, allocators: Mapping[str, Mapping[str, Any]] | None = None
) -> SourceClients:
    return SourceClients(lambda _: s3 or S3(), lambda _: power or Power(), lambda: allocators or {})  # type: ignore[arg-type,return-value]


@pytest.fixture
def table(tmp_path: Path) -> CostTable:
    return CostTable(Folder(tmp_path / "costs"))


@pytest.fixture
def s3() -> S3:
    bucket = S3()
    bucket.write("2026-11", export_of([DAY - dt.timedelta(days=n) for n in range(3)]), end_of(DAY))
    return bucket


def names(found: Gathered, source: str) -> list[str]:
    ends = (key.rpartition("/")[2] for key in found.staged)
    return sorted(name.removesuffix(".parquet") for name in ends if name.startswith(source))


def run(table: CostTable, made_by: SourceClients, now: dt.datetime = NOW) -> Gathered:
    return gather(table, DAY, ESTATE, made_by, "scheduled__2026-11-18T00:00:00+00:00", now)


def test_everything_that_the_report_reads_is_staged_and_then_in_the_table(table: CostTable, s3: S3) -> None:
    found = run(table, clients(s3, Power(DAY)))
    # The export is November's: it says that nothing was used on the days before its first row.
    assert names(found, "aws") == [f"aws-2026-11-{day:02d}" for day in range(1, 19)]
    assert names(found, "jetson") == ["jetson-2026-11-18"]
    assert table.days("aws") == []
    admitted = admit(table, found.staged, ESTATE)
    assert len(admitted) == len(found.staged)
    assert [day for day in table.days("aws") if table.facts("aws", day).rows] == [  # type: ignore[union-attr]
        DAY - dt.timedelta(days=2), DAY - dt.timedelta(days=1), DAY,
    ]  # fmt: skip
    facts = table.facts("aws", DAY)
    assert facts
    assert (facts.billed_usd, facts.received) == (Decimal("66.60"), end_of(DAY))
    assert table.storage.keys("staged/") == []


def test_a_second_run_finds_nothing_to_do_and_fetches_nothing(table: CostTable, s3: S3) -> None:
    admit(table, run(table, clients(s3, Power(DAY))).staged, ESTATE)
    s3.write(
        "2026-11", export_of([day for n in range(48) if (day := DAY - dt.timedelta(days=n)).month == 11]), end_of(DAY)
    )
    admit(table, run(table, clients(s3, Power(DAY))).staged, ESTATE)
    s3.fetched.clear()
    found = run(table, clients(s3, Power(DAY)))
    assert (found.staged, s3.fetched) == ([], [])


def test_a_newer_export_replaces_its_days(table: CostTable, s3: S3) -> None:
    admit(table, run(table, clients(s3)).staged, ESTATE)
    s3.write("2026-11", export_of([DAY], i_1="25"), NOW)
    admit(table, run(table, clients(s3)).staged, ESTATE)
    facts = table.facts("aws", DAY)
    assert facts
    assert facts.billed_usd == Decimal("71.60")
    assert len(table.history("aws", DAY)) == 2


# --- Corrections, deliveries and what is set aside --------------------------------------------------------------------


def month_of(month: str, *days: int, **changed: Any) -> list[dict[str, str]]:
    """A dollar a day of S3, billed in the month."""
    return [
        charge(dt.date.fromisoformat(f"{month}-{day:02d}"), BillingPeriodStart=f"{month}-01", **changed) for day in days
    ]


def charge(day: dt.date, **changed: str) -> dict[str, str]:
    times = {"ChargePeriodStart": f"{day}T00:00:00Z", "ChargePeriodEnd": f"{day + dt.timedelta(days=1)}T00:00:00Z"}
    row = dict.fromkeys(FIELDS, "") | {
        "BilledCost": "1",
        "EffectiveCost": "1",
        "BillingAccountId": "1",
        "BillingCurrency": "USD",
    }
    return row | {"ChargeCategory": "Usage", "ServiceName": "Amazon Simple Storage Service"} | times | changed


def csv_of(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def run_of(table: CostTable, s3: S3, day: dt.date, now: dt.datetime) -> Gathered:
    found = gather(table, day, ESTATE, clients(s3), f"run-{day}-{now:%d%H}", now)
    admit(table, found.staged, ESTATE)
    return found


def billed(table: CostTable, day: dt.date) -> Decimal | None:
    facts = table.facts("aws", day)
    return facts.billed_usd if facts else None


def at(day: int, hour: int = 6, month: int = 11) -> dt.datetime:
    return dt.datetime(2026, month, day, hour, tzinfo=dt.UTC)


CORRECTED = dt.date(2026, 9, 20)  # long before the days that the report of November reads
FIX = charge(CORRECTED, BilledCost="-0.25", ResourceId="fix", ChargeClass="Correction", BillingPeriodStart="2026-11-01")


def three_months(table: CostTable, s3: S3) -> None:
    """September to the 2nd of November, in the table."""
    s3.write("2026-09", csv_of(month_of("2026-09", *range(1, 31))), at(3))
    s3.write("2026-10", csv_of(month_of("2026-10", *range(1, 32))), at(3))
    s3.write("2026-11", csv_of([row | {"ChargeClass": ""} for row in month_of("2026-11", 1, 2)]), at(3))
    for day in (CORRECTED, dt.date(2026, 11, 2)):
        run_of(table, s3, day, at(3, 8))


def november(*fixes: dict[str, str]) -> bytes:
    return csv_of([row | {"ChargeClass": ""} for row in month_of("2026-11", *range(1, 10))] + list(fixes))


def test_a_correction_reaches_its_day_whichever_run_sees_it_first(table: CostTable, s3: S3, tmp_path: Path) -> None:
    three_months(table, s3)
    assert billed(table, CORRECTED) == 1
    s3.write("2026-11", november(FIX), at(10))
    run_of(table, s3, dt.date(2026, 11, 9), at(10, 8))
    assert billed(table, CORRECTED) == Decimal("0.75")
    facts = table.facts("aws", CORRECTED)
    assert facts
    assert (facts.rows, facts.received) == (2, at(10))
    fresh = CostTable(Folder(tmp_path / "fresh"))
    run_of(fresh, s3, CORRECTED, at(10, 8))
    path = f"focus/source=aws/day={CORRECTED}.parquet"
    assert fresh.storage.read(path) == table.storage.read(path)


@pytest.mark.parametrize("part", ["part.csv", "part-2.csv", "2026-11-11/part.csv"])
def test_a_correction_that_is_taken_back_leaves_its_day(table: CostTable, s3: S3, part: str) -> None:
    """Whatever the next delivery calls its files, and wherever they lie."""
    three_months(table, s3)
    s3.write("2026-11", november(FIX), at(10))
    run_of(table, s3, dt.date(2026, 11, 9), at(10, 8))
    assert billed(table, CORRECTED) == Decimal("0.75")
    s3.objects.pop("exports/akidb-focus/data/BILLING_PERIOD=2026-11/part.csv")
    s3.write("2026-11", november(), at(11), part)
    run_of(table, s3, dt.date(2026, 11, 10), at(11, 8))
    assert billed(table, CORRECTED) == 1
    s3.fetched.clear()
    run_of(table, s3, dt.date(2026, 11, 9), at(11, 9))
    run_of(table, s3, CORRECTED, at(11, 9))
    assert s3.fetched == []


def test_a_delivery_without_a_row_of_the_day_is_not_fetched_for_it_again(table: CostTable, s3: S3) -> None:
    s3.write("2026-11", november(), at(10))
    other = "exports/akidb-focus/payer-b/data/BILLING_PERIOD=2026-11/part.csv"
    s3.objects[other] = csv_of(month_of("2026-11", 9, BillingAccountId="8")), at(10, 7)
    run_of(table, s3, dt.date(2026, 11, 9), at(10, 8))
    assert [billed(table, dt.date(2026, 11, day)) for day in (8, 9)] == [1, 2]
    s3.fetched.clear()
    run_of(table, s3, dt.date(2026, 11, 9), at(10, 9))
    assert s3.fetched == []


def test_a_correction_of_a_day_that_nobody_has_made_waits_for_it(table: CostTable, s3: S3) -> None:
    """The correction alone would be the whole day."""
    s3.write("2026-11", november(FIX), at(10))
    run_of(table, s3, dt.date(2026, 11, 9), at(10, 8))
    assert billed(table, CORRECTED) is None
    s3.write("2026-09", csv_of(month_of("2026-09", *range(1, 31))), at(3))
    run_of(table, s3, CORRECTED, at(11))
    assert billed(table, CORRECTED) == Decimal("0.75")


def test_a_correction_reaches_a_day_whose_own_file_has_expired(table: CostTable, s3: S3) -> None:
    three_months(table, s3)
    del s3.objects["exports/akidb-focus/data/BILLING_PERIOD=2026-09/part.csv"]
    s3.write("2026-11", november(FIX), at(10))
    run_of(table, s3, dt.date(2026, 11, 9), at(10, 8))
    assert billed(table, CORRECTED) == Decimal("0.75")


def test_a_charge_of_the_next_month_counts_on_its_day(table: CostTable, s3: S3) -> None:
    early = charge(dt.date(2026, 11, 1), BilledCost="9", ResourceId="fee", BillingPeriodStart="2026-10-01")
    s3.write("2026-10", csv_of([*month_of("2026-10", *range(1, 32)), early]), at(3))
    s3.write("2026-11", november(), at(10))
    run_of(table, s3, dt.date(2026, 11, 9), at(10, 8))
    assert billed(table, dt.date(2026, 11, 1)) == 10


def test_a_row_of_another_billing_period_takes_nothing_away(table: CostTable, s3: S3) -> None:
    """A delivery speaks of its own period, whatever else stands in it."""
    three_months(table, s3)
    s3.write("2026-11", november(FIX | {"BillingPeriodStart": "2026-09-01"}), at(10))
    run_of(table, s3, dt.date(2026, 11, 9), at(10, 8))
    assert billed(table, CORRECTED) == Decimal("0.75")


def test_what_was_looked_for_corrections_is_not_fetched_again(table: CostTable, s3: S3) -> None:
    three_months(table, s3)
    s3.fetched.clear()
    for day in (CORRECTED, dt.date(2026, 11, 2)):
        run_of(table, s3, day, at(4))
    assert s3.fetched == []
    run_of(table, s3, CORRECTED + dt.timedelta(days=1), at(4))
    assert s3.fetched == ["exports/akidb-focus/data/BILLING_PERIOD=2026-09/part.csv"]


def test_a_delivery_that_cant_be_read_leaves_the_one_before(table: CostTable, s3: S3) -> None:
    three_months(table, s3)
    s3.write("2026-11", november(), at(10))
    s3.write("2026-11", b"", at(10), "part-2.csv")
    found = run_of(table, s3, dt.date(2026, 11, 9), at(10, 8))
    assert "part-2.csv is empty" in found.problems["aws"]
    assert [billed(table, dt.date(2026, 11, day)) for day in (1, 2, 3, 9)] == [1, 1, None, None]
    del s3.objects["exports/akidb-focus/data/BILLING_PERIOD=2026-11/part-2.csv"]
    s3.write("2026-11", november(), at(11))
    run_of(table, s3, dt.date(2026, 11, 9), at(11, 8))
    assert billed(table, dt.date(2026, 11, 9)) == 1


def test_a_delivery_that_is_not_whole_is_waited_for(table: CostTable, s3: S3) -> None:
    three_months(table, s3)
    s3.objects["exports/akidb-focus/metadata/BILLING_PERIOD=2026-11/x-Manifest.json"] = b"{}", at(3)
    s3.write("2026-11", november(), at(10))
    found = run_of(table, s3, dt.date(2026, 11, 9), at(10, 8))
    assert "is not whole" in found.problems["aws"]
    assert [billed(table, dt.date(2026, 11, day)) for day in (2, 9)] == [1, None]


def test_rows_set_aside_make_their_component_unknown_with_the_amount(table: CostTable, s3: S3) -> None:
    day = dt.date(2026, 11, 9)
    euros = charge(day, BilledCost="120", BillingCurrency="EUR", SubAccountId="9", BillingPeriodStart="2026-11-01")
    s3.write(
        "2026-11", csv_of([row | {"SubAccountId": "2"} for row in month_of("2026-11", *range(1, 10))] + [euros]), at(10)
    )
    found = run_of(table, s3, day, at(10, 8))
    assert found.set_aside == {"currency EUR": 1}
    report = compute_report(table, day, ESTATE, None)
    assert (report.value("component", "s3", "usd"), report.value("component", "s3", "known_usd")) == (None, 1)
    said = "rows of source aws can't count for it on 2026-11-09: 1 row(s), 120.00 EUR: currency EUR"
    assert report.unknown["s3"] == said
    assert report.value("total", "", "usd") is None
    assert compute_report(table, day - dt.timedelta(days=1), ESTATE, None).value("component", "s3", "usd") == 1


def test_a_bill_that_is_away_is_on_record_and_the_others_go_on(table: CostTable) -> None:
    class Away(S3):
        def paginate(self, Bucket: str, Prefix: str) -> list[dict[str, Any]]:  # noqa: N803
            raise RuntimeError("s3 can't be reached")

    found = run(table, clients(Away(), Power(DAY)))
    assert "s3 can't be reached" in found.problems["aws"]
    assert names(found, "aws") == []
    assert names(found, "jetson") == ["jetson-2026-11-18"]


def test_a_bill_that_was_not_delivered_is_on_record(table: CostTable) -> None:
    assert run(table, clients()).problems["aws"].startswith("no export has a file for these days")


def test_power_that_is_away_is_on_record_and_not_asked_for_sixty_times(table: CostTable) -> None:
    found = run(table, clients(power=Power(DAY, away=True)))
    assert found.problems["jetson"] == "http://prometheus can't be reached"
    assert names(found, "jetson") == []


def test_a_day_measured_better_than_before_replaces_it_and_never_the_other_way(table: CostTable) -> None:
    admit(table, run(table, clients(power=Power(DAY, share=0.5))).staged, ESTATE)
    half = table.facts("jetson", DAY)
    assert half
    assert half.missing_hours == tuple(range(12, 24))
    assert names(run(table, clients(power=Power(DAY, share=0.25))), "jetson") == []
    admit(table, run(table, clients(power=Power(DAY))).staged, ESTATE)
    whole = table.facts("jetson", DAY)
    assert whole
    assert whole.missing_hours == ()


def test_a_day_that_has_not_ended_is_not_measured(table: CostTable) -> None:
    found = run(table, clients(power=Power(DAY)), day_start(DAY) + dt.timedelta(hours=12))
    assert names(found, "jetson") == []


def test_allocations_of_the_day_and_of_those_that_trail_it(table: CostTable) -> None:
    found = run(table, clients(allocators={"opencost": {name: Allocator() for name in ESTATE.regions}}))
    assert names(found, "opencost") == [f"opencost-{one}" for one in (*trailing(DAY, 72), DAY)]
    assert admit(table, found.staged, ESTATE)
    assert table.facts("opencost", DAY)


def test_an_allocator_that_is_away_is_on_record(table: CostTable) -> None:
    found = run(table, clients(allocators={"opencost": {"us-east-1": Allocator(away=True)}}))
    assert found.problems["opencost"] == "http://opencost can't be reached"


def test_contracts_are_staged_for_every_day_that_is_read_and_again_when_they_change(table: CostTable) -> None:
    first = gather(table, DAY, FULL, clients(), "run", NOW)
    assert names(first, "contracts") == [f"contracts-{day}" for day in days_read(DAY)]
    for key in first.staged:
        with table.storage.local(key) as path:
            table.replace(path)
    assert gather(table, DAY, FULL, clients(), "run", NOW).staged == []
    raw = FULL.model_dump(mode="json")
    raw["cost"]["contracts"][1]["usd_month"] = "600"  # begins in November
    changed = gather(table, DAY, Estate.model_validate(raw), clients(), "run", NOW)
    assert names(changed, "contracts") == [f"contracts-{day}" for day in days_read(DAY) if day.month == 11]


def test_a_partition_that_fails_its_suite_is_kept_aside_and_the_others_are_admitted(table: CostTable) -> None:
    for day, category in ((DAY, "Nonsense"), (DAY - dt.timedelta(days=1), "Usage")):
        rows = [row | {"ChargeCategory": category} for row in aws_rows(day)]
        put(table, "aws", day, rows)
        path = f"focus/source=aws/day={day}.parquet"
        table.storage.put(f"staged/run/aws-{day}.parquet", table.storage.read(path))
        table.remove("aws", day)
    with pytest.raises(CostError, match=r"refused and kept aside.*aws-2026-11-18: .*ChargeCategory is one of"):
        admit(table, table.storage.keys("staged/"), ESTATE)
    assert table.days("aws") == [DAY - dt.timedelta(days=1)]
    assert list(table.aside("aws")) == ["aside/source=aws/aws-2026-11-18"]
    assert table.storage.keys("staged/") == []


def test_what_an_earlier_try_has_admitted_is_no_problem(table: CostTable) -> None:
    staged = run(table, clients(power=Power(*[DAY - dt.timedelta(days=n) for n in range(4)]))).staged
    admit(table, staged[:3], ESTATE)
    assert len(staged) == 4
    assert len(admit(table, staged, ESTATE)) == 1


def test_the_days_that_trail() -> None:
    assert trailing(DAY, 72) == [DAY - dt.timedelta(days=n) for n in (4, 3, 2, 1)]
    assert trailing(DAY, 49) == trailing(DAY, 72)
    assert len(trailing(DAY, 48)) == 3
