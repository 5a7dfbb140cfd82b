"""Where figures go: set-up, rehearsal and surge change no tracked file, `make bench` alone does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from benchmarks import publish
from lab import world as worlds
from lab.rehearsal import settings as rehearsals
from lab.surge.__main__ import options
from tools import setup

REPOSITORY = Path(__file__).parents[3]
LAB = REPOSITORY / ".lab"


def test_every_writer_writes_to_the_labs_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAB_DIR", "SURGE", "TRACE"):
        monkeypatch.delenv(name, raising=False)
    of_rehearsal = rehearsals.settings_from({}, on_terminal=False)
    assert rehearsals.results_file(of_rehearsal) == LAB / "results" / "rehearsal_3_regions.json"
    assert options([]).json == LAB / "results" / "surge.json"
    assert setup.RESULT == LAB / "results" / "setup.json"


def test_a_fault_and_the_number_of_regions_have_files_of_their_own(tmp_path: Path) -> None:
    asked = {"LAB_DIR": str(tmp_path), "REGIONS": "ap-northeast-1,us-east-1", "FAULT": "gate"}
    settings = rehearsals.settings_from(asked, on_terminal=False)
    assert rehearsals.results_file(settings) == tmp_path / "results" / "rehearsal_2_regions_gate.json"


def test_a_surge_in_another_folder_writes_there(tmp_path: Path) -> None:
    assert options(["--folder", str(tmp_path)]).json == tmp_path / "results" / "surge.json"
    assert options(["--json", str(tmp_path / "own.json")]).json == tmp_path / "own.json"


def test_the_labs_folder_is_ignored_by_git() -> None:
    assert "/.lab/" in (REPOSITORY / ".gitignore").read_text().splitlines()
    assert LAB == worlds.DEFAULT_FOLDER


def test_nothing_of_the_lab_names_the_tracked_folder_but_the_set_up_for_make_bench() -> None:
    named = {
        path.relative_to(REPOSITORY).as_posix(): line.strip()
        for path in (*(REPOSITORY / "lab").rglob("*.py"), REPOSITORY / "tools" / "setup.py")
        for line in path.read_text().splitlines()
        if re.search(r'"benchmarks"|benchmarks/results', line)
    }
    assert list(named) == ["tools/setup.py"]
    assert named["tools/setup.py"].startswith("PUBLISHED = ")


def test_only_make_bench_publishes() -> None:
    recipes = subprocess.run(
        ["make", "-n", "-o", "setup", "rehearsal", "surge", "test", "setup"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "--measure" not in recipes
    assert "benchmarks" not in recipes


def test_bench_takes_over_what_rehearsals_and_surges_measured_and_nothing_else(tmp_path: Path) -> None:
    source, target = tmp_path / "lab", tmp_path / "benchmarks" / "results"
    source.mkdir()
    for name in ("rehearsal_3_regions.json", "rehearsal_1_regions_ice.json", "surge.json", "setup.json"):
        (source / name).write_text(name)
    assert publish.publish(source, target) == ["rehearsal_1_regions_ice.json", "rehearsal_3_regions.json", "surge.json"]
    assert sorted(path.name for path in target.iterdir()) == publish.publish(source, target)
    assert (target / "surge.json").read_text() == "surge.json"
    assert publish.publish(tmp_path / "absent", target) == []
