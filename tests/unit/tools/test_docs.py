"""docs/DAGs.md from docstrings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.docs import Description, DocsError, dag_files, describe, page

DOCSTRING = "## What it does\nMoves pods. Then more.\n\n## Owner\nplatform"


def test_files_are_listed_by_family_and_described_without_being_imported(tmp_path: Path) -> None:
    for family, name in (("operations", "rollback"), ("rollout", "day1_spot"), ("rollout", "__init__")):
        (tmp_path / family).mkdir(exist_ok=True)
        (tmp_path / family / f"{name}.py").write_text(f'"""{DOCSTRING}"""\nraise SystemExit("imported")\n')
    files = dag_files(tmp_path)
    assert [path.stem for path in files] == ["day1_spot", "rollback"]
    assert describe(files[0]) == Description("day1_spot", "rollout", DOCSTRING)


def test_a_file_without_docstring_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "rollout" / "x.py"
    path.parent.mkdir()
    path.write_text("x = 1\n")
    with pytest.raises(DocsError, match=r"rollout/x.py has no docstring"):
        describe(path)


def test_page() -> None:
    assert page([Description("day1_spot", "rollout", DOCSTRING)]).splitlines()[4:] == [
        "| DAG | family | what it does |",
        "| --- | --- | --- |",
        "| [day1_spot](#day1_spot) | rollout | Moves pods. |",
        "",
        "## Rollouts",
        "",
        "### day1_spot",
        "",
        "#### What it does",
        "Moves pods. Then more.",
        "",
        "#### Owner",
        "platform",
    ]
