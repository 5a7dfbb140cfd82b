"""The DAG cost_guard end to end: quiet, a spike without leave, approved, rejected, undone."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.clients.storage import Folder
from include.cost.guard import tasks
from include.rollout.ledger import Ledger
from include.rollout.lock import LEASE, Lock, holder_of
from include.wiring import once, rollback
from include.wiring import tasks as wiring_tasks
from include.wiring.clients import ClusterLeases
from tests.dags.cost_fakes import Fakes, returned
from tests.unit.cost.guard.test_guard import MONDAY, NOON, spike
from tests.unit.cost.validation_world import DAY, FakePrometheus, Table, estate_day, live_nodes
from tests.unit.levers.test_cost_cap import Region

Runner = Callable[..., Any]
LOOK = {"end": NOON.isoformat()}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    table = Table(tmp_path)
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_COSTS", str(table.storage.root))
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    table.put(MONDAY - DAY, estate_day(MONDAY - DAY))
    return table


def use(monkeypatch: pytest.MonkeyPatch, prometheus: FakePrometheus) -> Region:
    """The pool ``spot`` of five nodes, and what the tasks reach it by."""
    region = Region()
    fakes = Fakes(prometheus, region.cluster)
    monkeypatch.setattr(tasks, "prometheus_clients", fakes.prometheus_clients)
    monkeypatch.setattr(tasks, "cluster_of", fakes.cluster_of)
    clients = SimpleNamespace(kubernetes=region.cluster, leases=ClusterLeases(region.cluster, "akidb"))
    for module in (once, rollback):
        monkeypatch.setattr(module, "clients_for", lambda region, estate: clients)
    return region


def new_dag() -> Any:
    import dags.recurring.cost_guard as module

    return importlib.reload(module).cost_guard()


def test_a_quiet_hour_is_green_and_over_budget_is_only_said(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    prometheus = live_nodes()
    prometheus.hourly_usd = 5 * 1.0034 / 3
    region = use(monkeypatch, prometheus)
    run = run_dag(new_dag(), LOOK | {"allow_remedy": True})
    assert run.state == "success"
    assert (run.tasks["await_approval"], run.tasks["apply_remedy"]) == ("skipped", "skipped")
    assert region.writes == []
    (key,) = world.storage.keys("guard/")
    record = json.loads(world.storage.read(key))
    assert record["spend"]["over_budget"] is True
    assert record["spend"]["history"]["verdict"] == "normal"


def test_a_spike_fails_the_run_and_changes_nothing_without_leave(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    region, told = use(monkeypatch, spike()), []
    monkeypatch.setattr("include.cost.guard.tasks.notify_of", lambda notice, _: told.append(notice))
    run = run_dag(new_dag(), LOOK)
    assert run.state == "failed"
    assert run.tasks["await_approval"] == "skipped"
    assert region.writes == []
    (notice,) = told
    assert (notice.event, notice.left) == (
        "budget_passed",
        "Nothing was changed. Next: trigger cost_guard with allow_remedy, or follow the remedy by hand.",
    )


def test_a_dry_run_shows_the_cap_and_its_plan_without_an_approval_and_writes_nothing(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    region = use(monkeypatch, spike())
    before = {key: world.storage.read(key) for key in world.storage.keys("")}
    run = run_dag(new_dag(), LOOK | {"allow_remedy": True, "dry_run": True})
    assert (run.state, run.tasks["await_approval"], run.tasks["apply_remedy"]) == ("success", "skipped", "skipped")
    assert region.writes == []
    assert {key: world.storage.read(key) for key in world.storage.keys("")} == before
    assert not (tmp_path / "ledger").exists()
    assert ClusterLeases(region.cluster, "akidb").get(LEASE) is None
    text = returned(run, "cost_guard", "give_verdict")
    assert text.partition("Dry run: ")[2] == (
        "nothing was written. It would keep the record guard/2026-11-16/20261116T120000Z.json and, with allow_remedy, "
        "ask for an approval of this cap:\n"
        "NodePool spot spec.limits.cpu: 200 -> 48\n"
        "a cap makes nothing cheaper that runs: it keeps more from being bought"
    )


def test_a_dry_run_names_the_cap_that_stands_already(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = use(monkeypatch, spike())
    run_dag(new_dag(), LOOK | {"allow_remedy": True}, answer="Approve")
    region.apply({"limits": {"cpu": "200", "memory": "400Gi"}, "weight": 10}, "somebody", force=True)
    run = run_dag(new_dag(), LOOK | {"dry_run": True})
    assert run.state == "success"
    shown = returned(run, "cost_guard", "plan_remedy")
    assert shown.startswith("it would be refused: us-east-1: a change of cost_cap by cost_guard/manual__")


def test_an_approved_cap_takes_the_lock_leaves_its_records_and_is_undone_by_the_rollback_dag(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = use(monkeypatch, spike())
    before = region.limits()
    run = run_dag(new_dag(), LOOK | {"allow_remedy": True}, answer="Approve")
    assert (run.state, run.tasks["apply_remedy"]) == ("failed", "success")  # a spike is never green
    assert region.limits()["cpu"] == "48"
    ledger = Ledger(Folder(Path(os.environ["AIRFLOW_VAR_AKIDB_LEDGER"])))
    (change,) = ledger.standing("cost_cap", "us-east-1")
    steps = [record.step for record in ledger.records(change.chain)]
    assert steps == ["plan", "snapshot", "touch", "applied", "promoted"]
    assert holder_of(ClusterLeases(region.cluster, "akidb").get(LEASE)) == ""  # given up at the end

    choice = {"lever": "cost_cap", "regions": ["us-east-1"], "dry_run": False}
    undone = run_dag(rollback_dag(), choice, answer="Approve")
    assert (undone.state, region.limits()) == ("success", before)
    assert ledger.standing("cost_cap", "us-east-1") == []


def rollback_dag() -> Any:
    import dags.operations.rollback as module

    return importlib.reload(module).rollback()


def test_a_cap_is_refused_while_another_run_holds_the_lock(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = use(monkeypatch, spike())
    monkeypatch.setattr(wiring_tasks, "run_ended", lambda holder: False)
    other = Lock(ClusterLeases(region.cluster, "akidb"), "us-east-1", "day1_spot/manual__1")
    other.acquire(lambda holder: False)
    region.writes.clear()
    run = run_dag(new_dag(), LOOK | {"allow_remedy": True}, answer="Approve")
    assert (run.state, run.tasks["apply_remedy"]) == ("failed", "failed")
    assert region.limits()["cpu"] == "200"


def test_an_approval_that_was_marked_by_hand_caps_nothing(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = use(monkeypatch, spike())
    run = run_dag(new_dag(), LOOK | {"allow_remedy": True}, marked="await_approval")
    assert (run.state, run.tasks["apply_remedy"]) == ("failed", "failed")
    assert region.limits()["cpu"] == "200"


def test_a_rejected_cap_changes_nothing(world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    region = use(monkeypatch, spike())
    run = run_dag(new_dag(), LOOK | {"allow_remedy": True}, answer="Reject")
    assert (run.state, run.tasks["apply_remedy"]) == ("failed", "skipped")
    assert region.writes == []


def test_an_unknown_spend_fails_the_run(world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakePrometheus())
    run = run_dag(new_dag(), LOOK)
    assert run.state == "failed"
    assert {name for name, state in run.tasks.items() if state == "failed"} == {"give_verdict"}


def test_every_write_comes_after_the_approval() -> None:
    dag = new_dag()
    assert "await_approval" in dag.get_task("apply_remedy").upstream_task_ids
    assert dag.params["allow_remedy"] is False
