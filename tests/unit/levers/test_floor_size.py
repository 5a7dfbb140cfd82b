"""The size of the floor: which type, how many nodes, and what they cost, by exact value."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from include.levers.consolidation.floor_size import (
    NodeType,
    Size,
    Wanted,
    cheapest,
    fewest,
    max_pods,
    node_types,
    rooms,
    survives,
)
from include.levers.nodes.rooms import Crowd, crowd_of
from include.levers.nodes.scheduling import HOST, NODE_GROUP, ZONE
from include.prices import load_aws_book

REGION = "ap-northeast-1"
MIB, GIB = 2**20, 2**30
ZONES = ("ap-northeast-1a", "ap-northeast-1c")
DAEMONS = ({"cpu": Decimal("0.05")}, {"cpu": Decimal("0.1")})  # aws-node, kube-proxy
SMALL = NodeType("small", "arm64", Decimal("0.04"), Decimal("1.9"), Decimal(3000 * MIB), 17)


def crowd(name: str, count: int, cpu: str, mebibytes: int, **spec: Any) -> Crowd:
    requests = {"cpu": Decimal(cpu), "memory": Decimal(mebibytes * MIB)}
    return crowd_of(name, count, requests, {"metadata": {"labels": {"app": name}}, "spec": spec})


def wanted(*crowds: Crowd, zones: tuple[str, ...] = ZONES, labels: Mapping[str, str] | None = None) -> Wanted:
    return Wanted(crowds, DAEMONS, labels or {NODE_GROUP: "akidb-system"}, zones)


DNS = crowd("coredns", 2, "0.1", 70)
KARPENTER = crowd("karpenter", 2, "0.25", 256)
PREDICTOR = crowd("traffic-predictor", 2, "0.5", 1024)
ALONE = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
    {"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": "karpenter"}}}]}}  # fmt: skip


def test_the_smallest_types_of_the_architecture_are_offered_at_the_region_s_price() -> None:
    found = node_types(load_aws_book(), REGION, "arm64")
    assert [(t.name, str(t.usd_hour), t.pods) for t in found] == [
        ("t4g.medium", "0.042672", 17),
        ("t4g.large", "0.085344", 35),
        ("c7g.medium", "0.046101", 8),
        ("c7g.large", "0.092075", 29),
        ("m7g.medium", "0.051816", 8),
        ("m7g.large", "0.103632", 29),
    ]
    assert (found[0].cpu, found[0].memory) == (Decimal("1.93"), Decimal(3187 * MIB))


def test_named_types_count_alone_and_those_of_another_architecture_or_without_a_price_do_not() -> None:
    names = ("m7g.large", "t3.medium", "x9.huge")
    assert [t.name for t in node_types(load_aws_book(), REGION, "arm64", names)] == ["m7g.large"]
    assert node_types(load_aws_book(), "mars-north-1", "arm64") == []


@pytest.mark.parametrize(
    ("name", "pods"), [("t4g.medium", 17), ("c7g.medium", 8), ("t4g.large", 35), ("x9.huge", None)]
)
def test_a_node_has_addresses_for_so_many_pods(name: str, pods: int | None) -> None:
    assert max_pods(name) == pods


def test_system_pods_alone_take_two_of_the_cheapest_type() -> None:
    types = node_types(load_aws_book(), REGION, "arm64")
    assert cheapest(wanted(DNS, KARPENTER), types) == Size("t4g.medium", 2, Decimal("0.085344"))


def test_with_the_predictor_three_small_nodes_are_cheaper_than_two_large_ones() -> None:
    reserve = crowd("reserve", 1, "0.2", 400)
    types = node_types(load_aws_book(), REGION, "arm64")
    # One t4g.medium has 1.78 CPU and 3187 MiB left: everything asks for 1.9 CPU and 3100 MiB.
    assert cheapest(wanted(DNS, KARPENTER, PREDICTOR, reserve), types) == Size("t4g.medium", 3, Decimal("0.128016"))
    large = [t for t in types if t.name == "t4g.large"]
    # 2 x t4g.large also have 1.78 CPU each; the third node is needed there too.
    assert cheapest(wanted(DNS, KARPENTER, PREDICTOR, reserve), large) == Size("t4g.large", 3, Decimal("0.256032"))


def test_among_equal_prices_fewer_nodes_are_taken_then_the_first_by_name() -> None:
    big = NodeType("big", "arm64", Decimal("0.06"), Decimal(4), Decimal(8 * GIB), 29)
    twin = NodeType("aaa", "arm64", Decimal("0.06"), Decimal(4), Decimal(8 * GIB), 29)
    needs_two = wanted(crowd("a", 2, "1", 100))
    assert fewest(needs_two, SMALL) == Size("small", 3, Decimal("0.12"))
    assert cheapest(needs_two, [SMALL, big, twin]) == Size("aaa", 2, Decimal("0.12"))


def test_addresses_limit_a_node_as_requests_do() -> None:
    many = wanted(crowd("tiny", 12, "0.01", 1))
    eight = NodeType("eight", "arm64", Decimal("0.04"), Decimal("0.94"), Decimal(1392 * MIB), 8)
    # Two addresses of eight go to the DaemonSets: six are left on each node, and twelve must fit with one node lost.
    assert fewest(many, eight) == Size("eight", 3, Decimal("0.12"))
    assert fewest(wanted(crowd("tiny", 13, "0.01", 1)), eight) == Size("eight", 4, Decimal("0.16"))


def test_one_pod_a_node_needs_as_many_nodes_as_pods_and_not_one_more() -> None:
    apart = crowd("karpenter", 2, "0.25", 256, affinity=ALONE)
    assert fewest(wanted(apart), SMALL) == Size("small", 2, Decimal("0.08"))
    thrice = crowd("karpenter", 3, "0.25", 256, affinity=ALONE)
    assert fewest(wanted(thrice), SMALL) == Size("small", 3, Decimal("0.12"))


def test_a_pod_that_no_type_holds_or_no_label_fits_has_no_size() -> None:
    assert cheapest(wanted(crowd("huge", 1, "3", 100)), [SMALL]) is None
    assert cheapest(wanted(crowd("tied", 1, "0.1", 10, nodeSelector={NODE_GROUP: "akidb-on-demand"})), [SMALL]) is None
    assert cheapest(wanted(crowd("ours", 1, "0.1", 10, nodeSelector={NODE_GROUP: "akidb-system"})), [SMALL]) is not None


def test_daemons_that_fill_a_node_leave_it_unfit() -> None:
    full = Wanted((), ({"cpu": Decimal("2")},), {}, ZONES)
    assert fewest(full, SMALL) is None


def test_nodes_are_spread_over_the_zones_and_a_hard_spread_survives_a_lost_node() -> None:
    assert [room.labels[ZONE] for room in rooms(wanted(DNS), SMALL, 3)] == [ZONES[0], ZONES[1], ZONES[0]]
    spread = [{"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]
    hard = crowd("coredns", 2, "0.1", 70, topologySpreadConstraints=spread)
    assert survives([hard], rooms(wanted(hard), SMALL, 2))
