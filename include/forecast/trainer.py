"""What trains the candidates of a night: how retraining and the watch see it, and this project's own models as such.

The network, the trees and the shapes themselves are behind :mod:`include.forecast.training` and its candidates.
"""

from __future__ import annotations

import hashlib
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from include.estate import EstateError, load_estate
from include.forecast.candidates.candidate import Candidate
from include.forecast.candidates.lstm import PROFILES
from include.forecast.candidates.trees import TreeSettings
from include.forecast.card import model_card
from include.forecast.traffic.features import TrainingWindows
from include.forecast.traffic.series import Array, TrafficSeries, window_hash
from include.forecast.training import NAIVE_NAMES, Tested, Trained, TrainingSettings, look_at_test, train_candidates

log = logging.getLogger(__name__)
PROFILE = "fast"  # of the network: fast, quick, seed, or none (no network)
NO_NETWORK = "none"  # trees, seasonal shapes and naives only: seconds instead of minutes


class RetrainError(RuntimeError):
    """A region can't be trained; the message says why and what to do. Nothing was promoted."""


@dataclass(frozen=True)
class SavedCandidate:
    """A trained candidate: its files, what kind it is and what is known of it before the test part was seen."""

    model: str
    folder: Path
    metrics: Mapping[str, Any]


class Trainer(Protocol):
    """What the models offer to the training of a night and to the watch."""

    def train(self, series: TrafficSeries, folder: Path) -> Sequence[SavedCandidate]:
        """Train on ``series`` and write files below ``folder``: the chosen candidate first, then the best naive."""

    def replay(self, folder: Path, windows: TrainingWindows) -> Array:
        """What a version whose files lie in ``folder`` says to ``windows``: [n, horizon]."""


@dataclass(frozen=True)
class CandidateTrainer:
    """Trains by ``profile``: one of the network's profiles, or ``none`` for no network."""

    profile: str = PROFILE
    trees: TreeSettings = field(default_factory=TreeSettings)

    def settings(self, series: TrafficSeries) -> TrainingSettings:
        """What is trained on ``series``, named after its region. Raises RetrainError for an unknown profile."""
        if self.profile not in {*PROFILES, NO_NETWORK}:
            raise RetrainError(f"profile {self.profile!r} is not known: use {', '.join([*PROFILES, NO_NETWORK])}")
        # A killed training goes on where it stopped when it is tried again on the same machine, data and profile.
        mark = hashlib.sha256(f"{self.profile} {window_hash(series)}".encode()).hexdigest()[:16]
        return TrainingSettings(
            country=country_of(series.name),
            trees=self.trees,
            lstm=PROFILES.get(self.profile),
            checkpoint=Path(tempfile.gettempdir()) / f"akidb-train-{mark}",
        )

    def train(self, series: TrafficSeries, folder: Path) -> Sequence[SavedCandidate]:
        """The chosen candidate, then the best naive, in folders of their own. Raises RetrainError for a refusal."""
        trained = train_candidates(series, self.settings(series))
        if trained.choice is None:
            raise RetrainError(f"{series.name}: nothing is trained: {trained.quality.refused}")
        tested = look_at_test(trained)
        naive = min(NAIVE_NAMES, key=lambda name: (trained.scores.get(name, float("inf")), name))
        log.info("%s: %s in %.0f s: %s", series.name, trained.choice.name, trained.seconds, trained.choice.reason)
        made = [_saved(trained, tested, n, folder / n) for n in dict.fromkeys([trained.choice.name, naive])]
        (made[0].folder / "card.html").write_text(model_card(trained, tested), encoding="utf-8")
        return made

    def replay(self, folder: Path, windows: TrainingWindows) -> Array:
        """P50 of a saved candidate. Raises CandidateError when it can't be used."""
        return Candidate.load(folder).forecast(windows)[0]


def _saved(trained: Trained, tested: Tested, name: str, folder: Path) -> SavedCandidate:
    trained.candidates[name].save(folder)
    result = tested.results[name]
    metrics = {
        "wape15": result.wape,
        "wape15_error": result.error,
        "mae15": result.mae,
        "best_naive": tested.best_naive,
        "best_naive_wape15": tested.results[tested.best_naive].wape,
        "horizons": [asdict(row) for row in result.horizons],
        "operational": asdict(result.operational),
        "choice": trained.choice.reason if trained.choice else "",
        "scores": dict(sorted(trained.scores.items())),
        "weights": dict(sorted(trained.weights.items())),
    }
    return SavedCandidate(name, folder, _plain(metrics))


def _plain(value: Any) -> Any:
    """JSON without numbers that JSON has not: they are null; six digits say enough."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


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
