"""Each suite: one good table passes, and each expectation is broken once and named."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from include.cost.table.columns import COLUMNS
from include.quality.judge import judge
from include.quality.suites import SUITES, SuiteError, checks_of

DAY = dt.date(2026, 11, 23)
START = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
Rows = list[dict[str, Any]]

_COST = dict.fromkeys(COLUMNS) | {
    "BilledCost": Decimal("1.5"),
    "EffectiveCost": Decimal("1.5"),
    "BillingCurrency": "USD",
    "BillingPeriodStart": dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
    "BillingPeriodEnd": dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
    "ChargeCategory": "Usage",
    "ChargeFrequency": "Usage-Based",
    "ChargePeriodStart": START,
    "ChargePeriodEnd": START + HOUR,
    "ServiceName": "Amazon S3",
    "Tags": '{"a":"b"}',
    "x_SourceFile": "file",
}
_LINE = {
    "component": "s3",
    "source": "aws",
    "window_start": START,
    "window_end": START + 24 * HOUR,
    "coverage": Decimal(1),
    "usd_window": Decimal(4),
    "usd_24h": Decimal(4),
    "usd_month": Decimal("121.6"),
    "baseline_usd_month": Decimal(150),
    "target_usd_month": Decimal(120),
    "verdict": "fail",
    "settling": "provisional",
}
_USE = {"hour": START, "instance_type": "c7g.xlarge", "capacity": "spot", "hours": Decimal(3), "usd": Decimal("0.2")}
_FIGURE = {"section": "component", "metric": "usd", "unit": "USD", "status": "provisional", "value": Decimal(4)}

GOOD: dict[str, Rows] = {
    "focus": [_COST | {"x_SourceRow": 1}, _COST | {"x_SourceRow": 2, "Tags": None, "BilledCost": Decimal(-1)}],
    "allocation": [
        _COST | {"x_SourceRow": row, "BilledCost": Decimal(0), "ResourceId": f"r{row}", "RegionId": "us-east-1"}
        for row in (1, 2)
    ],
    "validation": [
        _LINE,
        _LINE
        | {"component": "jetson", "verdict": "unknown", "settling": "", "usd_month": None, "target_usd_month": None},
    ],
    "hourly_use": [_USE | {"region": "us-east-1"}, _USE | {"region": "us-east-1", "hour": START + HOUR}],
    "requests": [
        {"day": DAY, "region": "us-east-1", "requests": Decimal(10)},
        {"day": DAY, "region": "eu-central-1", "requests": None},
    ],
    "cost_report": [
        _FIGURE | {"key": "s3"},
        _FIGURE | {"key": "jetson", "status": "unknown", "value": None},
    ],
}  # fmt: skip
FACTS: dict[str, dict[str, Any]] = {
    "focus": {"columns": list(COLUMNS), "currency": "USD", "day": DAY},
    "allocation": {"columns": list(COLUMNS), "currency": "USD", "day": DAY, "regions": ["us-east-1"]},
    "validation": {"components": ["s3", "jetson"]},
    "hourly_use": {"regions": ["us-east-1"]},
    "requests": {"regions": ["us-east-1", "eu-central-1"]},
    "cost_report": {"components": ["s3", "jetson"]},
}
FOCUS_BREAKS: list[tuple[dict[str, Any], str]] = [
    *(
        ({name: None}, f"{name} is never empty")
        for name in ("BilledCost", "ChargeCategory", "ChargePeriodEnd", "ChargePeriodStart")
    ),
    *(({name: None}, f"{name} is never empty") for name in ("ServiceName", "x_SourceFile", "x_SourceRow")),
    ({"BillingCurrency": "EUR"}, "BillingCurrency is one of USD"),
    ({"ChargeCategory": "usage"}, "ChargeCategory is one of Adjustment, Credit, Purchase, Tax, Usage"),
    ({"ChargeClass": "x"}, "ChargeClass is one of Correction"),
    ({"ChargeFrequency": "x"}, "ChargeFrequency is one of One-Time, Recurring, Usage-Based"),
    ({"x_CapacityType": "x"}, "x_CapacityType is one of spot, on_demand, reserved, savings_plan"),
    ({"BilledCost": float("inf")}, "BilledCost is a finite amount between -1e+09 and 1e+09 USD"),
    ({"EffectiveCost": Decimal("-1e10")}, "EffectiveCost is a finite amount between -1e+09 and 1e+09 USD"),
    ({"Tags": "{a"}, "Tags is JSON"),
    ({"ChargePeriodEnd": START - HOUR}, "ChargePeriodEnd is not before ChargePeriodStart"),
    ({"BillingPeriodEnd": START - 30 * 24 * HOUR}, "BillingPeriodEnd is after BillingPeriodStart"),
    ({"x_SourceRow": 2}, "no two rows have the same x_SourceFile and x_SourceRow"),
    ({"ChargePeriodStart": START - HOUR}, "ChargePeriodStart is on 2026-11-23 (UTC)"),
    ({"more": 1}, "the table has its 62 columns and no others"),
]
BREAKS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "focus": FOCUS_BREAKS,
    "allocation": [
        ({"BilledCost": Decimal("0.1")}, "BilledCost is 0, since an allocation bills nobody"),
        ({"EffectiveCost": None}, "EffectiveCost is never empty"),
        ({"ResourceId": None}, "ResourceId is never empty"),
        ({"RegionId": None}, "RegionId is never empty"),
        ({"RegionId": "mars"}, "RegionId is one of us-east-1"),
        ({"ResourceId": "r2"}, "no two rows have the same ResourceId and ChargePeriodStart and RegionId"),
    ],
    "validation": [
        ({"component": "other"}, "component has all of s3, jetson"),
        ({"component": "jetson"}, "no two rows have the same component"),
        ({"component": None}, "component is never empty"),
        ({"verdict": None}, "verdict is never empty"),
        ({"verdict": "ok"}, "verdict is one of pass, fail, unknown"),
        ({"settling": "done"}, "settling is one of , provisional, settled, final"),
        ({"coverage": "1.5"}, "coverage is at least 0 and at most 1"),
        *(
            ({name: Decimal("1e10")}, f"{name} is a finite amount between -1e+09 and 1e+09 USD")
            for name in ("usd_window", "usd_24h", "usd_month", "baseline_usd_month", "target_usd_month")
        ),
        ({"usd_month": None}, "where verdict is pass or fail, usd_month is never empty"),
        ({"target_usd_month": None}, "where verdict is pass or fail, target_usd_month is never empty"),
        ({"window_end": START}, "window_end is after window_start"),
    ],
    "hourly_use": [
        *(
            ({name: None}, f"{name} is never empty")
            for name in ("hour", "region", "instance_type", "capacity", "hours", "usd")
        ),
        ({"region": "mars"}, "region is one of us-east-1"),
        ({"capacity": "free"}, "capacity is one of spot, on_demand, reserved, savings_plan"),
        ({"hours": Decimal(-1)}, "hours is at least 0"),
        ({"usd": Decimal(-1)}, "usd is at least 0 and at most 1e+09"),
        ({"hour": START + HOUR}, "no two rows have the same hour and region and instance_type and capacity"),
    ],
    "requests": [
        ({"day": None}, "day is never empty"),
        ({"region": None}, "region is never empty"),
        ({"region": "mars"}, "region is one of us-east-1, eu-central-1"),
        ({"requests": Decimal(-1)}, "requests is at least 0"),
        ({"region": "eu-central-1"}, "no two rows have the same day and region"),
    ],
    "cost_report": [
        *(({name: None}, f"{name} is never empty") for name in ("section", "key", "metric", "unit", "status")),
        ({"section": "x"}, "section is one of total, component, region"),
        ({"key": "other"}, "where section is component, key has all of s3, jetson"),
        ({"value": None}, "where status is provisional or settled or final or given or measured or pass or fail, v"),
        ({"value": Decimal("1e16")}, "value is at least -1e+15 and at most 1e+15"),
        ({"key": "jetson"}, "no two rows have the same section and key and metric"),
    ],
}  # fmt: skip
CASES = [(suite, fields, words) for suite, breaks in BREAKS.items() for fields, words in breaks]


@pytest.mark.parametrize("suite", sorted(GOOD))
def test_a_good_table_passes(suite: str) -> None:
    judgement = judge(suite, GOOD[suite], **FACTS[suite])
    assert judgement.failures == ()
    assert judgement.passed


@pytest.mark.parametrize(("suite", "fields", "words"), CASES, ids=[f"{case[0]}: {case[2]}" for case in CASES])
def test_a_broken_expectation_is_named(suite: str, fields: dict[str, Any], words: str) -> None:
    first, *others = GOOD[suite]
    judgement = judge(suite, [first | fields, *others], **FACTS[suite])
    assert [words in failure for failure in judgement.failures].count(True) == 1, judgement.failures


@pytest.mark.parametrize("suite", sorted(GOOD))
def test_every_expectation_is_broken_by_a_test(suite: str) -> None:
    broken = {words for _, words in BREAKS[suite]} | (
        {words for _, words in FOCUS_BREAKS} if suite == "allocation" else set()
    )
    own = {check.words for check in checks_of(suite, FACTS[suite])}
    # Their own tests: absent columns and an empty table.
    left = {words for words in own if not any(words.startswith(start) for start in broken)}
    assert {words for words in left if not words.startswith("the table has ")} == set()


@pytest.mark.parametrize("suite", sorted(GOOD))
def test_an_absent_column_is_named(suite: str) -> None:
    column = {"focus": "Tags", "allocation": "RegionId", "validation": "verdict", "hourly_use": "usd"}.get(
        suite, "region"
    )
    column = "value" if suite == "cost_report" else column
    rows = [{name: value for name, value in row.items() if name != column} for row in GOOD[suite]]
    judgement = judge(suite, rows, **FACTS[suite])
    assert any("the table has its " in failure and f"absent: {column}" in failure for failure in judgement.failures)
    assert any(f"the table has no column {column}" in failure for failure in judgement.failures)


@pytest.mark.parametrize("suite", ["focus", "allocation", "cost_report"])
def test_an_empty_table_is_no_table(suite: str) -> None:
    assert any("at least 1 row(s); seen 0" in failure for failure in judge(suite, [], **FACTS[suite]).failures)


def test_an_unknown_suite_and_a_missing_fact_are_named() -> None:
    with pytest.raises(SuiteError, match="suite 'x' is not known: use one of focus, allocation"):
        checks_of("x", {})
    with pytest.raises(SuiteError, match=r"the fact 'currency' is missing: hand it to judge\(currency=...\)"):
        checks_of("focus", {"columns": []})


def test_every_suite_of_the_cost_tables_has_its_test() -> None:
    assert set(GOOD) <= set(SUITES)
