"""From a forecast to replicas: exact values, and when nothing is done."""

from __future__ import annotations

import pytest

from include.estate import load_estate
from include.forecast.replicas import Recommendation, ReplicaRule, needed, recommend, replica_rule_of, unsure

PLAN = ReplicaRule(replica_qps=350, target_utilisation=0.8, minimum=2, maximum=20)


@pytest.mark.parametrize(
    ("qps", "replicas"),
    [(0, 2), (560, 2), (560.001, 3), (2800, 10), (2800.0000000001, 10), (5600, 20), (5601, 20), (1e12, 20)],
)
def test_replicas_are_the_need_rounded_up_within_the_bounds(qps: float, replicas: int) -> None:
    assert needed(qps, PLAN) == replicas


def test_the_bounds_of_a_region_are_those_of_its_deployments_together() -> None:
    assert replica_rule_of(load_estate()) == ReplicaRule(350, 0.8, 4, 40, 1.2, 2.0)


@pytest.mark.parametrize(
    ("peak", "current", "doubt", "expected"),
    [
        (2800, None, "", Recommendation(10, False, "the need of 2800 QPS; not compared with what runs")),
        (2800, None, "thin", Recommendation(10, False, "the need of 2800 QPS; not compared with what runs")),
        (2800, 8, "", Recommendation(10, True, "10 are needed, 8 run")),
        (2800, 9, "", Recommendation(9, False, "10 are not more than 1.2 times 9")),
        (3360, 10, "", Recommendation(10, False, "12 are not more than 1.2 times 10")),
        (3361, 10, "", Recommendation(13, True, "13 are needed, 10 run")),
        (2800, 4, "", Recommendation(8, True, "10 are needed, at most 2 times 4 is taken at once")),
        (2800, 15, "", Recommendation(15, False, "10 are needed, 15 stay: a forecast never removes capacity")),
        (9999, 25, "", Recommendation(25, False, "20 are needed, 25 stay: a forecast never removes capacity")),
        (2800, 0, "", Recommendation(4, True, "10 are needed, at most 2 times 2 is taken at once")),
        (2800, 5, "P90 is far", Recommendation(5, False, "not sure: P90 is far")),
        (2800, 1, "P90 is far", Recommendation(2, False, "not sure: P90 is far")),
    ],
)
def test_a_change_is_made_only_upwards_above_a_fifth_at_most_double_and_sure(
    peak: float, current: int | None, doubt: str, expected: Recommendation
) -> None:
    assert recommend([100.0, peak, 50.0], PLAN, current, doubt) == expected


def test_sure_is_judged_at_the_peak() -> None:
    assert unsure([10.0, 100.0], [90.0, 150.0]) == ""
    assert unsure([10.0, 100.0], [11.0, 151.0]) == "P90 lies 51% above P50 2 minutes ahead, at most 50% is sure"
    assert unsure([10.0, 100.0], [11.0, 151.0], max_spread=0.6) == ""
    assert unsure([0.0, 0.0], [5.0, 5.0]) == ""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((350, 0.8, 0, 20), "needs 1 <= minimum <= maximum replicas, not 0 and 20"),
        ((350, 0.8, 21, 20), "needs 1 <= minimum <= maximum replicas, not 21 and 20"),
        ((0, 0.8, 2, 20), "needs replica_qps above 0 and target_utilisation above 0 up to 1, not 0 and 0.8"),
        ((350, 1.1, 2, 20), "needs replica_qps above 0 and target_utilisation above 0 up to 1, not 350 and 1.1"),
    ],
)
def test_an_impossible_rule_is_refused(values: tuple[float, float, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReplicaRule(*values)
