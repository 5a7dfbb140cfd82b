"""Files that a person names: parts of one download add up, a later download takes over, the rest is refused."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from include.cost.sources.exports import Relation
from include.cost.sources.exports.downloads import Shared, are_numbered, relation
from include.cost.table.columns import CostError
from tests.unit.cost.export_files import collected, cur_row, focus_row, write_csv, write_parquet


@pytest.mark.parametrize(
    ("shared", "smaller", "numbered", "found"),
    [
        (0, 0, False, Relation.PARTS),  # they hold nothing of the same account, period and time
        (0, 10, False, Relation.PARTS),
        (1, 10, False, Relation.PARTS),
        (2, 10, False, Relation.UNCLEAR),
        (7, 10, False, Relation.UNCLEAR),
        (8, 10, False, Relation.LATER),
        (10, 10, False, Relation.LATER),
        (2, 10, True, Relation.PARTS),
        (7, 10, True, Relation.PARTS),
        (8, 10, True, Relation.UNCLEAR),  # the names say the one, the charges the other
    ],
)
def test_what_two_files_are_to_each_other(shared: int, smaller: int, numbered: bool, found: Relation) -> None:
    assert relation(Shared(shared, smaller), numbered) is found


@pytest.mark.parametrize(("there", "found"), [(12, Relation.LATER), (13, Relation.UNCLEAR), (20, Relation.UNCLEAR)])
def test_what_has_but_some_of_the_tables_charges_may_be_a_part(there: int, found: Relation) -> None:
    assert relation(Shared(10, 10, there=there), numbered=False) is found


def test_charges_that_are_the_same_but_for_one_name_are_no_parts() -> None:
    assert relation(Shared(0, 10, 0.79), numbered=False) is Relation.PARTS
    assert relation(Shared(0, 10, 0.8), numbered=False) is Relation.UNCLEAR
    assert relation(Shared(0, 10, 0.8), numbered=True) is Relation.PARTS


@pytest.mark.parametrize(
    ("names", "numbered"),
    [
        (("akidb-00001.csv.gz", "akidb-00002.csv.gz"), True),
        (("akidb-00001.snappy.parquet", "akidb-00002.snappy.parquet", "akidb-00010.snappy.parquet"), True),
        (("part_0_0001.csv", "part_1_0001.csv"), True),
        (("bill-000000000000.csv", "bill-000000000001.csv"), True),
        (("2026-10-part-1.csv", "2026-10-part-2.csv"), True),
        (("a.csv", "b.csv"), False),
        (("a1.csv", "a2.parquet"), False),
        (("month_v1.csv", "month_v2.csv"), False),
        (("rev1.csv", "rev2.csv"), False),
        (("bill (1).csv", "bill (2).csv"), False),
        (("bill-2026-10-05.csv", "bill-2026-10-06.csv"), False),
        (("bill-20261005.csv", "bill-20261006.csv"), False),
        (("bill-2026-10.csv", "bill-2026-11.csv"), False),
        (("x-1-1.csv", "x-2-2.csv"), False),
        (("one/x-1.csv", "two/x-2.csv"), False),
    ],
)
def test_the_names_of_parts(names: tuple[str, ...], numbered: bool) -> None:
    assert are_numbered([Path(name) for name in names]) is numbered


def month(row: Any = focus_row, **changed: Any) -> list[dict[str, Any]]:
    """Ten resources of one hour, a dollar each."""
    cost, resource = (
        ("BilledCost", "ResourceId") if row is focus_row else ("line_item_unblended_cost", "line_item_resource_id")
    )
    return [row(**{cost: "1", resource: f"b{number}"}) | changed for number in range(10)]


def numbered_lines(first: str) -> list[dict[str, Any]]:
    return [row | {"identity_line_item_id": f"{first}{number}"} for number, row in enumerate(month(cur_row))]


@pytest.mark.parametrize(
    "later",
    [
        month(),
        month(SubAccountName="renamed"),
        month(Tags='{"team": "a", "backfilled": "7"}'),
        month(InvoiceId="INV-1"),
        month(BilledCost="1.5", ListCost="9"),
        month(ProviderName="AWS", BillingAccountName="payer"),
        [row | {"SkuId": "S1", "ChargeDescription": "new"} for row in month()],
        [*month(), focus_row(BilledCost="1", ResourceId="b10")],
        month()[:9],
    ],
)
def test_a_later_download_takes_over_whatever_it_says_anew(tmp_path: Path, later: list[dict[str, Any]]) -> None:
    old, new = write_csv(tmp_path / "one.csv", month()), write_csv(tmp_path / "two.csv", later)
    made = collected(tmp_path, old, new)
    assert made.billed_usd == sum(Decimal(row["BilledCost"]) for row in later)
    assert made.set_aside == {"superseded by a newer export": 10}


def test_a_later_cur_has_other_line_ids(tmp_path: Path) -> None:
    files = [write_csv(tmp_path / f"{name}.csv", numbered_lines(name)) for name in ("x", "y")]
    assert collected(tmp_path, *files).billed_usd == 10


def test_the_same_download_in_two_encodings_counts_once(tmp_path: Path) -> None:
    rows = month()
    times = {name: dt.datetime.fromisoformat(rows[0][name]) for name in ("ChargePeriodStart", "ChargePeriodEnd")}
    parquet = write_parquet(
        tmp_path / "b.parquet", [row | times for row in rows], dict.fromkeys(times, pa.timestamp("us", "UTC"))
    )
    assert collected(tmp_path, write_csv(tmp_path / "a.csv", rows), parquet).billed_usd == 10


def test_a_download_by_the_day_after_one_by_the_hour_takes_over(tmp_path: Path) -> None:
    hours = [
        row
        | {"ChargePeriodStart": f"2026-11-20T{hour:02d}:00:00Z", "ChargePeriodEnd": f"2026-11-20T{hour + 1:02d}:00:00Z"}
        for row in month()
        for hour in range(23)
    ]
    days = month(ChargePeriodStart="2026-11-20T00:00:00Z", ChargePeriodEnd="2026-11-21T00:00:00Z", BilledCost="23")
    made = collected(tmp_path, write_csv(tmp_path / "hours.csv", hours), write_csv(tmp_path / "days.csv", days))
    assert (made.billed_usd, made.rows) == (230, 10)


def test_a_download_takes_over_from_its_first_day_to_its_last(tmp_path: Path) -> None:
    def days(first: int, last: int, usd: str) -> list[dict[str, Any]]:
        starts = [f"2026-11-{day:02d}T10:00:00Z" for day in range(first, last + 1)]
        return [
            focus_row(ChargePeriodStart=at, ChargePeriodEnd=at.replace("T10", "T11"), BilledCost=usd) for at in starts
        ]

    first, second = write_csv(tmp_path / "a.csv", days(1, 20, "1")), write_csv(tmp_path / "b.csv", days(10, 30, "2"))
    assert collected(tmp_path, first, second).billed_usd == 9 * 1 + 21 * 2
    halves = write_csv(tmp_path / "c.csv", days(1, 15, "1")), write_csv(tmp_path / "d.csv", days(16, 30, "1"))
    assert collected(tmp_path, *halves).billed_usd == 30


def test_two_downloads_of_two_parts_each(tmp_path: Path) -> None:
    files = []
    for name, usd, cut in (("old", "1", 5), ("new", "2", 7)):
        rows = month(BilledCost=usd)
        files += [write_csv(tmp_path / f"{name}-{n}.csv", part) for n, part in ((1, rows[:cut]), (2, rows[cut:]))]
    made = collected(tmp_path, *files)
    assert (made.billed_usd, made.set_aside) == (20, {"superseded by a newer export": 10})


def test_a_provider_that_calls_a_meter_anew_doesnt_double_the_bill(tmp_path: Path) -> None:
    files = [write_csv(tmp_path / f"{name}.csv", month(SkuMeter=name)) for name in ("Requests", "Requests-Tier1")]
    with pytest.raises(CostError, match="0 of 10 charges are in both: say --parts"):
        collected(tmp_path, *files)
    assert collected(tmp_path, *files, stated=Relation.LATER).billed_usd == 10


def test_numbered_parts_add_up_though_some_charges_are_in_both(tmp_path: Path) -> None:
    rows = month()
    files = [write_csv(tmp_path / "x-00001.csv", rows[:6]), write_csv(tmp_path / "x-00002.csv", rows[4:])]
    assert collected(tmp_path, *files).billed_usd == 12


@pytest.mark.parametrize("names", [("a.csv", "b.csv"), ("x-00001.csv", "x-00002.csv")])
def test_what_cant_be_told_is_refused_and_a_word_settles_it(tmp_path: Path, names: tuple[str, str]) -> None:
    rows = month()
    halves = (rows[:7], rows[4:]) if names[0] == "a.csv" else (rows, rows)
    files = [write_csv(tmp_path / name, half) for name, half in zip(names, halves, strict=True)]
    with pytest.raises(CostError) as caught:
        collected(tmp_path, *files)
    shared = "3 of 6" if names[0] == "a.csv" else "10 of 10"
    assert str(caught.value) == (
        f"{names[1]} and {names[0]} hold the same account, billing period and time, and {shared} charges are in both: "
        f"say --parts if they are one download, or say --later if {names[1]} takes the place of {names[0]}"
    )
    assert collected(tmp_path, *files, stated=Relation.PARTS).billed_usd == sum(map(len, halves))
    assert collected(tmp_path, *files, stated=Relation.LATER).billed_usd == len(halves[1])


def test_other_accounts_are_no_parts_and_no_versions(tmp_path: Path) -> None:
    """A file of three accounts, then one of the middle one: the others stay."""
    accounts = ("111", "222", "333")
    old = [row | {"SubAccountId": account} for account in accounts for row in month()]
    new = month(SubAccountId="222", BilledCost="5")
    made = collected(tmp_path, write_csv(tmp_path / "old.csv", old), write_csv(tmp_path / "new.csv", new))
    assert (made.billed_usd, made.rows) == (20 + 50, 30)


def test_a_row_in_another_currency_of_an_earlier_download_is_no_loss(tmp_path: Path) -> None:
    old = write_csv(tmp_path / "old.csv", month(BillingCurrency="EUR"))
    made = collected(tmp_path, old, write_csv(tmp_path / "new.csv", month()))
    assert (made.billed_usd, made.lost, made.facts[0].aside) == (10, {}, ())
