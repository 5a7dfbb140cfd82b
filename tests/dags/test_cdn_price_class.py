"""The rollout of CloudFront's price class: its wiring, and whole runs and their undo by the engine on AWS in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.clients.storage import Folder
from include.levers.cdn_price_class import SLOT
from include.rollout.leases import StoreLeases
from include.rollout.place import ESTATE_WIDE
from tests.dags.test_dns_health_checks import QUICK
from tests.dags.toy_dags import rollback_dag
from tests.unit.levers.cdn_world import World

FILE = Path(__file__).parents[2] / "dags" / "rollout" / "cdn_price_class.py"
Runner = Callable[..., Any]
SOAK = QUICK | {"soak_seconds": 2, "gate_window_seconds": 20}
# Samples are looked for in slots of 5 s at least: a gate that shall pass needs a stage that is older than one slot.
WHOLE_SLOT = SOAK | {"soak_seconds": 6}


@pytest.fixture(scope="module")
def dag() -> Any:
    return DagBag(dag_folder=str(FILE)).dags["cdn_price_class"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    made = World(real_time=True)
    made.deploying.reads = 0
    made.target.clients.leases = StoreLeases(Folder(tmp_path / "ledger"), ESTATE_WIDE)
    yield made
    made.close()


def rollout_dag(world: World) -> Any:
    from airflow.sdk import DAG

    from include.wiring.conventions import Tag
    from include.wiring.dag import rollout_arguments
    from include.wiring.rollout import rollout

    name, estate = "cdn_price_class", world.estate
    with DAG(f"{name}_rollout", schedule=None, **rollout_arguments(name, __doc__, [Tag.ROLLOUT], estate)) as dag:
        rollout(name, lambda place, estate: world.target.clients, estate)
    return dag


def undo(run_dag: Runner, world: World) -> Any:
    dag = rollback_dag(None, world.estate, lambda place, estate: world.target.clients)
    return run_dag(dag, {"dry_run": False, "regions": [ESTATE_WIDE]})


def test_it_has_one_place_one_slot_and_asks_for_no_region(dag: Any) -> None:
    slots = [task.split(".")[1] for task in dag.task_ids if task.endswith("apply_stage")]
    assert slots == [SLOT]
    assert [task for task in dag.task_ids if task.endswith("take_snapshot")] == ["estate_wide.take_snapshot"]
    assert "regions" not in dag.params
    assert (dag.params["dry_run"], dag.params["cdn_price_class"], dag.params["cdn_log_days"]) == (True, "best", 7)


def test_the_class_is_written_only_after_approval_lock_and_snapshot(dag: Any) -> None:
    upstream = dag.get_task("estate_wide.price_class.apply_stage").get_flat_relative_ids(upstream=True)
    assert {"await_approval", "take_locks", "estate_wide.take_snapshot"} <= upstream


def test_the_best_class_is_promoted_and_undone_from_the_ledger(world: World, run_dag: Runner) -> None:
    world.widen_limits()
    before = world.state()
    run = run_dag(rollout_dag(world), WHOLE_SLOT)
    assert (run.state, run.verdict["message"]) == (
        "success", "promoted in estate-wide: every gate of every stage passed.",
    )  # fmt: skip
    assert world.price_class() == "PriceClass_100"
    assert undo(run_dag, world).verdict["message"] == "rolled back and verified: estate-wide cdn_price_class."
    assert world.state() == before


def test_a_part_of_the_world_that_waits_too_long_in_the_soak_reverts_it(world: World, run_dag: Runner) -> None:
    before = world.state()
    run = run_dag(rollout_dag(world), SOAK | {"cdn_price_class": "PriceClass_200"})
    assert (run.state, run.verdict["verdict"]) == ("failed", "rolled back")
    assert "p95_ms_apac: 92.7774 ms is not < 25 ms" in run.verdict["message"]
    assert world.state() == before


def test_a_distribution_that_is_never_deployed_is_reverted_and_named_and_the_undo_is_not_called_done(
    world: World, run_dag: Runner
) -> None:
    before = world.state()
    world.deploying.hold = True
    run = run_dag(rollout_dag(world), SOAK | {"cdn_price_class": "PriceClass_200", "converge_timeout_seconds": 1})
    assert (run.state, run.verdict["verdict"]) == ("failed", "unfinished")
    assert f"Distribution {world.id} deployed at every edge location: not reached within 1 s" in run.verdict["message"]
    assert f"Distribution {world.id} Status: InProgress -> Deployed" in run.verdict["message"]
    assert world.state() == before
    world.deploying.hold = False
    assert undo(run_dag, world).verdict["verdict"] == "rolled back"
    assert world.state() == before


def test_the_missions_estate_has_nothing_to_roll_out(world: World, run_dag: Runner) -> None:
    before = world.state()
    run = run_dag(rollout_dag(world), SOAK)
    assert run.state == "success", run.verdict
    assert world.state() == before
