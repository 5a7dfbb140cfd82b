"""Gates: data that says when a rollout may go on, and the pure functions that judge it.

A gate without data, or with samples for too little of its window, never passes: its outcome is ``unknown``. That
stops a rollout: it is undone when the gate is one for the service's safety, and left to people otherwise.
"""

from __future__ import annotations

import enum
import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

QUANTILE = 0.95
MINIMUM_COVERAGE = 0.9  # share of a gate's window that must have samples, unless a run's settings say otherwise


class Outcome(enum.StrEnum):
    """How a gate was judged."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNKNOWN = "unknown"


class Comparison(enum.StrEnum):
    """How a figure is compared with the gate's threshold; the figure stands on the left."""

    BELOW = "<"
    AT_MOST = "<="
    AT_LEAST = ">="
    ABOVE = ">"

    def holds(self, value: float, threshold: float) -> bool:
        """Whether ``value`` compares with ``threshold`` as this comparison wants."""
        return _OPERATORS[self](value, threshold)


_OPERATORS: dict[Comparison, Callable[[float, float], bool]] = {
    Comparison.BELOW: operator.lt,
    Comparison.AT_MOST: operator.le,
    Comparison.AT_LEAST: operator.ge,
    Comparison.ABOVE: operator.gt,
}


@dataclass(frozen=True)
class Figure:
    """One observed number with its unit, the samples behind it, and where it came from (query or check).

    ``coverage`` is the share (0..1) of the gate's window that has samples, None where it has no meaning: for a number
    that was read from the live world at one moment, such as a count of pods.
    """

    value: float
    unit: str
    samples: int
    source: str
    note: str = ""
    coverage: float | None = None


@dataclass(frozen=True)
class Gate:
    """One condition. ``threshold_source`` says who set the threshold, e.g. ``estate targets.p95_ms``.

    A ``safety`` gate says whether the service is well (P95, errors, availability, pending pods): while it stays unknown
    the change can't be left in place. Any other gate that stays unknown stops the run and leaves the choice to people.
    """

    name: str
    comparison: Comparison
    threshold: float
    unit: str
    min_samples: int
    threshold_source: str
    safety: bool = False


@dataclass(frozen=True)
class GateResult:
    """A judged gate: the outcome with the figure and one readable reason."""

    gate: Gate
    outcome: Outcome
    figure: Figure | None
    reason: str


def judge(gate: Gate, figure: Figure | None, minimum_coverage: float = MINIMUM_COVERAGE) -> GateResult:
    """Judge one gate.

    Unknown without a figure, with too few samples, with samples for less than ``minimum_coverage`` of the window, or
    when the figure is not a finite number.

    Raises ValueError when figure and gate have different units: that is a mistake in the lever, not evidence.
    """
    if figure is None:
        return GateResult(gate, Outcome.UNKNOWN, None, f"{gate.name}: no data")
    if figure.unit != gate.unit:
        raise ValueError(f"gate {gate.name} is in {gate.unit!r} but its figure is in {figure.unit!r}")
    if figure.samples < gate.min_samples:
        reason = f"{gate.name}: {figure.samples} of the {gate.min_samples} samples that it needs"
        return GateResult(gate, Outcome.UNKNOWN, figure, _with_note(reason, figure))
    if figure.coverage is not None and figure.coverage < minimum_coverage:
        reason = f"{gate.name}: samples for {figure.coverage:.1%} of its window; it needs {minimum_coverage:.0%}"
        return GateResult(gate, Outcome.UNKNOWN, figure, _with_note(reason, figure))
    if not math.isfinite(figure.value):
        reason = f"{gate.name}: {figure.value} is not a finite number"
        return GateResult(gate, Outcome.UNKNOWN, figure, _with_note(reason, figure))
    holds = gate.comparison.holds(figure.value, gate.threshold)
    relation = gate.comparison.value if holds else f"not {gate.comparison.value}"
    unit = f" {gate.unit}" if gate.unit else ""
    reason = (
        f"{gate.name}: {figure.value:.6g}{unit} is {relation} {gate.threshold:g}{unit} "
        f"({gate.threshold_source}; {figure.samples} samples)"
    )
    return GateResult(gate, Outcome.PASS if holds else Outcome.FAIL, figure, _with_note(reason, figure))


def _with_note(reason: str, figure: Figure) -> str:
    return f"{reason}; {figure.note}" if figure.note else reason


def judge_all(
    gates: Sequence[Gate], figures: Mapping[str, Figure | None], minimum_coverage: float = MINIMUM_COVERAGE
) -> list[GateResult]:
    """Judge every gate with the figure of its name; a name that is missing counts as no data."""
    return [judge(gate, figures.get(gate.name), minimum_coverage) for gate in gates]


def overall(results: Sequence[GateResult]) -> Outcome:
    """Fail when any gate fails, else unknown when any is unknown or there is none at all, else pass."""
    outcomes = {result.outcome for result in results}
    if Outcome.FAIL in outcomes:
        return Outcome.FAIL
    return Outcome.PASS if outcomes == {Outcome.PASS} else Outcome.UNKNOWN


@dataclass(frozen=True)
class Latency:
    """What a histogram says about "95 % of the requests within a limit".

    ``share`` (0..1) and ``p95_ms`` are None when the histogram can't tell. ``samples`` are requests.
    """

    outcome: Outcome
    share: float | None
    p95_ms: float | None
    samples: int
    note: str

    def figure(self, source: str) -> Figure | None:
        """The P95 in ms as a figure for a gate ``<= limit``, or None when the histogram can't tell."""
        if self.outcome is Outcome.UNKNOWN or self.p95_ms is None:
            return None
        return Figure(self.p95_ms, "ms", self.samples, source, self.note)


def p95_within(buckets: Mapping[float, float], limit_ms: float) -> Latency:
    """Judge whether 95 % of the requests lie within ``limit_ms``.

    ``buckets`` maps each upper edge in seconds (``math.inf`` for the last) to the cumulative count of requests over
    the window. With an edge at the limit the share within it is counted. Otherwise it is certain to hold when 95 %
    are within the highest edge below the limit, certain to fail when fewer than 95 % are within the lowest edge above,
    and interpolated in between, which the note says. Raises ValueError when the +Inf bucket is missing.
    """
    if math.inf not in buckets:
        raise ValueError("the histogram has no +Inf bucket, so its total is not known")
    edges = sorted(buckets)
    if not all(math.isfinite(count) for count in buckets.values()) or buckets[math.inf] <= 0:
        return Latency(Outcome.UNKNOWN, None, None, 0, "no requests in the window")
    # increase() extrapolates each bucket by itself, so neighbours may be out of order by a fraction of a request.
    counts: list[float] = []
    for edge in edges:
        counts.append(max(buckets[edge], counts[-1] if counts else 0.0))
    total = counts[-1]
    points = [(0.0, 0.0), *((edge * 1000, count / total) for edge, count in zip(edges, counts, strict=True))]
    return _judge_points(points, limit_ms, int(total))


def _judge_points(points: Sequence[tuple[float, float]], limit_ms: float, samples: int) -> Latency:
    """``points``: (edge in ms, share of requests within it), rising, from (0, 0) to (inf, 1)."""
    below, share_below = max(p for p in points if p[0] <= limit_ms or _same(p[0], limit_ms))
    p95_ms = _edge_at(points, QUANTILE)
    if _same(below, limit_ms):
        outcome = Outcome.PASS if share_below >= QUANTILE else Outcome.FAIL
        note = f"{share_below:.2%} counted within the edge at {limit_ms:g} ms"
        return Latency(outcome, share_below, p95_ms, samples, note)
    above, share_above = min(p for p in points if p[0] > limit_ms)
    if math.isinf(above):
        if share_below >= QUANTILE:
            return Latency(
                Outcome.PASS, share_below, p95_ms, samples, f"certain: {share_below:.2%} within {below:g} ms"
            )
        return Latency(
            Outcome.UNKNOWN, None, None, samples, f"the highest edge, {below:g} ms, is below {limit_ms:g} ms"
        )
    share = share_below + (share_above - share_below) * (limit_ms - below) / (above - below)
    outcome = Outcome.PASS if share >= QUANTILE else Outcome.FAIL
    if share_below >= QUANTILE:
        note = f"certain: {share_below:.2%} within {below:g} ms"
    elif share_above < QUANTILE:
        note = f"certain: only {share_above:.2%} within {above:g} ms"
    else:
        note = f"interpolated between {below:g} and {above:g} ms: there is no edge at {limit_ms:g} ms"
    return Latency(outcome, share, p95_ms, samples, note)


def _same(left: float, right: float) -> bool:
    return math.isclose(left, right, rel_tol=1e-9)


def _edge_at(points: Sequence[tuple[float, float]], share: float) -> float:
    """The duration in ms within which ``share`` of the requests lie; the last finite edge when it is beyond."""
    for (lower, share_lower), (upper, share_upper) in itertools.pairwise(points):
        if share_upper >= share:
            if math.isinf(upper):
                return lower
            return lower + (upper - lower) * (share - share_lower) / (share_upper - share_lower)
    return points[-1][0]
