"""PodDisruptionBudgets watched: every moment at which one had fewer healthy pods than it asks for.

The API server remembers each state of a budget for some minutes: what came and went between two looks is read as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from include.clients.kubernetes import DISRUPTION_BUDGET
from include.levers.consolidation.settings import World
from include.levers.pods import namespace_of
from include.levers.world import Object, name_of
from include.rollout.gates import Figure

MOST_KEPT = 20  # violations that are named
CATCH_UP_SECONDS = 60.0  # the API server's memory is minutes long
SERIES = "kube_poddisruptionbudget_status_{}_healthy"  # of kube-state-metrics


@dataclass
class BudgetWatch:
    """What was seen of the budgets in every namespace from ``version`` on; JSON by :meth:`kept`."""

    version: str
    healthy: dict[str, int]
    violations: list[str] = field(default_factory=list)
    count: int = 0
    since: float = 0.0  # Unix seconds
    until: float = 0.0  # up to when everything was seen
    gap: bool = False  # something in between was forgotten before it was read

    @classmethod
    def begin(cls, world: World) -> BudgetWatch:
        """Watch from now on."""
        version = world.cluster.latest(DISRUPTION_BUDGET, None)
        found = {called(budget): healthy_of(budget) for budget in world.cluster.list(DISRUPTION_BUDGET)}
        return cls(version, found, since=world.now(), until=world.now())

    @classmethod
    def resumed(cls, kept: Mapping[str, Any]) -> BudgetWatch:
        """What :meth:`kept` gave."""
        return cls(**kept)

    def kept(self) -> dict[str, Any]:
        """As JSON."""
        return {**vars(self), "violations": list(self.violations), "healthy": dict(self.healthy)}

    def look(self, world: World) -> None:
        """Catch up, unless that was just done."""
        if world.now() - self.until >= CATCH_UP_SECONDS:
            self.catch_up(world)

    def catch_up(self, world: World) -> None:
        """Read what has happened since the last look."""
        found = world.cluster.changes_since(DISRUPTION_BUDGET, None, self.version)
        if found is None:
            self.gap, self.version = True, world.cluster.latest(DISRUPTION_BUDGET, None)
            return
        states, self.version = found
        broken, self.healthy = violations(self.healthy, states)
        self.count += len(broken)
        self.violations = [*self.violations, *broken][:MOST_KEPT]
        self.until = self.until if self.gap else world.now()

    def covered(self, now: float) -> float:
        """The share of the time since the beginning in which every state was seen."""
        return 1.0 if not self.gap else max(0.0, self.until - self.since) / max(1.0, now - self.since)


def called(budget: Object) -> str:
    """``akidb/akidb-rest``."""
    return f"{namespace_of(budget)}/{name_of(budget)}"


def healthy_of(budget: Object) -> int:
    """Its pods that are healthy."""
    return int((budget.get("status") or {}).get("currentHealthy", 0))


def violations(before: Mapping[str, int], states: Iterable[Object]) -> tuple[list[str], dict[str, int]]:
    """A line for each state with fewer healthy pods than asked for, and fewer than the state before; the last counts.

    Too few while a workload grows is no violation: nothing was taken away.
    """
    healthy, found = dict(before), []
    for budget in states:
        name, now = called(budget), healthy_of(budget)
        desired = int((budget.get("status") or {}).get("desiredHealthy", 0))
        if now < desired and now < healthy.get(name, 0):
            found.append(f"{name}: {now} healthy pods, {desired} asked for")
        healthy[name] = now
    return found, healthy


def violation_figure(world: World, kept: Mapping[str, Any] | None) -> Figure | None:
    """Violations from a stage's beginning up to now; ``kept`` is the watch as the stage has left it."""
    if kept is None:
        return None
    watch = BudgetWatch.resumed(kept)
    watch.catch_up(world)
    note = "; ".join(watch.violations[:3])
    if watch.gap and (count := _from_prometheus(world, watch)) is not None:
        return Figure(max(watch.count, count), "violations", 1, "kube-state-metrics", note, 1.0)
    source, share = "every state of the PodDisruptionBudgets", watch.covered(world.now())
    return Figure(watch.count, "violations", len(watch.healthy), source, note or _gap(watch), share)


def _gap(watch: BudgetWatch) -> str:
    return "the API server has forgotten part of it, and kube-state-metrics has no series of it" if watch.gap else ""


def _from_prometheus(world: World, watch: BudgetWatch) -> int | None:
    """Budgets that had too few healthy pods in some sample since the beginning; None without samples."""
    mine = f'region="{world.target.region}"'
    current, desired = (f"{SERIES.format(kind)}{{{mine}}}" for kind in ("current", "desired"))
    if not world.prometheus.series_exists(current):
        return None
    seconds = max(1, round(world.now() - watch.since))
    found = world.prometheus.value(f"sum(max_over_time(({current} < bool {desired})[{seconds}s:15s]))")
    return None if found is None else int(found)


def broken_now(world: World) -> int:
    """Budgets with fewer healthy pods than they ask for at this moment."""
    statuses: Sequence[Object] = [b.get("status") or {} for b in world.cluster.list(DISRUPTION_BUDGET)]
    return sum(status.get("currentHealthy", 0) < status.get("desiredHealthy", 0) for status in statuses)
