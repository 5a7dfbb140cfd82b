"""A parameter that the form doesn't have is refused with the nearest name, in every DAG, before anything is written."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.rollout.lever import Refused
from include.wiring.parameters import refuse_unknown_names
from tools import docs

ROOT = Path(__file__).parents[2]
MODULES = {path.stem: f"dags.{path.parent.name}.{path.stem}" for path in docs.dag_files(ROOT / "dags")}
RECURRING = {name for name, module in MODULES.items() if module.startswith("dags.recurring.")}
WITHOUT_VERDICT = RECURRING | {"measure_devices"}
Runner = Callable[..., Any]


def new_dag(name: str) -> Any:
    return getattr(importlib.reload(importlib.import_module(MODULES[name])), name)()


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every storage that a DAG writes to, all of them empty."""
    for name in ("ledger", "costs", "traffic", "models"):
        monkeypatch.setenv(f"AIRFLOW_VAR_AKIDB_{name.upper()}", str(tmp_path / name))
    return tmp_path


@pytest.mark.parametrize("name", MODULES)
def test_every_dag_refuses_a_misspelt_parameter_before_it_writes_anything(
    places: Path, run_dag: Runner, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    dag = new_dag(name)
    run = run_dag(dag, {"dryrun": False})
    first = [task.task_id for task in dag.tasks if not task.upstream_task_ids]
    assert run.state == "failed"
    assert {state for task, state in run.tasks.items() if task.partition("[")[0] in first} == {"failed"}
    refusal = "dryrun: no such parameter; did you mean 'dry_run'? The parameters are "
    assert refusal in capfd.readouterr().out
    # What a rollout or the rollback refuses it puts on record, for its verdict; that is all.
    written = [path for path in places.rglob("*.json") if path.is_file()]
    if name in WITHOUT_VERDICT:
        assert [path for path in places.rglob("*") if path.is_file()] == []
    else:
        assert refusal in run.verdict["message"]
        assert {json.loads(path.read_text()).get("step") for path in written} <= {"stopped", "verdict", None}


def context(task: Any, conf: dict[str, Any] | None) -> dict[str, Any]:
    params = {"regions": ["us-east-1"], "dry_run": True}
    return {"task": task, "dag_run": SimpleNamespace(conf=conf), "dag": SimpleNamespace(params=params)}


FIRST = SimpleNamespace(upstream_task_ids=set())
LATER = SimpleNamespace(upstream_task_ids={"decide"})


def test_the_first_task_of_a_rollout_names_the_nearest_parameter() -> None:
    with pytest.raises(Refused) as caught:
        refuse_unknown_names(context(FIRST, {"region": "x"}))
    assert str(caught.value) == "region: no such parameter; did you mean 'regions'? The parameters are regions, dry_run"


def test_a_run_that_began_under_an_older_form_can_still_undo() -> None:
    refuse_unknown_names(context(LATER, {"a_setting_that_is_gone": 1}))


@pytest.mark.parametrize("conf", [None, {}, {"dry_run": False}, {"openlineage": {"parentRunId": "x"}}])
def test_scheduled_backfilled_and_triggered_runs_pass(conf: dict[str, Any] | None) -> None:
    refuse_unknown_names(context(FIRST, conf))
