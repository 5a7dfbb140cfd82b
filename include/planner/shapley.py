"""Who saved what when levers act together: each one's mean step over every order of them, exactly. Pure.

A coalition is a bit mask: lever ``n`` takes part where bit ``n`` is set. The parts add up to what all save together.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from math import factorial

import numpy as np
import numpy.typing as npt

from include.planner.figures import cents

Floats = npt.NDArray[np.float64]


@cache
def weights(players: int) -> Floats:
    """[players, 2^players]: how a coalition's value counts for a player; ``values @ weights.T`` are the parts."""
    found = np.zeros((players, 1 << players))
    for mask in range(1 << players):
        size = mask.bit_count()
        for player in range(players):
            inside = bool(mask >> player & 1)
            others = size - inside
            share = factorial(others) * factorial(players - others - 1) / factorial(players)
            found[player, mask] = share if inside else -share
    return found


def parts(values: Floats) -> Floats:
    """The Shapley parts [..., players] of a game's values [..., 2^players]."""
    players = int(values.shape[-1]).bit_length() - 1
    return np.asarray(values @ weights(players).T)


def in_order(values: Floats) -> Floats:
    """Each player's step [..., players] when they come one after the other, in their order."""
    players = int(values.shape[-1]).bit_length() - 1
    stops = [(1 << count) - 1 for count in range(players + 1)]
    return np.diff(values[..., stops], axis=-1)


def apportioned(amounts: Sequence[float], total: Decimal) -> list[Decimal]:
    """The amounts in whole cents that add up to exactly ``total``: the largest remainders take the odd cents."""
    exact = [Decimal(repr(float(amount))) for amount in amounts]
    found = [cents(amount) for amount in exact]
    if not found:
        return found
    odd = int((total - sum(found, Decimal(0))) * 100)
    step = Decimal("0.01") if odd > 0 else Decimal("-0.01")
    order = sorted(range(len(found)), key=lambda n: (exact[n] - found[n]) * (1 if odd > 0 else -1), reverse=True)
    for place in range(abs(odd)):
        found[order[place % len(found)]] += step
    return found
