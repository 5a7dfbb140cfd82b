"""The DAG commitments end to end: 30 days of the bill give a record and a page; too little data is refused."""

from __future__ import annotations

import datetime as dt
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.cost.commitments import tasks
from tests.dags.cost_fakes import Fakes, returned
from tests.unit.cost.validation_world import DAY, FakePrometheus, Table, at, estate_day

LAST = dt.date(2026, 11, 22)
Runner = Callable[..., Any]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    table = Table(tmp_path)
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_COSTS", str(table.storage.root))
    monkeypatch.setattr(tasks, "prometheus_clients", Fakes(FakePrometheus()).prometheus_clients)
    return table


def new_dag() -> Any:
    import dags.recurring.commitments as module

    return importlib.reload(module).commitments()


def test_30_days_of_the_bill(world: Table, run_dag: Runner) -> None:
    for n in range(30):
        world.put(LAST - n * DAY, estate_day(LAST - n * DAY))
    run = run_dag(new_dag(), {"end": at(LAST + DAY).isoformat()})
    assert run.state == "success"
    record = json.loads(world.storage.read("commitments/2026-11-23.json"))
    assert (record["source"], record["coverage"]) == ("the bill", "1")
    first = record["advice"][0]
    assert (first["region"], first["family"], first["quantity"]) == ("ap-northeast-1", "c7g", "5")
    assert record["quality"]["passed"]
    assert b"| us-east-1 | c7g |" in world.storage.read("commitments/2026-11-23.md")


def test_too_little_data_is_refused(world: Table, run_dag: Runner) -> None:
    world.put(LAST, estate_day(LAST))
    run = run_dag(new_dag(), {"end": at(LAST + DAY).isoformat()})
    assert run.state == "failed"
    assert world.storage.keys("commitments/") == []


def test_a_dry_run_shows_the_page_and_keeps_nothing(world: Table, run_dag: Runner) -> None:
    for n in range(30):
        world.put(LAST - n * DAY, estate_day(LAST - n * DAY))
    before = {key: world.storage.read(key) for key in world.storage.keys("")}
    run = run_dag(new_dag(), {"end": at(LAST + DAY).isoformat(), "dry_run": True})
    assert run.state == "success"
    assert {key: world.storage.read(key) for key in world.storage.keys("")} == before
    found = returned(run, "commitments", "analyse_commitments")
    assert "| us-east-1 | c7g |" in found["text"]
    # The last one is the cost table's own note of what it has looked through.
    assert found["dry_run"] == (
        "Dry run: nothing was written. It would write 4 object(s): commitments/2026-11-23.html, "
        "commitments/2026-11-23.json, commitments/2026-11-23.md, lasting/source=aws/looked"
    )
