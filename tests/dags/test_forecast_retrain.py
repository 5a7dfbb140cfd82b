"""forecast_retrain end to end: promoted, kept, refused; one region's failure is its own; the pod's specification."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from include.forecast.registry import Action, Registry
from include.forecast.traffic.table import STEP, Day, TrafficTable, day_start
from include.forecast.trainer import RetrainError
from tests.dags.forecast_world import AP, EU, US, FakeTrainer, demand, load, places  # noqa: F401

LAST = dt.date(2026, 11, 23)
CONF = {"last": str(LAST), "days": 10, "profile": "none", "force": False}
Runner = Callable[..., Any]


def export(places: Path, region: str, days: int) -> None:  # noqa: F811
    table = TrafficTable(Folder(places / "traffic"))
    for number in range(days):
        day = LAST - dt.timedelta(days=number)
        start = day_start(day)
        table.put(Day(region, day, tuple(demand(start + STEP * minute) for minute in range(1440))), "e")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeTrainer]:
    """The trainer that the tasks use."""
    from include.forecast import tasks

    current = {"trainer": FakeTrainer()}
    monkeypatch.setattr(tasks, "trainer", lambda *profile: current["trainer"])
    return current


@pytest.fixture
def world(places: Path, made: dict[str, FakeTrainer]) -> Path:  # noqa: F811
    for region in (AP, US, EU):
        export(places, region, 10)
    return places


def registry(world: Path, region: str) -> Registry:
    return Registry(Folder(world / "models"), region)


def actions(world: Path, region: str) -> list[str]:
    return [str(decision.action) for decision in registry(world, region).history()]


def test_the_dag_waits_for_every_regions_traffic_or_the_night() -> None:
    dag = load("forecast_retrain")
    condition = dag.timetable.asset_condition
    assert type(condition).__name__ == "AssetAll"
    assert sorted(asset.name for asset in condition.objects) == [f"traffic/{r}" for r in sorted((AP, EU, US))]
    assert dag.timetable.timetable.expression == "30 3 * * *"
    assert dag.max_active_runs == 1
    chain = {task_id: sorted(dag.get_task(task_id).downstream_task_ids) for task_id in dag.task_ids}
    assert chain == {
        "retrain_region.load_window": ["retrain_region.judge_data"],
        "retrain_region.judge_data": ["retrain_region.train"],
        "retrain_region.train": ["retrain_region.evaluate"],
        "retrain_region.evaluate": ["retrain_region.promote"],
        "retrain_region.promote": ["report_retraining"],
        "report_retraining": [],
    }


def test_a_good_model_is_promoted_in_every_region_and_the_same_night_again_is_skipped(
    world: Path, run_dag: Runner, made: dict[str, FakeTrainer]
) -> None:
    run = run_dag(load("forecast_retrain"), CONF)
    assert run.state == "success"
    for region in (AP, US, EU):
        decision = registry(world, region).history()[0]
        assert decision.action == Action.PROMOTED
        assert decision.as_of == "2026-11-24T00:00:00Z"
        assert "it is the first champion" in decision.reason
        assert decision.figures["wape15"]["candidate"] == pytest.approx(0.001, abs=1e-5)
        assert registry(world, region).versions() == [decision.version, f"000002-{_content(world, region, 2)}"]
    again = run_dag(load("forecast_retrain"), CONF)
    assert again.state == "success"
    assert actions(world, AP) == ["promoted"]
    # The same data once more, by force: the files are the champion's.
    run_dag(load("forecast_retrain"), CONF | {"force": True})
    assert actions(world, AP) == ["promoted", "kept"]


def _content(world: Path, region: str, number: int) -> str:
    claim = world / "models" / "models" / region / "numbers" / f"{number:06d}.json"
    return str(json.loads(claim.read_text())["content"])[:12]


def test_a_worse_model_is_kept_back_with_the_reason(world: Path, run_dag: Runner, made: dict[str, FakeTrainer]) -> None:
    run_dag(load("forecast_retrain"), CONF)
    first = registry(world, AP).pointer().version
    made["trainer"] = FakeTrainer(1.2)
    assert run_dag(load("forecast_retrain"), CONF | {"force": True}).state == "success"
    assert registry(world, AP).pointer().version == first
    kept = registry(world, AP).history()[1]
    assert kept.action == Action.KEPT
    assert kept.reason.startswith("not promoted: blend is worse than ")
    assert f"champion {first}" in kept.figures["wape15"]


def files(world: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in world.rglob("*") if path.is_file() and ".locks" not in path.parts}


def test_a_dry_run_trains_and_says_what_it_would_promote_and_leaves_the_registry_alone(
    world: Path, run_dag: Runner, made: dict[str, FakeTrainer], caplog: pytest.LogCaptureFixture
) -> None:
    before = files(world)
    run = run_dag(load("forecast_retrain"), CONF | {"dry_run": True, "regions": [AP]})
    assert run.state == "success"
    assert run.ran("promote[0]") or run.ran(f"promote[{AP}]")
    assert files(world) == before
    shown = caplog.text
    assert f"{AP}: dry run, nothing was written: 000001-" in shown
    assert "would be promoted: promoted: " in shown
    assert f"models/{AP}/champion.json" in shown


def test_thin_data_and_a_broken_training_fail_their_region_only(
    places: Path,  # noqa: F811
    made: dict[str, FakeTrainer],
    run_dag: Runner,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for region, days in ((AP, 10), (US, 2), (EU, 10)):
        export(places, region, days)
    made["trainer"] = FakeTrainer(broken=[EU])
    dag = load("forecast_retrain")
    dag.default_args["retries"] = 0
    for task in dag.tasks:
        if hasattr(task, "partial_kwargs"):
            task.partial_kwargs["retries"] = 0
        else:
            task.retries = 0
    run = run_dag(dag, CONF)
    assert run.state == "failed"
    assert actions(places, AP) == ["promoted"]
    assert actions(places, US) == ["refused"]
    assert registry(places, US).history()[0].reason.startswith("too short: 2.0 days")
    assert actions(places, EU) == []


def test_old_data_is_refused(world: Path) -> None:
    from include.forecast import retrain

    table = TrafficTable(Folder(world / "traffic"))
    window = retrain.load_window(table, AP)
    assert (window.last, window.first, window.stored) == (LAST, LAST - dt.timedelta(days=9), 10)
    today = LAST + dt.timedelta(days=3)
    with pytest.raises(
        RetrainError,
        match="too old: the newest day is 2026-11-23, 3 days before 2026-11-26: run traffic_export",
    ):
        retrain.judge_data(table, registry(world, AP), window, today)
    assert actions(world, AP) == ["refused"]
    with pytest.raises(RetrainError, match="no whole day of traffic is stored: run traffic_export"):
        retrain.load_window(table, "nowhere")


def test_a_champion_that_changed_during_the_night_stays(world: Path, made: dict[str, FakeTrainer]) -> None:
    from include.forecast import retrain

    table, region = TrafficTable(Folder(world / "traffic")), registry(world, AP)
    window = retrain.load_window(table, AP)
    evaluated = retrain.evaluate(table, region, retrain.train(table, region, window, FakeTrainer()), FakeTrainer())
    other = retrain.evaluate(table, region, retrain.train(table, region, window, FakeTrainer(1.002)), FakeTrainer())
    assert retrain.promote(region, json.loads(json.dumps(other))).action == Action.PROMOTED
    lost = retrain.promote(region, json.loads(json.dumps(evaluated)))
    assert lost.action == Action.LOST
    assert region.pointer().version == other["version"]


def test_a_damaged_champion_does_not_stop_a_better_model(world: Path, made: dict[str, FakeTrainer]) -> None:
    from include.forecast import retrain

    table, region = TrafficTable(Folder(world / "traffic")), registry(world, AP)
    window = retrain.load_window(table, AP)
    first = retrain.promote(
        region,
        retrain.evaluate(table, region, retrain.train(table, region, window, FakeTrainer(1.003)), FakeTrainer()),
    )
    (world / "models" / "models" / AP / "versions" / first.version / "model.json").write_text("{}")
    second = retrain.promote(
        region, retrain.evaluate(table, region, retrain.train(table, region, window, FakeTrainer()), FakeTrainer())
    )
    assert second.action == Action.PROMOTED
    assert "model.json is not what its manifest says" in second.reason


def test_a_champion_that_this_code_can_not_use_does_not_hold_its_place(world: Path) -> None:
    from include.forecast import retrain
    from include.forecast.candidates.candidate import CandidateError

    class NewCode(FakeTrainer):
        def replay(self, folder: Path, windows: Any) -> Any:
            if "champion" in folder.parts:
                raise CandidateError("format 1 is too old")
            return super().replay(folder, windows)

    table, region = TrafficTable(Folder(world / "traffic")), registry(world, AP)
    window = retrain.load_window(table, AP)
    for trainer in (FakeTrainer(1.001), NewCode(1.003)):
        trained = retrain.train(table, region, window, trainer)
        decision = retrain.promote(region, retrain.evaluate(table, region, trained, trainer))
        assert decision.action == Action.PROMOTED
    assert "can't be used: format 1 is too old" in decision.reason


def test_the_report_names_region_and_task_of_each_failure() -> None:
    from include.forecast.outcomes import failed_regions

    states = {
        "retrain_region.train_0": "success",
        "retrain_region.train_2": "failed",
        "retrain_region.judge_data_1": "failed",
        "retrain_region.promote_2": "upstream_failed",
        "report_retraining": None,
    }
    assert failed_regions(states, "retrain_region", [AP, US, EU]) == [
        f"{US}: judge_data failed, its log says why",
        f"{EU}: train failed, its log says why",
    ]
    assert failed_regions({"watch_forecast_1": "failed"}, "watch_forecast", [AP, US]) == [
        f"{US}: watch_forecast failed, its log says why"
    ]


# --- Training in a pod ------------------------------------------------------------------------------------------------


def test_training_goes_to_a_pod_by_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKIDB_TRAIN_IN_POD", "registry.example/akidb-train:1")
    dag = load("forecast_retrain")
    task = dag.get_task("retrain_region.train")
    assert type(task).__name__ == "KubernetesPodOperator" or task.task_type == "KubernetesPodOperator"
    assert task.downstream_task_ids == {"retrain_region.evaluate"}
    assert task.upstream_task_ids == {"retrain_region.judge_data"}


class NoCluster:
    """The operator's hook where there is no cluster: it has no settings of its own."""

    is_in_cluster = False

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def test_the_pod_runs_the_training_step_as_its_own_service_account() -> None:
    from include.forecast.tasks import train_in_pod

    operator = train_in_pod("registry.example/akidb-train:1")
    operator.hook = NoCluster()
    pod = operator.build_pod_request_obj().to_dict()
    container = next(c for c in pod["spec"]["containers"] if c["name"] == "base")
    assert container["image"] == "registry.example/akidb-train:1"
    assert container["command"] == ["python", "-m", "include.forecast.retrain"]
    assert container["args"][::2] == ["--region", "--window", "--traffic", "--models", "--profile", "--dry-run"]
    assert container["args"][5] == "{{ var.value.akidb_traffic }}"
    assert container["resources"]["requests"] == {"cpu": "2", "memory": "3Gi"}
    assert (pod["spec"]["service_account_name"], pod["metadata"]["namespace"]) == ("akidb-train", "airflow")
    assert {"name": "KERAS_BACKEND", "value": "jax", "value_from": None} in container["env"]
    assert [c["name"] for c in pod["spec"]["containers"]] == ["base", "airflow-xcom-sidecar"]


def test_the_step_in_the_pod_gives_what_the_task_would(world: Path, tmp_path: Path) -> None:
    from include.forecast import retrain

    window = retrain.load_window(TrafficTable(Folder(world / "traffic")), AP)
    result = tmp_path / "xcom" / "return.json"
    result.parent.mkdir()
    places = {"--traffic": str(world / "traffic"), "--models": str(world / "models"), "--region": AP}  # noqa: F811
    arguments = [part for pair in places.items() for part in pair] + ["--window", json.dumps(window.to_json())]
    assert retrain.main(arguments, FakeTrainer(), result) == 0
    trained = json.loads(result.read_text())
    assert trained == retrain.train(TrafficTable(Folder(world / "traffic")), registry(world, AP), window, FakeTrainer())
    assert registry(world, AP).manifest(trained["version"]).window["fingerprint"] == window.fingerprint


def test_the_step_in_the_pod_decides_in_a_dry_run_and_keeps_nothing(world: Path, tmp_path: Path) -> None:
    from include.forecast import retrain

    before = files(world)
    window = retrain.load_window(TrafficTable(Folder(world / "traffic")), AP)
    result = tmp_path / "xcom" / "return.json"
    result.parent.mkdir()
    before = files(world)
    places = {"--traffic": str(world / "traffic"), "--models": str(world / "models"), "--region": AP}  # noqa: F811
    arguments = [part for pair in places.items() for part in pair] + ["--window", json.dumps(window.to_json())]
    assert retrain.main([*arguments, "--dry-run", "true"], FakeTrainer(), result) == 0
    assert json.loads(result.read_text())["decision"]["action"] == "promoted"
    result.unlink()
    assert files(world) == before


def test_a_champion_can_be_set_by_hand(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from include.forecast import retrain, set_champion

    table, region = TrafficTable(Folder(world / "traffic")), registry(world, AP)
    version = retrain.train(table, region, retrain.load_window(table, AP), FakeTrainer())["version"]
    common = ["--models", str(world / "models"), "--region", AP, "--reason", "the other is broken", "--version"]
    assert set_champion.main([*common, version]) == 0
    assert region.history()[0].reason == "by hand: the other is broken"
    assert set_champion.main([*common, "000009-0123456789ab"]) == 1
    assert "has no manifest" in capsys.readouterr().err
