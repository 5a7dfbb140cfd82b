"""Waiting in a cluster: lists are read once and kept current by watches, and nothing that happens is missed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes.client import ApiClient, Configuration

from benchmarks.bench_kubernetes_waits import BigCluster, by_views
from include.clients.kubernetes import NODE, POD, Cluster, TimedOutError
from include.clients.views import READ_AGAIN, View
from tests.unit.levers.fake_cluster import FakeCluster, Writes


class Pods(FakeCluster):
    """Pods of which one becomes ready each second."""

    def __init__(self, count: int) -> None:
        super().__init__(Writes())
        for number in range(count):
            metadata = {"name": f"p{number}", "namespace": "akidb", "labels": {"app": "a"}}
            self.put({"kind": "Pod", "metadata": metadata, "status": {"ready": False}})
        self.put({"kind": "Node", "metadata": {"name": "n"}})
        self.disturb: Any = lambda: None

    def settle(self) -> None:
        super().settle()
        for number in range(int(self.seconds)):
            if ("Pod", "akidb", f"p{number}") in self.objects:
                self.objects["Pod", "akidb", f"p{number}"]["status"]["ready"] = True
        self.disturb()

    def missing(self) -> list[str]:
        assert self.list(NODE)
        return [p["metadata"]["name"] for p in self.list(POD, "akidb", labels="app=a") if not p["status"]["ready"]]

    def lists(self) -> int:
        return sum(verb == "GET" for verb, _ in self.api.requests)


def test_lists_do_not_grow_with_the_number_of_changes() -> None:
    counts = []
    for pods in (3, 30):
        cluster = Pods(pods)
        assert cluster.wait_for(cluster.missing, 120, POD, "akidb") >= pods
        counts.append(cluster.lists())
    # The version to watch from, then nodes and pods at the first look, and both once more for the proof at the end.
    assert counts == [5, 5]


def test_a_step_of_day_1_in_a_big_cluster_lists_twice() -> None:
    cluster = BigCluster(nodes=510, pods=600, ours=510, moving=16, per_second=4)
    by_views(cluster)
    lists = [path for verb, path in cluster.api.requests if verb == "GET"]
    assert len(lists) == 1 + 2 * (2 + 2)  # pages of 500
    assert len(cluster.api.requests) - len(lists) < 3 * 16  # watches: less than the changes, times the lists


def test_what_is_waited_for_is_proved_by_the_servers_own_answer() -> None:
    cluster = Pods(2)
    cluster.wait_for(cluster.missing, 60, POD, "akidb")
    assert [verb for verb, _ in cluster.api.requests[-2:]] == ["GET", "GET"]


def test_a_version_that_is_forgotten_is_read_anew() -> None:
    cluster = Pods(5)

    def forget() -> None:
        cluster.api.oldest = cluster.api.version

    cluster.disturb = forget
    assert cluster.wait_for(cluster.missing, 60, POD, "akidb") >= 5


def test_an_api_server_that_starts_again_costs_time_only() -> None:
    cluster = Pods(5)
    away = iter([0, 0, 0, 3, 0, 0, 2])

    def restart() -> None:
        cluster.api.away = next(away, 0)

    cluster.disturb = restart
    assert 5 <= cluster.wait_for(cluster.missing, 60, POD, "akidb") < 60


def test_an_object_that_leaves_the_selection_or_goes_is_no_longer_listed() -> None:
    cluster = Pods(3)
    cluster.stuck = True

    def change() -> None:
        cluster.objects["Pod", "akidb", "p0"]["metadata"]["labels"] = {"app": "b"}
        cluster.objects.pop(("Pod", "akidb", "p1"), None)

    looks: list[list[str]] = []

    def missing() -> list[str]:
        looks.append([pod["metadata"]["name"] for pod in cluster.list(POD, "akidb", labels="app=a")])
        change()
        return looks[-1] if len(looks) < 2 else []

    cluster.wait_for(missing, 60, POD, "akidb")
    assert looks == [["p0", "p1", "p2"], ["p2"], ["p2"]]


def test_outside_of_a_wait_and_in_another_thread_a_list_is_the_servers() -> None:
    cluster = Pods(1)
    cluster.stuck = True
    seen: list[int] = []

    def missing() -> list[str]:
        cluster.list(POD, "akidb")
        cluster.put({"kind": "Pod", "metadata": {"name": f"new{len(seen)}", "namespace": "akidb"}})
        other = threading.Thread(target=lambda: seen.append(len(cluster.list(POD, "akidb"))))
        other.start()
        other.join()
        return []

    cluster.wait_for(missing, 60, POD, "akidb")
    assert seen == [2]
    assert len(cluster.list(POD, "akidb")) == 2


def test_more_lists_than_can_be_followed_are_read_again() -> None:
    cluster = Pods(1)

    def missing() -> list[str]:
        every = [cluster.list(POD, "akidb", fields=f"metadata.name=p{number}") for number in range(12)]
        return [] if every[0][0]["status"]["ready"] else ["p0"]

    assert cluster.wait_for(missing, 60, POD, "akidb") >= 1


def test_what_is_still_missing_at_the_end_is_said() -> None:
    cluster = Pods(100)
    with pytest.raises(TimedOutError, match="not reached within 10 s: p"):
        cluster.wait_for(cluster.missing, 10, POD, "akidb")


# A view ---------------------------------------------------------------------------------------------------------


def thing(name: str, version: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "s", "resourceVersion": version}, **fields}


def test_a_view_takes_in_events_and_goes_on_from_the_newest_version() -> None:
    asked: list[str] = []
    answers = iter(
        [
            [("ADDED", thing("c", "5")), ("DELETED", thing("a", "6")), ("MODIFIED", thing("b", "7", new=1))],
            [("BOOKMARK", {"metadata": {"resourceVersion": "9"}})],
            [(READ_AGAIN, {})],
        ]
    )

    def watch(version: str, seconds: float, silence: float) -> list[tuple[str, dict[str, Any]]]:
        asked.append(version)
        return next(answers)

    reads = iter([([thing("b", "1"), thing("a", "2")], "4"), ([thing("z", "10")], "10")])
    view = View(lambda: next(reads), watch)
    assert [one["metadata"]["name"] for one in view.objects()] == ["a", "b"]
    view.follow(1, 0.1)
    assert [(one["metadata"]["name"], one.get("new")) for one in view.objects()] == [("b", 1), ("c", None)]
    view.follow(1, 0.1)
    view.follow(1, 0.1)
    assert [one["metadata"]["name"] for one in view.objects()] == ["z"]
    assert asked == ["4", "7", "9"]


# A real connection ----------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """Lists one pod; a watch says that it is ready, and then nothing for as long as the test runs."""

    protocol_version = "HTTP/1.1"
    over = threading.Event()
    ready = False

    def do_GET(self) -> None:
        if "watch=true" in self.path:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            type(self).ready = True
            line = json.dumps({"type": "MODIFIED", "object": thing("p", "8", ready=True)}).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()
            self.over.wait(60)
            self.close_connection = True
            return
        body = {"items": [thing("p", "7", ready=self.ready)], "metadata": {"resourceVersion": "7"}}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    Handler.over.set()
    server.shutdown()
    server.server_close()


def test_a_silent_watch_of_a_real_connection_ends_the_look_and_not_the_wait(server: str) -> None:
    settings = Configuration()
    settings.host = server
    cluster = Cluster(ApiClient(settings), "test")

    def missing() -> list[str]:
        return [pod["metadata"]["name"] for pod in cluster.list(POD, "s") if not pod["ready"]]

    cluster.wait_for(missing, 60, POD, "s", recheck=20)
    assert not Handler.over.is_set()  # the watch was still open
