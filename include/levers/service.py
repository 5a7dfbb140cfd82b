"""How the service does, from Prometheus: P95, errors and availability, each as a gate with the measure of its figure.

A measure looks at so many seconds up to now, and says how much of them has samples. No data is None, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from include.clients.prometheus import Prometheus
from include.estate import Estate
from include.levers.world import World
from include.rollout.gates import Comparison, Figure, Gate, p95_within

# HTTP 5xx, and the gRPC codes that are the server's fault, by name or by number.
SERVER_ERRORS = (
    "5..|2|4|8|12|13|14|15|"
    "(?i:unknown|deadline_?exceeded|resource_?exhausted|unimplemented|internal|unavailable|data_?loss)"
)
# A slot of time in which a twentieth of the requests fail counts as down.
DOWN_ERROR_RATIO = 0.05
EVIDENCE_SECONDS = 300  # the report's latency and error ratio cover the last five minutes
LEAST_REQUESTS = 100  # fewer say nothing about a percentile or a rare error
LEAST_SLOTS = 3

Measure = Callable[[World, float], Figure | None]


@dataclass(frozen=True)
class ServiceGate:
    """A gate for the service's safety, and the measure of its figure over the last so many seconds of a world."""

    gate: Gate
    measure: Measure


# The gates -------------------------------------------------------------------------------------------------------


def latency_gates(estate: Estate) -> tuple[ServiceGate, ...]:
    """P95 of REST and of gRPC: ``p95_ms`` and ``p95_ms_grpc``."""
    metrics = estate.metrics
    by_name = {"p95_ms": metrics.http_duration, "p95_ms_grpc": metrics.grpc_duration}
    return tuple(_latency_gate(estate, name, histogram) for name, histogram in by_name.items())


def _latency_gate(estate: Estate, name: str, histogram: str) -> ServiceGate:
    limit = estate.targets.p95_ms
    gate = Gate(name, Comparison.AT_MOST, limit, "ms", LEAST_REQUESTS, "estate targets.p95_ms", safety=True)
    return ServiceGate(gate, lambda world, seconds: judged_latency(world, histogram, seconds))


def error_gate(estate: Estate) -> ServiceGate:
    """``error_ratio``: requests that fail on the server's side, REST and gRPC together."""
    limit, source = estate.targets.error_ratio, "estate targets.error_ratio"
    gate = Gate("error_ratio", Comparison.BELOW, limit, "ratio", LEAST_REQUESTS, source, safety=True)
    return ServiceGate(gate, judged_errors)


def availability_gate(estate: Estate) -> ServiceGate:
    """``availability``: the share of time in which the service answers."""
    limit, source = estate.targets.availability, "estate targets.availability"
    gate = Gate("availability", Comparison.AT_LEAST, limit, "ratio", LEAST_SLOTS, source, safety=True)
    return ServiceGate(gate, judged_availability)


# How much of the time is known -----------------------------------------------------------------------------------


def slot_seconds(seconds: float) -> float:
    """The length of the slots that a time span is looked at in."""
    return float(min(60, max(5, int(seconds // 10))))


def slot_ends(end: float, seconds: float) -> list[float]:
    """The ends (Unix seconds) of the slots of a time span, as Prometheus steps through it."""
    slot = slot_seconds(seconds)
    count = int(max(slot, seconds - slot) // slot)
    return [end - n * slot for n in range(count, -1, -1)]


def coverage(world: World, metric: str, seconds: float) -> float:
    """Share of the last ``seconds`` in which a metric of the region was scraped.

    A slot counts with a sample in it or in the one before: a scrape may fall just outside of its own slot, and the
    first after a stage's beginning is up to an interval late.
    """
    slot, ends = slot_seconds(seconds), slot_ends(world.now(), seconds)
    mine = world.estate.matchers(world.target.region)
    expression = f"count(last_over_time({metric}{{{mine}}}[{2 * slot:.0f}s]))"
    found = world.prometheus.query_range(expression, ends[0], ends[-1], slot)
    return min(1.0, len({at for series in found for at, _ in series.points}) / len(ends))


def share_covered(times: Iterable[float], end: float, seconds: float) -> float:
    """Like :func:`coverage`, of samples that were read already: ``times`` are their Unix seconds."""
    slot, ends, known = slot_seconds(seconds), slot_ends(end, seconds), list(times)
    return sum(any(at - 2 * slot < time <= at for time in known) for at in ends) / len(ends)


def request_coverage(world: World, seconds: float) -> float:
    """The least coverage of the request counters: errors of a protocol that nobody counted are not known."""
    return min(coverage(world, metric, seconds) for metric, _ in world.estate.metrics.requests())


def covered(figure: Figure | None, share: float) -> Figure | None:
    """The figure with its coverage."""
    return None if figure is None else replace(figure, coverage=share)


# What is measured ------------------------------------------------------------------------------------------------


def judged_latency(world: World, histogram: str, seconds: float) -> Figure | None:
    """:func:`latency` with its coverage, for a gate."""
    figure = latency(world, histogram, seconds)
    return None if figure is None else covered(figure, coverage(world, f"{histogram}_count", seconds))


def judged_errors(world: World, seconds: float) -> Figure | None:
    """:func:`error_ratio` with its coverage, for a gate."""
    return covered(error_ratio(world, seconds), request_coverage(world, seconds))


def judged_availability(world: World, seconds: float) -> Figure | None:
    """:func:`availability` with its coverage, for a gate."""
    return covered(availability(world, seconds), request_coverage(world, seconds))


def latency(world: World, histogram: str, seconds: float) -> Figure | None:
    """P95 of a duration histogram in ms over the last ``seconds``."""
    matchers = world.estate.matchers(world.target.region)
    buckets = world.prometheus.bucket_increases(histogram, matchers, seconds)
    if buckets is None:
        return None
    return p95_within(buckets, world.estate.targets.p95_ms).figure(f"{histogram}, last {seconds:.0f} s")


def error_ratio(world: World, seconds: float) -> Figure | None:
    """Requests that failed on the server's side, REST and gRPC together, by all requests of the last ``seconds``."""
    answered = failed = 0.0
    mine = world.estate.matchers(world.target.region)
    for metric, label in world.estate.metrics.requests():
        # Only requests that carry the label count: without it nothing is known about failures.
        every = grown(world.prometheus, f'{metric}{{{mine},{label}!=""}}', seconds)
        if not every:
            return None
        selector = f'{metric}{{{mine},{label}=~"{SERVER_ERRORS}"}}'
        answered += every
        failed += grown(world.prometheus, selector, seconds) or 0.0  # no such series: nothing has failed yet
    note = f"{failed:.0f} of {answered:.0f} requests in {seconds:.0f} s"
    return Figure(failed / answered, "ratio", int(answered), "requests by status", note)


def grown(prometheus: Prometheus, selector: str, seconds: float) -> float | None:
    """How much a counter grew in the last ``seconds``; None without any series.

    ``increase`` sees nothing of a series' first value, which is where the first error of a new pod is: series that
    were not there before count in full.
    """
    window = max(1, round(seconds))
    old = prometheus.value(f"sum(increase({selector}[{window}s]) and ({selector} offset {window}s))")
    new = prometheus.value(f"sum({selector} unless ({selector} offset {window}s))")
    return None if old is None and new is None else (old or 0.0) + (new or 0.0)


def availability(world: World, seconds: float) -> Figure | None:
    """Share of time slots, of those with requests, in which the service answered."""
    slot = slot_seconds(seconds)
    ends = slot_ends(world.now(), seconds)
    every = _by_slot(world, '!=""', ends, slot)
    failed = _by_slot(world, f'=~"{SERVER_ERRORS}"', ends, slot)
    known = {at: count for at, count in every.items() if count > 0}
    if not known:
        return None
    good = sum(failed.get(at, 0.0) / count < DOWN_ERROR_RATIO for at, count in known.items())
    note = f"{len(known) - good} of {len(known)} slots of {slot:.0f} s with {DOWN_ERROR_RATIO:.0%} errors or more"
    return Figure(good / len(known), "ratio", len(known), "requests by status", note)


def _by_slot(world: World, status: str, ends: list[float], slot: float) -> dict[float, float]:
    mine = world.estate.matchers(world.target.region)
    parts = [
        f"sum(increase({metric}{{{mine},{label}{status}}}[{slot:.0f}s]))"
        for metric, label in world.estate.metrics.requests()
    ]
    # "or" keeps a slot in which only one of the two protocols has a value.
    expression = f"({parts[0]} + {parts[1]}) or {parts[0]} or {parts[1]}"
    found = world.prometheus.query_range(expression, ends[0], ends[-1], slot)
    return {at: value for series in found for at, value in series.points if not math.isnan(value)}


# The report ------------------------------------------------------------------------------------------------------


def evidence(world: World) -> dict[str, float | None]:
    """P95 of REST in ms and the error ratio of the last five minutes, for a lever's before/after columns."""
    http = latency(world, world.estate.metrics.http_duration, EVIDENCE_SECONDS)
    errors = error_ratio(world, EVIDENCE_SECONDS)
    return {
        "p95_ms": None if http is None else http.value,
        "error_ratio": None if errors is None else errors.value,
    }
