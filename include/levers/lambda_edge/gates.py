"""What judges the stages: P95, errors and throttles of the functions, spill-over, and what viewers wait for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from include.levers.edge_gates import latency_gates
from include.levers.lambda_edge import live
from include.levers.lambda_edge.functions import not_ready
from include.levers.lambda_edge.measured import Seen, number, p95, ratio, seen_at_edge, seen_in_regions
from include.levers.lambda_edge.settings import MEMORY, World
from include.levers.probes import GateWindow, Probe
from include.rollout.gates import Comparison, Figure, Gate

LEAST_SAMPLES = 20  # requests: one in twenty is what P95 leaves out
SOURCE = "CloudWatch AWS/Lambda"
# Written out, so that whoever searches for a gate that the ledger or the page names finds it here.
EDGE = ("edge_p95_ms", "edge_error_ratio", "edge_throttles")
REGIONAL = ("regional_p95_ms", "regional_error_ratio", "regional_throttles")
Look = Callable[[World, GateWindow], Sequence[Seen]]


def probes(world: World, slot: str) -> list[Probe]:
    """The gates of a slot."""
    own = _of(EDGE, _at_edge, world) if slot == MEMORY else [*_provisioned(world), *_of(REGIONAL, _regional, world)]
    return [*own, *(latency_gates(world.estate) if world.settings.watch_global_latency else [])]


def _of(names: tuple[str, str, str], look: Look, world: World) -> list[Probe]:
    """P95, errors and throttles of one function: safety gates, so that an unknown one is undone."""
    p95_ms, error_ratio, throttles = names
    limit, errors = world.settings.function_p95_limit_ms, world.estate.targets.error_ratio
    slow = _gate(p95_ms, limit, "ms", "setting function_p95_limit_ms")
    failed = _gate(error_ratio, errors, "", "estate targets.error_ratio")
    held = _gate(throttles, 0, "requests", "no request may be refused")
    return [
        Probe(slow, lambda world, window: p95(look(world, window), f"{SOURCE} Duration")),
        Probe(failed, lambda world, window: ratio(look(world, window), "errors", ["invocations"], f"{SOURCE} Errors")),
        Probe(held, lambda world, window: number(look(world, window), "throttles", f"{SOURCE} Throttles")),
    ]


def _gate(name: str, limit: float, unit: str, source: str) -> Gate:
    return Gate(name, Comparison.AT_MOST, limit, unit, LEAST_SAMPLES, source, safety=True)


def _provisioned(world: World) -> list[Probe]:
    most = Comparison.AT_MOST
    ready = Gate("provisioned_not_ready", most, 0, "regions", 1, "every region must have its units", safety=True)
    limit = world.settings.max_spillover
    spilled = Gate("spillover_ratio", most, limit, "", LEAST_SAMPLES, "setting max_spillover")
    return [Probe(ready, _not_ready), Probe(spilled, _spillover)]


def _at_edge(world: World, window: GateWindow) -> Sequence[Seen]:
    """The version that the stage switched to; without a record of it the one that runs."""
    version = window.applied.get("version") or live.look(world).current["Version"]
    return seen_at_edge(world, str(version), window)


def _regional(world: World, window: GateWindow) -> Sequence[Seen]:
    return seen_in_regions(world, window)


def _not_ready(world: World, window: GateWindow) -> Figure | None:
    del window
    chosen, regions = world.settings, list(world.estate.regions)
    missing = not_ready(world, regions, chosen.regional_function, chosen.regional_alias)
    return Figure(len(missing), "regions", len(regions), "GetProvisionedConcurrencyConfig", "; ".join(missing))


def _spillover(world: World, window: GateWindow) -> Figure | None:
    seen = seen_in_regions(world, window)
    return ratio(
        seen, "spillover", ["provisioned", "spillover"], f"{SOURCE} ProvisionedConcurrencySpilloverInvocations"
    )
