"""Each defect of an export has one result: what counts, what is set aside, and why."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from include.cost.sources.exports import Relation
from tests.unit.cost.export_files import (
    RECEIVED,
    aside,
    collected,
    cur_row,
    focus_row,
    source,
    table,
    write_csv,
    write_parquet,
)

DAY = dt.date(2026, 11, 20)


@pytest.mark.parametrize(
    ("changed", "reason", "detail"),
    [
        ({"BillingCurrency": "EUR"}, "currency EUR", "BillingCurrency=EUR"),
        ({"BillingCurrency": "NULL"}, "currency missing", None),
        ({"BilledCost": ""}, "BilledCost missing", None),
        ({"BilledCost": "NULL"}, "BilledCost missing", None),
        ({"BilledCost": "null"}, "BilledCost missing", None),
        ({"BilledCost": "1,50"}, "BilledCost can't be read", "BilledCost=1,50"),
        ({"ChargePeriodStart": ""}, "ChargePeriodStart missing", None),
        ({"ChargePeriodEnd": "NULL"}, "ChargePeriodEnd missing", None),
        ({"ChargePeriodStart": "20/11/2026"}, "ChargePeriodStart can't be read", "ChargePeriodStart=20/11/2026"),
        ({"SubAccountId": "", "BillingAccountId": "NULL"}, "account missing", None),
        (
            {"ChargePeriodEnd": "2026-11-20T09:00:00Z"},
            "charge period ends before it begins",
            "ChargePeriodEnd=2026-11-20 09:00:00+00",
        ),
    ],
)
def test_a_row_that_cant_count_is_set_aside(
    tmp_path: Path, changed: dict[str, str], reason: str, detail: str | None
) -> None:
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [focus_row(), focus_row(ResourceId="i-2") | changed]))
    assert (made.rows, made.rows_set_aside, made.set_aside) == (1, 1, {reason: 1})
    assert made.billed_usd == Decimal("0.10")
    assert aside(made, "reason", "detail", "x_SourceFile", "x_SourceRow") == [(reason, detail, "a.csv", 2)]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"line_item_currency_code": "EUR"}, "currency EUR"),
        ({"line_item_unblended_cost": "x"}, "line_item_unblended_cost can't be read"),
        ({"line_item_usage_account_id": "", "bill_payer_account_id": ""}, "account missing"),
    ],
)
def test_the_same_for_a_cur(tmp_path: Path, changed: dict[str, str], reason: str) -> None:
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [cur_row(), cur_row(**changed)]))
    assert (made.rows, made.set_aside) == (1, {reason: 1})


def test_text_nulls_are_null(tmp_path: Path) -> None:
    row = focus_row(ListCost="NULL", ResourceId="NULL", BillingPeriodEnd="null", RegionId="")
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [row]))
    assert table(made, "ListCost", "ResourceId", "BillingPeriodEnd", "RegionId") == [(None, None, None, None)]
    assert made.set_aside == {}


def test_nan_is_unknown(tmp_path: Path) -> None:
    import pyarrow as pa

    kinds = {"ListCost": pa.float64(), "BilledCost": pa.float64()}
    rows = [
        focus_row(ListCost=float("nan"), BilledCost=0.1),
        focus_row(ListCost=1.0, BilledCost=float("nan")),
        focus_row(ListCost=1.0, BilledCost=float("inf")),
    ]
    made = collected(tmp_path, write_parquet(tmp_path / "a.parquet", rows, kinds))
    assert table(made, "BilledCost", "ListCost") == [(Decimal("0.1"), None)]
    assert made.set_aside == {"BilledCost missing": 2}


@pytest.mark.parametrize("row", [focus_row, cur_row])
def test_equal_rows_that_nobody_has_numbered_are_two_charges(tmp_path: Path, row: Any) -> None:
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [row(), row(), row()]))
    assert (made.rows, made.set_aside, made.facts[0].rows_set_aside) == (3, {}, 0)
    assert [number for (number,) in table(made, "x_SourceRow")] == [1, 2, 3]


def test_a_line_item_twice_with_equal_content_counts_once(tmp_path: Path) -> None:
    rows = [cur_row(identity_line_item_id="a"), cur_row(identity_line_item_id="b"), cur_row(identity_line_item_id="a")]
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", rows))
    assert (made.rows, made.set_aside, made.facts[0].rows_set_aside) == (2, {"duplicate": 1}, 1)
    assert made.lost == {}
    assert aside(made, "x_SourceRow") == [(3,)]


def test_an_id_of_two_lines_in_one_file_is_two_lines(tmp_path: Path) -> None:
    """AWS: an id is unique in one file's time interval; what costs another amount there is another line."""
    rows = [cur_row(identity_line_item_id="a", line_item_unblended_cost=cost) for cost in ("1", "2")]
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", rows))
    assert (made.billed_usd, made.set_aside) == (Decimal(3), {})


def test_files_without_a_common_row_add_up(tmp_path: Path) -> None:
    first = write_csv(tmp_path / "a.csv", [focus_row()])
    second = write_csv(tmp_path / "b.csv", [focus_row(ResourceId="i-2")])
    made = collected(tmp_path, first, second)
    assert (made.billed_usd, made.set_aside, made.facts[0].inputs) == (Decimal("0.20"), {}, ("a.csv", "b.csv"))


@pytest.mark.parametrize("row", [focus_row, cur_row])
def test_a_later_file_takes_the_place_of_the_earlier_one(tmp_path: Path, row: Any) -> None:
    cost, extra = (("BilledCost", {}), ("line_item_unblended_cost", {"identity_line_item_id": "a"}))[row is cur_row]
    old = write_csv(tmp_path / "old.csv", [row(**{cost: "1"}, **extra), row(**{cost: "8"}) | _other(row)])
    new = write_csv(tmp_path / "new.csv", [row(**{cost: "1.5"}, **extra)])
    made = collected(tmp_path, old, new)
    assert (made.billed_usd, made.set_aside) == (Decimal("1.5"), {"superseded by a newer export": 2})
    assert made.aside_amounts == {"superseded by a newer export": {"USD": Decimal(9)}}
    assert aside(made, "x_SourceFile", "x_SourceRow", "BilledCost") == [
        ("old.csv", 1, Decimal(1)), ("old.csv", 2, Decimal(8)),
    ]  # fmt: skip
    assert made.lost == {}


def _other(row: Any) -> dict[str, str]:
    return {"ResourceId": "i-9"} if row is focus_row else {"line_item_resource_id": "i-9", "identity_line_item_id": "b"}


def test_an_invoiced_line_replaces_the_same_line_before(tmp_path: Path) -> None:
    old = write_csv(tmp_path / "old.csv", [focus_row()])
    new = write_csv(tmp_path / "new.csv", [focus_row(InvoiceId="INV-1")])
    made = collected(tmp_path, old, new)
    assert table(made, "InvoiceId") == [("INV-1",)]
    assert made.facts[0].invoiced


def test_tiers_of_one_meter_in_two_parts_add_up(tmp_path: Path) -> None:
    first = cur_row(line_item_unblended_rate="0.09", line_item_unblended_cost="9")
    second = cur_row(line_item_unblended_rate="0.08", line_item_unblended_cost="8")
    files = write_csv(tmp_path / "a.csv", [first]), write_csv(tmp_path / "b.csv", [second])
    made = collected(tmp_path, *files, stated=Relation.PARTS)
    assert (made.billed_usd, made.set_aside) == (Decimal(17), {})


def delivery(path: Path, name: str, hours: int, **changed: Any) -> Any:
    return source(path, delivery=name, received=RECEIVED + dt.timedelta(hours=hours), **changed)


def test_parts_of_one_delivery_add_up(tmp_path: Path) -> None:
    """The same line in two parts, with other amounts, is two lines."""
    first = delivery(write_csv(tmp_path / "a.csv", [focus_row(BilledCost="1")]), "run-1", 0)
    second = delivery(write_csv(tmp_path / "b.csv", [focus_row(BilledCost="2")]), "run-1", 0)
    made = collected(tmp_path, first, second)
    assert (made.billed_usd, made.set_aside) == (Decimal(3), {})


@pytest.mark.parametrize("row", [focus_row, cur_row])
def test_the_same_row_in_two_parts_of_a_delivery_is_two_charges(tmp_path: Path, row: Any) -> None:
    parts = [delivery(write_csv(tmp_path / name, [row(), row()]), "run-1", 0) for name in ("a.csv", "b.csv")]
    made = collected(tmp_path, *parts)
    assert (made.rows, made.set_aside) == (4, {})


def test_the_newest_delivery_counts_whole(tmp_path: Path) -> None:
    """A day and a line that it doesn't have any more are gone; an account that it doesn't cover stays."""
    gone = {"ChargePeriodStart": "2026-11-21T10:00:00Z", "ChargePeriodEnd": "2026-11-21T11:00:00Z"}
    old_rows = [focus_row(), focus_row(**gone), focus_row(SubAccountId="333333333333", BilledCost="4")]
    old = delivery(write_csv(tmp_path / "old.csv", old_rows), "run-1", 0)
    new = delivery(write_csv(tmp_path / "new.csv", [focus_row(BilledCost="2")]), "run-2", 24)
    for files in ((old, new), (new, old)):
        made = collected(tmp_path, *files)
        assert (made.billed_usd, made.set_aside) == (Decimal(6), {"superseded by a newer export": 2})
        assert made.facts[0].received == RECEIVED + dt.timedelta(hours=24)
    # The run of the vanished day alone comes to the same.
    made = collected(tmp_path, old, new, days=[dt.date(2026, 11, 21)])
    assert [(facts.day.day, facts.rows) for facts in made.facts] == [(21, 0)]


def test_of_two_formats_the_first_counts(tmp_path: Path) -> None:
    cur = write_csv(tmp_path / "cur.csv", [cur_row(), cur_row(line_item_usage_account_id="444444444444")])
    focus = write_csv(tmp_path / "focus.csv", [focus_row()])
    made = collected(tmp_path, focus, cur)
    assert (made.billed_usd, made.set_aside) == (Decimal("0.4451"), {"overlaps an export that counts first": 1})
    made = collected(tmp_path, cur, focus)
    assert (made.billed_usd, made.set_aside) == (Decimal("0.6902"), {"overlaps an export that counts first": 1})


def test_of_two_exports_the_estates_order_counts(tmp_path: Path) -> None:
    second = delivery(write_csv(tmp_path / "a.csv", [focus_row()]), "a", 0, rank=1)
    first = delivery(write_csv(tmp_path / "b.csv", [focus_row(BilledCost="7")]), "b", 0, rank=0)
    made = collected(tmp_path, second, first)
    assert (made.billed_usd, made.set_aside) == (Decimal(7), {"overlaps an export that counts first": 1})


def hours(day: int, missing: set[int]) -> list[dict[str, str]]:
    return [
        focus_row(
            ChargePeriodStart=f"2026-11-{day:02}T{hour:02}:00:00Z",
            ChargePeriodEnd=f"2026-11-{day:02}T{hour + 1:02}:00:00Z"
            if hour < 23
            else f"2026-11-{day + 1:02}T00:00:00Z",
        )
        for hour in range(24)
        if hour not in missing
    ]


def test_a_missing_hour_is_named_and_never_filled(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", hours(19, {0, 1}) + hours(20, {4, 23}) + hours(21, {22}))
    made = collected(tmp_path, path)
    assert [(facts.day.day, facts.rows, facts.missing_hours) for facts in made.facts] == [
        (19, 22, ()), (20, 22, (4, 23)), (21, 23, ()),
    ]  # fmt: skip
    # The same when only this day is asked for.
    assert collected(tmp_path, path, days=[DAY]).facts[0].missing_hours == (4, 23)


def test_a_delivery_is_complete_a_day_after_the_day(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", hours(1, {3}))
    found = {}
    for day in (2, 3):
        late = source(path, delivery="run", received=dt.datetime(2026, 11, day, 6, tzinfo=dt.UTC))
        found[day] = collected(tmp_path, late).facts[0].missing_hours
    assert found == {2: (), 3: (3,)}


def test_a_day_of_monthly_fees_misses_no_hours(tmp_path: Path) -> None:
    fee = focus_row(ChargeCategory="Purchase", ChargePeriodEnd="2026-12-01T00:00:00Z")
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [*hours(19, set()), fee, *hours(21, set())]))
    assert [facts.missing_hours for facts in made.facts] == [(), (), ()]


@pytest.mark.parametrize(
    ("row", "changed", "field"),
    [
        (focus_row, {"ListCost": "cheap"}, "ListCost"),
        (focus_row, {"BillingPeriodEnd": "2026-13-01"}, "BillingPeriodEnd"),
        (focus_row, {"ConsumedQuantity": "many"}, "ConsumedQuantity"),
        (focus_row, {"Tags": "no json"}, "Tags"),
        (cur_row, {"pricing_public_on_demand_cost": "-"}, "pricing_public_on_demand_cost"),
    ],
)
def test_a_field_that_no_dollar_depends_on_is_only_counted_when_it_cant_be_read(
    tmp_path: Path, row: Any, changed: dict[str, str], field: str
) -> None:
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [row(**changed)]))
    assert (made.rows, made.set_aside, made.unread, made.costs_unread) == (1, {}, {field: 1}, 0)
    assert made.facts[0].aside == ()


def test_a_cost_that_cant_be_read_counts_as_billed_and_the_components_is_unknown(tmp_path: Path) -> None:
    rows = [focus_row(BilledCost="1", EffectiveCost="?"), focus_row(BilledCost="2", ServiceName="AWS Glue")]
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", rows))
    assert (made.billed_usd, made.unread, made.costs_unread) == (Decimal(3), {"EffectiveCost": 1}, 1)
    assert table(made, "EffectiveCost") == [(None,), (Decimal("0.10"),)]
    (one,) = made.facts[0].aside
    assert (one.component, one.reason, one.rows, one.amount) == ("central_dc", "EffectiveCost can't be read", 1, None)


@pytest.mark.parametrize("nothing", ["", "NULL", "null", r"\N", "NaN", "None", "N/A"])
def test_a_cost_that_isnt_there_counts_as_billed(tmp_path: Path, nothing: str) -> None:
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [focus_row(BilledCost="1", EffectiveCost=nothing)]))
    assert (made.billed_usd, made.unread, made.facts[0].aside) == (Decimal(1), {}, ())
    assert table(made, "EffectiveCost") == [(None,)]


def test_what_is_set_aside_is_known_by_component_reason_and_currency(tmp_path: Path) -> None:
    rows = [
        focus_row(),
        focus_row(BillingCurrency="EUR", BilledCost="5", ResourceId="i-2"),
        focus_row(BillingCurrency="EUR", BilledCost="7", ResourceId="i-3"),
        focus_row(BillingCurrency="EUR", BilledCost="", ResourceId="i-4"),
        focus_row(BilledCost="?", ServiceName="AWS Glue"),
        focus_row(BillingCurrency="", BilledCost="3"),
    ]
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", rows))
    assert made.aside_amounts == {
        "BilledCost can't be read": {"USD": None},
        "currency EUR": {"EUR": Decimal(12)},
        "currency missing": {"no currency": Decimal(3)},
    }
    assert made.lost == {"BilledCost can't be read": 1, "currency EUR": 3, "currency missing": 1}
    assert [(one.component, str(one)) for one in made.facts[0].aside] == [
        ("unallocated", "1 row(s), amount unknown: BilledCost can't be read"),
        ("central_dc", "3 row(s), 12.00 EUR: currency EUR"),
        ("central_dc", "1 row(s), 3.00 no currency: currency missing"),
    ]


def test_a_row_whose_day_cant_be_read_may_belong_to_any_day_of_its_period(tmp_path: Path) -> None:
    rows = [focus_row(), focus_row(ChargePeriodStart="?", BilledCost="4"), focus_row(BillingPeriodStart="2026-10-01")]
    rows[2] |= {"ChargePeriodStart": "2026-10-20T10:00:00Z", "ChargePeriodEnd": "2026-10-20T11:00:00Z"}
    path = write_csv(tmp_path / "a.csv", rows)
    for days in (None, [DAY], [dt.date(2026, 10, 20)]):
        aside_by_day = {facts.day: facts.aside for facts in collected(tmp_path, path, days=days).facts}
        assert [one.amount for one in aside_by_day.get(DAY, ())] == ([Decimal(4)] if DAY in aside_by_day else [])
        assert aside_by_day.get(dt.date(2026, 10, 20), ()) == ()
        assert set(aside_by_day) == set(days or [DAY, dt.date(2026, 10, 20)])


@pytest.mark.parametrize("row", [focus_row, cur_row])
def test_a_file_without_a_currency_is_warned_about(tmp_path: Path, row: Any) -> None:
    column = "BillingCurrency" if row is focus_row else "line_item_currency_code"
    plain = {name: value for name, value in row().items() if name != column}
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [plain]))
    assert made.rows == 1
    assert made.warnings == [f"a.csv has no column {column}: its amounts are taken for USD, the estate's"]


def test_a_charge_of_one_moment_counts_once(tmp_path: Path) -> None:
    moment = focus_row(ChargePeriodEnd="2026-11-20T10:00:00Z", ChargeCategory="Purchase", BilledCost="12")
    made = collected(tmp_path, write_csv(tmp_path / "a.csv", [focus_row(), moment]))
    assert (made.billed_usd, made.set_aside) == (Decimal("12.10"), {})


def test_a_part_that_cant_be_read_takes_its_delivery_along(tmp_path: Path) -> None:
    """The others of it would make the days smaller. Another account's delivery counts; an older day stays."""
    cut = write_csv(tmp_path / "cut.csv.gz", [focus_row(ResourceId=f"i-{number}") for number in range(500)])
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    key = "a/data/BILLING_PERIOD=2026-11"
    parts = [
        delivery(write_csv(tmp_path / "good.csv", [focus_row()]), key, 0, key=f"{key}/1"),
        delivery(cut, key, 0, key=f"{key}/2"),
    ]
    other = write_csv(tmp_path / "other.csv", [focus_row(SubAccountId="333333333333", BilledCost="4")])
    parts.append(delivery(other, "b/data/BILLING_PERIOD=2026-11", 0, key="b/data/BILLING_PERIOD=2026-11/1"))
    for place in range(2):
        made = collected(tmp_path, *parts[place:], *parts[:place], days=[DAY])
        assert (made.facts, made.rows, list(made.refused)) == ([], 0, [f"{key}/2"])
    old = collected(
        tmp_path, delivery(write_csv(tmp_path / "old.csv", [focus_row(BilledCost="9")]), key, -24, key=f"{key}/1")
    )
    made = collected(tmp_path, *parts, days=[DAY], standing=[old.paths[0].rename(tmp_path / "old.parquet")])
    assert [(facts.billed_usd, facts.inputs) for facts in made.facts] == [
        (Decimal(13), (f"{key}/1", "b/data/BILLING_PERIOD=2026-11/1"))
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_a_truncated_file_is_refused_and_the_others_count(tmp_path: Path, name: str) -> None:
    rows = [focus_row(ResourceId=f"i-{number}") for number in range(500)]
    bad = write_parquet(tmp_path / name, rows) if name.endswith("parquet") else write_csv(tmp_path / name, rows)
    data = bad.read_bytes()
    bad.write_bytes(data[: len(data) // 2])
    good = write_csv(tmp_path / "good.csv", [focus_row()])
    made = collected(tmp_path, bad, good)
    assert made.rows == 1
    assert list(made.refused) == [name]
    assert made.refused[name].startswith(f"{name} can't be read (")
    assert made.refused[name].endswith("): fetch it again from the provider")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "a.csv is empty: fetch it again"),
        (b"PK\x03\x04 and more", "a.csv is a zip archive: unpack it"),
        (b"BilledCost,billedcost\n1,2\n", "the column 'billedcost' twice in its header"),
        (b"BilledCost,,x\n1,2,3\n", "a column without a name in its header"),
        (b"\xff\xfe\x00", "can't be read"),
    ],
)
def test_a_file_that_is_no_export_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    made = collected(tmp_path, path)
    assert said in made.refused["a.csv"]
    assert (made.rows, made.facts) == (0, [])


def test_a_format_that_the_file_hasnt_is_refused(tmp_path: Path) -> None:
    from include.cost.sources.exports import Format

    path = write_csv(tmp_path / "a.csv", [focus_row()])
    made = collected(tmp_path, dataclasses.replace(source(path), format=Format.CUR))
    assert made.refused["a.csv"].startswith("a.csv is read as cur and lacks line_item_line_item_type, ")
