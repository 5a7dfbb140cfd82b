"""How good the champion is: on live forecasts when there are enough, else as the registry recorded it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.forecast.registry import ChampionDecision, Registry

if TYPE_CHECKING:
    from include.clients.prometheus import Prometheus
    from include.estate import Estate


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


def champion_accuracy(registry: Registry, prometheus: Prometheus, estate: Estate, now: float) -> Accuracy | None:
    """The champion's accuracy: live when half a day of its forecasts can be judged, else as recorded."""
    version = registry.pointer().version
    if not version:
        return None
    found = live(prometheus, estate, registry.region, version, now)
    return found or recorded(registry.history(), version)


def live(prometheus: Prometheus, estate: Estate, region: str, version: str, now: float) -> Accuracy | None:
    """What ``version`` forecast in the last day against what came; None while that is too little."""
    from include.forecast import watch  # numpy: not at a DAG's parse

    limits = watch.AssessmentLimits()
    served = watch.recent_forecasts(prometheus, region, version, now)
    if len(served.own) < limits.least_minutes:
        return None
    found = watch.assess(watch.recent_traffic(prometheus, estate, region, now), served, limits)
    if found.champion_wape is None or found.best_naive_wape is None:
        return None
    source = f"live forecasts of the last {watch.HOURS} h"
    return Accuracy(found.champion_wape, found.best_naive, found.best_naive_wape, found.minutes, source)


def recorded(decisions: Iterable[ChampionDecision], version: str) -> Accuracy | None:
    """The newest figures of ``version`` among the registry's decisions (oldest first); None when it has none."""
    for decision in reversed(list(decisions)):
        figures = decision.figures
        found = _judged(decision, figures, version) or _replayed(figures, version)
        if found is not None:
            wape, naive, naive_wape = found
            return Accuracy(wape, naive, naive_wape, 1, f"registry, on data up to {decision.as_of}")
    return None


def _judged(decision: ChampionDecision, figures: Mapping[str, Any], version: str) -> tuple[float, str, float] | None:
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
