"""The figure of the DAG files' parse: of files that load, and a refusal of those that don't."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.parse_time import parse_seconds


def test_a_file_without_work_parses_in_no_time(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("from airflow.sdk import DAG\n\nempty = DAG('empty', schedule=None)\n")
    assert 0 < parse_seconds(tmp_path, runs=1) < 1


def test_files_that_do_not_load_have_no_figure(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("from airflow.sdk import DAG\n\nraise RuntimeError('no such thing')\n")
    with pytest.raises(RuntimeError, match=r"don't load: .*no such thing"):
        parse_seconds(tmp_path, runs=1)
