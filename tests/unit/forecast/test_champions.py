"""How the server follows the champion: changed whole, never given up for nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from include.forecast.candidates.baselines import Naive
from include.forecast.candidates.candidate import CandidateError
from include.forecast.registry import Registry
from include.forecast.server.champions import RETRY_SECONDS, Champions
from tests.unit.forecast.serving_world import NOW, REGION, candidate, crown, followed, keep, now_scaled, service


def test_a_new_champion_is_picked_up(registry: Registry, champions: Champions, tmp_path: Path) -> None:
    assert champions.served is not None
    before = champions.served
    champions.refresh()
    assert champions.served is before
    second = keep(registry, candidate(Naive(0, scaled=False)), tmp_path / "second")
    crown(registry, second)
    champions.refresh()
    assert (champions.served.version, champions.problem) == (second, "")


def damage(registry: Registry, tmp_path: Path, version: str, name: str = "tail.npy") -> None:
    (tmp_path / "models" / "models" / REGION / "versions" / version / name).write_bytes(b"damaged")


def test_a_corrupt_new_champion_is_refused_and_the_old_one_stays(
    registry: Registry, champions: Champions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert champions.served is not None
    first = champions.served.version
    second = keep(registry, candidate(Naive(0, scaled=False)), tmp_path / "second")
    crown(registry, second)
    damage(registry, tmp_path, second)
    with caplog.at_level(logging.WARNING):
        champions.refresh()
        champions.refresh()
    assert champions.served.version == first
    assert champions.problem == (
        f"champion {second} is refused: version {second} of us-east-1: tail.npy is not what its manifest says; "
        f"{first} goes on being served"
    )
    assert len(caplog.records) == 1
    status, answer = service(champions).health()
    assert (status, answer["regions"][REGION]["problem"]) == (200, champions.problem)


def test_at_the_start_a_corrupt_champion_gives_way_to_the_last_good_one(registry: Registry, tmp_path: Path) -> None:
    versions = [
        keep(registry, candidate(now_scaled(), above), tmp_path / f"made{number}")
        for number, above in enumerate((0.1, 0.2, 0.3))
    ]
    for version in versions:
        crown(registry, version)
    damage(registry, tmp_path, versions[2])
    (tmp_path / "models" / "models" / REGION / "versions" / versions[1] / "manifest.json").write_text("{}")
    champions = followed(registry)
    assert champions.served is not None
    assert champions.served.version == versions[0]
    assert champions.problem.endswith(f"; {versions[0]} is served, the last good champion")


def test_a_model_that_is_whole_but_of_no_use_is_refused_until_it_may_have_changed(
    registry: Registry, champions: Champions, tmp_path: Path
) -> None:
    tried: list[Path] = []
    now = [NOW]

    def refuse(folder: Path) -> None:
        tried.append(folder)
        raise CandidateError("LightGBM crashed")

    assert champions.served is not None
    first = champions.served.version
    second = keep(registry, candidate(Naive(0, scaled=False)), tmp_path / "second")
    crown(registry, second)
    careful = Champions(registry, refuse, lambda: now[0])
    careful.served = champions.served
    careful.refresh()
    careful.refresh()
    assert (len(tried), careful.served.version) == (1, first)
    assert careful.problem == f"champion {second} is refused: LightGBM crashed; {first} goes on being served"
    now[0] += RETRY_SECONDS
    careful.refresh()
    assert len(tried) == 2
    assert not tried[0].exists()


def test_a_registry_that_is_down_or_empty_leaves_the_champion_in_place(
    registry: Registry, champions: Champions, tmp_path: Path
) -> None:
    assert champions.served is not None
    version = champions.served.version
    pointer = tmp_path / "models" / "models" / REGION / "champion.json"
    pointer.unlink()
    champions.refresh()
    assert champions.problem == f"models/us-east-1/champion.json does not exist: {version} goes on being served"
    pointer.mkdir()
    champions.refresh()
    assert champions.problem.startswith("the registry can't be read (IsADirectoryError:")
    assert champions.served.version == version


def test_an_unreadable_pointer_at_the_start_is_bridged_by_the_history(
    registry: Registry, champions: Champions, tmp_path: Path
) -> None:
    assert champions.served is not None
    (tmp_path / "models" / "models" / REGION / "champion.json").write_text("{")
    fresh = followed(registry)
    assert fresh.served is not None
    assert fresh.served.version == champions.served.version
    assert "champion.json can't be read" in fresh.problem
