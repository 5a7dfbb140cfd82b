from decimal import Decimal
from itertools import permutations

import numpy as np
import pytest

from include.planner.shapley import apportioned, in_order, parts


def test_two_levers_that_only_save_together_share_it_evenly():
    values = np.array([0.0, 0.0, 0.0, 100.0])
    assert parts(values).tolist() == [50.0, 50.0]
    assert in_order(values).tolist() == [0.0, 100.0]


def test_the_parts_are_the_mean_step_over_every_order():
    values = np.random.default_rng(1).uniform(-50, 200, 1 << 4)
    values[0] = 0.0
    steps = np.zeros(4)
    for order in permutations(range(4)):
        mask = 0
        for player in order:
            steps[player] += values[mask | 1 << player] - values[mask]
            mask |= 1 << player
    assert parts(values) == pytest.approx(steps / 24)
    assert parts(values).sum() == pytest.approx(values[-1])


def test_many_games_are_shared_out_at_once():
    values = np.stack([np.array([0.0, 1.0, 2.0, 5.0]), np.array([0.0, 10.0, 20.0, 30.0])])
    assert parts(values).tolist() == [[2.0, 3.0], [10.0, 20.0]]


def test_amounts_in_cents_add_up_to_the_sum_in_cents():
    assert apportioned([1 / 3, 1 / 3, 1 / 3], Decimal("1.00")) == [Decimal("0.34"), Decimal("0.33"), Decimal("0.33")]
    assert apportioned([0.005, 0.015, -0.02], Decimal("0.00")) == [Decimal("0.00"), Decimal("0.02"), Decimal("-0.02")]
    assert apportioned([], Decimal("0.00")) == []


def test_too_much_is_taken_back_from_who_was_rounded_up_most():
    assert apportioned([0.336, 0.336, 0.328], Decimal("0.99")) == [Decimal("0.33"), Decimal("0.33"), Decimal("0.33")]
