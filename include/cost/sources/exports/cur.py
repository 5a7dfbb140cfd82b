"""AWS Cost and Usage Reports, legacy and 2.0, into FOCUS: what each line item type means there.

``BilledCost`` is the unblended cost, so that sums equal AWS's own. Where a Savings Plan covers usage AWS writes the
on-demand cost and a negation that takes it back: ``rules.py`` sets both to zero, as FOCUS has it.
Where a fee has an unused part, ``EffectiveCost`` of the fee is that part (status Unused): the used part is in the lines
that it covers, so that effective costs add up as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from include.cost.sources.exports.aws_names import PURCHASES, RECURRING, REGION_PREFIXES, USAGE
from include.cost.sources.exports.fields import NULL, USER_KEY, Fields, first_of, tags_of_columns
from include.cost.sources.exports.focus import INSTANCE_METER, MACHINE_HOURS
from include.cost.table.columns import AMOUNT, MONEY
from include.cost.table.sql import literal

REQUIRED = (
    "line_item_line_item_type",
    "line_item_product_code",
    "line_item_unblended_cost",
    "line_item_usage_account_id",
    "line_item_usage_end_date",
    "line_item_usage_start_date",
)
LINE_TYPE = "line_item_line_item_type"
_TAG = "resource_tags_"
TAG_GROUPS = ("resourceTags/", _TAG)
_MAP_COLUMNS = ("resource_tags", "product", "discount", "cost_category", "tags")
LINE_ID = "identity_line_item_id"
ESSENTIAL = frozenset({"line_item_unblended_cost", "line_item_usage_start_date", "line_item_usage_end_date"})
BILLED, CURRENCY = "line_item_unblended_cost", "line_item_currency_code"
_RESERVED_COST = "reservation_effective_cost"
_RESERVED_UNUSED = ("reservation_unused_amortized_upfront_fee_for_billing_period", "reservation_unused_recurring_fee")
_PLAN_COST = "savings_plan_savings_plan_effective_cost"
_PLAN_FEES = ("savings_plan_total_commitment_to_date", "savings_plan_used_commitment")
COSTS = frozenset({_RESERVED_COST, *_RESERVED_UNUSED, _PLAN_COST, *_PLAN_FEES})
_REGION = r"^[a-z]{2}(-[a-z]+)+-\d+"


def canonical(name: str) -> str:
    """A column's snake-case name: ``lineItem/UsageStartDate`` -> ``line_item_usage_start_date``."""
    if "/" not in name:
        return name.lower()
    group, _, rest = name.partition("/")
    if group == "resourceTags":
        return _TAG + rest
    return f"{_snake(group)}_{_snake(rest)}"


def is_version_2(names: Iterable[str]) -> bool:
    """Is it CUR 2.0, by columns (canonical) that only it has?"""
    mine = {*_MAP_COLUMNS, "bill_payer_account_name", "line_item_usage_account_name"}
    return any(name in mine for name in names)


def columns(fields: Fields) -> dict[str, str]:
    """SQL for each column of the table that can be had from this export."""
    kind = fields.text(LINE_TYPE)
    made = _who_and_when(fields) | _what(fields, kind) | _commitment(fields, kind)
    return made | _money(fields, kind) | _where(fields)


def _who_and_when(fields: Fields) -> dict[str, str]:
    begin = fields.time("bill_billing_period_start_date")
    end = fields.time("bill_billing_period_end_date")
    month = NULL if begin == NULL else f"({begin}) + INTERVAL 1 MONTH"  # AWS bills calendar months
    last = fields.time("line_item_usage_end_date")
    return {
        "BillingPeriodStart": begin,
        "BillingPeriodEnd": first_of(_exclusive(end), month),
        "ChargePeriodStart": fields.time("line_item_usage_start_date"),
        "ChargePeriodEnd": _exclusive(last),
        "BillingAccountId": _account(fields, "bill_payer_account_id"),
        "BillingAccountName": fields.text("bill_payer_account_name"),
        "SubAccountId": _account(fields, "line_item_usage_account_id"),
        "SubAccountName": fields.text("line_item_usage_account_name"),
        "BillingCurrency": fields.text("line_item_currency_code"),
        "PricingCurrency": fields.text("pricing_currency"),
        "InvoiceId": fields.identifier("bill_invoice_id"),
        "InvoiceIssuerName": fields.text("bill_invoicing_entity"),
        "ProviderName": "'AWS'",
        "PublisherName": fields.text("line_item_legal_entity"),
        "x_LineItemId": fields.text("identity_line_item_id"),
    }


def _exclusive(end: str) -> str:
    """Monthly fees end at 23:59:59 in a CUR; FOCUS names the moment after."""
    if end == NULL:
        return NULL
    return f"CASE WHEN epoch_us({end}) % 60000000 = 59000000 THEN {end} + INTERVAL 1 SECOND ELSE {end} END"


def _account(fields: Fields, name: str) -> str:
    text = fields.text(name)
    return f"lpad({text}, 12, '0')" if fields.is_integer(name) else text


def _what(fields: Fields, kind: str) -> dict[str, str]:
    meter = fields.text("line_item_usage_type")
    corrects = NULL
    if fields.has("bill_billing_period_start_date"):
        begins, period = fields.time("line_item_usage_start_date"), fields.time("bill_billing_period_start_date")
        corrects = f"CASE WHEN {kind} = 'Refund' AND {begins} < {period} THEN 'Correction' END"
    stated = (fields.text("product_instance_type"), fields.entry("product", "instance_type"))
    sku = first_of(fields.text("product_sku"), fields.entry("product", "sku"))
    return {
        "ChargeCategory": (
            f"CASE WHEN {kind} IN {_list(USAGE)} THEN 'Usage' WHEN {kind} IN {_list(PURCHASES)} THEN 'Purchase' "
            f"WHEN {kind} = 'Tax' THEN 'Tax' WHEN {kind} = 'Credit' THEN 'Credit' ELSE 'Adjustment' END"
        ),
        "ChargeClass": corrects,
        "ChargeDescription": fields.text("line_item_line_item_description"),
        "ChargeFrequency": (
            f"CASE WHEN {kind} IN {_list(USAGE)} THEN 'Usage-Based' WHEN {kind} IN {_list(RECURRING)} THEN 'Recurring' "
            f"WHEN {kind} IN {_list(PURCHASES)} THEN 'One-Time' END"
        ),
        "PricingCategory": (
            f"CASE WHEN {kind} IN ('DiscountedUsage', 'SavingsPlanCoveredUsage') THEN 'Committed' "
            f"WHEN {kind} = 'Usage' AND {_contains(meter, 'SpotUsage')} THEN 'Dynamic' "
            f"WHEN {kind} IN {_list((*USAGE, *PURCHASES))} THEN 'Standard' END"
        ),
        "ResourceId": fields.text("line_item_resource_id"),
        "ServiceName": f"coalesce(services.name, {fields.text('line_item_product_code')})",
        "ServiceCategory": "coalesce(services.category, 'Other')",
        "SkuId": f"CASE WHEN {kind} <> 'Tax' THEN {sku} END",
        "SkuPriceId": f"CASE WHEN {kind} <> 'Tax' THEN {fields.text('pricing_rate_code')} END",
        "SkuMeter": meter,
        "Tags": _tags(fields),
        "x_InstanceType": first_of(*stated, _of_meter(meter)),
        "x_CapacityType": _capacity(kind, meter),
    }


def _capacity(kind: str, meter: str) -> str:
    hours = NULL if meter == NULL else f"regexp_matches({meter}, '{MACHINE_HOURS}')"
    return (
        f"CASE WHEN {kind} IN ('DiscountedUsage', 'RIFee') THEN 'reserved' "
        f"WHEN {kind} IN ('SavingsPlanCoveredUsage', 'SavingsPlanRecurringFee', 'SavingsPlanUpfrontFee') "
        f"THEN 'savings_plan' WHEN {kind} = 'Usage' AND {_contains(meter, 'SpotUsage')} THEN 'spot' "
        f"WHEN {kind} = 'Usage' AND {hours} THEN 'on_demand' END"
    )


def _commitment(fields: Fields, kind: str) -> dict[str, str]:
    reserved = _reservation(fields)
    plan = _plan(fields)
    id_ = first_of(reserved, plan)
    if id_ == NULL:
        return {}
    offering = first_of(fields.text("savings_plan_offering_type"), "'Savings Plan'")
    is_reserved, is_plan = f"({reserved}) IS NOT NULL", f"({plan}) IS NOT NULL"
    used, unused = f"{kind} IN ('DiscountedUsage', 'SavingsPlanCoveredUsage')", _unused(fields, kind)
    return {
        "CommitmentDiscountId": id_,
        "CommitmentDiscountCategory": f"CASE WHEN {is_reserved} THEN 'Usage' WHEN {is_plan} THEN 'Spend' END",
        "CommitmentDiscountType": (
            f"CASE WHEN {is_reserved} THEN 'Reserved Instance' WHEN {is_plan} THEN {offering} END"
        ),
        "CommitmentDiscountStatus": (
            f"CASE WHEN ({id_}) IS NULL THEN NULL WHEN {used} THEN 'Used' WHEN ({unused}) > 0 THEN 'Unused' END"
        ),
    }


def _reservation(fields: Fields) -> str:
    return fields.text("reservation_reservation_a_r_n", "reservation_reservation_arn", "reservation_arn")


def _plan(fields: Fields) -> str:
    return fields.text("savings_plan_savings_plan_a_r_n", "savings_plan_savings_plan_arn", "savings_plan_arn")


def _unused(fields: Fields, kind: str) -> str:
    """The part of a fee that nothing used, where the report has it; null otherwise."""
    reserved = [fields.number(name, MONEY) for name in _RESERVED_UNUSED if fields.has(name)]
    total, taken = (fields.number(name, MONEY) for name in _PLAN_FEES)
    cases = []
    if reserved:
        parts = " + ".join(f"coalesce({part}, 0)" for part in reserved)
        cases.append(f"WHEN {kind} = 'RIFee' AND {first_of(*reserved)} IS NOT NULL THEN {parts}")
    if NULL not in {total, taken}:
        cases.append(f"WHEN {kind} = 'SavingsPlanRecurringFee' THEN {total} - {taken}")
    return f"CASE {' '.join(cases)} END" if cases else NULL


def _effective(fields: Fields, kind: str, billed: str) -> str:
    """The cost with commitments spread over their use, where the report has both halves of it.

    A commitment costs what its usage took and what nothing used. With one half alone the sum would be short of the
    other, or have it twice: then fees cost what they bill, and covered usage, which bills nothing, has no cost.
    """
    cases = [f"WHEN {kind} = 'SavingsPlanNegation' THEN 0"]
    reservation, plan = _reservation(fields), _plan(fields)
    if fields.has(_RESERVED_COST) and any(fields.has(name) for name in _RESERVED_UNUSED):
        cases += [
            f"WHEN {kind} = 'DiscountedUsage' THEN {fields.number(_RESERVED_COST, MONEY)}",
            f"WHEN {kind} = 'RIFee' THEN {_unused(fields, kind)}",
            # A fee for a reservation buys future hours, and its refund gives them back; any other is for what it names.
            f"WHEN {kind} IN ('Fee', 'Refund') AND ({reservation}) IS NOT NULL THEN 0",
        ]
    if fields.has(_PLAN_COST) and all(fields.has(name) for name in _PLAN_FEES):
        cases += [
            f"WHEN {kind} = 'SavingsPlanCoveredUsage' THEN {fields.number(_PLAN_COST, MONEY)}",
            f"WHEN {kind} = 'SavingsPlanRecurringFee' THEN {_unused(fields, kind)}",
            f"WHEN {kind} = 'SavingsPlanUpfrontFee' THEN 0",
            f"WHEN {kind} = 'Refund' AND ({plan}) IS NOT NULL THEN 0",
        ]
    cases.append(f"WHEN {kind} IN ('DiscountedUsage', 'SavingsPlanCoveredUsage') THEN NULL")
    return f"CASE {' '.join(cases)} ELSE {billed} END"


def _money(fields: Fields, kind: str) -> dict[str, str]:
    billed = fields.number("line_item_unblended_cost", MONEY)
    listed = fields.number("pricing_public_on_demand_cost", MONEY)
    rate = fields.number("pricing_public_on_demand_rate", MONEY)
    amount = fields.number("line_item_usage_amount", AMOUNT)
    unit = fields.text("pricing_unit")
    return {
        "BilledCost": billed,
        "EffectiveCost": _effective(fields, kind, billed),
        "ListCost": f"CASE WHEN {kind} IN {_list(USAGE)} THEN {listed} ELSE {billed} END",
        # What a reservation's hour costs by contract without it is in no column of a CUR.
        "ContractedCost": f"CASE WHEN {kind} <> 'DiscountedUsage' THEN {billed} END",
        "ListUnitPrice": f"CASE WHEN {kind} IN {_list(USAGE)} THEN {rate} END",
        "PricingQuantity": f"CASE WHEN {kind} <> 'Tax' THEN {amount} END",
        "PricingUnit": f"CASE WHEN {kind} <> 'Tax' AND ({amount}) IS NOT NULL THEN {unit} END",
        "ConsumedQuantity": f"CASE WHEN {kind} IN {_list(USAGE)} THEN {amount} END",
        "ConsumedUnit": f"CASE WHEN {kind} IN {_list(USAGE)} AND ({amount}) IS NOT NULL THEN {unit} END",
    }


def _where(fields: Fields) -> dict[str, str]:
    zone = fields.text("line_item_availability_zone")
    meter = fields.text("line_item_usage_type")
    of_zone = NULL if zone == NULL else f"nullif(regexp_extract({zone}, '{_REGION}'), '')"
    prefixes = ", ".join(f"{literal(prefix)}: {literal(region)}" for prefix, region in REGION_PREFIXES.items())
    of_meter = NULL if meter == NULL else f"MAP {{{prefixes}}}[split_part({meter}, '-', 1)]"
    stated = (
        fields.text("product_region_code"),
        fields.text("product_region"),
        fields.entry("product", "region_code"),
        fields.entry("product", "region"),
    )
    return {
        "AvailabilityZone": zone,
        "RegionId": first_of(*stated, of_zone, of_meter),
        "RegionName": first_of(fields.text("product_location"), fields.entry("product", "location")),
    }


def _tags(fields: Fields) -> str:
    if fields.has("resource_tags") or fields.has("tags"):
        # The newer column holds the account's tags and the users' attributes as well: those aren't the resource's.
        key = USER_KEY.replace("e.key", r"regexp_replace(e.key, '^resource_?tags?/', '', 'i')")
        own = "NOT regexp_matches(e.key, '^(account_?tags?|user_?attributes?|cost_?categor(y|ies))/', 'i')"
        return first_of(fields.tags("resource_tags"), fields.tags("tags", key, own))
    named = [name for name in fields.columns if name.startswith(_TAG)]
    return tags_of_columns(fields, {name: _tag_key(fields.label(name)) for name in named})


def _tag_key(in_file: str) -> str:
    key = re.sub(r"^(resourceTags/|resource_tags_)", "", in_file)
    return re.sub(r"^aws_", "aws:", re.sub(r"^user[:_]", "", key))


def _of_meter(meter: str) -> str:
    return NULL if meter == NULL else f"nullif(regexp_extract({meter}, '{INSTANCE_METER}', 2), '')"


def _contains(text: str, part: str) -> str:
    return "FALSE" if text == NULL else f"contains({text}, {literal(part)})"


def _list(values: Iterable[str]) -> str:
    return f"({', '.join(literal(value) for value in values)})"


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?<!_)([A-Z])", r"_\1", name.replace(":", "_")).lower()
