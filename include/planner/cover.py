"""The cheapest nodes for so many pods of each workload in one domain: exact, by dynamic programming. Pure.

The same optimum as include/levers/nodes/optimum.py finds by integer programming for one domain and zone; here
for every number of pods at once, because a month has many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from include.planner.sizes import Size

Floats = npt.NDArray[np.float64]
Counts = tuple[int, ...]
NODE_WEIGHT = 1e-6  # USD an hour that a node more may cost: decides among equal prices alone


@dataclass(frozen=True)
class Kind:
    """A kind of node to be had: USD an hour, what it leaves for pods, and interruptions a month of one such node."""

    name: str
    usd_hour: float
    cpu: int
    memory: int
    interruptions: float = 0.0


@dataclass(frozen=True)
class Cover:
    """By pods of each workload: USD an hour, nodes and interruptions a month, [n1 + 1, n2 + 1, ...]; inf: no way."""

    usd_hour: Floats
    nodes: Floats
    interruptions: Floats


def fillings(kind: Kind, sizes: Sequence[Size], most: Counts) -> list[Counts]:
    """Every way to fill a node so that no pod more fits, within ``most`` pods of each workload."""
    found = [counts for counts in product(*(range(n + 1) for n in most)) if _fits(kind, sizes, counts)]
    inside = set(found)
    return [c for c in found if any(c) and not any(_more(c, at) in inside for at in range(len(c)))]


def useful(kinds: Sequence[Kind]) -> list[Kind]:
    """Kinds that no other one undercuts: at least as large and no dearer. The first of equal ones stays."""
    found: list[Kind] = []
    for kind in sorted(kinds, key=lambda one: (one.usd_hour, -one.cpu, -one.memory, one.name)):
        if not any(other.cpu >= kind.cpu and other.memory >= kind.memory for other in found):
            found.append(kind)
    return found


def _more(counts: Counts, at: int) -> Counts:
    return tuple(n + (place == at) for place, n in enumerate(counts))


def _fits(kind: Kind, sizes: Sequence[Size], counts: Counts) -> bool:
    cpu = sum(size.cpu * n for size, n in zip(sizes, counts, strict=True))
    return cpu <= kind.cpu and sum(size.memory * n for size, n in zip(sizes, counts, strict=True)) <= kind.memory


def cover(kinds: Sequence[Kind], sizes: Sequence[Size], most: Counts) -> Cover:
    """The cheapest nodes for every number of pods up to ``most``; among equal prices the fewest nodes."""
    options = _options(kinds, sizes, most)
    shape = tuple(n + 1 for n in most)
    found = Cover(np.full(shape, np.inf), np.zeros(shape), np.zeros(shape))
    found.usd_hour[(0,) * len(most)] = 0.0
    rooms = np.array([room for room, _ in options]).reshape(len(options), len(most))
    prices = np.array([kind.usd_hour for _, kind in options])
    for counts in product(*(range(n + 1) for n in most)):
        if any(counts) and options:
            _fill(found, counts, options, rooms, prices)
    return found


def _options(kinds: Sequence[Kind], sizes: Sequence[Size], most: Counts) -> list[tuple[Counts, Kind]]:
    """The cheapest kind for each filling."""
    best: dict[Counts, Kind] = {}
    for kind in useful(kinds):
        for counts in fillings(kind, sizes, most):
            if counts not in best or kind.usd_hour < best[counts].usd_hour:
                best[counts] = kind
    return sorted(best.items(), key=lambda one: (one[1].usd_hour, one[0]))


def _fill(found: Cover, counts: Counts, options: Sequence[tuple[Counts, Kind]], rooms: Floats, prices: Floats) -> None:
    """The best last node for ``counts``: its price, and that of what is left."""
    left = np.maximum(np.array(counts) - rooms, 0)
    fewer = (left < np.array(counts)).any(axis=1)
    places = tuple(left.astype(int).T)
    weighed = prices + found.usd_hour[places] + NODE_WEIGHT * (1 + found.nodes[places])
    weighed[~fewer] = np.inf
    at = int(np.argmin(weighed))
    rest = tuple(int(place[at]) for place in places)
    if np.isfinite(weighed[at]):
        found.usd_hour[counts] = prices[at] + found.usd_hour[rest]
        found.nodes[counts] = 1 + found.nodes[rest]
        found.interruptions[counts] = options[at][1].interruptions + found.interruptions[rest]
