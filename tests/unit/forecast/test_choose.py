"""The choice and the promotion gate, with the reasons in words."""

from __future__ import annotations

import pytest

from include.forecast.choose import choose, promote
from include.forecast.evaluation import WapeDifference


def test_the_simplest_within_one_percent_is_chosen() -> None:
    choice = choose({"blend": 1.0, "lightgbm": 1.009, "last_week_scaled": 1.02})
    assert choice.name == "lightgbm"
    assert choice.reason == "lightgbm is simpler than blend and within 1% of it (+0.90%)"


def test_the_best_is_chosen_when_nothing_simpler_is_near() -> None:
    choice = choose({"blend": 1.0, "lightgbm": 1.011})
    assert choice.name == "blend"
    assert choice.reason == "blend has the smallest error, and nothing simpler is within 1% of it"


def test_a_tie_goes_to_the_simpler_one() -> None:
    assert choose({"blend": 1.0, "now": 1.0}).name == "now"


def test_nothing_to_choose_from() -> None:
    with pytest.raises(ValueError, match="no candidate"):
        choose({})


def test_better_than_all_by_more_than_noise_is_promoted() -> None:
    found = promote("blend", {"now": WapeDifference(-0.05, 0.01), "champion": WapeDifference(-0.03, 0.01)})
    assert found.promoted
    assert found.reason == (
        "promoted: blend is better than all of now, champion; closest is champion "
        "(WAPE difference -0.0300, standard error 0.0100)"
    )


@pytest.mark.parametrize(
    ("comparison", "word"), [(WapeDifference(-0.01, 0.01), "ties with"), (WapeDifference(0.04, 0.01), "is worse than")]
)
def test_a_tie_or_worse_is_not_promoted(comparison: WapeDifference, word: str) -> None:
    found = promote("blend", {"now": WapeDifference(-0.05, 0.01), "last_week": comparison})
    assert not found.promoted
    assert found.reason.startswith(f"not promoted: blend {word} last_week (WAPE difference")


def test_without_rivals_nothing_is_promoted() -> None:
    assert not promote("blend", {}).promoted


def test_a_naive_is_not_promoted_over_itself() -> None:
    found = promote("now", {"now": WapeDifference(0.0, 0.0), "yesterday": WapeDifference(-0.5, 0.01)})
    assert not found.promoted
    assert found.reason == "not promoted: the chosen forecast is the naive now itself, which a model must beat"
