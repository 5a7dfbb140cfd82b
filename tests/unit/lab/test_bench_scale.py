"""The scale benchmark's own arithmetic: shares, limits, and when packing has come to rest."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import bench_scale
from benchmarks.bench_scale import Quiet, filled, percentile_95, verdicts
from include.estate import load_estate


def test_what_is_requested_of_the_nodes_counts_what_they_can_allocate() -> None:
    node = {"status": {"allocatable": {"cpu": "17600m", "memory": "127088Mi"}}}
    assert filled([node] * 100, 700) == {"cpu": 0.875, "memory": 0.875}
    assert filled([], 700) == {"cpu": 0.0, "memory": 0.0}


def found(out: float, packed: float, cpu: float, memory: float, at_rest: bool = True) -> dict[str, Any]:
    requested = {"cpu": cpu, "memory": memory}
    steps = {"out": (out, True), "packed": (packed, at_rest)}
    return {name: {"seconds": s, "at_rest": rest, "requested": requested} for name, (s, rest) in steps.items()}


@pytest.mark.parametrize(
    ("figures", "kept"),
    [
        ((120.0, 1200.0, 0.54, 0.66), [True, True, True, True]),
        ((120.1, 1200.1, 0.53, 0.65), [False, False, False, False]),
        ((92.0, 1200.0, 0.93, 0.92, False), [True, False, True, True]),  # still exchanging nodes then
    ],
)
def test_the_limits_are_those_of_karpenters_suite(figures: tuple[Any, ...], kept: list[bool]) -> None:
    told = verdicts(found(*figures))
    assert dict(zip(told, kept, strict=True)) == told
    assert list(told) == [
        "out within 120 s",
        "packed within 1200 s",
        "CPU requested above 53%",
        "memory requested above 65%",
    ]


def test_packing_has_ended_once_no_node_has_come_or_gone_for_the_whole_time() -> None:
    now = [0.0]
    quiet = Quiet(60.0, clock=lambda: now[0])
    looks = [
        (0, "ab", False),
        (59, "ab", False),
        (60, "ab", True),
        (61, "a", False),
        (120, "a", False),
        (121, "a", True),
    ]
    for moment, nodes, ended in looks:
        now[0] = float(moment)
        assert quiet.now(frozenset(nodes)) is ended


def test_the_95th_percentile_of_memory() -> None:
    assert percentile_95([200.0]) == 200.0
    assert percentile_95([float(n) for n in range(1, 101)]) == pytest.approx(95.95)


def test_the_pods_go_to_the_pool_alone_and_it_packs_them() -> None:
    made = bench_scale.deployment("large", 500)
    assert made["spec"]["replicas"] == 500
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "3500m", "memory": "28Gi"}
    assert made["spec"]["template"]["spec"]["nodeSelector"] == {"karpenter.sh/nodepool": "scale"}
    disruption = bench_scale.node_pool(load_estate())["spec"]["disruption"]
    assert disruption == {
        "consolidationPolicy": "WhenEmptyOrUnderutilized",
        "consolidateAfter": "30s",
        "budgets": [{"nodes": "100%"}],
    }
