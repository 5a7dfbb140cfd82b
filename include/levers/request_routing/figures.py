"""How routed requests are served: P95 and errors over all backends, and whether each gets the share that it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from include.clients.kubernetes import HTTP_ROUTE
from include.estate import Estate
from include.levers import service
from include.levers.owned import read
from include.levers.probes import GateWindow, Probe, over_stage
from include.levers.request_routing.live import backends, services
from include.levers.request_routing.record import records
from include.levers.request_routing.settings import World
from include.levers.request_routing.wanted import route_identity, standing
from include.levers.request_routing.weights import WHOLE
from include.levers.service import LEAST_REQUESTS, SERVER_ERRORS, coverage, covered, grown, judged_latency
from include.levers.world import Object
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.lever import Json

P95, ERRORS, FOLLOWED = "routed_p95_ms", "routed_error_ratio", "share_off_by"
IN_EFFECT = "in_effect_at"  # Unix seconds at which the gateway had taken the weights, as ``apply`` leaves it
MOST_OFF = 0.05  # a share of requests: scrapes don't begin with the stage, and few requests scatter


def probes(estate: Estate) -> Sequence[Probe]:
    """The gates of a stage: all routed requests, then those that AkiDB's pods serve."""
    targets, most = estate.targets, Comparison.AT_MOST
    p95 = Gate(P95, most, targets.p95_ms, "ms", LEAST_REQUESTS, "estate targets.p95_ms", safety=True)
    source = "estate targets.error_ratio"
    errors = Gate(ERRORS, Comparison.BELOW, targets.error_ratio, "ratio", LEAST_REQUESTS, source, safety=True)
    followed = Gate(FOLLOWED, most, MOST_OFF, "ratio", LEAST_REQUESTS, "routing's own limit")
    metric = estate.edge.routing.duration_metric
    own = [*service.latency_gates(estate), service.error_gate(estate), service.availability_gate(estate)]
    return [
        over_stage(p95, lambda world, seconds: judged_latency(world, metric, seconds)),
        over_stage(errors, error_ratio),
        Probe(followed, off_by),
        *(over_stage(found.gate, found.measure) for found in own),
    ]


def _selector(world: World, *matchers: str) -> str:
    mine = world.estate.matchers(world.target.region)
    return f"{world.estate.edge.routing.requests_metric}{{{','.join(part for part in (mine, *matchers) if part)}}}"


def error_ratio(world: World, seconds: float) -> Figure | None:
    """Routed requests that failed on the server's side, whoever served them."""
    label = world.estate.metrics.http_status_label
    every = grown(world.prometheus, _selector(world, f'{label}!=""'), seconds)
    if not every:
        return None
    failed = grown(world.prometheus, _selector(world, f'{label}=~"{SERVER_ERRORS}"'), seconds) or 0.0
    note = f"{failed:.0f} of {every:.0f} routed requests in {seconds:.0f} s"
    figure = Figure(failed / every, "ratio", int(every), "routed requests by status", note)
    return covered(figure, coverage(world, world.estate.edge.routing.requests_metric, seconds))


def served(world: World, seconds: float) -> dict[str, float]:
    """Requests that each backend has had in the last ``seconds``; a backend without a series is left out."""
    label = world.estate.edge.routing.backend_label
    found = {
        name: grown(world.prometheus, _selector(world, f'{label}="{name}"'), seconds)
        for name in world.estate.edge.routing.backends
    }
    return {name: count for name, count in found.items() if count is not None}


def shares(world: World, seconds: float) -> tuple[dict[str, float], int]:
    """Share of the requests that each Service has had, and how many there were."""
    counts = served(world, seconds)
    total = sum(counts.values())
    every = {s: sum(counts.get(name, 0.0) for name in names) for s, names in services(world.estate).items()}
    return {name: count / total for name, count in every.items()} if total else {}, int(total)


def off_by(world: World, window: GateWindow) -> Figure | None:
    """The largest difference between the share that a Service should have and has had since the weights took effect.

    What was routed between the write and then went by the weights before.
    """
    in_effect = max(1.0, world.now() - float(window.applied.get(IN_EFFECT, 0.0)))
    weights, (found, count) = window.stage.settings["weights"], shares(world, min(window.recent, in_effect))
    if not found:
        return None
    total = sum(weights.values())
    wrong = {name: abs(found.get(name, 0.0) - weight / total) for name, weight in weights.items()}
    note = ", ".join(f"{name} {found.get(name, 0.0):.1%} of {weights[name] / total:.1%}" for name in weights)
    return Figure(max(wrong.values()), "ratio", count, "routed requests by backend", note)


def not_accepted(world: World) -> list[str]:
    """What keeps the route from being in effect: what its gateway has not accepted, or not looked at."""
    body = route_identity(world.estate)
    route = world.cluster.get(HTTP_ROUTE, body["metadata"]["name"], body["metadata"]["namespace"])
    if route is None:
        return ["the HTTPRoute does not exist"]
    gateway = world.estate.edge.routing.gateway
    parents = [p for p in route.get("status", {}).get("parents") or [] if p["parentRef"]["name"] == gateway]
    if not parents:
        return [f"Gateway {gateway} has not looked at the HTTPRoute yet"]
    generation = int(route["metadata"].get("generation", 0))
    return [line for kind in ("Accepted", "ResolvedRefs") for line in _lacking(parents[0], kind, generation)]


def _lacking(parent: Object, kind: str, generation: int) -> list[str]:
    found: Mapping[str, Json] = next((c for c in parent.get("conditions") or [] if c["type"] == kind), {})
    if found.get("status") == "True" and int(found.get("observedGeneration", generation)) >= generation:
        return []
    return [f"the HTTPRoute is not {kind}: {found.get('message') or found.get('reason') or 'not looked at yet'}"]


def unserved(world: World, weights: Mapping[str, int]) -> list[str]:
    """Services that should get requests and of which Prometheus has no series yet."""
    label, every = world.estate.edge.routing.backend_label, services(world.estate)
    wanted = {name: "|".join(every[name]) for name, weight in weights.items() if weight}
    missing = [
        n for n, names in wanted.items() if not world.prometheus.series_exists(_selector(world, f'{label}=~"{names}"'))
    ]
    return [f"Prometheus has no request of {name}" for name in missing]


def evidence(world: World) -> dict[str, Json]:
    """Weights and what came of them, for the report's before/after columns."""
    weights = standing(world.estate, read(world, route_identity(world.estate)))
    found, _ = shares(world, service.EVIDENCE_SECONDS)
    known, unused = backends(world)
    return {
        "weights": {name: weight / WHOLE for name, weight in weights.items()},
        "shares": {name: round(share, 4) for name, share in found.items()},
        "usd_million": {backend.name: float(round(backend.usd_million, 4)) for backend in known},
        "unused": unused,
        "record_weights": records(world),
        **service.evidence(world),
    }
