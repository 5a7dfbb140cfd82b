"""The least cost under the latency limit: a linear programme over request classes and backends (HiGHS). Pure.

What is limited is the share of each class's requests within its budget: 95 % of a mixture within 25 ms is a linear
condition, its P95 is not. What can't be kept is not hidden: the answer is then a fallback that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from include.levers.request_routing.backends import ON_DEMAND, Backend

Flows = Mapping[str, float]  # requests a second by backend


class Demand(NamedTuple):
    """Requests of one class: how many a second, and what one of them may take."""

    qps: float
    budget_ms: float


@dataclass(frozen=True)
class Decision:
    """The flow of each class; ``fallback`` says why it is not the cheapest within the limit, empty when it is."""

    flows: tuple[Flows, ...]
    fallback: str = ""

    def total(self) -> dict[str, float]:
        """Requests a second of all classes by backend."""
        return {name: sum(flow[name] for flow in self.flows) for name in self.flows[0]}


def cheapest(backends: Sequence[Backend], demands: Sequence[Demand], share: float = 0.95) -> tuple[Flows, ...] | None:
    """The cheapest flows with ``share`` of each class's requests within its budget; None when there are none.

    Backends that are not well, or whose health is not known, get nothing.
    """
    import numpy as np
    from scipy.optimize import linprog

    count, classes = len(backends), len(demands)
    prices = np.tile([float(backend.usd_million) for backend in backends], classes)
    within = np.array([[b.share_within(d.budget_ms) for b in backends] for d in demands])
    limits = [backend.capacity_qps if backend.usable else 0.0 for backend in backends]
    of_class = np.kron(np.eye(classes), np.ones(count))
    kept = np.kron(np.eye(classes), np.ones((1, count))) * (share - within).reshape(-1)
    found: Any = linprog(
        prices,
        A_ub=np.vstack([kept, np.tile(np.eye(count), classes)]),
        b_ub=np.concatenate([np.zeros(classes), limits]),
        A_eq=of_class,
        b_eq=[demand.qps for demand in demands],
        method="highs",
    )
    if found.status != 0:
        return None
    flows = np.maximum(found.x.reshape(classes, count), 0.0)
    return tuple({b.name: float(q) for b, q in zip(backends, row, strict=True)} for row in flows)


def decide(
    backends: Sequence[Backend], demands: Sequence[Demand], share: float = 0.95, last: str = ON_DEMAND
) -> Decision:
    """The cheapest flows, or the fallback: ``last`` first, then those with most requests within the budget."""
    found = cheapest(backends, demands, share)
    return Decision(found) if found is not None else _fallback(backends, demands, share, last)


def _fallback(backends: Sequence[Backend], demands: Sequence[Demand], share: float, last: str) -> Decision:
    usable = [backend for backend in backends if backend.usable]
    budget, qps = min(demand.budget_ms for demand in demands), sum(demand.qps for demand in demands)
    order = sorted(usable, key=lambda backend: (backend.name != last, -backend.share_within(budget)))
    left, given = qps, dict.fromkeys((backend.name for backend in backends), 0.0)
    for backend in order:
        given[backend.name] = min(left, backend.capacity_qps)
        left -= given[backend.name]
    given[order[0].name if order else last] += left  # it queues there, rather than being refused at the door
    flows = [{n: q * (demand.qps / qps if qps else 0.0) for n, q in given.items()} for demand in demands]
    return Decision(tuple(flows), f"{_reason(usable, demands, share)}: {last} first, then the fastest")


def _reason(usable: Sequence[Backend], demands: Sequence[Demand], share: float) -> str:
    qps, capacity = sum(demand.qps for demand in demands), sum(backend.capacity_qps for backend in usable)
    if not usable:
        return "no backend is known to be well"
    if qps > capacity:
        return f"{qps:.0f} requests/s are more than the {capacity:.0f} that backends in good health may be given"
    budgets = ", ".join(f"{demand.budget_ms:g}" for demand in demands)
    return f"no mixture has {share:.0%} of the requests within {budgets} ms"
