"""The repository's root as a DAG bundle: `include` comes with the DAGs, and nothing but dags/ is parsed."""

from __future__ import annotations

import shutil
from pathlib import Path

from airflow.utils.file import list_py_file_paths

ROOT = Path(__file__).parents[2]


def test_only_the_dag_files_are_looked_at_in_the_repositorys_root(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".airflowignore", tmp_path)
    dags = {"dags/rollout/day1_spot.py", "dags/recurring/cost_report.py"}
    for name in (
        *dags,
        "include/wiring/dag.py",
        "lab/world.py",
        "plugins/main.py",
        "tests/dags/toy_dags.py",
        "setup.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("from airflow.sdk import dag")
    found = {str(Path(path).relative_to(tmp_path)) for path in list_py_file_paths(tmp_path, safe_mode=False)}
    assert found == dags
