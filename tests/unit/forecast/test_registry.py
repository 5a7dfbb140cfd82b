"""The registry: immutable versions, a pointer that is compared before it is set, and what survives damage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import S3, Folder, Storage
from include.forecast.registry import (
    Action,
    ChampionDecision,
    ChampionPointer,
    CorruptError,
    NoChampionError,
    Registry,
    RegistryError,
)

REGION = "us-east-1"
AS_OF = "2026-11-24T00:00:00Z"
ROOT = f"models/{REGION}"


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "folder":
        yield Folder(tmp_path / "store")
        return
    import boto3
    from moto import mock_aws

    with mock_aws():
        client: Any = boto3.client(
            "s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        client.create_bucket(Bucket="akidb-ml-models")
        yield S3(client, "akidb-ml-models", "traffic-predictor")


@pytest.fixture
def registry(storage: Storage) -> Registry:
    return Registry(storage, REGION)


def model(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(text.encode())
    (folder / "scaler.json").write_text("{}")
    return folder


def add(registry: Registry, tmp_path: Path, text: str) -> str:
    return registry.add(
        model(tmp_path / f"made-{text}", text),
        model="blend",
        window={"first": "2026-10-25T00:00:00Z", "last": AS_OF},
        metrics={"wape15": 0.1},
        code_version="abc",
    )


def promote(
    registry: Registry, version: str, expected: ChampionPointer | None = None, reason: str = "better"
) -> ChampionDecision:
    expected = expected or registry.pointer()
    return registry.move(expected, ChampionDecision(Action.PROMOTED, version, expected.version, reason, AS_OF))


def damage(storage: Storage, version: str, name: str = "model.onnx") -> None:
    storage.put(f"{ROOT}/versions/{version}/{name}", b"rubbish")


def test_a_version_is_kept_whole_with_its_manifest(registry: Registry, tmp_path: Path) -> None:
    version = add(registry, tmp_path, "one")
    assert version.startswith("000001-")
    assert len(version) == 19
    manifest = registry.fetch(version, tmp_path / "got")
    assert (manifest.version, manifest.region, manifest.model, manifest.created) == (version, REGION, "blend", AS_OF)
    assert manifest.metrics == {"wape15": 0.1}
    assert sorted(manifest.files) == ["model.onnx", "scaler.json"]
    assert (tmp_path / "got" / "model.onnx").read_bytes() == b"one"


def test_equal_files_are_the_same_version_and_others_the_next(registry: Registry, tmp_path: Path) -> None:
    first = add(registry, tmp_path, "one")
    assert add(registry, tmp_path, "one") == first
    second = add(registry, tmp_path, "two")
    assert second.startswith("000002-")
    assert registry.versions() == [first, second]


def test_a_version_without_manifest_does_not_exist_until_the_next_try(
    registry: Registry, storage: Storage, tmp_path: Path
) -> None:
    version = add(registry, tmp_path, "one")
    storage.delete(f"{ROOT}/versions/{version}/manifest.json")
    assert registry.versions() == []
    with pytest.raises(CorruptError, match="has no manifest: train again"):
        registry.manifest(version)
    assert add(registry, tmp_path, "one") == version
    assert registry.versions() == [version]


def test_a_version_is_never_overwritten(registry: Registry, storage: Storage, tmp_path: Path) -> None:
    version = add(registry, tmp_path, "one")
    damage(storage, version)
    with pytest.raises(CorruptError, match=r"model.onnx exists with other content: remove that file"):
        add(registry, tmp_path, "one")


def test_two_writers_get_two_numbers(storage: Storage, tmp_path: Path) -> None:
    class Late(Registry):
        """Lists the numbers before the other writer claims one."""

    early, late = Registry(storage, REGION), Late(storage, REGION)
    seen = storage.keys

    first = add(early, tmp_path, "one")
    storage.keys = lambda prefix="": [] if prefix.endswith("numbers/") else seen(prefix)  # type: ignore[method-assign]
    second = add(late, tmp_path, "two")
    assert (first[:6], second[:6]) == ("000001", "000002")


def test_a_manifest_that_was_changed_is_refused(registry: Registry, storage: Storage, tmp_path: Path) -> None:
    version = add(registry, tmp_path, "one")
    key = f"{ROOT}/versions/{version}/manifest.json"
    raw = json.loads(storage.read(key))
    storage.put(key, json.dumps(raw | {"files": {"../evil": "0" * 64}}).encode())
    with pytest.raises(CorruptError, match="lists other files than it was made with"):
        registry.fetch(version, tmp_path / "got")


def test_a_folder_without_files_is_no_version(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RegistryError, match="a version needs files"):
        registry.add(tmp_path / "empty", model="x", window={}, metrics={}, code_version="")


# --- The champion -----------------------------------------------------------------------------------------------------


def test_no_champion_says_what_to_run(registry: Registry, tmp_path: Path) -> None:
    assert registry.pointer() == ChampionPointer()
    with pytest.raises(NoChampionError, match=r"us-east-1 has no champion .*champion.json does not exist.*retrain"):
        registry.load_champion(tmp_path)


def test_a_promotion_moves_the_pointer_and_is_on_record(registry: Registry, tmp_path: Path) -> None:
    first, second = add(registry, tmp_path, "one"), add(registry, tmp_path, "two")
    assert promote(registry, first).serial == 1
    assert promote(registry, second).serial == 2
    champion = registry.load_champion(tmp_path / "serve")
    assert (champion.version, champion.problem) == (second, "")
    assert (champion.folder / "model.onnx").read_bytes() == b"two"
    assert [(d.action, d.version, d.previous) for d in registry.history()] == [
        (Action.PROMOTED, first, ""),
        (Action.PROMOTED, second, first),
    ]
    assert list(registry.champions()) == [second, first]


def test_the_loser_of_a_race_leaves_the_winner_and_says_so(registry: Registry, tmp_path: Path) -> None:
    first, second, third = (add(registry, tmp_path, text) for text in ("one", "two", "three"))
    promote(registry, first)
    seen = registry.pointer()
    promote(registry, second, seen)
    lost = promote(registry, third, seen)
    assert lost.action == Action.LOST
    assert lost.reason == f"{second} became champion meanwhile, so it stays; better"
    assert registry.pointer().version == second
    assert [d.action for d in registry.history()] == [Action.PROMOTED, Action.PROMOTED, Action.LOST]


def test_the_first_champion_can_be_raced_for_too(registry: Registry, tmp_path: Path) -> None:
    first, second = add(registry, tmp_path, "one"), add(registry, tmp_path, "two")
    nobody = registry.pointer()
    promote(registry, first, nobody)
    assert promote(registry, second, nobody).action == Action.LOST
    assert registry.pointer().version == first


def test_the_same_move_again_is_no_lost_race(registry: Registry, tmp_path: Path) -> None:
    version = add(registry, tmp_path, "one")
    nobody = registry.pointer()
    assert promote(registry, version, nobody) == promote(registry, version, nobody)
    assert [d.action for d in registry.history()] == [Action.PROMOTED]


def test_a_kill_between_pointer_and_history_loses_no_record(
    registry: Registry, storage: Storage, tmp_path: Path
) -> None:
    first, second = add(registry, tmp_path, "one"), add(registry, tmp_path, "two")
    promote(registry, first)
    storage.delete(f"{ROOT}/history/000001-0-promoted.json")
    assert [d.version for d in registry.history()] == [first]
    promote(registry, second)
    assert storage.keys(f"{ROOT}/history/") == [
        f"{ROOT}/history/000001-0-promoted.json",
        f"{ROOT}/history/000002-0-promoted.json",
    ]


def test_what_leaves_the_pointer_alone_is_recorded_once(registry: Registry, tmp_path: Path) -> None:
    version = add(registry, tmp_path, "one")
    promote(registry, version)
    kept = ChampionDecision(Action.KEPT, version, version, "not better", "2026-11-25T00:00:00Z", {"wape15": 0.2})
    assert registry.record(kept) == registry.record(kept)
    assert [(d.action, d.serial) for d in registry.history()] == [(Action.PROMOTED, 1), (Action.KEPT, 1)]
    assert registry.history()[1].figures == {"wape15": 0.2}
    with pytest.raises(ValueError, match="does not move the pointer"):
        registry.move(registry.pointer(), kept)
    with pytest.raises(ValueError, match="moves the pointer"):
        registry.record(ChampionDecision(Action.PROMOTED, version, "", "", AS_OF))


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_a_damaged_champion_is_passed_over_and_it_is_said(
    registry: Registry, storage: Storage, tmp_path: Path, name: str
) -> None:
    first, second = add(registry, tmp_path, "one"), add(registry, tmp_path, "two")
    promote(registry, first)
    promote(registry, second)
    damage(storage, second, name)
    champion = registry.load_champion(tmp_path / "serve")
    assert champion.version == first
    assert second in champion.problem
    assert champion.problem.endswith(f"{first} is used, the last good champion")
    damage(storage, first)
    with pytest.raises(NoChampionError, match=rf"{second}.*{first} of us-east-1: model.onnx is not what"):
        registry.load_champion(tmp_path / "serve")


def test_a_lost_file_is_damage(registry: Registry, storage: Storage, tmp_path: Path) -> None:
    version = add(registry, tmp_path, "one")
    storage.delete(f"{ROOT}/versions/{version}/scaler.json")
    with pytest.raises(CorruptError, match=r"lacks its file scaler\.json"):
        registry.fetch(version, tmp_path / "got")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"action": "promoted"', b'{"action": "crowned"}', None])
def test_a_damaged_or_missing_pointer_leaves_the_last_good_champion(
    registry: Registry, storage: Storage, tmp_path: Path, content: bytes | None
) -> None:
    first, second = add(registry, tmp_path, "one"), add(registry, tmp_path, "two")
    promote(registry, first)
    if content is None:
        storage.delete(f"{ROOT}/champion.json")
    else:
        storage.put(f"{ROOT}/champion.json", content)
    champion = registry.load_champion(tmp_path / "serve")
    assert champion.version == first
    assert "champion.json" in champion.problem
    assert promote(registry, second).serial == 2
    assert registry.load_champion(tmp_path / "serve").problem == ""


def test_a_version_that_is_not_whole_is_never_promoted(registry: Registry) -> None:
    with pytest.raises(CorruptError, match="has no manifest"):
        promote(registry, "000009-0123456789ab")
    with pytest.raises(CorruptError, match="is no version"):
        promote(registry, "../other")
    assert registry.pointer() == ChampionPointer()


def test_a_decision_needs_the_time_of_its_data() -> None:
    with pytest.raises(ValueError, match="as_of must look like"):
        ChampionDecision(Action.KEPT, "v", "", "why", "yesterday")


def test_regions_do_not_mix(storage: Storage, tmp_path: Path) -> None:
    promote(Registry(storage, "us-east-1"), add(Registry(storage, "us-east-1"), tmp_path, "one"))
    assert Registry(storage, "us-east-1b").pointer() == ChampionPointer()
    assert Registry(storage, "us-east-1b").versions() == []
