"""Which memory size is taken, what it costs, and what is refused whatever was measured: exact values."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest

from include.estate import Estate, load_estate
from include.levers.lambda_edge.choose import (
    Aim,
    Limits,
    Measured,
    Rates,
    choose,
    event_refusal,
    merged,
    units_refusal,
    usd_of,
    version_refusal,
)
from include.levers.lambda_edge.money import load_book, parse
from include.levers.lambda_edge.settings import LambdaSettings
from include.prices import PriceBookError
from include.rollout.lever import Refused
from include.rollout.settings import build

EDGE = Rates(Decimal("0.0000006"), Decimal("0.00005001"))
LIMITS = Limits(Decimal(50), 1000)


def size(memory_mb: int, mean: str, p95: str, samples: int = 20_000) -> Measured:
    return Measured(memory_mb, Decimal(mean), Decimal(p95), samples)


SMALL, MIDDLE, LARGE = size(256, "70", "95"), size(384, "34", "48"), size(512, "30", "44")
HUGE = size(1024, "16", "24")
SIZES = [LARGE, SMALL, HUGE, MIDDLE]


def test_a_million_requests_cost_their_number_and_their_gb_seconds_of_full_milliseconds() -> None:
    assert usd_of(MIDDLE, EDGE, Decimal(1_000_000)) == Decimal("1.247004375")
    assert usd_of(LARGE, EDGE, Decimal(1_000_000)) == Decimal("1.3626525")
    assert usd_of(LARGE, Rates(Decimal("0.0000002"), Decimal("0.0000166667")), Decimal(1_000_000)) == Decimal(
        "0.454167175"
    )


@pytest.mark.parametrize(("aim", "taken"), [(Aim.CHEAPEST, 384), (Aim.FASTEST, 1024), (Aim.BALANCED, 1024)])
def test_the_size_follows_the_aim(aim: Aim, taken: int) -> None:
    assert choose(SIZES, aim, LIMITS, EDGE).memory_mb == taken


def test_balanced_weighs_cost_against_p95() -> None:
    # 384: 1.247/3.551 + 40/40 = 1.35; 512: 1.363/3.551 + 24/40 = 0.98; 2048: 1 + 22/40 = 1.55
    slow, middle, dear = size(384, "34", "40"), size(512, "30", "24"), size(2048, "29", "22")
    assert choose([slow, middle, dear], Aim.BALANCED, LIMITS, EDGE).memory_mb == 512
    assert choose([slow, middle, dear], Aim.CHEAPEST, LIMITS, EDGE).memory_mb == 384
    assert choose([slow, middle, dear], Aim.FASTEST, LIMITS, EDGE).memory_mb == 2048


def test_of_a_tie_the_faster_size_is_taken() -> None:
    same = size(512, "25.375", "40")  # 0.5 GB x 25.875 ms = 0.375 GB x 34.5 ms
    assert usd_of(same, EDGE, Decimal(1)) == usd_of(MIDDLE, EDGE, Decimal(1))
    assert choose([MIDDLE, same], Aim.CHEAPEST, LIMITS, EDGE).memory_mb == 512
    within = replace(same, mean_ms=Decimal("25.8"))  # 0.85 % dearer
    assert choose([MIDDLE, within], Aim.CHEAPEST, LIMITS, EDGE).memory_mb == 512
    beyond = replace(same, mean_ms=Decimal("25.9"))  # 1.05 % dearer
    assert choose([MIDDLE, beyond], Aim.CHEAPEST, LIMITS, EDGE).memory_mb == 384
    slower = replace(MIDDLE, memory_mb=640, p95_ms=Decimal(44))
    assert choose([slower, LARGE], Aim.FASTEST, LIMITS, EDGE).memory_mb == 512  # as fast, and cheaper


def test_a_size_is_refused_for_its_samples_its_p95_and_its_bounds() -> None:
    few = replace(MIDDLE, samples=999)
    choice = choose([few, SMALL, LARGE, size(11_000, "5", "9")], Aim.CHEAPEST, LIMITS, EDGE)
    assert choice.memory_mb == 512
    assert [(c.measured.memory_mb, c.refused) for c in choice.candidates] == [
        (256, "P95 95.0 ms is above the limit of 50 ms"),
        (384, "999 of the 1000 samples that it needs"),
        (512, ""),
        (11_000, "not within 128 to 10240 MB"),
    ]
    assert choice.reason == "cheapest of 1: 512 MB: mean 30.0 ms, P95 44.0 ms, 1.36 USD a million, 20000 samples"


def test_without_a_usable_size_none_is_guessed() -> None:
    none = choose([SMALL], Aim.FASTEST, LIMITS, EDGE)
    assert (none.memory_mb, none.reason) == (
        None,
        "no size can be chosen: 256 MB: P95 95.0 ms is above the limit of 50 ms",
    )
    assert choose([], Aim.CHEAPEST, LIMITS, EDGE).reason == "no size can be chosen: no size was measured"


def test_without_prices_only_the_fastest_can_be_told() -> None:
    assert choose(SIZES, Aim.FASTEST, LIMITS, None).memory_mb == 1024
    cheapest = choose(SIZES, Aim.CHEAPEST, LIMITS, None)
    assert (cheapest.memory_mb, cheapest.reason) == (
        None,
        "the cheapest size can't be told: the prices are not known",
    )


def test_one_size_of_several_versions_or_regions_has_their_samples_and_the_worst_p95() -> None:
    found = merged([size(512, "30", "44", 3000), MIDDLE, size(512, "40", "60", 1000)])
    assert found == [MIDDLE, size(512, "32.5", "60", 4000)]


# Refusals -------------------------------------------------------------------------------------------------------------


def test_on_viewer_events_no_size_above_128_mb_is_possible() -> None:
    assert event_refusal(["origin-request", "origin-response"], 512) == ""
    assert event_refusal(["viewer-request", "origin-request"], 128) == (
        "it runs on viewer-request with 128 MB, and CloudFront allows viewer events 128 MB and 5 s at most: 512 -> 384 "
        "MB is possible on origin events only"
    )


def test_lambda_at_the_edge_takes_numbered_versions_of_us_east_1() -> None:
    arn = "arn:aws:lambda:us-east-1:123456789012:function:akidb-edge-inference"
    assert version_refusal(f"{arn}:7", "us-east-1") == ""
    assert version_refusal(f"{arn}:live", "us-east-1") == (
        f"{arn}:live is no numbered version: Lambda@Edge takes no alias and no $LATEST"
    )
    assert version_refusal(arn, "us-east-1").startswith(f"{arn} is no numbered version")
    other = arn.replace("us-east-1", "eu-central-1")
    assert version_refusal(f"{other}:7", "us-east-1") == (
        f"{other}:7 is in eu-central-1: functions of Lambda@Edge live in us-east-1"
    )


def test_what_cloudfront_runs_has_no_provisioned_concurrency() -> None:
    arn = "arn:aws:lambda:us-east-1:123456789012:function:akidb-edge-inference:7"
    assert units_refusal("akidb-inference", [arn]) == ""
    assert units_refusal("akidb-edge-inference", [arn]) == (
        f"CloudFront runs {arn}: Lambda@Edge has no provisioned concurrency; it belongs on the alias of a regional "
        "function"
    )
    with pytest.raises(Refused, match="is the function of Lambda@Edge, which has no provisioned concurrency"):
        build(LambdaSettings, {"regional_function": "akidb-edge-inference"}, load_estate())


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["384:20000:34.1"], "'384:20000:34.1' can't be read: write MB:samples:mean:P95, such as 384:20000:34.1:48.0"),
        (["384:many:34:48"], "'384:many:34:48' can't be read"),
        (["384:20:NaN:48"], "'384:20:NaN:48' can't be read"),
        (["384:20:34:sNaN"], "'384:20:34:sNaN' can't be read"),
        (["384:20:34:Infinity"], "'384:20:34:Infinity' can't be read"),
        (["384:20:-inf:48"], "'384:20:-inf:48' can't be read"),
        (["384:0:34:48"], "'384:0:34:48' has a value that is not above 0: measure it again"),
        (["384:20:34:48", "384:30:34:48"], "384 MB is given twice: leave one line a size"),
    ],
)
def test_durations_that_can_t_be_read_are_refused_with_the_line(lines: list[str], said: str) -> None:
    with pytest.raises(Refused, match="function_durations") as error:
        build(LambdaSettings, {"function_durations": lines}, load_estate())
    assert said in str(error.value)


def test_the_estate_decides_names_limit_units_and_durations() -> None:
    raw = load_estate().model_dump(mode="json")
    raw["edge"]["functions"] = {
        "edge": "at-edge", "regional": "in-region", "regional_alias": "prod", "provisioned_units": 3,
        "p95_limit_ms": 80, "durations": ["384:20000:34.1:48.0"],
    }  # fmt: skip
    settings = build(LambdaSettings, {}, Estate.model_validate(raw))
    assert (settings.edge_function, settings.regional_function, settings.regional_alias) == (
        "at-edge", "in-region", "prod",
    )  # fmt: skip
    assert (settings.provisioned_units, settings.function_p95_limit_ms, settings.memory_aim) == (3, 80, "cheapest")
    assert settings.measured() == [
        Measured(384, Decimal("34.1"), Decimal("48.0"), 20_000, "the setting function_durations")
    ]


# Prices ---------------------------------------------------------------------------------------------------------------


def test_the_edge_costs_three_times_a_region_s_second_and_requests_too() -> None:
    book = load_book()
    assert book.edge_rates("x86_64") == EDGE
    assert book.edge_rates("arm64") is None
    assert book.usd("lambda", "eu-central-1", "x86_64", "gb_second") == Decimal("0.0000166667")
    assert book.usd("lambda", "mars-north-1", "x86_64", "gb_second") is None


def test_units_are_paid_by_the_month_whether_they_serve_or_not() -> None:
    book = load_book()
    assert book.units_usd_month("us-east-1", "x86_64", 512, 2) == Decimal("0.0000041667") * Decimal("2626560.0")
    assert book.units_usd_month("mars-north-1", "x86_64", 512, 2) is None
    assert (book.is_assumed("us-east-1", "arm64"), book.is_assumed("eu-central-1", "arm64")) == (False, True)


@pytest.mark.parametrize(
    ("region", "share"), [("us-east-1", "0.6000"), ("eu-central-1", "1.0099"), ("ap-northeast-1", "1.3114")]
)
def test_a_unit_costs_less_than_on_demand_from_60_per_cent_use_on_or_never(region: str, share: str) -> None:
    found = load_book().pays_from(region, "x86_64")
    assert found is not None
    assert found.quantize(Decimal("0.0001")) == Decimal(share)


def test_prices_older_than_a_year_warn() -> None:
    book = load_book()
    assert book.warning(book.date + dt.timedelta(days=365)) == ""
    assert book.warning(book.date + dt.timedelta(days=366)) == (
        f"the prices in aws_lambda.csv are of {book.date}, 366 days old: look them up again before you trust them"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# source: s\nservice,region,architecture,item,usd\n", "aws_lambda.csv: 'date': begin it with lines '# date:"),
        (
            "# date: 2026-01-01\n# source: s\nservice,region,architecture,item,usd\nlambda,any,arm64,request,dear\n",
            "aws_lambda.csv line 4: ",
        ),
    ],
)
def test_a_table_that_can_t_be_read_is_refused_with_the_line(text: str, said: str) -> None:
    with pytest.raises(PriceBookError) as error:
        parse("aws_lambda.csv", text.splitlines())
    assert str(error.value).startswith(said)
