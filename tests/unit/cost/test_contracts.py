"""Fixed contracts: exact dollars a day, and only while they run."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.cost.contracts import contract_rows, contracts_partition, in_force
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


def test_a_day_is_the_month_over_30_4() -> None:
    rows = contract_rows(
        [contract(), contract(name="later", begins="2027-01-01"), contract(usd_month="620")], DAY, "USD"
    )
    assert [row["BilledCost"] for row in rows] == [Decimal("1.644736842105"), Decimal("20.394736842105")]
    assert [row["x_SourceRow"] for row in rows] == [1, 3]
    assert rows[0] == {
        "BilledCost": Decimal("1.644736842105"),
        "BillingCurrency": "USD",
        "BillingPeriodEnd": dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
        "BillingPeriodStart": dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
        "ChargeCategory": "Purchase",
        "ChargeDescription": "m: 50 a month / 30.4 days",
        "ChargeFrequency": "Recurring",
        "ChargePeriodEnd": dt.datetime(2026, 11, 24, tzinfo=dt.UTC),
        "ChargePeriodStart": dt.datetime(2026, 11, 23, tzinfo=dt.UTC),
        "ContractedCost": Decimal("1.644736842105"),
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


def test_the_estates_contracts_make_one_partition(tmp_path: Path) -> None:
    path = tmp_path / "day.parquet"
    facts = contracts_partition(load_estate(), DAY, RECEIVED, path)
    assert facts is not None
    assert (facts.source, facts.day, facts.rows, facts.billed_usd) == ("contracts", DAY, 2, Decimal("22.039473684210"))
    assert facts.missing_hours == ()
    assert pq.read_table(path)["ResourceId"].to_pylist() == ["cost-platform", "monitoring"]


def test_a_day_without_any_contract_has_no_partition(tmp_path: Path) -> None:
    path = tmp_path / "day.parquet"
    assert contracts_partition(load_estate(), dt.date(2025, 12, 31), RECEIVED, path) is None
    assert not path.exists()
