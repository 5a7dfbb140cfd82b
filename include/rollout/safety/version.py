"""The version of a lever's code: a hash of what decides how it behaves, wherever the project lies.

That is the engine, the lever's own room, the manifests that it applies, and every module of include that one of these
imports. A price book is none of it: what it changes shows in the plan, and so in the plan's hash. Nor is the wiring,
which makes Airflow tasks of the steps and stands above the levers: a room's tasks.py counts, what it imports of there
does not.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from include.rollout.safety.records import SafetyError

ROOT = Path(__file__).parents[3]
ABOVE = "include.wiring"


@lru_cache(maxsize=256)
def code_version(lever: str, root: Path = ROOT) -> str:
    """12 hex digits over path and content of every file that decides what ``lever`` does.

    The same wherever ``root`` lies, and whatever else the folders hold (compiled modules, caches). Raises SafetyError
    for a lever that has neither a folder nor a module in include/levers.
    """
    digest = hashlib.sha256()
    for path in deciding_files(lever, root):
        name, data = path.relative_to(root).as_posix().encode(), path.read_bytes()
        digest.update(b"%d %s %d " % (len(name), name, len(data)) + data)
    return digest.hexdigest()[:12]


def known_version(lever: str) -> str | None:
    """:func:`code_version`, or None for a lever without code of its own here."""
    try:
        return code_version(lever)
    except SafetyError:
        return None


def deciding_files(lever: str, root: Path = ROOT) -> list[Path]:
    """The files that :func:`code_version` looks at, in order."""
    own = _own_files(lever, root)
    engine = [path for path in (root / "include" / "rollout").rglob("*.py") if _is_source(path)]
    found: set[Path] = set()
    waiting = [*own, *engine]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path, root) if path.suffix == ".py" else []
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _own_files(lever: str, root: Path) -> list[Path]:
    levers, manifests = root / "include" / "levers", root / "include" / "manifests" / lever
    module, room = levers / f"{lever}.py", levers / lever
    own = [module] if module.is_file() else []
    own += [path for path in room.rglob("*") if path.is_file() and _is_source(path)]
    if not own or not lever.isidentifier():
        raise SafetyError(f"lever {lever!r} has no folder or module in include/levers: give a lever's name of today")
    return own + [path for path in manifests.rglob("*") if path.is_file() and _is_source(path)]


def _is_source(path: Path) -> bool:
    return "__pycache__" not in path.parts and not path.name.startswith(".")


@lru_cache(maxsize=4096)
def _imported(path: Path, root: Path) -> tuple[Path, ...]:
    """The files of the modules of include that a module imports, wherever in it.

    ``from a.b import c`` may mean the module a.b.c or something in a.b.
    """
    names = dict.fromkeys(_of_include(ast.walk(ast.parse(path.read_bytes()))))
    below = [name for name in names if not f"{name}.".startswith(f"{ABOVE}.")]
    return tuple(dict.fromkeys(found for name in below if (found := _file_of(name, root)) is not None))


def _of_include(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("include."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "include":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@lru_cache(maxsize=4096)
def _file_of(name: str, root: Path) -> Path | None:
    """The file of a module, or of the one that the last part of ``name`` stands in."""
    for parts in (name.split("."), name.split(".")[:-1]):
        for path in (root.joinpath(*parts).with_suffix(".py"), root.joinpath(*parts, "__init__.py")):
            if path.is_file():
                return path
    return None
