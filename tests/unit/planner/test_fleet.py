from dataclasses import replace

import numpy as np
import pytest

from include.estate import load_estate
from include.levers.nodes.optimum import Offer, Shape, optimum
from include.planner.fleet import EXPECTED, Region, coalitions, kept, spread
from include.planner.market import Market, market_of
from include.planner.order import PACKING, ROUTING, SCALING, SIZING, SPOT
from include.planner.traffic import peak, planned
from include.planner.usage import load_usage
from include.prices import load_aws_book

ESTATE = load_estate()
WEEK = planned(ESTATE, days=7).of_minutes()[0]


@pytest.fixture(scope="module")
def market() -> Market:
    return market_of(ESTATE, "us-east-1", load_aws_book(ESTATE), load_usage())


@pytest.fixture(scope="module")
def week(market: Market) -> Region:
    return Region(ESTATE, market, WEEK, 0.187)


def _figures(region: Region, *levers: str) -> tuple[float, float]:
    found = region.minutes(frozenset(levers))
    return round(float(found.nodes.mean()), 2), round(float(found.usd_hour.mean()), 4)


def test_before_the_fixed_group_stands_whatever_the_traffic_does(week):
    assert _figures(week) == (5.0, 1.45)


def test_without_the_pools_no_other_lever_changes_a_node(week):
    assert _figures(week, SCALING, SIZING, PACKING, ROUTING) == (5.0, 1.45)


def test_without_autoscaling_fewer_requests_change_no_node(week):
    assert _figures(week, SPOT, ROUTING) == _figures(week, SPOT) == (12.0, 1.3251)


def test_at_the_rehearsed_peak_the_nodes_are_those_that_were_rehearsed(market):
    region = Region(ESTATE, market, peak(ESTATE).of_minutes()[0], 0.0)
    assert _figures(region, SPOT)[0] == 12
    assert _figures(region, SPOT, SCALING)[0] == 12  # half-empty nodes stay: nobody packs
    assert _figures(region, SPOT, SCALING, SIZING)[0] == 12
    assert _figures(region, SPOT, SCALING, SIZING, PACKING)[0] == 9  # 6 of Karpenter's, 3 small ones


def test_every_lever_on_top_never_costs_more_within_the_week(week):
    order, done, last = (SPOT, SCALING, SIZING, PACKING), frozenset[str](), 99.0
    for lever in order:
        done |= {lever}
        usd = float(week.minutes(done).usd_hour.mean())
        assert usd <= last + 1e-9
        last = usd


def test_at_night_each_domain_keeps_a_node(week, market):
    found = week.minutes(frozenset({SPOT, SCALING, SIZING, PACKING}))
    assert found.nodes.min() == ESTATE.spot.domains + market.small_floor.nodes


def test_interruptions_cost_something_on_spot_and_nothing_without(week):
    assert week.minutes(frozenset()).interruptions.max() == 0
    found = week.minutes(frozenset({SPOT, SCALING, SIZING, PACKING}))
    assert found.interruptions.min() > 0
    assert 0 < found.risk.mean() < 0.01 * found.usd_hour.mean()


def test_the_packing_is_near_the_levers_optimum_with_its_zones(week, market):
    """One domain after the other and whole nodes for the zones, against the integer programme over all of them."""
    sizes = week.sizes(False, True, True)
    state = (11, 11)
    nodes, usd, _, _ = week.packing(state, week.covers(sizes, (3, 3)))
    shapes = [
        Shape(f"w{w}", sizes[w].cpu, sizes[w].memory, counts[w], f"d{d}", 1)
        for d, counts in enumerate(spread(state, 4)) for w in (0, 1)
    ]  # fmt: skip
    offers = [
        Offer(kind.name, f"d{d}", zone, kind.cpu, kind.memory, _decimal(kind.usd_hour))
        for d in range(4) for zone in "abc" for kind in (market.spot if d < 3 else market.on_demand)
    ]  # fmt: skip
    best = optimum(shapes, offers, seconds=20)
    assert best is not None
    assert usd == pytest.approx(float(best.usd_hour), rel=0.03)
    assert nodes == pytest.approx(len(best.nodes), abs=1)


def _decimal(value: float):
    from decimal import Decimal

    return Decimal(repr(value))


def test_pods_are_spread_evenly_and_what_is_over_goes_on_in_the_next_domain():
    assert spread((15, 15), 4) == ((4, 4), (4, 4), (4, 3), (3, 4))
    assert spread((11, 11), 4) == ((3, 3), (3, 3), (3, 2), (2, 3))
    assert spread((2, 2), 4) == ((1, 0), (1, 0), (0, 1), (0, 1))


def test_what_is_there_changes_only_to_stay_within_its_bounds():
    least, most = np.array([1.0, 1, 6, 1, 1, 1, 2]), np.array([9.0, 3, 9, 9, 2, 9, 9])
    assert kept(least, most, 5.0).tolist() == [5, 3, 6, 6, 2, 2, 2]


def test_the_scan_is_the_plain_loop():
    random = np.random.default_rng(5)
    least = random.uniform(0, 5, 500)
    most = least + random.uniform(0, 3, 500)
    level, loop = 4.0, []
    for low, high in zip(least, most, strict=True):
        level = min(max(level, low), high)
        loop.append(level)
    assert kept(least, most, 4.0) == pytest.approx(np.array(loop))


def test_a_coalition_is_named_by_its_bits():
    every = coalitions()
    assert len(every) == 32
    assert every[0] == frozenset()
    assert every[3] == {SPOT, SCALING}
    assert every[-1] == {SPOT, SCALING, ROUTING, SIZING, PACKING}


def test_nodes_that_karpenter_buys_cost_what_the_lever_expects():
    assert EXPECTED == 1.05


def test_dearer_spot_makes_the_week_dearer(market):
    kinds = tuple(replace(kind, usd_hour=kind.usd_hour * 2) for kind in market.spot)
    levers = frozenset({SPOT, SCALING, SIZING, PACKING})
    usual, dear = (
        Region(ESTATE, one, WEEK, 0.0).minutes(levers).usd_hour.mean() for one in (market, replace(market, spot=kinds))
    )
    assert dear > usual
