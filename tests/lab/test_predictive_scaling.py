"""The predictive-scaling lever against real KEDA, a real API server and Prometheus, as the user that Airflow gets.

The forecast is played by recording rules: the lever looks at Prometheus only, and so a test can say what comes.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubernetes import client

from include.clients.aws import Aws
from include.clients.kubernetes import AUTOSCALER, DEPLOYMENT, SCALED_OBJECT, Cluster, ForbiddenError
from include.clients.prometheus import Prometheus
from include.clients.storage import Folder
from include.forecast import gauges
from include.forecast.registry import Action, ChampionDecision, Registry
from include.levers.autoscalers import scaling_problems
from include.levers.predictive_scaling import PredictiveScaling, figures
from include.levers.predictive_scaling.wanted import MANAGER, PREDICTIVE, REACTIVE, PredictiveSettings, forecast_query
from include.rollout.gates import Outcome, judge_all
from include.rollout.lever import Stage, Target
from include.rollout.settings import build
from lab import world as worlds
from lab.cluster.workloads import api_client
from tests.lab.conftest import REGION

# One worker boots one lab for all lab tests.
pytestmark = pytest.mark.lab
LEVER = PredictiveScaling()
AS_OF = "2026-11-24T00:00:00Z"
QUICK = {"polling_seconds": 5, "rate_window_seconds": 20, "scale_down_seconds": 15, "freshness_seconds": 30}


@pytest.fixture(scope="module")
def target(
    world: worlds.LabWorld, aws: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """The region as a task sees it, with a champion in a registry that the real predictor does not see."""
    state = world.state
    cluster = Cluster(api_client(Path(state["regions"][REGION]["rollout_kubeconfig"])))
    storage = Folder(tmp_path_factory.mktemp("models"))
    crown(Registry(storage, REGION), tmp_path_factory.mktemp("made"))
    clients = SimpleNamespace(
        kubernetes=cluster,
        prometheus=Prometheus(state["prometheus"]),
        aws=Aws(lambda service, config: aws(service)),
        storage=lambda variable: storage,
        location=lambda variable: storage.root.as_uri(),
    )
    given = QUICK | {"converge_timeout_seconds": 180, "prometheus_endpoint": state["prometheus"]}
    settings = build(PredictiveSettings, given, world.estate)
    made = Target(REGION, world.estate, "lab-test", settings, clients)
    snapshot = LEVER.snapshot(made)
    forecast(world, 5000)
    try:
        yield made
    finally:
        LEVER.rollback(made, snapshot)
        forecast(world, None)


def crown(registry: Registry, folder: Path) -> None:
    """A champion; the lever reads no more of it than its manifest."""
    (folder / "candidate.json").write_text("{}")
    window = {"first": "2026-10-25T00:00:00Z", "last": AS_OF}
    version = registry.add(folder, model="blend", window=window, metrics={}, code_version="1")
    figures = {"wape15": {"candidate": 0.05, "now": 0.1}}
    registry.move(registry.pointer(), ChampionDecision(Action.PROMOTED, version, "", "better", AS_OF, figures))


def forecast(world: worlds.LabWorld, qps: float | None) -> None:
    """Have the region's forecast say ``qps`` for each of the next 15 minutes; None: no forecast at all."""
    who = {"region": REGION, "job": "traffic-predictor", "instance": "test"}
    minutes = [who | {"horizon": str(minute), "quantile": gauges.MEDIAN} for minute in range(1, 16)]
    rules = [{"record": gauges.FORECAST, "expr": f"vector({qps})", "labels": labels} for labels in minutes]
    rules += [{"record": gauges.GENERATED, "expr": "vector(time())", "labels": who}]
    rules += [{"record": gauges.CONFIDENT, "expr": "vector(1)", "labels": who}]
    groups = [] if qps is None else [{"name": "test forecast", "interval": "2s", "rules": rules}]
    file = world.options.folder / "run" / "prometheus" / "rules" / "test-forecast.yaml"
    file.write_text(yaml.safe_dump({"groups": groups}))
    reload = urllib.request.Request(f"{world.state['prometheus']}/-/reload", method="POST")
    with urllib.request.urlopen(reload, timeout=30) as answer:
        assert answer.status == 200


def replicas(target: Target) -> dict[str, int]:
    """Wanted replicas of each workload."""
    found = {name: target.clients.kubernetes.get(DEPLOYMENT, name, "akidb") for name in target.estate.workloads}
    return {name: thing["spec"]["replicas"] for name, thing in found.items()}


def settled(target: Target, enough: set[int]) -> bool:
    """Whether each workload wants one of these numbers of replicas."""
    return {*replicas(target).values()} <= enough


@pytest.fixture(scope="module")
def rolled_out(target: Target) -> Any:
    """Every stage applied once; the snapshot of before and the figures of each stage."""
    snapshot = LEVER.snapshot(target)
    return snapshot, {stage.slot: LEVER.apply(target, stage) for stage in LEVER.plan(target).stages}


def test_preflight_passes_and_the_plan_is_the_same_twice(target: Target, world: worlds.LabWorld) -> None:
    def failed() -> list[str]:
        return [f"{check.name}: {check.reason}" for check in LEVER.preflight(target) if not check.passed]

    # Series that are scraped every few seconds may not be there in the first seconds of a lab.
    world.processes.wait_until(lambda: not failed(), f"preflight, not {failed()}", 30)
    assert failed() == []
    assert LEVER.plan(target).hash() == LEVER.plan(target).hash()


def test_somebody_elses_autoscaler_is_refused(target: Target, world: worlds.LabWorld) -> None:
    admin = client.AutoscalingV2Api(api_client(Path(world.state["regions"][REGION]["kubeconfig"])))
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "akidb-grpc"},
        "minReplicas": 15,
        "maxReplicas": 15,
    }
    body = {"metadata": {"name": "by-hand"}, "spec": spec}
    admin.create_namespaced_horizontal_pod_autoscaler("akidb", body, field_manager="somebody")
    try:
        (refusal,) = [check for check in LEVER.preflight(target) if not check.passed]
        assert "HorizontalPodAutoscaler by-hand of somebody" in refusal.reason
    finally:
        admin.delete_namespaced_horizontal_pod_autoscaler("by-hand", "akidb")


def test_every_gate_passes(target: Target, rolled_out: Any, world: worlds.LabWorld) -> None:
    _, applied = rolled_out

    def failures() -> list[str]:
        results = [
            result
            for stage in LEVER.plan(target).stages
            for result in judge_all(stage.gates, LEVER.observe(target, stage, 20, applied[stage.slot]))
        ]
        return [result.reason for result in results if result.outcome is not Outcome.PASS]

    world.processes.wait_until(lambda: not failures(), f"every gate passing, not {failures()}", 90)
    assert LEVER.plan(target).differences == ()


def test_applying_twice_changes_nothing(target: Target, rolled_out: Any) -> None:
    before = LEVER.snapshot(target)
    for stage in LEVER.plan(target).stages:
        LEVER.apply(target, stage)
    assert LEVER.snapshot(target) == before


def test_requests_decide_the_least_and_a_forecast_adds_until_it_is_lost(
    target: Target, rolled_out: Any, world: worlds.LabWorld
) -> None:
    # 5,880 requests/s, half of them each, at 280 a replica: 11. 10 stay 10, since Kubernetes' autoscaler leaves alone
    # what is within a tenth of the target; it comes there if the first look saw a little less.
    enough = {10, 11}
    world.processes.wait_until(lambda: settled(target, enough), f"{enough} replicas each, not {replicas(target)}", 120)
    forecast(world, 9000)  # 4,500 for each: 17 replicas
    world.processes.wait_until(lambda: settled(target, {17}), f"17 replicas each, not {replicas(target)}", 90)
    forecast(world, None)
    world.processes.wait_until(lambda: settled(target, enough), f"{enough} again, not {replicas(target)}", 120)
    lever_world = LEVER.world(target)
    assert figures.forecast_age(lever_world).note == figures.DOWN
    assert not any(scaling_problems(lever_world).values())  # 0 is a value
    for name in target.estate.workloads:
        query = forecast_query(target.estate, REGION, lever_world.settings, name)
        assert target.clients.prometheus.value(query) == 0
    forecast(world, 5000)


def test_the_user_can_not_scale_or_make_anything_else(target: Target) -> None:
    cluster: Cluster = target.clients.kubernetes
    spec = {"scaleTargetRef": {"name": "akidb-rest"}, "triggers": []}
    body = {"apiVersion": SCALED_OBJECT.api_version, "kind": "ScaledObject", "spec": spec}
    with pytest.raises(ForbiddenError):
        cluster.apply({**body, "metadata": {"name": "another", "namespace": "akidb"}}, MANAGER)
    with pytest.raises(ForbiddenError):
        cluster.apply({**body, "metadata": {"name": "akidb-rest", "namespace": "default"}}, MANAGER)
    with pytest.raises(ForbiddenError):
        cluster.delete(AUTOSCALER, "keda-hpa-akidb-rest", "akidb")
    with pytest.raises(ForbiddenError):
        cluster.delete(DEPLOYMENT, "akidb-rest", "akidb")


def test_the_forecast_alone_is_taken_out_in_seconds(target: Target, rolled_out: Any, world: worlds.LabWorld) -> None:
    settings = target.settings.model_copy(update={"use_forecast": False})
    alone = Target(REGION, target.estate, "lab-test", settings, target.clients)
    (stage,) = LEVER.plan(alone).stages
    assert stage.slot == REACTIVE
    before = {name: hpa["metadata"]["uid"] for name, hpa in autoscalers(target).items()}
    figures = LEVER.apply(alone, stage)
    assert {name: hpa["metadata"]["uid"] for name, hpa in autoscalers(target).items()} == before
    assert figures["seconds"] < 60
    LEVER.apply(target, Stage(PREDICTIVE, "back", ()))


def autoscalers(target: Target) -> dict[str, Any]:
    """KEDA's HPA of each workload."""
    found = target.clients.kubernetes.list(AUTOSCALER, "akidb")
    return {hpa["spec"]["scaleTargetRef"]["name"]: hpa for hpa in found}


def test_it_is_undone_to_the_last_replica(target: Target, rolled_out: Any) -> None:
    snapshot, _ = rolled_out
    restored = LEVER.rollback(target, snapshot)
    assert restored.steps[0].startswith("forecast trigger of akidb-rest taken out after ")
    assert restored.changed_by_others == ()
    assert LEVER.verify_restored(target, snapshot) == []
    assert replicas(target) == {"akidb-rest": 15, "akidb-grpc": 15}
    assert autoscalers(target) == {}
    assert LEVER.rollback(target, snapshot).steps == ("nothing was written, nothing is to be undone",)
