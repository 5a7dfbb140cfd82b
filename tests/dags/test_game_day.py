"""The drills' DAG: its wiring, and whole runs by the engine on a region in memory, with what they prove."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import dag

from include import levers
from include.clients.storage import Folder
from include.levers.game_day.tasks import drill, game_day_arguments
from include.rollout.leases import StoreLeases
from include.rollout.ledger import Chain, Ledger, Step
from include.rollout.lever import Lever
from include.rollout.safety import Fault, SafetyRecords, code_version
from include.wiring.tasks import Engine
from tests.dags.toy_dags import rollback_dag
from tests.unit.levers.game_world import World
from tests.unit.levers.spot_world import REGION

FILE = Path(__file__).parents[2] / "dags" / "operations" / "game_day.py"
Runner = Callable[..., Any]
QUICK = {
    "dry_run": False,
    "regions": [REGION],
    "fault_seconds": 20,
    "recover_seconds": 60,
    "gate_window_seconds": 20,
    "gate_wait_seconds": 0,
    "converge_timeout_seconds": 60,
}
HOUR_BEFORE = dt.datetime.fromtimestamp(1_800_000_000 - 3600, dt.UTC)  # the lever's own clock shows an hour later
world: World  # of the test that runs


def lever_of_the_world() -> Lever:
    """What the list of levers makes in these tests."""
    return world.lever


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setitem(levers.LEVERS, "game_day", f"{__name__}:lever_of_the_world")
    moments = (HOUR_BEFORE + dt.timedelta(seconds=n) for n in range(100_000))
    made = Engine.run
    monkeypatch.setattr(Engine, "run", lambda engine: replace(made(engine), clock=lambda: next(moments)))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Folder(tmp_path / "ledger"))


def enter(made: World) -> World:
    global world
    world = made
    return made


def clients(tmp_path: Path) -> Callable[..., Any]:
    store = Folder(tmp_path / "ledger")
    return lambda place, estate: SimpleNamespace(**vars(world.clients), leases=StoreLeases(store, place.name))


def the_drill(tmp_path: Path) -> Any:
    @dag(schedule=None, **game_day_arguments("a drill", world.estate))
    def game_day() -> None:
        drill(clients(tmp_path), world.estate)

    return game_day()


def promoted(ledger: Ledger) -> None:
    """Day 2 stands in the region."""
    chain = Chain("predictive_scaling", REGION, "day2_predictive_scaling", "manual__0")
    ledger.append(chain.of("estate"), Step.PLAN, {"hash": "89a7a1af48b0"})
    for step in (Step.SNAPSHOT, Step.TOUCH, Step.PROMOTED):
        ledger.append(chain, step)


def test_everything_that_strikes_has_the_approval_and_the_snapshot_before_it_and_the_way_back_after() -> None:
    enter(World())
    found = DagBag(dag_folder=str(FILE)).dags["game_day"]
    upstream = found.get_task("strike").get_flat_relative_ids(upstream=True)
    assert {"check_preflight", "await_approval", "take_locks", "confirm_unchanged", "take_snapshot"} <= upstream
    downstream = found.get_task("strike").get_flat_relative_ids(upstream=False)
    assert downstream == {"judge_hypothesis", "set_back", "verify", "release_locks", "verdict"}
    assert found.get_task("set_back").trigger_rule == "all_done"
    assert found.params["regions"] == [REGION]
    assert (found.params["dry_run"], found.params["drill"], found.params["soak_seconds"]) == (
        True,
        "forecast-outage",
        1,
    )


def test_a_drill_that_holds_is_set_back_and_proves_something_of_what_stands(
    run_dag: Runner, tmp_path: Path, ledger: Ledger
) -> None:
    enter(World(drill="forecast-outage"))
    promoted(ledger)
    before = world.cluster.state()
    run = run_dag(the_drill(tmp_path), QUICK | {"drill": "forecast-outage"})
    assert run.state == "success", run.verdict
    assert run.verdict["message"].splitlines()[0] == (
        f"hypothesis held in {REGION}: Scaling goes on by requests alone, and no pod is taken away for want of a "
        "forecast."
    )
    version = code_version("predictive_scaling")
    assert run.verdict["message"].splitlines()[-1] == (
        f"On record: predictive_scaling survived forecast-down (code {version})."
    )
    (record,) = SafetyRecords(ledger.store).read().records
    assert (record.lever, record.fault, record.outcome, record.seconds) == (
        "predictive_scaling", Fault.FORECAST_DOWN, "survived", 0.0,
    )  # fmt: skip
    assert (record.plan_hash, record.place, record.code_version) == ("89a7a1af48b0", REGION, version)
    assert record.source.startswith("game_day/manual__")
    assert world.cluster.state() == before
    assert [change.chain.lever for change in ledger.survey().standing] == ["predictive_scaling"]


def test_a_dry_run_shows_the_drill_and_writes_nothing(run_dag: Runner, tmp_path: Path) -> None:
    enter(World(drill="forecast-outage"))
    run = run_dag(the_drill(tmp_path), QUICK | {"dry_run": True})
    assert (run.state, run.verdict["verdict"]) == ("success", "dry run")
    assert world.writes == []


def test_production_is_refused_before_anything_is_written(run_dag: Runner, tmp_path: Path) -> None:
    enter(World({"game_days": "refused"}, drill="forecast-outage"))
    run = run_dag(the_drill(tmp_path), QUICK)
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert "governance.game_days is refused" in run.verdict["message"]
    assert world.writes == []


def test_several_regions_at_once_are_refused(run_dag: Runner, tmp_path: Path) -> None:
    enter(World(drill="forecast-outage"))
    run = run_dag(the_drill(tmp_path), QUICK | {"regions": [REGION, "us-east-1"]})
    assert run.state == "failed"
    assert "a drill strikes one region at a time; name one" in run.verdict["message"]


def test_a_drill_that_meets_its_stop_condition_is_set_back_and_red(
    run_dag: Runner, tmp_path: Path, ledger: Ledger
) -> None:
    enter(World(drill="zone-loss"))
    world.with_zones(3)
    chosen = QUICK | {"drill": "zone-loss", "zone": "ap-northeast-1b", "stop_ready_share": 1.0, "hold_ready_share": 1.0}
    before = world.cluster.state()
    run = run_dag(the_drill(tmp_path), chosen)
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert "stop condition met" in run.verdict["message"]
    assert world.cluster.state() == before
    assert not any(node["spec"].get("unschedulable") for node in world.cluster.group_nodes())
    assert SafetyRecords(ledger.store).read().records == ()


def test_a_drill_that_died_half_way_is_undone_by_the_rollback(run_dag: Runner, tmp_path: Path, ledger: Ledger) -> None:
    enter(World(drill="forecast-outage"))
    before = world.cluster.state()
    chain = Chain("game_day", REGION, "game_day", "manual__dead")
    settings = world.target.settings.model_dump(mode="json")
    estate = world.estate.slice(REGION).model_dump(mode="json")
    snapshot = world.lever.snapshot(world.target)
    ledger.append(chain, Step.SNAPSHOT, {"snapshot": snapshot, "settings": settings, "estate": estate})
    ledger.append(chain, Step.TOUCH)
    (stage,) = world.lever.plan(world.target).stages
    world.lever.apply(world.target, stage)
    assert world.replicas("traffic-predictor") == 0
    run = run_dag(rollback_dag(None, clients=clients(tmp_path)), {"dry_run": False, "lever": "game_day"})
    assert run.verdict["message"] == f"rolled back and verified: {REGION} game_day."
    assert world.cluster.state() == before
