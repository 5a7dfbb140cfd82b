"""How many replicas a forecast asks for, and when to act on it. Pure.

A forecast may add capacity, never remove it: what is too much goes away by the reactive trigger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from include.estate import Estate

# P90 may lie this much above P50, as a share of it, before a forecast is too unsure to act on.
MAX_SPREAD = 0.5


@dataclass(frozen=True)
class ReplicaRule:
    """What turns QPS into replicas of a region, all its Deployments together.

    Both as times what runs now: ``act_above``, which a need must exceed to count, and ``cap``, the most at once.
    """

    replica_qps: float
    target_utilisation: float
    minimum: int
    maximum: int
    act_above: float = 1.2
    cap: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.maximum:
            raise ValueError(f"needs 1 <= minimum <= maximum replicas, not {self.minimum} and {self.maximum}")
        if self.replica_qps <= 0 or not 0 < self.target_utilisation <= 1:
            raise ValueError(
                "needs replica_qps above 0 and target_utilisation above 0 up to 1, "
                f"not {self.replica_qps} and {self.target_utilisation}"
            )


@dataclass(frozen=True)
class Recommendation:
    """``replicas`` to run, whether that is more than now because of the forecast, and why."""

    replicas: int
    acts: bool
    reason: str


def replica_rule_of(estate: Estate) -> ReplicaRule:
    """The rule of a region: the estate's bounds are those of one Deployment, a region has one for each workload."""
    scaling, count = estate.predictive_scaling, len(estate.workloads)
    return ReplicaRule(
        estate.traffic.replica_qps,
        estate.traffic.target_utilisation,
        scaling.min_replicas * count,
        scaling.max_replicas * count,
        scaling.act_above,
        scaling.cap,
    )


def need(qps: float, per_replica: float, least: int, most: int) -> int:
    """Replicas for ``qps`` requests a second at ``per_replica`` of them each, within the bounds."""
    return min(most, max(least, math.ceil(qps / per_replica)))


def needed(qps: float, rule: ReplicaRule) -> int:
    """ceil(``qps`` / (replica_qps x target_utilisation)), within the rule's bounds."""
    # What differs from a whole number by rounding alone needs no replica more.
    return need(round(qps / (rule.replica_qps * rule.target_utilisation), 9), 1.0, rule.minimum, rule.maximum)


def unsure(p50: Sequence[float], p90: Sequence[float], max_spread: float = MAX_SPREAD) -> str:
    """Why a forecast is too unsure to act on; empty when it is sure. Judged at the minute with the highest P50."""
    peak = max(range(len(p50)), key=lambda minute: p50[minute])
    if p50[peak] <= 0:
        return ""  # no traffic is ahead: nothing is asked for
    spread = p90[peak] / p50[peak] - 1
    if spread <= max_spread:
        return ""
    return f"P90 lies {spread:.0%} above P50 {peak + 1} minutes ahead, at most {max_spread:.0%} is sure"


def recommend(p50: Sequence[float], rule: ReplicaRule, current: int | None = None, doubt: str = "") -> Recommendation:
    """What ``p50`` asks for. ``current`` replicas run now (None: not known), ``doubt`` is the answer of ``unsure``.

    Without ``current`` it is the plain need: whoever acts on it applies the limits of a change.
    """
    need = needed(max(p50), rule)
    if current is None:
        return Recommendation(need, False, f"the need of {max(p50):.6g} QPS; not compared with what runs")
    floor = max(current, rule.minimum)
    if doubt:
        return Recommendation(floor, False, f"not sure: {doubt}")
    if need <= floor:
        return Recommendation(floor, False, f"{need} are needed, {floor} stay: a forecast never removes capacity")
    if need <= round(rule.act_above * floor, 9):
        return Recommendation(floor, False, f"{need} are not more than {rule.act_above:g} times {floor}")
    allowed = max(floor, math.floor(round(rule.cap * floor, 9)))
    if need > allowed:
        return Recommendation(allowed, True, f"{need} are needed, at most {rule.cap:g} times {floor} is taken at once")
    return Recommendation(need, True, f"{need} are needed, {floor} run")
