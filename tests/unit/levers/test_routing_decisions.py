"""Who serves which requests: the plan's rule, the least cost under the latency limit, and the weights made of it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from include.levers.request_routing.backends import (
    Backend,
    Latency,
    joined,
    mixture_p95,
    mixture_share,
    usd_million,
)
from include.levers.request_routing.optimum import Demand, cheapest, decide
from include.levers.request_routing.rule import Room, by_rule, by_weights, rule_flows
from include.levers.request_routing.weights import (
    healed,
    next_weights,
    on_the_way,
    problems,
    prompt_qps,
    record_weight,
    whole,
)

PODS = Latency(1.5, 4.5, 10)
JETSON = Backend("jetson", Decimal("0.8"), 1320, (Latency(9, 18),))
SPOT = Backend("spot", Decimal("2.0"), 480, (PODS,))
LAMBDA = Backend("lambda", Decimal("4.2"), 20_000, (Latency(28, 45),))
ON_DEMAND = Backend("on_demand", Decimal("6.0"), 20_000, (PODS,))
FOUR = (JETSON, SPOT, LAMBDA, ON_DEMAND)
NAMES = [backend.name for backend in FOUR]


def flows(qps: float, budget_ms: float, backends: tuple[Backend, ...] = FOUR) -> dict[str, float]:
    return {name: round(flow, 3) for name, flow in decide(backends, [Demand(qps, budget_ms)]).total().items()}


# Latencies ------------------------------------------------------------------------------------------------------------


def test_95_percent_are_within_the_p95_and_half_within_the_median_and_the_network_comes_on_top() -> None:
    assert JETSON.share_within(18) == pytest.approx(0.95)
    assert JETSON.share_within(9) == pytest.approx(0.5)
    assert SPOT.share_within(14.5) == pytest.approx(0.95)
    assert SPOT.share_within(10) == 0.0


def test_the_p95_of_a_mixture_is_no_mean_of_the_p95s() -> None:
    half = {"jetson": 1.0, "lambda": 1.0}
    assert mixture_p95({"jetson": 1.0}, FOUR) == 18.0
    assert mixture_p95(half, FOUR) == 40.54  # the mean would be 31.5
    assert mixture_share(half, FOUR, 40.54) == pytest.approx(0.95, abs=1e-4)
    assert usd_million(half, FOUR) == Decimal("2.5")


def test_backends_behind_one_service_are_one_whose_price_is_their_mean_by_capacity() -> None:
    spot, on_demand = replace(SPOT, capacity_qps=11), replace(ON_DEMAND, capacity_qps=4)
    pods = joined("akidb-rest", [spot, on_demand], 4200)
    assert (round(pods.usd_million, 4), pods.capacity_qps, pods.latencies, pods.usable) == (
        Decimal("3.0667"), 4200, (PODS,), True,
    )  # fmt: skip
    assert joined("s", [replace(spot, healthy=None), replace(on_demand, healthy=False)], 1).healthy is None
    assert joined("s", [replace(spot, healthy=False), replace(on_demand, healthy=False)], 1).healthy is False


# The plan's rule ------------------------------------------------------------------------------------------------------


def test_the_rule_gives_each_request_its_backend_in_the_order_of_the_requests() -> None:
    second, room = np.array([0, 0, 0, 0, 0, 0, 1]), Room(jetson=1, spot=2)
    budget = np.array([25.0, 24.9, 30.0, 50.0, 49.9, 20.0, 100.0])
    chosen = [NAMES[n] for n in by_rule(second, budget, room)]
    assert chosen == ["jetson", "spot", "spot", "lambda", "on_demand", "on_demand", "jetson"]


def test_the_rule_keeps_80_percent_of_1650_and_of_600_and_starts_anew_each_second() -> None:
    second = np.repeat([0, 1], 3000)
    counts = np.bincount(by_rule(second, np.full(6000, 30.0), Room()), minlength=4)
    assert counts.tolist() == [2640, 960, 0, 2400]
    patient = np.bincount(by_rule(second[:3000], np.full(3000, 60.0), Room()), minlength=4)
    assert patient.tolist() == [1320, 480, 1200, 0]
    assert by_rule(np.array([], dtype=int), np.array([]), Room()).tolist() == []


def test_a_backend_that_is_not_well_gets_nothing_from_the_rule() -> None:
    counts = np.bincount(by_rule(np.zeros(100, dtype=int), np.full(100, 30.0), Room(jetson=0)), minlength=4)
    assert counts.tolist() == [0, 100, 0, 0]


def test_the_rule_over_flows_is_the_rule_over_requests() -> None:
    found = rule_flows(np.array([1000.0, 2500.0]), [0.25, 0.75], [20.0, 30.0], Room())
    assert found.shape == (2, 4, 2)
    assert found.sum(axis=0)[:, 0].tolist() == [750, 250, 0, 0]
    assert found.sum(axis=0)[:, 1].tolist() == pytest.approx([1320, 480, 0, 700])


def test_weights_pick_a_backend_by_draws() -> None:
    assert by_weights(np.array([0.0, 0.0999, 0.1, 0.5, 0.999]), [1, 0, 9]).tolist() == [0, 0, 2, 2, 2]


# The least cost -------------------------------------------------------------------------------------------------------


def test_the_cheapest_come_first_up_to_their_room_and_the_slack_of_the_fast_is_spent_on_a_cheaper_slow_one() -> None:
    assert flows(1000, 30) == {"jetson": 1000.0, "spot": 0.0, "lambda": 0.0, "on_demand": 0.0}
    assert flows(1800, 30) == {"jetson": 1320.0, "spot": 480.0, "lambda": 0.0, "on_demand": 0.0}
    assert flows(2500, 30) == {"jetson": 1320.0, "spot": 480.0, "lambda": 301.202, "on_demand": 398.798}
    assert flows(2500, 60) == {"jetson": 1320.0, "spot": 480.0, "lambda": 700.0, "on_demand": 0.0}


def test_exactly_95_percent_keep_to_the_budget_where_the_limit_binds() -> None:
    (found,) = cheapest(FOUR, [Demand(2500, 30)]) or ({},)
    assert mixture_share(found, FOUR, 30) == pytest.approx(0.95, abs=1e-6)


def test_each_class_keeps_to_its_own_budget_and_all_share_the_room() -> None:
    found = cheapest(FOUR, [Demand(500, 20), Demand(1000, 30), Demand(500, 100)])
    assert found is not None
    for flow, budget in zip(found, (20, 30, 100), strict=True):
        assert mixture_share(flow, FOUR, budget) >= 0.95 - 1e-6
    assert sum(flow["jetson"] for flow in found) == pytest.approx(1320)
    assert sum(flow["spot"] for flow in found) == pytest.approx(480)


@pytest.mark.parametrize("health", [False, None])
def test_who_is_not_known_to_be_well_gets_nothing(health: bool | None) -> None:
    found = flows(1000, 30, (replace(JETSON, healthy=health), *FOUR[1:]))
    assert (found["jetson"], found["spot"]) == (0.0, 480.0)


def test_what_no_mixture_keeps_is_a_fallback_that_says_so() -> None:
    late = decide(FOUR, [Demand(500, 8)])
    assert late.total() == {"jetson": 0.0, "spot": 0.0, "lambda": 0.0, "on_demand": 500.0}
    assert late.fallback == "no mixture has 95% of the requests within 8 ms: on_demand first, then the fastest"
    small = (JETSON, SPOT, replace(LAMBDA, healthy=None), replace(ON_DEMAND, capacity_qps=100))
    full = decide(small, [Demand(2500, 30)])
    assert full.total() == {"jetson": 1320.0, "spot": 480.0, "lambda": 0.0, "on_demand": 700.0}
    assert full.fallback.startswith("2500 requests/s are more than the 1900 that backends in good health may be given")
    none = decide([replace(backend, healthy=None) for backend in FOUR], [Demand(10, 30)])
    assert (none.total()["on_demand"], none.fallback[:36]) == (10.0, "no backend is known to be well: on_d")


# Weights --------------------------------------------------------------------------------------------------------------


def test_weights_are_whole_and_keep_the_limit_that_the_flows_keep() -> None:
    found = whole(flows(2500, 30), FOUR, 30)
    assert found == {"jetson": 5280, "spot": 1920, "lambda": 1204, "on_demand": 1596}
    assert mixture_share(found, FOUR, 30) >= 0.95
    thirds = whole({"jetson": 1.0, "spot": 1.0, "lambda": 1.0, "on_demand": 0.0}, FOUR, 30)
    assert thirds == {"jetson": 3333, "spot": 3334, "lambda": 3333, "on_demand": 0}


def test_what_rounding_leaves_goes_to_the_fastest_that_has_room() -> None:
    full = (replace(JETSON, capacity_qps=1), replace(SPOT, capacity_qps=1), replace(LAMBDA, capacity_qps=9), ON_DEMAND)
    found = whole({"jetson": 1.0, "spot": 1.0, "lambda": 1.0, "on_demand": 0.0}, full, 30)
    assert found == {"jetson": 3333, "spot": 3333, "lambda": 3333, "on_demand": 1}


def test_a_tenth_of_the_way_adds_up_too() -> None:
    after = {"jetson": 1497, "pods": 8503, "lambda": 0}
    assert on_the_way({"pods": 10_000}, after, 0.1) == {"jetson": 150, "pods": 9850, "lambda": 0}
    assert on_the_way({"pods": 1}, after, 1.0) == after


def test_weights_of_who_is_not_well_go_to_the_last_at_once() -> None:
    assert healed({"jetson": 15, "lambda": 5, "pods": 80}, ["jetson"], "pods") == {"jetson": 0, "lambda": 5, "pods": 95}
    assert healed({"jetson": 15, "pods": 85}, ["pods"], "pods") == {"jetson": 15, "pods": 85}


def test_weights_that_stand_stay_until_others_save_enough() -> None:
    demand = Demand(1000, 30)
    dear = {"jetson": 9000, "spot": 1000, "lambda": 0, "on_demand": 0}
    assert usd_million(dear, FOUR) == Decimal("0.92")  # 0.8 would save 13 %
    assert next_weights(dear, FOUR, demand, 0.95, 0.14, "on_demand")[0] == dear
    assert next_weights(dear, FOUR, demand, 0.95, 0.13, "on_demand")[0]["jetson"] == 10_000


def test_weights_that_stand_go_when_they_no_longer_serve() -> None:
    all_jetson = {"jetson": 10_000, "spot": 0, "lambda": 0, "on_demand": 0}
    assert problems(all_jetson, FOUR, Demand(1320, 30), 0.95) == []
    assert problems(all_jetson, FOUR, Demand(2000, 30), 0.95) == ["jetson would get 2000 of the 1320 requests/s"]
    assert problems(all_jetson, FOUR, Demand(10, 15), 0.95) == ["88.73% within 15 ms"]
    ill = (replace(JETSON, healthy=False), *FOUR[1:])
    assert problems(all_jetson, ill, Demand(10, 30), 0.95) == ["jetson is not known to be well"]
    assert problems({"gone": 1}, FOUR, Demand(10, 30), 0.95) == ["gone may not be given requests"]
    moved, _ = next_weights(all_jetson, ill, Demand(400, 30), 0.95, 0.9, "on_demand")
    assert moved == {"jetson": 0, "spot": 10_000, "lambda": 0, "on_demand": 0}


def test_a_region_weighs_as_much_more_as_its_backends_serve_more_than_its_pods() -> None:
    assert prompt_qps(FOUR, 25, 0.95) == 1320 + 480 + 20_000  # Lambda's P95 is 45 ms
    assert record_weight(100, 6040, 5600, None) == 108
    assert record_weight(1, 6040, 5600, None) == 1
    assert record_weight(250, 6040, 5600, None) == 255  # Route 53 has no larger one
    assert record_weight(100, 6040, 5600, 104) == 104  # near enough: it stays
    assert record_weight(100, 9000, 5600, 104) == 161
    assert record_weight(100, 500, 0, None) == 100
    assert [record_weight(0, 6040, pods, standing) for pods in (0, 5600) for standing in (None, 108)] == [0] * 4
