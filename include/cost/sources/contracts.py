"""Fixed contracts as rows of the cost table, one row a contract and day.

``BilledCost`` is the day's part of what the calendar month is billed: the days of a month add up to it exactly.
``EffectiveCost`` is the month over 30.4 days, as every target is: a day is judged alike in a short and a long month.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from include.cost.table.partition import billing_period, day_start, money, write_partition
from include.cost.table.store import Facts
from include.estate import Contract, Estate
from include.prices import DAYS_PER_MONTH

SOURCE = "contracts"
SOURCE_FILE = "estate.yaml"


def contract_rows(contracts: Sequence[Contract], day: dt.date, currency: str) -> list[dict[str, Any]]:
    """The rows of ``day``, in the order of the estate's list. ``ends`` is a contract's last day.

    The row of the source is the contract's place in the list, the first being 1. No list price is known: null.
    """
    return [
        _row(contract, place, day, currency) for place, contract in enumerate(contracts, 1) if in_force(contract, day)
    ]


def in_force(contract: Contract, day: dt.date) -> bool:
    """Whether the contract runs on ``day``; its first and last day count."""
    return contract.begins <= day and (contract.ends is None or day <= contract.ends)


def contracts_partition(estate: Estate, day: dt.date, received: dt.datetime, path: Path) -> Facts | None:
    """Write the partition of ``day`` to ``path``; None, and nothing written, when no contract runs on it.

    ``received`` (aware) says from when the estate's list is, such as the run's ``as_of``.
    """
    rows = contract_rows(estate.cost.contracts, day, estate.cost.currency)
    if not rows:
        return None
    facts = Facts(SOURCE, day, 0, Decimal(0), 0, received, (SOURCE_FILE,))
    return write_partition(rows, facts, path)


def day_of_month(usd_month: Decimal, day: dt.date) -> Decimal:
    """The day's part of a calendar month's price: what is due by its end less what was due by the evening before.

    So the rounding of one day is made good on the next, and the month's days add up to ``usd_month``.
    """
    days = calendar.monthrange(day.year, day.month)[1]
    return money(usd_month * day.day / days) - money(usd_month * (day.day - 1) / days)


def _row(contract: Contract, place: int, day: dt.date, currency: str) -> dict[str, Any]:
    billed = day_of_month(contract.usd_month, day)
    return {
        **billing_period(day),
        "BilledCost": billed,
        "BillingCurrency": currency,
        "ChargeCategory": "Purchase",
        "ChargeDescription": f"{contract.name}: {contract.usd_month} a month",
        "ChargeFrequency": "Recurring",
        "ChargePeriodEnd": day_start(day + dt.timedelta(days=1)),
        "ChargePeriodStart": day_start(day),
        "ContractedCost": billed,
        "EffectiveCost": money(contract.usd_month / DAYS_PER_MONTH),
        "InvoiceIssuerName": contract.provider,
        "PricingQuantity": Decimal(1),
        "PricingUnit": "Days",
        "ProviderName": contract.provider,
        "PublisherName": contract.provider,
        "ResourceId": contract.name,
        "ResourceName": contract.name,
        "ResourceType": "Contract",
        "ServiceCategory": "Other",
        "ServiceName": contract.name,
        "ServiceSubcategory": "Other (Other)",
        "x_SourceFile": SOURCE_FILE,
        "x_SourceRow": place,
    }
