"""``make conformance``: a day of each source of the cost table against the public FOCUS 1.2 rule set.

The rule set is PyPI's focus-validator, in an environment of its own in the build cache (its pyarrow is older than the
project's). Failed rules are printed by source; the exit status is 1 when one is not listed in
docs/reference/focus_gaps.md, or when a listed one passes: the list must say what is so.
``python -m tests.conformance.run FILE...`` checks files of the cost table instead.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.cost.table.columns import CostError
from include.cost.table.store import facts_of
from lab.machine.programs import cache_root
from tests.conformance.samples import write_samples

ROOT = Path(__file__).resolve().parents[2]
GAPS_FILE = ROOT / "docs" / "reference" / "focus_gaps.md"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
VERSION = "1.2.0.1"
# pyarrow below 18 has wheels up to this one.
PYTHON = "3.12"


class ConformanceError(RuntimeError):
    """The rule set can't be run; the message says why and what to do."""


@dataclass(frozen=True)
class Outcome:
    """What the rule set says of one file: how many rules it has, how many didn't apply, and those that failed."""

    rules: int
    skipped: int
    failed: tuple[str, ...]


def main(arguments: list[str] | None = None) -> int:
    """Run and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="files of the cost table; default: a day of each source")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        python = environment()
        with tempfile.TemporaryDirectory(prefix="akidb-conformance-") as folder:
            files = {str(path): path for path in options.files} or write_samples(Path(folder))
            outcomes = {name: validate(python, path, Path(folder)) for name, path in files.items()}
        gaps = read_gaps(GAPS_FILE.read_text(encoding="utf-8"))
        listed = {str(path): gaps_of(facts_of(path).source, gaps) for path in options.files} or gaps
    except (ConformanceError, CostError) as error:
        print(error, file=sys.stderr)
        return 1
    problems = judge(outcomes, listed, stale=not options.files)
    _print(outcomes, problems, as_json=options.json)
    return 1 if problems else 0


def environment() -> Path:
    """The Python of the validator's environment, which is made on the first call."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    folder = cache_root() / "conformance" / digest
    python, stamp = folder / "bin" / "python", folder / "complete"
    if not stamp.is_file():
        uv = Path(sys.executable).with_name("uv")
        base = find_python() or PYTHON  # uv fetches that one where it may
        _run(str(uv), "venv", "--quiet", "--clear", "--python", base, str(folder))
        _run(str(uv), "pip", "install", "--quiet", "--python", str(python), "--require-hashes", "-r", str(REQUIREMENTS))
        stamp.touch()
    return python


def find_python() -> str | None:
    """A Python of the version that the validator needs: ``$CONFORMANCE_PYTHON``, on the path, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [os.environ.get("CONFORMANCE_PYTHON"), sys.executable, shutil.which(f"python{PYTHON}")]
    found += [str(path) for path in sorted(pyenv.glob(f"{PYTHON}.*/bin/python"))]
    return next((path for path in found if path and _version(path) == PYTHON), None)


def validate(python: Path, path: Path, folder: Path) -> Outcome:
    """Run the rule set on ``path``. Raises ConformanceError when it gives no result."""
    packages = next(python.parents[1].glob("lib/python*/site-packages"))
    result = folder / f"{path.stem}.xml"
    command = [str(python), "-c", "from focus_validator.main import main; main()", "--data-file", str(path.resolve())]
    command += ["--validate-version", VERSION, "--block-download", "--focus-dataset", "CostAndUsage"]
    # It reads its rules relative to the working folder.
    _run(*command, "--output-type", "unittest", "--output-destination", str(result), cwd=packages)
    if not result.is_file():
        raise ConformanceError(f"{path.name}: focus-validator wrote no result: run it by hand in {packages}")
    return read_outcome(result.read_text(encoding="utf-8"))


def read_outcome(text: str) -> Outcome:
    """The outcome in the validator's unittest XML; an error counts as a failed rule."""
    root = ET.fromstring(text)
    failed = {
        case.attrib["name"].partition(" :: ")[0]
        for case in root.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    }
    return Outcome(int(root.attrib["tests"]), int(root.attrib["skipped"]), tuple(sorted(failed)))


def read_gaps(text: str) -> dict[str, set[str]]:
    """Source -> rules that may fail, from the table ``| rule | sources | absent | why |`` of the document."""
    gaps: dict[str, set[str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or "-C-" not in cells[0]:
            continue
        if len(cells) != 4 or not all(cells):
            raise ConformanceError(f"{GAPS_FILE.name}: {line!r} must have the cells rule, sources, absent column, why")
        for source in cells[1].split(","):
            gaps.setdefault(source.strip(), set()).add(cells[0].strip("`"))
    return gaps


def gaps_of(source: str, gaps: Mapping[str, set[str]]) -> set[str]:
    """The gaps of a source of the cost table, those of all its samples together (aws: aws-focus, aws-cur ...)."""
    return set().union(*(rules for name, rules in gaps.items() if name.partition("-")[0] == source))


def judge(outcomes: Mapping[str, Outcome], listed: Mapping[str, set[str]], stale: bool = True) -> list[str]:
    """What is wrong: failed rules that are not listed, and (``stale``) listed rules that pass."""
    problems = []
    for name, outcome in outcomes.items():
        failed, known = set(outcome.failed), listed.get(name, set())
        problems += [f"{name}: {rule} fails and is not listed in {GAPS_FILE.name}" for rule in sorted(failed - known)]
        passing = sorted(known - failed) if stale else []
        problems += [f"{name}: {rule} is listed in {GAPS_FILE.name} and passes: remove it" for rule in passing]
    return problems


def _print(outcomes: Mapping[str, Outcome], problems: list[str], as_json: bool) -> None:
    if as_json:
        shown = {name: {"rules": o.rules, "skipped": o.skipped, "failed": o.failed} for name, o in outcomes.items()}
        print(json.dumps({"version": VERSION, "sources": shown, "problems": problems}, indent=1))
        return
    for source, outcome in outcomes.items():
        print(f"{source}: {len(outcome.failed)} of {outcome.rules} rules failed ({outcome.skipped} don't apply)")
        for rule in outcome.failed:
            print(f"  {rule}")
    print("\n".join(problems) if problems else f"every failed rule is listed in {GAPS_FILE.relative_to(ROOT)}")


def _version(python: str) -> str:
    command = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip()


def _run(*command: str, cwd: Path | None = None) -> None:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode:
        tail = "\n".join((result.stderr or result.stdout).strip().splitlines()[-8:])
        raise ConformanceError(
            f"{Path(command[0]).name} {command[1]} failed:\n{tail}\nName a Python {PYTHON}: "
            "CONFORMANCE_PYTHON=/path/to/python make conformance"
        )


if __name__ == "__main__":
    sys.exit(main())
