"""What a forecast added and nobody needed."""

from __future__ import annotations

from include.forecast.waste import Bounds, Waste, of_workload

BOUNDS = Bounds(100, 1, 10)


def test_waste_is_what_was_added_and_not_needed_within_the_lead_time() -> None:
    # 3 replicas added for two steps; the demand comes two steps later.
    demand, added = [100.0, 100.0, 300.0, 300.0], [300.0, 300.0, 0.0, 0.0]
    assert of_workload(demand, added, BOUNDS, ahead=2, hold=0) == Waste(0, 8, 0, 2, 2, 4)
    # It does not come: 2 too many in each of the first two steps.
    assert of_workload([100.0] * 4, added, BOUNDS, ahead=2, hold=0) == Waste(4, 4, 4, 2, 2, 4)
    # Replicas stay a step longer than they are wanted.
    assert of_workload([100.0] * 4, added, BOUNDS, ahead=1, hold=1) == Waste(6, 4, 6, 3, 3, 4)
    # More than the most is never added.
    assert of_workload([100.0], [5000.0], BOUNDS, ahead=0, hold=0) == Waste(9, 1, 9, 1, 1, 1)


def test_steps_without_a_value_do_not_count() -> None:
    assert of_workload([None, 100.0, None], [300.0, None, 300.0], BOUNDS, ahead=1, hold=1) == Waste()
    assert of_workload([None, 100.0], [300.0, 200.0], BOUNDS, ahead=0, hold=1) == Waste(2, 1, 2, 1, 1, 1)


def test_the_share_is_certain_or_of_the_known_steps() -> None:
    assert Waste(1, 100, 1, 10, 5, 50).share(0.05) == (0.01, 50)  # at most 1 %, whatever comes
    assert Waste(10, 100, 1, 50, 25, 50).share(0.05) == (0.02, 25)  # 10 % at most, 2 % of what is known
    assert Waste(10, 100, 0, 0, 0, 50).share(0.05) is None
    assert Waste().share(0.05) is None
    assert Waste(1, 2, 3, 4, 5, 6) + Waste(1, 1, 1, 1, 1, 1) == Waste(2, 3, 4, 5, 6, 7)
