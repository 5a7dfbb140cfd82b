"""The version of a lever's code: what changes it, and what does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from include import levers
from include.rollout.safety import SafetyError, code_version, deciding_files, known_version

FILES = {
    "include/__init__.py": "",
    "include/rollout/__init__.py": "",
    "include/rollout/gates.py": "x = 1\n",
    "include/levers/__init__.py": "LEVERS = {}\n",
    "include/levers/base.py": "from include.clients import cluster\n",
    "include/levers/other.py": "y = 1\n",
    "include/levers/small.py": "from include.levers.base import (\n    a,\n)\ndef f():\n    import include.prices\n",
    "include/levers/big/__init__.py": "from include.levers.big.lever import Big\n",
    "include/levers/big/lever.py": "import os\n",
    "include/levers/big/countries.csv": "JP\n",
    "include/levers/big/tasks.py": "from include.wiring.dag import task\n",
    "include/wiring/dag.py": "task = 1\n",
    "include/clients/__init__.py": "",
    "include/clients/cluster.py": "",
    "include/prices.py": "",
    "include/manifests/big/pool.yaml": "kind: NodePool\n",
    "include/price_book/aws.csv": "1\n",
}


def checkout(folder: Path) -> Path:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(lever: str, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in deciding_files(lever, root)]


def test_it_is_the_engine_the_room_its_manifests_and_what_these_import(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    engine = ["include/rollout/__init__.py", "include/rollout/gates.py"]
    assert names("small", root) == [
        "include/clients/cluster.py", "include/levers/base.py", "include/levers/small.py", "include/prices.py", *engine,
    ]  # fmt: skip
    big = [f"include/levers/big/{name}" for name in ("__init__.py", "countries.csv", "lever.py", "tasks.py")]
    assert names("big", root) == [*big, "include/manifests/big/pool.yaml", *engine]


def test_it_does_not_hang_on_where_the_project_lies_or_on_what_else_is_there(tmp_path: Path) -> None:
    first, second = checkout(tmp_path / "a"), checkout(tmp_path / "far" / "away")
    (second / "include" / "levers" / "big" / "__pycache__").mkdir()
    (second / "include" / "levers" / "big" / "__pycache__" / "lever.cpython-311.pyc").write_bytes(b"1")
    (second / "include" / "levers" / "big" / ".lever.py.swp").write_bytes(b"1")
    assert code_version("big", first) == code_version("big", second)
    assert len(code_version("big", first)) == 12


@pytest.mark.parametrize(
    ("changed", "levers_changed"),
    [
        ("include/rollout/gates.py", {"small", "big"}),
        ("include/levers/big/countries.csv", {"big"}),
        ("include/manifests/big/pool.yaml", {"big"}),
        ("include/clients/cluster.py", {"small"}),
        ("include/prices.py", {"small"}),
        ("include/levers/other.py", set()),
        ("include/levers/big/tasks.py", {"big"}),
        ("include/wiring/dag.py", set()),
        ("include/levers/__init__.py", set()),
        ("include/price_book/aws.csv", set()),
    ],
)
def test_what_changes_it(tmp_path: Path, changed: str, levers_changed: set[str]) -> None:
    before, after = checkout(tmp_path / "before"), checkout(tmp_path / "after")
    with (after / changed).open("a") as file:
        file.write("# changed\n")
    assert {name for name in ("small", "big") if code_version(name, before) != code_version(name, after)} == (
        levers_changed
    )


def test_a_file_that_moves_changes_it_although_no_byte_does(tmp_path: Path) -> None:
    before, after = checkout(tmp_path / "before"), checkout(tmp_path / "after")
    shutil.move(after / "include/levers/big/lever.py", after / "include/levers/big/moved.py")
    assert code_version("big", before) != code_version("big", after)


@pytest.mark.parametrize("name", ["made_up", "../rollout", "big/lever", ""])
def test_a_lever_without_code_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(SafetyError) as caught:
        code_version(name, checkout(tmp_path))
    assert str(caught.value) == (
        f"lever {name!r} has no folder or module in include/levers: give a lever's name of today"
    )
    assert known_version(name) is None


def test_every_lever_has_one_and_no_two_the_same() -> None:
    assert len({code_version(name) for name in levers.LEVERS}) == len(levers.LEVERS)
