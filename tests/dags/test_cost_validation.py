"""The DAG cost_validation end to end: verdicts, an unknown total, earlier windows validated again."""

from __future__ import annotations

import datetime as dt
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.cost.validation import tasks
from tests.dags.cost_fakes import Fakes, returned
from tests.unit.cost.validation_world import DAY, FakePrometheus, Table, at, estate_day, live_nodes

MONDAY = dt.date(2026, 11, 16)
END = at(MONDAY + DAY).isoformat()
Runner = Callable[..., Any]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    table = Table(tmp_path)
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_COSTS", str(table.storage.root))
    return table


def use(monkeypatch: pytest.MonkeyPatch, prometheus: FakePrometheus) -> None:
    monkeypatch.setattr(tasks, "prometheus_clients", Fakes(prometheus).prometheus_clients)


def new_dag() -> Any:
    import dags.recurring.cost_validation as module

    return importlib.reload(module).cost_validation()


def records(world: Table) -> dict[str, Any]:
    keys = [key for key in world.storage.keys("validations/") if key.endswith(".json")]
    return {key: json.loads(world.storage.read(key)) for key in keys}


def test_a_known_total_is_green_even_where_dollars_fail(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(MONDAY, estate_day(MONDAY))
    use(monkeypatch, live_nodes())
    run = run_dag(new_dag(), {"end": END})
    assert run.state == "success"
    (record,) = records(world).values()
    verdicts = {line["component"]: line["verdict"] for line in record["lines"]}
    assert (verdicts["central_dc"], verdicts["monitoring"]) == ("fail", "pass")
    assert record["total"]["verdict"] == "fail"
    assert record["quality"]["passed"]


def test_an_unknown_total_fails_the_run_and_says_what_to_do(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FakePrometheus())
    run = run_dag(new_dag(), {"end": END})
    assert run.state == "failed"
    assert {name for name, state in run.tasks.items() if state == "failed"} == {"give_verdict"}
    (record,) = records(world).values()
    assert record["total"]["usd_month"] is None


def test_an_earlier_window_is_validated_again_when_its_bill_has_come(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, live_nodes())
    world.put(MONDAY - DAY, estate_day(MONDAY - DAY))
    assert run_dag(new_dag(), {"end": END}).state == "success"
    world.put(MONDAY, estate_day(MONDAY), invoiced=True)
    world.put(MONDAY + DAY, estate_day(MONDAY + DAY))
    assert run_dag(new_dag(), {"end": at(MONDAY + 2 * DAY).isoformat()}).state == "success"
    chain = [r for key, r in records(world).items() if key.startswith("validations/20261116T000000Z-86400s/all/")]
    assert [record["total"]["settling"] for record in chain] == ["provisional", "final"]
    assert [record["lines"][0]["source"].split(" ")[0] for record in chain] == ["node-hours", "bill"]


def test_a_dry_run_shows_the_verdicts_and_keeps_no_record(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(MONDAY, estate_day(MONDAY))
    use(monkeypatch, live_nodes())
    before = {key: world.storage.read(key) for key in world.storage.keys("")}
    run = run_dag(new_dag(), {"end": END, "dry_run": True})
    assert run.state == "success"
    assert {key: world.storage.read(key) for key in world.storage.keys("")} == before
    shown = returned(run, "cost_validation", "give_verdict")
    assert "\nDry run: nothing was written. It would write " in shown
    assert "validations/20261116T000000Z-86400s/all/001-" in shown.partition("It would write ")[2]


def test_an_unknown_total_stays_red_in_a_dry_run(
    world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FakePrometheus())
    run = run_dag(new_dag(), {"end": END, "dry_run": True})
    assert (run.state, run.tasks["give_verdict"]) == ("failed", "failed")
    assert records(world) == {}


def day_5(estate_regions: list[str]) -> Any:
    from airflow.sdk import DAG, Param, task

    params = {"validation_window_seconds": Param(60, type="integer"), "regions": Param(estate_regions, type="array")}
    with DAG("day_5_like", schedule=None, params=params) as dag:

        @task
        def read(summary: dict[str, Any]) -> None:
            assert set(summary) >= {"key", "total", "verdicts", "text"}
            assert summary["window"]["seconds"] == 60

        read(tasks.validate_costs())
    return dag


def test_day_5_takes_the_window_that_ends_now(world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, live_nodes())
    now = dt.datetime.now(dt.UTC).date()
    world.put(now - DAY, estate_day(now - DAY))
    run = run_dag(day_5(["us-east-1"]), {})
    assert (run.state, run.tasks) == ("success", {"validate_costs": "success", "read": "success"})
    (record,) = records(world).values()
    assert record["regions"] == ["us-east-1"]
    dc = record["lines"][0]
    assert dc["projection"].startswith("60 s window x 1440, ")


def test_day_5_fails_where_the_total_is_unknown(world: Table, run_dag: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakePrometheus())
    run = run_dag(day_5(["us-east-1"]), {})
    assert run.tasks["validate_costs"] == "failed"
    assert len(records(world)) == 1
