"""What a forecast added and no demand came for, as a share of what requests alone would have taken. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from include.forecast.replicas import need


@dataclass(frozen=True)
class Bounds:
    """How requests become replicas: requests a second of one replica, and the least and most replicas."""

    per_replica: float
    least: int
    most: int


@dataclass(frozen=True)
class Waste:
    """Replica-steps: ``extra`` in all, ``judged_extra`` of the steps whose future is known, and what they compare to.

    The future of a step is known once the forecast's lead time has passed; before, its replicas may still be needed.
    """

    extra: int = 0
    base: int = 0
    judged_extra: int = 0
    judged_base: int = 0
    judged: int = 0
    steps: int = 0

    def __add__(self, other: Waste) -> Waste:
        """Both together, such as those of two workloads over the same steps."""
        return Waste(
            self.extra + other.extra,
            self.base + other.base,
            self.judged_extra + other.judged_extra,
            self.judged_base + other.judged_base,
            self.judged + other.judged,
            self.steps + other.steps,
        )

    def share(self, limit: float) -> tuple[float, int] | None:
        """The share to judge by and the steps behind it; None while nothing is certain.

        Within ``limit`` even if none of what was added lately is needed, that upper bound; else the steps that are
        known.
        """
        if self.base and self.extra / self.base <= limit:
            return self.extra / self.base, self.steps
        return (self.judged_extra / self.judged_base, self.judged) if self.judged_base else None


def of_workload(
    demand: Sequence[float | None], added: Sequence[float | None], bounds: Bounds, ahead: int, hold: int
) -> Waste:
    """One workload: its ``demand`` and what the forecast's trigger said, both in requests a second at equal steps.

    ``ahead`` is the forecast's lead time and ``hold`` how long a replica stays once wanted, in steps. Steps without a
    value don't count.
    """
    base = [None if qps is None else need(qps, bounds.per_replica, bounds.least, bounds.most) for qps in demand]
    wanted = [None if qps is None else need(qps, bounds.per_replica, bounds.least, bounds.most) for qps in added]
    found = Waste()
    for step, (own, forecast) in enumerate(zip(base, wanted, strict=True)):
        if own is None or forecast is None:
            continue
        first = max(0, step - hold)
        held = max(count for count in base[first : step + 1] if count is not None)
        kept = max(count for count in wanted[first : step + 1] if count is not None)
        needed = max(count for count in base[first : step + ahead + 1] if count is not None)
        extra, known = max(0, kept - needed), step + ahead < len(base)
        found += Waste(extra, held, extra * known, held * known, int(known), 1)
    return found
