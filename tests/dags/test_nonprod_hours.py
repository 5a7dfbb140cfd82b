"""The DAG nonprod_hours end to end: asleep, awake before its hours, by hand, undone, and red where it must be."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from include import levers
from include.clients.storage import Folder
from include.levers.nonprod_hours import NonprodHours
from include.levers.nonprod_hours import tasks as nonprod_tasks
from include.rollout.ledger import Ledger
from include.rollout.lock import LEASE, Lock, holder_of
from include.wiring import tasks as wiring_tasks
from include.wiring.clients import ClusterLeases
from tests.dags.conftest import OPEN_ESTATE
from tests.dags.cost_fakes import returned
from tests.unit.levers.nonprod_world import ASLEEP, AWAKE, CALENDAR, REGION, STAGING, World

Runner = Callable[..., Any]
NIGHT, EARLY, MORNING = "2026-12-02T12:00:00Z", "2026-12-02T22:00:00Z", "2026-12-02T22:50:00Z"
world: World


def lever_of_the_world() -> NonprodHours:
    return world.lever


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    global world
    world = World()
    raw = yaml.safe_load(OPEN_ESTATE.read_text(encoding="utf-8"))
    raw["nonprod"] = {"calendars": {"tokyo": CALENDAR}, "namespaces": {STAGING: "tokyo", "absent": "tokyo"}}
    path = tmp_path / "estate.yaml"
    path.write_text(yaml.safe_dump(raw))
    monkeypatch.setenv("AKIDB_ESTATE", str(path))
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setitem(levers.LEVERS, "nonprod_hours", f"{__name__}:lever_of_the_world")
    clients = world.target.clients
    clients.leases = ClusterLeases(world.cluster, "akidb")
    monkeypatch.setattr(nonprod_tasks, "clients_for", lambda place, estate: clients)


def look(run_dag: Runner, at: str, **conf: Any) -> Any:
    import dags.recurring.nonprod_hours as module

    given = {"at": at, "regions": [REGION], "converge_timeout_seconds": 60, "nodes_wait_seconds": 10}
    return run_dag(importlib.reload(module).nonprod_hours(), given | conf)


def said(run: Any) -> str:
    return str(returned(run, "nonprod_hours", "give_verdict"))


def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Folder(tmp_path / "ledger"))


def test_a_night_from_sleep_to_wake_leaves_everything_as_it_was(run_dag: Runner, tmp_path: Path) -> None:
    run = look(run_dag, NIGHT)
    assert (run.state, world.sizes()) == ("success", ASLEEP)
    assert said(run) == (
        f"{REGION} absent: nothing (it does not exist in {REGION})\n"
        f"{REGION} {STAGING}: sleep (asleep until Wed 2026-12-02 23:00 UTC by its calendar): 6 objects; 2 nodes gone "
        "at 0.2900 USD an hour, 0 left"
    )
    (change,) = ledger(tmp_path).standing("nonprod_hours", REGION)
    assert change.chain.run_id.endswith(f"@{STAGING}")
    assert holder_of(ClusterLeases(world.cluster, "akidb").get(LEASE)) == ""

    world.writes.clear()
    assert look(run_dag, EARLY).state == "success"
    assert (world.writes, world.sizes()) == ([], ASLEEP)

    run = look(run_dag, MORNING)
    assert (run.state, world.sizes()) == ("success", AWAKE)
    assert ledger(tmp_path).standing("nonprod_hours", REGION) == []


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(run_dag: Runner, tmp_path: Path) -> None:
    run = look(run_dag, NIGHT, dry_run=True)
    assert (run.state, world.writes, world.sizes()) == ("success", [], AWAKE)
    assert f"Deployment {STAGING}/docs spec.replicas: 1 -> 0" in said(run)
    assert not (tmp_path / "ledger").exists()


def test_who_is_woken_by_hand_stays_awake_for_the_next_look(run_dag: Runner) -> None:
    look(run_dag, NIGHT)
    run = look(run_dag, NIGHT, wake=[STAGING])
    assert (run.state, world.sizes()) == ("success", AWAKE)
    kept = world.cluster.objects["Namespace", "", STAGING]["metadata"]["annotations"]
    assert kept == {"akidb.io/keep-until": "2026-12-02T14:00:00+00:00"}
    look(run_dag, "2026-12-02T12:15:00Z")
    assert world.sizes() == AWAKE
    look(run_dag, "2026-12-02T14:15:00Z")
    assert world.sizes() == ASLEEP


def test_a_wake_that_fails_is_red_and_the_next_look_tries_again(run_dag: Runner) -> None:
    look(run_dag, NIGHT)
    world.cluster.broken = frozenset({"store"})
    assert look(run_dag, MORNING).state == "failed"
    world.cluster.broken = frozenset()
    assert look(run_dag, MORNING).state == "success"
    assert world.sizes() == AWAKE


def test_a_wish_without_an_end_is_red_and_changes_nothing(run_dag: Runner) -> None:
    metadata = world.cluster.objects["Namespace", "", STAGING]["metadata"]
    metadata["annotations"] = {"akidb.io/keep-until": "forever"}
    assert look(run_dag, NIGHT).state == "failed"
    assert world.sizes() == AWAKE


def test_a_sleep_is_postponed_while_a_rollout_holds_the_region(
    run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring_tasks, "run_ended", lambda holder: False)
    Lock(ClusterLeases(world.cluster, "akidb"), REGION, "day1_spot/manual__1").acquire(lambda holder: False)
    run = look(run_dag, NIGHT)
    assert (run.state, world.sizes()) == ("success", AWAKE)
    assert "postponed: us-east-1: day1_spot/manual__1 holds the lock" in said(run)


def test_a_namespace_to_wake_that_the_estate_does_not_have_is_red(run_dag: Runner) -> None:
    assert look(run_dag, NIGHT, wake=["stagin"]).state == "failed"
