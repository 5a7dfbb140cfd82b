"""The install steps of deploy/Containerfile in a clean environment: all DAGs load from what the image holds. No lab."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "deploy" / "Containerfile").read_text()
LOAD = """
import importlib.util, json, sys
from airflow.dag_processing.dagbag import DagBag
import airflow.providers.git.bundles.git, asyncpg, psycopg2
bag = DagBag(sys.argv[1])
absent = [name for name in ("lab", "tests", "moto", "pytest") if importlib.util.find_spec(name) is None]
print(json.dumps({"dags": sorted(bag.dags), "errors": bag.import_errors, "absent": absent}))
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


def step(marker: str) -> list[list[str]]:
    """The commands of the RUN instruction that contains ``marker``, as lists of words."""
    joined = re.sub(r"\\\n\s*", "", CONTAINERFILE)
    run = next(line for line in joined.splitlines() if line.startswith("RUN ") and marker in line)
    return [command.split() for command in run.removeprefix("RUN ").split(" && ")]


def run(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Run a step of the image in ``folder``, with its /opt/venv there and its python this one."""
    words = [
        sys.executable if word == "python" else word.replace("/opt/venv", str(folder / "venv")) for word in command
    ]
    done = subprocess.run(words, cwd=folder, env=dict(environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_the_images_packages_load_every_dag(tmp_path: Path) -> None:
    # What reaches the package index stays; what would lend the environment packages or settings of this one does not.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "PYTHON", "VIRTUAL_ENV", "AKIDB", "AWS"))
    }
    kept |= dict(re.findall(r"(AIRFLOW__\w+)=(\S+)", CONTAINERFILE))
    environment = kept | {"AIRFLOW_HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path)}
    copied = re.findall(r"^COPY (\w+) \1$", CONTAINERFILE, re.MULTILINE)
    for folder in copied:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    for command in (*step("pip install"), *step("compileall")):
        run(command, tmp_path, environment)
    told = run(["/opt/venv/bin/python", "-c", LOAD, str(tmp_path / "dags")], tmp_path, environment)
    found = json.loads(told.splitlines()[-1])
    assert found["errors"] == {}
    assert found["dags"] == sorted(path.stem for path in (ROOT / "dags").rglob("*.py"))
    assert found["absent"] == ["lab", "tests", "moto", "pytest"]
    assert len(list((tmp_path / "include").rglob("*.pyc"))) >= len(list((ROOT / "include").rglob("*.py")))
