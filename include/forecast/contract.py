"""What a night's training asks of the models, and what both sides share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from include.estate import EstateError, load_estate

if TYPE_CHECKING:
    from include.forecast.traffic.features import Windows
    from include.forecast.traffic.series import Array, Series

PROFILE = "fast"  # of the network: fast, quick, seed, or none (no network)


class RetrainError(RuntimeError):
    """A region can't be trained; the message says why and what to do. Nothing was promoted."""


@dataclass(frozen=True)
class Made:
    """A trained candidate: its files, what kind it is and what is known of it before the test part was seen."""

    model: str
    folder: Path
    metrics: Mapping[str, Any]


class Workshop(Protocol):
    """What the models offer to the training of a night and to the watch."""

    def train(self, series: Series, folder: Path) -> Sequence[Made]:
        """Train on ``series`` and write files below ``folder``: the chosen candidate first, then the best naive."""

    def replay(self, folder: Path, windows: Windows) -> Array:
        """What a version whose files lie in ``folder`` says to ``windows``: [n, horizon]."""


def country_of(region: str) -> str | None:
    """The country whose public holidays a region's traffic follows, by the estate; None where only weekends count.

    Raises EstateError for a country without a calendar.
    """
    import holidays

    found = load_estate().regions.get(region)
    country = found.holidays if found else None
    if country is not None and country not in holidays.list_supported_countries():
        raise EstateError(
            f"estate.yaml: regions.{region}.holidays is {country}, which has no calendar: use a code such as US, "
            "or leave it out"
        )
    return country
