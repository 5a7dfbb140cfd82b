"""What CI runs: people's own targets, with every lever's conformance and an undo, and pytest's summary at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from lab.world import REPOSITORY

LINES = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_ci_runs_lint_tests_conformance_and_a_rehearsal_with_its_undo() -> None:
    calls = [line.split(" > ")[0].split(" 2>&1")[0] for line in LINES if line.startswith("make ")]
    assert calls == [
        "make lint",
        "make lever-conformance",
        "make test CONFORMANCE=0",
        "make rehearsal REGIONS=ap-northeast-1 DAYS=1 KEEP=0 UNDO=1",
    ]


def test_a_property_that_does_not_hold_fails_ci_although_it_ran_beside_the_tests() -> None:
    after = LINES[LINES.index('wait "$beside" || status=$?') :]
    assert after[1:4] == ['cat "$conformance"', '[ "$status" -eq 0 ]', after[3]]
    assert after[3].startswith("make rehearsal")


def test_the_last_line_is_pytests_summary() -> None:
    assert LINES[-1] == 'echo "$summary"'


# Stands in for make: the conformance starts a program in a session of its own, as the lab does, and the tests fail.
MAKE = """#!/bin/sh
case "$1" in
lever-conformance) setsid sleep 300 & echo $! > sleeper; wait ;;
test) while [ ! -s sleeper ]; do sleep 0.05; done; echo "===== 1 failed in 0.1s ====="; echo "make: Error 1"; exit 1 ;;
rehearsal) touch rehearsed ;;
esac
"""


def test_failed_tests_end_the_conformance_with_all_that_it_started(tmp_path: Path) -> None:
    for folder in (".ci", "bin", ".venv/bin", "tools"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(REPOSITORY / ".ci" / "run", tmp_path / ".ci" / "run")
    shutil.copy(REPOSITORY / "tools" / "end_tree.py", tmp_path / "tools")
    make = tmp_path / "bin" / "make"
    make.write_text(MAKE)
    make.chmod(0o755)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(Path(psutil.__file__).parents[1])
    begun = time.monotonic()
    done = subprocess.run([tmp_path / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert time.monotonic() - begun < 60
    assert done.stdout.splitlines()[-1] == "===== 1 failed in 0.1s ====="
    assert not (tmp_path / "rehearsed").exists()
    assert not psutil.pid_exists(int((tmp_path / "sleeper").read_text()))
