"""Recurring DAGs beside the days: which, in which order, and what their end leaves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.rehearsal.beside import Beside, around_edge, needed
from lab.rehearsal.run import RehearsalError


class FakeAirflow:
    """An Airflow whose runs end at once; those of ``failing`` with an error in their log."""

    def __init__(self, folder: Path, failing: str = "") -> None:
        self.started: list[tuple[str, dict[str, Any]]] = []
        self.failing = failing
        self.processes = SimpleNamespace(logs=folder, wait_until=self._wait_until)

    @staticmethod
    def _wait_until(condition: Any, what: str, seconds: float) -> None:
        while not condition():
            pass

    def run_at_once(self, dag_id: str, date: Any, conf: Any) -> Any:
        self.started.append((dag_id, dict(conf)))
        (self.processes.logs / f"{dag_id}.log").write_text("KeyError: 'region'\n")
        return SimpleNamespace(wait=lambda: int(dag_id == self.failing))


def test_what_the_days_need_in_their_order() -> None:
    assert needed((1,)) == []
    assert needed((1, 2, 5)) == ["traffic_export", "forecast_retrain", "cost_report"]


def test_what_builds_on_the_bill_waits_for_the_day_that_changes_it() -> None:
    assert around_edge((1, 2, 5)) == ((1, 2, 5), ())
    assert around_edge((1, 2, 3, 4, 5)) == ((1, 2, 3), (4, 5))


def test_a_day_waits_for_its_own_dags_and_says_how_long(tmp_path: Path) -> None:
    airflow, beside = FakeAirflow(tmp_path), Beside()
    beside.start(cast("Any", airflow), (1, 2), ["us-east-1"])
    assert beside.wait_for(cast("Any", airflow), 1) == {}
    assert list(beside.wait_for(cast("Any", airflow), 2)) == [
        "traffic_export beside",
        "forecast_retrain beside",
        "waited before day 2",
    ]
    assert airflow.started == [
        ("traffic_export", {"regions": ["us-east-1"], "days": 30}),
        ("forecast_retrain", {"regions": ["us-east-1"], "days": 30, "profile": "none"}),
    ]


def test_a_failed_one_stops_the_day_with_the_end_of_its_log(tmp_path: Path) -> None:
    airflow, beside = FakeAirflow(tmp_path, failing="cost_report"), Beside()
    beside.start(cast("Any", airflow), (5,), ["us-east-1"])
    with pytest.raises(RehearsalError) as failure:
        beside.wait_for(cast("Any", airflow), 5)
    assert str(failure.value).startswith("cost_report failed; the end of ")
    assert "KeyError: 'region'" in str(failure.value)
