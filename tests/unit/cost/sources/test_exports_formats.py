"""Each layout of an export becomes the same table: formats, types, tags, and what AWS's line types mean in FOCUS."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.cost.sources.exports.source import Format, detect
from include.cost.table.columns import COLUMNS, CostError
from tests.unit.cost.export_files import collected, cur_row, focus_row, table, write_csv, write_parquet

HOUR = dt.datetime(2026, 11, 20, 10, tzinfo=dt.UTC)


def one(made: Any, *columns: str) -> Any:
    rows = table(made, *columns)
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_focus_csv(tmp_path: Path, name: str) -> None:
    made = collected(tmp_path, write_csv(tmp_path / name, [focus_row()]))
    columns = (
        "BilledCost",
        "ChargePeriodStart",
        "SubAccountId",
        "Tags",
        "x_CapacityType",
        "x_InstanceType",
        "InvoiceId",
    )
    assert one(made, *columns) == (
        Decimal("0.10"), HOUR, "222222222222", '{"aws:a":"1","b":"2"}', "spot", "c7g.2xlarge", None,
    )  # fmt: skip
    assert one(made, "x_SourceFile", "x_SourceRow") == (name, 1)


def test_a_partition_has_the_tables_columns_in_order(tmp_path: Path) -> None:
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [focus_row()]))
    assert pq.read_schema(made.paths[0]).names == list(COLUMNS)


@pytest.mark.parametrize(
    ("kind", "cost"),
    [(pa.float64(), 0.1), (pa.decimal128(20, 10), Decimal("0.1")), (pa.string(), "0.1"), (pa.string(), "1E-1")],
)
def test_costs_of_any_type(tmp_path: Path, kind: pa.DataType, cost: Any) -> None:
    path = write_parquet(tmp_path / "a.parquet", [focus_row(BilledCost=cost)], {"BilledCost": kind})
    assert one(collected(tmp_path, path), "BilledCost") == (Decimal("0.1"),)


@pytest.mark.parametrize(
    ("kind", "start", "end"),
    [
        (pa.timestamp("us", "UTC"), HOUR, HOUR + dt.timedelta(hours=1)),
        (pa.timestamp("ms"), HOUR.replace(tzinfo=None), HOUR.replace(tzinfo=None, hour=11)),
        (pa.timestamp("ns"), HOUR.replace(tzinfo=None), HOUR.replace(tzinfo=None, hour=11)),
        (pa.string(), "2026-11-20 10:00:00", "2026-11-20 11:00:00"),
        (pa.string(), "2026-11-20T11:00:00+01:00", "2026-11-20T12:00:00+01:00"),
    ],
)
def test_times_of_any_type(tmp_path: Path, kind: pa.DataType, start: Any, end: Any) -> None:
    row = focus_row(ChargePeriodStart=start, ChargePeriodEnd=end)
    path = write_parquet(tmp_path / "a.parquet", [row], {"ChargePeriodStart": kind, "ChargePeriodEnd": kind})
    wanted = (HOUR, HOUR + dt.timedelta(hours=1))
    assert one(collected(tmp_path, path), "ChargePeriodStart", "ChargePeriodEnd") == wanted
    assert one(collected(tmp_path, path, days=[HOUR.date()]), "ChargePeriodStart", "ChargePeriodEnd") == wanted


@pytest.mark.parametrize("kind", [pa.date32(), pa.string()])
def test_dates_without_a_time(tmp_path: Path, kind: pa.DataType) -> None:
    texts = {"ChargePeriodStart": "2026-11-20", "ChargePeriodEnd": "2026-11-21"}
    values = {n: dt.date.fromisoformat(text) if kind == pa.date32() else text for n, text in texts.items()}
    path = write_parquet(tmp_path / "a.parquet", [focus_row(**values)], dict.fromkeys(texts, kind))
    assert one(collected(tmp_path, path), "ChargePeriodStart") == (HOUR.replace(hour=0),)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.map_(pa.string(), pa.string()), [("user:b", "2"), ("aws:a", 'say "1"'), ("c", None)]),
        (pa.string(), '{"user:b": "2", "aws:a": "say \\"1\\"", "c": null}'),
        (pa.struct([("user:b", pa.string()), ("aws:a", pa.string())]), {"user:b": "2", "aws:a": 'say "1"'}),
        (pa.string(), '"user:b": "2", "aws:a": "say \\"1\\""'),
        *(
            (
                pa.list_(pa.struct([(key, pa.string()), (value, pa.string())])),
                [{key: "user:b", value: "2"}, {key: "aws:a", value: 'say "1"'}, {key: "c", value: None}],
            )
            for key, value in (("key", "value"), ("Key", "Value"))
        ),
    ],
)
def test_tags_of_any_type_are_sorted_json(tmp_path: Path, kind: pa.DataType, value: Any) -> None:
    path = write_parquet(tmp_path / "a.parquet", [focus_row(Tags=value)], {"Tags": kind})
    assert one(collected(tmp_path, path), "Tags") == ('{"aws:a":"say \\"1\\"","b":"2"}',)


@pytest.mark.parametrize(
    ("value", "unread"), [("", 0), ("NULL", 0), (r"\N", 0), ("{}", 0), ("no json", 1), ("[1]", 1), ('{"a": 1', 1)]
)
def test_no_tags_are_null_and_tags_that_cant_be_read_are_counted(tmp_path: Path, value: str, unread: int) -> None:
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [focus_row(Tags=value)]))
    assert one(made, "Tags") == (None,)
    assert made.unread == ({"Tags": unread} if unread else {})


def test_tags_of_a_type_that_nobody_knows_are_counted(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "a.parquet", [focus_row(Tags=[1]), focus_row(Tags=None)], {"Tags": pa.list_(pa.int64())}
    )
    made = collected(tmp_path, path)
    assert (table(made, "Tags"), made.unread) == ([(None,), (None,)], {"Tags": 1})


@pytest.mark.parametrize("nothing", ["", "NULL", "N/A", "n/a", "NA", "None", "-", r"\N", " ", "Not Applicable"])
@pytest.mark.parametrize(("row", "column"), [(focus_row, "InvoiceId"), (cur_row, "bill_invoice_id")])
def test_a_word_for_no_invoice_is_no_invoice(tmp_path: Path, row: Any, column: str, nothing: str) -> None:
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [row(**{column: nothing})]))
    assert (one(made, "InvoiceId"), made.facts[0].invoiced) == ((None,), False)


def test_tags_whose_keys_differ_in_case_are_two(tmp_path: Path) -> None:
    names = {"resourceTags/user:Name": "a", "resourceTags/user:name": "b", "resourceTags/user:NAME": ""}
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [cur_row() | names]))
    assert one(made, "Tags") == ('{"Name":"a","name":"b"}',)
    tags = {"resource_tags_user_Name": "a", "resource_tags_user_name": "b"}
    made = collected(tmp_path, write_parquet(tmp_path / "a.parquet", [cur_row() | tags]))
    assert one(made, "Tags") == ('{"Name":"a","name":"b"}',)


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ('{"resourceTags/user:team":"a","accountTag/env":"prod","userAttribute/x":"y"}', '{"team":"a"}'),
        ('{"resourceTags/aws:createdBy":"me"}', '{"aws:createdBy":"me"}'),
        ('{"resourceTags/user:kubernetes.io/cluster/x":"owned"}', '{"kubernetes.io/cluster/x":"owned"}'),
        ('{"accountTag/env":"prod"}', None),
        ('{"team":"a"}', '{"team":"a"}'),
    ],
)
def test_the_newer_column_of_tags_of_cur_2_0(tmp_path: Path, value: str, tags: str | None) -> None:
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [cur_row(tags=value, product="{}")]))
    assert (one(made, "Tags"), made.unread) == ((tags,), {})


def test_focus_1_0_has_fewer_columns_and_the_meter_of_aws(tmp_path: Path) -> None:
    row = focus_row(x_UsageType="EUC1-BoxUsage:m7g.xlarge", PricingCategory="Standard")
    del row["SkuMeter"], row["InvoiceId"]
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [row]))
    assert one(made, "SkuMeter", "x_InstanceType", "x_CapacityType", "InvoiceId") == (
        "EUC1-BoxUsage:m7g.xlarge", "m7g.xlarge", "on_demand", None,
    )  # fmt: skip


def test_cur_2_0_with_maps(tmp_path: Path) -> None:
    text_map = pa.map_(pa.string(), pa.string())
    row = cur_row(
        product=[("region", "eu-central-1"), ("instance_type", "c7g.2xlarge")],
        resource_tags=[("user_cost_center", "akidb"), ("aws_created_by", "x")],
        discount=[("total_discount", "0")],
        line_item_unblended_cost=0.3451,
    )
    types = {"product": text_map, "resource_tags": text_map, "discount": text_map}
    path = write_parquet(tmp_path / "a.parquet", [row], types | {"line_item_unblended_cost": pa.float64()})
    made = collected(tmp_path, path)
    columns = ("BilledCost", "RegionId", "Tags", "ServiceName", "x_CapacityType", "x_InstanceType", "BillingPeriodEnd")
    assert one(made, *columns) == (
        Decimal("0.3451"),
        "eu-central-1",
        '{"aws:created_by":"x","cost_center":"akidb"}',
        "Amazon Elastic Compute Cloud",
        "on_demand",
        "c7g.2xlarge",
        dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
    )
    assert made.components == {"central_dc": Decimal("0.3451")}


def test_legacy_cur_csv_with_slashes(tmp_path: Path) -> None:
    names = {
        "bill/BillingPeriodStartDate": "2026-11-01T00:00:00Z",
        "bill/PayerAccountId": "111111111111",
        "lineItem/UsageAccountId": "222222222222",
        "lineItem/LineItemType": "Usage",
        "lineItem/UsageStartDate": "2026-11-20T10:00:00Z",
        "lineItem/UsageEndDate": "2026-11-20T11:00:00Z",
        "lineItem/ProductCode": "AmazonS3",
        "lineItem/UsageType": "EUC1-TimedStorage-ByteHrs",
        "lineItem/UnblendedCost": "0.0000000123",
        "reservation/ReservationARN": "",
        "resourceTags/user:CostCenter": "akidb",
        "resourceTags/aws:createdBy": "me",
    }
    made = collected(tmp_path, write_csv(tmp_path / "a.csv.gz", [names]))
    assert one(made, "BilledCost", "RegionId", "Tags", "ServiceName", "CommitmentDiscountId") == (
        Decimal("0.0000000123"),
        "eu-central-1",
        '{"CostCenter":"akidb","aws:createdBy":"me"}',
        "Amazon Simple Storage Service",
        None,
    )


def test_an_unknown_product_code_is_kept(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [cur_row(line_item_product_code="AmazonNew", line_item_usage_type="Thing")])
    assert one(collected(tmp_path, path), "ServiceName", "ServiceCategory", "RegionId") == ("AmazonNew", "Other", None)


RESERVED = "arn:aws:ec2:us-east-1:1:reserved-instances/r"
PLAN = "arn:aws:savingsplans::1:savingsplan/p"


def test_what_line_types_mean(tmp_path: Path) -> None:
    common = {
        "reservation_reservation_a_r_n": "",
        "savings_plan_savings_plan_a_r_n": "",
        "reservation_effective_cost": "",
        "savings_plan_savings_plan_effective_cost": "",
        "reservation_unused_recurring_fee": "",
        "savings_plan_total_commitment_to_date": "",
        "savings_plan_used_commitment": "",
    }
    reserved, plan = {"reservation_reservation_a_r_n": RESERVED}, {"savings_plan_savings_plan_a_r_n": PLAN}
    lines: list[tuple[str, str, dict[str, str]]] = [
        ("Usage", "1", {}),
        ("DiscountedUsage", "0", reserved | {"reservation_effective_cost": "0.6"}),
        ("SavingsPlanCoveredUsage", "2", plan | {"savings_plan_savings_plan_effective_cost": "1.4"}),
        ("SavingsPlanNegation", "-2", plan),
        ("SavingsPlanRecurringFee", "3", plan | {
            "savings_plan_total_commitment_to_date": "3", "savings_plan_used_commitment": "2.5"}),
        ("RIFee", "4", reserved | {"reservation_unused_recurring_fee": "0.25"}),
        ("Fee", "5", {}),
        ("Fee", "6", reserved),
        ("SavingsPlanUpfrontFee", "7", plan),
        ("Tax", "0.5", {}),
        ("Credit", "-0.25", {}),
        ("Refund", "-0.125", {}),
        ("EdpDiscount", "-0.0625", {}),
    ]  # fmt: skip
    rows = [cur_row(line_item_line_item_type=t, line_item_unblended_cost=c) | common | x for t, c, x in lines]
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", rows))
    columns = ("ChargeCategory", "BilledCost", "EffectiveCost", "PricingCategory", "CommitmentDiscountStatus")
    found = [
        (category, str(billed.normalize()), str(effective.normalize()), pricing, status)
        for category, billed, effective, pricing, status in table(made, *columns)
    ]
    assert found == [
        ("Usage", "1", "1", "Standard", None),
        ("Usage", "0", "0.6", "Committed", "Used"),
        ("Usage", "0", "1.4", "Committed", "Used"),
        ("Adjustment", "0", "0", None, None),
        ("Purchase", "3", "0.5", "Standard", "Unused"),
        ("Purchase", "4", "0.25", "Standard", "Unused"),
        ("Purchase", "5", "5", "Standard", None),
        ("Purchase", "6", "0", "Standard", None),
        ("Purchase", "7", "0", "Standard", None),
        ("Tax", "0.5", "0.5", None, None),
        ("Credit", "-0.25", "-0.25", None, None),
        ("Adjustment", "-0.125", "-0.125", None, None),
        ("Adjustment", "-0.0625", "-0.0625", None, None),
    ]
    assert made.billed_usd == sum(Decimal(cost) for _, cost, _ in lines)
    capacity = [row[0] for row in table(made, "x_CapacityType")]
    plans, reservations = "savings_plan", "reserved"
    assert capacity[:6] == ["on_demand", reservations, plans, None, plans, reservations]


def commitments(*columns: str) -> list[dict[str, str]]:
    """A reservation and a plan that are each three quarters used, as a CUR with these of its columns has them."""
    reserved, plan = {"reservation_reservation_a_r_n": RESERVED}, {"savings_plan_savings_plan_a_r_n": PLAN}
    fee = {"savings_plan_total_commitment_to_date": "20", "savings_plan_used_commitment": "15"}
    lines: list[tuple[str, str, dict[str, str]]] = [
        ("RIFee", "120", reserved | {"reservation_unused_recurring_fee": "30"}),
        ("DiscountedUsage", "0", reserved | {"reservation_effective_cost": "90"}),
        ("SavingsPlanRecurringFee", "20", plan | fee),
        ("SavingsPlanCoveredUsage", "29", plan | {"savings_plan_savings_plan_effective_cost": "15"}),
        ("SavingsPlanNegation", "-29", plan),
    ]
    empty = dict.fromkeys(columns, "")
    return [
        cur_row(line_item_line_item_type=kind, line_item_unblended_cost=usd)
        | empty
        | {name: value for name, value in more.items() if name in columns}
        for kind, usd, more in lines
    ]


ARNS = ("reservation_reservation_a_r_n", "savings_plan_savings_plan_a_r_n")
OF_RESERVATION = ("reservation_effective_cost", "reservation_unused_recurring_fee")
OF_PLAN = (
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
)


@pytest.mark.parametrize(
    ("columns", "effective"),
    [
        ((*ARNS, *OF_RESERVATION, *OF_PLAN), [30, 90, 5, 15, 0]),
        ((*OF_RESERVATION, *OF_PLAN), [30, 90, 5, 15, 0]),
        (ARNS, [120, None, 20, None, 0]),
        ((), [120, None, 20, None, 0]),
        ((*ARNS, *OF_RESERVATION), [30, 90, 20, None, 0]),
        ((*ARNS, *OF_PLAN), [120, None, 5, 15, 0]),
        ((*ARNS, OF_RESERVATION[0], OF_PLAN[0]), [120, None, 20, None, 0]),  # one half is no sum
        ((*ARNS, OF_RESERVATION[1], *OF_PLAN[1:]), [120, None, 20, None, 0]),
    ],
)
def test_commitments_cost_what_they_bill_whatever_columns_there_are(
    tmp_path: Path, columns: tuple[str, ...], effective: list[int | None]
) -> None:
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", commitments(*columns)))
    assert [cost for (cost,) in table(made, "EffectiveCost")] == effective
    assert sum(cost for (cost,) in table(made, "coalesce(EffectiveCost, BilledCost)")) == made.billed_usd == 140


@pytest.mark.parametrize("columns", [(*ARNS, *OF_RESERVATION, *OF_PLAN), ARNS, ()])
@pytest.mark.parametrize(
    ("kind", "column", "arn"),
    [
        ("Fee", "reservation_reservation_a_r_n", RESERVED),
        ("SavingsPlanUpfrontFee", "savings_plan_savings_plan_a_r_n", PLAN),
    ],
)
def test_a_commitment_that_is_given_back_costs_nothing(
    tmp_path: Path, columns: tuple[str, ...], kind: str, column: str, arn: str
) -> None:
    empty = dict.fromkeys(columns, "") | ({column: arn} if column in columns else {})
    rows = [
        cur_row(line_item_line_item_type=one, line_item_unblended_cost=usd) | empty
        for one, usd in ((kind, "1000"), ("Refund", "-1000"))
    ]
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", rows))
    assert sum(cost for (cost,) in table(made, "EffectiveCost")) == 0


def test_a_fee_whose_unused_part_is_empty_counts_as_billed(tmp_path: Path) -> None:
    rows = commitments(*ARNS, *OF_RESERVATION, *OF_PLAN)
    for row in rows:
        row |= {"reservation_unused_recurring_fee": "", "savings_plan_used_commitment": ""}
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", rows))
    assert [cost for (cost,) in table(made, "EffectiveCost")] == [None, 90, None, 15, 0]


def test_a_negation_that_doesnt_cancel_keeps_the_sum(tmp_path: Path) -> None:
    """AWS rounds: what covered usage and its negation differ by is billed."""
    arn = {"savings_plan_savings_plan_a_r_n": PLAN, "savings_plan_savings_plan_effective_cost": "0.1"}
    rows = [
        cur_row(line_item_line_item_type="SavingsPlanCoveredUsage", line_item_unblended_cost="0.3333333333") | arn,
        cur_row(line_item_line_item_type="SavingsPlanNegation", line_item_unblended_cost="-0.3333333332") | arn,
        # Another hour, without a negation: billed as AWS says.
        cur_row(
            line_item_line_item_type="SavingsPlanCoveredUsage",
            line_item_usage_start_date="2026-11-20T11:00:00Z",
            line_item_usage_end_date="2026-11-20T12:00:00Z",
        )
        | arn,
    ]
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", rows))
    assert [row[0] for row in table(made, "BilledCost")] == [Decimal(0), Decimal("0.0000000001"), Decimal("0.3451")]


def test_a_fee_of_a_month_ends_with_the_month(tmp_path: Path) -> None:
    row = cur_row(
        line_item_line_item_type="RIFee",
        line_item_usage_start_date="2026-11-01T00:00:00Z",
        line_item_usage_end_date="2026-11-30T23:59:59Z",
    )
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [row]))
    assert one(made, "ChargePeriodEnd") == (dt.datetime(2026, 12, 1, tzinfo=dt.UTC),)
    assert [facts.day for facts in made.facts] == [dt.date(2026, 11, 1)]


def test_a_refund_of_an_earlier_period_is_a_correction(tmp_path: Path) -> None:
    old = {"line_item_usage_start_date": "2026-10-20T10:00:00Z", "line_item_usage_end_date": "2026-10-20T11:00:00Z"}
    rows = [cur_row(line_item_line_item_type="Refund"), cur_row(line_item_line_item_type="Refund", **old)]
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", rows))
    assert table(made, "ChargeClass") == [("Correction",), (None,)]


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (cur_row(), Format.CUR_2.CUR),
        (cur_row(product=""), Format.CUR_2),
        ([name.lower() for name in focus_row()], Format.FOCUS),
    ],
)
def test_formats_are_told_by_columns(columns: Any, found: Format) -> None:
    assert detect("x", columns) is found


def test_an_unknown_layout_names_what_it_lacks(tmp_path: Path) -> None:
    row = focus_row()
    del row["BilledCost"], row["ChargePeriodEnd"]
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [row]))
    assert made.refused == {
        "a.csv": "a.csv is no export that can be read; as FOCUS it lacks BilledCost, ChargePeriodEnd: "
        "export FOCUS 1.2 or CUR 2.0 with these columns"
    }
    with pytest.raises(CostError, match="as AWS CUR it lacks line_item_unblended_cost"):
        detect("x", [name for name in cur_row() if name != "line_item_unblended_cost"])
