"""The API server that the levers' tests run on behaves like the one it stands for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.clients.kubernetes import (
    CONFIG_MAP,
    DEPLOYMENT,
    NAMESPACE,
    NODE_POOL,
    POD,
    SERVICE,
    ConflictError,
    ForbiddenError,
    KubernetesError,
    NotServedError,
)
from tests.unit.levers.fake_cluster import Crashed, FakeCluster, Writes, crash_at


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster(Writes())
    cluster.put({"kind": "Namespace", "metadata": {"name": "team"}})
    return cluster


def deployment(**container: Any) -> dict[str, Any]:
    pod = {"containers": [{"name": "app", **container}]}
    metadata = {"name": "web", "namespace": "team"}
    spec = {"replicas": 2, "template": {"spec": pod}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def container(cluster: FakeCluster) -> dict[str, Any]:
    found = cluster.get(DEPLOYMENT, "web", "team")
    assert found is not None
    (only,) = found["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_items_of_a_raw_list_have_no_kind_and_an_object_has(cluster: FakeCluster) -> None:
    answer = cluster.api.call_api("/api/v1/namespaces", "GET", [], {"Accept": "application/json"})
    assert [sorted(item) for item in json.loads(answer.data)["items"]] == [["metadata"]]
    assert cluster.list(NAMESPACE)[0]["kind"] == "Namespace"
    assert cluster.get(NAMESPACE, "team")["metadata"]["resourceVersion"] == "2"  # type: ignore[index]


def test_an_absent_name_is_none_and_an_absent_definition_an_error(cluster: FakeCluster) -> None:
    assert cluster.get(NODE_POOL, "x") is None
    cluster.unserved = {"nodepools"}
    with pytest.raises(NotServedError):
        cluster.get(NODE_POOL, "x")
    assert cluster.serves(NODE_POOL) is False


def test_two_managers_own_entries_of_one_keyed_list_and_a_value_that_differs_is_a_conflict(
    cluster: FakeCluster,
) -> None:
    cluster.apply(deployment(image="a:1", env=[{"name": "A", "value": "1"}]), "one")
    cluster.apply(deployment(env=[{"name": "B", "value": "2"}]), "two")
    assert container(cluster)["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    with pytest.raises(ConflictError) as refused:
        cluster.apply(deployment(image="a:2"), "two")
    assert refused.value.owners == {'.spec.template.spec.containers[name="app"].image': "one"}
    cluster.apply(deployment(env=[]), "two")  # gives up what it no longer names
    assert container(cluster)["env"] == [{"name": "A", "value": "1"}]


def test_an_atomic_list_has_one_owner(cluster: FakeCluster) -> None:
    cluster.apply(deployment(args=["a"]), "one")
    with pytest.raises(ConflictError):
        cluster.apply(deployment(args=["a", "b"]), "two")


def test_a_patch_takes_the_fields_that_it_changes(cluster: FakeCluster) -> None:
    cluster.apply(deployment(image="a:1"), "one")
    cluster.patch(DEPLOYMENT, "web", {"spec": {"replicas": 5}}, "team", manager="hpa")
    with pytest.raises(ConflictError) as refused:
        cluster.apply(deployment(image="a:1"), "one")
    assert refused.value.owners == {".spec.replicas": "hpa"}


def test_a_namespace_takes_its_time_and_then_all_that_it_holds(cluster: FakeCluster) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "team"}}, "one")
    assert cluster.delete(NAMESPACE, "team") is True
    assert "deletionTimestamp" in cluster.get(NAMESPACE, "team")["metadata"]  # type: ignore[index]
    with pytest.raises(ForbiddenError, match="being terminated"):
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n", "namespace": "team"}}, "one")
    cluster.settle()
    assert cluster.get(CONFIG_MAP, "m", "team") is None
    assert cluster.get(NAMESPACE, "team") is None


def test_nothing_is_made_in_a_namespace_that_does_not_exist(cluster: FakeCluster) -> None:
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "nowhere"}}
    with pytest.raises(KubernetesError, match='namespaces "nowhere" not found'):
        cluster.apply(body, "one")
    assert cluster.list(SERVICE) == []


def test_what_depends_on_an_object_goes_after_it(cluster: FakeCluster) -> None:
    uid = cluster.apply(deployment(image="a:1"), "one")["metadata"]["uid"]
    owner = {"kind": "Deployment", "name": "web", "uid": uid}
    cluster.put({"kind": "Pod", "metadata": {"name": "p", "namespace": "team", "ownerReferences": [owner]}})
    cluster.settle()
    assert [pod["metadata"]["name"] for pod in cluster.list(POD)] == ["p"]
    cluster.delete(DEPLOYMENT, "web", "team")
    cluster.settle()
    assert cluster.list(POD) == []


def test_a_dry_run_changes_nothing(cluster: FakeCluster) -> None:
    cluster.apply(deployment(image="a:1"), "one", dry_run=True)
    assert cluster.get(DEPLOYMENT, "web", "team") is None
    assert cluster.writes == []


def test_a_process_can_end_after_any_write(cluster: FakeCluster) -> None:
    crash_at(cluster.writes, 1)  # type: ignore[arg-type]
    with pytest.raises(Crashed):
        cluster.apply(deployment(image="a:1"), "one")
    assert cluster.writes == ["apply Deployment/web"]
    assert cluster.get(DEPLOYMENT, "web", "team") is not None
    cluster.apply(deployment(image="a:1"), "one")


def test_a_watch_tells_what_changes_while_it_is_open(cluster: FakeCluster) -> None:
    events = cluster.watch(POD, 5.0, "team")
    cluster.put({"kind": "Pod", "metadata": {"name": "p", "namespace": "team"}})
    event, pod = next(events)
    assert (event, pod["metadata"]["name"], pod["kind"]) == ("ADDED", "p", "Pod")
