"""The toy lever's world and a run of it, for the tests of the steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from include import levers
from include.clients.storage import Folder
from include.estate import load_estate
from include.rollout.ledger import Ledger
from include.rollout.steps import Run
from tests.dags.toy import Toy, World, clients_of
from tests.unit.rollout.ledger_world import Clock as LedgerClock
from tests.unit.rollout.toy_runs import AP, EU, US, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(tmp_path: Path) -> World:
    path = tmp_path / "world.json"
    regions = {region: {"size": 1} for region in (US, EU, AP)}
    path.write_text(json.dumps({"regions": regions, "faults": {}, "leases": {}, "events": []}))
    return World(path)


@pytest.fixture
def run(world: World, tmp_path: Path, clock: Clock) -> Run:
    estate = load_estate()
    params = {"regions": [AP, US], "dry_run": False, "size": 3, "soak_seconds": 60, "gate_wait_seconds": 30}
    make = clients_of(world)
    return Run(Toy(), estate, params, "toy_rollout", "manual__1", Ledger(Folder(tmp_path / "ledger"), clock),
               lambda region: make(region, estate), lambda _: None, clock=clock)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def ledger(store: Folder) -> Ledger:
    return Ledger(store, LedgerClock())


@pytest.fixture
def toy_levers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(levers.LEVERS, "toy", "tests.dags.toy:Toy")
    # Declared the wrong way round: the order comes from undo_after.
    monkeypatch.setitem(levers.LEVERS, "first", "tests.unit.rollout.toy_runs:First")
    monkeypatch.setitem(levers.LEVERS, "second", "tests.unit.rollout.toy_runs:Second")
