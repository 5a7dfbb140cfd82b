import numpy as np

from include.planner.replicas import Policy, running_max, scaled

POLICY = Policy(qps_each=280.0, least=2, most=20, lead=15, hold=5, act_above=1.2, cap=2.0)


def _steps(*levels: tuple[int, float]) -> np.ndarray:
    return np.concatenate([np.full(minutes, qps) for minutes, qps in levels])


def test_replicas_are_the_ceiling_of_demand_by_what_one_serves_within_the_bounds():
    found = scaled(_steps((30, 0.0), (30, 2940.0), (30, 99_000.0)), POLICY)
    assert (found[0], found[45 - 6], found[-1]) == (2, 11, 20)


def test_exactly_one_replicas_worth_needs_one_and_not_two():
    assert scaled(np.full(20, 5 * 280.0), POLICY)[10] == 5


def test_the_forecast_adds_what_is_to_come_but_at_most_twice_what_runs():
    found = scaled(_steps((60, 1120.0), (60, 2940.0)), POLICY)
    assert found[44] == 4  # sixteen minutes before
    assert found[45] == 8  # cap: 2 x 4
    assert found[60] == 11


def test_a_rise_below_act_above_is_left_to_the_requests():
    found = scaled(_steps((60, 2520.0), (60, 2800.0)), POLICY)
    assert found[59] == 9
    assert found[60] == 10


def test_a_lower_need_must_last_five_minutes_and_then_halves_the_replicas_each_minute():
    found = scaled(_steps((60, 2940.0), (60, 100.0)), POLICY)
    assert found[60:70].tolist() == [11, 11, 11, 11, 11, 6, 3, 2, 2, 2]


def test_a_running_maximum_covers_its_width():
    values = np.array([1.0, 5.0, 2.0, 0.0, 0.0, 0.0])
    assert running_max(values, 3).tolist() == [1, 5, 5, 5, 2, 0]
    assert running_max(values, 3, ahead=True).tolist() == [5, 5, 2, 0, 0, 0]
    assert running_max(values, 100).tolist() == [1, 5, 5, 5, 5, 5]
