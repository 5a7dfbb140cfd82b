"""What every lever must hold, whatever it changes: undo is the product.

Parametrised over the list of levers, so that a new one can't forget it. `make lever-conformance` shows the table; what
needs a real API server is in tests/lab/test_lever_conformance.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include import levers
from include.clients.storage import Folder
from include.rollout import steps
from include.rollout.ledger import Chain, Ledger, Step
from include.rollout.lever import Difference, Json, Refused, Target, within
from include.rollout.place import PlaceKind
from include.rollout.steps import Run
from tests.conformance.levers.crash import Killed, watched
from tests.conformance.levers.scenes import OTHER_SETTINGS, SCENES, Scene
from tests.unit.rollout.toy_runs import roll_back, undoing

pytestmark = [pytest.mark.conformance, pytest.mark.parametrize("lever", list(levers.LEVERS))]


@pytest.fixture
def scenes(lever: str) -> Iterator[Callable[[Path], Scene]]:
    """Makes the lever's place, nothing rolled out; one after the other."""
    made: list[Scene] = []

    def make(folder: Path) -> Scene:
        for before in made:
            before.close()
        made[:] = [SCENES[lever](folder)]
        return made[0]

    yield make
    for left in made:
        left.close()


@pytest.fixture
def scene(scenes: Callable[[Path], Scene], tmp_path: Path) -> Scene:
    """The lever's place, nothing rolled out."""
    return scenes(tmp_path)


def through_ledger(snapshot: dict[str, Json], folder: Path) -> dict[str, Json]:
    """The snapshot as a rollback gets it: written to a ledger and read again."""
    ledger = Ledger(Folder(folder / "ledger"))
    chain = Chain("any", "anywhere", "dag", "run")
    ledger.append(chain, Step.SNAPSHOT, {"snapshot": snapshot})
    (record,) = ledger.records(chain)
    kept: dict[str, Json] = record.figures["snapshot"]
    return kept


def undo(scene: Scene, snapshot: dict[str, Json], target: Target | None = None) -> tuple[Difference, ...]:
    """Roll back and prove it; returns what others changed. Whatever else remains fails the test."""
    target = target or scene.target
    restored = scene.lever.rollback(target, snapshot)
    paths = [difference.path for difference in restored.changed_by_others]
    remaining = [str(d) for d in scene.lever.verify_restored(target, snapshot) if not within(d.path, paths)]
    assert remaining == []
    return restored.changed_by_others


def test_a_change_is_undone_from_the_ledgers_own_json(scene: Scene, tmp_path: Path) -> None:
    before = scene.state()
    snapshot = through_ledger(scene.lever.snapshot(scene.target), tmp_path)
    scene.apply_all()
    assert scene.state() != before, "the lever changed nothing: the scene proves nothing"
    assert undo(scene, snapshot) == ()
    assert scene.state() == before


def test_a_change_that_is_applied_leaves_nothing_to_plan_and_twice_is_once(scene: Scene) -> None:
    stages = scene.lever.plan(scene.target).stages
    for stage in stages:
        scene.lever.apply(scene.target, stage)
    assert scene.lever.plan(scene.target).differences == ()
    once = scene.state()
    for stage in stages:
        scene.lever.apply(scene.target, stage)
    assert scene.state() == once


def points_of(step: Callable[[Target], Any], target: Target) -> int:
    """How many writes ``step`` makes."""
    counting, writes = watched(target)
    step(counting)
    assert writes.done, "nothing was written: the scene proves nothing"
    return len(writes.done)


def test_a_crash_after_any_write_of_apply_is_undone(scenes: Callable[[Path], Scene], tmp_path: Path) -> None:
    first = scenes(tmp_path / "count")
    count = points_of(lambda target: first.apply_all(target), first.target)
    for until in range(1, count + 1):
        scene = scenes(tmp_path / str(until))
        before, snapshot = scene.state(), scene.lever.snapshot(scene.target)
        with pytest.raises(Killed):
            scene.apply_all(watched(scene.target, until)[0])
        assert undo(scene, snapshot) == (), f"killed after write {until}"
        assert scene.state() == before, f"killed after write {until}"


def test_a_crash_after_any_write_of_apply_is_resumed(scenes: Callable[[Path], Scene], tmp_path: Path) -> None:
    first = scenes(tmp_path / "count")
    count = points_of(lambda target: first.apply_all(target), first.target)
    wanted = first.state()
    for until in range(1, count + 1):
        scene = scenes(tmp_path / str(until))
        with pytest.raises(Killed):
            scene.apply_all(watched(scene.target, until)[0])
        scene.apply_all()
        assert scene.state() == wanted, f"killed after write {until}"


def test_a_crash_after_any_write_of_the_rollback_is_undone_all_the_same(
    scenes: Callable[[Path], Scene], tmp_path: Path
) -> None:
    first = scenes(tmp_path / "count")
    snapshot = first.lever.snapshot(first.target)
    first.apply_all()
    count = points_of(lambda target: first.lever.rollback(target, snapshot), first.target)
    for until in range(1, count + 1):
        scene = scenes(tmp_path / str(until))
        before, snapshot = scene.state(), scene.lever.snapshot(scene.target)
        scene.apply_all()
        with pytest.raises(Killed):
            scene.lever.rollback(watched(scene.target, until)[0], snapshot)
        assert undo(scene, snapshot) == (), f"killed after write {until}"
        assert scene.state() == before, f"killed after write {until}"


def test_a_second_rollback_writes_nothing(scene: Scene) -> None:
    snapshot = scene.lever.snapshot(scene.target)
    scene.apply_all()
    undo(scene, snapshot)
    counting, writes = watched(scene.target)
    restored = scene.lever.rollback(counting, snapshot)
    assert (writes.done, restored.changed_by_others) == ([], ())


def test_a_rollback_of_nothing_writes_nothing(scene: Scene) -> None:
    before, snapshot = scene.state(), scene.lever.snapshot(scene.target)
    counting, writes = watched(scene.target)
    assert scene.lever.rollback(counting, snapshot).changed_by_others == ()
    assert (writes.done, scene.state()) == ([], before)


def test_a_run_that_is_resumed_with_other_settings_is_undone(lever: str, scene: Scene) -> None:
    chosen = OTHER_SETTINGS[lever]
    if chosen is None:
        pytest.skip("the lever has no settings to choose")
    for first, second in ((scene.target, scene.with_settings(**chosen)), (scene.with_settings(**chosen), scene.target)):
        before, snapshot = scene.state(), scene.lever.snapshot(first)
        scene.apply_all(first)
        scene.apply_all(second)
        assert undo(scene, snapshot, second) == ()
        assert scene.state() == before


def test_what_somebody_else_changed_is_reported_and_left_alone(scene: Scene) -> None:
    before, snapshot = scene.state(), scene.lever.snapshot(scene.target)
    scene.apply_all()
    touched = scene.disturb(before)
    assert touched, "nothing that the lever wrote could be changed: the scene proves nothing"
    undo(scene, snapshot)
    for name, is_theirs in touched.items():
        assert is_theirs(), f"{name} was overwritten"


def smaller(raw: dict[str, Any]) -> dict[str, Any]:
    """An estate file without one of the workloads."""
    raw["workloads"].pop("akidb-grpc")
    requests = raw.get("predictive_scaling", {}).get("requests")
    if requests:
        requests.pop("akidb-grpc", None)
    return raw


def test_a_run_that_is_resumed_with_a_workload_more_is_undone_from_the_first_snapshot(scene: Scene) -> None:
    first = scene.with_estate(smaller)
    before, snapshot = scene.state(), scene.lever.snapshot(first)
    scene.apply_all(first)
    scene.apply_all()
    undo(scene, snapshot)
    assert scene.state() == before


def test_a_workload_that_left_the_estate_is_undone_with_the_rest(scene: Scene) -> None:
    before, snapshot = scene.state(), scene.lever.snapshot(scene.target)
    scene.apply_all()
    # The engine hands the estate's slice of the snapshot over; a lever must not stumble over the present one either.
    scene.lever.rollback(scene.with_estate(smaller), snapshot)
    assert undo(scene, snapshot) == ()
    assert scene.state() == before


def test_an_object_that_is_gone_does_not_stop_the_undo_of_the_rest(scene: Scene) -> None:
    before, snapshot = scene.state(), scene.lever.snapshot(scene.target)
    scene.apply_all()
    lost = scene.lose()
    undo(scene, snapshot)
    after = scene.state()
    assert {k: v for k, v in after.items() if lost not in k} == {k: v for k, v in before.items() if lost not in k}


def test_a_definition_that_is_gone_does_not_stop_the_undo_of_the_rest(scene: Scene) -> None:
    before, snapshot = scene.state(), scene.lever.snapshot(scene.target)
    scene.apply_all()
    is_left = scene.unserve(before)
    if is_left is None:
        pytest.skip("it writes no object of a CustomResourceDefinition")
    undo(scene, snapshot)
    after = scene.state()
    assert {k: v for k, v in after.items() if is_left(k)} == {k: v for k, v in before.items() if is_left(k)}


def test_a_snapshot_of_another_release_is_undone_or_refused_and_never_called_restored_when_it_is_not(
    scenes: Callable[[Path], Scene], tmp_path: Path
) -> None:
    scene = scenes(tmp_path / "newer")
    snapshot = scene.lever.snapshot(scene.target)
    scene.apply_all()
    assert undo(scene, through_ledger({**snapshot, "of a newer release": {"a": 1}}, tmp_path)) == ()
    for name in snapshot:
        older = scenes(tmp_path / name)
        before, kept = older.state(), older.lever.snapshot(older.target)
        older.apply_all()
        del kept[name]
        try:
            others = older.lever.rollback(older.target, kept).changed_by_others
            left = older.lever.verify_restored(older.target, kept)
        except Refused:
            continue
        assert others or left or older.state() == before, f"without {name} it only claims to be restored"


# Through the engine ---------------------------------------------------------------------------------------------------


class Leases:
    """The lock of one region, in memory."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None

    def get(self, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.lease)

    def create(self, body: dict[str, Any]) -> None:
        self.replace(body)

    def replace(self, body: dict[str, Any]) -> None:
        version = int(body["metadata"].get("resourceVersion", "0")) + 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(version)


def rolled_out(scene: Scene, folder: Path, name: str) -> Run:
    """A run of the lever, under that name, that was promoted and has ended."""
    clients = SimpleNamespace(**vars(scene.target.clients), leases=Leases())
    ledger = Ledger(Folder(folder / "ledger"))
    lever = levers.lever(name)
    run = Run(lever, scene.target.estate, {}, "dag", "run", ledger, lambda _: clients, lambda _: True)
    place = scene.target.place.name
    steps.put_snapshot(run, scene.target)
    run.record(place, Step.TOUCH, {"slot": "any", "title": "any"})
    scene.apply_all()
    run.record(place, Step.PROMOTED, {"after": {}})
    return run


def test_it_is_undone_by_the_rollback_dag_under_its_former_name(
    lever: str, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(levers.RENAMED, "formerly", lever)
    before = scene.state()
    run = rolled_out(scene, tmp_path, "formerly")
    verdict = roll_back(undoing(run, lever=lever))
    assert (verdict.name, verdict.green, scene.state()) == ("rolled back", True, before), verdict.message


def test_it_is_undone_by_the_rollback_dag_when_its_region_has_left_the_estate(scene: Scene, tmp_path: Path) -> None:
    before, place = scene.state(), scene.target.place
    region = place.name if place.kind is PlaceKind.REGION else scene.target.estate.canary_region

    def smaller(raw: dict[str, Any]) -> dict[str, Any]:
        del raw["regions"][region]
        raw["canary_region"] = next(iter(raw["regions"]))
        return raw

    run = rolled_out(scene, tmp_path, scene.lever.name)
    verdict = roll_back(undoing(replace(run, estate=scene.with_estate(smaller).estate)))
    assert (verdict.name, verdict.green, scene.state()) == ("rolled back", True, before), verdict.message
