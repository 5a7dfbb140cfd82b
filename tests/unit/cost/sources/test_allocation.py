"""Allocations: rows of a region and day, idle kept apart, and a split that equals the bill exactly."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.clients.opencost import Allocation, AllocationSet, OpenCost
from include.cost.sources.allocation import (
    allocation_partition,
    allocation_rows,
    by_workload,
    covered_hours,
    largest_remainder,
    reconcile,
    resource_id,
)
from include.cost.table.columns import CostError
from include.estate import load_estate

DAY = dt.date(2026, 11, 23)
START = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
RECEIVED = dt.datetime(2026, 11, 24, 6, tzinfo=dt.UTC)
ESTATE = load_estate()


def allocation(name: str, cost: str = "0.5", hour: int = 0, hours: int = 1, **fields: Any) -> Allocation:
    start = START + dt.timedelta(hours=hour)
    end = start + dt.timedelta(hours=hours)
    return Allocation(name, start, end, Decimal(60), Decimal(cost), Decimal(15), {}, **fields)


def one_set(hour: int = 0, hours: int = 1, *names: str) -> AllocationSet:
    found = tuple(allocation(name, hour=hour, hours=hours) for name in names or ("akidb",))
    return AllocationSet(found[0].start, found[0].end, found)


class Allocator:
    flavour = "opencost"

    def __init__(self, *sets: AllocationSet) -> None:
        self.sets = list(sets)
        self.asked: list[tuple[dt.datetime, dt.datetime]] = []

    def allocations(self, start: dt.datetime, end: dt.datetime) -> list[AllocationSet]:
        self.asked.append((start, end))
        return self.sets


def partition(allocators: dict[str, Any], path: Path) -> Any:
    return allocation_partition(allocators, ESTATE, DAY, RECEIVED, path)


def test_a_split_equals_the_bill() -> None:
    split = reconcile(Decimal(10), {"a/rest": Decimal("4"), "a/grpc": Decimal("3.5"), "a/__idle__": Decimal("1.5")})
    assert split.by_name == {"a/grpc": Decimal("3.50"), "a/rest": Decimal("4.00")}
    assert (split.idle, split.unallocated, split.gap) == (Decimal("1.50"), Decimal("1.00"), Decimal(1))
    assert split.gap_share == Decimal("0.1")
    assert (
        split.explain()
        == "the bill has 1.00 (10.0 % of the bill) that the allocator doesn't know; it is in unallocated"
    )


def test_an_allocator_that_counts_more_than_the_bill_leaves_a_negative_rest() -> None:
    split = reconcile(Decimal(5), {"rest": Decimal(6), "__unallocated__": Decimal("0.25")})
    assert (split.unallocated, split.gap) == (Decimal("-1.00"), Decimal("-1.25"))
    assert (
        split.explain()
        == "the allocator counts 1.25 (25.0 % of the bill) more than was billed; unallocated is lower by it"
    )


def test_unmounted_and_unallocated_are_no_workloads() -> None:
    split = reconcile(Decimal(3), {"__unmounted__": Decimal(1), "c/__unallocated__": Decimal(2)})
    assert (split.by_name, split.idle, split.unallocated) == ({}, Decimal(0), Decimal(3))
    assert split.explain() == "the allocator's total equals the bill"


def test_a_bill_of_nothing_has_no_share() -> None:
    split = reconcile(Decimal(0), {"a": Decimal(1)})
    assert split.gap_share is None
    assert split.explain() == "the allocator counts 1.00 more than was billed; unallocated is lower by it"


def test_no_cent_is_lost_in_rounding() -> None:
    thirds = dict.fromkeys("abc", Decimal(1) / 3)
    assert largest_remainder(thirds) == {"a": Decimal("0.34"), "b": Decimal("0.33"), "c": Decimal("0.33")}
    assert largest_remainder({"a": Decimal("-0.005"), "b": Decimal("0.005")}) == {"a": Decimal(0), "b": Decimal(0)}
    assert largest_remainder({}) == {}


@pytest.mark.parametrize("bill", ["0.015", "7978.123456789012", "-3.3", "0"])
def test_the_sum_is_exact_for_odd_figures(bill: str) -> None:
    amounts = {f"w{n}": Decimal(n) / 7 for n in range(50)} | {
        "__idle__": Decimal(1) / 3,
        "__unallocated__": Decimal(1) / 9,
    }
    split = reconcile(Decimal(bill), amounts)
    assert sum(split.by_name.values()) + split.idle + split.unallocated == Decimal(bill)


def test_a_row_carries_the_share_and_bills_nothing() -> None:
    named = {"cluster": "c", "namespace": "akidb", "controller": "akidb-rest", "controller_kind": "deployment"}
    sets = [AllocationSet(START, START, (allocation("c/akidb/deployment/akidb-rest", "0.81", **named),))]
    rows = allocation_rows(sets, "us-east-1", "opencost", DAY, ESTATE)
    assert rows == [
        {
            "BilledCost": Decimal(0),
            "BillingCurrency": "USD",
            "BillingPeriodEnd": dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
            "BillingPeriodStart": dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
            "ChargeCategory": "Usage",
            "ChargeDescription": "cost of c/akidb/deployment/akidb-rest as OpenCost splits it",
            "ChargeFrequency": "Usage-Based",
            "ChargePeriodEnd": START + dt.timedelta(hours=1),
            "ChargePeriodStart": START,
            "ConsumedQuantity": Decimal(15),
            "ConsumedUnit": "Core-Hours",
            "EffectiveCost": Decimal("0.81"),
            "RegionId": "us-east-1",
            "RegionName": "us-east-1",
            "ResourceId": "c/akidb/akidb-rest",
            "ResourceName": "akidb-rest",
            "ResourceType": "deployment",
            "ServiceCategory": "Compute",
            "ServiceName": "Kubernetes (OpenCost)",
            "ServiceSubcategory": "Containers",
            "Tags": '{"cluster":"c","controller":"akidb-rest","controller_kind":"deployment","namespace":"akidb"}',
            "x_SourceFile": "opencost us-east-1 2026-11-23",
            "x_SourceRow": 1,
        }
    ]
    assert by_workload([*rows, *rows]) == {"c/akidb/akidb-rest": Decimal("1.62")}


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (allocation("c/__idle__"), "own/__idle__"),
        (allocation("__idle__", cluster="c"), "c/__idle__"),
        (allocation("__unallocated__/__unallocated__"), "own/__unallocated__"),
        (allocation("akidb/__unallocated__", namespace="akidb", controller="__unallocated__"), "own/akidb"),
        (allocation("akidb", namespace="akidb"), "own/akidb"),
        (allocation("something"), "own/something"),
    ],
)
def test_the_resource_is_named_as_far_as_it_is_known(made: Allocation, wanted: str) -> None:
    assert resource_id(made, "own") == wanted


def test_what_is_idle_stays_a_row_of_its_own() -> None:
    rows = allocation_rows([one_set(0, 1, "__idle__", "akidb")], "us-east-1", "kubecost", DAY, ESTATE)
    assert [row["ResourceType"] for row in rows] == ["__idle__", "workload"]
    assert [row["ResourceId"] for row in rows] == ["akidb-us-east-1/__idle__", "akidb-us-east-1/akidb"]


def test_unknown_core_hours_stay_unknown() -> None:
    found = Allocation("a", START, START + dt.timedelta(hours=1), Decimal(60), Decimal(1), None, {})
    rows = allocation_rows([AllocationSet(START, START, (found,))], "us-east-1", "opencost", DAY, ESTATE)
    assert (rows[0]["ConsumedQuantity"], rows[0]["ConsumedUnit"]) == (None, None)


@pytest.mark.parametrize(
    ("sets", "text"),
    [
        ([one_set(23, 2)], "is not inside 2026-11-23: ask by day"),
        ([one_set(-1)], "is not inside 2026-11-23: ask by day"),
        ([one_set(0, 2), one_set(1)], "windows overlap at 2026-11-23 01:00:00.*: the same cost would count twice"),
    ],
)
def test_windows_that_would_count_twice_are_refused(sets: list[AllocationSet], text: str) -> None:
    with pytest.raises(CostError, match=text):
        allocation_rows(sets, "us-east-1", "opencost", DAY, ESTATE)


def test_a_bill_is_no_allocation() -> None:
    with pytest.raises(CostError, match="source 'aws' is no allocation: use one of opencost, kubecost"):
        allocation_rows([], "us-east-1", "aws", DAY, ESTATE)


def test_an_hour_counts_when_a_window_holds_all_of_it() -> None:
    assert covered_hours([one_set(0), one_set(2, 3), AllocationSet(START, START, ())], DAY) == {0, 2, 3, 4}


def test_all_regions_make_one_partition(tmp_path: Path) -> None:
    sets = [one_set(hour) for hour in range(24)]
    allocators = {region: Allocator(*sets) for region in ESTATE.regions}
    facts = partition(allocators, tmp_path / "day.parquet")
    assert (facts.source, facts.rows, facts.billed_usd, facts.missing_hours) == ("opencost", 72, Decimal(0), ())
    assert facts.inputs == tuple(f"opencost {region} 2026-11-23" for region in sorted(ESTATE.regions))
    assert allocators["us-east-1"].asked == [(START, START + dt.timedelta(days=1))]
    table = pq.read_table(tmp_path / "day.parquet")
    assert sum(table["EffectiveCost"].to_pylist()) == Decimal(36)
    assert set(table["RegionId"].to_pylist()) == set(ESTATE.regions)


def test_an_hour_that_one_region_lacks_is_missing(tmp_path: Path) -> None:
    sets = [one_set(hour) for hour in range(24)]
    allocators = {region: Allocator(*sets) for region in ESTATE.regions}
    allocators["us-east-1"] = Allocator(*sets[:5], *sets[6:])
    assert partition(allocators, tmp_path / "a.parquet").missing_hours == (5,)
    del allocators["us-east-1"]
    assert partition(allocators, tmp_path / "b.parquet").missing_hours == tuple(range(24))


def test_nothing_known_writes_nothing(tmp_path: Path) -> None:
    assert partition(dict.fromkeys(ESTATE.regions, Allocator()), tmp_path / "day.parquet") is None
    assert list(tmp_path.iterdir()) == []


# --- One allocator for several clusters -------------------------------------------------------------------------------


def allocator_of(*clusters: str | None, url: str = "", flavour: str = "kubecost") -> Any:
    """An allocator whose answer names these clusters; None: an allocation that names none."""
    found = tuple(allocation(f"w{n}", hours=24, cluster=name) for n, name in enumerate(clusters))
    made = Allocator(AllocationSet(START, START + dt.timedelta(days=1), found))
    made.url, made.flavour = url, flavour  # type: ignore[attr-defined]
    return made


CLUSTERS = {region: ESTATE.region(region).cluster for region in ESTATE.regions}


def test_an_allocator_that_answers_for_all_clusters_is_refused(tmp_path: Path) -> None:
    allocators = {name: allocator_of(*CLUSTERS.values(), url=f"http://{name}") for name in ESTATE.regions}
    with pytest.raises(CostError) as caught:
        partition(allocators, tmp_path / "day.parquet")
    assert str(caught.value) == (
        "the Kubecost of ap-northeast-1 answers for cluster akidb-eu-central-1, akidb-us-east-1, and only "
        "akidb-ap-northeast-1 is its own: the same cost could count twice. Give connection kubecost_ap_northeast_1 the "
        "address of the one in akidb-ap-northeast-1; if it is the one, set its CLUSTER_ID to akidb-ap-northeast-1"
    )
    assert list(tmp_path.iterdir()) == []


def test_one_connection_alone_does_not_make_three_clusters_its_own(tmp_path: Path) -> None:
    with pytest.raises(CostError, match="the Kubecost of us-east-1 answers for cluster akidb-ap-northeast-1, akidb-eu"):
        partition({"us-east-1": allocator_of(*CLUSTERS.values())}, tmp_path / "day.parquet")


@pytest.mark.parametrize("names", [("akidb-eu-central-1",), ("eu-central-1",), ("somebody-elses",), (None, "other")])
def test_an_answer_for_other_clusters_only_is_refused(tmp_path: Path, names: tuple[str | None, ...]) -> None:
    with pytest.raises(CostError, match=r"answers for cluster .*, and only akidb-us-east-1 is its own"):
        partition({"us-east-1": allocator_of(*names)}, tmp_path / "day.parquet")


def test_a_cluster_that_only_the_allocations_name_tells_is_told(tmp_path: Path) -> None:
    def answering(cluster: str) -> Allocator:
        names = (f"{cluster}/akidb/deployment/akidb-rest", "akidb/__unallocated__", "__idle__")
        return Allocator(one_set(0, 24, *names))

    assert partition({"us-east-1": answering("akidb-us-east-1")}, tmp_path / "day.parquet").rows == 3
    with pytest.raises(CostError, match="answers for cluster akidb-eu-central-1, and only akidb-us-east-1 is its own"):
        partition({"us-east-1": answering("akidb-eu-central-1")}, tmp_path / "other.parquet")


@pytest.mark.parametrize("name", ["akidb-us-east-1", "us-east-1", "cluster-one", "default-cluster", "", None])
def test_its_own_name_the_regions_an_installations_default_and_none_are_its_own(
    tmp_path: Path, name: str | None
) -> None:
    assert partition({"us-east-1": allocator_of(name)}, tmp_path / "day.parquet").rows == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://kubecost:9090", "http://kubecost:9090"),
        ("http://kubecost", "http://KUBECOST:80/"),
        ("https://kubecost/api", "https://kubecost:443/api/"),
    ],
)
def test_one_address_behind_two_connections_is_refused_whatever_it_answers(
    tmp_path: Path, one: str, other: str
) -> None:
    allocators = {"us-east-1": allocator_of(None, url=one), "eu-central-1": allocator_of(None, url=other)}
    with pytest.raises(CostError) as caught:
        partition(allocators, tmp_path / "day.parquet")
    assert str(caught.value) == (
        f"connections kubecost_eu_central_1 and kubecost_us_east_1 have the same address {one}, and the same cost "
        "would count twice: give each the address of the allocator in its own cluster (akidb-eu-central-1, "
        "akidb-us-east-1), or remove one"
    )
    assert allocators["us-east-1"].asked == []


def test_addresses_that_differ_in_port_or_path_are_two_allocators(tmp_path: Path) -> None:
    urls = {"us-east-1": "http://k:9001", "eu-central-1": "http://k:9002", "ap-northeast-1": "http://k:9002/tokyo"}
    allocators = {region: allocator_of(None, url=url) for region, url in urls.items()}
    assert partition(allocators, tmp_path / "day.parquet").rows == 3


@pytest.mark.parametrize("flavours", [[], ["opencost", "kubecost"]])
def test_a_partition_is_of_one_flavour(tmp_path: Path, flavours: list[str]) -> None:
    allocators = {f"r{n}": OpenCost("http://x", flavour, session=object()) for n, flavour in enumerate(flavours)}
    with pytest.raises(CostError, match="needs one region or more, all of one flavour"):
        partition(allocators, tmp_path / "day.parquet")
