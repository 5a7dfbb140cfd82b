"""forecast_watch end to end: good, decayed, unknown and not there yet."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from include.forecast.registry import Action, ChampionDecision, Registry
from tests.dags.forecast_world import AP, EU, US, FakePrometheus, FakeTrainer, demand, load, places  # noqa: F401

NOW = dt.datetime(2026, 11, 24, 12, 5, tzinfo=dt.UTC).timestamp()
AS_OF = "2026-11-24T00:00:00Z"
Runner = Callable[..., Any]


def served(factor: float) -> Callable[[int], float]:
    """A predictor that knows what comes, times ``factor``: made at ``at``, for 15 minutes after the minute before."""
    return lambda at: demand(at // 60 * 60 - 60 + 15 * 60) * factor


@pytest.fixture
def world(places: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:  # noqa: F811
    """Served forecasts by region."""
    from include.forecast import tasks

    live: dict[str, Any] = {"folder": places / "models"}
    monkeypatch.setattr(tasks, "prometheus_of", lambda region, estate: FakePrometheus(region, live=live.get(region)))
    monkeypatch.setattr(tasks, "trainer", lambda *profile: FakeTrainer())
    monkeypatch.setattr(tasks, "clock", lambda: NOW)
    return live


def champion(world: dict[str, Any], region: str, folder: Path, *factors: float) -> Registry:
    registry = Registry(Folder(world["folder"]), region)
    for factor in factors:
        place = folder / f"{region}-{factor}"
        place.mkdir(parents=True)
        (place / "model.json").write_text(json.dumps({"factor": factor}))
        version = registry.add(place, model="blend", window={"last": AS_OF}, metrics={}, code_version="")
        pointer = registry.pointer()
        registry.move(pointer, ChampionDecision(Action.PROMOTED, version, pointer.version, "better", AS_OF))
    return registry


def test_the_dag_looks_hourly() -> None:
    dag = load("forecast_watch")
    assert dag.timetable.expression == "5 * * * *"
    assert {task_id: sorted(dag.get_task(task_id).downstream_task_ids) for task_id in dag.task_ids} == {
        "watch_forecast": ["report_watch"],
        "report_watch": [],
    }


def test_without_a_champion_there_is_nothing_to_watch(world: dict[str, Any], run_dag: Runner) -> None:
    assert run_dag(load("forecast_watch"), {}).state == "success"


def test_good_champions_are_left_alone(world: dict[str, Any], run_dag: Runner, tmp_path: Path) -> None:
    registry = champion(world, AP, tmp_path / "made", 1.5, 1.0)
    world[AP] = served(1.0)
    assert run_dag(load("forecast_watch"), {}).state == "success"
    assert [decision.action for decision in registry.history()] == [Action.PROMOTED, Action.PROMOTED]


def test_a_decayed_champion_is_demoted_and_the_run_says_so_in_red(
    world: dict[str, Any], run_dag: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr("include.forecast.tasks.notify_of", lambda notice, _: told.append(notice))
    bad = champion(world, AP, tmp_path / "made", 1.01, 1.4)
    good = champion(world, US, tmp_path / "made", 1.01)
    unknown = champion(world, EU, tmp_path / "made", 1.01)
    world[AP], world[US] = served(1.4), served(1.01)
    run = run_dag(load("forecast_watch"), {})
    assert run.state == "failed"
    decision = bad.history()[-1]
    assert (decision.action, decision.previous[:6], decision.version[:6]) == (Action.DEMOTED, "000002", "000001")
    assert bad.pointer().version == decision.version
    assert len(good.history()) == len(unknown.history()) == 1
    (notice,) = told
    assert notice.event == "champion_demoted"
    assert notice.happened.startswith(f"{AP}: demoted: ")


def test_a_dry_run_says_whom_it_would_demote_and_demotes_nobody(
    world: dict[str, Any], run_dag: Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = champion(world, AP, tmp_path / "made", 1.01, 1.4)
    before = bad.history()
    world[AP] = served(1.4)
    run = run_dag(load("forecast_watch"), {"dry_run": True})
    assert run.state == "success"
    assert (bad.history(), bad.pointer().version) == (before, before[-1].version)
    assert "dry run, nothing was written: 000001-" in caplog.text


def test_missing_forecasts_alert_and_demote_nobody(world: dict[str, Any], run_dag: Runner, tmp_path: Path) -> None:
    registry = champion(world, AP, tmp_path / "made", 1.0)
    run = run_dag(load("forecast_watch"), {})
    assert run.state == "failed"
    assert [decision.action for decision in registry.history()] == [Action.PROMOTED]


def test_the_alert_names_region_and_reason(
    world: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from include.forecast import tasks

    champion(world, AP, tmp_path / "made", 1.0)
    found = tasks.look_at(AP)
    assert found.alert.startswith(f"{AP}: unknown: 0 minutes of the last 24 h have a forecast and what came")


def test_a_pointer_that_is_gone_is_an_alert(world: dict[str, Any], tmp_path: Path) -> None:
    from include.forecast import tasks

    registry = champion(world, AP, tmp_path / "made", 1.0)
    (world["folder"] / "models" / AP / "champion.json").unlink()
    assert registry.pointer().version == ""
    with pytest.raises(tasks.AirflowFailException, match=f"{AP}: champion.json is damaged or gone"):
        tasks.look_at(AP)
