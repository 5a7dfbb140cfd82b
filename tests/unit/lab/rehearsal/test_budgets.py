"""When a disruption budget counts as violated."""

from __future__ import annotations

from typing import Any

import pytest

from lab.rehearsal.budgets import BudgetWatch


def budget(healthy: int, demanded: int, name: str = "akidb-rest") -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"currentHealthy": healthy, "desiredHealthy": demanded}}


@pytest.mark.parametrize(
    ("moments", "violations"),
    [
        ([(15, 11), (11, 11), (15, 11)], []),
        ([(15, 11), (10, 11)], ["akidb-rest: 10 healthy of 11 demanded"]),
        # One moment, however many events it has; a second one after it was kept again.
        ([(15, 11), (10, 11), (9, 11), (11, 11), (10, 11)], ["10 of 11", "10 of 11"]),
        # Not healthy yet: pods that have never been there are nobody's violation.
        ([(0, 11), (5, 11), (11, 11)], []),
        # An autoscaler asks for more: the demand rises, and no pod has gone.
        ([(11, 8), (11, 15), (15, 15)], []),
        ([(11, 8), (7, 15)], ["7 of 15"]),
        # It asks for less, and more go than may.
        ([(15, 11), (7, 8)], ["7 of 8"]),
    ],
)
def test_a_budget_is_violated_when_it_was_kept_and_healthy_pods_fall_below_it(
    moments: list[tuple[int, int]], violations: list[str]
) -> None:
    watch = BudgetWatch()
    watch.replace([budget(*moments[0])])
    for moment in moments[1:]:
        watch.event("MODIFIED", budget(*moment))
    assert watch.count() == len(violations)
    short = [text.replace("akidb-rest: ", "").replace(" healthy", "").replace(" demanded", "") for text in violations]
    told = [t.replace("akidb-rest: ", "").replace(" healthy", "").replace(" demanded", "") for t in watch.violations]
    assert told == short


def test_a_watch_that_has_read_nothing_knows_nothing() -> None:
    watch = BudgetWatch()
    assert watch.count() is None
    watch.replace([])
    assert watch.count() == 0


def test_a_budget_without_status_or_deleted_is_no_violation() -> None:
    watch = BudgetWatch()
    watch.replace([budget(15, 11), {"metadata": {"name": "new"}}])
    watch.event("DELETED", budget(0, 11))
    watch.event("ADDED", budget(0, 11))
    assert watch.violations == []
