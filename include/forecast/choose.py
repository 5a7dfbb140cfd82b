"""Which candidate is chosen, and whether it may become champion. Pure decisions with the reason in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from include.forecast.evaluation import WapeDifference

# From the simplest to the most elaborate.
SIMPLEST_FIRST = (
    "median",
    "now",
    "now_scaled",
    "yesterday",
    "yesterday_scaled",
    "last_week",
    "last_week_scaled",
    "seasonal_day",
    "seasonal_week",
    "week_median",
    "lightgbm",
    "lstm",
    "blend",
)
TOLERANCE = 0.01


@dataclass(frozen=True)
class Choice:
    """The chosen candidate and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Promotion:
    """May the candidate become champion, and why (not)?"""

    promoted: bool
    reason: str


def choose(scores: Mapping[str, float], order: Sequence[str] = SIMPLEST_FIRST, tolerance: float = TOLERANCE) -> Choice:
    """The simplest candidate whose error (smaller is better) is within ``tolerance`` of the best one's."""
    if not scores:
        raise ValueError("there is no candidate to choose from")
    best = min(scores, key=lambda name: (scores[name], order.index(name)))
    limit = scores[best] * (1.0 + tolerance)
    name = next(name for name in order if name in scores and scores[name] <= limit)
    if name == best:
        return Choice(name, f"{name} has the smallest error, and nothing simpler is within {tolerance:.0%} of it")
    above = scores[name] / scores[best] - 1.0 if scores[best] else 0.0
    return Choice(name, f"{name} is simpler than {best} and within {tolerance:.0%} of it ({above:+.2%})")


def promote(candidate: str, rivals: Mapping[str, WapeDifference]) -> Promotion:
    """``candidate`` must beat every rival (the naives, the champion) on the newest data by more than the noise."""
    if not rivals:
        return Promotion(False, f"not promoted: {candidate} was compared with nothing")
    if candidate in rivals:
        return Promotion(
            False, f"not promoted: the chosen forecast is the naive {candidate} itself, which a model must beat"
        )
    for name, comparison in rivals.items():
        if not comparison.better:
            word = "ties with" if comparison.tie else "is worse than"
            return Promotion(
                False,
                f"not promoted: {candidate} {word} {name} "
                f"(WAPE difference {comparison.difference:+.4f}, standard error {comparison.error:.4f})",
            )
    closest = max(rivals, key=lambda name: rivals[name].difference)
    gain = rivals[closest]
    return Promotion(
        True,
        f"promoted: {candidate} is better than all of {', '.join(rivals)}; closest is {closest} "
        f"(WAPE difference {gain.difference:+.4f}, standard error {gain.error:.4f})",
    )
