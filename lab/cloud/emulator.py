"""One AWS for all regions of the rehearsal: moto in this process, behind a WSGI layer that repairs it.

    python -m lab.cloud.emulator --port 20100 --folder .lab/cloud [--catalogue types.json]

Binds 127.0.0.1 only. State lives in memory: after its end the whole lab has to be started again. In ``--folder``:
``amis.json`` (written at start), ``calls.jsonl`` (one line a request, at most two files of LOG_BYTES; no headers and
no bodies, so no credentials), ``ice.json`` (read: pools without capacity, see repairs.DryPools) and ``edge.json``
(read: faults of CloudFront, Lambda and their neighbours, see :mod:`lab.cloud.edge`).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import logging
import os
import re
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lab.cloud import edge, throttling
from lab.cloud.calls import Answer, Call
from lab.cloud.fleets import DryPools
from lab.cloud.moto_patches import Repairs, offer_only, spread_over_zones
from lab.cloud.price_lists import Book

READY_PATH = "/lab/ready"
LOG_BYTES = 20_000_000
AMI_OWNER = "602401143452"  # Amazon's account for EKS images
AMI_DATES = ("20261015", "20261101")  # two, so that drift can be rehearsed
# Answers that never change while the emulator runs; three Karpenters ask for them at once.
STATIC = {
    ("ec2", "DescribeInstanceTypes"),
    ("ec2", "DescribeInstanceTypeOfferings"),
    ("ec2", "DescribeSpotPriceHistory"),
    ("pricing", "GetProducts"),
}
# A receiver waits up to 20 s for a message: it must not hold the lock meanwhile.
UNLOCKED = {"sqs"}
log = logging.getLogger(__name__)
_SCOPE = re.compile(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request")


def images(kubernetes_version: str = "1.36") -> list[dict[str, Any]]:
    """The node images that the emulator offers in every region, in moto's format."""
    made = []
    for architecture in ("x86_64", "arm64"):
        for date in AMI_DATES:
            name = f"amazon-eks-node-al2023-{architecture}-standard-{kubernetes_version}-v{date}"
            made.append(
                {
                    "ami_id": "ami-" + hashlib.sha256(name.encode()).hexdigest()[:17],
                    "name": name,
                    "description": "EKS AL2023 node (lab)",
                    "owner_id": AMI_OWNER,
                    "public": True,
                    "virtualization_type": "hvm",
                    "architecture": architecture,
                    "state": "available",
                    "platform": None,
                    "image_type": "machine",
                    "image_location": f"amazon/{name}",
                    "hypervisor": "xen",
                    "root_device_name": "/dev/xvda",
                    "root_device_type": "ebs",
                    "sriov": "simple",
                    "creation_date": f"{date[:4]}-{date[4:6]}-{date[6:]}T00:00:00.000Z",
                }
            )
    return made


def read_call(environ: dict[str, Any]) -> Call:
    """The request that ``environ`` holds: region and service from its credential scope, operation from its protocol."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    region, service = (scope[1], scope[2]) if scope else ("us-east-1", "")
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        return Call(region, service, target.rsplit(".", 1)[-1], body)
    if "x-www-form-urlencoded" in environ.get("CONTENT_TYPE", ""):
        form = dict(urllib.parse.parse_qsl(body.decode("latin1"), keep_blank_values=True))
        return Call(region, service, form.get("Action", ""), body, form)
    return Call(region, service, f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '')}", body)


class CallLog:
    """``calls.jsonl``: one line a request. At ``limit`` bytes the file is moved aside, over the one before."""

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        self._path, self._limit = path, limit
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, call: Call, answer: Answer, seconds: float) -> None:
        """Record ``call``; of a refused one also the service's own words."""
        line = {
            "time": round(time.time(), 3),
            "region": call.region,
            "service": call.service,
            "action": call.action,
            "status": answer.status,
            "ms": round(seconds * 1000, 1),
            "bytes": len(answer.body),
        }
        if call.note:
            line["note"] = call.note
        if answer.status >= 400:
            line["answer"] = answer.body[:400].decode("utf-8", "replace")
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            if self._file.tell() >= self._limit:
                self._file.close()
                self._path.replace(self._path.with_suffix(".1.jsonl"))
                self._file = self._path.open("a", encoding="utf-8", buffering=1)


class Emulator:
    """The WSGI application: repairs around moto's own application ``inner``."""

    def __init__(
        self, inner: Callable[..., Iterable[bytes]], repairs: Repairs, calls: CallLog, switches: edge.Switches
    ) -> None:
        self._inner, self._repairs, self._calls, self._switches = inner, repairs, calls, switches
        self._lock = threading.RLock()  # moto's server is threaded, moto's dictionaries are not
        self._static: dict[tuple[str, str, str, str], Answer] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == READY_PATH:
            return _respond(Answer(200, "text/plain", b"ready\n"), [], start_response)
        began = time.monotonic()
        call = read_call(environ)
        if call.service in UNLOCKED:
            answer, headers = self._forward(environ, call)
        else:
            with self._lock:
                answer, headers = self._static_or_handled(environ, call)
        self._calls.write(call, answer, time.monotonic() - began)
        return _respond(answer, headers, start_response)

    def _static_or_handled(self, environ: dict[str, Any], call: Call) -> tuple[Answer, list[tuple[str, str]]]:
        if (call.service, call.action) not in STATIC or call.form.get("DryRun") == "true":
            return self._handle(environ, call)
        key = (call.region, call.service, call.action, _question(call))
        if key not in self._static:
            answer, headers = self._handle(environ, call)
            if answer.status >= 300:
                return answer, headers
            self._static[key] = answer
        return self._static[key], []

    def _handle(self, environ: dict[str, Any], call: Call) -> tuple[Answer, list[tuple[str, str]]]:
        self._switches.look()
        made = throttling.refused(call.service) or self._repairs.before(call)
        if made is not None:
            return made, []
        answer, headers = self._forward(environ, call)
        return self._repairs.after(call, answer), headers

    def _forward(self, environ: dict[str, Any], call: Call) -> tuple[Answer, list[tuple[str, str]]]:
        environ["wsgi.input"] = io.BytesIO(call.body)
        environ["CONTENT_LENGTH"] = str(len(call.body))
        status, headers = "", []

        def capture(given_status: str, given_headers: list[tuple[str, str]], _: object = None) -> Callable[..., None]:
            nonlocal status, headers
            status, headers = given_status, given_headers
            return lambda _: None

        chunks = self._inner(environ, capture)
        try:
            body = b"".join(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close:
                close()
        kept = [(k, v) for k, v in headers if k.lower() not in ("content-length", "content-type")]
        kind = next((v for k, v in headers if k.lower() == "content-type"), "text/plain")
        return Answer(int(status[:3]), kind, body), kept


def _question(call: Call) -> str:
    """What a static request asks, without what changes from call to call: only the start time and the page size do."""
    if not call.form:
        return call.body.decode("latin1")
    changing = ("StartTime", "EndTime", "MaxResults")
    return urllib.parse.urlencode(sorted((k, v) for k, v in call.form.items() if k not in changing))


def _respond(answer: Answer, headers: list[tuple[str, str]], start_response: Callable[..., Any]) -> list[bytes]:
    # The x-amzn-errortype of a repair stands beside no header of moto: a repair answers instead of it.
    extra = [("x-amzn-errortype", answer.error_type)] if answer.error_type else []
    lengths = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
    start_response(f"{answer.status} {'OK' if answer.status < 400 else 'Refused'}", [*headers, *extra, *lengths])
    return [answer.body]


def build(folder: Path, book: Book, types: Sequence[str] | None = None) -> Emulator:
    """The emulator with its files in ``folder``. ``types`` limits what it offers (default: all types of the book).

    Imports moto, with the images of :func:`images`; raises RuntimeError when moto was imported before with others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    amis = folder / "amis.json"
    amis.write_text(json.dumps(images()), encoding="utf-8")
    if "moto.ec2.models.amis" in sys.modules:
        raise RuntimeError("moto is already imported with other images: build one emulator a process, before moto")
    os.environ["MOTO_AMIS_PATH"] = str(amis)
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    offered = offer_only(types if types is not None else book.instance_types())
    spread_over_zones()
    edge.as_aws()
    repairs = Repairs(book, offered, DryPools(folder / "ice.json"))
    inner, switches = DomainDispatcherApplication(create_backend_app), edge.Switches(folder / edge.FILE)
    return Emulator(inner, repairs, CallLog(folder / "calls.jsonl"), switches)


def wait_until_ready(endpoint: str, seconds: float = 30.0) -> None:
    """Return when the emulator at ``endpoint`` answers. Raises TimeoutError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(endpoint + READY_PATH, timeout=2) as response:
                if response.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass  # not listening yet
        if time.monotonic() > deadline:
            raise TimeoutError(f"the AWS emulator at {endpoint} did not answer within {seconds:.0f} s: see its log")
        time.sleep(0.05)


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where its files lie")
    parser.add_argument("--catalogue", type=Path, help="JSON list of the instance types to offer (default: the book's)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # calls.jsonl has the requests
    from include.prices import load_aws_book

    types = json.loads(arguments.catalogue.read_text(encoding="utf-8")) if arguments.catalogue else None
    application = build(arguments.folder, load_aws_book(), types)
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import run_simple

    log.info("AWS emulator on http://127.0.0.1:%d", arguments.port)
    run_simple("127.0.0.1", arguments.port, application, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
