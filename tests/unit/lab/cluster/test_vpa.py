"""The VPA of the lab: what each program is started with, and when the recommender has a history."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from lab.cluster import control_plane, vpa

PORTS = vpa.Ports(recommender=20001, updater=20002, admission=20003, webhook=20004)
REGION = "ap-northeast-1"


def test_the_recommender_sees_its_own_region_alone() -> None:
    found = vpa.recommender_arguments(REGION, PORTS, "http://127.0.0.1:9090")
    job = next(flag for flag in found if flag.startswith("--prometheus-cadvisor-job-name="))
    # As its history provider writes the selector.
    selector = 'job="{}", '.format(job.partition("=")[2])
    assert selector == 'job="kubernetes-cadvisor", region="ap-northeast-1", '
    assert '--metric-for-pod-labels=kube_pod_labels{region="ap-northeast-1"}[8d]' in found


def test_the_recommenders_history_fits_in_one_answer_of_prometheus() -> None:
    found = vpa.recommender_arguments(REGION, PORTS, "http://127.0.0.1:9090")
    assert {"--storage=prometheus", "--history-length=8d", "--history-resolution=5m"} <= set(found)
    assert 8 * 24 * 60 // 5 < 11_000 < 8 * 24 * 60


def test_what_the_twin_computes_is_left_at_the_recommenders_defaults() -> None:
    found = vpa.recommender_arguments(REGION, PORTS, "http://127.0.0.1:9090")
    decides = ("half-life", "confidence", "percentile", "margin", "round", "aggregation", "min-")
    assert [flag for flag in found if any(word in flag for word in decides)] == []


def test_the_updater_can_neither_evict_without_limit_nor_half_of_a_workload() -> None:
    assert vpa.updater_arguments(PORTS) == [
        "--address=127.0.0.1:20002",
        "--updater-interval=4s",
        "--eviction-rate-limit=0.5",
        "--eviction-rate-burst=1",
        "--eviction-tolerance=0.25",
        "--in-recommendation-bounds-eviction-lifetime-threshold=60s",
        "--leader-elect=true",
    ]


def test_the_webhook_is_called_on_loopback() -> None:
    found = vpa.admission_arguments(Path("/lab/vpa"), PORTS)
    assert {"--webhook-address=https://127.0.0.1", "--webhook-port=20004", "--port=20004"} <= set(found)
    assert "--tls-private-key=/lab/vpa/tls.key" in found
    assert not any("failure-policy" in flag for flag in found)


def test_each_program_has_a_user_of_its_own() -> None:
    assert {vpa.user(program) for program in vpa.PROGRAMS} <= set(control_plane.USERS)
    assert PORTS.metrics == {"vpa-recommender": 20001, "vpa-updater": 20002, "vpa-admission-controller": 20003}


NAME = "vpa_recommender_prometheus_client_api_requests_count"


@pytest.mark.parametrize(
    ("metrics", "read"),
    [
        (f'{NAME}{{code="200",method="post"}} 3', True),
        (f'{NAME}{{code="200",method="post"}} 2\n{NAME}{{code="200",method="get"}} 1', True),
        (f'{NAME}{{code="200",method="post"}} 2\n{NAME}{{code="503",method="post"}} 1', False),
        ("", False),
    ],
)
def test_a_history_counts_as_read_when_all_three_questions_are_answered(metrics: str, read: bool) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"# HELP {NAME} Number\n{metrics}\n".encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert vpa.has_read_history(server.server_port) is read
        server.shutdown()


def test_a_recommender_that_does_not_answer_has_read_nothing() -> None:
    assert vpa.has_read_history(1) is False
