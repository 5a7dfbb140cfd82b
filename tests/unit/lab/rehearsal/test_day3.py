"""Day 3 in the report, by exact values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from include.rollout.ledger import FIRST_LINK, Record, Step
from lab.rehearsal import day3
from lab.rehearsal.day3 import EdgeDay


def record(lever: str, step: str, **figures: Any) -> Record:
    return Record(lever, "estate", "day3_edge", "r", 1, FIRST_LINK, step, "2026-11-29T10:00:00+00:00", figures)


def planned(lever: str, *after: str | None) -> list[Record]:
    plans = {f"place-{number}": {"usd_month_after": usd} for number, usd in enumerate(after)}
    return [record(lever, Step.PLAN, plans=plans)]


DAY = EdgeDay(
    before={"cloudfront": Decimal("4983.869"), "route_53": Decimal("18.75"), "s3": None},
    after={"cloudfront": Decimal("4983.869"), "route_53": Decimal("9.75"), "s3": Decimal("51.2")},
    predicted={"route_53": Decimal("9.75"), "request_routing": Decimal(120)},
    latency_before={"tokyo": 11.8, "mumbai": None},
    latency={"tokyo": 11.912, "mumbai": 10.4},
    endings={"dns_health_checks": "promoted", "cdn_price_class": "nothing to do"},
)


def test_what_each_plan_predicts_is_its_components_summed_over_places_and_unknown_stays_unknown() -> None:
    plans = {
        "dns_health_checks": planned("dns_health_checks", "9.75"),
        "request_routing": planned("request_routing", "40.5", "39.5"),
        "storage_tiering": planned("storage_tiering", None),
        "lambda_edge": [],
        "spot_capacity": planned("spot_capacity", "1"),
    }
    assert day3.predicted_of(plans) == {
        "route_53": Decimal("9.75"), "request_routing": Decimal("80.0"), "s3": None,
    }  # fmt: skip


def test_the_report_has_every_component_and_null_for_what_is_not_known() -> None:
    assert day3.report(DAY) == {
        "components": {
            "cloudfront": {"usd_month_before": 4983.87, "usd_month_after": 4983.87, "usd_month_predicted": None},
            "route_53": {"usd_month_before": 18.75, "usd_month_after": 9.75, "usd_month_predicted": 9.75},
            "s3": {"usd_month_before": None, "usd_month_after": 51.2, "usd_month_predicted": None},
            "request_routing": {"usd_month_before": None, "usd_month_after": None, "usd_month_predicted": 120.0},
        },
        "latency": {"tokyo": 11.912, "mumbai": 10.4},
        "levers": {"dns_health_checks": "promoted", "cdn_price_class": "nothing to do"},
    }


def test_the_tables_show_dollars_then_latency() -> None:
    assert day3.table(DAY).splitlines() == [
        "component        $/month before     after  predicted",
        "---------------  --------------  --------  ---------",
        "cloudfront             4,983.87  4,983.87    unknown",
        "route_53                  18.75      9.75       9.75",
        "s3                      unknown     51.20    unknown",
        "request_routing         unknown   unknown     120.00",
        "",
        "probe   P95 ms before  after",
        "------  -------------  -----",
        "tokyo            11.8   11.9",
        "mumbai        unknown   10.4",
    ]


def test_endings_are_the_levers_own_verdicts() -> None:
    chains = {"dns_health_checks": [record("dns_health_checks", Step.VERDICT, verdict="promoted")], "lambda_edge": []}
    assert day3.endings_of(chains) == {"dns_health_checks": "promoted"}
