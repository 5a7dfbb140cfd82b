"""``make lever-conformance``: every lever against every property, as a table and as .lab/conformance.json.

What it proves is kept as safety records beside the lab's ledger (tools/safety.py).

The properties are the tests of the two files below; the lab's part boots one region. Exit status 1 on any failure, and
when fewer than ``LEAST`` properties without a lab hold for a lever.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from tools.safety import LEDGER, from_conformance, keep

REPOSITORY = Path(__file__).parents[3]
UNIT, LAB = "tests/unit/levers/test_conformance.py", "tests/lab/test_lever_conformance.py"
RESULT = REPOSITORY / ".lab" / "conformance.json"
LEAST = 8
OK = "ok"


class Table:
    """A pytest plug-in that keeps each property's outcome by lever."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, str]] = defaultdict(dict)
        self.in_lab: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst of set-up, call and teardown."""
        name, _, rest = report.nodeid.split("::")[-1].partition("[")
        lever = rest.removesuffix("]")
        if LAB in report.nodeid:
            self.in_lab.add(name)
        before = self.rows[lever].get(name)
        if report.failed:
            self.rows[lever][name] = f"FAILED: {_reason(report)}"
        elif report.skipped and before is None:
            self.rows[lever][name] = f"left out: {_skip(report)}"
        elif report.when == "call" and report.passed and before is None:
            self.rows[lever][name] = OK

    def problems(self) -> list[str]:
        """What makes the exit status 1."""
        found = [f"{lever}: {name}: {text}" for lever, row in self.rows.items() for name, text in row.items()
                 if text.startswith("FAILED")]  # fmt: skip
        for lever, row in self.rows.items():
            held = sum(text == OK for name, text in row.items() if name not in self.in_lab)
            if held < LEAST:
                found.append(f"{lever}: {held} properties hold without a lab, at least {LEAST} must")
        return found

    def text(self) -> str:
        """A row a property, a column a lever."""
        levers = list(self.rows)
        names = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        titles = [_title(name) for name in names]
        wide = max(map(len, titles), default=0)
        columns = [max(len(lever), 8) for lever in levers]
        heads = "  ".join(lever.ljust(width) for lever, width in zip(levers, columns, strict=True))
        lines = [f"{'property':{wide}}  {heads}", f"{'-' * wide}  {'  '.join('-' * width for width in columns)}"]
        for name, title in zip(names, titles, strict=True):
            cells = [
                _cell(self.rows[lever].get(name, "-")).ljust(width)
                for lever, width in zip(levers, columns, strict=True)
            ]
            lines.append(f"{title:{wide}}  {'  '.join(cells)}".rstrip())
        notes = {text for row in self.rows.values() for text in row.values() if text.startswith("left out")}
        return "\n".join([*lines, "", *sorted(notes)])


def _title(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def _cell(text: str) -> str:
    return text.split(":")[0]


def _reason(report: pytest.TestReport) -> str:
    crash: Any = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    return " ".join(text.split())[:500]


def _skip(report: pytest.TestReport) -> str:
    return str(report.longrepr[2]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else "skipped"


def main(paths: list[str]) -> int:
    """Run, show and keep; returns the exit status."""
    table = Table()
    # Two workers have a lab each (tests/conftest.py); the third has the tests without one.
    status = pytest.main(["-q", "--no-header", "-n", "3", *(paths or [LAB, UNIT])], plugins=[table])
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(table.rows, indent=1, sort_keys=True) + "\n")
    keep(from_conformance(table.rows, dt.datetime.now(dt.UTC).isoformat()), Folder(LEDGER))
    print(f"\n{table.text()}\n")
    problems = table.problems()
    print(
        "\n".join(problems) or f"every property holds or is left out with its reason ({RESULT.relative_to(REPOSITORY)})"
    )
    return (
        1 if problems or status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) or not table.rows else 0
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
