"""The training pod against a real API server: a server-side dry run, which checks every field and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from include.forecast.tasks import POD_RESOURCES, train_in_pod

pytestmark = pytest.mark.lab
NAMESPACE = "airflow"
IMAGE = "registry.example/akidb-train:1"


class LocalHook:
    """The operator's hook without an Airflow connection: it has no settings of its own."""

    is_in_cluster = False

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@pytest.fixture(scope="module")
def namespace(core: client.CoreV1Api) -> Iterator[str]:
    """The namespace that the pod is for; gone afterwards."""
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    try:
        yield NAMESPACE
    finally:
        core.delete_namespace(NAMESPACE)


def training_pod() -> client.V1Pod:
    """What KubernetesPodOperator would create."""
    operator = train_in_pod(IMAGE)
    operator.hook = LocalHook()
    return operator.build_pod_request_obj()


def test_the_api_server_accepts_the_training_pod_and_keeps_every_field(core: client.CoreV1Api, namespace: str) -> None:
    accepted = core.create_namespaced_pod(
        namespace, training_pod(), dry_run="All", field_manager="airflow", field_validation="Strict"
    )
    base = next(c for c in accepted.spec.containers if c.name == "base")
    assert (base.image, base.command) == (IMAGE, ["python", "-m", "include.forecast.retrain"])
    assert base.resources.requests == POD_RESOURCES["requests"]
    assert (accepted.spec.service_account_name, accepted.spec.restart_policy) == ("akidb-train", "Never")
    assert core.list_namespaced_pod(namespace).items == []


def test_the_dry_run_refuses_a_pod_that_could_not_run(core: client.CoreV1Api, namespace: str) -> None:
    pod = training_pod()
    pod.spec.containers[0].resources.limits["memory"] = "1Gi"  # below the request
    with pytest.raises(ApiException) as refusal:
        core.create_namespaced_pod(namespace, pod, dry_run="All", field_manager="airflow")
    assert refusal.value.status == 422
    assert "must be less than or equal to memory limit" in refusal.value.body
