"""Anomalies: exact medians, spreads and findings, and the refusals."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from include.cost.report.anomalies import Anomaly, DayLevel, compare_with_usual, median, same_class

DAY = dt.date(2026, 11, 18)  # a Wednesday


def weekdays(*costs: str | None, today: str | None) -> dict[dt.date, Decimal | None]:
    """Costs of the weekdays before DAY, the last one first, and of DAY; its weekend days cost 1,000."""
    found: dict[dt.date, Decimal | None] = {DAY: None if today is None else Decimal(today)}
    left, day = list(costs), DAY
    while left:
        day -= dt.timedelta(days=1)
        if day.weekday() >= 5:
            found[day] = Decimal(1000)
        else:
            cost = left.pop(0)
            found[day] = None if cost is None else Decimal(cost)
    return found


def test_a_day_is_compared_with_the_median_of_its_class_in_median_deviations() -> None:
    found = compare_with_usual(DAY, weekdays("90", "100", "110", "95", "105", "100", "100", today="130"))
    # Median 100; deviations 10, 0, 10, 5, 5, 0, 0: their median 5 x 1.4826.
    assert (found.usual, found.spread, found.days) == (Decimal(100), Decimal("7.4130"), 7)
    assert found.score is not None
    assert found.score.quantize(Decimal("0.0001")) == Decimal("4.0469")
    assert found.finding is DayLevel.HIGH


@pytest.mark.parametrize(
    ("today", "finding"),
    [
        ("126", DayLevel.HIGH),
        ("125.9", DayLevel.NORMAL),
        ("74.1", DayLevel.NORMAL),
        ("74", DayLevel.LOW),
    ],
)
def test_high_and_low_begin_at_three_and_a_half_spreads(today: str, finding: DayLevel) -> None:
    history = weekdays("90", "100", "110", "95", "105", "100", "100", today=today)
    assert compare_with_usual(DAY, history).finding is finding


def test_one_old_spike_does_not_hide_the_next() -> None:
    found = compare_with_usual(DAY, weekdays("100", "101", "5000", "99", "100", "101", "99", today="150"))
    assert (found.finding, found.usual) == (DayLevel.HIGH, Decimal(100))


def test_a_cost_that_never_varies_is_an_anomaly_from_three_and_a_half_percent_on() -> None:
    same = ["20"] * 8
    assert compare_with_usual(DAY, weekdays(*same, today="20.70")).finding is DayLevel.NORMAL
    assert compare_with_usual(DAY, weekdays(*same, today="20.71")).finding is DayLevel.HIGH


def test_nothing_costs_nothing_usually() -> None:
    assert compare_with_usual(DAY, weekdays(*["0"] * 7, today="0")).finding is DayLevel.NORMAL
    assert compare_with_usual(DAY, weekdays(*["0"] * 7, today="0.04")).finding is DayLevel.HIGH


def test_fewer_than_seven_known_days_of_the_class_give_no_answer() -> None:
    history = weekdays("100", "100", None, "100", "100", "100", "100", today="900")
    assert compare_with_usual(DAY, history) == Anomaly(DayLevel.UNKNOWN, Decimal(900), 6)


def test_an_unknown_day_gets_no_finding() -> None:
    assert compare_with_usual(DAY, weekdays(*["100"] * 7, today=None)) == Anomaly(DayLevel.UNKNOWN, None, 7)


def test_only_four_weeks_of_the_same_class_count() -> None:
    days = [DAY - dt.timedelta(days=n) for n in range(40)]
    found = same_class(DAY, days)
    assert len(found) == 20
    assert found[0] == dt.date(2026, 10, 21)
    assert {day.weekday() for day in found} == {0, 1, 2, 3, 4}
    saturdays_and_sundays = same_class(dt.date(2026, 11, 21), days)
    assert {day.weekday() for day in saturdays_and_sundays} == {5, 6}
    assert saturdays_and_sundays[0] == dt.date(2026, 10, 24)


def test_median() -> None:
    assert median([Decimal(3), Decimal(1), Decimal(2)]) == Decimal(2)
    assert median([Decimal(4), Decimal(1), Decimal(2), Decimal(3)]) == Decimal("2.5")
    with pytest.raises(ValueError, match="no value has no median"):
        median([])
