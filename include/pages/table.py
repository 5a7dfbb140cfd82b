"""Tables of text: as Markdown, in columns for a terminal, and which of their columns are figures."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

# A figure, with its sign, unit or range; the words stand where a figure is missing.
_FIGURE = re.compile(r"[-+−]?[\d.,]+(?:e-?\d+)?(?: ?(?:%|h|ms|s))?|unknown|not defined|-|")
_TAG, _LINK = re.compile(r"<(?=[A-Za-z/!?])"), re.compile(r"\]\(")
VERDICTS = frozenset({"pass", "fail", "high", "low", "unknown"})


@dataclass(frozen=True)
class Table:
    """Rows under their headers, all text. The first column names the row."""

    kind: ClassVar[str] = "table"
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @cached_property
    def figures(self) -> tuple[bool, ...]:
        """Which columns hold figures, and so stand to the right; never the first."""
        columns = (
            [row[n] for row in self.rows if n < len(row) and row[n] not in VERDICTS] for n in range(len(self.headers))
        )
        return tuple(n > 0 and any(column) and all(map(_is_figure, column)) for n, column in enumerate(columns))


def _is_figure(cell: str) -> bool:
    return _FIGURE.fullmatch(cell) is not None


def flat(text: str) -> str:
    """The text on one line, as text: whoever shows the Markdown sees no tag, picture or link of somebody else's."""
    return _LINK.sub(r"]\\(", _TAG.sub("&lt;", " ".join(str(text).split())))


def to_markdown(table: Table) -> str:
    """The table as Markdown; a cell is one line, and a bar in it becomes a slash."""
    rule = ["--:" if figures else "---" for figures in table.figures]
    return "\n".join(_line(row) for row in (table.headers, rule, *table.rows))


def _line(cells: Sequence[str]) -> str:
    shown = (flat(cell).replace("|", "/") for cell in cells)
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in shown)


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows as columns for a terminal, with a rule below the first; columns of ``right`` end at the same place."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]

    def cell(n: int, text: str) -> str:
        return text.rjust(widths[n]) if n in right else text.ljust(widths[n])

    lines = ["  ".join(cell(n, text) for n, text in enumerate(row)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths).rstrip())
    return "\n".join(lines)
