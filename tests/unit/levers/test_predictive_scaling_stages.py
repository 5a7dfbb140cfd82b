"""The predictive-scaling lever: what its stages write, how their gates are judged, and what the report gets."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest

from include.forecast.registry import Registry
from include.levers.predictive_scaling.wanted import DEPLOYMENT_NAME, PREDICTIVE, PREDICTOR, REACTIVE
from include.rollout.lever import NotConverged, Refused, Target
from tests.unit.levers.scaling_world import AS_OF, LEVER, REGION, World, judged, outcomes, stage_of
from tests.unit.levers.spot_world import NOW, Object, condition


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# Apply ----------------------------------------------------------------------------------------------------------------


def test_the_stages_build_on_each_other_and_a_second_time_changes_nothing(world: World) -> None:
    plan = LEVER.plan(world.target)
    LEVER.apply(world.target, plan.stages[0])
    assert world.replicas() == {"akidb-rest": 15, "akidb-grpc": 15}
    figures = LEVER.apply(world.target, plan.stages[1])
    assert figures["replicas_after"] == {"akidb-rest": 11, "akidb-grpc": 11}
    assert world.triggers("akidb-rest") == ["requests"]
    world.prometheus.added = lambda at: 5000.0
    LEVER.apply(world.target, plan.stages[2])
    assert world.triggers("akidb-grpc") == ["requests", "forecast"]
    assert world.replicas() == {"akidb-rest": 18, "akidb-grpc": 18}
    assert len(world.fences) == 8
    before = copy.deepcopy(world.cluster.objects)
    world.apply_all()
    assert world.cluster.objects == before


def test_a_predictor_without_forecast_stops_the_rollout_with_what_is_missing(world: World) -> None:
    stage = stage_of(world, PREDICTOR)
    world.prometheus.age = None
    with pytest.raises(NotConverged, match="no forecast in Prometheus: is traffic-predictor up and scraped"):
        LEVER.apply(world.target, stage)
    world.prometheus.age = 500.0
    with pytest.raises(NotConverged, match="the newest forecast is 500 s old, 180 s are allowed"):
        LEVER.apply(world.target, stage)
    world.prometheus.age, world.prometheus.horizons = 5.0, 3.0
    with pytest.raises(NotConverged, match="has 3 of 15 horizons"):
        LEVER.apply(world.target, stage)
    world.cluster.becomes_ready = False
    world.cluster.objects["Deployment", "akidb", DEPLOYMENT_NAME]["status"] = {}
    with pytest.raises(NotConverged, match="traffic-predictor: 0 of 2 pods of the current template available"):
        LEVER.apply(world.target, stage)


def test_a_keda_that_does_nothing_stops_the_rollout(world: World) -> None:
    world.cluster.keda_works = False
    with pytest.raises(NotConverged, match="ScaledObject akidb-rest is not ready: none"):
        LEVER.apply(world.target, stage_of(world, REACTIVE))


def test_a_lock_taken_over_stops_every_write(world: World) -> None:
    def fence() -> None:
        raise Refused("the lock was taken over")

    world.apply_all()
    snapshot = LEVER.snapshot(World(world.folder / "other").target)
    world.writes.clear()
    fenced = Target(REGION, world.estate, "run", world.target.settings, world.clients, fence)
    for act in (lambda: LEVER.apply(fenced, stage_of(world, PREDICTIVE)), lambda: LEVER.rollback(fenced, snapshot)):
        with pytest.raises(Refused, match="taken over"):
            act()
    assert world.writes == []


# Gates ----------------------------------------------------------------------------------------------------------------


def test_every_gate_passes_in_a_healthy_world(world: World) -> None:
    world.apply_all()
    stages = {PREDICTOR: 3, PREDICTIVE: 8}
    assert {slot: set(outcomes(world, slot).values()) for slot in stages} == {slot: {"pass"} for slot in stages}
    assert {slot: len(outcomes(world, slot)) for slot in stages} == stages
    _, reason = judged(world, PREDICTOR)["forecast_accuracy"]
    assert reason == (
        "forecast_accuracy: 0.95 ratio is >= 0.85 ratio (estate predictive_scaling.min_accuracy; 1 samples); WAPE "
        f"0.0500 against 0.0800 of last_week_scaled, registry, on data up to {AS_OF}"
    )


def test_a_predictor_that_is_down_is_said_and_does_not_pass(world: World) -> None:
    world.apply_all()
    world.prometheus.age = None
    outcome, reason = judged(world, PREDICTIVE)["forecast_age"]
    assert (outcome, reason) == (
        "unknown",
        "forecast_age: 0 of the 1 samples that it needs; no forecast in Prometheus: is traffic-predictor up and "
        "scraped? Scaling goes on by requests alone",
    )
    others = {name: found for name, found in outcomes(world, PREDICTIVE).items() if name != "forecast_age"}
    assert set(others.values()) == {"pass"}
    evidence = LEVER.evidence(world.target)
    assert evidence["forecast"].endswith("Scaling goes on by requests alone")
    assert evidence["forecast_age_seconds"] is None


def test_a_champion_that_is_no_better_than_a_naive_fails(world: World) -> None:
    world.promote("worse", candidate=0.2)
    assert outcomes(world, PREDICTOR) == {
        "forecast_age": "pass", "forecast_accuracy": "fail", "forecast_against_naive": "fail",
    }  # fmt: skip


def test_lost_metrics_fail_or_are_unknown_but_never_pass(world: World) -> None:
    world.apply_all()
    world.prometheus.lost = True
    world.cluster.fallback = "True"
    world.cluster.settle()
    found = judged(world, PREDICTIVE)
    assert {name: found[name][0] for name in ("fallback_active", "replicas_below_need", "false_scale_ups")} == {
        "fallback_active": "fail", "replicas_below_need": "unknown", "false_scale_ups": "unknown",
    }  # fmt: skip
    assert found["fallback_active"][1].endswith("lost metrics of akidb-rest, akidb-grpc")


def test_an_hpa_that_wants_less_than_the_requests_need_fails(world: World) -> None:
    world.apply_all()
    world.prometheus.demand = lambda at: 4000.0  # 14.3 replicas; 13 is within the HPA's tolerance
    hpa = world.cluster.objects["HorizontalPodAutoscaler", "akidb", "keda-hpa-akidb-rest"]
    other = world.cluster.objects["HorizontalPodAutoscaler", "akidb", "keda-hpa-akidb-grpc"]
    hpa["status"]["desiredReplicas"] = other["status"]["desiredReplicas"] = 13
    assert outcomes(world, PREDICTIVE)["replicas_below_need"] == "pass"
    hpa["status"]["desiredReplicas"] = 12
    outcome, reason = judged(world, PREDICTIVE)["replicas_below_need"]
    assert outcome == "fail"
    assert "akidb-rest: 12 for 4000 requests/s, which need 13" in reason


def test_an_hpa_without_figures_fails(world: World) -> None:
    world.apply_all()
    hpa = world.cluster.objects["HorizontalPodAutoscaler", "akidb", "keda-hpa-akidb-rest"]
    hpa["status"]["conditions"][1] = condition("ScalingActive", "False") | {"message": "no metrics"}
    outcome, reason = judged(world, PREDICTIVE)["autoscalers_unhealthy"]
    assert outcome == "fail"
    assert reason.endswith("the HPA of akidb-rest is not ScalingActive: no metrics")


def test_replicas_that_nobody_needed_fail_once_their_time_is_over(world: World) -> None:
    world.apply_all()
    world.prometheus.added = lambda at: 5000.0 if at < NOW - 1000 else 0.0
    outcome, reason = judged(world, PREDICTIVE)["false_scale_ups"]
    assert outcome == "fail"
    assert "replica-steps of 15 s at most" in reason


def test_scale_ups_are_judged_with_forecast_and_demand_for_most_of_the_stage(world: World) -> None:
    world.apply_all()
    stage = next(stage for stage in LEVER.plan(world.target).stages if stage.slot == PREDICTIVE)
    figure = LEVER.observe(world.target, stage, 600, {"started_at": NOW - 600})["false_scale_ups"]
    assert figure is not None
    assert figure.coverage == 1.0
    world.prometheus.added = lambda at: math.nan if at > NOW - 300 else 0.0
    figure = LEVER.observe(world.target, stage, 600, {"started_at": NOW - 600})["false_scale_ups"]
    assert figure is not None
    assert figure.coverage == 0.5


def test_a_forecast_that_comes_true_is_no_waste(world: World) -> None:
    world.apply_all()
    world.prometheus.added = lambda at: 5000.0 if NOW - 1500 < at < NOW - 900 else 0.0
    world.prometheus.demand = lambda at: 5000.0 if at >= NOW - 900 else 2900.0
    assert outcomes(world, PREDICTIVE)["false_scale_ups"] == "pass"


# The report -----------------------------------------------------------------------------------------------------------


def test_evidence_has_the_figures_of_the_report(world: World) -> None:
    world.apply_all()
    assert LEVER.evidence(world.target) == {
        "nodes": 5,
        "replicas": {"akidb-rest": 11, "akidb-grpc": 11},
        "pods": 22,
        "autoscaled": {"akidb-rest": True, "akidb-grpc": True},
        "forecast": "sure",
        "forecast_age_seconds": 20.0,
        "champion": world.version,
        "forecast_accuracy": 0.95,
        "forecast_accuracy_of": f"WAPE 0.0500 against 0.0800 of last_week_scaled, registry, on data up to {AS_OF}",
        "usd_hour": pytest.approx(5 * 0.29),
        "usd_hour_unknown": [],
        "p95_ms": pytest.approx(23.776, abs=0.001),
        "error_ratio": 0.0,
    }


def test_evidence_before_the_rollout_needs_no_champion(tmp_path: Path) -> None:
    world = World(tmp_path, champion=False)
    world.prometheus.age = None
    evidence: Object = LEVER.evidence(world.target)
    assert (evidence["champion"], evidence["forecast_accuracy"]) == (None, None)
    assert evidence["replicas"] == {"akidb-rest": 15, "akidb-grpc": 15}


def test_the_registry_is_read_only(world: World) -> None:
    keys = world.storage.keys()
    world.apply_all()
    LEVER.preflight(world.target)
    LEVER.evidence(world.target)
    assert world.storage.keys() == keys
    assert Registry(world.storage, REGION).pointer().version == world.version
