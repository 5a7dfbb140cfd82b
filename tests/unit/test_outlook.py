"""What the planner's month says of a lever, as an approval shows it."""

from __future__ import annotations

from include.estate import load_estate
from include.planner.errors import rehearsed_error
from include.wiring.outlook import outlook_of


def test_a_lever_of_the_week_has_its_percentiles_in_the_books_of_list_prices_and_the_rehearsed_error() -> None:
    found = outlook_of(load_estate())("cost_monitoring")
    # What the platform costs does not hang on traffic or interruptions.
    assert found.text == "P50 -$620.00, P90 -$620.00 (price book aws); its error was never rehearsed"
    spot = outlook_of(load_estate())("spot_capacity")
    assert spot.p50 is not None
    assert spot.p90 is not None
    assert 0 < spot.p50 <= spot.p90
    assert spot.error == rehearsed_error("spot_capacity")


def test_a_lever_that_is_no_part_of_the_month_says_so_and_nothing_is_simulated() -> None:
    assert outlook_of(None)("game_day").text == "not known: game_day is no part of the month's simulation"  # type: ignore[arg-type]
