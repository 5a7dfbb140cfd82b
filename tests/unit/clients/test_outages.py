"""The client of a hook that takes a program away, against a real HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from include.clients.access import Access
from include.clients.outages import OutageHook, OutageHookError


class Server(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []
    answers: ClassVar[dict[str, tuple[int, bytes]]] = {}

    def _answer(self) -> None:
        self.asked.append(f"{self.command} {self.path} {self.headers.get('Authorization', '')}".strip())
        status, body = self.answers.get(self.command, (200, b""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_DELETE = _answer

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def address() -> Iterator[str]:
    Server.asked.clear()
    Server.answers.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_an_outage_begins_lasts_and_ends(address: str) -> None:
    hook = OutageHook(Access(f"{address}/base/", headers={"Authorization": "Bearer x"}))
    Server.answers["GET"] = 200, json.dumps({"out": True}).encode()
    hook.begin("prometheus")
    assert hook.is_out("prometheus")
    hook.end("prometheus")
    assert Server.asked == [
        f"{method} /base/outages/prometheus Bearer x" for method in ("PUT", "GET", "DELETE")
    ]  # fmt: skip


@pytest.mark.parametrize("body", [b"{}", b'{"out": "yes"}', b"[]"])
def test_an_answer_that_does_not_say_whether_it_is_out_is_refused(address: str, body: bytes) -> None:
    Server.answers["GET"] = 200, body
    with pytest.raises(OutageHookError, match=f"^{address}/outages/prometheus does not say whether it is out: have it"):
        OutageHook(Access(address)).is_out("prometheus")


def test_an_error_of_the_hook_names_its_address_and_the_remedy(address: str) -> None:
    Server.answers["PUT"] = 500, b""
    with pytest.raises(OutageHookError, match=rf"^PUT {address}/outages/prometheus: HTTPError: 500 .*; see that"):
        OutageHook(Access(address)).begin("prometheus")


def test_a_hook_that_is_not_there_is_an_error_too() -> None:
    with pytest.raises(OutageHookError, match=r"^DELETE http://127\.0\.0\.1:9/outages/x: ConnectionError: "):
        OutageHook(Access("http://127.0.0.1:9")).end("x")
