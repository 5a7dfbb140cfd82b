"""Import arrows that point upward between the project's layers, and circles of imports at every level.

A room's ``tasks.py`` stands beside ``include/wiring``, whichever folder it lies in: both make Airflow tasks of what the
rooms do. Imports for type checking only don't count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import grimp

ROOTS = ("dags", "include", "lab", "models", "tools", "plugins", "jetson_tasks")
WIRING = "include.wiring"
# From the top down. What several names share a row for may import each other, though never in a circle.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("tools",),
    ("lab.surge",),
    ("lab.rehearsal", "lab.__main__"),
    ("lab.world",),
    ("lab.cluster",),
    ("lab.cloud",),
    ("lab.devices",),
    ("lab.service",),
    ("lab.machine", "lab"),
    ("dags", "plugins"),
    (WIRING,),
    ("include.overview",),
    ("include.week",),
    ("include.planner",),
    ("include.levers",),
    ("include.rollout", "include.completion"),
    ("include.cost", "include.forecast"),
    ("include.pages", "include.quality"),
    ("include.clients",),
    ("include.forms", "include.prices", "include.notices"),
    ("include.estate", "include"),
    ("include.quantities",),
    ("models", "jetson_tasks"),
)
Arrow = tuple[str, str]  # importer, imported


class ArrowsError(RuntimeError):
    """A module belongs to no layer; the message names it and the remedy."""


def arrows(root: Path) -> list[Arrow]:
    """Every import between two modules of the packages below ``root``, which must be the first place Python looks."""
    packages = [name for name in ROOTS if (root / name).is_dir()]
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=True, cache_dir=None)
    return sorted((one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one))


def layer(module: str) -> int:
    """The row of LAYERS that ``module`` stands in, 0 is the top. Raises ArrowsError when it stands in none."""
    module = placed(module)
    best = max(
        ((name, row) for row, names in enumerate(LAYERS) for name in names if _within(module, name)),
        key=lambda found: len(found[0]),
        default=None,
    )
    # `include` and `lab` themselves are only their __init__.py: a new module in them must be given a row.
    if best is None or (best[0] in {"include", "lab"} and module != best[0]):
        raise ArrowsError(f"{module} stands in no layer: add it to LAYERS in tools/arrows.py")
    return best[1]


def placed(module: str) -> str:
    """The name under which ``module`` is judged: a room's ``tasks`` is a module of the wiring."""
    if module.startswith("include.") and module.endswith(".tasks"):
        return f"{WIRING}.{module.removeprefix('include.').replace('.', '_')}"
    return module


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def upward(found: Iterable[Arrow]) -> list[Arrow]:
    """The arrows whose importer stands below what it imports."""
    return [arrow for arrow in found if layer(arrow[0]) > layer(arrow[1])]


def circles(found: Iterable[Arrow]) -> list[list[str]]:
    """Groups of siblings, at every level, each of which imports all others, directly or through them."""
    levels: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for arrow in found:
        level, one, other = _siblings(*(placed(module) for module in arrow))
        if one != other:
            levels[level][one].add(other)
    return sorted(group for edges in levels.values() for group in _groups(edges))


def _siblings(importer: str, imported: str) -> tuple[str, str, str]:
    """Where the two names part: the package above, and the child of it on either side."""
    one, other = importer.split("."), imported.split(".")
    depth = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return ".".join(one[:depth]), _child(one, depth), _child(other, depth)


def _child(parts: list[str], depth: int) -> str:
    # A package that imports its own module, or is imported by it, is its __init__.py.
    return ".".join(parts[: depth + 1] if len(parts) > depth else [*parts, "__init__"])


def _groups(edges: Mapping[str, set[str]]) -> list[list[str]]:
    reached = {name: _reached(edges, name) for name in edges}
    groups = {
        tuple(sorted(other for other in names if name in reached.get(other, ())))
        for name, names in reached.items()
        if name in names
    }
    return [list(group) for group in groups]


def _reached(edges: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = edges.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen
