"""A live Airflow for tests that need schedulers or a browser, and no lab: a folder of DAGs, settings by environment.

It is the rehearsal's own (``lab/rehearsal/airflow.py``) but for its DAGs, connections and variables.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from include.estate import load_estate
from lab.machine import speed
from lab.rehearsal import postgresql
from lab.rehearsal.airflow import Airflow

ISOLATED = "PYTHONSAFEPATH"  # with it Python does not look for modules in the folder that a test runs in
Settings = Mapping[str, Mapping[str, str]]
NOTHING_SKIPPED = "AKIDB_SKIP_NOTHING"  # set by `make ci-long`


class LiveAirflow(Airflow):
    """Airflow over the DAGs in ``folder/dags``; ``environment`` is that of every component, ``settings`` are more of
    airflow.cfg.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], settings: Settings, database: str) -> None:
        super().__init__(folder, load_estate().governance.approvers, speed.measure().stretch, database)
        self.dags, self.environment, self.settings = folder / "dags", dict(environment), settings

    def sections(self, port: int, passwords: Path, connection: str) -> dict[str, dict[str, str]]:
        made = super().sections(port, passwords, connection)
        made["core"]["dags_folder"] = str(self.dags)
        for section, values in self.settings.items():
            made.setdefault(section, {}).update(values)
        return made

    def _environment(self) -> dict[str, str]:
        return super()._environment() | self.environment

    def _command(self, *arguments: str, program: str = "airflow") -> list[str]:
        # Where this project must not be found, its own way of starting a scheduler can't be either.
        return super()._command(*arguments, program="airflow" if ISOLATED in self.environment else program)


@contextlib.contextmanager
def live_airflow(
    write_dags: Callable[[Path], None],
    environment: Mapping[str, str],
    database: str = "sqlite",
    settings: Settings | None = None,
) -> Iterator[LiveAirflow]:
    """A started Airflow whose DAGs ``write_dags`` writes; its folder is gone afterwards, or kept with AKIDB_KEEP_LOGS.

    The folder is not one of pytest's: PostgreSQL's user could not enter it.
    """
    folder = Path(tempfile.mkdtemp(prefix="akidb-live-"))
    folder.chmod(0o711)
    (folder / "dags").mkdir()
    write_dags(folder / "dags")
    airflow = LiveAirflow(folder, environment, settings or {}, database)
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.stop()
        if os.environ.get("AKIDB_KEEP_LOGS"):
            print(f"logs: {folder}")
        else:
            shutil.rmtree(folder)


def until(condition: Callable[[], Any], what: str, airflow: Airflow, seconds: float = 120.0) -> Any:
    """What ``condition`` answers once it is true. Fails the test when it isn't within the stretched seconds."""
    end = time.monotonic() + seconds * airflow.stretch
    while time.monotonic() < end:
        airflow.processes.check()
        if found := condition():
            return found
        time.sleep(0.5)
    pytest.fail(f"{what} did not happen within {seconds * airflow.stretch:.0f} s")


def skip_or_fail(why: str) -> None:
    """Skip the test because of ``why``; fail where nothing may be skipped. Nothing happens when ``why`` is empty."""
    if not why:
        return
    if os.environ.get(NOTHING_SKIPPED):
        pytest.fail(f"{why}; `make ci-long` skips nothing")
    pytest.skip(why)


def needs_postgresql() -> None:
    """Skip, or fail in `make ci-long`, where there is no PostgreSQL."""
    skip_or_fail(postgresql.missing())


class EmptyPrometheus:
    """A Prometheus without a single series, on a free port of loopback."""

    def __enter__(self) -> EmptyPrometheus:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Empty)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()

    def connection(self) -> str:
        """The Airflow connection, as its environment variable holds it."""
        return json.dumps({"conn_type": "http", "host": "127.0.0.1", "port": self.server.server_port, "schema": "http"})


class _Empty(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        return
