"""traffic_export end to end: every region, the regions apart, the gate, the asset, and a run for the past."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError

from tests.dags.forecast_world import AP, EU, US, FakePrometheus, load, places  # noqa: F401

NOW = dt.datetime(2026, 11, 24, 0, 15, tzinfo=dt.UTC).timestamp()
CONF = {"day": "2026-11-23", "days": 2, "force": False}
Runner = Callable[..., Any]


@pytest.fixture
def prometheus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Regions without any series."""
    from include.forecast import tasks

    gone: list[str] = []
    monkeypatch.setattr(tasks, "prometheus_of", lambda region, estate: FakePrometheus(region, gone))
    monkeypatch.setattr(tasks, "clock", lambda: NOW)
    return gone


def test_the_dag_is_one_task_a_region_and_can_be_backfilled() -> None:
    dag = load("traffic_export")
    assert dag.task_ids == ["export_traffic"]
    assert dag.timetable.expression == "15 0 * * *"
    assert dag.catchup is False
    assert {name: dag.params[name] for name in dag.params} == {
        "dry_run": False,
        "regions": [AP, US, EU],
        "day": None,
        "days": 7,
        "force": False,
    }


def test_every_region_is_exported_and_announced(places: Path, prometheus: list[str], run_dag: Runner) -> None:  # noqa: F811
    run = run_dag(load("traffic_export"), CONF)
    assert run.state == "success"
    files = sorted(path.relative_to(places / "traffic").as_posix() for path in (places / "traffic").rglob("*.parquet"))
    assert files == [
        f"region={region}/day=2026-11-{day}.parquet" for region in sorted((US, EU, AP)) for day in ("22", "23")
    ]
    assert events(run) == {f"traffic/{r}": {"key": f"region={r}/day=2026-11-23.parquet"} for r in (US, EU, AP)}


def test_only_the_asked_regions_are_read_and_an_unknown_one_is_refused(
    places: Path,  # noqa: F811
    prometheus: list[str],
    run_dag: Runner,
) -> None:
    run = run_dag(load("traffic_export"), CONF | {"regions": [US]})
    assert (run.state, sorted(events(run))) == ("success", [f"traffic/{US}"])
    assert [path.name for path in (places / "traffic").glob("region=*")] == [f"region={US}"]
    with pytest.raises(ParamValidationError, match="'us-west-9' is not one of"):
        run_dag(load("traffic_export"), CONF | {"regions": ["us-west-9"]})


def test_a_region_without_metrics_fails_alone_and_names_the_series(
    places: Path,  # noqa: F811
    prometheus: list[str],
    run_dag: Runner,
    caplog: pytest.LogCaptureFixture,
) -> None:
    prometheus.append(EU)
    run = run_dag(load("traffic_export"), CONF)
    assert run.state == "failed"
    assert sorted(events(run)) == [f"traffic/{AP}", f"traffic/{US}"]
    assert not (places / "traffic" / f"region={EU}").exists()


def test_a_second_run_writes_nothing_and_announces_nothing(
    places: Path,  # noqa: F811
    prometheus: list[str],
    run_dag: Runner,
) -> None:
    run_dag(load("traffic_export"), CONF)
    before = {path: path.stat().st_mtime_ns for path in (places / "traffic").rglob("*.parquet")}
    run = run_dag(load("traffic_export"), CONF)
    assert (run.state, events(run)) == ("success", {})
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_dry_run_says_which_days_it_would_write_and_writes_and_announces_nothing(
    places: Path,  # noqa: F811
    prometheus: list[str],
    run_dag: Runner,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = run_dag(load("traffic_export"), CONF | {"dry_run": True})
    assert (run.state, events(run)) == ("success", {})
    assert [path for path in places.rglob("*") if path.is_file()] == []
    days = f"region={EU}/day=2026-11-22.parquet, region={EU}/day=2026-11-23.parquet"
    assert f"Dry run: nothing was written. It would write 2 object(s): {days}" in caplog.text


def test_without_the_variable_the_task_says_how_to_set_it(
    prometheus: list[str], run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    from include.forecast import tasks
    from include.wiring.connections import SettingMissingError

    monkeypatch.delenv("AIRFLOW_VAR_AKIDB_TRAFFIC", raising=False)
    assert run_dag(load("traffic_export"), CONF).state == "failed"
    assert issubclass(SettingMissingError, RuntimeError)
    with pytest.raises(tasks.AirflowFailException, match="set it"), tasks.explained():
        raise SettingMissingError("Airflow Variable 'akidb_traffic' is not set: set it")


@pytest.mark.parametrize(
    ("context", "given", "day"),
    [
        ({}, dt.date(2026, 11, 1), "2026-11-01"),
        (
            {
                "data_interval_start": dt.datetime(2026, 11, 22, 0, 15, tzinfo=dt.UTC),
                "data_interval_end": dt.datetime(2026, 11, 23, 0, 15, tzinfo=dt.UTC),
            },
            None,
            "2026-11-22",
        ),
        ({"logical_date": dt.datetime(2026, 11, 24, 9, tzinfo=dt.UTC)}, None, "2026-11-23"),
    ],
)
def test_scheduled_backfilled_and_manual_runs_find_their_day(
    context: dict[str, Any], given: dt.date | None, day: str
) -> None:
    from include.forecast.tasks import own_day

    assert own_day(context, given) == dt.date.fromisoformat(day)


def events(run: Any) -> dict[str, dict[str, Any]]:
    """Asset events of a run by asset name: what each carries."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == run.run_id)).all()
        return {event.asset.name: event.extra for event in found}
