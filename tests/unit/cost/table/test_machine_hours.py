"""Machine hours from live series and from the bill: exact hours and dollars; nothing is guessed."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from include.cost.table import machine_hours
from include.cost.table.columns import CapacityType, CostError
from include.prices import load_aws_book
from tests.unit.cost.validation_world import FakePrometheus, Node, Table, at, row

DAY = dt.date(2026, 11, 16)
BOOK = load_aws_book()
HOUR = (at(DAY, 9), at(DAY, 10))
NODES = [
    Node("n1", 0.29),
    Node("n2", 0.09, capacity="spot", owner="akidb-spot", zone="b"),
    Node("n3", 0.29, until=at(DAY, 9.5).timestamp()),
]


def test_hours_and_prices_of_an_hour() -> None:
    fleet = machine_hours.read_fleet(FakePrometheus(NODES), "us-east-1", *HOUR)  # type: ignore[arg-type]
    assert (fleet.steps, fleet.seen, fleet.coverage) == (60, 60, 1)
    assert [(use.node, use.hours) for use in fleet.uses] == [("n1", 1), ("n2", 1), ("n3", Decimal("0.5"))]
    assert (fleet.uses[1].capacity, fleet.uses[1].owner, fleet.uses[1].zone) == ("spot", "akidb-spot", "us-east-1b")
    priced = machine_hours.price_fleet([fleet], BOOK)
    assert priced.usd == Decimal("0.435") + Decimal("0.088102")
    assert priced.by_key == {
        ("us-east-1", "c7g.2xlarge", "on_demand"): (Decimal("1.5"), Decimal("0.435")),
        ("us-east-1", "c7g.2xlarge", "spot"): (Decimal(1), Decimal("0.088102")),
    }
    assert machine_hours.allocator_sum([fleet]).usd == Decimal("0.525")


def test_steps_without_any_node_are_missing() -> None:
    start = int(at(DAY, 9).timestamp())
    fleet = machine_hours.read_fleet(FakePrometheus(NODES[:1], gap=range(start, start + 360)), "us-east-1", *HOUR)  # type: ignore[arg-type]
    assert (fleet.seen, fleet.coverage, fleet.uses[0].hours) == (54, Decimal("0.9"), Decimal("0.9"))


def test_a_region_without_series_has_no_coverage() -> None:
    fleet = machine_hours.read_fleet(FakePrometheus(NODES), "eu-central-1", *HOUR)  # type: ignore[arg-type]
    assert (fleet.coverage, fleet.uses) == (0, ())


@pytest.mark.parametrize(
    ("seconds", "step", "looks"),
    [(6, 3, 2), (30, 5, 6), (60, 5, 12), (720, 60, 12), (3_690, Decimal(3_690) / 62, 62), (86_400, 60, 1440)],
)  # fmt: skip
def test_short_windows_look_more_often_and_looks_divide_the_window(seconds: int, step: Decimal, looks: int) -> None:
    assert machine_hours.looks_of(seconds) == (step, looks)


@pytest.mark.parametrize("seconds", [6, 7, 10, 3_690, 86_400])
def test_a_node_that_is_always_there_counts_the_window_and_no_second_more(seconds: int) -> None:
    start = at(DAY, 9)
    fleet = machine_hours.read_fleet(
        FakePrometheus(NODES[:1]), "us-east-1", start, start + dt.timedelta(seconds=seconds)
    )  # type: ignore[arg-type]
    assert fleet.coverage == 1
    assert fleet.hours.quantize(Decimal("1e-15")) == (Decimal(seconds) / 3600).quantize(Decimal("1e-15"))


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (Node("n", 0.1, capacity="spot", zone=None), "us-east-1: spot node n has no zone in kube_node_labels"),
        (Node("n", 0.1, kind="x9.huge"), "us-east-1: x9.huge on_demand us-east-1a has no price in the aws book"),
    ],
)
def test_what_has_no_price_makes_the_sum_unknown(node: Node, problem: str) -> None:
    fleet = machine_hours.read_fleet(FakePrometheus([*NODES, node]), "us-east-1", *HOUR)  # type: ignore[arg-type]
    priced = machine_hours.price_fleet([fleet], BOOK)
    assert priced.usd is None
    assert priced.problems[0].startswith(problem)


def test_without_labels_opencosts_flag_says_spot_and_without_both_nobody_does() -> None:
    prices = [({"node": "n", "instance_type": "c7g.2xlarge"}, [(0.0, 0.29)])]
    assert machine_hours.fleet_of("us-east-1", 60, 1, prices, {"n": 1.0}, []).uses[0].capacity == CapacityType.SPOT
    assert machine_hours.fleet_of("us-east-1", 60, 1, prices, {"n": 0.0}, []).uses[0].capacity == CapacityType.ON_DEMAND
    fleet = machine_hours.fleet_of("us-east-1", 60, 1, prices, {}, [])
    assert fleet.uses[0].capacity is None
    assert machine_hours.price_fleet([fleet], BOOK).problems == (
        "us-east-1: node n says neither spot nor on demand (kubecost_node_is_spot, kube_node_labels)",
    )


# --- From the bill ----------------------------------------------------------------------------------------------------

EC2 = "Amazon Elastic Compute Cloud"
ON_DEMAND, SPOT = ("c7g.2xlarge", "on_demand"), ("c7g.xlarge", "spot")


def test_hourly_use_of_the_bill(tmp_path: Path) -> None:
    world = Table(tmp_path)
    rows = [
        row(EC2, "0.29", at(DAY, 0), region="us-east-1", machine=ON_DEMAND),
        row(EC2, "0.29", at(DAY, 0), region="us-east-1", machine=ON_DEMAND),
        row(EC2, "0.05", at(DAY, 1), region="us-east-1", machine=SPOT),
        row("Amazon S3", "9", at(DAY, 2)),
        row(EC2, "7", at(DAY, 3), hours=24, region="us-east-1", machine=ON_DEMAND),  # says nothing about an hour
        row(EC2, "1", at(DAY, 4), machine=ON_DEMAND, CommitmentDiscountStatus="Unused"),
    ]
    world.put(DAY, rows)
    with world.table.files([DAY], ["aws"]) as files:
        use = machine_hours.hourly_use(files, at(DAY), at(DAY, 24))
    assert [(r.hour, r.instance_type, str(r.capacity), r.hours, r.usd) for r in use.rows] == [
        (at(DAY, 0), "c7g.2xlarge", "on_demand", Decimal(2), Decimal("0.58")),
        (at(DAY, 1), "c7g.xlarge", "spot", Decimal(1), Decimal("0.05")),
    ]
    assert use.hours_seen == {at(DAY, 0), at(DAY, 1), at(DAY, 2), at(DAY, 4)}
    assert (use.hours_due, use.coverage) == (24, Decimal(4) / 24)


def hours_of(tmp_path: Path, *rows: dict[str, Any]) -> list[tuple[str, Decimal, Decimal]]:
    """(capacity, hours, dollars) of the bill's rows of a day."""
    world = Table(tmp_path)
    world.put(DAY, rows)
    with world.table.files([DAY], ["aws"]) as files:
        use = machine_hours.hourly_use(files, at(DAY), at(DAY, 24))
    return [(str(one.capacity), one.hours, one.usd) for one in use.rows]


def instance(service: str = EC2, usd: str = "0.29", meter: str = "BoxUsage:c7g.2xlarge", **more: Any) -> dict[str, Any]:
    return row(service, usd, at(DAY, 10), machine=ON_DEMAND, ResourceId="i-1", SkuMeter=meter, **more)


@pytest.mark.parametrize(
    "line",
    [
        instance("Amazon Elastic MapReduce", "0.07"),
        instance("Amazon Elastic MapReduce", "0.07") | {"ResourceId": "arn:aws:elasticmapreduce:::cluster/j-1"},
        instance("Red Hat Enterprise Linux", "0.06", "SoftwareUsage:c7g.2xlarge"),
        instance("8fvdn95s5ev33cprr3nucgu54", "0.06"),
        instance("Amazon Relational Database Service", "0.3", "InstanceUsage:db.m7g.large"),
        instance(usd="0.05", meter="EBSOptimized:c7g.2xlarge"),
        instance(usd="0.05", meter="LicenseUsage:windows"),
        instance(usd="2", meter="HostUsage:c7g") | {"ResourceId": "h-1"},
        instance(usd="0.05", meter="DedicatedUsage:c7g.2xlarge"),
        instance(usd="0.05", meter="BoxUsage:c7g.2xlarge:0002"),
    ],
)
def test_a_surcharge_on_an_instances_hour_is_no_second_machine_hour(tmp_path: Path, line: dict[str, Any]) -> None:
    assert hours_of(tmp_path, instance(), line) == [("on_demand", Decimal(1), Decimal("0.29"))]


def test_parts_of_one_hour_bought_in_two_ways_are_one_hour(tmp_path: Path) -> None:
    reserved = instance(usd="0.07") | {"ConsumedQuantity": Decimal("0.4"), "x_CapacityType": "reserved"}
    found = hours_of(tmp_path, instance(usd="0.174") | {"ConsumedQuantity": Decimal("0.6")}, reserved)
    assert found == [("on_demand", Decimal("0.6"), Decimal("0.174")), ("reserved", Decimal("0.4"), Decimal("0.07"))]


def test_a_correction_takes_its_hours_back(tmp_path: Path) -> None:
    taken_back = instance(usd="-0.29") | {"ConsumedQuantity": Decimal(-1), "ChargeClass": "Correction"}
    assert hours_of(tmp_path, instance(), taken_back) == [("on_demand", Decimal(0), Decimal(0))]


def test_two_instances_and_rows_without_an_instance_are_as_many_hours_as_they_say(tmp_path: Path) -> None:
    many = instance(usd="1.45") | {"ConsumedQuantity": Decimal(5), "ResourceId": None}
    found = hours_of(tmp_path, instance(), instance() | {"ResourceId": "i-2"}, many)
    assert found == [("on_demand", Decimal(7), Decimal("2.03"))]


def test_a_purchase_at_a_moment_says_nothing_about_its_hour(tmp_path: Path) -> None:
    world = Table(tmp_path)
    world.put(DAY, [row("Amazon Route 53", "40", at(DAY, 5), 0)])
    with world.table.files([DAY], ["aws"]) as files:
        assert machine_hours.hourly_use(files, at(DAY), at(DAY, 24)).hours_seen == frozenset()


def test_no_partitions_say_nothing() -> None:
    use = machine_hours.hourly_use([], at(DAY), at(DAY, 24))
    assert (use.coverage, use.rows) == (0, ())


def test_hourly_use_needs_whole_hours() -> None:
    with pytest.raises(CostError, match="needs whole hours in order"):
        machine_hours.hourly_use([], at(DAY, 0.5), at(DAY, 24))
