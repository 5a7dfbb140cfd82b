"""The plan's rule for one request after the other, over whole seconds of requests at once (NumPy). Pure.

Jetson if the budget allows 25 ms and it has room; else spot if it has room; else Lambda if the budget allows 50 ms;
else on demand. Room is 80 % of 1,650 and of 600 requests a second in the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.levers.request_routing.backends import JETSON, LAMBDA, NAMES, ON_DEMAND, SPOT

if TYPE_CHECKING:
    from numpy.typing import NDArray

JETSON_BUDGET_MS, LAMBDA_BUDGET_MS = 25.0, 50.0


@dataclass(frozen=True)
class Room:
    """Requests a second that may be given to a backend, its headroom taken off; 0 for one that is not well."""

    jetson: float = 0.8 * 1650
    spot: float = 0.8 * 600


def by_rule(second: NDArray[Any], budget_ms: NDArray[Any], room: Room) -> NDArray[Any]:
    """The backend of each request, as an index into NAMES (int8).

    ``second`` (whole numbers, not falling) tells in which second a request comes, ``budget_ms`` what it may take; both
    are of one length. Requests are given out in their order.
    """
    import numpy as np

    chosen = np.full(len(second), NAMES.index(ON_DEMAND), dtype=np.int8)
    chosen[budget_ms >= LAMBDA_BUDGET_MS] = NAMES.index(LAMBDA)
    patient = budget_ms >= JETSON_BUDGET_MS
    to_jetson = patient & (_nth(patient, second) <= room.jetson)
    others = ~to_jetson
    chosen[others & (_nth(others, second) <= room.spot)] = NAMES.index(SPOT)
    chosen[to_jetson] = NAMES.index(JETSON)
    return chosen


def _nth(mask: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """For each request, how many of ``mask`` have come in its second up to it."""
    import numpy as np

    count = np.cumsum(mask, dtype=np.int64)
    begins = np.flatnonzero(np.concatenate(([True], second[1:] != second[:-1]))) if len(second) else np.array([], int)
    before = np.concatenate(([0], count))[begins]
    earlier: NDArray[Any] = np.repeat(before, np.diff(np.concatenate((begins, [len(second)]))))
    found: NDArray[Any] = count - earlier
    return found


def by_weights(draws: NDArray[Any], weights: Sequence[float]) -> NDArray[Any]:
    """The backend of each request by ``draws`` from 0 up to 1: an index into ``weights``, whose sum is not 0."""
    import numpy as np

    edges = np.cumsum(np.asarray(weights, dtype=float))
    return np.searchsorted(edges / edges[-1], draws, side="right").astype(np.int8)


def rule_flows(qps: NDArray[Any], shares: Sequence[float], budgets_ms: Sequence[float], room: Room) -> NDArray[Any]:
    """What the rule gives to each backend, requests a second, shape (classes, backends, moments).

    ``qps`` is all demand at each moment; class k is ``shares[k]`` of it and may take ``budgets_ms[k]``. Requests of all
    classes come mixed, so that each class gets its part of what there is room for.
    """
    import numpy as np

    demand = np.outer(np.asarray(shares, dtype=float), qps)
    budgets = np.asarray(budgets_ms, dtype=float)[:, None]
    to_jetson = _up_to(np.where(budgets >= JETSON_BUDGET_MS, demand, 0.0), room.jetson)
    to_spot = _up_to(demand - to_jetson, room.spot)
    rest = demand - to_jetson - to_spot
    to_lambda = np.where(budgets >= LAMBDA_BUDGET_MS, rest, 0.0)
    flows = {JETSON: to_jetson, SPOT: to_spot, LAMBDA: to_lambda, ON_DEMAND: rest - to_lambda}
    return np.stack([flows[name] for name in NAMES], axis=1)


def _up_to(demand: NDArray[Any], most: float) -> NDArray[Any]:
    """At each moment the same part of every class's demand, at most ``most`` in all."""
    import numpy as np

    total = demand.sum(axis=0)
    part = np.minimum(1.0, np.divide(most, total, out=np.ones_like(total), where=total > 0))
    kept: NDArray[Any] = demand * part
    return kept
