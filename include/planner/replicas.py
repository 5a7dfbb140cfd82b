"""Replicas of a workload minute by minute, by the scaling policy: requests, forecast, bounds, stabilisation. Pure.

As KEDA's triggers and the HPA's behaviour have it (include/manifests/predictive_scaling). The forecast is taken as
exact: it adds what is to come within its lead, above ``act_above`` and at most ``cap`` times what runs. The HPA's
tolerance (10 %) is left out: it keeps a replica more or less for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from include.estate import Estate

Floats = npt.NDArray[np.float64]
ROUNDING = 1e-9  # what differs from a whole number by rounding alone needs no replica more
HALVINGS = 6  # minutes of halving after which nothing of 64 replicas is left


@dataclass(frozen=True)
class Policy:
    """What decides replicas; ``qps_each`` a replica serves at target utilisation, times in minutes."""

    qps_each: float
    least: int
    most: int
    lead: int
    hold: int
    act_above: float
    cap: float


def policy_of(estate: Estate) -> Policy:
    """The estate's policy of one Deployment."""
    scaling = estate.predictive_scaling
    return Policy(
        estate.qps_per_replica(),
        scaling.min_replicas,
        scaling.max_replicas,
        scaling.lead_minutes,
        max(1, round(scaling.scale_down_seconds / 60)),
        scaling.act_above,
        scaling.cap,
    )


def scaled(qps: Floats, policy: Policy) -> Floats:
    """Replicas for requests a second of a workload, [..., minutes]."""
    now = _need(qps, policy)
    ahead = running_max(qps, policy.lead + 1, ahead=True)
    foreseen = np.minimum(_need(ahead, policy), np.floor(policy.cap * now + ROUNDING))
    wanted = np.where(ahead > policy.act_above * qps, np.maximum(now, foreseen), now)
    held = np.minimum(running_max(wanted, policy.hold + 1), policy.most)
    return _halving(held)


def _need(qps: Floats, policy: Policy) -> Floats:
    return np.clip(np.ceil(qps / policy.qps_each - ROUNDING), policy.least, policy.most)


def running_max(values: Floats, width: int, ahead: bool = False) -> Floats:
    """The largest of ``width`` minutes, this one the last of them (``ahead``: the first), [..., minutes]."""
    found, covered = values, 1
    while covered < width:
        step = min(covered, width - covered)
        found = np.maximum(found, _shifted(found, step, ahead))
        covered += step
    return found


def _shifted(values: Floats, step: int, ahead: bool) -> Floats:
    """The values of ``step`` minutes before (``ahead``: after); the ends repeat themselves."""
    if step >= values.shape[-1]:
        edge = values[..., -1:] if ahead else values[..., :1]
        return np.broadcast_to(edge, values.shape)
    if ahead:
        return np.concatenate([values[..., step:], np.repeat(values[..., -1:], step, axis=-1)], axis=-1)
    return np.concatenate([np.repeat(values[..., :1], step, axis=-1), values[..., :-step]], axis=-1)


def _halving(wanted: Floats) -> Floats:
    """Replicas at most halve in a minute."""
    found = wanted
    for minutes in range(1, HALVINGS + 1):
        found = np.maximum(found, np.ceil(_shifted(wanted, minutes, ahead=False) / 2**minutes))
    return found
