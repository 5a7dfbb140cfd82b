"""Every name that a document mentions exists: ``python -m tools.mentions`` prints those that don't, and pages that
sources name and nobody wrote.

Looked at are links with their anchors, and in code (between backticks, or indented): paths, ``make`` targets and their
variables, ``python -m`` modules and their options, DAG ids in Airflow commands, fields of the estate's file, and every
other name with an underscore, such as a parameter, a gate, a metric or an environment variable. What stands between
``<`` and ``>`` is a placeholder, and ``*`` any name.
"""

from __future__ import annotations

import re
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel

from include.estate import Estate

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("dags", "include", "lab", "models", "plugins", "tools", "jetson_tasks", "benchmarks", "tests")
SUFFIXES = {".py", ".yaml", ".yml", ".csv", ".json", ".toml", ".go", ".mod", ".html", ".j2", ".css", ".in", ""}
FILE = re.compile(r"\.(py|md|ya?ml|toml|csv|sh|svg|in)$")
# Files that a run makes, or that are the reader's own: no checkout has them.
MADE = ("report.md", "report.html", "akidb-cost.rules.yaml", "traffic.csv", "file.csv")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+")


@dataclass(frozen=True, order=True)
class Stale:
    """A name that doesn't exist: where it stands, and what it should be."""

    page: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.what}"


class House:
    """What exists below ``root``."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root

    @cached_property
    def files(self) -> list[str]:
        """Every file of the sources and documents, by its path."""
        top = [path for path in self.root.iterdir() if path.is_file()]
        below = [p for name in (*FOLDERS, "docs", ".ci") for p in (self.root / name).rglob("*") if p.is_file()]
        return [str(path.relative_to(self.root)) for path in (*top, *below) if "__pycache__" not in path.parts]

    @cached_property
    def words(self) -> set[str]:
        """Every name with an underscore in the sources; the test of this module makes names up and is left out."""
        found = {Path(name).stem for name in self.files}
        for name in self.files:
            path = self.root / name
            wanted = path.suffix in SUFFIXES and not name.startswith("docs/") and path.name != "test_docs_names.py"
            if wanted and not name.startswith(("benchmarks/results/", "requirements")):
                found.update(NAME.findall(path.read_text(encoding="utf-8", errors="ignore")))
        return found

    @cached_property
    def makefile(self) -> str:
        """The text of the Makefile."""
        return (self.root / "Makefile").read_text(encoding="utf-8")

    @cached_property
    def options(self) -> set[str]:
        """Every option that a command of the sources takes."""
        texts = ((self.root / name).read_text(encoding="utf-8") for name in self.files if name.endswith(".py"))
        return {option for text in texts for option in re.findall(r"\"(--[a-z][a-z-]*)\"", text)}

    def has_path(self, name: str, page: Path) -> bool:
        """Whether a path exists, from the root, beside the page, or as the end of one file's path."""
        if name.endswith(MADE):
            return True
        name = name.rstrip("/")
        bases = (self.root, page.parent)
        return any(next(base.glob(name), None) for base in bases) or any(f.endswith(f"/{name}") for f in self.files)

    def has_module(self, name: str) -> bool:
        """Whether ``python -m name`` finds something to run in the sources."""
        base = self.root / Path(*name.split("."))
        return base.with_suffix(".py").exists() or (base / "__main__.py").exists()

    def has_object(self, name: str) -> bool:
        """Whether a dotted Python name leads to a module or package, and to a word in it."""
        parts = name.split(".")
        for depth in range(len(parts), 0, -1):
            base = self.root / Path(*parts[:depth])
            file = base.with_suffix(".py") if base.with_suffix(".py").exists() else base / "__init__.py"
            if file.exists() or base.is_dir():
                text = file.read_text(encoding="utf-8") if file.exists() else ""
                return all(re.search(rf"\b{part}\b", text) for part in parts[depth:])
        return False

    def has_dag(self, name: str) -> bool:
        """Whether a DAG file has this name."""
        return any(re.fullmatch(rf"dags/[^/]+/{re.escape(name)}\.py", file) for file in self.files)

    def has_parameter(self, name: str) -> bool:
        """Whether a DAG's form may have this field: a string key or an annotated field where forms are made."""
        made = [file for file in self.files if re.match(r"(dags|include)/.*\.py$", file)]
        texts = ((self.root / file).read_text(encoding="utf-8") for file in made)
        return any(re.search(rf"\"{name}\":|^\s+{name}: ", text, re.MULTILINE) for text in texts)


def pages(root: Path = ROOT) -> list[Path]:
    """The README, the documents and the lab's page; what is generated or history is left out."""
    found = [root / "README.md", *sorted((root / "docs").rglob("*.md")), root / "lab" / "README.md"]
    return [path for path in found if path.exists()]


def stale(page: Path, text: str, house: House) -> list[Stale]:
    """Every mention of ``text`` that leads nowhere."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        indented = line.startswith("    ")
        codes = [line] if indented else re.findall(r"`([^`]+)`", line)
        problems = [*_links(line, page), *(p for code in codes for p in _commands(code, house))]
        if not indented:
            problems += [p for code in codes for p in _names(code, page, house)]
        found += [Stale(_short(page, house), number, problem) for problem in problems]
    return found


def stale_pages(house: House) -> list[Stale]:
    """Every document that a source names and that does not exist; the test of this module makes some up."""
    found = []
    for name in house.files:
        if name.startswith(FOLDERS) and name.endswith((".py", ".yaml", ".csv")) and not name.endswith("docs_names.py"):
            lines = (house.root / name).read_text(encoding="utf-8", errors="ignore").splitlines()
            for number, line in enumerate(lines, start=1):
                named = re.findall(r"\bdocs/[\w/-]+\.md\b", line)
                gone = [page for page in named if not (house.root / page).exists()]
                found += [Stale(name, number, f"{page}: there is no such page") for page in gone]
    return found


def _short(page: Path, house: House) -> str:
    return str(page.relative_to(house.root)) if page.is_relative_to(house.root) else page.name


def _links(line: str, page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", line):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = page.parent / path if path else page
        if not file.exists():
            yield f"link to {target}: there is no such file"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text(encoding="utf-8")):
            yield f"link to {target}: the page has no such heading"


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    titles = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def _commands(code: str, house: House) -> Iterator[str]:
    yield from _targets(code, house)
    yield from _modules(code, house)
    for dag in re.findall(r"(?:dags trigger|--dag-id) (\w+)", code):
        if not house.has_dag(dag):
            yield f"{dag}: there is no such DAG"
    for key in re.findall(r"[{,] ?\"(\w+)\":", code if "dags trigger" in code else ""):
        if not house.has_parameter(key):
            yield f"{key}: no DAG has this parameter"


def _targets(code: str, house: House) -> Iterator[str]:
    for target, rest in re.findall(r"(?:^|[\s;&])make (?:-s )?([a-z][a-z-]*)((?: +[A-Z_]+=\S*)*)", code):
        if not re.search(rf"(?m)^{target}:", house.makefile):
            yield f"make {target}: the Makefile has no such target"
        for variable in re.findall(r"([A-Z_]+)=", rest):
            if not re.search(rf"\b{variable}\b", house.makefile):
                yield f"make {target} {variable}=: the Makefile has no such variable"


def _modules(code: str, house: House) -> Iterator[str]:
    for module in re.findall(r"python -m ([\w.]+)", code):
        if module.split(".")[0] not in FOLDERS:
            continue
        if not house.has_module(module):
            yield f"python -m {module}: there is no such module"
        yield from (f"{option}: no command has this option" for option in sorted(_options(code) - house.options))


def _options(code: str) -> set[str]:
    return set(re.findall(r"(?<=\s)--[a-z][a-z-]*", code.partition("#")[0]))


def _names(code: str, page: Path, house: House) -> Iterator[str]:
    if re.fullmatch(r"\.?[\w.*-]+(/[\w.*<>-]+)*/?", code) and _looks_like_a_path(code):
        if not house.has_path(code, page):
            yield f"{code}: there is no such file or folder"
        return
    dotted = re.fullmatch(r"([a-z_]+)((?:\.[\w<>]+)+)", code)
    if dotted and dotted[1] in Estate.model_fields:
        if not _has_setting(Estate, code.split(".")):
            yield f"{code}: the estate has no such field"
        return
    if re.fullmatch(rf"({'|'.join(FOLDERS)})(\.\w+)+", code):
        if not house.has_object(code):
            yield f"{code}: there is no such module, or nothing of that name in it"
        return
    for name in NAME.findall(re.sub(r"<[^>]*>|https?://\S+|=\S+", " ", code)):
        if name not in house.words:
            yield f"{name}: nothing in the sources has this name"


def _looks_like_a_path(code: str) -> bool:
    if "<" in code or (code.startswith(".") and "/" not in code):
        return False  # a place that a run or the reader names; the end of a file's name
    first = code.split("/")[0]
    return bool(FILE.search(code)) or ("/" in code and (first in FOLDERS or first in {"docs", ".ci"}))


def _has_setting(model: object, path: list[str]) -> bool:
    """Whether a dotted name leads to a field: through models, and through mappings by any key."""
    if not path:
        return True
    if typing.get_origin(model) is not None:
        inside = typing.get_args(model)
        rest = path[1:] if typing.get_origin(model) is dict else path
        return any(_has_setting(argument, rest) for argument in inside)
    if isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(path[0])
        return field is not None and _has_setting(field.annotation, path[1:])
    return False


def main() -> int:
    """Print every stale mention; 1 when there is one."""
    house = House()
    found = [problem for page in pages() for problem in stale(page, page.read_text(encoding="utf-8"), house)]
    found += stale_pages(house)
    print(*found, sep="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
