"""Day 1 and day 2 end to end: the real levers in the engine's own DAGs, on an API server and a cloud in memory.

Time stands where the fakes have it, and the soaks are marked as done: what waits for a wall clock is the toy's to test.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from include import levers
from include.clients.storage import Folder
from include.rollout.leases import StoreLeases
from include.rollout.ledger import Chain, Ledger, Record
from include.rollout.lever import Lever
from include.rollout.place import estate_for
from include.wiring.tasks import Engine
from tests.conformance.levers.scenes import Scene, dns, edge_watch, power, routing, scaling, sizing, spot, storage
from tests.dags.toy_dags import rollback_dag

Runner = Callable[..., Any]
QUICK = {"soak_seconds": 1, "gate_window_seconds": 20, "gate_wait_seconds": 0, "dry_run": False}
SCENES = [
    ("spot_capacity", spot),
    ("predictive_scaling", scaling),
    ("right_sizing", sizing),
    ("request_routing", routing),
    ("dns_health_checks", dns),
    ("storage_tiering", storage),
    ("edge_monitoring", edge_watch),
    ("edge_power", power),
]
SOAKS = r".*\.await_soak"
HOUR_BEFORE = dt.datetime.fromtimestamp(1_800_000_000 - 3600, dt.UTC)  # the levers' own clock shows an hour later
scene: Scene  # of the test that runs


def lever_of_the_scene() -> Lever:
    """What the list of levers makes in these tests."""
    return scene.lever


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    for name, _ in SCENES:
        monkeypatch.setitem(levers.LEVERS, name, f"{__name__}:lever_of_the_scene")
    moments = (HOUR_BEFORE + dt.timedelta(seconds=n) for n in range(100_000))
    made = Engine.run
    monkeypatch.setattr(Engine, "run", lambda engine: replace(made(engine), clock=lambda: next(moments)))
    yield
    scene.close()


def enter(made: Any, folder: Path) -> Any:
    """Make the scene the one of the test, and the clients of its place."""
    global scene
    scene = made(folder)
    scene.target.clients.leases = StoreLeases(Folder(folder / "ledger"), scene.target.place.name)
    return lambda place, estate: scene.target.clients


def rollout_dag(lever: str, clients: Any) -> Any:
    from airflow.sdk import DAG

    from include.wiring.conventions import Tag
    from include.wiring.dag import rollout_arguments
    from include.wiring.rollout import rollout

    estate = estate_for(scene.target.estate, scene.target.place.name)
    with DAG(f"{lever}_rollout", schedule=None, **rollout_arguments(lever, __doc__, [Tag.ROLLOUT], estate)) as dag:
        rollout(lever, clients, estate)
    return dag


def records(run: Any, lever: str, place: str, folder: Path) -> list[Record]:
    chain = Chain(lever, place, f"{lever}_rollout", run.run_id)
    return Ledger(Folder(folder / "ledger")).records(chain)


@pytest.mark.parametrize(("lever", "made"), SCENES)
def test_a_dry_run_checks_and_plans_and_writes_nothing(lever: str, made: Any, run_dag: Runner, tmp_path: Path) -> None:
    clients = enter(made, tmp_path)
    before = scene.state()
    run = run_dag(rollout_dag(lever, clients), QUICK | {"dry_run": True})
    assert (run.state, run.verdict.get("verdict")) == ("success", "dry run"), run.verdict
    assert scene.state() == before
    assert [r.step for r in records(run, lever, "estate", tmp_path)] == ["preflight", "plan", "verdict"]


@pytest.mark.parametrize(("lever", "made"), SCENES)
def test_every_stage_is_approved_applied_judged_and_promoted(
    lever: str, made: Any, run_dag: Runner, tmp_path: Path
) -> None:
    clients = enter(made, tmp_path)
    place, slots = scene.target.place.name, [stage.slot for stage in scene.lever.plan(scene.target).stages]
    before = scene.state()
    run = run_dag(rollout_dag(lever, clients), QUICK, marked=SOAKS)
    assert (run.state, run.verdict.get("verdict")) == ("success", "promoted"), run.verdict
    assert scene.state() != before
    found = records(run, lever, place, tmp_path)
    assert [r.figures["slot"] for r in found if r.step == "gate"] == slots
    assert {r.figures["outcome"] for r in found if r.step == "gate"} == {"pass"}
    assert scene.lever.plan(scene.target).differences == ()


def test_what_stands_once_for_the_estate_is_undone_by_the_rollback_dag(run_dag: Runner, tmp_path: Path) -> None:
    """Only AWS and the ledger's store are there: whoever asked for a cluster would fail."""
    clients = enter(dns, tmp_path)
    before = scene.state()
    assert run_dag(rollout_dag("dns_health_checks", clients), QUICK, marked=SOAKS).verdict["verdict"] == "promoted"
    undone = run_dag(rollback_dag(None, scene.target.estate, clients), {"dry_run": False, "regions": ["estate-wide"]})
    assert (undone.state, undone.verdict["verdict"]) == ("success", "rolled back"), undone.verdict
    assert undone.verdict["message"].startswith("rolled back and verified: estate-wide dns_health_checks.")
    assert scene.state() == before
