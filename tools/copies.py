"""Places that stand twice: runs of lines in a row that are equal, or of equal shape, in two different levers.

A line's shape is what remains of it when names, strings and numbers are put aside. Imports, docstrings, comments, blank
lines and lines of closing brackets don't count; indentation doesn't either.
"""

from __future__ import annotations

import ast
import io
import keyword
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

LINES_IN_A_ROW = 6
# Line ends, indentation and comments say nothing of a line's shape.
SILENT = {
    *(tokenize.ENCODING, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT),
    *(tokenize.DEDENT, tokenize.COMMENT, tokenize.ENDMARKER),
}
# From Python 3.12 on an f-string is a start, its parts and an end; before, one string.
FSTRING_START, FSTRING_END = getattr(tokenize, "FSTRING_START", -1), getattr(tokenize, "FSTRING_END", -1)
Line = tuple[int, str]  # its number in the file, its shape
Windows = dict[tuple[str, ...], list[int]]


@dataclass(frozen=True, order=True)
class CopyPlace:
    """Lines ``first`` to ``last`` of a file, both counted from 1."""

    path: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.path}:{self.first}-{self.last}"


@dataclass(frozen=True, order=True)
class Copy:
    """Two places in two levers with ``lines`` lines in a row of equal shape."""

    one: CopyPlace
    other: CopyPlace
    lines: int

    def __str__(self) -> str:
        return f"{self.one} ~ {self.other} ({self.lines} lines)"


def shapes(source: str) -> list[Line]:
    """The lines of ``source`` that count, each with its shape."""
    left_out = _lines_left_out(ast.parse(source))
    parts: dict[int, list[str]] = defaultdict(list)
    for row, part in _parts(source):
        parts[row].append(part)
    return [
        (row, " ".join(found))
        for row, found in sorted(parts.items())
        if row not in left_out and any(part[0].isalnum() for part in found)
    ]


def _lines_left_out(tree: ast.Module) -> set[int]:
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [
        node.body[0]
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None
    ]
    return {row for node in [*nodes, *docstrings] for row in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def _parts(source: str) -> Iterator[tuple[int, str]]:
    depth = 0  # of f-strings in f-strings
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == FSTRING_START:
            depth += 1
            if depth == 1:
                yield token.start[0], "S"
        elif token.type == FSTRING_END:
            depth -= 1
        elif depth == 0 and token.type not in SILENT:
            yield token.start[0], _shape(token)


def _shape(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.STRING:
        return "S"
    if token.type == tokenize.NUMBER:
        return "0"
    if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
        return "N"
    return token.string


def copies(levers: Mapping[str, Mapping[str, str]], in_a_row: int = LINES_IN_A_ROW) -> list[Copy]:
    """Every pair of places in two different levers; ``levers`` is lever -> path of a file -> its text."""
    lines = {
        lever: {path: shapes(text) for path, text in sorted(files.items())} for lever, files in sorted(levers.items())
    }
    found: list[Copy] = []
    for one, other in combinations(lines, 2):
        for path, mine in lines[one].items():
            for path_other, theirs in lines[other].items():
                found += _between(path, mine, path_other, theirs, in_a_row)
    return sorted(found)


def _between(path: str, mine: Sequence[Line], other: str, theirs: Sequence[Line], in_a_row: int) -> list[Copy]:
    """The longest runs first; a run that overlaps a longer one on both sides is the same copy."""
    kept: list[Copy] = []
    for mine_at, theirs_at, length in sorted(_runs(mine, theirs, in_a_row), key=lambda run: (-run[2], run)):
        copy = Copy(_place(path, mine, mine_at, length), _place(other, theirs, theirs_at, length), length)
        if not any(_overlap(copy.one, known.one) and _overlap(copy.other, known.other) for known in kept):
            kept.append(copy)
    return kept


def _runs(mine: Sequence[Line], theirs: Sequence[Line], in_a_row: int) -> Iterator[tuple[int, int, int]]:
    windows = _windows(theirs, in_a_row)
    matches = {
        (start, at)
        for window, starts in _windows(mine, in_a_row).items()
        for start in starts
        for at in windows.get(window, ())
    }
    for start, at in matches:
        if (start - 1, at - 1) not in matches:
            length = 0
            while (start + length, at + length) in matches:
                length += 1
            yield start, at, length + in_a_row - 1


def _windows(lines: Sequence[Line], in_a_row: int) -> Windows:
    found: Windows = defaultdict(list)
    for start in range(len(lines) - in_a_row + 1):
        found[tuple(shape for _, shape in lines[start : start + in_a_row])].append(start)
    return found


def _place(path: str, lines: Sequence[Line], start: int, length: int) -> CopyPlace:
    return CopyPlace(path, lines[start][0], lines[start + length - 1][0])


def _overlap(one: CopyPlace, other: CopyPlace) -> bool:
    return one.first <= other.last and other.first <= one.last


def texts(root: Path, files: Sequence[Path]) -> dict[str, str]:
    """The text of each file by its path below ``root``."""
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in files}
