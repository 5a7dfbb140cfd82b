"""What right-sizing checks before anything is written: each failed check has its reason and its remedy."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.levers.scaling_world import autoscaler
from tests.unit.levers.sizing_world import LEVER, NOW, World, failed, resources_of
from tests.unit.levers.spot_world import budget

Spoil = Callable[[World], Any]
LATE = dt.datetime.fromtimestamp(NOW - 75, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def world() -> World:
    return World()


def template(world: World, name: str = "akidb-rest") -> dict[str, Any]:
    resources: dict[str, Any] = world.cluster.objects["Deployment", "akidb", name]["spec"]["template"]["spec"][
        "containers"
    ]
    return resources[0]["resources"]  # type: ignore[index]


def unserved(world: World) -> None:
    world.cluster.unserved = {"verticalpodautoscalers"}


def without(kind: str, space: str, name: str) -> Spoil:
    return lambda world: world.cluster.objects.pop((kind, space, name))


def resource_hpa(world: World) -> None:
    found = autoscaler("theirs", "akidb-grpc", 15, 0)
    found["spec"]["metrics"] = [{"type": "Resource", "resource": {"name": "cpu"}}]
    world.cluster.put(found)


def their_vpa(world: World) -> None:
    metadata = {
        "name": "theirs",
        "namespace": "akidb",
        "managedFields": [],
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
    }
    spec = {"targetRef": {"kind": "Deployment", "name": "akidb-rest"}, "resourcePolicy": {"containerPolicies": [{}]}}
    policy = {
        "containerName": "akidb",
        "minAllowed": {"cpu": "1m", "memory": "1"},
        "maxAllowed": {"cpu": "9", "memory": "9Gi"},
    }
    spec |= {"updatePolicy": {"updateMode": "Off"}, "resourcePolicy": {"containerPolicies": [policy]}}
    world.cluster.put({"kind": "VerticalPodAutoscaler", "metadata": metadata, "spec": spec})


def windows(world: World) -> None:
    world.cluster.objects["Node", "", "i-2"]["metadata"]["labels"]["kubernetes.io/os"] = "windows"


def lose_a_day(world: World) -> None:
    world.prometheus.gap = (NOW - 3 * 86_400, NOW - 2 * 86_400)


def select_by(label: str) -> Spoil:
    """Let akidb-rest's Deployment select by this label too, and its pods have it; Prometheus has it underscored."""

    def spoil(world: World) -> None:
        world.cluster.objects["Deployment", "akidb", "akidb-rest"]["spec"]["selector"]["matchLabels"][label] = "serving"
        for pod in world.cluster.pods("akidb-rest"):
            pod["metadata"]["labels"][label] = "serving"
        world.prometheus.labels = {"label_" + label.replace(".", "_").replace("/", "_"): "serving"}

    return spoil


def frozen(world: World) -> None:
    world.cluster.put(budget("akidb-rest", "akidb", maxUnavailable=0))


def by_hand(world: World) -> None:
    resources_of(world.cluster.pods("akidb-rest")[0])["requests"] = {"cpu": "1", "memory": "3Gi"}


@pytest.mark.parametrize(
    ("spoil", "name", "text"),
    [
        (unserved, "VPA's definitions", "not served -> install VPA 1.8.1: git clone -b vertical-pod-autoscaler-1.8.1"),
        (
            without("APIService", "", "v1beta1.metrics.k8s.io"),
            "metrics-server",
            "does not exist: VPA gets no samples -> install it: kubectl apply -f https://github.com/"
            "kubernetes-sigs/metrics-server/releases/download/v0.9.0/components.yaml (docs/how-to/"
            "install_controllers.md#metrics-server)",
        ),
        (
            without("Lease", "kube-system", "vpa-admission-controller"),
            "VPA's programs",
            "there is no lease vpa-admission-controller in kube-system: the updater does nothing without it",
        ),
        (
            lambda w: w.lease("vpa-updater", LATE),
            "VPA's programs",
            "vpa-updater has not renewed its lease in kube-system for 75 s",
        ),
        (
            without("MutatingWebhookConfiguration", "", "vpa-webhook-config"),
            "VPA's webhook",
            "vpa-webhook-config does not exist: new pods would keep their old requests",
        ),
        (
            lambda w: template(w)["requests"].pop("memory"),
            "requests of akidb-rest",
            "container akidb of Deployment akidb-rest requests no memory: a resize could add but never remove them",
        ),
        (
            lambda w: template(w).update(limits={"cpu": "1", "memory": "2Gi"}),
            "QoS class of akidb-rest",
            "pods of akidb-rest are Guaranteed: with lower requests they would be Burstable -> raise its limits above",
        ),
        (windows, "nodes", "i-2 are no Linux nodes: pods can't be resized there"),
        (by_hand, "sizes of akidb-rest", "akidb-rest-0 have other requests than the template of akidb-rest"),
        (
            frozen,
            "disruption budget of akidb-rest",
            "akidb/akidb-rest never allows an eviction: where a resize in place fails",
        ),
        (
            resource_hpa,
            "autoscaler of akidb-grpc",
            "HorizontalPodAutoscaler theirs scales akidb-grpc by cpu: it and VPA would",
        ),
        (
            lambda w: w.scale_by_requests("akidb-rest", type="memory"),
            "autoscaler of akidb-rest",
            "ScaledObject akidb-rest scales akidb-rest by memory",
        ),
        (
            their_vpa,
            "VPA of akidb-rest",
            "VerticalPodAutoscaler theirs of helm sizes akidb-rest already -> have helm remove it",
        ),
        (
            lose_a_day,
            "history of akidb-rest",
            "its use is not known for 2027-01-12 -> wait until these days have passed",
        ),
        (
            select_by("akidb.io/tier"),
            "history of akidb-rest",
            "its selector asks for akidb.io/tier, which kube_pod_labels has not or has otherwise: VPA would know "
            "nothing of these days -> let kube-state-metrics export it (--metric-labels-allowlist=pods=[app,...]); wh",
        ),
    ],
)
def test_what_stands_against_it_is_named_with_the_remedy(world: World, spoil: Spoil, name: str, text: str) -> None:
    spoil(world)
    found = failed(LEVER.preflight(world.target))
    assert name in found, found
    assert text in found[name]
    assert world.writes == []


def test_a_selector_whose_labels_are_exported_finds_its_history(world: World) -> None:
    select_by("tier")(world)
    assert failed(LEVER.preflight(world.target)) == {}
    world.prometheus.labels = {}
    assert "asks for tier, which" in failed(LEVER.preflight(world.target))["history of akidb-rest"]


def test_a_healthy_region_passes_every_check(world: World) -> None:
    assert failed(LEVER.preflight(world.target)) == {}
    world.apply_all()
    assert failed(LEVER.preflight(world.target)) == {}


def test_programs_without_a_lease_are_proved_by_what_they_do(world: World) -> None:
    for name in ("vpa-recommender-lease", "vpa-updater"):
        del world.cluster.objects["Lease", "kube-system", name]
    shown = [check.reason for check in LEVER.preflight(world.target) if check.name == "VPA's programs"]
    assert shown == [
        "vpa-recommender has no lease in kube-system: its first recommendation proves it, in its stage",
        "vpa-updater has no lease in kube-system: its first resize proves it, in its stage",
    ]


def test_what_is_not_resized_is_said(world: World) -> None:
    for name, count in (("akidb-rest", 0), ("akidb-grpc", 1)):
        world.cluster.objects["Deployment", "akidb", name]["spec"]["replicas"] = count
    world.cluster.settle()
    checks = {check.name: check for check in LEVER.preflight(world.target)}
    assert checks["mode of akidb-rest"].reason == "akidb-rest: scaled to zero: new pods only, there is none to resize"
    assert checks["replicas of akidb-grpc"].reason.startswith("akidb-grpc has one pod: VPA's updater leaves it")
    assert checks["mode of akidb-rest"].passed
    assert checks["replicas of akidb-grpc"].passed
