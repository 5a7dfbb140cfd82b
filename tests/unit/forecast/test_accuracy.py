"""How good the champion is, by what the registry has on record."""

from __future__ import annotations

from typing import Any

import pytest

from include.forecast import accuracy
from include.forecast.registry import Action, ChampionDecision

AS_OF = "2027-01-15T00:00:00Z"


def decision(action: Action, version: str, **figures: Any) -> ChampionDecision:
    return ChampionDecision(action, version, "", "why", AS_OF, figures)


def test_the_newest_figures_of_the_champion_count() -> None:
    promoted = decision(Action.PROMOTED, "a", wape15={"candidate": 0.1, "now": 0.3, "yesterday": 0.2})
    kept = decision(Action.KEPT, "b", wape15={"candidate": 0.3, "champion a": 0.15, "now": 0.25})
    refused = decision(Action.REFUSED, "", window="x")
    found = accuracy.recorded([promoted, kept, refused], "a")
    assert found is not None
    assert (found.wape, found.naive, found.naive_wape, found.ratio) == (0.15, "now", 0.25, pytest.approx(0.6))
    first = accuracy.recorded([promoted, refused], "a")
    assert first is not None
    assert (first.wape, first.naive) == (0.1, "yesterday")
    assert accuracy.recorded([promoted, kept], "c") is None


def test_after_a_demotion_the_successors_own_figures_count() -> None:
    demoted = decision(
        Action.DEMOTED, "n", champion_wape=0.4, alternatives={"n": 0.2}, best_naive="now", best_naive_wape=0.2
    )
    found = accuracy.recorded([demoted], "n")
    assert found is not None
    assert (found.wape, found.naive, found.ratio) == (0.2, "now", 1.0)


def test_a_naive_without_error_gives_no_ratio() -> None:
    assert accuracy.Accuracy(0.1, "now", 0.0, 1, "x").ratio is None
