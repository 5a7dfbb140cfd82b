"""The report of a day: exact figures, what makes a figure unknown, settling, and equal bytes for equal inputs."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from include.cost.report.compute import compute_report
from include.cost.report.figures import opened
from include.cost.report.result import Report
from include.cost.report.sections import projection
from include.cost.sources.requests import RegionRequests, Requests
from include.cost.table.columns import CostError
from include.cost.table.days import days_read, days_shown
from include.cost.table.partition import day_start
from include.cost.table.store import CostTable
from include.estate import Estate, load_estate
from tests.unit.cost.cost_world import DAY, aws_rows, other_rows, put, put_day, received, table_in

ESTATE = load_estate()
D = Decimal


def report_of(table: CostTable, requests: Requests | None = None, as_of: dt.datetime | None = None) -> Report:
    return compute_report(table, DAY, ESTATE, requests, as_of)


def measured(**regions: int | None) -> Requests:
    names = {name.replace("_", "-"): count for name, count in regions.items()}
    return Requests(
        DAY,
        {
            name: RegionRequests(None if count is None else D(count), D(1) if count is not None else D("0.5"), "")
            for name, count in names.items()
        },
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """All sources, a month of equal days."""
    return report_of(table_in(tmp_path_factory.mktemp("whole"), 30))


@pytest.mark.parametrize(
    ("component", "usd"),
    [
        ("central_dc", "35.40"), ("cloudfront", "13.50"), ("lambda_edge", "11"), ("jetson", "0.30"), ("s3", "3.90"),
        ("route_53", "2.50"), ("monitoring", "1.20"), ("cost_platform", "20.40"), ("unallocated", "0.30"),
    ],
)  # fmt: skip
def test_each_component_has_its_cost(whole: Report, component: str, usd: str) -> None:
    assert whole.value("component", component, "usd") == D(usd)


def test_components_and_unallocated_are_the_bill_to_the_cent(whole: Report) -> None:
    parts = [row.value for row in whole.section("component") if row.metric == "known_billed_usd"]
    assert sum(value for value in parts if value is not None) == whole.value("total", "", "billed_usd") == D("88.50")
    assert whole.value("total", "", "usd") == D("88.50")
    assert whole.value("component", "unallocated", "usd") == whole.value(
        "unallocated", "AWS Key Management Service", "usd"
    )


def test_regions_are_the_bill_too(whole: Report) -> None:
    regions = {row.key: row.value for row in whole.section("region") if row.metric == "usd"}
    assert regions == {"us-east-1": D("32.60"), "eu-central-1": D("7"), "no region": D("48.90")}


def test_machines_by_the_way_they_were_bought(whole: Report) -> None:
    found = {(row.key, row.metric): row.value for row in whole.section("capacity")}
    assert found["spot", "usd"] == D(13)
    assert found["spot", "node_hours"] == D(48)
    assert found["on_demand", "usd"] == D(20)
    assert found["on_demand", "node_hours"] == D(24)


@pytest.mark.parametrize(
    ("service", "meter"),
    [
        ("Amazon Elastic MapReduce", "BoxUsage:c7g.2xlarge"),
        ("Red Hat Enterprise Linux", "SoftwareUsage:c7g.2xlarge"),
        ("Amazon Elastic Compute Cloud", "BoxUsage:c7g.2xlarge:0002"),
        ("Amazon Elastic Compute Cloud", "EBSOptimized:c7g.2xlarge"),
    ],
)
def test_a_surcharge_on_a_machine_is_no_second_machine(tmp_path: Path, service: str, meter: str) -> None:
    table = table_in(tmp_path)
    surcharge = aws_rows(DAY)[0] | {"ServiceName": service, "SkuMeter": meter, "x_SourceRow": 99}
    put(table, "aws", DAY, [*aws_rows(DAY), surcharge | {"BilledCost": D(3), "EffectiveCost": D(3)}])
    report = report_of(table)
    assert report.value("capacity", "on_demand", "node_hours") == D(24)
    assert report.value("capacity", "on_demand", "usd") == D(23)  # its dollars are spent all the same


def test_a_plan_component_is_judged_by_the_plan_and_a_days_share_of_it(whole: Report) -> None:
    # 420 / 30.4 and 600 / 30.4
    assert whole.value("component", "cloudfront", "target_usd") == D("13.815789473684")
    assert whole.value("component", "cloudfront", "week_13_usd") == D("19.736842105263")
    row = whole.row("component", "cloudfront", "over_target_usd")
    assert row
    assert (row.value, row.status) == (D("13.50") - D("13.815789473684"), "pass")


def test_central_dc_compares_machines_with_machines_at_list_price(whole: Report) -> None:
    # (0.29 + 0.3451 + 0.3683) x 5 x 24 h; the target is the plan's 1,050 of 1,800 of it.
    assert whole.value("component", "central_dc", "week_13_usd") == D("120.408")
    assert whole.value("component", "central_dc", "target_usd") == D("70.238")
    assert whole.value("component", "central_dc", "judged_usd") == D(33)
    assert whole.goals["central_dc"].book == "list"


def test_the_total_is_judged_by_the_sum_of_the_targets_with_the_plans_own_beside_it(whole: Report) -> None:
    targets = [row.value for row in whole.section("component") if row.metric == "target_usd"]
    total = whole.value("total", "", "target_usd")
    assert total is not None
    assert abs(sum(t for t in targets if t is not None) - total) < D("1e-9")
    assert whole.value("total", "", "plan_week_14_usd") == D("97.697368421053")  # 2,970 / 30.4
    assert whole.value("total", "", "week_8_usd") == D("263.157894736842")  # 8,000 / 30.4


def test_month_to_date_and_projection(whole: Report) -> None:
    assert whole.value("total", "", "month_to_date_usd") == 18 * D("88.50")
    assert whole.value("total", "", "month_to_date_known_days") == D(18)
    assert whole.value("total", "", "at_this_rate_usd_month") == D("88.50") * D("30.4")
    assert whole.value("total", "", "projection_usd_month") == D("88.50") * D("30.4")


def test_a_contract_that_has_just_begun_is_projected_at_its_price(tmp_path: Path) -> None:
    table, begins = table_in(tmp_path, 30), DAY - dt.timedelta(days=2)
    for back in range(3, 31):
        day = DAY - dt.timedelta(days=back)
        put(table, "contracts", day, other_rows(day, monitoring="1.20"), received=received(day))
    raw = ESTATE.model_dump(mode="json")
    raw["cost"]["contracts"][1]["begins"] = str(begins)
    report = compute_report(table, DAY, Estate.model_validate(raw), None)
    assert report.value("component", "cost_platform", "projection_usd_month") == D("20.40") * D("30.4")
    assert report.value("total", "", "projection_usd_month") == D("88.50") * D("30.4")


def test_the_projection_weighs_weekdays_and_weekends() -> None:
    friday = dt.date(2026, 11, 20)
    costs: dict[dt.date, Decimal | None] = {friday: D(70), friday - dt.timedelta(days=1): D(70)}
    assert projection(friday, costs) is None  # no weekend day is known, and none is made up
    costs[friday - dt.timedelta(days=6)] = D(35)
    assert projection(friday, costs) == (5 * D(70) + 2 * D(35)) / 7 * D("30.4")


class TestUnknown:
    def test_a_component_without_data_makes_the_total_unknown_never_smaller(self, tmp_path: Path) -> None:
        table = table_in(tmp_path)
        table.remove("jetson", DAY)
        report = report_of(table)
        assert report.unknown == {"jetson": "source jetson has no data for 2026-11-18"}
        for metric in ("usd", "billed_usd", "over_target_usd", "below_week_8_usd", "at_this_rate_usd_month"):
            row = report.row("total", "", metric)
            assert row
            assert (row.value, row.status) == (None, "unknown"), metric
        assert report.value("total", "", "known_usd") == D("88.20")
        assert report.value("total", "", "known_billed_usd") == D("88.20")
        jetson = report.row("component", "jetson", "over_target_usd")
        assert jetson
        assert (jetson.value, jetson.status) == (None, "unknown")

    def test_a_bill_without_a_row_of_a_component_is_not_zero_dollars(self, tmp_path: Path) -> None:
        table = table_in(tmp_path)
        put(table, "aws", DAY, [row for row in aws_rows(DAY) if row["ServiceName"] != "Amazon CloudFront"])
        report = report_of(table)
        assert report.unknown == {"cloudfront": "source aws has no row for it on 2026-11-18"}
        assert report.value("component", "cloudfront", "usd") is None

    def test_a_missing_hour_makes_the_day_unknown_until_the_bill_has_settled(self, tmp_path: Path) -> None:
        table = table_in(tmp_path)
        put(table, "aws", DAY, aws_rows(DAY), missing_hours=(3, 4))
        report = report_of(table)
        assert report.unknown["s3"] == "source aws misses hour(s) 3, 4 of 2026-11-18 (UTC)"
        assert report.value("component", "s3", "known_usd") == D("3.90")
        put(table, "aws", DAY, aws_rows(DAY), missing_hours=(3, 4), received=received(DAY, 100))
        settled = report_of(table)
        assert (settled.status, settled.unknown) == ("settled", {})

    def test_a_measurement_with_a_gap_stays_unknown(self, tmp_path: Path) -> None:
        table = table_in(tmp_path)
        for hours in (30, 100):
            put(table, "aws", DAY, aws_rows(DAY), received=received(DAY, hours))
        put(table, "jetson", DAY, other_rows(DAY, jetson01="0.10"), missing_hours=(7,))
        report = report_of(table)
        assert report.status == "settled"
        assert report.unknown == {"jetson": "source jetson misses hour(s) 7 of 2026-11-18 (UTC)"}

    def test_without_any_source_everything_is_unknown(self, tmp_path: Path) -> None:
        report = report_of(table_in(tmp_path), None)
        empty = compute_report(CostTable(table_in(tmp_path).storage), DAY - dt.timedelta(days=400), ESTATE, None)
        assert report.unknown == {}
        assert set(empty.unknown) == {*ESTATE.cost.components, "unallocated"}
        assert empty.value("total", "", "known_billed_usd") is None
        assert (empty.status, empty.as_of, empty.since) == ("provisional", None, None)

    def test_a_month_with_an_unknown_day_has_a_known_part_and_no_sum(self, tmp_path: Path) -> None:
        table = table_in(tmp_path, 17)
        table.remove("jetson", DAY - dt.timedelta(days=3))
        report = report_of(table)
        assert report.value("total", "", "usd") == D("88.50")
        assert report.value("total", "", "month_to_date_usd") is None
        assert report.value("total", "", "month_to_date_known_usd") == 18 * D("88.50") - D("0.30")
        assert report.value("total", "", "month_to_date_known_days") == D(17)
        assert report.value("component", "s3", "month_to_date_usd") == 18 * D("3.90")


class TestRequests:
    def test_dollars_per_million(self, tmp_path: Path) -> None:
        table = table_in(tmp_path)
        requests = measured(us_east_1=20_000_000, eu_central_1=7_000_000, ap_northeast_1=3_000_000)
        report = report_of(table, requests)
        assert report.value("requests", "us-east-1", "usd_per_million") == D("1.63")
        assert report.value("requests", "eu-central-1", "usd_per_million") == D(1)
        # The bill has no row of this region: unknown, not free.
        assert report.value("requests", "ap-northeast-1", "usd_per_million") is None
        assert report.value("requests", "total", "usd_per_million") == D("2.95")

    def test_a_region_with_a_gap_makes_the_total_unknown_and_shows_its_coverage(self, tmp_path: Path) -> None:
        report = report_of(table_in(tmp_path), measured(us_east_1=20_000_000, eu_central_1=None, ap_northeast_1=1))
        row = report.row("requests", "eu-central-1", "requests")
        assert row
        assert (row.value, row.status) == (None, "unknown")
        assert report.value("requests", "eu-central-1", "coverage") == D("0.5")
        assert report.value("requests", "total", "requests") is None
        assert report.value("requests", "us-east-1", "usd_per_million") == D("1.63")

    def test_a_region_that_was_not_asked_makes_the_total_unknown(self, tmp_path: Path) -> None:
        assert report_of(table_in(tmp_path), measured(us_east_1=5)).value("requests", "total", "requests") is None

    def test_no_requests_are_no_price(self, tmp_path: Path) -> None:
        report = report_of(table_in(tmp_path), measured(us_east_1=0, eu_central_1=0, ap_northeast_1=0))
        assert report.value("requests", "total", "requests") == D(0)
        assert report.value("requests", "total", "usd_per_million") is None


class TestSettling:
    def test_one_export_is_provisional(self, whole: Report) -> None:
        assert whole.status == "provisional"
        assert whole.as_of == whole.since == received(DAY)

    def test_two_equal_exports_of_which_one_is_old_enough_are_settled(self, tmp_path: Path) -> None:
        table = table_in(tmp_path)
        put(table, "aws", DAY, aws_rows(DAY), received=received(DAY, 96))
        report = report_of(table)
        assert report.status == "settled"
        # The figures stand since the first of the two; the second has only confirmed them.
        assert (report.since, report.as_of) == (received(DAY), received(DAY, 96))

    def test_exports_that_differ_are_provisional_however_old(self, tmp_path: Path) -> None:
        table = table_in(tmp_path)
        put(table, "aws", DAY, aws_rows(DAY, i_1="21"), received=received(DAY, 200))
        assert report_of(table).status == "provisional"

    def test_an_invoiced_day_is_final(self, tmp_path: Path) -> None:
        table = table_in(tmp_path)
        put(table, "aws", DAY, aws_rows(DAY), invoiced=True)
        assert report_of(table).status == "final"

    def test_as_of_before_what_the_table_holds_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(
            CostError, match=r"as_of 2026-11-18T00:00:00\+00:00 is before what the table holds of 2026-11"
        ):
            report_of(table_in(tmp_path), as_of=day_start(DAY))


class TestFees:
    def test_a_months_fee_is_billed_on_its_day_and_costs_on_every_day(self, tmp_path: Path) -> None:
        table = table_in(tmp_path, 17)
        first = DAY.replace(day=1)
        fee = aws_rows(first)[0] | {
            "ChargePeriodEnd": day_start(first) + dt.timedelta(days=30), "BilledCost": D(60), "EffectiveCost": D(60),
            "ServiceName": "AWS Support (Business)", "x_CapacityType": None, "x_SourceRow": 99,
        }  # fmt: skip
        put(table, "aws", first, [*aws_rows(first), fee])
        report = report_of(table)
        assert report.value("component", "unallocated", "usd") == D("2.30")
        assert report.value("component", "unallocated", "known_billed_usd") == D("0.30")
        assert report.value("total", "", "billed_usd") == D("88.50")
        assert report.value("total", "", "month_to_date_usd") == 18 * D("90.50")

    @staticmethod
    def fee(day: dt.date, start: dt.datetime, end: dt.datetime, usd: str) -> dict[str, Any]:
        period = {"ChargePeriodStart": start, "ChargePeriodEnd": end}
        money = {"BilledCost": D(usd), "EffectiveCost": D(usd), "x_CapacityType": None}
        return aws_rows(day)[0] | period | money | {"ServiceName": "A product", "x_SourceRow": 99}

    def added(self, tmp_path: Path, *fees: tuple[str, str, str]) -> Decimal:
        """What charges (start, end, dollars) add to the cost of DAY that no component takes."""
        table = table_in(tmp_path)
        for start, end, usd in fees:
            first, last = (dt.datetime.fromisoformat(text).astimezone(dt.UTC) for text in (start, end))
            rows = [self.fee(first.date(), first, last, usd)]
            put(table, "aws", first.date(), (aws_rows(DAY) if first.date() == DAY else []) + rows)
        report = report_of(table)
        cost = report.value("component", "unallocated", "usd")
        assert cost is not None
        assert report.value("total", "", "usd") == D("88.20") + cost
        assert report.value("total", "", "billed_usd") == D("88.50") + (D(fees[0][2]) if first.date() == DAY else 0)
        return cost - D("0.30")

    @pytest.mark.parametrize(
        ("start", "end", "usd", "added"),
        [
            ("2026-01-01T00:00Z", "2027-01-01T00:00Z", "3650", "10"),
            ("2025-11-19T00:00Z", "2026-11-19T00:00Z", "365", "1"),  # the last of its days
            ("2025-11-18T00:00Z", "2026-11-18T00:00Z", "365", "0"),  # ended at midnight
            ("2026-11-18T00:00Z", "2026-12-18T00:00Z", "30", "1"),  # the first of its days
            ("2023-11-19T00:00Z", "2026-11-19T00:00Z", "1096", "1"),  # three years, one of them a leap year
            ("2026-05-19T00:00Z", "2027-05-19T00:00Z", "-730", "-2"),  # a refund
            ("2026-11-01T00:00-04:00", "2026-12-01T00:00-05:00", "30", "1"),  # a month in New York: 30 days and an hour
            ("2026-03-01T00:00-05:00", "2027-03-01T00:00-05:00", "365", "1"),
        ],
    )
    def test_a_charge_counts_on_each_of_its_days_wherever_it_began(
        self, tmp_path: Path, start: str, end: str, usd: str, added: str
    ) -> None:
        assert self.added(tmp_path, (start, end, usd)) == D(added)

    def test_a_subscription_and_its_correction_count_with_their_difference(self, tmp_path: Path) -> None:
        bought = ("2026-01-01T00:00Z", "2027-01-01T00:00Z", "3650")
        returned = ("2026-07-01T00:00Z", "2027-01-01T00:00Z", "-1104")  # of 184 days
        assert self.added(tmp_path, bought, returned) == D(4)

    def test_a_day_of_25_hours_is_one_day(self, tmp_path: Path) -> None:
        # 1 November 2026 in New York; its row must not lose a half to the second.
        table, day = table_in(tmp_path, 20), dt.date(2026, 11, 1)
        start = day_start(day) + dt.timedelta(hours=4)
        put(table, "aws", day, [*aws_rows(day), self.fee(day, start, start + dt.timedelta(hours=25), "24")])
        costs = report_of(table).history["unallocated"]
        assert (costs[day], costs[day + dt.timedelta(days=1)]) == (D("24.30"), D("0.30"))

    def test_no_place_of_a_years_price_is_lost(self, tmp_path: Path) -> None:
        table, first = table_in(tmp_path), DAY - dt.timedelta(days=200)
        start, end = day_start(first), day_start(first + dt.timedelta(days=365))
        put(table, "aws", first, [self.fee(first, start, end, "1000.01")])
        days = [first + dt.timedelta(days=n) for n in range(365)]
        parts = Decimal(0)
        for month in range(0, 365, 73):
            with opened(table, days[month : month + 73], days[month], ESTATE) as figures:
                sums = figures.by_component()
                parts += sum(sums[day]["unallocated"].usd for day in days[month : month + 73])
        assert parts == D("1000.01") + D("0.30")  # and DAY's own row

    def test_a_figure_names_the_partition_in_which_its_charge_began(self, tmp_path: Path) -> None:
        table, first = table_in(tmp_path), dt.date(2026, 1, 1)
        facts = put(table, "aws", first, [self.fee(first, day_start(first), day_start(first.replace(2027)), "3650")])
        row = report_of(table).row("component", "unallocated", "usd")
        assert row
        assert row.sources[0] == f"aws/2026-01-01#{facts.content[:12]}"
        assert [source.partition("#")[0] for source in row.sources] == ["aws/2026-01-01", "aws/2026-11-18"]

    def test_a_commitments_purchase_counts_where_it_is_used(self, tmp_path: Path) -> None:
        table = table_in(tmp_path)
        rows = aws_rows(DAY)
        purchase = rows[0] | {
            "ChargeCategory": "Purchase",
            "BilledCost": D(500),
            "EffectiveCost": D(0),
            "x_SourceRow": 98,
        }
        used = rows[0] | {"BilledCost": D(0), "EffectiveCost": D(12), "x_CapacityType": "reserved", "x_SourceRow": 99}
        put(table, "aws", DAY, [*rows, purchase, used])
        report = report_of(table)
        assert report.value("total", "", "billed_usd") == D("588.50")
        assert report.value("total", "", "usd") == D("100.50")
        found = {(row.key, row.metric): row.value for row in report.section("capacity")}
        assert (found["reserved", "usd"], found["on_demand", "node_hours"]) == (D(12), D(24))

    def test_rows_without_an_effective_cost_count_as_billed_and_are_counted(self, tmp_path: Path) -> None:
        table = table_in(tmp_path)
        rows = aws_rows(DAY)
        put(table, "aws", DAY, [rows[0] | {"EffectiveCost": None}, *rows[1:]])
        report = report_of(table)
        assert report.value("total", "", "usd") == D("88.50")
        assert report.value("total", "", "rows_without_effective_cost") == D(1)


class TestAllocation:
    def allocated(self, tmp_path: Path, *usd: str) -> Report:
        table = table_in(tmp_path)
        names = ("akidb-us-east-1/akidb/akidb-rest", "akidb-us-east-1/akidb/akidb-grpc", "akidb-us-east-1/__idle__")
        rows = [
            other_rows(DAY, x=amount)[0] | {"ResourceId": name, "BilledCost": D(0), "x_SourceRow": place}
            for place, (name, amount) in enumerate(zip(names, usd, strict=True), 1)
        ]
        put(table, "opencost", DAY, rows)
        return report_of(table)

    def test_workloads_idle_and_unallocated_are_exactly_the_bill(self, tmp_path: Path) -> None:
        report = self.allocated(tmp_path, "12.111", "10.333", "11.50")
        rows = [row for row in report.section("allocation") if row.metric == "usd"]
        parts = [row.value for row in rows]
        parts += [report.value("allocation", "opencost", metric) for metric in ("idle_usd", "unallocated_usd")]
        assert sum(part for part in parts if part is not None) == D("35.40")
        assert report.value("allocation", "opencost", "gap_usd") == D("1.456")

    def test_an_allocation_is_never_added_to_the_total(self, tmp_path: Path) -> None:
        assert self.allocated(tmp_path, "12", "10", "11").value("total", "", "usd") == D("88.50")

    @pytest.mark.parametrize(("idle", "verdict"), [("11.63", "pass"), ("11.6", "fail"), ("20", "fail")])
    def test_a_gap_above_agree_within_is_a_finding(self, tmp_path: Path, idle: str, verdict: str) -> None:
        row = self.allocated(tmp_path, "12", "10", idle).row("allocation", "opencost", "gap_share")
        assert row
        assert row.status == verdict

    def test_without_a_bill_nothing_is_split(self, tmp_path: Path) -> None:
        table = table_in(tmp_path)
        table.remove("aws", DAY)
        put(table, "opencost", DAY, [other_rows(DAY, x="5")[0] | {"BilledCost": D(0)}])
        report = report_of(table)
        assert report.value("allocation", "opencost", "allocator_total_usd") == D(5)
        assert report.value("allocation", "opencost", "bill_usd") is None
        assert report.row("allocation", "opencost", "idle_usd") is None


class TestAnomalies:
    def test_the_day_that_costs_more_names_its_drivers(self, tmp_path: Path) -> None:
        table = table_in(tmp_path, 30)
        put_day(table, DAY, i_1="60", hc_1="2.40")
        report = report_of(table)
        found = {row.key: row.status for row in report.section("anomaly") if row.metric == "usd"}
        assert (found["total"], found["central_dc"], found["s3"]) == ("high", "high", "normal")
        ec2 = "Amazon Elastic Compute Cloud | us-east-1 | BoxUsage:c7g.2xlarge | i-1"
        changes = {row.key: row.value for row in report.section("driver") if row.metric == "change_usd"}
        assert list(changes.items())[:2] == [
            (f"total | {ec2}", D(40)),
            ("total | Amazon Route 53 | no region | Health-Check | hc-1", D("-0.10")),
        ]
        assert changes[f"central_dc | {ec2}"] == D(40)

    def test_a_new_part_of_the_bill_is_a_driver_with_nothing_usual(self, tmp_path: Path) -> None:
        table = table_in(tmp_path, 30)
        new = aws_rows(DAY)[0] | {"SkuMeter": "BoxUsage:p5.48xlarge", "ResourceId": "i-9", "BilledCost": D(900),
                                  "EffectiveCost": D(900), "x_SourceRow": 99}  # fmt: skip
        put(table, "aws", DAY, [*aws_rows(DAY), new])
        report = report_of(table)
        key = "central_dc | Amazon Elastic Compute Cloud | us-east-1 | BoxUsage:p5.48xlarge | i-9"
        assert report.value("driver", key, "change_usd") == D(900)
        assert report.value("driver", key, "usual_usd") == D(0)

    def test_with_fewer_than_seven_days_nobody_knows(self, tmp_path: Path) -> None:
        report = report_of(table_in(tmp_path, 6))
        assert {row.status for row in report.section("anomaly")} == {"unknown"}
        assert report.section("driver") == []


def test_rows_that_disagree_with_their_facts_are_refused(tmp_path: Path) -> None:
    table = table_in(tmp_path)
    import duckdb

    path = tmp_path / "focus" / "source=aws" / f"day={DAY}.parquet"
    fewer = tmp_path / "fewer.parquet"
    with duckdb.connect() as connection:
        kept = connection.execute(f"SELECT value FROM parquet_kv_metadata('{path}') WHERE key = 'akidb'").fetchone()
        assert kept
        text = bytes(kept[0]).decode().replace("'", "''")
        connection.execute(
            f"COPY (SELECT * FROM '{path}' LIMIT 3) TO '{fewer}' (FORMAT parquet, KV_METADATA {{akidb: '{text}'}})"
        )
    fewer.replace(path)
    with pytest.raises(CostError, match=r"aws 2026-11-18: the partition has 3 rows with .* USD, its facts say 9 rows"):
        report_of(table)


def test_the_days_that_a_report_reads() -> None:
    assert (days_shown(DAY)[0], days_shown(DAY)[-1]) == (dt.date(2026, 10, 21), DAY)
    assert days_read(DAY)[0] == dt.date(2026, 10, 1)
    assert days_shown(dt.date(2026, 1, 31))[0] == dt.date(2026, 1, 1)


def test_every_figure_names_its_partitions(whole: Report) -> None:
    row = whole.row("component", "s3", "usd")
    assert row
    aws = next(facts for facts in whole.inputs if facts.source == "aws")
    assert row.sources == (f"aws/2026-11-18#{aws.content[:12]}",)
