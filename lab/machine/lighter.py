"""A copy of a controller's module without the parts that the lab never uses, made by a recipe at set-up.

A group with the folder ``lighter`` (``lab/go/keda/lighter``) is built from such a copy: ``recipe.json`` names the files
that are left out, ``files/`` holds what stands in for them, and refuses whoever asks for it. Everything else of the
module is its own, byte for byte. The recipe is part of the programs' cache key.

Standard library only, like the module that builds the programs.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

FOLDER, RECIPE, FILES = "lighter", "recipe.json", "files"
COPY = "module"  # the copy's folder beside the go.mod that replaces the module by it
NOT_COPIED = ("*_test.go", "testdata", "docs", "ui", "images", "tests")
_CASE = re.compile(r'^(\t+)case ((?:"[^"]+"(?:, )?)+):$')
_NEXT = re.compile(r"^\t+(case .*|default):$")


class RecipeError(ValueError):
    """The recipe does not fit its module; the message names the line of the recipe."""


@dataclass(frozen=True)
class Recipe:
    """What is left out of ``module``: ``remove`` but not ``keep`` (patterns, ``{a,b}`` allowed), and in each file of
    ``cases`` the branches of its switch whose texts are not listed.
    """

    module: str
    remove: tuple[str, ...]
    keep: tuple[str, ...] = ()
    cases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def recipe_folder(group: Path) -> Path | None:
    """The recipe's folder of a group of ``lab/go``; None for a group that is built from the module itself."""
    return group / FOLDER if (group / FOLDER / RECIPE).exists() else None


def load(folder: Path) -> Recipe:
    """The recipe of ``folder``."""
    raw = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    cases = {file: tuple(kept) for file, kept in raw.get("cases", {}).items()}
    return Recipe(raw["module"], tuple(raw["remove"]), tuple(raw.get("keep", ())), cases)


def parts(folder: Path) -> Iterator[Path]:
    """The recipe's own files, in an order that is the same everywhere."""
    yield folder / RECIPE
    yield from sorted(path for path in (folder / FILES).rglob("*") if path.is_file())


def make(group: Path, module: Path, target: Path) -> None:
    """Write the copy of ``module`` and the ``go.mod`` that uses it into ``target``, replacing what is there."""
    folder = group / FOLDER
    recipe = load(folder)
    shutil.rmtree(target, ignore_errors=True)
    copy = target / COPY
    shutil.copytree(module, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)  # the module cache is read-only
    leave_out(copy, recipe)
    shutil.copytree(folder / FILES, copy, dirs_exist_ok=True)
    mod = (group / "go.mod").read_text(encoding="utf-8")
    (target / "go.mod").write_text(f"{mod}\nreplace {recipe.module} => ./{COPY}\n", encoding="utf-8")
    shutil.copy(group / "go.sum", target / "go.sum")


def leave_out(copy: Path, recipe: Recipe) -> None:
    """Remove files and branches of ``recipe`` from ``copy``. Raises RecipeError for a line that fits nothing."""
    kept = {path for pattern in recipe.keep for path in _matching(copy, pattern)}
    for pattern in recipe.remove:
        for path in _matching(copy, pattern):
            if path in kept:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, texts in recipe.cases.items():
        file = copy / name
        if not file.exists():
            raise RecipeError(f"{recipe.module} has no file {name}: correct cases in {RECIPE}")
        file.write_text(_with_cases(file.read_text(encoding="utf-8"), texts, name), encoding="utf-8")


def _matching(copy: Path, pattern: str) -> list[Path]:
    found: list[Path] = []
    for one in expanded(pattern):
        fitting = sorted(copy.glob(one))
        if not fitting:
            raise RecipeError(f"nothing of the module fits {one}: correct {RECIPE}")
        found += fitting
    return found


def expanded(pattern: str) -> list[str]:
    """``a_{b,c}.go`` as ``a_b.go`` and ``a_c.go``."""
    match = re.search(r"\{([^}]*)\}", pattern)
    if match is None:
        return [pattern]
    return [pattern[: match.start()] + one + pattern[match.end() :] for one in match[1].split(",")]


def _with_cases(text: str, kept: Iterable[str], name: str) -> str:
    """``text`` with those branches of its switches over texts alone that name one of ``kept``."""
    lines, wanted, keeping = [], set(kept), True
    found: set[str] = set()
    for line in text.splitlines(keepends=True):
        case = _CASE.match(line.rstrip("\n"))
        if case:
            named = set(re.findall(r'"([^"]+)"', case[2]))
            found |= named & wanted
            keeping = bool(named & wanted)
        elif _NEXT.match(line.rstrip("\n")):
            keeping = True
        if keeping:
            lines.append(line)
    if found != wanted:
        raise RecipeError(f"{name} has no case {', '.join(sorted(wanted - found))}: correct cases in {RECIPE}")
    return "".join(lines)
