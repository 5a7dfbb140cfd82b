"""The service's gates, each with the measure of its figure, as every lever that moves pods uses them."""

from __future__ import annotations

import pytest

from include.estate import load_estate
from include.levers import service
from include.levers import world as worlds
from include.rollout.gates import Figure, Gate, judge
from tests.unit.levers.spot_world import World


@pytest.fixture
def world() -> worlds.World:
    return worlds.World(World().target, lambda: 1_800_000_000.0)


def every(world: worlds.World) -> tuple[service.ServiceGate, ...]:
    estate = world.estate
    return (*service.latency_gates(estate), service.error_gate(estate), service.availability_gate(estate))


def row(gate: Gate) -> tuple[str, str, str, int, str, bool]:
    return gate.name, gate.comparison.value, gate.unit, gate.min_samples, gate.threshold_source, gate.safety


def test_the_gates_take_their_limits_from_the_estate_and_are_gates_for_safety(world: worlds.World) -> None:
    assert [row(pair.gate) for pair in every(world)] == [
        ("p95_ms", "<=", "ms", 100, "estate targets.p95_ms", True),
        ("p95_ms_grpc", "<=", "ms", 100, "estate targets.p95_ms", True),
        ("error_ratio", "<", "ratio", 100, "estate targets.error_ratio", True),
        ("availability", ">=", "ratio", 3, "estate targets.availability", True),
    ]
    targets = load_estate().targets
    limits = [targets.p95_ms, targets.p95_ms, targets.error_ratio, targets.availability]
    assert [pair.gate.threshold for pair in every(world)] == limits


def test_each_gate_is_judged_by_its_own_measure_with_samples_source_and_coverage(world: worlds.World) -> None:
    judged = [judge(pair.gate, pair.measure(world, 60)) for pair in every(world)]
    assert [result.outcome.value for result in judged] == ["pass"] * 4
    figures = [result.figure for result in judged if result.figure is not None]
    assert [(figure.samples, figure.source, figure.coverage) for figure in figures] == [
        (1000, "akidb_http_request_duration_seconds, last 60 s", 1.0),
        (1000, "akidb_grpc_request_duration_seconds, last 60 s", 1.0),
        (2000, "requests by status", 1.0),
        (10, "requests by status", 1.0),
    ]


def test_without_data_no_gate_has_a_figure(world: worlds.World) -> None:
    world.prometheus.buckets = None  # type: ignore[attr-defined]
    world.prometheus.requests = None  # type: ignore[attr-defined]
    none: list[Figure | None] = [pair.measure(world, 60) for pair in every(world)]
    assert none == [None] * 4
    assert service.evidence(world) == {"p95_ms": None, "error_ratio": None}
