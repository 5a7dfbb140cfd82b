"""How good the champion is: on live forecasts when there are enough, else as the registry recorded it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from include.forecast.registry import Decision


@dataclass(frozen=True)
class Accuracy:
    """The champion's error 15 minutes ahead beside the best naive's; ``samples`` is how often it was looked at."""

    wape: float
    naive: str
    naive_wape: float
    samples: int
    source: str

    @property
    def ratio(self) -> float | None:
        """The champion's error by the best naive's; None when that one has no error at all."""
        return self.wape / self.naive_wape if self.naive_wape > 0 else None

    @property
    def note(self) -> str:
        """Both figures in words."""
        return f"WAPE {self.wape:.4f} against {self.naive_wape:.4f} of {self.naive}, {self.source}"


def recorded(decisions: Iterable[Decision], version: str) -> Accuracy | None:
    """The newest figures of ``version`` among the registry's decisions (oldest first); None when it has none."""
    for decision in reversed(list(decisions)):
        figures = decision.figures
        found = _judged(decision, figures, version) or _replayed(figures, version)
        if found is not None:
            wape, naive, naive_wape = found
            return Accuracy(wape, naive, naive_wape, 1, f"registry, on data up to {decision.as_of}")
    return None


def _judged(decision: Decision, figures: Mapping[str, Any], version: str) -> tuple[float, str, float] | None:
    """From a night's training: the version is the candidate that was judged, or the champion beside it."""
    wapes = figures.get("wape15") or {}
    own = wapes.get("candidate") if decision.version == version else wapes.get(f"champion {version}")
    naives = {n: float(v) for n, v in wapes.items() if n != "candidate" and not n.startswith("champion ")}
    if own is None or not naives:
        return None
    best = min(naives, key=lambda name: (naives[name], name))
    return float(own), best, naives[best]


def _replayed(figures: Mapping[str, Any], version: str) -> tuple[float, str, float] | None:
    """From a demotion: the version was tried on the hours in which its forerunner decayed."""
    own, best = (figures.get("alternatives") or {}).get(version), figures.get("best_naive_wape")
    return None if own is None or best is None else (float(own), str(figures["best_naive"]), float(best))
