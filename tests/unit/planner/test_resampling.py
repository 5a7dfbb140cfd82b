import numpy as np
import pytest

from include.estate import load_estate
from include.planner.resampling import drawn, percentiles, resample
from include.planner.simulation import World
from include.planner.traffic import planned
from include.planner.usage import load_usage
from include.prices import load_aws_book

WEEKEND = np.array([True, False, False, False, False, False, True] * 2)


def test_a_drawn_month_has_as_many_weekend_days_as_the_month_itself():
    counts = drawn(WEEKEND, 50, np.random.default_rng(1))
    assert set(counts[:, WEEKEND].sum(axis=1)) == {4.0}
    assert set(counts[:, ~WEEKEND].sum(axis=1)) == {10.0}


def test_months_without_variety_differ_by_interruptions_alone():
    estate = load_estate().slice("us-east-1")
    traffic = planned(estate, days=7)
    found = World(estate, traffic, load_aws_book(estate), load_usage()).simulate(range(32))
    months = resample(found, traffic, 400, seed=3)
    assert months.requests == pytest.approx(np.ones(400))
    saved = float(found.month()[0] - found.month()[-1])
    assert months.parts.sum(axis=1).mean() == pytest.approx(saved, rel=1e-3)
    assert months.parts.sum(axis=1).std() > 0


def test_percentiles_of_a_hundred_and_one_values():
    assert percentiles(np.arange(101.0)) == (10.0, 50.0, 90.0)
