"""Fixed contracts: exact dollars a day, and only while they run."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.cost.sources.contracts import contract_rows, contracts_partition, in_force
from include.estate import Contract, load_estate

DAY = dt.date(2026, 11, 23)
RECEIVED = dt.datetime(2026, 11, 24, 6, tzinfo=dt.UTC)


def contract(**fields: Any) -> Contract:
    made = {"name": "m", "provider": "P", "usd_month": "50", "begins": "2026-01-01", "source": "a test"}
    return Contract.model_validate(made | fields)


@pytest.mark.parametrize(
    ("begins", "ends", "runs"),
    [
        ("2026-11-23", None, True),
        ("2026-11-24", None, False),
        ("2026-01-01", "2026-11-23", True),
        ("2026-01-01", "2026-11-22", False),
    ],
)
def test_the_first_and_the_last_day_count(begins: str, ends: str | None, runs: bool) -> None:
    assert in_force(contract(begins=begins, ends=ends), DAY) is runs


def test_a_day_is_billed_by_its_month_and_judged_by_the_month_over_30_4() -> None:
    rows = contract_rows(
        [contract(), contract(name="later", begins="2027-01-01"), contract(usd_month="620")], DAY, "USD"
    )
    assert [row["BilledCost"] for row in rows] == [Decimal("1.666666666666"), Decimal("20.666666666666")]
    assert [row["EffectiveCost"] for row in rows] == [Decimal("1.644736842105"), Decimal("20.394736842105")]
    assert [row["x_SourceRow"] for row in rows] == [1, 3]
    assert rows[0] == {
        "BilledCost": Decimal("1.666666666666"),
        "BillingCurrency": "USD",
        "BillingPeriodEnd": dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
        "BillingPeriodStart": dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
        "ChargeCategory": "Purchase",
        "ChargeDescription": "m: 50 a month",
        "ChargeFrequency": "Recurring",
        "ChargePeriodEnd": dt.datetime(2026, 11, 24, tzinfo=dt.UTC),
        "ChargePeriodStart": dt.datetime(2026, 11, 23, tzinfo=dt.UTC),
        "ContractedCost": Decimal("1.666666666666"),
        "EffectiveCost": Decimal("1.644736842105"),
        "InvoiceIssuerName": "P",
        "PricingQuantity": Decimal(1),
        "PricingUnit": "Days",
        "ProviderName": "P",
        "PublisherName": "P",
        "ResourceId": "m",
        "ResourceName": "m",
        "ResourceType": "Contract",
        "ServiceCategory": "Other",
        "ServiceName": "m",
        "ServiceSubcategory": "Other (Other)",
        "x_SourceFile": "estate.yaml",
        "x_SourceRow": 1,
    }


@pytest.mark.parametrize("usd", ["620", "50", "0.01", "99.99", "1000000.07", "33.333333333333"])
@pytest.mark.parametrize(("year", "month", "days"), [(2026, 2, 28), (2028, 2, 29), (2026, 11, 30), (2026, 12, 31)])
def test_the_days_of_a_month_add_up_to_its_price(usd: str, year: int, month: int, days: int) -> None:
    dates = [dt.date(year, month, day) for day in range(1, days + 1)]
    rows = [row for day in dates for row in contract_rows([contract(usd_month=usd)], day, "USD")]
    assert sum(row["BilledCost"] for row in rows) == Decimal(usd)
    even = Decimal(usd) / days
    assert all(abs(row["BilledCost"] - even) <= Decimal("1e-12") for row in rows)


def test_a_contract_that_runs_for_a_part_of_the_month_is_billed_for_its_days() -> None:
    part = contract(usd_month="620", begins="2026-11-10", ends="2026-11-24")
    dates = [dt.date(2026, 11, day) for day in range(1, 31)]
    billed = [row["BilledCost"] for day in dates for row in contract_rows([part], day, "USD")]
    assert (len(billed), sum(billed)) == (15, Decimal(310))


def test_the_estates_contracts_make_one_partition(tmp_path: Path) -> None:
    path = tmp_path / "day.parquet"
    facts = contracts_partition(load_estate(), DAY, RECEIVED, path)
    assert facts is not None
    assert (facts.source, facts.day, facts.rows, facts.billed_usd) == ("contracts", DAY, 2, Decimal("22.333333333332"))
    assert facts.missing_hours == ()
    assert pq.read_table(path)["ResourceId"].to_pylist() == ["cost-platform", "monitoring"]


def test_a_day_without_any_contract_has_no_partition(tmp_path: Path) -> None:
    path = tmp_path / "day.parquet"
    assert contracts_partition(load_estate(), dt.date(2025, 12, 31), RECEIVED, path) is None
    assert not path.exists()
