"""Price books: exact prices, refusals, and the choice of instance types."""

from __future__ import annotations

from decimal import Decimal

import pytest

from include.estate import Spot, load_estate
from include.prices import (
    HOURS_PER_MONTH,
    AwsBook,
    PlanBook,
    PriceBookError,
    TooFewInstanceTypesError,
    choose_instance_types,
    load_aws_book,
    parse_aws_book,
    usd_month,
)

HEADER = ["# date: 2026-01-02", "# source: a test"]
COLUMNS = (
    "instance_type,category,arch,vcpu,memory_mib,allocatable_cpu,allocatable_memory_mib,on_demand,"
    "us-east-1_savings,us-east-1_band"
)
ROWS = [
    "c7g.xlarge,c,arm64,4,8192,3.92,6525,0.145,60,1",
    "c7g.2xlarge,c,arm64,8,16384,7.91,14103,0.29,60,0",
    "m7g.xlarge,m,arm64,4,16384,3.92,14103,0.1632,50,2",
    "c7i.xlarge,c,amd64,4,8192,3.92,6525,0.1785,60,0",
    "r7g.xlarge,r,arm64,4,32768,3.92,29000,0.2142,60,0",
    "c7g.large,c,arm64,2,4096,1.93,3055,0.0725,60,0",
    "c8g.xlarge,c,arm64,4,8192,3.92,6525,0.15952,,",
    "c6g.xlarge,c,arm64,4,8192,3.92,6525,0.136,60,3",
]


def small_book() -> AwsBook:
    header, rows = parse_aws_book("test.csv", [*HEADER, COLUMNS, *ROWS])
    return AwsBook(rows, {"us-east-1": Decimal(1), "eu-central-1": Decimal("1.19")}, header["date"], header["source"])


def spot_settings(minimum: int) -> Spot:
    return load_estate().spot.model_copy(update={"min_instance_types": minimum})


def test_on_demand_is_list_price_times_the_regions_factor() -> None:
    book = load_aws_book()
    assert book.on_demand("us-east-1", "c7g.2xlarge") == Decimal("0.29")
    assert book.on_demand("eu-central-1", "c7g.2xlarge") == Decimal("0.3451")
    assert book.on_demand("ap-northeast-1", "c7g.2xlarge") == Decimal("0.3683")


@pytest.mark.parametrize(("zone", "price"), [("a", "0.0899"), ("b", "0.088102"), ("c", "0.092597"), ("d", "0.090799")])
def test_spot_is_on_demand_less_savings_times_the_zone(zone: str, price: str) -> None:
    assert load_aws_book().spot("us-east-1", "c7g.2xlarge", f"us-east-1{zone}") == Decimal(price)


def test_an_unknown_price_is_none_never_zero() -> None:
    book = small_book()
    assert book.on_demand("us-east-1", "x9.huge") is None
    assert book.on_demand("sa-east-1", "c7g.xlarge") is None
    assert book.spot("us-east-1", "c8g.xlarge", "us-east-1a") is None
    assert book.spot("us-east-1", "c7g.xlarge", "us-east-1z") is None
    assert book.spot("us-east-1", "c7g.xlarge", "eu-central-1a") is None
    assert book.interruption_band("us-east-1", "c8g.xlarge") is None
    assert book.interruption_band("us-east-1", "c6g.xlarge") == 3


def test_details_give_what_kubernetes_leaves_for_pods() -> None:
    details = load_aws_book().details("c7g.2xlarge")
    assert (details.category, details.size, details.arch) == ("c", "2xlarge", "arm64")
    assert (details.vcpu, details.memory_mib) == (8, 16384)
    assert (details.allocatable_cpu, details.allocatable_memory_mib) == (7.91, 14103)


def test_details_of_an_unknown_type_name_it() -> None:
    with pytest.raises(PriceBookError, match=r"'x9\.huge' is not in the price book"):
        small_book().details("x9.huge")


def test_every_report_can_name_book_date_source_and_assumptions() -> None:
    book = load_aws_book()
    assert (book.name, book.date) == ("aws", "2026-07-20")
    assert "Spot Advisor" in book.source
    assert book.assumptions == (
        "on-demand prices are us-east-1 list prices times a factor per region: eu-central-1 1.19, ap-northeast-1 1.27",
        (
            "spot = on demand x (1 - savings of AWS Spot Advisor) x a made-up factor per zone: "
            "a 1.00, b 0.98, c 1.03, d 1.01"
        ),
        "a month has 30.4 days (729.6 hours)",
    )


def test_the_book_is_loaded_once_and_follows_a_given_estate() -> None:
    assert load_aws_book() is load_aws_book()
    estate = load_estate()
    dear = estate.regions["us-east-1"].model_copy(update={"on_demand_price_factor": 2.0})
    book = load_aws_book(estate.model_copy(update={"regions": {"us-east-1": dear}}))
    assert book.regions() == ["us-east-1"]
    assert book.on_demand("us-east-1", "c7g.2xlarge") == Decimal("0.58")


def test_a_month_is_729_6_hours() -> None:
    assert Decimal("729.6") == HOURS_PER_MONTH
    assert usd_month(Decimal("0.29") * 15) == Decimal("3173.76")


def test_choice_is_cheapest_spot_per_vcpu_first() -> None:
    choices = choose_instance_types(small_book(), "us-east-1", spot_settings(3)).spot
    # c7g costs 0.0145 a vCPU in both sizes (ties by name), m7g 0.0204.
    assert [c.name for c in choices] == ["c7g.2xlarge", "c7g.xlarge", "m7g.xlarge"]
    assert [c.spot_per_vcpu for c in choices] == [Decimal("0.0145"), Decimal("0.0145"), Decimal("0.0204")]
    assert (choices[0].on_demand, choices[0].spot, choices[0].interruption_band) == (
        Decimal("0.29"),
        Decimal("0.116"),
        0,
    )


def test_too_few_types_are_refused_with_what_each_filter_removed() -> None:
    with pytest.raises(TooFewInstanceTypesError) as refusal:
        choose_instance_types(small_book(), "us-east-1", spot_settings(4))
    assert refusal.value.removed == {
        "architecture": 1,
        "category": 1,
        "size": 1,
        "price not known": 1,
        "interruption band": 1,
    }
    assert str(refusal.value) == (
        "us-east-1: 3 of 8 instance types are left, spot.min_instance_types asks for 4. Removed by filter: "
        "architecture 1, category 1, size 1, price not known 1, interruption band 1. "
        "Widen spot.sizes or spot.categories, or raise spot.max_interruption_band (now 2)"
    )


def test_how_often_spot_is_interrupted_leaves_nothing_out_on_demand() -> None:
    spot, on_demand = choose_instance_types(small_book(), "us-east-1", spot_settings(3))
    assert {c.name for c in on_demand} - {c.name for c in spot} == {"c6g.xlarge"}
    # 0.034, 0.03625 (twice, ties by name) and 0.0408 a vCPU.
    assert [c.name for c in on_demand] == ["c6g.xlarge", "c7g.2xlarge", "c7g.xlarge", "m7g.xlarge"]


def test_the_cheapest_type_on_demand_is_to_be_had_where_its_spot_is_interrupted_too_often() -> None:
    spot, on_demand = choose_instance_types(load_aws_book(), "ap-northeast-1", load_estate().spot)
    assert "c6g.xlarge" not in {c.name for c in spot}
    assert [c.name for c in on_demand][:2] == ["c6g.2xlarge", "c6g.xlarge"]


@pytest.mark.parametrize(("region", "count"), [("us-east-1", 18), ("eu-central-1", 17), ("ap-northeast-1", 17)])
def test_each_region_of_the_estate_has_enough_types(region: str, count: int) -> None:
    choices = choose_instance_types(load_aws_book(), region, load_estate().spot).spot
    assert len(choices) == count
    assert {c.instance.arch for c in choices} == {"arm64"}
    assert max(c.interruption_band for c in choices) <= 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["# date: 2026-01-02", COLUMNS], "no line '# source: ...'"),
        ([*HEADER, COLUMNS, "c7g.xlarge,c,arm64,four,1,1,1,1,60,1"], r"test\.csv line 4: ValueError"),
        ([*HEADER, COLUMNS, ROWS[0], "c7g.xlarge,c,arm64,4,1,1,1,cheap,60,1"], r"test\.csv line 5: InvalidOperation"),
        ([*HEADER, "instance_type,category", "c7g.xlarge,c"], r"test\.csv line 4: KeyError 'arch'"),
        ([*HEADER, COLUMNS, "c7g.xlarge"], r"test\.csv line 4: TypeError"),
    ],
)
def test_a_broken_book_names_file_line_and_remedy(lines: list[str], message: str) -> None:
    with pytest.raises(PriceBookError, match=message) as error:
        parse_aws_book("test.csv", lines)
    assert "run `python -m tools.derive_prices`" in str(error.value)


def test_plan_book_totals() -> None:
    book = PlanBook()
    assert [book.total(week) for week in (8, 13, 14)] == [Decimal(8000), Decimal(3470), Decimal(2970)]
    assert book.component("central_dc").week_13 == Decimal(1800)
    assert book.component("central_dc").week_14 == Decimal(1050)
    assert book.component("cost_platform").week_14 == Decimal(620)


def test_plan_book_refuses_what_it_does_not_have() -> None:
    with pytest.raises(PriceBookError, match="no figures for week 9: use 8, 13 or 14"):
        PlanBook().total(9)
    with pytest.raises(PriceBookError, match="'dns' is not in the plan: use one of central_dc, "):
        PlanBook().component("dns")


QUOTED = {
    (name, f"eu-west-1{zone}"): Decimal(price)
    for name, zone, price in (
        ("c7g.xlarge", "a", "0.05"), ("c7g.xlarge", "b", "0.06"), ("m7g.xlarge", "a", "0.08"),
        ("c7g.2xlarge", "b", "0.10"), ("c7i.xlarge", "a", "0.01"),
    )
}  # fmt: skip


def book_elsewhere() -> AwsBook:
    header, rows = parse_aws_book("test.csv", [*HEADER, COLUMNS, *ROWS])
    return AwsBook(rows, {"eu-west-1": Decimal("1.07")}, header["date"], header["source"])


def test_a_region_that_the_book_does_not_know_is_priced_by_ec2_at_the_dearest_zone() -> None:
    book = book_elsewhere()
    assert (book.knows_spot("us-east-1"), book.knows_spot("eu-west-1")) == (True, False)
    choices = choose_instance_types(book, "eu-west-1", spot_settings(3), QUOTED).spot
    assert [(c.name, c.spot, c.interruption_band) for c in choices] == [
        ("c7g.2xlarge", Decimal("0.10"), None),
        ("c7g.xlarge", Decimal("0.06"), None),
        ("m7g.xlarge", Decimal("0.08"), None),
    ]
    assert choices[1].on_demand == Decimal("0.145") * Decimal("1.07")


def test_quotes_count_only_where_the_book_has_none() -> None:
    quoted = {("c7g.xlarge", "us-east-1a"): Decimal("0.01")}
    choices = choose_instance_types(small_book(), "us-east-1", spot_settings(3), quoted).spot
    assert all(choice.spot != Decimal("0.01") for choice in choices)


def test_a_region_without_any_price_says_how_to_add_one() -> None:
    with pytest.raises(TooFewInstanceTypesError) as refusal:
        choose_instance_types(book_elsewhere(), "eu-west-1", spot_settings(3))
    assert str(refusal.value).endswith(
        "price not known 5, interruption band 0. The price book (2026-01-02) has no spot prices of eu-west-1, and EC2 "
        "quotes too few: add the columns eu-west-1_savings and eu-west-1_band to include/price_book/aws_ec2.csv "
        "(percent below on demand and interruption band, from AWS Spot Advisor), or allow "
        "ec2:DescribeSpotPriceHistory to the region's AWS connection"
    )
