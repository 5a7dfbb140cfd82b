"""What the engine costs above Airflow: ``make bench`` runs it.

A rollout of a lever that does nothing, in three places with one stage each, against the same graph of empty tasks with
the same form: as many tasks in the same order, with the same approval and waits, both by ``dag.test()`` and in turn.
Limit of the issue: 1.3 times as long. Writes benchmarks/results/engine_overhead.json.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from benchmarks.bench_lab_boot import machine
from include import levers
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.lever import Check, Difference, Plan, Restored, Stage, Target, Undo
from tests.dags import conftest as airflow
from tests.dags.toy import World, clients_of

RESULTS = Path(__file__).parent / "results"
ROUNDS = 3
LIMIT = 1.3
SOAK_SECONDS = 1
CONF = {"soak_seconds": SOAK_SECONDS, "gate_window_seconds": 1, "gate_wait_seconds": 0, "dry_run": False}


class NoSettings(BaseModel):
    """Nothing to choose."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Idle:
    """A lever with one stage that changes nothing: the engine is what is measured."""

    name = "idle"
    slots = ("only",)
    settings_type = NoSettings
    needs: frozenset[str] = frozenset()
    undo_after: tuple[str, ...] = ()
    gate = Gate("well", Comparison.AT_LEAST, 1, "ratio", 1, "benchmark")

    def preflight(self, target: Target) -> list[Check]:
        """One check, passed."""
        del target
        return [Check("idle", passed=True, reason="nothing to check")]

    def plan(self, target: Target) -> Plan:
        """One stage, and no difference: so that the promotion's own look finds nothing left to do."""
        stages = (Stage("only", "nothing", (self.gate,)),)
        return Plan(self.name, target.place.name, {}, (), stages, None, None, "none", Undo.INSTANT)

    def snapshot(self, target: Target) -> dict[str, Any]:
        """Nothing."""
        del target
        return {}

    def apply(self, target: Target, stage: Stage) -> dict[str, Any]:
        """Nothing, behind the fence."""
        del stage
        target.fence()
        return {}

    def observe(
        self, target: Target, stage: Stage, window_seconds: int, applied: Mapping[str, Any]
    ) -> dict[str, Figure | None]:
        """A gate that passes."""
        del target, stage, window_seconds, applied
        return {"well": Figure(1, "ratio", 1, "benchmark")}

    def evidence(self, target: Target) -> dict[str, Any]:
        """Nothing."""
        del target
        return {}

    def rollback(self, target: Target, snapshot: Mapping[str, Any]) -> Restored:
        """Nothing."""
        del target, snapshot
        return Restored(())

    def verify_restored(self, target: Target, snapshot: Mapping[str, Any]) -> list[Difference]:
        """All is as it was."""
        del target, snapshot
        return []


def engine_dag(world: World) -> Any:
    """A rollout of the idle lever."""
    from airflow.sdk import DAG

    from include.wiring.conventions import Tag
    from include.wiring.dag import rollout_arguments
    from include.wiring.rollout import rollout

    with DAG("idle_rollout", schedule=None, **rollout_arguments("idle", __doc__, [Tag.ROLLOUT])) as dag:
        rollout("idle", clients_of(world))
    return dag


def empty_dag(like: Any, ran: set[str]) -> Any:
    """The tasks of ``like`` that ran, each empty but for its waits, in the same order."""
    from airflow.sdk import DAG

    from include.wiring.conventions import Tag
    from include.wiring.dag import rollout_arguments

    # The same form: Airflow checks the parameters of a run for each of its tasks, whatever the tasks do.
    with DAG("empty_tasks", schedule=None, **rollout_arguments("idle", __doc__, [Tag.ROLLOUT])) as dag:
        made = {task.task_id: _empty(task.task_id.replace(".", "__")) for task in like.tasks if task.task_id in ran}
        for name, task in made.items():
            for below in like.get_task(name).downstream_task_ids & made.keys():
                task >> made[below]
    return dag


def _empty(name: str) -> Any:
    from airflow.providers.standard.operators.hitl import ApprovalOperator
    from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
    from airflow.sdk import task

    if name == "await_approval":
        return ApprovalOperator(task_id=name, subject="go on?")
    if name.endswith("await_soak"):
        until = f"{{{{ ti.xcom_pull(task_ids='{name.replace('await_soak', 'apply_stage')}') }}}}"
        return DateTimeSensorAsync(task_id=name, target_time=until, end_from_trigger=True)

    @task(task_id=name)
    def empty() -> str | None:
        # A soak is as long as the engine's: from the end of the write.
        end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=SOAK_SECONDS)
        return end.isoformat() if name.endswith("apply_stage") else None

    return empty()


def timed(dag: Any, conf: Mapping[str, Any]) -> tuple[float, Any]:
    """Seconds of one run by Airflow's own record, and what it left. Raises RuntimeError unless it is green."""
    run = airflow.run_once(dag, dict(conf))
    if run.state != "success":
        raise RuntimeError(f"{dag.dag_id} ended {run.state}: {run.verdict}")
    return run.seconds, run


def measure(folder: Path) -> dict[str, Any]:
    """Both in turn, ``ROUNDS`` times after one round that warms up."""
    levers.LEVERS["idle"] = "benchmarks.bench_engine_overhead:Idle"
    os.environ["AIRFLOW_VAR_AKIDB_LEDGER"] = str(folder / "ledger")
    os.environ["AKIDB_ESTATE"] = str(airflow.OPEN_ESTATE)
    path = folder / "world.json"
    path.write_text(json.dumps({"regions": {}, "faults": {}, "leases": {}, "events": []}))
    world = World(path)
    airflow.make_database()
    _, run = timed(engine_dag(world), CONF)
    ran = {name for name, state in run.tasks.items() if state == "success"}
    timed(empty_dag(engine_dag(world), ran), CONF)
    engine, empty = [], []
    for _ in range(ROUNDS):
        engine.append(timed(engine_dag(world), CONF)[0])
        empty.append(timed(empty_dag(engine_dag(world), ran), CONF)[0])
    ratio = statistics.median(engine) / statistics.median(empty)
    return {
        "machine": machine(),
        "tasks": len(ran),
        "places": 3,
        "engine_seconds": [round(seconds, 2) for seconds in engine],
        "empty_seconds": [round(seconds, 2) for seconds in empty],
        "ratio": round(ratio, 3),
    }


def main() -> int:
    """Measure, print and keep the figures; 1 when the engine takes longer than the limit."""
    with tempfile.TemporaryDirectory(prefix="akidb-bench-") as folder:
        report = measure(Path(folder))
    text = json.dumps(report, indent=1)
    (RESULTS / "engine_overhead.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    return int(report["ratio"] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
