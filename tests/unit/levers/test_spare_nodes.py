"""Which node is spare: its pods fit on the others, as the scheduler sees it, and nothing stands less safely."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from include.levers.consolidation.fleet import Fleet, evened, odd_on_spot
from include.levers.consolidation.spare import Place, Spare, Tenant, find_spare, why_it_stays
from include.levers.nodes.optimum import Shape
from include.levers.nodes.rooms import Room
from include.levers.nodes.scheduling import ZONE

SHARE = 0.7


def place(domain: str, zone: str, room: int, usd: str = "0.04", spot: bool = True) -> Place:
    """A node with room for so many pods more."""
    free = {"cpu": Decimal(room), "pods": Decimal(50)}
    return Place(Room(f"{domain}-{zone}", {ZONE: zone}, [], free), domain, spot, True, Decimal(usd))


def fleet(*places: Place) -> dict[str, Place]:
    return {found.room.name: found for found in places}


def pods(**counts: int) -> list[Tenant]:
    """So many pods of akidb-rest on each node; ``d1_a`` is the node ``d1-a``."""
    nodes = [node.replace("_", "-") for node, count in counts.items() for _ in range(count)]
    return [Tenant(f"rest-{n:02}", "akidb-rest", node, {"cpu": Decimal(1)}, {}, 1) for n, node in enumerate(nodes)]


def d4(second: int = 2) -> dict[str, Place]:
    """Three domains on spot with one large node each, and two nodes on demand with room for ``second`` more pods."""
    spot = [place("d1", "a", 6, "0.08"), place("d2", "c", 6, "0.08"), place("d3", "d", 6, "0.08")]
    return fleet(*spot, place("d4", "a", second, "0.20", spot=False), place("d4", "d", second, "0.19", spot=False))


def test_a_node_whose_pods_fit_on_its_neighbour_is_spare() -> None:
    found = find_spare(d4(), pods(d1_a=3, d2_c=3, d3_d=3, d4_a=1, d4_d=2), SHARE)
    assert found == Spare("d4-a", Decimal("0.20"), ("rest-09",))


def test_the_odd_pods_on_demand_go_where_the_spread_lets_them() -> None:
    # The neighbour is full: d4 has 3 pods and d3 has 2, so that one may go there.
    odd = pods(d1_a=3, d2_c=3, d3_d=2, d4_a=1, d4_d=2)
    assert find_spare(d4(second=0), odd, SHARE) == Spare("d4-a", Decimal("0.20"), ("rest-08",))
    even = pods(d1_a=3, d2_c=3, d3_d=3, d4_a=1, d4_d=2)
    assert find_spare(d4(second=0), even, SHARE) is None  # d4 alone may take the pod, and is full


def test_the_last_node_of_a_domain_stays() -> None:
    places = fleet(place("d1", "a", 9), place("d2", "c", 9), place("d3", "d", 9))
    assert find_spare(places, pods(d1_a=2, d2_c=2, d3_d=1), SHARE) is None


def test_no_pod_moves_while_a_domain_that_the_spread_asks_for_has_no_node() -> None:
    places = fleet(*(place(domain, zone, 9) for domain in ("d1", "d2", "d3") for zone in "ac"))
    here = pods(d1_a=1, d1_c=2, d2_a=3, d3_a=2, d3_c=1)
    assert find_spare(places, here, SHARE) == Spare("d1-a", Decimal("0.04"), ("rest-00",))
    asking = [replace(tenant, domains=4) for tenant in here]
    assert find_spare(places, asking, SHARE) is None
    assert why_it_stays("d1-a", places, asking, SHARE) == "no other node takes pod rest-00"


def test_a_node_that_may_not_be_emptied_is_passed_over_as_are_cordoned_empty_and_unpriced_ones() -> None:
    places, here = d4(), pods(d1_a=3, d2_c=3, d3_d=3, d4_a=1, d4_d=2)
    assert find_spare(places, here, SHARE, ["d4-a"]) == Spare("d4-d", Decimal("0.19"), ("rest-10", "rest-11"))
    for changed in ({"is_open": False}, {"usd_hour": None}):
        closed: dict[str, Any] = {name: replace(one, **changed) for name, one in places.items() if "d4" in name}
        assert find_spare(places | closed, here, SHARE) is None
    assert find_spare(places, pods(d1_a=3, d2_c=3, d3_d=3, d4_d=2), SHARE, ["d4-d"]) is None  # d4-a is empty


def test_no_workload_leaves_a_zone_or_fills_one() -> None:
    # d1's only pod in zone c would go to zone a.
    alone = fleet(place("d1", "a", 5), place("d1", "c", 0), place("d2", "a", 0))
    assert find_spare(alone, pods(d1_a=1, d1_c=1, d2_a=2), SHARE) is None
    # Zone a would have 5 of 8 pods.
    full = fleet(place("d1", "a", 9), place("d1", "c", 0), place("d2", "c", 0), place("d2", "d", 0))
    assert find_spare(full, pods(d1_a=3, d1_c=1, d2_c=2, d2_d=2), SHARE) is not None
    assert find_spare(full, pods(d1_a=3, d1_c=2, d2_c=2, d2_d=2), SHARE) is None


def test_the_spot_share_does_not_fall_below_what_is_asked_for() -> None:
    # The pod of d1-c may go to d2 on demand alone: 3 of 6 pods on spot become 2 of 6.
    places = fleet(place("d1", "a", 0), place("d1", "c", 0), place("d2", "c", 1, spot=False), place("d3", "d", 0))
    here, stuck = pods(d1_a=1, d1_c=1, d2_c=1, d3_d=2), ["d1-a", "d2-c", "d3-d"]
    assert find_spare(places, here, 0.8, stuck) is None
    assert find_spare(places, here, 0.6, stuck) == Spare("d1-c", Decimal("0.04"), ("rest-01",))


def test_each_node_that_stays_has_its_reason() -> None:
    alone = fleet(place("d1", "a", 5), place("d1", "c", 0), place("d2", "a", 0))
    here = pods(d1_a=1, d1_c=1, d2_a=2)
    assert {name: why_it_stays(name, alone, here, SHARE) for name in alone} == {
        "d1-a": "no other node takes pod rest-00",
        "d1-c": "akidb-rest would leave a zone",
        "d2-a": "the last open node of domain d2, which the spread would no longer see",
    }
    full = fleet(place("d1", "a", 9), place("d1", "c", 0), place("d2", "c", 0), place("d2", "d", 0))
    filled = pods(d1_a=3, d1_c=2, d2_c=2, d2_d=2)
    assert why_it_stays("d1-c", full, filled, SHARE) == "akidb-rest would have 5 of 9 pods in one zone"
    places = fleet(place("d1", "a", 0), place("d1", "c", 0), place("d2", "c", 1, spot=False), place("d3", "d", 0))
    shared = pods(d1_a=1, d1_c=1, d2_c=1, d3_d=2)
    assert why_it_stays("d1-c", places, shared, 0.8) == "60% of the pods would be on spot"


def test_odd_pods_on_demand_are_expected_on_spot() -> None:
    """Shapes of 11 pods in four domains, of which d4 is on demand."""

    def shape(domain: str, count: int) -> Shape:
        return Shape("akidb-rest", 860, 2**30, count, domain, 1)

    domains, odd = ["d1", "d2", "d3", "d4"], [shape("d1", 3), shape("d2", 3), shape("d3", 2), shape("d4", 3)]
    assert odd_on_spot(odd, {"d4"}, domains) == [shape("d1", 3), shape("d2", 3), shape("d3", 3), shape("d4", 2)]
    even = [shape("d1", 3), shape("d2", 3), shape("d3", 3), shape("d4", 2)]
    assert odd_on_spot(even, {"d4"}, domains) == even
    assert odd_on_spot([shape("d4", 2)], {"d4"}, domains) == [shape("d4", 0), shape("d1", 1), shape("d2", 1)]


def test_a_workload_is_evened_out_whatever_its_pods_ask_for() -> None:
    """Pods that were resized in place and pods that were not count together, as the spread counts them."""

    def shape(domain: str | None, count: int, cpu: int = 860, workload: str = "akidb-rest") -> Shape:
        return Shape(workload, cpu, 2**30, count, domain, 1)

    domains = ["d1", "d2", "d3", "d4"]
    uneven = [shape("d1", 8), shape("d2", 6), shape("d3", 3), shape("d4", 3)]
    assert evened(uneven, domains, 9) == [shape(domain, 5) for domain in domains]
    even = [shape("d1", 3), shape("d2", 3), shape("d3", 2), shape("d4", 3)]
    assert evened(even, domains, 9) == even
    mixed = [shape("d1", 3), shape("d1", 2, 1000), shape("d2", 1, 1000)]
    after = evened(mixed, ["d1", "d2"], 9)
    assert {domain: sum(s.count for s in after if s.domain == domain) for domain in ("d1", "d2")} == {"d1": 3, "d2": 3}
    both = [
        shape("d1", 2),
        shape("d2", 0),
        shape("d1", 0, workload="akidb-grpc"),
        shape("d2", 2, workload="akidb-grpc"),
    ]
    assert [s.count for s in evened(both, ["d1", "d2"], 9)] == [1, 1, 1, 1]
    anywhere = [shape(None, 5), shape("d1", 1)]
    assert evened(anywhere, ["d1", "d2"], 9) == anywhere


def test_no_more_pods_are_evened_out_than_may_be_evicted_and_the_workload_that_differs_most_goes_first() -> None:
    def shape(workload: str, domain: str, count: int) -> Shape:
        return Shape(workload, 860, 2**30, count, domain, 1)

    uneven = [shape("a", "d1", 6), shape("a", "d2", 2), shape("b", "d1", 8), shape("b", "d2", 2)]
    for most, counts in {0: [6, 2, 8, 2], 1: [6, 2, 7, 3], 3: [5, 3, 6, 4], 9: [4, 4, 5, 5]}.items():
        assert [s.count for s in evened(uneven, ["d1", "d2"], most)] == counts


def test_without_an_offer_of_a_node_nothing_is_evened_out_and_no_packing_is_known() -> None:
    pods_there = [Shape("akidb-rest", 860, 2**30, 4, "d1", 1)]
    assert evened(pods_there, [], 12) == pods_there
    assert Fleet(pods_there, [], None, 1).reachable(12) is None
