"""What CI runs: people's own targets, with every lever's conformance and an undo, and pytest's summary at the end."""

from __future__ import annotations

from lab.world import REPOSITORY

LINES = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_ci_runs_lint_tests_conformance_and_a_rehearsal_with_its_undo() -> None:
    calls = [line.split(" > ")[0].split(" 2>&1")[0] for line in LINES if line.startswith("make ")]
    assert calls == [
        "make lint",
        "make lever-conformance",
        "make test CONFORMANCE=0",
        "make rehearsal REGIONS=ap-northeast-1,us-east-1 KEEP=0 UNDO=1",
    ]


def test_a_property_that_does_not_hold_fails_ci_although_it_ran_beside_the_tests() -> None:
    after = LINES[LINES.index('wait "$beside" || status=$?') :]
    assert after[1:4] == ['cat "$conformance"', '[ "$status" -eq 0 ]', after[3]]
    assert after[3].startswith("make rehearsal")


def test_the_last_line_is_pytests_summary() -> None:
    assert LINES[-1] == 'echo "$summary"'
