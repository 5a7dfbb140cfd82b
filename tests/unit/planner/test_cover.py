from decimal import Decimal

import numpy as np
import pytest

from include.levers.nodes.optimum import Offer, Shape, optimum
from include.planner.cover import Kind, cover, fillings, useful
from include.planner.sizes import Size

GIB = 2**30
SMALL, LARGE = Kind("small", 0.05, 3770, 6 * GIB, 0.1), Kind("large", 0.09, 7760, 14 * GIB, 0.2)
POD = Size(1000, 2 * GIB)


def test_three_pods_take_the_small_node_and_seven_the_large_one():
    found = cover([SMALL, LARGE], [POD], (8,))
    assert found.usd_hour.tolist() == pytest.approx([0, 0.05, 0.05, 0.05, 0.09, 0.09, 0.09, 0.09, 0.14])
    assert found.nodes.tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 2]
    assert found.interruptions.tolist() == pytest.approx([0, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2, 0.3])


def test_among_equal_prices_the_fewest_nodes_are_taken():
    twice = Kind("twice", 0.10, 7760, 14 * GIB)
    assert cover([SMALL, twice], [POD], (6,)).nodes[6] == 1


def test_pods_that_no_node_holds_have_no_price():
    assert np.isinf(cover([SMALL], [Size(9000, GIB)], (1,)).usd_hour[1])


def test_a_filling_is_one_that_takes_no_pod_more():
    assert fillings(SMALL, [Size(1000, GIB), Size(2000, GIB)], (3, 3)) == [(1, 1), (3, 0)]


def test_kinds_that_another_one_undercuts_are_left_out():
    worse = Kind("worse", 0.06, 3770, 6 * GIB)
    assert [kind.name for kind in useful([worse, LARGE, SMALL])] == ["small", "large"]


@pytest.mark.parametrize("seed", range(12))
def test_the_price_is_that_of_the_integer_programme_of_the_lever(seed):
    random = np.random.default_rng(seed)
    sizes = [Size(int(random.integers(300, 1500)), int(random.integers(1, 4)) * GIB) for _ in range(2)]
    prices, cpus, memories = random.uniform(0.03, 0.3, 5), random.integers(1800, 8000, 5), random.integers(4, 30, 5)
    rows = enumerate(zip(prices.tolist(), cpus.tolist(), memories.tolist(), strict=True))
    kinds = [Kind(f"k{n}", round(usd, 4), cpu, memory * GIB) for n, (usd, cpu, memory) in rows]
    counts = tuple(int(n) for n in random.integers(1, 7, 2))
    shapes = [Shape(f"w{n}", s.cpu, s.memory, c) for n, (s, c) in enumerate(zip(sizes, counts, strict=True))]
    offers = [Offer(k.name, "d", "z", k.cpu, k.memory, Decimal(repr(k.usd_hour))) for k in kinds]
    exact = optimum(shapes, offers)
    assert exact is not None
    assert exact.exact
    found = cover(kinds, sizes, counts)
    assert found.usd_hour[counts] == pytest.approx(float(exact.usd_hour))
    assert found.nodes[counts] == len(exact.nodes)
