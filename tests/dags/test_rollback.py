"""The rollback DAG end to end: regions from the ledger, each by itself, also when the estate can't be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from include import levers
from include.clients.storage import Folder
from include.estate import Estate, load_estate
from include.rollout.ledger import Ledger
from include.rollout.place import Place
from include.rollout.steps import Run
from include.wiring.conventions import UNDO_RETRY_ARGS
from tests.dags.toy import Toy, World, clients_of
from tests.dags.toy_dags import Runner, estate_of, holders, rollback_dag, set_fault
from tests.unit.rollout.toy_runs import AP, EU, US, promoted

START = {US: 1, EU: 1, AP: 1}
REAL = {"dry_run": False}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setitem(levers.LEVERS, "toy", "tests.dags.toy:Toy")
    path = tmp_path / "world.json"
    state = {"regions": {region: {"size": 1} for region in START}, "faults": {}, "leases": {}, "events": []}
    path.write_text(json.dumps(state))
    return World(path)


@pytest.fixture
def rollout(world: World, tmp_path: Path) -> Run:
    """A rollout of the toy lever in AP and US, by its steps alone."""
    estate, make = load_estate(), clients_of(world)
    params = {"regions": [AP, US], "dry_run": False, "size": 2}
    ledger = Ledger(Folder(tmp_path / "ledger"))
    return Run(Toy(), estate, params, "toy_rollout", "manual__1", ledger, lambda region: make(region, estate),
               lambda _: None)  # fmt: skip


@pytest.fixture
def broken_estate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "estate.yaml"
    broken.write_text("name: akidb\nregoins: {}\n")
    monkeypatch.setenv("AKIDB_ESTATE", str(broken))


def standing(run: Run) -> list[str]:
    return [f"{change.chain.place} {change.chain.run_id}" for change in run.ledger.survey().standing]


def test_everything_goes_back_to_before_the_first_run(world: World, rollout: Run, run_dag: Runner) -> None:
    promoted(rollout, "manual__1", 2)
    promoted(rollout, "manual__2", 3, regions=[AP])
    run = run_dag(rollback_dag(world, estate_of(AP, US)), REAL)
    assert (run.state, run.verdict["verdict"]) == ("success", "rolled back")
    assert world.sizes() == START
    assert standing(rollout) == []
    assert holders(world) == {AP: None, US: None}
    both = [f"[{AP}]", f"[{US}]"]
    assert [name for name in run.tasks if "undo_changes" in name] == [f"undo_changes{region}" for region in both]
    assert [name for name in run.tasks if "verify" in name] == [f"verify_restored{region}" for region in both]


def test_a_region_that_fails_keeps_no_other_and_is_verified_too(world: World, rollout: Run, run_dag: Runner) -> None:
    promoted(rollout, "manual__1", 2)
    set_fault(world, "rollback refused", [AP])
    run = run_dag(rollback_dag(world, estate_of(AP, US)), REAL)
    assert (run.state, run.verdict["verdict"]) == ("failed", "unfinished")
    assert run.verdict["left_behind"] == [f"{AP} toy: not back yet: toy size: 2 -> 1"]
    assert world.sizes() == {US: 1, EU: 1, AP: 2}
    states = {name: state for name, state in run.tasks.items() if "[" in name}
    assert states == {
        f"undo_changes[{AP}]": "failed", f"undo_changes[{US}]": "success",
        f"verify_restored[{AP}]": "failed", f"verify_restored[{US}]": "success",
    }  # fmt: skip
    assert holders(world) == {AP: None, US: None}


def test_an_undo_that_loses_its_connection_is_tried_again(world: World, rollout: Run, run_dag: Runner) -> None:
    promoted(rollout, "manual__1", 2, regions=[AP])
    set_fault(world, f"rollback crash {AP}")
    run = run_dag(rollback_dag(world, estate_of(AP)), REAL)
    assert run.verdict["verdict"] == "rolled back"
    assert world.events.count(f"rollback {AP}") == 2


def test_a_region_that_left_the_estate_is_undone(world: World, rollout: Run, run_dag: Runner) -> None:
    promoted(rollout, "manual__1", 2)
    asked: list[tuple[str, list[str]]] = []

    def clients(place: Place, estate: Estate) -> Any:
        asked.append((place.name, sorted(estate.regions)))
        return clients_of(world)(place, estate)

    run = run_dag(rollback_dag(world, estate_of(AP), clients), REAL)
    assert run.verdict["verdict"] == "rolled back"
    assert world.sizes() == START
    assert (US, [AP, US]) in asked
    assert (AP, [AP]) in asked


def test_an_estate_that_can_not_be_read_leaves_the_form_without_its_regions_and_no_more(
    world: World, rollout: Run, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("broken_estate")
    broken, whole = rollback_dag(world), rollback_dag(world, rollout.estate)
    assert broken.task_ids == whole.task_ids
    assert {name: broken.params[name] for name in broken.params} == {name: whole.params[name] for name in whole.params}
    assert whole.params.get_param("regions").schema["examples"] == [AP, US, EU, "estate-wide"]
    assert broken.params.get_param("regions").schema["examples"] == ["estate-wide"]


@pytest.mark.parametrize("conf", [{}, {"emergency": True, "reason": "errors"}], ids=["approved", "emergency"])
def test_an_estate_that_can_not_be_read_takes_no_undo_away(
    world: World, rollout: Run, run_dag: Runner, request: pytest.FixtureRequest, conf: dict[str, Any]
) -> None:
    promoted(rollout, "manual__1", 2)
    request.getfixturevalue("broken_estate")
    run = run_dag(rollback_dag(world), REAL | conf)
    assert (run.state, run.verdict["verdict"]) == ("success", "rolled back")
    assert world.sizes() == START


def test_without_an_estate_only_an_approver_of_the_snapshots_estate_approves(
    world: World, rollout: Run, run_dag: Runner, request: pytest.FixtureRequest
) -> None:
    promoted(rollout, "manual__1", 2)
    request.getfixturevalue("broken_estate")
    run = run_dag(rollback_dag(world), REAL, user="somebody")
    assert (run.state, run.verdict["verdict"]) == ("failed", "refused")
    assert "somebody may not approve: governance.approvers" in run.verdict["message"]
    assert world.sizes() == {US: 2, EU: 1, AP: 2}


@pytest.mark.usefixtures("broken_estate")
def test_without_an_estate_and_a_slice_the_run_says_what_is_wrong(world: World, run_dag: Runner) -> None:
    run = run_dag(rollback_dag(world), {})
    assert run.state == "failed"
    assert run.tasks["find_changes"] == "failed"


def test_an_emergency_locks_the_regions_where_nothing_stands_yet(world: World, rollout: Run, run_dag: Runner) -> None:
    held = {"metadata": {"name": "akidb-rollout"}, "spec": {"holderIdentity": "toy_rollout/running"}}
    clients_of(world)(Place.named(AP), rollout.estate).leases.create(held)
    run = run_dag(rollback_dag(world, estate_of(AP, US)), REAL | {"emergency": True, "reason": "errors"})
    assert (run.state, run.verdict["verdict"]) == ("success", "nothing to undo")
    assert holders(world) == {AP: None, "devices": None, "estate-wide": None, US: None}
    assert run.tasks["undo_changes"] == "skipped"


def test_what_remains_is_closed_when_somebody_accepts_it(
    world: World, rollout: Run, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    from include.rollout.lever import Difference

    promoted(rollout, "manual__1", 2, regions=[AP])
    left = [Difference("toy colour", "red", "blue")]
    monkeypatch.setattr(Toy, "verify_restored", lambda *_: left)
    run = run_dag(rollback_dag(world, estate_of(AP)), REAL)
    assert run.verdict["left_behind"] == [f"{AP} toy: not back yet: toy colour: red -> blue"]
    run = run_dag(rollback_dag(world, estate_of(AP)), REAL | {"accept": True})
    assert (run.state, run.verdict["verdict"]) == ("success", "rolled back")
    assert f"{AP} toy: accepted and closed: toy colour: red -> blue" in run.verdict["message"]
    assert standing(rollout) == []


def test_the_structure_is_the_same_for_every_estate(world: World) -> None:
    dag = rollback_dag(world)
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "find_changes": {"choose_path"},
        "choose_path": {"await_approval", "take_locks_over"},
        "await_approval": {"take_locks_over"},
        "take_locks_over": {"list_places", "release_rollback_locks"},
        "list_places": {"undo_changes", "verify_restored"},
        "undo_changes": {"verify_restored"},
        "verify_restored": {"release_rollback_locks"},
        "release_rollback_locks": {"verdict"},
        "verdict": set(),
    }
    for name in ("undo_changes", "verify_restored"):
        task = dag.get_task(name)
        assert task.is_mapped
        assert task.partial_kwargs["retries"] == UNDO_RETRY_ARGS["retries"]
    assert dag.get_task("release_rollback_locks").is_teardown
    assert dag.get_task("verdict").trigger_rule == "all_done"


@pytest.mark.usefixtures("broken_estate")
def test_two_parses_of_a_broken_estate_give_the_same_dag(world: World) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    first, second = (DagSerialization.to_dict(rollback_dag(world)) for _ in range(2))
    assert json.dumps(first, sort_keys=True, default=str) == json.dumps(second, sort_keys=True, default=str)
