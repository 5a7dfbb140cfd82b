"""The DAG savings_baseline end to end: a whole month gives page and record; a month with a gap is refused by name."""

from __future__ import annotations

import datetime as dt
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from include.estate import load_estate
from include.forecast.traffic.table import Day, TrafficTable
from include.planner.baseline.month import days_of
from tests.dags.cost_fakes import returned
from tests.unit.cost.validation_world import Table, at, row

DAYS = days_of(dt.date(2026, 10, 1))
Runner = Callable[..., Any]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    table, traffic = Table(tmp_path), TrafficTable(Folder(tmp_path / "traffic"))
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_COSTS", str(table.storage.root))
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_TRAFFIC", str(traffic.storage.root))  # type: ignore[attr-defined]
    for day in DAYS:
        table.put(day, [row("AmazonEC2", "40", at(day), 24, "us-east-1")], received_hours=80, invoiced=True)
        for region in load_estate().regions:
            traffic.put(Day(region, day, (2800.0,) * 1440), "test")
    return table


def new_dag() -> Any:
    import dags.recurring.savings_baseline as module

    return importlib.reload(module).savings_baseline()


def test_a_whole_month_is_published(world: Table, run_dag: Runner) -> None:
    run = run_dag(new_dag(), {"month": "2026-10"})
    assert run.state == "success"
    record = json.loads(world.storage.read("savings/2026-10.json"))
    assert record["billed_usd"]["central_dc"] == "1240.000000000000"
    assert record["old_configuration_usd"] == "3732.65"  # 31 days
    assert b"<svg" in world.storage.read("savings/2026-10.html")


def test_a_month_with_a_missing_day_fails_and_writes_nothing(world: Table, run_dag: Runner) -> None:
    world.table.remove("aws", DAYS[3])
    run = run_dag(new_dag(), {"month": "2026-10"})
    assert run.state == "failed"
    assert world.storage.keys("savings/") == []


def test_a_dry_run_shows_the_page_and_keeps_nothing(world: Table, run_dag: Runner) -> None:
    run = run_dag(new_dag(), {"month": "2026-10", "dry_run": True})
    assert run.state == "success"
    assert world.storage.keys("savings/") == []
    found = returned(run, "savings_baseline", "publish_savings")
    assert "Saved in 2026-10" in found["text"]
    assert "savings/2026-10.json" in found["dry_run"]
