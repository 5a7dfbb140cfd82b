"""What the engine asks of Airflow: connections, the ledger's place, and whether another run has ended."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.estate import EstateConnections, load_estate
from include.rollout.ledger import LedgerError
from include.rollout.lever import Refused
from include.rollout.lock import LeaseConflictError, LockHeld
from include.rollout.place import Place
from include.rollout.steps import missing_clients
from include.wiring import tasks
from include.wiring.clients import ClusterLeases, clients_for, open_ledger, run_ended
from tests.unit.rollout.signed_world import pem, signer

STATES = {"manual__2026-11-24T10:00:00+00:00": "running", "done": "success", "lost": "failed"}


class Api(BaseHTTPRequestHandler):
    """The two endpoints of Airflow's REST API that the engine uses."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        right = self.path == "/auth/token" and body == {"username": "engine", "password": "pw"}
        self.answer(201 if right else 401, {"access_token": "t0ken"})

    def do_GET(self) -> None:
        run_id = unquote(self.path.removeprefix("/api/v2/dags/day1_spot/dagRuns/"))
        if self.headers["Authorization"] != "Bearer t0ken":
            self.answer(401, {})
        elif run_id in STATES:
            self.answer(200, {"state": STATES[run_id]})
        else:
            self.answer(404, {})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
        return


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    port = server.server_address[1]
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", f"http://engine:pw@127.0.0.1:{port}")
    yield port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("run_id", "ended"),
    [("manual__2026-11-24T10:00:00+00:00", False), ("done", True), ("lost", True), ("never heard of", None)],
)
def test_whether_a_run_has_ended(api: int, run_id: str, ended: bool | None) -> None:
    assert run_ended(f"day1_spot/{run_id}") is ended


def test_an_api_that_can_not_be_asked_leaves_it_open(api: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", f"http://engine:wrong@127.0.0.1:{api}")
    assert run_ended("day1_spot/done") is None
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", "http://engine:pw@127.0.0.1:1")
    assert run_ended("day1_spot/done") is None


def test_without_the_connection_it_is_open(airflow_database: None) -> None:
    assert run_ended("day1_spot/done") is None


def test_a_missing_connection_is_named_with_the_setting_and_the_remedy(airflow_database: None) -> None:
    with pytest.raises(Refused) as caught:
        clients_for(Place.named("us-east-1"), load_estate()).leases  # noqa: B018
    assert str(caught.value) == (
        "Airflow connection 'kubernetes_us_east_1' (regions.us-east-1.connections.kubernetes) does not exist: "
        "create it with `airflow connections add kubernetes_us_east_1`, or correct its id in the estate's file"
    )


def test_nothing_is_made_and_nothing_refused_that_nobody_asks_for(
    airflow_database: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    estate = load_estate()
    clients_for(Place.named("us-east-1"), estate)
    edge = clients_for(Place.named("estate-wide"), estate)
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path))
    assert edge.leases.get("akidb-rollout") is None
    edge.leases.create({"metadata": {"name": "akidb-rollout"}})
    assert [path.name for path in (tmp_path / "locks" / "estate-wide").iterdir()] == ["akidb-rollout.json"]


def test_each_missing_connection_is_named_by_itself(airflow_database: None) -> None:
    clients = clients_for(Place.named("us-east-1"), load_estate())
    missing = missing_clients(clients, {"aws", "kubernetes", "prometheus"})
    remedy = "does not exist: create it with `airflow connections add"
    assert missing == {
        name: f"Airflow connection '{name}_us_east_1' (regions.us-east-1.connections.{name}) {remedy} "
        f"{name}_us_east_1`, or correct its id in the estate's file"
        for name in ("aws", "kubernetes", "prometheus")
    }
    assert list(missing_clients(clients, ())) == ["leases"]  # a region's lock lies in its cluster


def test_global_services_take_the_connection_of_the_estate_or_of_its_canary(airflow_database: None) -> None:
    estate = load_estate()
    edge = Place.named("estate-wide")
    with pytest.raises(Refused, match=r"'aws_ap_northeast_1' \(regions.ap-northeast-1.connections.aws\)"):
        _ = clients_for(edge, estate).aws
    named = estate.model_copy(update={"connections": EstateConnections(aws="aws_edge")})
    with pytest.raises(Refused, match=r"'aws_edge' \(connections.aws\) does not exist"):
        _ = clients_for(edge, named).aws
    with pytest.raises(Refused, match="estate-wide has no kubernetes of its own: ask for a region's"):
        _ = clients_for(edge, estate).kubernetes
    with pytest.raises(Refused, match="'prometheus_us_east_1'"):
        _ = clients_for(edge, estate).of("us-east-1").prometheus


def test_the_ledgers_place_is_asked_for(airflow_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="Airflow Variable 'akidb_ledger' is not set: set it to an absolute path"):
        open_ledger()
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", "gs://bucket/ledger")
    with pytest.raises(LedgerError, match="gs://bucket/ledger"):
        open_ledger()


class Cluster:
    """The two calls of a cluster client that leases need."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    def get(self, kind: Any, name: str, namespace: str) -> dict[str, Any]:
        return {"kind": kind.name, "name": name, "namespace": namespace}

    def create(self, body: dict[str, Any]) -> None:
        self.written.append(body)

    def replace(self, body: dict[str, Any]) -> None:
        from include.clients.kubernetes import ConflictError

        raise ConflictError("changed since it was read", {})


def test_leases_live_in_the_estates_namespace() -> None:
    cluster: Any = Cluster()
    leases = ClusterLeases(cluster, "akidb")
    assert leases.get("akidb-rollout") == {"kind": "Lease", "name": "akidb-rollout", "namespace": "akidb"}
    leases.create({"metadata": {"name": "akidb-rollout"}})
    assert cluster.written == [{"metadata": {"name": "akidb-rollout", "namespace": "akidb"}}]
    with pytest.raises(LeaseConflictError, match="changed since it was read"):
        leases.replace({"metadata": {"name": "akidb-rollout"}})


class Told:
    """A run of which only the records count."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def record(self, place: str, step: str, figures: dict[str, str]) -> None:
        self.reasons.append(figures["reason"])


@pytest.mark.parametrize(
    ("undoing", "try_number", "raised", "reasons"),
    [
        (True, 1, LockHeld, []),  # tried again: the rollback of another lever ends within minutes
        (True, 3, AirflowFailException, ["us-east-1: rollback/undo holds the lock"]),
        (False, 1, AirflowFailException, ["us-east-1: rollback/undo holds the lock"]),
    ],
)
def test_only_an_undo_waits_for_the_lock(
    monkeypatch: pytest.MonkeyPatch, undoing: bool, try_number: int, raised: type[Exception], reasons: list[str]
) -> None:
    ti = SimpleNamespace(task_id="rollback.us_east_1.undo_changes", try_number=try_number, max_tries=2)
    monkeypatch.setattr(tasks, "get_current_context", lambda: {"ti": ti})
    run = Told()
    with pytest.raises(raised), tasks.recorded(run, "us-east-1", undoing=undoing):  # type: ignore[arg-type]
        raise LockHeld("us-east-1: rollback/undo holds the lock", "rollback/undo")
    assert run.reasons == reasons


def test_a_reason_that_no_record_may_hold_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ti = SimpleNamespace(task_id="make_plan", try_number=3, max_tries=2)
    monkeypatch.setattr(tasks, "get_current_context", lambda: {"ti": ti})
    run = Told()
    with pytest.raises(ConnectionError), tasks.recorded(run):  # type: ignore[arg-type]
        raise ConnectionError("https://me:pass1234@prometheus refused")
    assert run.reasons == ["its message holds what looks like a credential; read the task's log"]


def test_the_ledger_is_signed_by_the_connections_key(
    airflow_database: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path))
    assert (open_ledger().key_id, open_ledger().signing_problem) == ("", "")  # without a connection: unsigned
    entry = {"conn_type": "generic", "password": pem(1)}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER_SIGNING_KEY", json.dumps(entry))
    assert open_ledger().key_id == signer(1).key_id
    one_line = {"conn_type": "generic", "password": pem(1).replace("\n", "\\n")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER_SIGNING_KEY", json.dumps(one_line))
    assert open_ledger().key_id == signer(1).key_id


def test_a_key_that_can_not_be_used_is_reported_and_never_shown(
    airflow_database: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER_SIGNING_KEY", json.dumps({"conn_type": "generic", "password": "hunter2"}))
    ledger = open_ledger()
    assert (ledger.key_id, ledger.signing_problem) == (
        "",
        "the password of the Airflow connection 'ledger_signing_key' is no Ed25519 private key in PEM without a "
        "password: make one by `openssl genpkey -algorithm ed25519`",
    )
    assert "hunter2" not in caplog.text
