"""Day 5: its wiring, and what follows the promotion, run with the toy lever and a validation of a few lines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include import levers
from include.levers.cost_monitoring.wanted import SLOTS
from include.wiring.conventions import Tag
from tests.dags.toy import World
from tests.dags.toy_dags import AP, EU, QUICK, START, US, estate_of

FILE = Path(__file__).parents[2] / "dags" / "rollout" / "day5_cost_monitoring.py"
Runner = Callable[..., Any]
AFTER = ["promote", "open_validation_window", "await_validation_window", "validate_costs", "write_completion_report"]


@pytest.fixture(scope="module")
def dag() -> Any:
    return DagBag(dag_folder=str(FILE)).dags["day5_cost_monitoring"]


def test_the_lever_rolls_out_and_then_costs_are_validated(dag: Any) -> None:
    for task, following in itertools.pairwise(AFTER):
        assert following in dag.get_task(task).downstream_task_ids
    assert sorted(task.task_id for task in dag.leaves) == ["verdict", "write_completion_report"]
    slots = {task.split(".")[1] for task in dag.task_ids if task.endswith("apply_stage")}
    assert slots == set(SLOTS)


def test_nothing_is_validated_without_approval_snapshot_and_every_gate(dag: Any) -> None:
    upstream = dag.get_task("validate_costs").get_flat_relative_ids(upstream=True)
    gates = {task for task in dag.task_ids if task.endswith("judge_gates")}
    snapshots = {task for task in dag.task_ids if task.endswith("take_snapshot")}
    assert {"check_preflight", "await_approval", "take_locks"} | gates | snapshots <= upstream
    assert not {task for task in upstream if task.startswith("rollback.")}


def test_the_wait_is_deferred_and_the_form_offers_its_length(dag: Any) -> None:
    assert dag.get_task("await_validation_window").end_from_trigger is True
    assert dag.params["validation_window_seconds"] == 86_400
    assert {"opencost_version", "kubecost_version", "prometheus_endpoint"} <= set(dag.params)


# What follows the promotion ------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_COSTS", str(tmp_path / "costs"))
    monkeypatch.setitem(levers.LEVERS, "toy", "tests.dags.toy:Toy")
    path = tmp_path / "world.json"
    regions = {region: {"size": 1} for region in (US, EU, AP)}
    path.write_text(json.dumps({"regions": regions, "faults": {}, "leases": {}, "events": []}))
    return World(path)


def short_dag(world: World, costs: Path, verdict: str) -> Any:
    """The toy's rollout followed by day 5's own tasks; the validation gives ``verdict`` for the total."""
    from airflow.sdk import DAG, Param, task
    from airflow.sdk.exceptions import AirflowFailException

    from include.completion.tasks import await_validation_window, open_validation_window, write_completion_report
    from include.wiring.dag import rollout_arguments
    from include.wiring.rollout import rollout
    from tests.dags.toy import clients_of

    estate = estate_of(AP)

    @task(retries=0, multiple_outputs=False)
    def validate_costs(window: dict[str, str]) -> dict[str, Any]:
        from airflow.sdk import get_current_context

        month = None if verdict == "unknown" else "3100"
        total = {"usd_month": month, "known_usd_month": "1", "target_usd_month": "2970", "verdict": verdict,
                 "settling": "provisional", "unknown": [] if month else ["s3"]}  # fmt: skip
        (costs / "validations").mkdir(parents=True)
        (costs / "validations" / "x.json").write_text(json.dumps({"lines": [], "total": total, "window": window}))
        summary = {"key": "validations/x.json", "missing": "" if month else "s3: no bill day"}
        if not month:
            get_current_context()["ti"].xcom_push(key="return_value", value=summary)
            raise AirflowFailException("unknown")
        return summary

    arguments = rollout_arguments("toy", __doc__, [Tag.ROLLOUT], estate)
    arguments["params"]["validation_window_seconds"] = Param(1, type="integer", description="length")
    with DAG("toy_day5", schedule=None, **arguments) as dag:
        promoted = rollout("toy", clients_of(world), estate)
        window = open_validation_window()
        validated = validate_costs(window)
        promoted >> window >> await_validation_window() >> validated >> write_completion_report()
    return dag


def report_of(costs: Path) -> dict[str, Any]:
    (file,) = (costs / "completion").glob("*/report.json")
    report: dict[str, Any] = json.loads(file.read_text())
    return report


def test_dollars_that_miss_their_target_leave_the_run_green_and_read_fail(
    world: World, tmp_path: Path, run_dag: Runner
) -> None:
    costs = tmp_path / "costs"
    run = run_dag(short_dag(world, costs, "fail"), QUICK | {"regions": [AP]})
    assert (run.state, run.verdict["verdict"]) == ("success", "promoted")
    report = report_of(costs)
    assert report["summary"][0] == "Cost: FAIL. 3,100.00 USD a month against 2,970.00; provisional."
    assert [(day["lever"], day["region"], day["outcome"]) for day in report["days"]] == [("toy", AP, "promoted")]
    assert sorted(p.name for p in (costs / "completion").glob("*/*")) == ["report.html", "report.json", "report.md"]


def test_an_unknown_total_fails_the_run_once_the_report_is_written(
    world: World, tmp_path: Path, run_dag: Runner
) -> None:
    costs = tmp_path / "costs"
    run = run_dag(short_dag(world, costs, "unknown"), QUICK | {"regions": [AP]})
    assert (run.state, run.tasks["write_completion_report"]) == ("failed", "failed")
    assert run.verdict["verdict"] == "promoted"  # the rollout itself stands
    assert report_of(costs)["summary"][0].startswith("Cost: UNKNOWN. unknown USD a month")


def test_after_a_dry_run_or_a_rollback_nothing_is_validated(world: World, tmp_path: Path, run_dag: Runner) -> None:
    costs = tmp_path / "costs"
    run = run_dag(short_dag(world, costs, "pass"), {"size": 2, "regions": [AP]})
    assert (run.state, run.verdict["verdict"]) == ("success", "dry run")
    assert {run.tasks[task] for task in AFTER} == {"skipped"}
    world.change(lambda w: w["faults"].update({"unhealthy": [f"{AP} step_1"]}))
    run = run_dag(short_dag(world, costs, "pass"), QUICK | {"regions": [AP]})
    assert run.verdict["verdict"] == "rolled back"
    assert {run.tasks[task] for task in AFTER} == {"skipped"}
    assert world.sizes() == START
    assert not costs.exists()
