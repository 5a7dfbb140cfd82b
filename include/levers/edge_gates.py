"""How viewers of the whole world are served: P95 in each part of it, weighted, and how much the cache answers.

The levers of the edge share these gates. A part of the world is as slow as its slowest probe; while one of its probes
is silent or too old, nothing is known of it, and nothing of the weighted P95 either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from include.clients.probes import ProbeResult, Probes, ProbesError
from include.clients.prometheus import Prometheus, PrometheusError
from include.estate import Estate
from include.estate.edge import Viewers
from include.levers.probes import Probe, over_recent
from include.levers.service import share_covered
from include.levers.world import World
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.lever import Check, Json
from include.rollout.place import PlaceKind

LEAST_SAMPLES = 20  # of a part of the world: one request in twenty is what P95 leaves out
SKEW_SECONDS = 5.0  # so far a probe's clock may be ahead of ours
WEIGHTED, CACHE_HIT = "p95_weighted_ms", "cache_hit_percent"


def probes_of(world: World) -> Probes:
    """The client of the probes' results; a lever that asks names ``probes`` in its ``needs``."""
    probes: Probes = world.target.clients.probes
    return probes


def edge_gates(estate: Estate) -> list[Probe]:
    """All of them: P95 of each part of the world that has a limit, the weighted P95, the cache hit rate."""
    return [*latency_gates(estate), cache_hit_gate(estate)]


def latency_gates(estate: Estate) -> list[Probe]:
    """``p95_ms_<part>`` for each part of the world that has a limit, and ``p95_weighted_ms``; for the safety."""
    latency = estate.edge.latency
    limited = {name: viewers.p95_ms for name, viewers in latency.viewers.items() if viewers.p95_ms is not None}
    found = [_of_part(name, limit) for name, limit in limited.items()]
    weighted = _gate(WEIGHTED, latency.weighted_p95_ms, "estate edge.latency.weighted_p95_ms")
    return [*found, over_recent(weighted, lambda world, s: weighted_p95(_fresh(world, s), world.estate))]


def _of_part(name: str, limit: float) -> Probe:
    gate = _gate(f"p95_ms_{name}", limit, f"estate edge.latency.viewers.{name}.p95_ms")
    return over_recent(gate, lambda world, seconds: p95_of(_fresh(world, seconds), world.estate, name))


def _gate(name: str, limit: float, source: str) -> Gate:
    return Gate(name, Comparison.BELOW, limit, "ms", LEAST_SAMPLES, source, safety=True)


def cache_hit_gate(estate: Estate) -> Probe:
    """``cache_hit_percent``: how many of 100 requests the cache answers."""
    least, source = estate.edge.latency.cache_hit_percent, "estate edge.latency.cache_hit_percent"
    return over_recent(Gate(CACHE_HIT, Comparison.ABOVE, least, "%", 1, source), cache_hits)


# What is measured -----------------------------------------------------------------------------------------------------


def fresh(results: Sequence[ProbeResult], now: float, oldest: float) -> list[ProbeResult]:
    """The results as they may be used at ``now`` (Unix seconds): one from before ``oldest`` seconds tells nothing."""

    def known(result: ProbeResult) -> ProbeResult:
        in_time = now - oldest <= result.time <= now + SKEW_SECONDS
        return result if in_time else ProbeResult(result.region, result.country, None)

    return [known(result) for result in results]


def _fresh(world: World, seconds: float) -> list[ProbeResult]:
    """The results of the last ``seconds``."""
    oldest = min(seconds, world.estate.edge.latency.oldest_seconds)
    return fresh(probes_of(world).results(), world.now(), oldest)


def p95_of(results: Sequence[ProbeResult], estate: Estate, part: str) -> Figure | None:
    """The P95 of a part of the world: its slowest probe's. None without a probe there, or while one is silent."""
    own = _within(results, estate.edge.latency.viewers[part])
    if not own or any(result.p95_ms is None for result in own):
        return None
    slowest = max(own, key=lambda result: result.p95_ms or 0.0)
    source = f"probes {', '.join(result.region for result in own)}"
    return Figure(slowest.p95_ms or 0.0, "ms", sum(result.samples for result in own), source)


def weighted_p95(results: Sequence[ProbeResult], estate: Estate) -> Figure | None:
    """The mean of the P95 of all parts of the world, weighted with their shares of the requests."""
    viewers = estate.edge.latency.viewers
    figures = {name: p95_of(results, estate, name) for name, group in viewers.items() if group.share > 0}
    known = {name: figure for name, figure in figures.items() if figure is not None}
    total = sum(viewers[name].share for name in known)
    if len(known) < len(figures) or not total:
        return None
    value = sum(viewers[name].share * figure.value for name, figure in known.items()) / total
    # Each part must have enough: many samples at home prove nothing about the other side of the world.
    fewest = min(figure.samples for figure in known.values())
    return Figure(round(value, 3), "ms", fewest, f"probes of {', '.join(known)}")


def _within(results: Sequence[ProbeResult], viewers: Viewers) -> list[ProbeResult]:
    return [result for result in results if result.country in viewers.countries]


def cache_hits(world: World, seconds: float) -> Figure | None:
    """The mean cache hit rate of the last ``seconds``, in %; None without a sample."""
    metric = world.estate.edge.latency.cache_hit_metric
    series = prometheus_of(world).raw(metric, seconds, world.now())
    if len(series) > 1:
        raise PrometheusError(
            f"{metric} gives {len(series)} series, wanted one: name the distribution's labels in "
            "edge.latency.cache_hit_metric of the estate's file"
        )
    points = series[0].points if series else ()
    if not points:
        return None
    mean = sum(value for _, value in points) / len(points)
    known = share_covered((at for at, _ in points), world.now(), seconds)
    return Figure(round(mean, 3), "%", len(points), f"{metric}, last {seconds:.0f} s", coverage=known)


def prometheus_of(world: World) -> Prometheus:
    """The region's Prometheus; in a place without one the canary region's."""
    if world.target.place.kind is PlaceKind.REGION:
        return world.prometheus
    prometheus: Prometheus = world.target.clients.of(world.estate.canary_region).prometheus
    return prometheus


# Checks and evidence ------------------------------------------------------------------------------------------------


def measurable(world: World) -> Iterator[Check]:
    """Whether the gates will have data, before anything is written: a line for what is missing."""
    found = list(probes_answer(world))
    yield from found
    if not any(check.remedy == MEND for check in found):
        yield _cache_hit_check(world)


def probes_answer(world: World) -> Iterator[Check]:
    """Whether :func:`latency_gates` will have data."""
    latency = world.estate.edge.latency
    try:
        results = _fresh(world, latency.oldest_seconds)
    except ProbesError as error:
        yield Check("probes", False, str(error), MEND)
        return
    missing = [name for name in latency.viewers if p95_of(results, world.estate, name) is None]
    for name in missing:
        yield Check(f"probes of {name}", False, _why(results, latency.viewers[name], latency.oldest_seconds), REMEDY)
    if not missing:
        yield Check("probes", True, f"{len(results)} probes answer, at least one in each part of the world")


MEND = "mend the probes first: without them no gate can pass"
REMEDY = "have a probe measure there, or correct edge.latency in the estate's file"


def _why(results: Sequence[ProbeResult], viewers: Viewers, oldest: float) -> str:
    silent = [result.region for result in _within(results, viewers) if result.p95_ms is None]
    return f"{', '.join(silent)}: no result of the last {oldest:.0f} s" if silent else "no probe is there"


def _cache_hit_check(world: World) -> Check:
    metric = world.estate.edge.latency.cache_hit_metric
    try:
        figure = cache_hits(world, world.estate.edge.latency.oldest_seconds)
    except PrometheusError as error:
        return Check("cache hit rate", False, str(error), "mend Prometheus or the selector first")
    remedy = "" if figure else "have Prometheus scrape CloudFront's CacheHitRate, such as by a CloudWatch exporter"
    return Check("cache hit rate", figure is not None, f"{metric} is there" if figure else f"no {metric}", remedy)


def latency_evidence(world: World) -> dict[str, Json]:
    """``p95_ms`` by probe, ``p95_weighted_ms`` and ``cache_hit_percent`` as they are now; None is not known."""
    oldest = world.estate.edge.latency.oldest_seconds
    results = _fresh(world, oldest)
    return {
        "p95_ms": {result.region: result.p95_ms for result in results},
        WEIGHTED: _value(weighted_p95(results, world.estate)),
        CACHE_HIT: _value(cache_hits(world, oldest)),
    }


def _value(figure: Figure | None) -> float | None:
    return None if figure is None else figure.value
