"""The preloaded scheduler: what it imports starts no thread, and spares each task an import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.rehearsal.preloaded import MODULES

ROOT = Path(__file__).parents[4]
PROGRAM = """
import json, os, sys
from lab.rehearsal.preloaded import MODULES, preload
preload()
print(json.dumps([len(os.listdir("/proc/self/task")), [name for name in MODULES if name in sys.modules],
    [name for name in sys.modules if name.split(".")[0] == "include"]]))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc, which only Linux has")
def test_everything_is_imported_no_thread_is_started_and_nothing_is_of_this_project(tmp_path: Path) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [1, list(MODULES), []]
