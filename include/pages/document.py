"""A report for people: one description of its parts, rendered as Markdown and as an HTML file on its own.

The HTML needs nothing from elsewhere: styles and charts are inside, light or dark as the reader's system is. Every text
is escaped. Equal documents have equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from include.pages.chart import Chart
from include.pages.style import STYLE
from include.pages.table import VERDICTS, Table, flat
from include.pages.table import to_markdown as table_to_markdown

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = Path(__file__).with_name("document.html.j2")
CONTENTS_FROM = 4  # sections; fewer need no table of contents


@dataclass(frozen=True)
class Paragraph:
    """One paragraph; ``strong`` for what a reader must not miss."""

    kind: ClassVar[str] = "paragraph"
    text: str
    strong: bool = False


@dataclass(frozen=True)
class Items:
    """A list: (label, text) each, the label may be empty."""

    kind: ClassVar[str] = "items"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Tile:
    """One figure that stands out, with its unit."""

    name: str
    value: str
    unit: str


Block = Paragraph | Items | Table | Chart


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """Such as ``day-by-day``."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Document:
    """A report. ``over`` says what it is, ``status`` how certain; ``lead`` is its one sentence, ``more`` follows it."""

    title: str
    over: str = ""
    status: str = ""
    lead: str = ""
    more: str = ""
    head: tuple[Block, ...] = ()
    tiles: tuple[Tile, ...] = ()
    sections: tuple[Section, ...] = ()


def bullets(*texts: str) -> Items:
    """A list of texts without labels."""
    return Items(tuple(("", text) for text in texts))


# --- Markdown ---------------------------------------------------------------------------------------------------------


def to_markdown(document: Document, level: int = 1) -> str:
    """The document as Markdown, without charts and tiles. ``level`` is that of its title; sections are one below."""
    parts = [f"{'#' * level} {flat(document.title)}"] if document.title else []
    if document.lead:
        parts.append(f"**{flat(document.lead)}**" + (f": {flat(document.more)}" if document.more else ""))
    parts += _blocks(document.head)
    for section in document.sections:
        if all(isinstance(block, Chart) for block in section.blocks):
            continue
        parts += [f"{'#' * (level + 1)} {flat(section.title)}", *_blocks(section.blocks)]
    return "\n\n".join(parts) + "\n"


def _blocks(blocks: tuple[Block, ...]) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Paragraph):
            yield f"**{flat(block.text)}**" if block.strong else flat(block.text)
        elif isinstance(block, Items):
            yield "\n".join(
                f"- {flat(label)}: {flat(text)}" if label else f"- {flat(text)}" for label, text in block.items
            )
        elif isinstance(block, Table):
            yield table_to_markdown(block)


# --- HTML -------------------------------------------------------------------------------------------------------------


def to_html(document: Document) -> str:
    """The document as one HTML file."""
    contents = document.sections if len(document.sections) >= CONTENTS_FROM else ()
    return _template().render(page=document, contents=contents, style=STYLE, verdicts=VERDICTS)


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(TEMPLATE.name)
