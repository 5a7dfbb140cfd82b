"""A stand-in for Kubecost, which is not open to be built here: its ``/model/allocation`` from OpenCost's figures.

    python -m lab.cluster.kubecost --port 20100 --opencost http://127.0.0.1:20101 --region us-east-1

Every answer names it in the header ``X-Stand-In``. ``/model/allocation`` takes Kubecost's parameters window, aggregate,
idle, accumulate and step; another one is refused rather than ignored. ``/healthz`` says what this is, ``/metrics`` has
``kubecost_stand_in 1`` and whether OpenCost answers.
"""

from __future__ import annotations

import argparse
import json
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "akidb-lab: not Kubecost, OpenCost's figures in its shape"
TIMEOUT_SECONDS = 60
HEALTH_SECONDS = 4  # within a scrape of 5 s: a busy OpenCost is not a dead one
# Kubecost's parameter: OpenCost's.
PARAMETERS = {
    "window": "window",
    "aggregate": "aggregate",
    "idle": "includeIdle",
    "accumulate": "accumulate",
    "step": "step",
}
NUMBERS_OF_KUBECOST = {"sharedCost": 0.0, "externalCost": 0.0}  # in its shape, and not in every OpenCost's


def question(query: str) -> str:
    """OpenCost's query for Kubecost's. Raises ValueError naming what can't be answered."""
    given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(given) - set(PARAMETERS))
    if unknown:
        raise ValueError(f"parameter {', '.join(unknown)} is not known here; use {', '.join(PARAMETERS)}")
    if not given.get("window"):
        raise ValueError("parameter window is missing: give one such as 24h")
    # Idle is in Kubecost's answer unless it is left out; in OpenCost's it is the other way round.
    asked = {"idle": "true", **given}
    return urllib.parse.urlencode({PARAMETERS[name]: value for name, value in asked.items()})


def answer_of(body: dict[str, Any]) -> dict[str, Any]:
    """Kubecost's answer from OpenCost's: the same sets, each allocation with Kubecost's fields."""
    sets = body.get("data") or []
    shaped = [{name: {**NUMBERS_OF_KUBECOST, **item} for name, item in (part or {}).items()} for part in sets]
    return {"code": body.get("code", 200), "data": shaped}


def ask(opencost: str, query: str) -> dict[str, Any]:
    """OpenCost's allocations. Raises OSError when it can't be reached, ValueError when it refuses."""
    try:
        url = f"{opencost}/allocation?{question(query)}"
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            return dict(json.loads(response.read()))
    except urllib.error.HTTPError as error:
        raise ValueError(error.read()[:400].decode("utf-8", "replace")) from error


def respond(path: str, opencost: str, region: str) -> tuple[int, str, str]:
    """Status, content type and body for a GET of ``path``."""
    parts = urllib.parse.urlsplit(path)
    if parts.path == "/metrics":
        return 200, "text/plain; version=0.0.4", _metrics(opencost)
    status, body = _json_answer(parts, opencost, region)
    return status, "application/json", json.dumps(body)


def _json_answer(parts: urllib.parse.SplitResult, opencost: str, region: str) -> tuple[int, dict[str, Any]]:
    if parts.path == "/healthz":
        return 200, {"stand_in": NAME, "region": region, "opencost": opencost}
    if parts.path != "/model/allocation":
        return 404, {"code": 404, "message": "only /model/allocation, /healthz and /metrics are here"}
    try:
        return 200, answer_of(ask(opencost, parts.query))
    except ValueError as error:
        return 400, {"code": 400, "message": str(error)}
    except OSError as error:
        return 503, {"code": 503, "message": f"OpenCost can't be reached: {error}"}


def server(port: int, opencost: str, region: str) -> ThreadingHTTPServer:
    """The HTTP server on loopback; port 0 takes a free one."""

    class KubecostHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, text = respond(self.path, opencost, region)
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Stand-In", NAME)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            """A scrape every few seconds is not worth a line."""

    return ThreadingHTTPServer(("127.0.0.1", port), KubecostHandler)


def _metrics(opencost: str) -> str:
    try:
        with urllib.request.urlopen(f"{opencost}/healthz", timeout=HEALTH_SECONDS) as response:
            up = int(response.status < 400)
    except OSError:
        up = 0
    return (
        "# TYPE kubecost_stand_in gauge\nkubecost_stand_in 1\n"
        f"# TYPE kubecost_source_up gauge\nkubecost_source_up {up}\n"
    )


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--opencost", required=True, help="OpenCost's address")
    parser.add_argument("--region", required=True)
    arguments = parser.parse_args()
    server(arguments.port, arguments.opencost, arguments.region).serve_forever()


if __name__ == "__main__":
    main()
