"""What each price class and plan costs, whom it slows, and why one is refused: the mission's own case line by line."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.estate import load_estate
from include.levers.cdn_price_class import latency, prices
from include.levers.cdn_price_class.decide import Candidate, Situation, against_plans, bill, judge
from include.levers.cdn_price_class.latency import ALL, CLASS_100, CLASS_200, PRICE_CLASSES
from include.levers.cdn_price_class.usage import Traffic, Usage
from include.prices import PlanBook, PriceBookError

TB, MILLION = 2**40, 1_000_000
PRICES, LIMITS = prices.load(), load_estate().edge.latency
# The mission's shares of 50 TB and 670 M requests a month, one country for each part of the world.
MISSION = {"US": 45, "DE": 30, "SG": 18, "IN": 4, "BR": 2, "AE": 0.8, "ZA": 0.2}


def usage_of(shares: Mapping[str, float], tb: float = 50, requests: int = 670 * MILLION) -> Usage:
    total = sum(shares.values())
    parts = {
        country: Traffic(round(tb * TB * share / total), round(requests * share / total))
        for country, share in shares.items()
    }
    return Usage(parts, 1, "test")


def case_of(shares: Mapping[str, float], **more: Any) -> Situation:
    return replace(Situation(usage_of(shares), PRICES, LIMITS), **more)


def money(case: Situation, name: str) -> list[tuple[str, str, str]]:
    """Price region, USD of egress and of requests."""
    lines = bill(case.usage, name, case.prices)
    return [(line.region, f"{line.egress_usd:.2f}", f"{line.requests_usd:.2f}") for line in lines]


# Prices --------------------------------------------------------------------------------------------------------------


def test_egress_is_paid_by_tier_in_each_price_region() -> None:
    assert PRICES.egress_usd("north_america", 10 * TB) == Decimal("870.40")
    assert PRICES.egress_usd("north_america", 10 * TB + 2**30) == Decimal("870.48")
    assert PRICES.egress_usd("europe", 50 * TB) == Decimal("870.40") + Decimal("3276.80")
    assert PRICES.egress_usd("japan", 150 * TB) == Decimal("1167.36") + Decimal("3645.44") + Decimal("8806.40")
    whole = sum((10, 40, 100, 350, 524, 4096))
    assert PRICES.egress_usd("india", (whole + 1) * TB) - PRICES.egress_usd("india", whole * TB) == Decimal("73.728")
    assert PRICES.requests_usd("south_america", 10 * MILLION) == Decimal("22")


def test_a_table_that_is_older_than_a_year_warns() -> None:
    assert PRICES.stale(PRICES.date + dt.timedelta(days=365)) is None
    assert PRICES.stale(dt.date(2027, 11, 30)) == (
        "the prices of CloudFront are of 2026-11-29, 366 days old: read them again (cloudfront.yaml)"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw["egress"].pop("india"), "KeyError 'india'"),
        (lambda raw: raw["egress"]["india"].pop(), "egress.india has 6 prices, the tiers need 7"),
        (lambda raw: raw["requests"].update(japan="-1"), "'-1' is no price"),
        (lambda raw: raw["requests"].update(japan="dear"), "InvalidOperation"),
        (lambda raw: raw.update(date="soon"), "Invalid isoformat"),
    ],
)
def test_a_price_that_is_missing_or_wrong_is_named(tmp_path: Path, change: Any, said: str) -> None:
    raw = yaml.safe_load(prices.FILE.read_text())
    change(raw)
    (tmp_path / "prices.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(PriceBookError, match=said):
        prices.load(tmp_path / "prices.yaml")


# The mission's case --------------------------------------------------------------------------------------------------


def test_class_100_saves_the_mission_490_a_month_by_list_prices_and_not_the_plans_180() -> None:
    case = case_of(MISSION)
    assert money(case, ALL) == [
        ("north_america", "1894.40", "301.50"),
        ("europe", "1280.00", "241.20"),
        ("middle_east_africa", "56.32", "8.04"),
        ("south_america", "112.64", "29.48"),
        ("asia_pacific", "1105.92", "144.72"),
        ("india", "223.23", "32.16"),
    ]
    assert money(case, CLASS_100) == [("north_america", "1976.32", "314.90"), ("europe", "2222.08", "426.12")]
    judged = judge(case)
    found = {one.name: one.usd_month for one in judged.candidates if not one.is_plan}
    assert found == {ALL: Decimal("5429.61"), CLASS_200: Decimal("5416.21"), CLASS_100: Decimal("4939.42")}
    assert judged.saving(judged.candidate(CLASS_100)) == Decimal("490.19")
    plan = PlanBook().component("cloudfront")
    assert plan.week_13 - plan.week_14 == Decimal(180)


def test_the_mission_stays_with_every_edge_as_no_other_class_keeps_the_limits() -> None:
    judged = judge(case_of(MISSION))
    hundred, two_hundred = judged.candidate(CLASS_100), judged.candidate(CLASS_200)
    assert (judged.chosen, judged.now.name, judged.now.refused) == (judged.now, ALL, None)
    assert hundred.refused == (
        "P95 weighted 37.2 ms is not below 30 ms; P95 apac 129.4 ms is not below 25 ms; P95 india 90.0 ms is not below "
        "35 ms; P95 south_america 108.6 ms is not below 35 ms"
    )
    assert two_hundred.refused == "P95 south_america 105.4 ms is not below 35 ms"
    assert [str(one) for one in two_hundred.slowed] == ["south_america (2.0% of the requests) from 10.3 to 105.4 ms"]
    assert [one.part for one in hundred.slowed] == ["africa", "apac", "india", "middle_east", "south_america"]
    assert round(judged.now.weighted_ms, 1) == 10.2


def test_the_missions_flat_rate_plan_is_the_75_tb_level_and_only_without_lambda_at_the_edge() -> None:
    judged = judge(case_of(MISSION))
    refused = {one.name: one.refused for one in judged.candidates if one.is_plan}
    assert refused["flat_pro"] == "670.0 M requests a month are above its 10 M"
    assert refused["flat_free"] == (
        "50.00 TB a month is above its 0.09766 TB; 670.0 M requests a month are above its 1 M"
    )
    assert judged.offer is not None
    assert (judged.offer.name, judged.offer.refused) == ("flat_premium_75tb", None)
    assert judged.saving(judged.offer) == Decimal("3979.61")
    assert judged.chosen.name == ALL  # a plan is never what a lever writes
    bound = judge(case_of(MISSION, against_plans=("not on a plan: Lambda@Edge is associated",)))
    assert bound.candidate("flat_premium_75tb").refused == "not on a plan: Lambda@Edge is associated"
    assert judge(case_of(MISSION, usage=usage_of(MISSION, tb=700))).offer is None


# Decisions -----------------------------------------------------------------------------------------------------------


def classes(case: Situation) -> dict[str, Candidate]:
    return {name: judge(case).candidate(name) for name in PRICE_CLASSES}


def test_the_cheapest_class_within_the_limits_is_chosen_when_it_saves_enough() -> None:
    case = case_of({"US": 60, "DE": 39.9, "AE": 0.1})
    judged = judge(case)
    assert (judged.chosen.name, judged.chosen.refused) == (CLASS_100, None)
    assert judged.saving(judged.chosen) == Decimal("1.54")
    assert judge(case, Decimal(2)).chosen.name == ALL
    home = judge(case_of({"US": 1, "DE": 1}))
    assert (home.chosen.name, home.saving(home.candidate(CLASS_100))) == (ALL, Decimal("0.00"))


def test_a_class_that_a_person_insists_on_is_chosen_with_its_reasons() -> None:
    judged = judge(case_of(MISSION), only=CLASS_100)
    assert (judged.chosen.name, judged.now.name) == (CLASS_100, ALL)
    assert judged.chosen.refused is not None


def test_p95_at_the_limit_is_refused_and_just_below_is_not() -> None:
    shares = {"US": 50, "TR": 50}  # in class 100 Türkiye is served from Bucharest, not Istanbul
    way = latency.p95_ms("TR", CLASS_100) - latency.p95_ms("TR", ALL)
    assert round(way, 2) == 6.39
    below = judge(case_of(shares, measured={"TR": 25 - way - 0.1, "us": 10})).candidate(CLASS_100)
    above = judge(case_of(shares, measured={"TR": 25 - way + 0.1, "us": 10})).candidate(CLASS_100)
    assert below.refused is None
    assert above.refused == "P95 eu 25.1 ms is not below 25 ms"


def test_a_limit_that_is_broken_already_refuses_only_what_makes_it_worse() -> None:
    slow = case_of({"US": 50, "IN": 50}, measured={"IN": 60.0})
    assert classes(slow)[CLASS_200].refused is None  # as slow as now
    assert classes(slow)[CLASS_100].refused == (
        "P95 weighted 75.0 ms is not below 30 ms; P95 india 139.8 ms is not below 35 ms"
    )


def test_measured_latency_moves_every_candidate_by_the_same_way() -> None:
    plain = classes(case_of(MISSION))[CLASS_200].p95_ms["south_america"]
    moved = classes(case_of(MISSION, measured={"south_america": 20.3}))[CLASS_200].p95_ms["south_america"]
    assert moved - plain == pytest.approx(20.3 - classes(case_of(MISSION))[ALL].p95_ms["south_america"])


def test_five_percent_of_a_part_may_wait_longer_than_its_p95_and_more_may_not() -> None:
    few = judge(case_of({"JP": 96, "AU": 4})).candidate(CLASS_200)
    many = judge(case_of({"JP": 94, "AU": 6})).candidate(CLASS_200)
    assert (round(few.p95_ms["apac"], 1), few.refused) == (10.9, None)
    assert (round(many.p95_ms["apac"], 1), many.refused) == (92.8, "P95 apac 92.8 ms is not below 25 ms")


def test_without_requests_the_bytes_are_the_weight() -> None:
    usage = Usage({"US": Traffic(3 * TB, 0), "JP": Traffic(TB, 0)}, 2, "test")
    found = judge(case_of(MISSION, usage=usage)).now
    assert round(found.weighted_ms, 2) == round((3 * found.p95_ms["us"] + found.p95_ms["apac"]) / 4, 2)


def test_from_a_restricted_class_the_others_are_judged_by_what_is_measured_in_it() -> None:
    judged = judge(case_of(MISSION, now=CLASS_100, measured={"apac": 130.0}))
    assert (judged.now.name, judged.chosen.name) == (CLASS_100, CLASS_100)
    assert round(judged.candidate(ALL).p95_ms["apac"], 1) == 10.9
    assert judged.candidate("flat_premium_75tb").p95_ms == judged.candidate(ALL).p95_ms


# Plans and a distribution --------------------------------------------------------------------------------------------


def test_a_distribution_says_what_speaks_against_a_plan() -> None:
    plain = {"DefaultCacheBehavior": {"CachePolicyId": "x"}, "Origins": {"Items": [{"Id": "api"}]}, "Staging": False}
    assert against_plans(plain) == []
    assert against_plans({}) == []
    edge = {"LambdaFunctionAssociations": {"Quantity": 1, "Items": [{"EventType": "origin-request"}]}}
    every = {
        "DefaultCacheBehavior": {"ForwardedValues": {"QueryString": False}},
        "CacheBehaviors": {"Quantity": 1, "Items": [{**edge, "RealtimeLogConfigArn": "arn"}]},
        "Origins": {"Items": [{"S3OriginConfig": {"OriginAccessIdentity": "origin-access-identity/x"}}]},
        "Staging": True,
        "ContinuousDeploymentPolicyId": "p",
        "ConnectionMode": "tenant-only",
        "ViewerCertificate": {"IAMCertificateId": "c"},
    }
    assert [line.removeprefix("not on a plan: ") for line in against_plans(every)] == [
        "Lambda@Edge is associated",
        "it is a staging distribution",
        "it has a staging distribution (continuous deployment)",
        "it is a multi-tenant distribution",
        "real-time logs are on",
        "a cache behaviour uses ForwardedValues",
        "an origin uses an origin access identity",
        "its certificate is IAM's",
    ]
