"""Drills against a real API server and a real Prometheus; no Airflow here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import yaml
from kubernetes.dynamic import DynamicClient

from include.clients.access import Access
from include.clients.kubernetes import DEPLOYMENT, NODE
from include.clients.outages import OutageHook
from include.estate import Estate
from include.levers.game_day import GameDay
from include.levers.game_day.settings import GameDaySettings
from include.rollout.lever import Target
from include.rollout.settings import build
from lab import world as worlds
from lab.cluster.workloads import ROLES, apply_all
from lab.machine.processes import OUTAGE_MARK, Processes
from tests.lab.conftest import REGION

pytestmark = [pytest.mark.lab, pytest.mark.long]
LEVER = GameDay()


@pytest.fixture(scope="module")
def rights(dynamic: DynamicClient) -> Iterator[None]:
    """What a drill needs beyond a rollout, for as long as drills run."""
    roles = list(yaml.safe_load_all((ROLES / "game_day" / "rbac_drills.yaml").read_text(encoding="utf-8")))
    apply_all(dynamic, roles)
    yield
    for one in roles:
        kind = dynamic.resources.get(api_version=one["apiVersion"], kind=one["kind"])
        kind.delete(one["metadata"]["name"], one["metadata"].get("namespace"))


@pytest.fixture(scope="module")
def target(world: worlds.LabWorld, region_clients: SimpleNamespace, rights: None) -> Target:
    """The region of an estate that allows game days, as the user that Airflow gets."""
    raw = world.estate.model_dump(mode="json")
    raw["governance"] |= {"game_days": "allowed", "game_day_hook": "game_day_hook"}
    estate = Estate.model_validate(raw)
    return Target(REGION, estate, "lab-drill", settings(estate, "zone-loss"), region_clients)


def settings(estate: Estate, drill: str) -> GameDaySettings:
    given = {"drill": drill, "fault_seconds": 20, "recover_seconds": 40, "converge_timeout_seconds": 240}
    return build(GameDaySettings, given, estate)


def drilled(target: Target) -> dict[str, Any]:
    """Snapshot, strike, set back and prove; the figures of the drill."""
    snapshot = LEVER.snapshot(target)
    (stage,) = LEVER.plan(target).stages
    try:
        figures = LEVER.apply(target, stage)
    finally:
        assert LEVER.rollback(target, snapshot).changed_by_others == ()
        assert LEVER.verify_restored(target, snapshot) == []
    return figures


def test_a_lost_zone_is_emptied_as_far_as_budgets_allow_and_takes_pods_again(target: Target) -> None:
    # The untouched estate is full: what the lost zone held finds no other node, and budgets keep the rest.
    figures = drilled(target)
    assert 0.5 <= figures["least_ready_share"] < 1
    assert any(look["missing"] or look["waiting"] for look in figures["timeline"])
    assert not any(node["spec"].get("unschedulable") for node in target.clients.kubernetes.list(NODE))


class PrometheusHook(BaseHTTPRequestHandler):
    """What docs/how-to/game_days.md asks of a hook, for the lab's Prometheus."""

    processes: Processes
    out: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        body = json.dumps({"out": self._name in self.out}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        if self._name not in self.out:
            self.processes.kill(self._name)
            self.out.add(self._name)
        self.do_GET()

    def do_DELETE(self) -> None:
        if self._name in self.out:
            self.processes.restart(self._name)
            self.out.discard(self._name)
        self.do_GET()

    @property
    def _name(self) -> str:
        return self.path.rpartition("/")[2]

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def hook(world: worlds.LabWorld) -> Iterator[OutageHook]:
    """The hook as a drill reaches it; the lab's check for crashed processes rests meanwhile."""
    PrometheusHook.processes = world.processes
    server = ThreadingHTTPServer(("127.0.0.1", 0), PrometheusHook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    marker = world.options.folder / OUTAGE_MARK
    marker.touch()
    yield OutageHook(Access(f"http://127.0.0.1:{server.server_port}"))
    marker.unlink(missing_ok=True)
    server.shutdown()


def test_without_metrics_every_pod_stays_ready_and_prometheus_comes_back(target: Target, hook: OutageHook) -> None:
    target.clients.outages = hook
    figures = drilled(replace(target, settings=settings(target.estate, "metrics-outage")))
    assert (figures["least_ready_share"], figures["recovered_seconds"]) == (1.0, 0.0)
    assert not hook.is_out("prometheus")
    assert target.clients.kubernetes.get(DEPLOYMENT, "akidb-rest", target.estate.namespace) is not None
