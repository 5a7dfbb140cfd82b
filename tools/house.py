"""The house in figures: ``python -m tools.house`` prints one JSON object on stdout, a table for people on stderr.

Keys: ``arrows_up`` and ``circles`` (imports, ``tools/arrows.py``), ``lever_lines`` (lines of each lever),
``functions`` (lines from def to end, decorators aside: ``median``, ``p90``, how many are ``over_40``),
``modules_over_400`` and ``test_modules_over_500`` (paths), ``lever_copies`` (pairs of places, ``tools/copies.py``),
``parse_seconds`` (all DAG files, after Airflow's own import) and ``engine_overhead`` (a rollout of levers that do
nothing, divided by as many empty Airflow tasks; null until ``make bench`` has measured it).
"""

from __future__ import annotations

import ast
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from include.levers import LEVERS
from tools import arrows, copies, parse_time

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("dags", "include", "lab", "models", "plugins", "tools", "jetson_tasks")
OVERHEAD = ROOT / "benchmarks" / "results" / "engine_overhead.json"
FUNCTION_LINES, MODULE_LINES, TEST_LINES = 40, 400, 500


class HouseError(RuntimeError):
    """A figure can't be had; the message says which and why."""


def python_files(*folders: str, root: Path = ROOT) -> list[Path]:
    """Every Python file of the folders below ``root`` that exist, sorted."""
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def line_count(path: Path) -> int:
    """How many lines a file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


def over(paths: Iterable[Path], limit: int, root: Path = ROOT) -> list[str]:
    """The files with more than ``limit`` lines, by their path below ``root``."""
    return [str(path.relative_to(root)) for path in paths if line_count(path) > limit]


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Every function of a module, nested ones too: its name, its lines from def to end."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def function_figures(lengths: Iterable[int]) -> dict[str, int | float]:
    """Median, 90th percentile (nearest rank) and how many are too long; ``lengths`` must not be empty."""
    ordered = sorted(lengths)
    return {
        "median": statistics.median(ordered),
        "p90": ordered[math.ceil(0.9 * len(ordered)) - 1],
        "over_40": sum(length > FUNCTION_LINES for length in ordered),
    }


def lever_files(levers: Mapping[str, str] = LEVERS, root: Path = ROOT) -> dict[str, list[Path]]:
    """Each lever's Python files, by what ``include.levers.LEVERS`` names: a package, or one module."""
    found: dict[str, list[Path]] = {}
    for name, address in levers.items():
        base = root / Path(*address.split(":")[0].split("."))
        found[name] = sorted(base.rglob("*.py")) if base.is_dir() else [base.with_suffix(".py")]
    return found


def lever_copies(root: Path = ROOT) -> list[copies.Copy]:
    """Pairs of places in two levers that are alike for six lines or more."""
    return copies.copies({name: copies.texts(root, paths) for name, paths in lever_files(root=root).items()})


def structure() -> dict[str, Any]:
    """Every figure that reading the sources gives; what takes a measurement is not among them."""
    found = arrows.arrows(ROOT)
    lengths = [lines for path in python_files(*SOURCES) for _, lines in functions(path.read_text(encoding="utf-8"))]
    return {
        "arrows_up": len(arrows.upward(found)),
        "circles": len(arrows.circles(found)),
        "lever_lines": {name: sum(map(line_count, paths)) for name, paths in lever_files().items()},
        "functions": function_figures(lengths),
        "modules_over_400": over(python_files(*SOURCES, "benchmarks"), MODULE_LINES),
        "test_modules_over_500": over(python_files("tests"), TEST_LINES),
        "lever_copies": len(lever_copies()),
    }


def parse_seconds() -> float:
    """Seconds that all DAG files take once Airflow is imported. Raises HouseError when one doesn't load."""
    try:
        return round(parse_time.parse_seconds(), 3)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        raise HouseError(f"parse_seconds: the DAG files can't be parsed: {error}") from error


def engine_overhead(path: Path = OVERHEAD) -> float | None:
    """What ``benchmarks/bench_engine_overhead.py`` measured, None before. Raises HouseError for a file without it."""
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    try:
        return float(found["ratio"])
    except (KeyError, TypeError):
        raise HouseError(f"engine_overhead: {path.name} has no ratio; run `make bench` again") from None


def details() -> Iterator[str]:
    """For people: what stands behind each figure that should be smaller, a line each."""
    found = arrows.arrows(ROOT)
    yield from (f"arrow up: {one} -> {other}" for one, other in arrows.upward(found))
    yield from (f"circle: {' <-> '.join(group)}" for group in arrows.circles(found))
    yield from (f"copy: {copy}" for copy in lever_copies())
    for path in python_files(*SOURCES):
        for name, lines in functions(path.read_text(encoding="utf-8")):
            if lines > FUNCTION_LINES:
                yield f"long function: {path.relative_to(ROOT)} {name} ({lines} lines)"


def main() -> int:
    """Print the figures; 1 when one can't be had."""
    try:
        figures = structure() | {"parse_seconds": parse_seconds(), "engine_overhead": engine_overhead()}
        print(json.dumps(figures))
    except (HouseError, arrows.ArrowsError) as error:
        print(f"house: {error}", file=sys.stderr)
        return 1
    for name, value in figures.items():
        rows = value if isinstance(value, list) else [json.dumps(value).strip("{}").replace('"', "")]
        print(f"{name:22} {rows[0] if rows else 'none'}", *rows[1:], sep=f"\n{'':23}", file=sys.stderr)
    print(*details(), sep="\n", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
