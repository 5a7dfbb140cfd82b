"""The DAGs of the power modes: their wiring, daily planning and measurement end to end on made-up devices."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include import levers
from include.clients.devices import Ran
from include.clients.storage import Folder
from include.levers.edge_power import EdgePower
from include.levers.edge_power import tasks as power_tasks
from include.rollout.leases import StoreLeases
from jetson_tasks import paths
from tests.dags.cost_fakes import returned
from tests.unit.levers import power_world
from tests.unit.levers.power_world import LEVER, MEASURED, World
from tests.unit.levers.test_edge_power_daily import History

DAGS = Path(__file__).parents[2] / "dags"
Runner = Callable[..., Any]
AT = {"at": "2026-11-29T00:05:00Z"}
world: World


def lever_of_the_world() -> EdgePower:
    return LEVER


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    global world
    world = World(tmp_path)
    monkeypatch.setattr(power_world.CLOCK, "now", time.time)  # tasks have the machine's clock, and so must the devices
    clients = world.target.clients
    clients.leases = StoreLeases(Folder(tmp_path / "ledger"), "devices")
    monkeypatch.setattr(power_world.Prometheus, "query_range", History.query_range)
    monkeypatch.setattr(power_tasks, "clients_for", lambda place, estate: clients)
    monkeypatch.setitem(levers.LEVERS, "edge_power", f"{__name__}:lever_of_the_world")
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_COSTS", str(tmp_path / "costs"))


def roll_out() -> None:
    """The rollout stands, undisturbed by the loads of History, which the plan's dollars ask for in another way."""
    for stage in LEVER.slots:
        for thing in LEVER.desired(LEVER.world(world.target), stage, LEVER.facts(LEVER.world(world.target))):
            thing.write(LEVER.world(world.target))


def scheduled(run_dag: Runner, **conf: Any) -> Any:
    import dags.recurring.edge_power as module

    return run_dag(importlib.reload(module).edge_power(), AT | conf)


def desired(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.devices[name].read(paths.DESIRED) or b"{}")
    return found


# Wiring ---------------------------------------------------------------------------------------------------------------


def test_the_rollout_has_one_place_the_canary_first() -> None:
    dag = DagBag(dag_folder=str(DAGS / "rollout" / "edge_power_rollout.py")).dags["edge_power_rollout"]
    slots = [task.split(".")[1] for task in dag.task_ids if task.endswith("apply_stage")]
    assert (slots, "regions" in dag.params, dag.params["dry_run"]) == (["canary", "rest"], False, True)
    upstream = dag.get_task("devices.rest.apply_stage").get_flat_relative_ids(upstream=True)
    assert {"await_approval", "take_locks", "devices.take_snapshot", "devices.canary.judge_gates"} <= upstream


def test_the_planning_writes_to_the_others_after_the_canary() -> None:
    dag = DagBag(dag_folder=str(DAGS / "recurring" / "edge_power.py")).dags["edge_power"]
    assert {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks} == {
        "plan_schedules": ["is_real_run", "write_canary", "write_rest"],
        "is_real_run": ["write_canary"],
        "write_canary": ["give_verdict", "write_rest"],
        "write_rest": ["give_verdict"],
        "give_verdict": [],
    }


# The planning ---------------------------------------------------------------------------------------------------------


def test_each_device_gets_its_schedule_and_the_plans_are_kept(run_dag: Runner, tmp_path: Path) -> None:
    roll_out()
    run = scheduled(run_dag)
    assert run.state == "success"
    assert desired("jetson02")["schedule"] == [{"minute": 0, "mode": "15W"}, {"minute": 473, "mode": "25W"}]
    assert "schedule" not in desired("jetson03")
    text = str(returned(run, "edge_power", "give_verdict"))
    assert "jetson02: 2 modes in the day, from yesterday" in text
    assert "jetson03: left alone, no load is known: its policy alone decides" in text
    kept = json.loads((tmp_path / "costs" / "devices" / "schedules" / "2026-11-29.json").read_text())
    assert [one["device"] for one in kept["devices"]] == list(world.devices)


def test_a_dry_run_shows_the_plans_and_writes_nothing(run_dag: Runner, tmp_path: Path) -> None:
    roll_out()
    before = world.state()
    run = scheduled(run_dag, dry_run=True)
    assert (run.state, world.state()) == ("success", before)
    assert "jetson02: 00:00 15W, 07:53 25W" in returned(run, "edge_power", "plan_schedules")["text"]
    assert not (tmp_path / "costs" / "devices" / "schedules").exists()


def test_a_device_that_is_offline_is_pending_and_the_run_red(run_dag: Runner) -> None:
    roll_out()
    world.devices["jetson04"].offline = True
    assert scheduled(run_dag).state == "failed"
    assert "schedule" in desired("jetson02")


def test_an_offline_canary_stops_the_planning_before_the_others(run_dag: Runner) -> None:
    roll_out()
    world.devices["jetson01"].offline = True
    assert scheduled(run_dag).state == "failed"
    assert "schedule" not in desired("jetson02")


def test_without_a_measurement_nothing_is_planned(run_dag: Runner) -> None:
    roll_out()
    world.costs.delete(world.estate.edge.power.measured)
    assert scheduled(run_dag).state == "failed"
    assert "schedule" not in desired("jetson02")


# Measuring ------------------------------------------------------------------------------------------------------------


def measured(run_dag: Runner, **conf: Any) -> Any:
    import dags.operations.measure_devices as module

    return run_dag(importlib.reload(module).measure_devices(), conf)


def test_a_measurement_is_dry_by_default_and_kept_when_it_is_not(
    run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.costs.delete(world.estate.edge.power.measured)
    canary, made = world.devices["jetson01"], []
    real = canary.run

    def run(*command: str, stdin: str = "", seconds: float | None = None) -> Ran:
        if "measure" not in command:
            return real(*command, stdin=stdin)
        made.append(command)
        return Ran(0, json.dumps(MEASURED), "")

    monkeypatch.setattr(canary, "run", run)
    assert measured(run_dag).state == "success"
    assert made == []
    assert measured(run_dag, dry_run=False, seconds=2, settle_seconds=1).state == "success"
    assert made[0][2:] == ("measure", "--seconds", "2", "--settle", "1", "--bench", "akidb-bench")
    assert json.loads(world.costs.read(world.estate.edge.power.measured)) == MEASURED
