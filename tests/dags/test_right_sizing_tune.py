"""The DAG right_sizing_tune end to end: proposed, approved, rejected, a dry run, nothing to propose."""

from __future__ import annotations

import datetime as dt
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.clients.kubernetes import POD
from include.clients.prometheus import Sample, Series
from include.clients.storage import Folder
from include.levers.right_sizing import tasks
from tests.dags.cost_fakes import returned

END = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
NOW = END.timestamp()
WORKLOAD, GIB = "akidb-rest", 2**30
Runner = Callable[..., Any]


class Use:
    """A Prometheus in which each of two pods has used 0.5 CPU and 1 GiB since ``days`` ago."""

    def __init__(self, days: int = 9) -> None:
        self.since = NOW - days * 86_400

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        return [Sample({"pod": f"{WORKLOAD}-5d-{n}", "label_app": WORKLOAD}, at or 0, 1.0) for n in "ab"]

    def value(self, expression: str, at: float | None = None) -> float | None:
        return 0.01

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        if "oom" in expression:
            return []
        times = [t for n in range(int((end - start) // step) + 1) if (t := start + n * step) >= self.since]
        value = 0.5 if expression.startswith("rate(") else float(GIB)
        points = tuple((t, value) for t in times)
        return [Series({"pod": f"{WORKLOAD}-5d-{n}", "container": "main"}, points) for n in "ab"]


class Region:
    """A cluster with two running pods that request 1 CPU and 2 GiB, and no autoscaler."""

    def list(self, kind: Any, namespace: str | None = None) -> list[dict[str, Any]]:
        return [self._pod(name) for name in "ab"] if kind == POD else []

    @staticmethod
    def _pod(name: str) -> dict[str, Any]:
        owner = {"kind": "ReplicaSet", "name": f"{WORKLOAD}-5d", "controller": True}
        requests = {"cpu": "1", "memory": "2Gi"}
        return {
            "metadata": {"name": f"{WORKLOAD}-5d-{name}", "namespace": "akidb", "ownerReferences": [owner]},
            "spec": {"containers": [{"name": "main", "resources": {"requests": requests}}]},
            "status": {"phase": "Running"},
        }


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_COSTS", str(tmp_path / "costs"))
    use(monkeypatch, Use())
    return Folder(tmp_path / "costs")


def use(monkeypatch: pytest.MonkeyPatch, prometheus: Use) -> None:
    monkeypatch.setattr(tasks, "prometheus_clients", lambda regions, estate: dict.fromkeys(regions, prometheus))
    monkeypatch.setattr(tasks, "cluster_of", lambda region, estate: Region())


def new_dag() -> Any:
    import dags.recurring.right_sizing_tune as module

    return importlib.reload(module).right_sizing_tune()


LOOK = {"end": END.isoformat(), "regions": ["ap-northeast-1"]}


def kinds(storage: Folder) -> list[str]:
    return sorted(key.rpartition("/")[2] for key in storage.keys("right_sizing/"))


def test_an_approved_proposal_is_kept_with_what_its_owner_does_next(storage: Folder, run_dag: Runner) -> None:
    run = run_dag(new_dag(), LOOK, answer="Approve")
    assert run.state == "success"
    assert kinds(storage) == ["answer.json", "approved.json", "proposal.json"]
    (key,) = [key for key in storage.keys("right_sizing/") if key.endswith("approved.json")]
    record = json.loads(storage.read(key))
    assert record["approved_by"] == "platform-lead"
    # 0.5 cores are recommended as 587m, of which 8 days leave 586m, rounded up to 10m.
    assert record["bounds"][WORKLOAD]["least"]["cpu"] == "590m"
    assert record["proposals"][0]["effects"][0]["requests_before"] == {"cpu_millicores": 1000, "memory_bytes": 2 * GIB}
    assert "airflow dags trigger day4_right_sizing --conf" in record["next_steps"]


def test_a_rejected_proposal_leaves_no_approved_record(storage: Folder, run_dag: Runner) -> None:
    run = run_dag(new_dag(), LOOK, answer="Reject")
    assert run.tasks["keep_proposal"] == "skipped"
    assert kinds(storage) == ["answer.json", "proposal.json"]


def test_a_dry_run_shows_the_proposal_asks_nobody_and_keeps_nothing(storage: Folder, run_dag: Runner) -> None:
    run = run_dag(new_dag(), LOOK | {"dry_run": True})
    assert (run.state, run.tasks["await_approval"]) == ("success", "skipped")
    assert kinds(storage) == []
    assert "- akidb-rest: least" in returned(run, "right_sizing_tune", "propose_bounds")["text"]


def test_thin_data_is_named_by_its_days_and_nothing_is_asked(
    storage: Folder, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Use(days=6))
    run = run_dag(new_dag(), LOOK)
    assert (run.state, run.tasks["await_approval"]) == ("success", "skipped")
    text = returned(run, "right_sizing_tune", "propose_bounds")["text"]
    assert "akidb-rest has too little history on 2026-11-16: wait for these days" in text
