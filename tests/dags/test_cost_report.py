"""The DAG cost_report: its structure, and a run from an export to a published report, by dag.test()."""

from __future__ import annotations

import datetime as dt
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from include.cost.report import tasks
from include.cost.report.revisions import key_of, pointer
from include.cost.sources.refresh import SourceClients
from include.cost.table.store import CostTable
from tests.dags.conftest import quick_polls
from tests.dags.cost_fakes import returned
from tests.unit.cost.sources.test_refresh import S3, Allocator, Power, export_of

ROOT = Path(__file__).parents[2]
DAY = dt.date(2026, 11, 18)


def cost_report() -> Any:
    return runpy.run_path(str(ROOT / "dags" / "recurring" / "cost_report.py"))["cost_report"]()


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: None) -> Folder:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_COSTS", str(tmp_path))
    return Folder(tmp_path)


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> S3:
    """An export of the day in S3, power of the day, an allocator a region; no Prometheus for requests."""
    s3 = S3()
    s3.write("2026-11", export_of([DAY]), dt.datetime(2026, 11, 19, 6, tzinfo=dt.UTC))

    def clients(estate: Any) -> SourceClients:
        allocators = {"opencost": {name: Allocator() for name in estate.regions}}
        return SourceClients(lambda _: s3, lambda _: Power(DAY), lambda: allocators)  # type: ignore[arg-type,return-value]

    monkeypatch.setattr(tasks, "_clients", clients)
    return s3


def run(**conf: Any) -> Any:
    """Run the DAG for the interval of DAY, or with ``conf`` by hand."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    dag = cost_report()
    bag = DagBag(str(ROOT / "tests" / "dags" / "none"))
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    with quick_polls():
        # A run by hand has the interval that was complete at its logical date: the day before.
        at = dt.datetime(2026, 11, 19, tzinfo=dt.UTC)
        return dag.test(run_conf=conf, logical_date=at)


def states(finished: Any) -> dict[str, str]:
    from airflow.utils.session import create_session

    with create_session() as session:
        return {ti.task_id: str(ti.state) for ti in finished.get_task_instances(session=session)}


def test_structure() -> None:
    dag = cost_report()
    assert {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks} == {
        "collect_day": ["judge_quality"],
        "judge_quality": ["write_report"],
        "write_report": ["publish"],
        "publish": [],
    }
    assert dag.catchup is True
    assert not any(task.depends_on_past for task in dag.tasks)
    assert [asset.uri for asset in dag.get_task("publish").outlets] == ["cost/focus", "cost/report"]
    assert str(dag.timetable.summary) == "0 0 * * *"


def test_an_export_becomes_a_report_and_a_second_run_changes_nothing(storage: Folder, sources: S3) -> None:
    finished = run()
    assert (str(finished.state), set(states(finished).values())) == ("success", {"success"})
    current = pointer(storage, DAY).current
    assert current
    key = key_of(DAY, current)
    facts = json.loads(storage.read(f"{key}/report.json"))
    assert [one["source"] for one in facts["inputs"]] == ["aws", "contracts", "jetson", "opencost"]
    assert facts["unknown"] == {}
    assert set(facts["requests"]["regions"]) == {"us-east-1", "eu-central-1", "ap-northeast-1"}
    assert storage.keys("staged/") == []

    before = {name: storage.read(name) for name in storage.keys("")}
    assert str(run(day=str(DAY)).state) == "success"
    assert {name: storage.read(name) for name in storage.keys("")} == before


def test_a_dry_run_computes_the_report_and_writes_nothing(
    storage: Folder, sources: S3, caplog: pytest.LogCaptureFixture
) -> None:
    finished = run(day=str(DAY), dry_run=True)
    assert (str(finished.state), states(finished)["publish"]) == ("success", "skipped")
    assert storage.keys("") == []
    (written,) = returned(finished, "cost_report", "write_report")
    assert (written["day"], written["status"], written["new"]) == (str(DAY), "provisional", True)
    shown = caplog.text
    assert "Dry run: nothing was written. It would write " in shown
    assert f"reports/day={DAY}/current.json" in shown
    assert "staged/" not in shown.partition("It would write ")[2].partition("\n")[0]


def test_a_correction_on_the_next_bill_reaches_its_day_through_the_dag(storage: Folder, sources: S3) -> None:
    corrected = dt.date(2026, 10, 20)
    sources.write("2026-10", export_of([corrected]), dt.datetime(2026, 11, 3, 6, tzinfo=dt.UTC))
    assert str(run(day=str(corrected)).state) == "success"
    table = CostTable(storage)
    before = table.facts("aws", corrected)
    fix = export_of([corrected], "2026-11-01", i_1="-5").splitlines()[1]
    sources.write("2026-11", export_of([DAY]) + fix + b"\r\n", dt.datetime(2026, 11, 19, 7, tzinfo=dt.UTC))
    assert str(run(day=str(DAY)).state) == "success"
    after = table.facts("aws", corrected)
    assert before
    assert after
    assert (after.rows, after.billed_usd) == (before.rows + 1, before.billed_usd - 5)


def test_rows_in_another_currency_make_their_component_unknown_in_the_report(storage: Folder, sources: S3) -> None:
    euros = export_of([DAY]).replace(b"USD", b"EUR").splitlines()[1]
    sources.write("2026-11", export_of([DAY]) + euros + b"\r\n", dt.datetime(2026, 11, 19, 6, tzinfo=dt.UTC))
    assert str(run(day=str(DAY)).state) == "success"
    current = pointer(storage, DAY).current
    assert current
    facts = json.loads(storage.read(f"{key_of(DAY, current)}/report.json"))
    assert facts["unknown"] == {
        "central_dc": f"rows of source aws can't count for it on {DAY}: 1 row(s), 20.00 EUR: currency EUR"
    }


def test_a_batch_that_fails_its_suite_fails_the_run_and_leaves_no_report(storage: Folder, sources: S3) -> None:
    wrong = export_of([DAY]).replace(b",Usage,", b",Nonsense,")
    sources.write("2026-11", wrong, dt.datetime(2026, 11, 19, 6, tzinfo=dt.UTC))
    finished = run(day=str(DAY))
    assert str(finished.state) == "failed"
    assert states(finished)["judge_quality"] == "failed"
    assert storage.keys("reports/") == []
    assert storage.keys("aside/source=aws/")
