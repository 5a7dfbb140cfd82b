"""FOCUS 1.0, 1.1 and 1.2 exports: nearly the table as it stands."""

from __future__ import annotations

from include.cost.sources.exports.fields import NULL, Fields, first_of
from include.cost.table.columns import AMOUNT, COLUMNS, MONEY, TIME

REQUIRED = (
    "BilledCost",
    "BillingAccountId",
    "ChargeCategory",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ServiceName",
)
ESSENTIAL = frozenset({"billedcost", "chargeperiodstart", "chargeperiodend"})  # without them a row can't count
COSTS = frozenset({"effectivecost"})  # where one can't be read the cost is unknown, though the row counts as billed
BILLED, CURRENCY = "BilledCost", "BillingCurrency"
LINE_TYPE = "chargecategory"
# AWS's usage types of machines: with the instance type behind the colon, and those that are on demand unless covered.
INSTANCE_METER = r"(?:^|-)(BoxUsage|SpotUsage|HeavyUsage|DedicatedUsage|UnusedBox|InstanceUsage):([a-z].*)$"
MACHINE_HOURS = r"(^|-)(BoxUsage|HostUsage|DedicatedUsage|InstanceUsage)"


def columns(fields: Fields) -> dict[str, str]:
    """SQL for each column of the table that this export has."""
    made = {}
    for name, kind in COLUMNS.items():
        if kind in {MONEY, AMOUNT}:
            made[name] = fields.number(name, kind)
        elif kind == TIME:
            made[name] = fields.time(name)
        elif not name.startswith("x_"):
            made[name] = fields.text(name)
    made["SkuMeter"] = fields.text("x_UsageType", "SkuMeter")  # AWS's own column is the usage type in every version
    made["SkuPriceDetails"] = fields.json("SkuPriceDetails")
    made["InvoiceId"] = fields.identifier("InvoiceId")
    made["Tags"] = fields.tags("Tags")
    made["x_InstanceType"] = _instance_type(fields, made["SkuMeter"])
    made["x_CapacityType"] = _capacity(made)
    made["x_LineItemId"] = fields.text("x_LineItemId")
    return made


def _instance_type(fields: Fields, meter: str) -> str:
    details = [fields.entry("SkuPriceDetails", key) for key in ("InstanceType", "x_InstanceType", "x_instanceType")]
    of_meter = NULL if meter == NULL else f"nullif(regexp_extract({meter}, '{INSTANCE_METER}', 2), '')"
    return first_of(*details, of_meter)


def _capacity(made: dict[str, str]) -> str:
    """A machine's hours tell themselves by the meter; without one only what the export states outright counts."""
    meter = made["SkuMeter"] if made["SkuMeter"] != NULL else "''"
    category, kind = made["PricingCategory"], made["CommitmentDiscountType"]
    cases = [f"WHEN contains({meter}, 'SpotUsage') THEN 'spot'"]
    if kind != NULL:
        cases += [
            f"WHEN ({kind}) ILIKE '%savings%plan%' THEN 'savings_plan'",
            f"WHEN ({kind}) ILIKE '%reserv%' THEN 'reserved'",
        ]
    if category != NULL:
        compute = f"({made['ServiceCategory']}) = 'Compute'"
        machine = f"regexp_matches({meter}, '{MACHINE_HOURS}') OR ({made['ResourceType']}) = 'Instance'"
        cases += [
            f"WHEN {compute} AND ({category}) = 'Dynamic' AND ({made['x_InstanceType']}) IS NOT NULL THEN 'spot'",
            f"WHEN ({category}) = 'Standard' AND ({machine}) THEN 'on_demand'",
        ]
    return f"CASE {' '.join(cases)} END"
