"""The lab's own dollars of the edge: the plan's in week 13, and what they become with what stands."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from include.estate import load_estate
from lab.cloud import bill, edge_costs
from lab.cloud.edge_costs import WEEK_13, EdgeState, read_edge, usd_of
from tests.unit.lab.cloud.edge_world import BUCKET, NOW, REGIONAL, EdgeWorld

ESTATE = load_estate()
END = dt.datetime(2026, 11, 24, 19, 30, tzinfo=dt.UTC)
OTHER = EdgeState(
    "PriceClass_100",
    384,
    {region: Decimal(1) for region in ESTATE.regions},
    {"STANDARD": Decimal("0.25"), "GLACIER_IR": Decimal("0.75")},
    Decimal("8.75"),
)


def dollars(*amounts: str) -> dict[str, Decimal]:
    return dict(zip(("cloudfront", "lambda_edge", "s3", "route_53"), map(Decimal, amounts), strict=True))


def test_week_13_is_the_plans_to_the_cent() -> None:
    assert usd_of(WEEK_13) == dollars("600.00", "420.00", "150.00", "100.00")


def test_each_component_follows_what_stands() -> None:
    assert usd_of(OTHER) == dollars("557.18", "395.87", "64.50", "68.00")
    assert usd_of(EdgeState("PriceClass_200"))["cloudfront"] == Decimal("598.30")
    assert usd_of(EdgeState(memory_mb=384))["lambda_edge"] == Decimal("369.60")
    assert usd_of(EdgeState(memory_mb=None))["lambda_edge"] == Decimal("0.00")


def test_bytes_are_served_from_the_regions_of_the_price_class() -> None:
    assert edge_costs.served_from("PriceClass_100") == {"US": Decimal("0.650"), "EU": Decimal("0.350")}
    assert sum(edge_costs.served_from("PriceClass_200").values()) == 1
    assert set(edge_costs.served_from("PriceClass_200")) == {"US", "EU", "JP", "AP", "IN", "ME", "ZA"}


def test_the_seeded_edge_is_week_13(world: EdgeWorld) -> None:
    world.seed_rest()
    assert read_edge(world.client, ESTATE, NOW) == WEEK_13


def test_the_edge_is_read_as_it_stands_and_no_look_at_a_change_is_used_up(world: EdgeWorld) -> None:
    world.seed_rest()
    world.associate(f"{world.version.rpartition(':')[0]}:2")
    world.update(PriceClass="PriceClass_200")
    at_live = {"FunctionName": REGIONAL, "Qualifier": "live"}
    world.lambdas["eu-central-1"].put_provisioned_concurrency_config(**at_live, ProvisionedConcurrentExecutions=2)
    rule = {
        "ID": "archive",
        "Status": "Enabled",
        "Filter": {"Prefix": "traffic-predictor/"},
        "Transitions": [{"Days": 90, "StorageClass": "GLACIER_IR"}],
    }
    world.s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})
    for check in world.route53.list_health_checks()["HealthChecks"][:3]:
        world.route53.delete_health_check(HealthCheckId=check["Id"])
    found = read_edge(world.client, ESTATE, NOW)
    assert (found.price_class, found.memory_mb) == ("PriceClass_200", 384)
    assert found.provisioned == {"eu-central-1": Decimal(1)}
    assert {kind: round(share, 3) for kind, share in found.storage.items()} == {
        "GLACIER_IR": Decimal("0.457"),  # 11 of 24 versions are 90 days old; others' objects stay
        "STANDARD": Decimal("0.543"),
    }
    assert found.checks_usd == Decimal("6.75")
    assert world.statuses(2) == ["InProgress", "Deployed"]


def test_without_the_distribution_there_is_no_state(world: EdgeWorld) -> None:
    etag = world.update(Enabled=False)
    world.statuses(2)
    world.cloudfront.delete_distribution(Id=world.distribution, IfMatch=etag)
    with pytest.raises(LookupError, match=r"no distribution has the alias 'cdn\.akidb\.example'"):
        read_edge(world.client, ESTATE, NOW)


# The bill --------------------------------------------------------------------------------------------------------


def of_day(rows: list[dict[str, Any]], service: str, day: dt.date) -> float:
    found = (row for row in rows if row["ServiceName"] == service and row["ChargePeriodStart"].date() == day)
    return sum((float(row["BilledCost"]) for row in found), 0.0)


def test_the_bill_written_again_has_the_newest_whole_day_as_the_edge_stands() -> None:
    assert bill.newest_day(END) == dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    before = [row for table in bill.tables(ESTATE, END, days=4).values() for row in table.to_pylist()]
    after = [row for table in bill.tables(ESTATE, END, days=4, edge=OTHER).values() for row in table.to_pylist()]
    sunday, monday = dt.date(2026, 11, 22), dt.date(2026, 11, 23)
    ratios = {}
    for component, service in (
        ("cloudfront", "Amazon CloudFront"),
        ("lambda_edge", "AWS Lambda"),
        ("s3", "Amazon Simple Storage Service"),
        ("route_53", "Amazon Route 53"),
    ):
        assert of_day(after, service, sunday) == of_day(before, service, sunday)
        ratios[component] = of_day(after, service, monday) / of_day(before, service, monday)
    wanted = {name: float(usd / usd_of(WEEK_13)[name]) for name, usd in usd_of(OTHER).items()}
    assert ratios == pytest.approx(wanted, rel=0.03)  # what doesn't follow traffic weighs less on a Monday
    machines = "Amazon Elastic Compute Cloud"
    assert of_day(after, machines, monday) == pytest.approx(of_day(before, machines, monday))
