"""The one cost table: FOCUS 1.2 columns and a few of our own (prefix ``x_``), with their DuckDB types.

Source: FinOps Open Cost and Usage Specification 1.2. A column that a source doesn't have is null, never invented.
"""

from __future__ import annotations

import enum

MONEY = "DECIMAL(28,12)"  # US dollars; list prices have up to 10 decimals
AMOUNT = "DECIMAL(28,10)"
TIME = "TIMESTAMP WITH TIME ZONE"

# In the order of the table; rows of a partition are ordered by ORDER_BY so that equal inputs give equal bytes.
COLUMNS: dict[str, str] = {
    "AvailabilityZone": "VARCHAR",
    "BilledCost": MONEY,
    "BillingAccountId": "VARCHAR",
    "BillingAccountName": "VARCHAR",
    "BillingAccountType": "VARCHAR",
    "BillingCurrency": "VARCHAR",
    "BillingPeriodEnd": TIME,
    "BillingPeriodStart": TIME,
    "CapacityReservationId": "VARCHAR",
    "CapacityReservationStatus": "VARCHAR",
    "ChargeCategory": "VARCHAR",
    "ChargeClass": "VARCHAR",
    "ChargeDescription": "VARCHAR",
    "ChargeFrequency": "VARCHAR",
    "ChargePeriodEnd": TIME,
    "ChargePeriodStart": TIME,
    "CommitmentDiscountCategory": "VARCHAR",
    "CommitmentDiscountId": "VARCHAR",
    "CommitmentDiscountName": "VARCHAR",
    "CommitmentDiscountQuantity": AMOUNT,
    "CommitmentDiscountStatus": "VARCHAR",
    "CommitmentDiscountType": "VARCHAR",
    "CommitmentDiscountUnit": "VARCHAR",
    "ConsumedQuantity": AMOUNT,
    "ConsumedUnit": "VARCHAR",
    "ContractedCost": MONEY,
    "ContractedUnitPrice": MONEY,
    "EffectiveCost": MONEY,
    "InvoiceId": "VARCHAR",
    "InvoiceIssuerName": "VARCHAR",
    "ListCost": MONEY,
    "ListUnitPrice": MONEY,
    "PricingCategory": "VARCHAR",
    "PricingCurrency": "VARCHAR",
    "PricingCurrencyContractedUnitPrice": MONEY,
    "PricingCurrencyEffectiveCost": MONEY,
    "PricingCurrencyListUnitPrice": MONEY,
    "PricingQuantity": AMOUNT,
    "PricingUnit": "VARCHAR",
    "ProviderName": "VARCHAR",
    "PublisherName": "VARCHAR",
    "RegionId": "VARCHAR",
    "RegionName": "VARCHAR",
    "ResourceId": "VARCHAR",
    "ResourceName": "VARCHAR",
    "ResourceType": "VARCHAR",
    "ServiceCategory": "VARCHAR",
    "ServiceName": "VARCHAR",
    "ServiceSubcategory": "VARCHAR",
    "SkuId": "VARCHAR",
    "SkuMeter": "VARCHAR",  # AWS: the usage type
    "SkuPriceDetails": "VARCHAR",
    "SkuPriceId": "VARCHAR",
    "SubAccountId": "VARCHAR",
    "SubAccountName": "VARCHAR",
    "SubAccountType": "VARCHAR",
    "Tags": "VARCHAR",  # a JSON object with sorted keys, or null
    "x_CapacityType": "VARCHAR",  # a CapacityType; null where capacity isn't bought by the hour
    "x_InstanceType": "VARCHAR",
    "x_LineItemId": "VARCHAR",  # the provider's own id of the line, where it has one
    "x_SourceFile": "VARCHAR",  # with x_SourceRow: where each dollar comes from
    "x_SourceRow": "BIGINT",  # 1 is the first row of the file after its header
}
ORDER_BY = ("ChargePeriodStart", "ServiceName", "SkuMeter", "ResourceId", "x_SourceFile", "x_SourceRow")
LONGEST_DAY_HOURS = 25  # a day in local time, when clocks go back; what lasts longer is spread over its days
MOST_HOURS = 12  # of a day: with hourly rows in so many of its hours a bill tells hours apart


class CapacityType(enum.StrEnum):
    """How the hours of a machine were bought."""

    SPOT = "spot"
    ON_DEMAND = "on_demand"
    RESERVED = "reserved"  # Reserved Instances
    SAVINGS_PLAN = "savings_plan"


class Role(enum.StrEnum):
    """What a source's rows are. Only bills add up to the total; an allocation splits the same dollars once more."""

    BILL = "bill"
    ALLOCATION = "allocation"


# The sources of the table; the partition of a day is one source's rows of that day (ChargePeriodStart, UTC).
SOURCES: dict[str, Role] = {
    "aws": Role.BILL,
    "jetson": Role.BILL,
    "contracts": Role.BILL,
    "opencost": Role.ALLOCATION,
    "kubecost": Role.ALLOCATION,
}


class CostError(RuntimeError):
    """Costs can't be read, kept or judged; the message names the file, field, value and the remedy."""
