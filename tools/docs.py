"""The generated pages: ``python -m tools.docs [--check]``.

docs/DAGs.md comes from the docstrings of the DAG files, which are parsed and never imported; docs/reference/settings.md
from the models of the trigger forms.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools import settings_page

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "DAGs.md"
SETTINGS = ROOT / "docs" / "reference" / "settings.md"
FAMILIES = {"rollout": "Rollouts", "recurring": "Recurring", "operations": "Operations"}


class DocsError(RuntimeError):
    """A DAG file can't be described; the message names the file and the remedy."""


@dataclass(frozen=True)
class Description:
    """What the page says about one DAG: ``family`` is its folder, ``text`` the docstring in Markdown."""

    dag_id: str
    family: str
    text: str

    @property
    def summary(self) -> str:
        """The docstring's first sentence; its headings don't count."""
        prose = re.sub(r"(?m)^#+ .*$", "", self.text).strip()
        first = re.split(r"(?<=\.)\s|\n\n", prose, maxsplit=1)[0]
        return " ".join(first.split())


def dag_files(dags: Path) -> list[Path]:
    """Every DAG file below ``dags``, sorted by family and name."""
    order = list(FAMILIES)
    return [path for family in order for path in sorted((dags / family).glob("*.py")) if path.name != "__init__.py"]


def describe(path: Path) -> Description:
    """Read one DAG file. Raises DocsError when it has no docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise DocsError(f"{path.parent.name}/{path.name} has no docstring: it becomes the DAG's page in the UI")
    return Description(path.stem, path.parent.name, text)


def page(descriptions: Iterable[Description]) -> str:
    """The whole page as Markdown."""
    found = list(descriptions)
    lines = ["# DAGs", "", "Generated from the docstrings by `make docs`; edit those, not this file.", ""]
    lines += ["| DAG | family | what it does |", "| --- | --- | --- |"]
    lines += [f"| [{d.dag_id}](#{d.dag_id}) | {d.family} | {d.summary} |" for d in found]
    for family, title in FAMILIES.items():
        members = [d for d in found if d.family == family]
        if members:
            lines += ["", f"## {title}"]
        for member in members:
            # The docstring's own headings go below the DAG's name.
            lines += ["", f"### {member.dag_id}", "", re.sub(r"(?m)^(#+) ", r"##\1 ", member.text).strip()]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or say whether it is up to date."""
    parser = argparse.ArgumentParser(prog="tools.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    options = parser.parse_args()
    try:
        pages = {PAGE: page(describe(path) for path in dag_files(ROOT / "dags"))}
    except DocsError as error:
        print(f"docs: {error}", file=sys.stderr)
        return 1
    pages[SETTINGS] = settings_page.page(settings_page.parts())
    stale = [file for file, text in pages.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    for file in stale:
        if options.check:
            print(f"docs: {file.relative_to(ROOT)} is not what it is generated from: run `make docs`", file=sys.stderr)
        else:
            file.write_text(pages[file], encoding="utf-8")
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
