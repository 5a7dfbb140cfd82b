"""The mark of the code that trained a model: what may change a model changes it, nothing else does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.forecast import retrain
from models import lstm, onnx_export


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, ...]]:
    """Copies of what is hashed, in the order in which it is."""
    copies = tuple(tmp_path / source.name for source in retrain.SOURCES)
    for source, copy in zip(retrain.SOURCES, copies, strict=True):
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(retrain, "SOURCES", copies)
    retrain.code_version.cache_clear()
    yield copies
    retrain.code_version.cache_clear()


def version() -> str:
    retrain.code_version.cache_clear()
    return retrain.code_version()


def test_the_networks_definition_and_its_export_are_among_the_hashed_sources() -> None:
    for module in (lstm, onnx_export):
        assert Path(str(module.__file__)).parent in retrain.SOURCES


@pytest.mark.parametrize(
    "path", ["models/lstm.py", "models/onnx_export.py", "forecast/training.py", "forecast/candidates/trees.py"]
)
def test_a_changed_source_is_another_code_version(sources: tuple[Path, ...], path: str) -> None:
    before = version()
    changed = sources[0].parent / path
    changed.write_text(changed.read_text() + "# changed\n")
    assert version() != before


def test_the_same_sources_in_another_folder_are_the_same_code_version(sources: tuple[Path, ...]) -> None:
    before = version()
    (sources[0] / "notes.txt").write_text("no source")
    assert version() == before
    assert len(before) == 12
