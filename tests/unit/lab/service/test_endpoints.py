"""Who serves, who is dead, who was killed: watch events in, counts out."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import urllib3

from lab.service import endpoints as module
from lab.service.endpoints import Census, Endpoints, follow

REST = "akidb-rest"


def pod(name: str, *, node: str = "n1", ready: bool = True, terminating: bool = False, phase: str = "Running") -> Any:
    metadata: dict[str, Any] = {"uid": name, "name": name, "labels": {"app": REST}, "resourceVersion": "7"}
    if terminating:
        metadata["deletionTimestamp"] = "2026-11-24T10:00:00Z"
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": {"phase": phase, "conditions": conditions}}


def node(name: str) -> Any:
    return {"metadata": {"name": name, "resourceVersion": "7"}}


@pytest.fixture
def region() -> Endpoints:
    endpoints = Endpoints()
    endpoints.replace_nodes([node("n1"), node("n2")])
    endpoints.replace_pods([pod("a"), pod("b", node="n2"), pod("c", ready=False)])
    assert endpoints.take_census() == {REST: Census(serving=2)}
    return endpoints


def test_it_is_complete_after_both_lists() -> None:
    endpoints = Endpoints()
    endpoints.replace_pods([])
    assert not endpoints.complete
    endpoints.replace_nodes([])
    assert endpoints.complete
    assert endpoints.take_census() == {}


def test_a_pod_serves_once_it_is_ready(region: Endpoints) -> None:
    region.pod_event("MODIFIED", pod("c"))
    region.pod_event("ADDED", {"metadata": {"uid": "d", "labels": {"app": REST}}, "spec": {}, "status": {}})
    assert region.take_census() == {REST: Census(serving=3)}


def test_a_graceful_end_loses_nothing(region: Endpoints) -> None:
    region.pod_event("MODIFIED", pod("a", terminating=True))
    assert region.take_census() == {REST: Census(serving=1)}
    region.pod_event("DELETED", pod("a", terminating=True))
    assert region.take_census() == {REST: Census(serving=1)}


def test_a_graceful_end_between_two_censuses_loses_nothing(region: Endpoints) -> None:
    region.pod_event("MODIFIED", pod("a", terminating=True))
    region.pod_event("DELETED", pod("a", terminating=True))
    region.node_event("DELETED", node("n1"))
    assert region.take_census() == {REST: Census(serving=1)}


def test_a_pod_deleted_at_once_is_killed(region: Endpoints) -> None:
    region.pod_event("DELETED", pod("a", terminating=True))
    assert region.take_census() == {REST: Census(serving=1, killed=1)}
    assert region.take_census() == {REST: Census(serving=1)}


def forced(name: str) -> Any:
    item = pod(name, terminating=True)
    item["metadata"]["deletionGracePeriodSeconds"] = 0
    return item


@pytest.mark.parametrize("gone", [True, False])
def test_a_forced_deletion_is_announced_before_it_happens(region: Endpoints, gone: bool) -> None:
    region.pod_event("MODIFIED", forced("a"))
    if gone:
        region.pod_event("DELETED", forced("a"))
    assert region.take_census() == {REST: Census(serving=1, killed=1)}
    assert region.take_census() == {REST: Census(serving=1)}


def test_the_end_of_a_graceful_termination_is_not_a_forced_deletion(region: Endpoints) -> None:
    region.pod_event("MODIFIED", pod("a", terminating=True))
    region.pod_event("MODIFIED", forced("a"))
    region.pod_event("DELETED", forced("a"))
    assert region.take_census() == {REST: Census(serving=1)}


def test_a_failed_pod_is_killed(region: Endpoints) -> None:
    region.pod_event("MODIFIED", pod("a", phase="Failed"))
    assert region.take_census() == {REST: Census(serving=1, killed=1)}


def test_a_pod_that_loses_readiness_finishes_its_requests(region: Endpoints) -> None:
    region.pod_event("MODIFIED", pod("a", ready=False))
    assert region.take_census() == {REST: Census(serving=1)}


def test_a_vanished_node_kills_its_pods_once_and_leaves_dead_endpoints(region: Endpoints) -> None:
    region.node_event("DELETED", node("n2"))
    assert region.take_census() == {REST: Census(serving=1, dead=1, killed=1)}
    assert region.take_census() == {REST: Census(serving=1, dead=1)}
    region.pod_event("DELETED", pod("b", node="n2"))
    assert region.take_census() == {REST: Census(serving=1)}


def test_a_node_missing_from_a_later_list_is_gone(region: Endpoints) -> None:
    region.replace_nodes([node("n1")])
    assert region.take_census() == {REST: Census(serving=1, dead=1, killed=1)}
    region.node_event("ADDED", node("n2"))
    assert region.take_census() == {REST: Census(serving=2)}


def test_a_pod_missing_from_a_later_list_ended_gracefully(region: Endpoints) -> None:
    region.replace_pods([pod("b", node="n2")])
    assert region.take_census() == {REST: Census(serving=1)}


def test_a_pod_ahead_of_its_node_serves(region: Endpoints) -> None:
    region.pod_event("ADDED", pod("d", node="n3"))
    assert region.take_census() == {REST: Census(serving=3)}


class Response:
    """A list answer, or the lines of a watch."""

    def __init__(self, data: bytes = b"", lines: tuple[Any, ...] = ()) -> None:
        self.data = data
        self.lines = lines

    def stream(self, **_: Any) -> Any:
        for line in self.lines:
            if isinstance(line, Exception):
                raise line
            yield json.dumps(line).encode() + b"\n"

    def release_conn(self) -> None:
        pass


def test_follow_lists_watches_and_survives_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    endpoints, seen, done = Endpoints(), [], threading.Event()

    def listing(*names: str) -> Response:
        return Response(json.dumps({"metadata": {"resourceVersion": "5"}, "items": [pod(n) for n in names]}).encode())

    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}
    answers: list[Any] = [
        listing("a"),
        Response(lines=({"type": "ADDED", "object": pod("b")}, bookmark)),
        Response(lines=(urllib3.exceptions.ProtocolError("connection broken"),)),
        urllib3.exceptions.MaxRetryError(None, "/api", None),  # type: ignore[arg-type]
        listing("a", "b", "c"),
        Response(lines=({"type": "ERROR", "object": {"code": 410}},)),
        listing("a"),
    ]

    def call(**options: Any) -> Response:
        seen.append(options.get("resource_version"))
        if not answers:
            done.set()
            threading.Event().wait()  # the daemon thread stays here until the test process ends
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    follow(call, endpoints.replace_pods, endpoints.pod_event, "test")
    assert done.wait(5)
    assert seen == [None, "5", "9", None, None, "5", None, "5"]
    assert endpoints.take_census() == {REST: Census(serving=1)}
