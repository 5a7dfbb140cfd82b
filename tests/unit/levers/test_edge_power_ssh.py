"""Power modes over real SSH on the lab's devices: measured, rolled out, scheduled, judged and undone."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.clients.devices import Devices
from include.clients.storage import Folder
from include.estate import Estate, load_estate
from include.levers.devices import state_of
from include.levers.edge_power import EdgePower
from include.levers.edge_power.daily import write_schedule
from include.levers.edge_power.measuring import Measuring, measure
from include.levers.edge_power.settings import PowerSettings
from include.rollout.gates import judge_all
from include.rollout.lever import NotConverged, Target
from include.rollout.place import DEVICES
from include.rollout.settings import build
from lab.machine.processes import reserved_ports
from tests.unit.clients.test_devices import client
from tests.unit.lab.devices.test_ssh import NAMES
from tests.unit.lab.devices.test_ssh import Devices as LabDevices
from tests.unit.levers.power_world import MEASURED, Prometheus

LEVER = EdgePower()
ANSWER = json.dumps(
    {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, "120"]}]}}
)


class Load(BaseHTTPRequestHandler):
    """Prometheus as the devices ask it: 120 requests/s, whatever the query."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(ANSWER.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabDevices]:
    with reserved_ports(2) as ports, LabDevices(tmp_path_factory.mktemp("devices"), ports) as found:
        yield found


@pytest.fixture
def target(lab: LabDevices, tmp_path: Path) -> Iterator[Target]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Load)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    raw = load_estate().model_dump(mode="json")
    url = f"http://127.0.0.1:{server.server_address[1]}"
    raw["edge"]["power"] |= {"devices": list(NAMES), "load_url": url}
    estate, costs = Estate.model_validate(raw), Folder(tmp_path / "costs")
    devices = Devices({name: functools.partial(client, lab, name, name) for name in NAMES})
    clients = SimpleNamespace(
        devices=devices, storage=lambda _: costs, of=lambda _: SimpleNamespace(prometheus=Prometheus())
    )
    yield Target(DEVICES, estate, "run", build(PowerSettings, {"converge_timeout_seconds": 30}, estate), clients)
    for device in devices.values():
        device.close()
    server.shutdown()


def states(target: Target) -> dict[str, Any]:
    return {name: state_of(device) for name, device in target.clients.devices.items()}


def test_the_canary_is_measured_and_the_devices_follow_their_load_and_back(lab: LabDevices, target: Target) -> None:
    world, before = LEVER.world(target), states(target)
    _, table = measure(world, "jetson01", Measuring(1, 0, "akidb-bench", ("15W", "MAXN_SUPER")))
    assert [mode.name for mode in table] == ["15W", "MAXN_SUPER"]
    assert table[0].full_watts < table[1].full_watts
    assert states(target) == before
    assert [check for check in LEVER.preflight(target) if not check.passed] == []
    stages, snapshot = LEVER.plan(target).stages, json.loads(json.dumps(LEVER.snapshot(target)))
    for stage in stages:
        figures = LEVER.apply(target, stage)
        found = judge_all(stage.gates, LEVER.observe(target, stage, 60, figures))
        assert {gate.gate.name: gate.outcome.value for gate in found if gate.gate.name != "watts_to_measured"} == {
            "unserved_qps": "pass", "devices_not_as_asked": "pass", "devices_pending": "pass",
        }  # fmt: skip
    assert {(state["active"], state["enabled"]) for state in states(target).values()} == {(True, True)}
    planned = {"device": "jetson01", "entries": [{"minute": 0, "mode": "15W"}], "source": "yesterday", "wh_wall": 1.0}
    assert write_schedule(world, planned, table).startswith("jetson01: 1 modes in the day")
    assert LEVER.rollback(target, snapshot).changed_by_others == ()
    assert (LEVER.verify_restored(target, snapshot), states(target)) == ([], before)


def test_an_undo_waits_for_a_device_that_went_away(lab: LabDevices, target: Target) -> None:
    before = states(target)
    target.clients.storage("").put(target.estate.edge.power.measured, json.dumps(MEASURED).encode())
    snapshot = LEVER.snapshot(target)
    for stage in LEVER.plan(target).stages:
        LEVER.apply(target, stage)
    lab.break_it(jetson02={"offline": True})
    lab.await_open("jetson02", is_open=False)
    with pytest.raises(NotConverged, match="Device jetson02 is offline: its undo is pending until it is back"):
        LEVER.rollback(target, snapshot)
    lab.break_it()
    lab.await_open("jetson02")
    LEVER.rollback(target, snapshot)
    assert (LEVER.verify_restored(target, snapshot), states(target)) == ([], before)
