"""The cheapest nodes for the same pods, by hand and by the solver."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from include.levers.nodes import optimum as packing
from include.levers.nodes.optimum import Offer, Packing, Shape, merged, optimum, patterns

GIB = 2**30


def shape(workload: str = "rest", cpu: int = 1000, count: int = 6, **where: Any) -> Shape:
    return Shape(workload, cpu, GIB, count, **where)


def offer(name: str, cpu: int, price: str, domain: str = "d1", zone: str = "a") -> Offer:
    return Offer(name, domain, zone, cpu, 64 * GIB, Decimal(price))


def solved(shapes: list[Shape], offers: list[Offer]) -> Packing:
    found = optimum(shapes, offers)
    assert found is not None
    assert found.exact
    return found


def types(found: Packing) -> list[str]:
    return [f"{node.domain} {node.zone} {node.instance_type}" for node in found.nodes]


def test_one_large_node_is_cheaper_than_two_small_ones() -> None:
    found = solved([shape()], [offer("small", 3000, "0.06"), offer("large", 6000, "0.11")])
    assert (found.usd_hour, types(found)) == (Decimal("0.11"), ["d1 a large"])


def test_among_equal_prices_fewer_nodes_are_taken() -> None:
    found = solved([shape()], [offer("small", 3000, "0.06"), offer("large", 6000, "0.12")])
    assert (found.usd_hour, types(found)) == (Decimal("0.12"), ["d1 a large"])


def test_two_small_nodes_are_cheaper_than_a_large_one() -> None:
    found = solved([shape()], [offer("small", 3000, "0.05"), offer("large", 6000, "0.12")])
    assert (found.usd_hour, types(found)) == (Decimal("0.10"), ["d1 a small", "d1 a small"])


def test_unequal_pods_are_put_together_so_that_they_fill_the_nodes() -> None:
    pods = [shape("rest", 1000, 3), shape("grpc", 2000, 3)]
    found = solved(pods, [offer("any", 3000, "0.05")])
    assert found.usd_hour == Decimal("0.15")
    assert [sum(node.room[n] for node in found.nodes) >= 3 for n in (0, 1)] == [True, True]


def test_a_pod_stays_in_its_domain_and_any_other_goes_where_it_is_cheapest() -> None:
    offers = [offer("any", 4000, price, domain) for domain, price in (("d1", "0.05"), ("d3", "0.20"))]
    stay = solved([shape(count=2, domain="d1"), shape(count=2, domain="d3")], offers)
    assert (stay.usd_hour, types(stay)) == (Decimal("0.25"), ["d1 a any", "d3 a any"])
    assert types(solved([shape(count=4)], offers)) == ["d1 a any"]


def test_a_spread_over_zones_costs_a_dearer_zone() -> None:
    offers = [offer("any", 6000, price, "d1", zone) for zone, price in (("a", "0.05"), ("b", "0.08"))]
    assert solved([shape(zone_skew=1)], offers).usd_hour == Decimal("0.13")
    assert solved([shape(zone_skew=6)], offers).usd_hour == Decimal("0.05")


def test_pods_that_no_node_holds_have_no_optimum() -> None:
    assert optimum([shape(cpu=9000)], [offer("any", 4000, "0.05")]) is None
    assert optimum([shape()], []) is None


def test_no_pods_need_no_nodes() -> None:
    assert optimum([], [offer("any", 4000, "0.05")]) == Packing(Decimal(0), (), exact=True)


def test_a_pattern_leaves_no_room_for_one_pod_more() -> None:
    pods = [shape("rest", 1000, 3), shape("grpc", 2000, 2)]
    assert list(patterns(pods, offer("any", 4000, "0.05"))) == [(0, 2), (2, 1), (3, 0)]


def test_too_many_shapes_become_one_of_the_largest_requests_for_each_workload() -> None:
    pods = [shape("rest", 1000 + n, 1) for n in range(5)] + [shape("grpc", 500 + n, 2) for n in range(2)]
    assert merged(pods) == [shape("grpc", 501, 4), shape("rest", 1004, 5)]
    assert merged(pods[:3]) == pods[:3]


def test_too_many_patterns_to_list_give_what_no_packing_is_below(monkeypatch: pytest.MonkeyPatch) -> None:
    pods = [shape(f"w{n}", 250 + n, 25, domain=f"d{d}", zone_skew=1) for n in range(3) for d in (1, 2)]
    sizes = (("small", 3770, "0.05"), ("large", 7760, "0.099"))
    offers = [offer(*size, domain=f"d{d}", zone=zone) for size in sizes for d in (1, 2) for zone in "ab"]
    bound = optimum(pods, offers)
    assert bound is not None
    assert not bound.exact
    monkeypatch.setattr(packing, "MOST_FILLINGS", 10**9)
    few = [replace(one, count=4) for one in pods]
    exact = solved(few, offers)
    monkeypatch.setattr(packing, "MOST_FILLINGS", 0)
    cut = optimum(few, offers)
    assert cut is not None
    assert (cut.exact, cut.usd_hour <= exact.usd_hour) == (False, True)
    assert cut.usd_hour > 0
    assert len(cut.nodes) <= len(exact.nodes)


def test_a_pod_larger_than_every_node_has_no_packing_however_it_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    offers = [offer("small", 3000, "0.05"), offer("large", 6000, "0.1", domain="d2")]
    for most in (0, 10**6):
        monkeypatch.setattr(packing, "MOST_FILLINGS", most)
        assert optimum([shape(cpu=5000, domain="d1")], offers) is None
        assert optimum([shape(cpu=5000, domain="d2")], offers) is not None


def test_pods_stay_in_their_domain_also_where_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_FILLINGS", 0)
    offers = [offer("cheap", 6000, "0.01", domain="d1"), offer("dear", 6000, "0.1", domain="d2")]
    found = optimum([shape(domain="d2", count=7), shape("grpc", domain=None, count=5)], offers)
    assert found is not None
    # Seven pods need two nodes there, which have room for the other five.
    assert types(found) == ["d2 a dear", "d2 a dear"]
