"""The Kubernetes client against scripted answers: what it sends, what each refusal says, what an outage costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import MaxRetryError, ProtocolError

from include.clients.kubernetes import (
    DEPLOYMENT,
    NODE,
    NODE_POOL,
    POD,
    Cluster,
    ConflictError,
    CredentialsError,
    ForbiddenError,
    InvalidError,
    KubernetesError,
    NotServedError,
    TimedOutError,
    UnreachableError,
)

DOWN = MaxRetryError(None, "/", "connection refused")  # type: ignore[arg-type]


class Stream:
    """A watch's answer: lines, then a broken connection if ``breaks``."""

    def __init__(self, *events: dict[str, Any], breaks: bool = False) -> None:
        self._events, self._breaks = events, breaks
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for event in self._events:
            yield json.dumps(event).encode()
        if self._breaks:
            raise ProtocolError("connection broken")

    def close(self) -> None:
        self.closed = True


class Api:
    """An ApiClient that answers from a list and records the requests."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []
        self.configuration = SimpleNamespace(host="https://cluster.example")

    def call_api(self, path: str, method: str, **request: Any) -> Any:
        self.requests.append({"path": path, "method": method, **request})
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Stream):
            return answer
        return SimpleNamespace(data=json.dumps(answer).encode())

    def query(self, index: int = -1) -> dict[str, str]:
        return dict(self.requests[index]["query_params"])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def refusal(status: int, body: dict[str, Any] | str) -> ApiException:
    error = ApiException(status=status, reason="because")
    error.body = body if isinstance(body, str) else json.dumps(body)
    return error


def cluster(*answers: Any, patience: float = 60.0) -> tuple[Cluster, Api, Clock]:
    api, clock = Api(*answers), Clock()
    return Cluster(api, "test", patience, clock.sleep, clock), api, clock


def page(*items: Any, token: str = "", version: str = "7") -> dict[str, Any]:
    return {"items": list(items), "metadata": {"resourceVersion": version, "continue": token}}


def test_paths_of_core_group_and_cluster_wide_kinds() -> None:
    assert POD.path("akidb", "p", "eviction") == "/api/v1/namespaces/akidb/pods/p/eviction"
    assert DEPLOYMENT.path() == "/apis/apps/v1/deployments"
    assert NODE_POOL.path("ignored", "akidb-spot") == "/apis/karpenter.sh/v1/nodepools/akidb-spot"


def test_list_reads_every_page() -> None:
    client, api, _ = cluster(page({"metadata": {"name": "a"}}, token="t"), page({"metadata": {"name": "b"}}))
    assert [node["metadata"]["name"] for node in client.list(NODE, labels="x=y")] == ["a", "b"]
    assert api.query(0) == {"limit": "500", "labelSelector": "x=y"}
    assert api.query(1) == {"limit": "500", "labelSelector": "x=y", "continue": "t"}


EXPIRED = {"message": "The provided continue parameter is too old", "reason": "Expired"}


def named(*names: str) -> list[dict[str, Any]]:
    return [{"metadata": {"name": name}} for name in names]


def test_a_list_whose_version_is_forgotten_between_two_pages_is_read_anew() -> None:
    client, api, _ = cluster(
        page(*named("gone"), token="t"), refusal(410, EXPIRED), page(*named("a"), token="u"), page(*named("b"))
    )
    assert [node["metadata"]["name"] for node in client.list(NODE)] == ["a", "b"]
    assert [api.query(n).get("continue") for n in range(4)] == [None, "t", None, "u"]


def test_a_list_that_changes_faster_than_its_pages_is_read_in_one() -> None:
    often = [answer for _ in range(3) for answer in (page(*named("x"), token="t"), refusal(410, EXPIRED))]
    client, api, _ = cluster(*often, page(*named("a", "b")))
    assert [node["metadata"]["name"] for node in client.list(NODE)] == ["a", "b"]
    assert api.query() == {}


def test_only_metadata_is_asked_for_where_no_more_is_needed() -> None:
    client, api, _ = cluster(page(*named("a")))
    assert client.list(DEPLOYMENT, "akidb", metadata_only=True)[0]["kind"] == "Deployment"
    assert "as=PartialObjectMetadataList" in api.requests[0]["header_params"]["Accept"]


def groups(*found: Any) -> dict[str, Any]:
    items = [
        {
            "metadata": {"name": name} if name else {},
            "versions": [
                {
                    "version": version,
                    "freshness": freshness,
                    "resources": [
                        {"resource": f"{kind.lower()}s", "responseKind": {"kind": kind}, "scope": scope, "verbs": verbs}
                        for kind, scope, verbs in resources
                    ],
                }
                for version, freshness, resources in versions
            ],
        }
        for name, versions in found
    ]
    return {"kind": "APIGroupDiscoveryList", "items": items}


def test_kinds_that_go_with_a_namespace_are_those_that_can_be_listed_and_deleted_there() -> None:
    both, space = ["list", "delete", "get"], "Namespaced"
    core = groups(("", [("v1", "Current", [("Secret", space, both), ("Node", "Cluster", both)])]))
    metrics = ("metrics.k8s.io", [("v1beta1", "Current", [("PodMetric", space, ["get", "list"])])])
    keda = [("ScaledObject", space, both), ("OldOne", space, both)]
    versions = ("keda.sh", [("v1", "Current", keda[:1]), ("v1alpha1", "Current", keda)])
    client, _, _ = cluster(core, groups(metrics, versions))
    assert [(kind.api_version, kind.name) for kind in client.namespaced_kinds()] == [
        ("v1", "Secret"),
        ("keda.sh/v1", "ScaledObject"),
        ("keda.sh/v1alpha1", "OldOne"),
    ]


def test_a_group_whose_server_is_away_and_an_old_cluster_are_no_answer() -> None:
    client, _, _ = cluster(groups(), groups(("custom.io", [("v1", "Stale", [])])))
    with pytest.raises(UnreachableError, match=r"API group custom\.io does not answer: see kubectl get apiservices"):
        client.namespaced_kinds()
    client, _, _ = cluster({"kind": "APIVersions"})
    with pytest.raises(KubernetesError, match=r"Kubernetes 1\.27 or newer"):
        client.namespaced_kinds()


def test_an_item_of_a_list_says_what_it_is_as_the_object_itself_does() -> None:
    client, _, _ = cluster(page({"metadata": {"name": "a"}}))
    (found,) = client.list(DEPLOYMENT, "akidb")
    assert found == {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}


def test_an_absent_object_is_none_but_an_absent_definition_is_an_error() -> None:
    client, _, _ = cluster(
        refusal(404, {"message": 'nodepools "x" not found', "details": {"name": "x"}}),
        refusal(404, "404 page not found"),
    )
    assert client.get(NODE_POOL, "x") is None
    with pytest.raises(NotServedError, match=r"test does not serve nodepools\.karpenter\.sh: install its Custom"):
        client.get(NODE_POOL, "x")


def test_serves_asks_the_group() -> None:
    client, api, _ = cluster({"resources": [{"name": "nodepools"}]}, refusal(404, "404 page not found"))
    assert client.serves(NODE_POOL) is True
    assert client.serves(NODE_POOL) is False
    assert api.requests[0]["path"] == "/apis/karpenter.sh/v1"


def test_apply_is_server_side_and_a_conflict_names_the_manager() -> None:
    conflict = refusal(
        409,
        {
            "message": "Apply failed",
            "details": {
                "causes": [
                    {
                        "reason": "FieldManagerConflict",
                        "message": 'conflict with "argocd" using apps/v1',
                        "field": ".spec.replicas",
                    }
                ]
            },
        },
    )
    client, api, _ = cluster({}, conflict)
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"}}
    client.apply(body, "us", dry_run=True)
    assert api.query() == {"fieldManager": "us", "force": "false", "fieldValidation": "Strict", "dryRun": "All"}
    assert api.requests[0]["method"] == "PATCH"
    assert api.requests[0]["header_params"]["Content-Type"] == "application/apply-patch+yaml"
    with pytest.raises(ConflictError, match=r"\.spec\.replicas belongs to argocd") as caught:
        client.apply(body, "us")
    assert caught.value.owners == {".spec.replicas": "argocd"}


def test_patch_is_merge_for_a_dictionary_and_json_patch_for_a_list() -> None:
    client, api, _ = cluster({}, {})
    client.patch(NODE, "n", {"spec": {"unschedulable": True}}, manager="us")
    client.patch(NODE, "n", [{"op": "remove", "path": "/spec/taints"}])
    sent = [request["header_params"]["Content-Type"] for request in api.requests]
    assert sent == ["application/merge-patch+json", "application/json-patch+json"]
    assert api.query(0) == {"fieldManager": "us"}


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, CredentialsError, r"does not accept the credentials \(401\).*renew those of its Kubernetes connection"),
        (403, ForbiddenError, "forbids get, list or watch on nodepools: said so"),
        (422, InvalidError, "rejected: said so"),
        (409, ConflictError, "said so"),
        (405, KubernetesError, "405 said so"),
    ],
)
def test_refusals_are_not_tried_again_and_say_what_to_do(status: int, error: type[Exception], words: str) -> None:
    client, api, _ = cluster(refusal(status, {"message": "said so"}))
    with pytest.raises(error, match=words):
        client.get(NODE_POOL, "x")
    assert len(api.requests) == 1


def test_an_api_server_that_has_just_started_forbids_for_a_moment() -> None:
    forbidden = refusal(403, {"message": "roles are not read yet"})
    client, api, _ = cluster(DOWN, forbidden, {"metadata": {"name": "x"}})
    assert client.get(NODE_POOL, "x") == {"metadata": {"name": "x"}}
    assert len(api.requests) == 3


def test_a_refusal_long_after_an_outage_is_a_refusal() -> None:
    client, api, clock = cluster(DOWN, {"metadata": {"name": "x"}}, refusal(403, {"message": "said so"}))
    client.get(NODE_POOL, "x")
    clock.now += 60
    with pytest.raises(ForbiddenError):
        client.get(NODE_POOL, "x")
    assert len(api.requests) == 3


def test_evict_tells_blocked_from_gone() -> None:
    client, api, _ = cluster(
        {}, refusal(429, {"message": "budget"}), refusal(404, {"message": "pod gone", "details": {"name": "p"}})
    )
    assert client.evict("p", "n") is True
    assert client.evict("p", "n") is False
    assert client.evict("p", "n") is True
    assert api.requests[0]["path"] == "/api/v1/namespaces/n/pods/p/eviction"


def test_two_budgets_on_one_pod_are_an_error_and_not_an_outage() -> None:
    client, api, _ = cluster(refusal(500, {"message": "This pod has more than one PodDisruptionBudget"}))
    with pytest.raises(KubernetesError, match="more than one PodDisruptionBudget"):
        client.evict("p", "n")
    assert len(api.requests) == 1


def test_delete_of_what_is_gone_is_false() -> None:
    client, api, _ = cluster({}, refusal(404, {"message": "gone", "details": {"name": "x"}}))
    assert client.delete(NODE_POOL, "x") is True
    assert client.delete(NODE_POOL, "x") is False
    assert api.requests[0]["body"] == {"propagationPolicy": "Background"}


def test_an_outage_shorter_than_the_patience_costs_time_only() -> None:
    client, api, clock = cluster(*[DOWN] * 12, refusal(503, {"message": "starting"}), page({"metadata": {"name": "a"}}))
    assert [node["metadata"]["name"] for node in client.list(NODE)] == ["a"]
    assert len(api.requests) == 14
    assert 15 < clock.now < 35


def test_an_outage_longer_than_the_patience_names_the_connection() -> None:
    client, _, clock = cluster(*[DOWN] * 40, patience=20)
    with pytest.raises(UnreachableError, match=r"cluster test can't be reached \(connection refused\): check the host"):
        client.list(NODE)
    assert 20 <= clock.now < 24


def test_version_does_not_wait() -> None:
    client, api, clock = cluster(DOWN)
    with pytest.raises(UnreachableError):
        client.version()
    assert (len(api.requests), clock.now) == (1, 0.0)


def test_watch_opens_a_new_stream_when_one_breaks_or_expires() -> None:
    first = {"type": "ADDED", "object": {"n": 1}}
    second = {"type": "MODIFIED", "object": {"n": 2}}
    broken = Stream(first, breaks=True)
    expired = Stream({"type": "ERROR", "object": {"code": 410}})
    client, api, _ = cluster(broken, expired, refusal(410, {"message": "too old"}), Stream(second))
    seen = client.watch(NODE, 30, fields="metadata.name=x", version="5")
    assert [next(seen), next(seen)] == [("ADDED", {"n": 1}), ("MODIFIED", {"n": 2})]
    versions = [dict(request["query_params"]).get("resourceVersion", "") for request in api.requests]
    assert versions == ["5", "", "", ""]
    assert broken.closed
    assert expired.closed


def test_wait_for_asks_again_after_a_change() -> None:
    state = iter([["b", "a"], ["a"], []])
    change = {"type": "MODIFIED", "object": {}}
    client, api, _ = cluster(page(version="1"), Stream(change), page(version="2"), Stream(change), page(version="3"))
    assert client.wait_for(lambda: next(state), 60) == pytest.approx(0.4)
    assert [dict(r["query_params"]).get("resourceVersion") for r in api.requests] == [None, "1", None, "2", None]


class Server(Api):
    """An API server that is away until ``back``, and whose watches are silent for three seconds each."""

    def __init__(self, clock: Clock, back: float = 0) -> None:
        super().__init__()
        self._clock, self._back = clock, back

    def call_api(self, path: str, method: str, **request: Any) -> Any:
        if self._clock.now < self._back:
            raise DOWN
        if ("watch", "true") in request["query_params"]:
            self._clock.now += 3
            return Stream()
        return SimpleNamespace(data=json.dumps(page()).encode())


def test_wait_for_says_what_is_missing_at_the_end() -> None:
    clock = Clock()
    client = Cluster(Server(clock), "test", 60, clock.sleep, clock)
    with pytest.raises(TimedOutError, match="not reached within 10 s: pod x; pod y") as caught:
        client.wait_for(lambda: ["pod x", "pod y"], 10)
    assert caught.value.missing == ("pod x", "pod y")
    assert clock.now >= 10


def test_wait_for_outlives_an_api_server_that_is_away_longer_than_the_patience() -> None:
    clock = Clock()
    client = Cluster(Server(clock, back=20), "test", 1, clock.sleep, clock)
    assert client.wait_for(list, 60) == pytest.approx(clock.now)
    assert 20 <= clock.now < 28
