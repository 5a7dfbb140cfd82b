"""The gates of the edge: a part of the world is as slow as its slowest probe, and what is silent is not known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from include.clients.probes import ProbeResult, ProbesError
from include.clients.prometheus import PrometheusError, Series
from include.estate import load_estate
from include.levers import edge_gates
from include.levers.probes import measured
from include.levers.world import World
from include.rollout.gates import Outcome, judge_all
from include.rollout.lever import Stage, Target

NOW = 1_795_946_400.0
ESTATE = load_estate()
P95 = {
    ("oregon", "US"): 12.0, ("virginia", "US"): 9.0, ("frankfurt", "DE"): 8.0, ("london", "GB"): 9.5,
    ("tokyo", "JP"): 14.0, ("sydney", "AU"): 20.0, ("mumbai", "IN"): 30.0, ("sao-paulo", "BR"): 33.0,
    ("dubai", "AE"): 40.0, ("cape-town", "ZA"): 60.0,
}  # fmt: skip
# us 12.0, eu 9.5, apac 20.0, india 30.0, south_america 33.0, middle_east 40.0, africa 60.0 by their shares
WEIGHTED = 0.45 * 12 + 0.30 * 9.5 + 0.18 * 20 + 0.04 * 30 + 0.02 * 33 + 0.008 * 40 + 0.002 * 60


class FakeProbes:
    def __init__(self, age: float = 1.0, samples: int = 50, **others: Any) -> None:
        self.found = [
            ProbeResult(name, country, others.get(name, p95), samples, NOW - others.get(f"{name}_age", age))
            for (name, country), p95 in P95.items()
        ]

    def results(self) -> list[ProbeResult]:
        return self.found


class FakePrometheus:
    def __init__(self, *values: float, series: int = 1) -> None:
        self.points = tuple((NOW - 2.0 * n, value) for n, value in reversed(list(enumerate(values))))
        self.series = series

    def raw(self, selector: str, seconds: float, at: float) -> list[Series]:
        assert (selector, at) == ("cloudfront_cache_hit_rate", NOW)
        return [Series({}, self.points)] * self.series if self.points else []


def world_of(probes: Any, prometheus: Any = None) -> World:
    def of(region: str) -> Any:
        assert region == ESTATE.canary_region
        return SimpleNamespace(prometheus=prometheus)

    clients = SimpleNamespace(probes=probes, of=of)
    return World(Target("estate-wide", ESTATE, "run", SimpleNamespace(), clients), now=lambda: NOW)  # type: ignore[arg-type]


def judged(probes: Any, prometheus: Any, seconds: int = 60) -> dict[str, str]:
    gates = edge_gates.edge_gates(ESTATE)
    stage = Stage("one", "one", tuple(probe.gate for probe in gates))
    figures = measured(world_of(probes, prometheus), gates, stage, seconds, {})
    return {result.gate.name: result.outcome.value for result in judge_all(stage.gates, figures)}


PASS = dict.fromkeys(
    ["p95_ms_us", "p95_ms_eu", "p95_ms_apac", "p95_ms_india", "p95_ms_south_america", "p95_weighted_ms"], "pass"
)
HITS = FakePrometheus(*[97.0] * 30)


def test_all_pass_and_the_limits_are_the_estates() -> None:
    assert judged(FakeProbes(), HITS) == {**PASS, "cache_hit_percent": "pass"}
    gates = {probe.gate.name: probe.gate for probe in edge_gates.edge_gates(ESTATE)}
    assert {name: gate.threshold for name, gate in gates.items()} == {
        "p95_ms_us": 25, "p95_ms_eu": 25, "p95_ms_apac": 25, "p95_ms_india": 35, "p95_ms_south_america": 35,
        "p95_weighted_ms": 30, "cache_hit_percent": 95,
    }  # fmt: skip
    assert [name for name, gate in gates.items() if gate.safety] == list(PASS)


def test_a_part_is_as_slow_as_its_slowest_probe_and_a_p95_at_the_limit_fails() -> None:
    figure = edge_gates.p95_of(FakeProbes().found, ESTATE, "apac")
    assert figure is not None
    assert (figure.value, figure.samples, figure.source) == (20.0, 100, "probes tokyo, sydney")
    assert judged(FakeProbes(sydney=25.0), HITS)["p95_ms_apac"] == "fail"


def test_the_weighted_p95_counts_each_part_by_its_share_of_the_requests() -> None:
    figure = edge_gates.weighted_p95(FakeProbes().found, ESTATE)
    assert figure is not None
    assert (figure.value, figure.samples) == (round(WEIGHTED, 3), 50) == (14.15, 50)
    assert (
        judged(FakeProbes(virginia=24.9, oregon=24.9, frankfurt=24.9, dubai=2000.0), HITS)["p95_weighted_ms"] == "fail"
    )


@pytest.mark.parametrize(
    "probes",
    [
        FakeProbes(sydney=None),
        FakeProbes(sydney_age=61),  # older than the gate's window
        FakeProbes(sydney_age=-60),  # its clock is a minute ahead of ours
    ],
)
def test_a_probe_that_is_silent_old_or_from_the_future_leaves_its_part_unknown(probes: FakeProbes) -> None:
    found = judged(probes, HITS)
    assert {name for name, outcome in found.items() if outcome == Outcome.UNKNOWN} == {"p95_ms_apac", "p95_weighted_ms"}


def test_a_part_without_any_probe_and_one_with_few_samples_are_unknown() -> None:
    probes = FakeProbes()
    probes.found = [result for result in probes.found if result.country != "IN"]
    assert judged(probes, HITS)["p95_ms_india"] == "unknown"
    found = judged(FakeProbes(samples=19), HITS)
    assert found["p95_ms_india"] == "unknown"
    assert found["p95_ms_us"] == "pass"  # two probes of 19 samples


def test_a_result_that_is_older_than_the_estate_allows_is_none_whatever_the_window() -> None:
    assert judged(FakeProbes(age=299), HITS, seconds=1800)["p95_ms_us"] == "pass"
    assert judged(FakeProbes(age=301), HITS, seconds=1800)["p95_ms_us"] == "unknown"


@pytest.mark.parametrize(
    ("prometheus", "outcome"),
    [
        (FakePrometheus(*[95.1] * 30), "pass"),
        (FakePrometheus(*[95.0] * 30), "fail"),
        (FakePrometheus(*[0.97] * 30), "fail"),  # a share where a percentage belongs
        (FakePrometheus(), "unknown"),
        (FakePrometheus(97.0, 97.0), "unknown"),  # of four seconds in a window of a minute
    ],
)
def test_the_cache_hit_rate_is_a_percentage_and_needs_samples(prometheus: Any, outcome: str) -> None:
    assert judged(FakeProbes(), prometheus)["cache_hit_percent"] == outcome


def test_two_distributions_are_told_apart_by_the_estate() -> None:
    with pytest.raises(PrometheusError, match=r"gives 2 series, wanted one: name the distribution's labels in"):
        edge_gates.cache_hits(world_of(FakeProbes(), FakePrometheus(97.0, series=2)), 60)


def test_preflight_names_each_part_without_data() -> None:
    world = world_of(FakeProbes(sydney=None, dubai_age=400), FakePrometheus())
    found = [(check.name, check.passed, check.reason) for check in edge_gates.measurable(world)]
    assert found == [
        ("probes of apac", False, "sydney: no result of the last 300 s"),
        ("probes of middle_east", False, "dubai: no result of the last 300 s"),
        ("cache hit rate", False, "no cloudfront_cache_hit_rate"),
    ]
    passed = list(edge_gates.measurable(world_of(FakeProbes(), HITS)))
    assert [(check.passed, check.reason) for check in passed] == [
        (True, "10 probes answer, at least one in each part of the world"),
        (True, "cloudfront_cache_hit_rate is there"),
    ]


def test_preflight_says_why_the_probes_do_not_answer() -> None:
    def results() -> Any:
        raise ProbesError("http://probes.example/probes can't be reached")

    (check,) = edge_gates.measurable(world_of(SimpleNamespace(results=results)))
    assert (check.name, check.passed, check.reason) == (
        "probes",
        False,
        "http://probes.example/probes can't be reached",
    )


def test_the_evidence_has_every_probe_and_says_null_for_what_is_not_known() -> None:
    assert edge_gates.latency_evidence(world_of(FakeProbes(mumbai=None), HITS)) == {
        "p95_ms": {name: None if name == "mumbai" else p95 for (name, _), p95 in P95.items()},
        "p95_weighted_ms": None,
        "cache_hit_percent": 97.0,
    }
