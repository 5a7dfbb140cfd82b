"""The DAG cost_guard end to end: quiet, a spike without leave, approved, rejected, undone."""

from __future__ import annotations

import datetime as dt
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.cost import guard_tasks
from tests.dags.cost_fakes import Fakes
from tests.unit.cost.test_guard import MONDAY, NOON, FakeCluster, spike
from tests.unit.cost.validation_world import DAY, FakePrometheus, Table, estate_day, live_nodes

Runner = Callable[..., Any]
LOOK = {"end": NOON.isoformat()}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    table = Table(tmp_path)
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_COSTS", str(table.storage.root))
    table.put(MONDAY - DAY, estate_day(MONDAY - DAY))
    return table


def use(monkeypatch: pytest.MonkeyPatch, prometheus: FakePrometheus) -> FakeCluster:
    fakes = Fakes(prometheus, FakeCluster())
    monkeypatch.setattr(guard_tasks, "prometheus_clients", fakes.prometheus_clients)
    monkeypatch.setattr(guard_tasks, "cluster_of", fakes.cluster_of)
    return fakes.cluster


def new_dag() -> Any:
    import dags.recurring.cost_guard as module

    return importlib.reload(module).cost_guard()


def test_a_quiet_hour_is_green_and_over_budget_is_only_said(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    prometheus = live_nodes()
    prometheus.hourly_usd = 5 * 1.0034 / 3
    cluster = use(monkeypatch, prometheus)
    run = run_dag(new_dag(), LOOK | {"allow_remedy": True})
    assert run.state == "success"
    assert (run.tasks["await_approval"], run.tasks["set_cap_back"]) == ("skipped", "skipped")
    assert cluster.writes == []
    (key,) = world.storage.keys("guard/")
    record = json.loads(world.storage.read(key))
    assert record["spend"]["over_budget"] is True
    assert record["spend"]["history"]["verdict"] == "normal"


def test_a_spike_fails_the_run_and_changes_nothing_without_leave(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = use(monkeypatch, spike())
    run = run_dag(new_dag(), LOOK)
    assert run.state == "failed"
    assert run.tasks["await_approval"] == "skipped"
    assert cluster.writes == []


def test_an_approved_cap_is_applied_and_set_back_by_hand(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = use(monkeypatch, spike())
    run = run_dag(new_dag(), LOOK | {"allow_remedy": True}, answer="Approve")
    assert (run.state, run.tasks["apply_remedy"]) == ("failed", "success")  # a spike is never green
    assert cluster.writes == ["apply 48"]
    key = next(key for key in world.storage.keys("guard/") if key.endswith("-cap.json"))
    assert json.loads(world.storage.read(key))["old_cpu"] == "200"
    quiet = live_nodes()
    quiet.hourly_usd = 5 * 1.0034 / 3
    monkeypatch.setattr(guard_tasks, "prometheus_clients", Fakes(quiet).prometheus_clients)
    later = {"end": (NOON + dt.timedelta(hours=1)).isoformat(), "undo_cap": key}
    run = run_dag(new_dag(), later)
    assert (run.state, run.tasks["set_cap_back"]) == ("success", "success")
    assert cluster.writes == ["apply 48", "apply 200", "hand back ['akidb-rollout']"]


def test_an_approval_that_was_marked_by_hand_caps_nothing(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = use(monkeypatch, spike())
    run = run_dag(new_dag(), LOOK | {"allow_remedy": True}, marked="await_approval")
    assert (run.state, run.tasks["apply_remedy"]) == ("failed", "failed")
    assert cluster.writes == []


def test_a_rejected_cap_changes_nothing(world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = use(monkeypatch, spike())
    run = run_dag(new_dag(), LOOK | {"allow_remedy": True}, answer="Reject")
    assert (run.state, run.tasks["apply_remedy"]) == ("failed", "skipped")
    assert cluster.writes == []


def test_an_unknown_spend_fails_the_run(world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakePrometheus())
    run = run_dag(new_dag(), LOOK)
    assert run.state == "failed"
    assert {name for name, state in run.tasks.items() if state == "failed"} == {"give_verdict"}


def test_every_write_comes_after_the_approval() -> None:
    dag = new_dag()
    assert "await_approval" in dag.get_task("apply_remedy").upstream_task_ids
    assert dag.params["allow_remedy"] is False
