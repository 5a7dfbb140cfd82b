"""What a replay's counters and samples say: latency, errors, replicas against the need, and what was paid. Pure.

All times are plant time in minutes since the replay began; all counters are cumulative and read once a plant minute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any

from include.forecast.replicas import need
from include.forecast.waste import Bounds, Waste, of_workload
from include.levers.predictive_scaling.figures import TOLERANCE
from include.rollout.gates import p95_within


@dataclass(frozen=True)
class Counters:
    """One protocol's counters at minute 0, 1 ... of the replay: buckets by upper edge in seconds, requests, failed."""

    buckets: Mapping[float, Sequence[float]]
    requests: Sequence[float]
    failed: Sequence[float]


@dataclass(frozen=True)
class ReplaySample:
    """What stood at one moment. ``wanted`` and ``ready`` are replicas by workload; nodes count once they are paid."""

    minute: float
    wanted: Mapping[str, int]
    ready: Mapping[str, int]
    nodes: int
    vcpu: float
    usd_hour: float | None


@dataclass(frozen=True)
class ReplayLatency:
    """P95 in ms of the answered requests of a protocol: of the whole surge, and of its worst plant minute."""

    surge_ms: float | None
    worst_minute_ms: float | None
    minutes_above_target: int


@dataclass(frozen=True)
class Errors:
    """Shares 0..1 of the requests that failed, were lost or refused; ``failed`` is their number."""

    ratio: float
    worst_minute: float
    failed: float


@dataclass(frozen=True)
class Cover:
    """Replicas against the need. Lead in plant minutes: how long before the demand a further replica was ready.

    ``short_minutes`` had fewer ready replicas of any workload than its demand needs; ``most_short`` is how many at the
    worst moment. ``levels`` further replicas were needed in the surge, ``late`` of them came after the demand.
    """

    median_lead: float | None
    least_lead: float | None
    levels: int
    late: int
    short_minutes: float
    most_short: int


@dataclass(frozen=True)
class Paid:
    """What stood, summed over plant time: minutes of replicas, nodes and vCPU, and US dollars at list prices."""

    replica_minutes: float
    node_minutes: float
    vcpu_minutes: float
    usd: float | None


@dataclass(frozen=True)
class ReplayOutcome:
    """All figures of one replay. ``median_wait_s`` and ``longest_wait_s``: plant seconds from a further replica's being
    wanted to its being ready, which tell how the drill's controllers compare with real ones.
    """

    rest: ReplayLatency
    grpc: ReplayLatency
    errors: Errors
    cover: Cover
    paid: Paid
    median_wait_s: float | None
    longest_wait_s: float | None
    nodes_at_start: int
    most_nodes: int
    most_replicas: int
    forecast_minutes: int
    false_replica_minutes: int

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


# Latency and errors --------------------------------------------------------------------------------------------------


def increases(values: Sequence[float], first: int, last: int) -> float:
    """How much a counter grew from minute ``first`` to ``last``. Raises ValueError when it fell: it was set back."""
    if any(math.isnan(value) for value in values[first : last + 1]):
        raise ValueError(f"a counter has no value between the minutes {first} and {last}: the plant was not scraped")
    if any(after < before - 1e-6 for before, after in pairwise(values[first : last + 1])):
        raise ValueError(f"a counter fell between the minutes {first} and {last}: the plant was started again")
    return values[last] - values[first]


def p95_ms(counters: Counters, first: int, last: int, target_ms: float) -> float | None:
    """P95 of what was answered from minute ``first`` to ``last``, as histogram_quantile has it; None without any."""
    grown = {edge: increases(values, first, last) for edge, values in counters.buckets.items()}
    found = p95_within(grown, target_ms).p95_ms
    return None if found is None else round(found, 1)


def latency(counters: Counters, first: int, last: int, target_ms: float) -> ReplayLatency:
    """The latency of one protocol from minute ``first`` to ``last``."""
    each = [p95_ms(counters, minute, minute + 1, target_ms) for minute in range(first, last)]
    known = [value for value in each if value is not None]
    above = sum(value > target_ms for value in known)
    return ReplayLatency(p95_ms(counters, first, last, target_ms), max(known, default=None), above)


def errors(protocols: Sequence[Counters], first: int, last: int) -> Errors:
    """The errors of all protocols together from minute ``first`` to ``last``. Raises ValueError without a request."""

    def ratio(begin: int, end: int) -> tuple[float, float]:
        requests = sum(increases(one.requests, begin, end) for one in protocols)
        failed = sum(increases(one.failed, begin, end) for one in protocols)
        if requests <= 0:
            raise ValueError(f"no request between the minutes {begin} and {end}: was Prometheus scraping the plant?")
        return failed / requests, failed

    whole, failed = ratio(first, last)
    worst = max(ratio(minute, minute + 1)[0] for minute in range(first, last))
    return Errors(round(whole, 6), round(worst, 6), round(failed, 1))


# Replicas and the need -----------------------------------------------------------------------------------------------


def needs(demand: Sequence[float], bounds: Bounds) -> list[int]:
    """Replicas that each minute's ``demand`` (requests a second of one workload) needs."""
    return [need(qps, bounds.per_replica, bounds.least, bounds.most) for qps in demand]


def leads(wanted: Sequence[int], samples: Sequence[ReplaySample], workload: str, first: int, last: int) -> list[float]:
    """Lead in minutes of each further replica that minutes ``first`` to ``last`` need; below zero: after the demand.

    A replica that never came is as late as the samples end.
    """
    before = max(wanted[:first], default=0)
    found = []
    for level in range(before + 1, max(wanted[first:last], default=0) + 1):
        asked = next(minute for minute in range(first, last) if wanted[minute] >= level)
        found.append(round(asked - ready_since(samples, workload, level, asked), 2))
    return found


def ready_since(samples: Sequence[ReplaySample], workload: str, level: int, minute: float) -> float:
    """Since when so many replicas have been ready without a break at ``minute``; if they are not, when they are next.

    Replicas that went again before they were needed are no lead. The end of the samples when they never are.
    """
    since: float | None = None
    for sample in samples:
        if sample.minute > minute and since is not None:
            break
        if sample.ready[workload] < level:
            since = None
        elif since is None:
            since = sample.minute
    return samples[-1].minute if since is None else since


def waits(samples: Sequence[ReplaySample], workload: str) -> list[float]:
    """Plant seconds from being wanted to being ready of each replica beyond those of the first sample.

    One that never is ready waits until the samples end.
    """
    found = []
    for level in range(samples[0].ready[workload] + 1, max(sample.wanted[workload] for sample in samples) + 1):
        asked = next(sample.minute for sample in samples if sample.wanted[workload] >= level)
        ready = (s.minute for s in samples if s.minute >= asked and s.ready[workload] >= level)
        found.append(round((next(ready, samples[-1].minute) - asked) * 60, 1))
    return found


def cover(need_of: Mapping[str, Sequence[int]], samples: Sequence[ReplaySample], first: int, last: int) -> Cover:
    """How the ready replicas covered the need from minute ``first`` to ``last``."""
    all_leads = [lead for name, wanted in need_of.items() for lead in leads(wanted, samples, name, first, last)]
    short_minutes, most_short = 0.0, 0
    for sample, following in pairwise(samples):
        if first <= sample.minute < last:
            lacking = max(wanted[int(sample.minute)] - sample.ready[name] for name, wanted in need_of.items())
            short_minutes += (following.minute - sample.minute) * (lacking > 0)
            most_short = max(most_short, lacking)
    return Cover(
        median_lead=round(median(all_leads), 1) if all_leads else None,
        least_lead=round(min(all_leads), 1) if all_leads else None,
        levels=len(all_leads),
        late=sum(lead < 0 for lead in all_leads),
        short_minutes=round(short_minutes, 1),
        most_short=most_short,
    )


def paid(samples: Sequence[ReplaySample]) -> Paid:
    """What stood from the first sample to the last; each counts until the next one."""
    replicas = nodes = vcpu = usd = 0.0
    for sample, following in pairwise(samples):
        minutes = following.minute - sample.minute
        replicas += minutes * sum(sample.wanted.values())
        nodes += minutes * sample.nodes
        vcpu += minutes * sample.vcpu
        usd += minutes / 60 * (math.nan if sample.usd_hour is None else sample.usd_hour)
    dollars = None if math.isnan(usd) else round(usd, 4)
    return Paid(round(replicas, 1), round(nodes, 1), round(vcpu, 1), dollars)


def false_extra(
    demand: Mapping[str, Sequence[float]],
    added: Mapping[str, Sequence[float | None]],
    bounds: Bounds,
    ahead: int,
    hold: int,
) -> Waste:
    """What the forecast added and no demand came for, in replica-minutes, as the gate of day 2 counts it.

    ``demand`` of each workload goes ``ahead`` minutes beyond ``added``, so that the future of every minute is known.
    """
    found = Waste()
    for name, own in demand.items():
        said = [*added[name], *[None] * (len(own) - len(added[name]))]
        found += of_workload(list(own), said, bounds, ahead, hold)
    return found


def outcome(
    protocols: tuple[Counters, Counters],
    samples: Sequence[ReplaySample],
    demand: Mapping[str, Sequence[float]],
    added: Mapping[str, Sequence[float | None]],
    bounds: Bounds,
    window: tuple[int, int],
    target_ms: float,
    ahead: int,
    hold: int,
) -> ReplayOutcome:
    """Every figure; ``protocols`` are REST and gRPC, ``window`` the minutes of the surge.

    What is paid counts from ``ahead`` minutes before the surge on, when the forecast may first act on it: how the
    scaling was set up before is no matter of the surge. Replicas are held against the need as the gate of day 2 has
    it: an HPA leaves them as they are while they lack less than a tenth.
    """
    first, last = window
    standing = [sample for sample in samples if sample.minute >= first - ahead]
    tolerant = replace(bounds, per_replica=bounds.per_replica * (1 + TOLERANCE))
    need_of = {name: needs(own, tolerant) for name, own in demand.items()}
    rest, grpc = (latency(one, first, last, target_ms) for one in protocols)
    waited = [seconds for name in demand for seconds in waits(standing, name)]
    acted = sum(any(value for value in minute) for minute in zip(*added.values(), strict=True))
    return ReplayOutcome(
        rest=rest,
        grpc=grpc,
        errors=errors(protocols, first, last),
        cover=cover(need_of, samples, first, last),
        paid=paid(standing),
        median_wait_s=round(median(waited), 1) if waited else None,
        longest_wait_s=max(waited, default=None),
        nodes_at_start=standing[0].nodes,
        most_nodes=max(sample.nodes for sample in standing),
        most_replicas=max(sum(sample.wanted.values()) for sample in standing),
        forecast_minutes=acted,
        false_replica_minutes=false_extra(demand, added, bounds, ahead, hold).judged_extra,
    )
