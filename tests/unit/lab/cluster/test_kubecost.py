"""The stand-in for Kubecost: its parameters and shape, and that it never passes for the real one."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from lab.cluster.kubecost import NAME, answer_of, question, server

ITEM = {"name": "akidb", "totalCost": 1.5, "window": {"start": "a", "end": "b"}}


class OpenCost(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        OpenCost.asked.append(self.path)
        refused = "window=never" in self.path
        body = b"bad window" if refused else json.dumps({"code": 200, "data": [{"akidb": ITEM}]}).encode()
        self.send_response(400 if refused else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Silence."""


@pytest.fixture
def address() -> Iterator[str]:
    OpenCost.asked.clear()
    source = ThreadingHTTPServer(("127.0.0.1", 0), OpenCost)
    stand_in = server(0, f"http://127.0.0.1:{source.server_port}", "us-east-1")
    for one in (source, stand_in):
        threading.Thread(target=one.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{stand_in.server_port}"
    for one in (stand_in, source):
        one.shutdown()
        one.server_close()


def get(url: str) -> tuple[int, str | None, Any]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.headers["X-Stand-In"], json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers["X-Stand-In"], json.loads(error.read())


def test_kubecosts_parameters_become_opencosts_and_idle_is_there_by_default() -> None:
    assert question("window=24h&aggregate=namespace") == "includeIdle=true&window=24h&aggregate=namespace"
    assert question("window=24h&idle=false&accumulate=true") == "includeIdle=false&window=24h&accumulate=true"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("aggregate=namespace", "parameter window is missing: give one such as 24h"),
        ("window=1d&shareIdle=true", "parameter shareIdle is not known here; use window, aggregate, idle"),
    ],
)
def test_what_can_not_be_answered_is_refused_by_name(query: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        question(query)


def test_every_allocation_has_kubecosts_fields_and_no_data_stays_no_data() -> None:
    assert answer_of({"code": 200, "data": [{"akidb": ITEM}, None]}) == {
        "code": 200,
        "data": [{"akidb": {"sharedCost": 0.0, "externalCost": 0.0, **ITEM}}, {}],
    }
    assert answer_of({"code": 200, "data": None}) == {"code": 200, "data": []}


def test_answers_are_named_as_a_stand_ins(address: str) -> None:
    status, header, body = get(f"{address}/model/allocation?window=10m")
    assert (status, header) == (200, NAME)
    assert body["data"][0]["akidb"]["totalCost"] == 1.5
    assert OpenCost.asked == ["/allocation?includeIdle=true&window=10m"]
    assert get(f"{address}/healthz")[2]["stand_in"] == NAME


def test_refusals_are_passed_on(address: str) -> None:
    assert get(f"{address}/model/allocation?window=never")[::2] == (400, {"code": 400, "message": "bad window"})
    assert get(f"{address}/other")[0] == 404


def test_without_opencost_it_says_so() -> None:
    alone = server(0, "http://127.0.0.1:9", "us-east-1")
    threading.Thread(target=alone.serve_forever, daemon=True).start()
    status, _, body = get(f"http://127.0.0.1:{alone.server_port}/model/allocation?window=10m")
    alone.shutdown()
    alone.server_close()
    assert status == 503
    assert body["message"].startswith("OpenCost can't be reached")
