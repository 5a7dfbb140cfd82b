"""What the end of a rehearsal reads of others' programs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.rehearsal import told


def test_the_pages_seconds_are_those_of_the_benchmarks_last_line() -> None:
    assert told.seconds_10k('warming up\n{"seconds_10k": 0.62, "days": 90}\n') == 0.62
    assert told.seconds_10k("") is None
    assert told.seconds_10k("[]") is None
    assert told.seconds_10k('{"seconds": 1}') is None


def test_a_page_that_does_not_answer_has_no_status() -> None:
    assert told.without_login("http://127.0.0.1:9") is None


def test_a_program_that_fails_says_why_and_stops_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(told.worlds, "REPOSITORY", tmp_path)
    assert told._ran("the plan", "-c", "print('all')", seconds=30) == "all"
    assert told._ran("the plan", "-c", "raise SystemExit('no estate')", seconds=30) == ""
    assert capsys.readouterr().out == "\nthe plan: no estate\n"
    assert sys.executable


def test_a_section_of_a_report_is_its_lines_without_the_heading() -> None:
    text = "# Report\n## Scorecard\n\n| cost | pass |\n\n## Days\n| 1 |\n"
    assert told.section(text, "Scorecard") == ["| cost | pass |"]
    assert told.section(text, "Days") == ["| 1 |"]
    assert told.section(text, "Lessons") == []
