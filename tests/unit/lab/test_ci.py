"""What CI runs: people's own targets, with every lever's conformance and an undo, and pytest's summary at the end."""

from __future__ import annotations

from lab.world import REPOSITORY

LINES = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_ci_runs_lint_tests_conformance_and_a_rehearsal_with_its_undo() -> None:
    calls = [line.split(" 2>&1")[0] for line in LINES if line.startswith("make ")]
    assert calls == [
        "make lint",
        "make test CONFORMANCE=0",
        "make lever-conformance",
        "make rehearsal REGIONS=ap-northeast-1,us-east-1 KEEP=0 UNDO=1",
    ]


def test_the_last_line_is_pytests_summary() -> None:
    assert LINES[-1] == 'echo "$summary"'
